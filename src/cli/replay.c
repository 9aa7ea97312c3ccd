/* The tables of a replay. A block's row is its worst tensor: the first that holds a number which is not finite, or the
 * one with the largest magnitude. A name is shown without "blocks.N.", since the row says the block. */
#include "cli/replay.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"

#define NAMED 16 /* samples in the text; --json has more */

/* --- words ----------------------------------------------------------------------------------------------------------
 */

static const char *part_name(char buf[32], const vt_evidence *ev, int64_t part)
{
    if (part < 0)
        return "embedding";
    if (part == ev->depth)
        return "head";
    (void)snprintf(buf, 32, "block %lld", (long long)part);
    return buf;
}

static const char *short_name(const char *name)
{
    const char *dot = vt_has_prefix(name, "blocks.") ? strchr(name + strlen("blocks."), '.') : NULL;
    return dot ? dot + 1 : name;
}

/* A number in ten columns; what is not finite is said in words. */
static const char *number(char buf[24], double x)
{
    if (isfinite(x))
        (void)snprintf(buf, 24, "%10.3g", x);
    else
        (void)snprintf(buf, 24, "%10s", isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
    return buf;
}

/* How many numbers are not finite, or that all are. */
static const char *not_finite(char buf[64], const vt_range *r)
{
    char a[32], b[32];
    if (r->not_finite == 0)
        return "-";
    (void)snprintf(buf, 64, "%s of %s", vt_cli_number(a, r->not_finite), vt_cli_number(b, r->count));
    return buf;
}

static double magnitude(const vt_range *r)
{
    double largest = fmax(fabs(r->smallest), fabs(r->largest));
    return r->count > r->not_finite ? largest : 0; /* a range of nothing is infinite */
}

/* --- tensors of the passes ------------------------------------------------------------------------------------------
 */

static void print_tensor(const vt_evidence *ev, const vt_seen_tensor *t)
{
    char part[32], a[24], b[24], c[24], d[64];
    bool none = t->range.count == t->range.not_finite;
    printf("%-10s %-20s %s %s %s   %s\n", part_name(part, ev, t->part), short_name(t->name),
           none ? "         -" : number(a, t->range.smallest), none ? "         -" : number(b, t->range.largest),
           none ? "         -" : number(c, t->range.rms), not_finite(d, &t->range));
}

/* The worst tensor of the part that begins with row i; *next is the first row behind it. */
static int worst_tensor(const vt_evidence *ev, int i, int *next)
{
    int worst = i, first = i;
    for (; i < ev->n_tensors && ev->tensors[i].part == ev->tensors[first].part &&
           ev->tensors[i].backward == ev->tensors[first].backward;
         i++) {
        const vt_range *r = &ev->tensors[i].range, *w = &ev->tensors[worst].range;
        if (w->not_finite == 0 && (r->not_finite > 0 || magnitude(r) > magnitude(w)))
            worst = i;
    }
    *next = i;
    return worst;
}

static void print_tensors(const vt_evidence *ev, bool all)
{
    for (int i = 0, next; i < ev->n_tensors; i = next) {
        if (i == 0 || ev->tensors[i].backward != ev->tensors[i - 1].backward)
            printf("\n%-31s %10s %10s %10s   not finite\n",
                   ev->tensors[i].backward ? "backward   gradient of" : "forward    tensor", "smallest", "largest",
                   "rms");
        int worst = worst_tensor(ev, i, &next);
        if (all)
            next = (worst = i) + 1;
        print_tensor(ev, &ev->tensors[worst]);
    }
}

static void print_attention(const vt_evidence *ev)
{
    printf("\n%-31s %10s %10s\n", "attention", "score", "entropy");
    for (int64_t l = 0; l < ev->depth; l++) {
        char part[32], a[24], b[24];
        printf("%-10s %-20s %s %s\n", part_name(part, ev, l), "largest, least",
               number(a, ev->attention[l].largest_score), number(b, ev->attention[l].least_entropy));
    }
}

/* --- parameters -----------------------------------------------------------------------------------------------------
 */

static int64_t param_not_finite(const vt_seen_param *p)
{
    return p->before.not_finite + p->gradient.not_finite + p->after.not_finite;
}

static void print_param(const vt_evidence *ev, const vt_seen_param *p)
{
    char part[32], a[24], b[24], c[24], d[64];
    const vt_range *bad = p->before.not_finite ? &p->before : p->gradient.not_finite ? &p->gradient : &p->after;
    const char *which = bad->not_finite == 0  ? ""
                        : bad == &p->before   ? " before"
                        : bad == &p->gradient ? " of the gradient"
                                              : " after";
    printf("%-10s %-20s %s %s %s   %s%s\n", part_name(part, ev, p->part), short_name(p->name), number(a, p->before.rms),
           p->frozen ? "    frozen" : number(b, p->gradient.rms), ev->applied ? number(c, p->change_rms) : "         -",
           not_finite(d, bad), which);
}

static void print_params(const vt_evidence *ev, bool all)
{
    printf("\n%-31s %10s %10s %10s   not finite\n", "parameters tensor", "rms", "gradient", "update");
    for (int i = 0, first = 0, worst = 0; i < ev->n_params; i++) {
        const vt_seen_param *p = &ev->params[i];
        if (p->part != ev->params[first].part)
            first = worst = i;
        else if (param_not_finite(&ev->params[worst]) == 0 &&
                 (param_not_finite(p) > 0 || magnitude(&p->gradient) > magnitude(&ev->params[worst].gradient)))
            worst = i;
        if (all || i + 1 == ev->n_params || ev->params[i + 1].part != p->part)
            print_param(ev, all ? p : &ev->params[worst]);
    }
}

/* --- what came of it ------------------------------------------------------------------------------------------------
 */

static void print_bad(const vt_evidence *ev)
{
    const vt_first_bad *b = &ev->bad;
    char part[32], n[32], count[32];
    printf("first bad  %s, %s", b->name, part_name(part, ev, b->part));
    if (b->micro_batch >= 0)
        printf(", micro-batch %lld of %lld", (long long)b->micro_batch + 1, (long long)(ev->batch / ev->micro_batch));
    printf("\n           %s of its %s numbers are not finite\n", vt_cli_number(n, b->not_finite),
           vt_cli_number(count, b->count));
    if (b->before[0])
        printf("before it  %s, of up to %.3g\n", b->before, b->before_largest);
    if (b->parts == 0)
        return;
    printf("images     %lld of %lld%s: ", (long long)b->parts_bad, (long long)b->parts,
           b->told_apart || b->micro_batch < 0 ? "" : ", which share this tensor");
    for (int i = 0; i < b->n_samples && i < NAMED; i++)
        printf("%s%s", i ? ", " : "", b->samples[i]);
    if (b->parts_bad > NAMED)
        printf(" and %lld more (--json)", (long long)b->parts_bad - NAMED);
    printf("\n");
}

/* Whether metrics.jsonl, whose numbers have nine digits, tells the same. */
static bool same(double x, double recorded)
{
    return fabs(x - recorded) <= 1e-8 * fabs(recorded);
}

/* A figure that metrics.jsonl has too, with its nine digits. */
static const char *figure(char buf[32], double x)
{
    if (!isfinite(x))
        return "not finite";
    (void)snprintf(buf, 32, "%.9g", x);
    return buf;
}

static void print_outcome(const vt_evidence *ev)
{
    char a[32], b[32];
    printf("loss       %s, gradient norm %s, learning rate %.4g\n", figure(a, ev->loss), figure(b, ev->grad_norm),
           ev->lr);
    if (isfinite(ev->recorded_loss))
        printf("recorded   loss %s, gradient norm %s: %s\n", figure(a, ev->recorded_loss), figure(b, ev->recorded_norm),
               same(ev->loss, ev->recorded_loss) && same(ev->grad_norm, ev->recorded_norm)
                   ? "the same"
                   : "NOT THE SAME; other data, instruction set or version?");
    if (ev->bad.found)
        print_bad(ev);
    else
        printf("all finite\n");
}

void vt_replay_print(const char *run, const vt_evidence *ev, bool all)
{
    char a[32], parts[48] = "";
    int64_t micro_batches = ev->batch / ev->micro_batch;
    if (micro_batches > 1)
        (void)snprintf(parts, sizeof parts, " in %lld micro-batches", (long long)micro_batches);
    printf("update %lld of %s, %s images%s, from %s\n\n", (long long)ev->update, run, vt_cli_number(a, ev->batch),
           parts, ev->checkpoint ? ev->checkpoint : "the beginning");
    print_outcome(ev);
    print_tensors(ev, all);
    print_attention(ev);
    print_params(ev, all);
}

/* --- JSON -----------------------------------------------------------------------------------------------------------
 */

static json_t *range_json(const vt_range *r)
{
    if (r->count == 0)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:I, s:I}", "smallest", vt_json_number(r->smallest), "largest",
                     vt_json_number(r->largest), "rms", vt_json_number(r->rms), "count", (json_int_t)r->count,
                     "not_finite", (json_int_t)r->not_finite);
}

