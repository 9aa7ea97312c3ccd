/* vitro fewshot: how well the frozen features of a model separate new classes, from 1, 5, 10, ... labelled images each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/loaded.h"
#include "eval/fewshot.h"
#include "eval/stats.h"

#define LAMBDA 1024.0 /* spec of the evaluation: 2^10, for every data set */

static const char text[] = "Ridge regression on the features before the classifier (lambda 1024), on the same draws of "
                           "images as big_vision's.\n"
                           "Without --test, images are drawn from the first 80 % of DATA and tested on the other 20 %. "
                           "The classes may be any:\n"
                           "they need not be those that the model was trained on.\n\n"
                           "Examples:\n"
                           "  vitro fewshot runs/shapes-demo 'synthetic:shapes?count=2000&seed=5'\n"
                           "  vitro fewshot runs/shapes-demo 'synthetic:shapes?count=1000' --test "
                           "'synthetic:shapes?count=500&seed=1' --shots 5,10";

typedef struct {
    vt_load_options load;
    const char *test, *shots, *seeds;
    bool json;
    vt_fewshot_options fewshot;
} fewshot_options;

/* "1,5,10,25", rising. */
static vt_status parse_shots(const char *list, vt_fewshot_options *f, vt_err *err)
{
    vt_text item = {0};
    vt_status status = VT_OK;
    f->n_shots = 0;
    for (const char *p = list; status == VT_OK; p++) {
        size_t n = strcspn(p, ",");
        int64_t shots = 0;
        vt_text_clear(&item);
        vt_text_addn(&item, p, n);
        status = vt_cli_integer("shots", item.s, 1, 100000, 0, &shots, err);
        if (status == VT_OK && f->n_shots == VT_MAX_SHOTS)
            status = vt_fail(err, VT_EINVAL, "--shots lists more than %d numbers", VT_MAX_SHOTS);
        if (status == VT_OK && f->n_shots > 0 && f->shots[f->n_shots - 1] >= shots)
            status = vt_fail(err, VT_EINVAL, "--shots is %s; the numbers must rise", list);
        if (status == VT_OK)
            f->shots[f->n_shots++] = (int)shots;
        p += n;
        if (!*p)
            break;
    }
    vt_text_release(&item);
    return status;
}

static vt_status check_options(fewshot_options *o, const char *data, vt_err *err)
{
    int64_t seeds = 0;
    VT_TRY(vt_load_options_check(&o->load, err));
    VT_TRY(vt_cli_integer("seeds", o->seeds, 1, VT_MAX_SEEDS, 3, &seeds, err));
    o->fewshot.n_seeds = (int)seeds;
    o->fewshot.l2 = LAMBDA;
    const char *query = strchr(data, '?');
    if (!o->test && query && strstr(query, "split="))
        return vt_fail(err, VT_EINVAL, "%s has a split of its own; name the test images by --test", data);
    return parse_shots(o->shots ? o->shots : "1,5,10,25", &o->fewshot, err);
}

/* DATA with one option more. */
static char *with_split(const char *data, const char *split)
{
    return vt_xasprintf("%s%csplit=%s", data, strchr(data, '?') ? '&' : '?', split);
}

/* Of the mean over draws, for the luck of the test images; the luck of the draws is the deviation. */
static vt_estimate test_interval(const vt_fewshot_result *r, int shot)
{
    return vt_accuracy((int64_t)(r->mean[shot] * (double)r->test_count + 0.5), r->test_count);
}

static void print_json(const vt_loaded *l, const vt_source *pool, const vt_source *test, const vt_fewshot_result *r)
{
    json_t *root = json_object(), *rows = json_array();
    (void)json_object_set_new(root, "checkpoint", vt_cli_json_text(l->dir));
    (void)json_object_set_new(root, "step", json_integer(l->info.step));
    (void)json_object_set_new(root, "pool", vt_cli_json_text(vt_source_spec(pool)));
    (void)json_object_set_new(root, "test", vt_cli_json_text(vt_source_spec(test)));
    (void)json_object_set_new(root, "test_count", json_integer(r->test_count));
    for (int i = 0; i < r->n_shots; i++) {
        json_t *row = json_object(), *seeds = json_array();
        for (int s = 0; s < r->n_seeds; s++)
            (void)json_array_append_new(seeds, vt_json_number(r->accuracy[i][s]));
        (void)json_object_set_new(row, "shots", json_integer(r->shots[i]));
        (void)json_object_set_new(row, "mean", vt_json_number(r->mean[i]));
        (void)json_object_set_new(row, "interval",
                                  json_pack("[f,f]", test_interval(r, i).low, test_interval(r, i).high));
        (void)json_object_set_new(row, "deviation", vt_json_number(r->deviation[i]));
        (void)json_object_set_new(row, "accuracy_by_seed", seeds);
        (void)json_array_append_new(rows, row);
    }
    (void)json_object_set_new(root, "shots", rows);
    vt_cli_print_json(root);
}

