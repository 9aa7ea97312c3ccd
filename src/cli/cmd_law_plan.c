/* vitro law plan: what a budget would buy by a fit: what is left for the run, the shape, its length, the error with its
 * interval, memory, time, money, what binds, and from which budget on it pays. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/budget.h"
#include "law/joint.h"
#include "law/record.h"
#include "model/cost.h"

#define STATE_BYTES 10 /* a parameter: float32 weight and gradient, and Adafactor's state */
#define MAX_REPEATS 4  /* epochs that are nearly as good as new data (Muennighoff et al. 2023) */

static const char text[] =
    "FIT is a file of vitro law fit --out. A budget is in the fit's unit, in FLOPs (1e19flops) or in device hours\n"
    "(50000xH100h; --mfu is the share of the device's bf16 peak that training reaches). Pilot runs, tuning, "
    "evaluation,\n"
    "cooldowns, checkpoints and restarts are kept back first. Prices are yours to give.\n\n"
    "The shape follows SoViT's rule and is given where the fit counts FLOPs (of training: 3 x forward).\n\n"
    "Examples:\n"
    "  printf 'flops,error\\n1e15,.81\\n3e15,.72\\n1e16,.61\\n3e16,.53\\n1e17,.45\\n3e17,.39\\n1e18,.34\\n3e18,.30\\n' "
    ">runs.csv\n"
    "  vitro law fit runs.csv --x flops --y error --out fit.json\n"
    "  vitro law plan fit.json --budget 1e19flops\n"
    "  vitro law plan fit.json --budget 4xH100h --mfu 0.35 --price 2.5 --baseline 0.35 --json";

typedef struct {
    const char *budget, *mfu_text, *price_text, *baseline_text, *keep_text, *level_text, *images_text, *batch_text;
    const char *serve_text, *sizes;
    bool json;
    double mfu, price, baseline, images_there, batch, serve, keep[VT_N_KEEP];
    int level;
} plan_options;

typedef struct {
    vt_record record;
    vt_law law;
    vt_budget budget;
    double kept, net; /* shares of the budget, in the fit's unit */
    vt_prediction error;
    bool has_shape;
    vt_model_config shape;
    double parameters, forward, images, steps, warmup, cooldown;
    bool has_life;
    vt_joint joint;
    double best_size, best_data, best_y;
    vt_life life;
    bool life_known;
    double break_centre, break_upper;
} plan;

/* --- arithmetic
 * ------------------------------------------------------------------------------------------------------- */

static void shape_of(const plan_options *o, plan *p, double flops)
{
    int width, depth, mlp;
    vt_shape_for(flops / 3, &width, &depth, &mlp);
    p->has_shape = true;
    p->shape = (vt_model_config){.width = width,
                                 .depth = depth,
                                 .mlp = mlp,
                                 .heads = width / 64,
                                 .patch = 14,
                                 .image_height = 224,
                                 .image_width = 224,
                                 .head = VT_HEAD_MAP};
    p->parameters = (double)vt_model_param_counts(&p->shape).total;
    p->forward = vt_model_flops(&p->shape).products;
    p->images = flops / (3 * p->forward);
    p->steps = floor(p->images / o->batch);
    p->warmup = fmin(10000, floor(0.1 * p->steps));
    p->cooldown = fmin(50000, floor(0.2 * p->steps));
}

/* Training compute of a run, per unit of size and data: 3 for forward operations of an image, 6 for parameters and
 * tokens. */
#define PER_PAIR 3

static vt_status life_of(const plan_options *o, plan *p, double flops, vt_err *err)
{
    VT_TRY(vt_joint_load(&p->joint, o->sizes, err));
    vt_joint_optimum(&p->joint, flops, PER_PAIR, &p->best_size, &p->best_data, &p->best_y);
    p->life_known = vt_joint_life(&p->joint, flops, PER_PAIR, o->serve, 1, &p->life);
    p->has_life = true;
    return VT_OK;
}