static json_t *part_json(const vt_evidence *ev, int64_t part)
{
    char buf[32];
    return json_string(part_name(buf, ev, part));
}

static json_t *bad_json(const vt_evidence *ev)
{
    const vt_first_bad *b = &ev->bad;
    if (!b->found)
        return json_null();
    json_t *samples = json_array();
    for (int i = 0; i < b->n_samples; i++)
        (void)json_array_append_new(samples, vt_json_text(b->samples[i]));
    json_t *o = json_pack("{s:s, s:o, s:I, s:I}", "tensor", b->name, "part", part_json(ev, b->part), "count",
                          (json_int_t)b->count, "not_finite", (json_int_t)b->not_finite);
    (void)json_object_set_new(o, "micro_batch", b->micro_batch < 0 ? json_null() : json_integer(b->micro_batch + 1));
    (void)json_object_set_new(o, "before", b->before[0] ? json_string(b->before) : json_null());
    (void)json_object_set_new(o, "before_largest", b->before[0] ? vt_json_number(b->before_largest) : json_null());
    (void)json_object_set_new(o, "told_apart", json_boolean(b->told_apart));
    (void)json_object_set_new(o, "samples_bad", json_integer(b->parts_bad));
    (void)json_object_set_new(o, "samples", samples);
    return o;
}