static void print_result(const vt_loaded *l, const vt_source *pool, const vt_source *test, const vt_fewshot_result *r)
{
    char a[32], b[32];
    printf("checkpoint  %s (step %s)\n", l->dir, vt_cli_number(a, l->info.step));
    printf("pool        %s (%s images, %s classes)\n", vt_source_spec(pool), vt_cli_number(a, vt_source_count(pool)),
           vt_cli_number(b, vt_source_classes(pool)));
    printf("test        %s (%s images)\n\n", vt_source_spec(test), vt_cli_number(a, r->test_count));
    printf("shots  accuracy  95 %% interval   deviation over %d seed%s\n", r->n_seeds, r->n_seeds == 1 ? "" : "s");
    for (int i = 0; i < r->n_shots; i++) {
        vt_estimate e = test_interval(r, i);
        printf("%5d  %6.2f %%  [%5.2f, %5.2f]  %.2f %%%s\n", r->shots[i], 100 * r->mean[i], 100 * e.low, 100 * e.high,
               100 * r->deviation[i], r->shots[i] > r->fewest ? "  (some classes have fewer images)" : "");
    }
}

static vt_status measure(vt_cli *cli, const fewshot_options *o, vt_loaded *l, const vt_source *pool,
                         const vt_source *test, vt_err *err)
{
    vt_fewshot_result r;
    VT_TRY(vt_fewshot_check_classes(pool, test, err));
    vt_term_counter counter = vt_term_counting(cli->term, "features");
    vt_eval_pass train_pass = vt_loaded_pass(l, pool), test_pass = vt_loaded_pass(l, test);
    train_pass.progress = test_pass.progress = vt_term_count;
    train_pass.progress_context = test_pass.progress_context = &counter;
    VT_TRY(vt_fewshot(&train_pass, &test_pass, &o->fewshot, &r, err));
    vt_term_clear(cli->term);
    if (o->json)
        print_json(l, pool, test, &r);
    else
        print_result(l, pool, test, &r);
    return VT_OK;
}

static vt_status run(vt_cli *cli, const fewshot_options *o, const vt_args *args, vt_err *err)
{
    vt_loaded l;
    vt_source *pool = NULL, *test = NULL;
    const char *data = args->list[1];
    char *pool_spec = o->test ? vt_xstrdup(data) : with_split(data, "[:80%]");
    char *test_spec = o->test ? vt_xstrdup(o->test) : with_split(data, "[80%:]");
    vt_status status = vt_loaded_open(&l, args, &o->load, err);
    if (status == VT_OK)
        status = vt_source_open(&pool, pool_spec, err);
    if (status == VT_OK)
        status = vt_source_open(&test, test_spec, err);
    if (status == VT_OK)
        status = measure(cli, o, &l, pool, test, err);
    vt_source_close(pool);
    vt_source_close(test);
    vt_loaded_close(&l);
    free(pool_spec);
    free(test_spec);
    return status;
}

int vt_cmd_fewshot(vt_cli *cli, int argc, char **argv)
{
    fewshot_options o = {0};
    const vt_opt opts[] = {
        {"test", "DATA", &o.test, "test images; default: the last 20 % of DATA, and the first 80 % to draw from"},
        {"shots", "LIST", &o.shots, "images a class; default: 1,5,10,25"},
        {"seeds", "N", &o.seeds, "draws, each with another seed; default: 3"},
        {"json", NULL, &o.json, "print the result as JSON"},
        VT_LOAD_OPTS(o.load),
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 2, 2, true};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check_options(&o, args.list[1], &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