static vt_status make(const plan_options *o, plan *p, vt_err *err)
{
    VT_TRY(vt_budget_parse(&p->budget, o->budget, p->record.x_unit, o->mfu, err));
    for (int i = 0; i < VT_N_KEEP; i++)
        p->kept += o->keep[i];
    p->net = p->budget.amount * (1 - p->kept / 100);
    p->error = vt_law_predict(&p->law, &p->record.cal, p->net, o->level);
    if (p->error.distance * 1000 < 1)
        return vt_fail(err, VT_EINVAL, "what is left, %.3g %s, is far below the runs that were fitted (%.3g to %.3g)",
                       p->net, p->record.x_unit, p->law.x[0], p->law.x[p->law.n - 1]);
    const double flops = p->net * vt_flops_of_unit(p->record.x_unit);
    if (flops > 0)
        shape_of(o, p, flops);
    if (o->serve > 0 && flops <= 0)
        return vt_fail(err, VT_EINVAL, "--serve needs a fit that counts FLOPs; this one counts %s", p->record.x_unit);
    if (o->serve > 0)
        VT_TRY(life_of(o, p, flops, err));
    if (o->baseline > 0)
        vt_break_even(&p->law, &p->record.cal, o->level, o->baseline, &p->break_centre, &p->break_upper);
    return VT_OK;
}

/* --- as text
 * ---------------------------------------------------------------------------------------------------------- */

static void print_budget(const plan_options *o, const plan *p)
{
    const char *unit = p->record.x_unit;
    printf("budget      %.4g %s", p->budget.amount, unit);
    if (p->budget.device)
        printf(" (%g hours of %s at %.0f%% of %.0f TFLOP/s)", p->budget.device_hours, p->budget.device->name,
               100 * o->mfu, p->budget.device->flops * 1e-12);
    printf("\n");
    for (int i = 0; i < VT_N_KEEP; i++)
        if (o->keep[i] > 0)
            printf("  - %-12s %5.1f%%  %10.3g  %s\n", vt_keep_names[i], o->keep[i], p->budget.amount * o->keep[i] / 100,
                   vt_keep_texts[i]);
    printf("  = %-12s %5.1f%%  %10.3g  %s\n", "the run", 100 - p->kept, p->net, unit);
    if (p->budget.device && o->price > 0)
        printf("  money        %.2f at %.2f an hour\n", p->budget.device_hours * o->price, o->price);
}

static void print_error(const plan_options *o, const plan *p)
{
    const char *y = vt_law_y_word(p->record.y_unit);
    printf("\nexpected    %s %.4f, %.0f%% interval %.4f to %.4f\n", y, p->error.centre, 100 * vt_levels[o->level],
           p->error.low, p->error.high);
    printf("  %.2g times the largest run that was fitted", p->error.distance);
    if (!isnan(p->error.full))
        printf("; the form with d says %.4f, without %.4f", p->error.full, p->error.floor);
    printf("\n");
    if (p->error.distance > 1 && !p->error.supported)
        printf("  no back-test supports this: %s\n", p->error.distance > 30
                                                         ? "it is more than 30 times beyond the data"
                                                         : "too few runs to tell where the law levels off");
}

static void print_shape(const plan_options *o, const plan *p)
{
    char a[32], b[32], c[32];
    if (!p->has_shape) {
        printf("\nshape       not told: the fit counts %s, not FLOPs\n", p->record.x_unit);
        return;
    }
    printf("\nshape       w%lld-d%lld-m%lld-h%lld-p%lld (SoViT's rule), %s parameters, %.4g GFLOP an image forward\n",
           (long long)p->shape.width, (long long)p->shape.depth, (long long)p->shape.mlp, (long long)p->shape.heads,
           (long long)p->shape.patch, vt_format_count(a, p->parameters), p->forward * 1e-9);
    printf("  images       %s\n  batch        %.0f\n  steps        %s\n", vt_format_count(b, p->images), o->batch,
           vt_format_count(c, p->steps));
    printf("  schedule     rsqrt, warm-up %s, cooldown %s\n", vt_format_count(a, p->warmup),
           vt_format_count(b, p->cooldown));
    printf("  memory       %s for weights, gradients and Adafactor's state; activations by vitro plan --model\n",
           vt_format_bytes(a, p->parameters * STATE_BYTES));
    if (p->budget.device)
        printf("  time         %s on one %s; N of them take an N-th where they scale\n",
               vt_format_seconds(a, p->budget.device_hours * 3600 * (1 - p->kept / 100)), p->budget.device->name);
    if (o->images_there > 0 && p->images > MAX_REPEATS * o->images_there)
        printf("  binds        data: %.1f epochs of %s images; beyond about %d, repeats are worth less and less\n",
               p->images / o->images_there, vt_format_count(a, o->images_there), MAX_REPEATS);
    else
        printf("  binds        compute%s\n", o->images_there > 0 ? "" : " (--images tells how many there are)");
}