static json_t *tensors_json(const vt_evidence *ev)
{
    json_t *list = json_array();
    for (int i = 0; i < ev->n_tensors; i++) {
        const vt_seen_tensor *t = &ev->tensors[i];
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o}", "tensor", t->name, "pass",
                                                    t->backward ? "backward" : "forward", "part",
                                                    part_json(ev, t->part), "range", range_json(&t->range)));
    }
    return list;
}

static json_t *params_json(const vt_evidence *ev)
{
    json_t *list = json_array();
    for (int i = 0; i < ev->n_params; i++) {
        const vt_seen_param *p = &ev->params[i];
        (void)json_array_append_new(list, json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o}", "tensor", p->name, "part",
                                                    part_json(ev, p->part), "frozen", (int)p->frozen, "before",
                                                    range_json(&p->before), "gradient", range_json(&p->gradient),
                                                    "after", range_json(&p->after), "update_rms",
                                                    ev->applied ? vt_json_number(p->change_rms) : json_null()));
    }
    return list;
}

void vt_replay_print_json(const char *run, const vt_evidence *ev)
{
    json_t *attention = json_array(), *root = json_object();
    for (int64_t l = 0; l < ev->depth; l++)
        (void)json_array_append_new(
            attention, json_pack("{s:o, s:o}", "largest_score", vt_json_number(ev->attention[l].largest_score),
                                 "least_entropy", vt_json_number(ev->attention[l].least_entropy)));
    (void)json_object_set_new(root, "run", vt_json_text(run));
    (void)json_object_set_new(root, "update", json_integer(ev->update));
    (void)json_object_set_new(root, "checkpoint", ev->checkpoint ? vt_json_text(ev->checkpoint) : json_null());
    (void)json_object_set_new(root, "from_step", json_integer(ev->from_step));
    (void)json_object_set_new(root, "batch", json_integer(ev->batch));
    (void)json_object_set_new(root, "micro_batch", json_integer(ev->micro_batch));
    (void)json_object_set_new(root, "loss", vt_json_number(ev->loss));
    (void)json_object_set_new(root, "grad_norm", vt_json_number(ev->grad_norm));
    (void)json_object_set_new(root, "lr", vt_json_number(ev->lr));
    (void)json_object_set_new(root, "recorded_loss", vt_json_number(ev->recorded_loss));
    (void)json_object_set_new(root, "recorded_grad_norm", vt_json_number(ev->recorded_norm));
    (void)json_object_set_new(root, "first_bad", bad_json(ev));
    (void)json_object_set_new(root, "tensors", tensors_json(ev));
    (void)json_object_set_new(root, "attention", attention);
    (void)json_object_set_new(root, "parameters", params_json(ev));
    vt_cli_print_json(root);
}