static void print_life(const plan_options *o, const plan *p)
{
    char a[32], b[32];
    if (!p->has_life)
        return;
    printf("\nover its life, %s images served\n", vt_format_count(a, o->serve));
    printf("  best to train     size %.4g, data %.4g, E %.4f: %.4g to train, %.4g to serve\n", p->best_size,
           p->best_data, p->best_y, PER_PAIR * p->best_size * p->best_data, o->serve * p->best_size);
    if (!p->life_known)
        printf("  cheapest in all   not told: it would be far smaller than any size that was fitted\n");
    else
        printf("  cheapest in all   size %.4g, data %.4g, the same E: %.4g to train, %.4g to serve, %s of the sum\n",
               p->life.size, p->life.data, p->life.training, p->life.serving,
               (snprintf(b, sizeof b, "%.0f%%",
                         100 * (p->life.training + p->life.serving) /
                             (PER_PAIR * p->best_size * p->best_data + o->serve * p->best_size)),
                b));
}

static void print_baseline(const plan_options *o, const plan *p)
{
    if (o->baseline <= 0)
        return;
    printf("\nbaseline    %.4f; training pays from\n", o->baseline);
    const struct {
        const char *what;
        double x;
    } rows[] = {{"as expected", p->break_centre}, {"even at the interval's upper end", p->break_upper}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        if (rows[i].x == 0)
            printf("  any budget: the cheapest run is better already, %s\n", rows[i].what);
        else if (isinf(rows[i].x))
            printf("  no budget up to 30 times the largest run, %s\n", rows[i].what);
        else
            printf("  %.3g %s for the run, %.3g with what is kept back, %s\n", rows[i].x, p->record.x_unit,
                   rows[i].x / (1 - p->kept / 100), rows[i].what);
    }
}

/* --- as JSON
 * ---------------------------------------------------------------------------------------------------------- */

static void add_number(json_t *o, const char *key, double value)
{
    (void)json_object_set_new(o, key, vt_json_number(value));
}

static void print_json(const plan_options *o, const plan *p)
{
    json_t *root = json_object(), *keep = json_object(), *error = json_object();
    (void)json_object_set_new(root, "unit", json_string(p->record.x_unit));
    add_number(root, "budget", p->budget.amount);
    for (int i = 0; i < VT_N_KEEP; i++)
        add_number(keep, vt_keep_names[i], p->budget.amount * o->keep[i] / 100);
    (void)json_object_set_new(root, "kept_back", keep);
    add_number(root, "run", p->net);
    if (p->budget.device && o->price > 0)
        add_number(root, "price", p->budget.device_hours * o->price);
    add_number(error, "value", p->error.centre);
    add_number(error, "low", p->error.low);
    add_number(error, "high", p->error.high);
    add_number(error, "level", vt_levels[o->level]);
    add_number(error, "distance", p->error.distance);
    (void)json_object_set_new(error, "supported", json_boolean(p->error.distance <= 1 || p->error.supported));
    (void)json_object_set_new(root, "expected", error);
    if (p->has_shape) {
        json_t *shape = json_object();
        add_number(shape, "width", (double)p->shape.width);
        add_number(shape, "depth", (double)p->shape.depth);
        add_number(shape, "mlp", (double)p->shape.mlp);
        add_number(shape, "heads", (double)p->shape.heads);
        add_number(shape, "patch", (double)p->shape.patch);
        add_number(shape, "parameters", p->parameters);
        add_number(shape, "images", p->images);
        add_number(shape, "batch", o->batch);
        add_number(shape, "steps", p->steps);
        add_number(shape, "state_bytes", p->parameters * STATE_BYTES);
        (void)json_object_set_new(root, "shape", shape);
    }
    if (p->has_life && p->life_known) {
        json_t *life = json_object();
        add_number(life, "size", p->life.size);
        add_number(life, "data", p->life.data);
        add_number(life, "training", p->life.training);
        add_number(life, "serving", p->life.serving);
        (void)json_object_set_new(root, "life", life);
    }
    if (o->baseline > 0) {
        add_number(root, "pays_from", p->break_centre);
        add_number(root, "pays_surely_from", p->break_upper);
    }
    vt_cli_print_json(root);
}

/* --- the command
 * ------------------------------------------------------------------------------------------------------ */

static vt_status run(const plan_options *o, const char *path, vt_err *err)
{
    plan p = {0};
    VT_TRY(vt_record_load(&p.record, &p.law, path, err));
    vt_status status = make(o, &p, err);
    if (status == VT_OK && o->json)
        print_json(o, &p);
    else if (status == VT_OK) {
        print_budget(o, &p);
        print_error(o, &p);
        print_shape(o, &p);
        print_life(o, &p);
        print_baseline(o, &p);
    }
    vt_law_release(&p.law);
    vt_record_release(&p.record);
    return status;
}

static vt_status check(plan_options *o, vt_err *err)
{
    if (!o->budget)
        return vt_fail(err, VT_EINVAL, "--budget is missing: 1e19flops, 50000xH100h or an amount in the fit's unit");
    VT_TRY(vt_law_number("mfu", o->mfu_text, 0.001, 1, 0.4, &o->mfu, err));
    VT_TRY(vt_law_number("price", o->price_text, 0, 1e6, 0, &o->price, err));
    VT_TRY(vt_law_number("baseline", o->baseline_text, 1e-6, 1e6, 0, &o->baseline, err));
    VT_TRY(vt_law_number("images", o->images_text, 1, 1e15, 0, &o->images_there, err));
    VT_TRY(vt_law_number("batch", o->batch_text, 1, 1e7, 4096, &o->batch, err));
    VT_TRY(vt_law_number("serve", o->serve_text, 1, 1e18, 0, &o->serve, err));
    VT_TRY(vt_law_level(o->level_text, &o->level, err));
    if ((o->serve > 0) != (o->sizes != NULL))
        return vt_fail(err, VT_EINVAL,
                       "--serve and --sizes go together: how many images, and a file of vitro law joint --out "
                       "whose size is forward FLOPs of an image and whose data are images");
    return vt_keep_parse(o->keep, o->keep_text, err);
}

int vt_cmd_law_plan(vt_cli *cli, int argc, char **argv)
{
    plan_options o = {0};
    const vt_opt opts[] = {
        {"budget", "AMOUNT", &o.budget, "1e19flops, 50000xH100h, or an amount in the fit's unit"},
        {"mfu", "SHARE", &o.mfu_text, "share of a device's peak that training reaches; default: 0.4"},
        {"price", "NUMBER", &o.price_text, "of a device hour; none is built in"},
        {"keep", "LIST", &o.keep_text,
         "percent kept back; default: pilot=5,tuning=10,evaluation=1,cooldown=5,checkpoints=1,restarts=3"},
        {"level", "PERCENT", &o.level_text, "50, 80, 90 or 95; default: 80"},
        {"images", "N", &o.images_text, "different images there are, to tell what binds"},
        {"batch", "N", &o.batch_text, "default: 4096"},
        {"baseline", "ERROR", &o.baseline_text, "error of what is there already: from which budget does training pay?"},
        {"serve", "N", &o.serve_text, "images to be predicted in the model's life (with --sizes)"},
        {"sizes", "FILE", &o.sizes, "joint law of forward FLOPs and images, from vitro law joint --out"},
        {"json", NULL, &o.json, "print the result as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check(&o, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(&o, args.list[0], &err), &err);
    vt_args_release(&args);
    return status;
}
