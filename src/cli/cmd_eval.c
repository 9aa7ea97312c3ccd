/* vitro eval: top-1, top-5 and loss on labelled images, each accuracy with its 95 % interval, and the classes that go
 * wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/machine.h"
#include "cli/cli.h"
#include "cli/loaded.h"
#include "cli/report.h"
#include "eval/classify.h"
#include "train/recipe.h"

#define WORST_CLASSES 5

static const char text[] = "Without DATA it takes the run's own data.eval. Class names are compared with those of the "
                           "checkpoint: other names\n"
                           "are refused, another order is mapped by name. Intervals are Wilson's, 95 %.\n\n"
                           "Examples:\n"
                           "  vitro eval runs/shapes-demo\n"
                           "  vitro eval runs/shapes-demo 'synthetic:shapes?count=500&seed=9' --classes --json";

typedef struct {
    vt_load_options load;
    bool json, classes;
} eval_options;

/* The DATA given, or data.eval of the run; malloc'ed. */
static vt_status choose_data(const vt_loaded *l, const vt_args *args, char **spec, vt_err *err)
{
    if (args->n > 1) {
        *spec = vt_xstrdup(args->list[1]);
        return VT_OK;
    }
    char *run = vt_loaded_run(l, args->list[0]);
    if (!run)
        return vt_fail(err, VT_EINVAL, "%s lies in no run folder, so there is no data.eval to take; name the DATA",
                       l->dir);
    vt_recipe recipe;
    vt_status status = vt_recipe_load(&recipe, run, NULL, 0, err);
    if (status == VT_OK) {
        if (recipe.data.eval[0])
            *spec = vt_xstrdup(recipe.data.eval);
        else
            status = vt_fail(err, VT_EINVAL, "data.eval of %s is empty; name the DATA", run);
        vt_recipe_release(&recipe);
    }
    free(run);
    return status;
}

static json_t *result_json(const vt_loaded *l, const vt_source *source, const vt_classification *c, bool permuted)
{
    json_t *root = json_object();
    (void)json_object_set_new(root, "checkpoint", vt_cli_json_text(l->dir));
    (void)json_object_set_new(root, "step", json_integer(l->info.step));
    (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(source)));
    (void)json_object_set_new(root, "mapped_by_name", json_boolean(permuted));
    vt_report_classification_json(root, c);
    json_t *classes = json_array();
    for (int64_t i = 0; i < c->classes; i++) {
        json_t *row = json_object();
        (void)json_object_set_new(row, "class", vt_cli_json_text(l->info.class_names[i]));
        (void)json_object_set_new(row, "count", json_integer(c->class_count[i]));
        (void)json_object_set_new(row, "right", json_integer(c->class_right[i]));
        (void)json_array_append_new(classes, row);
    }
    (void)json_object_set_new(root, "classes", classes);
    return root;
}

/* A class that was met. */
typedef struct {
    int64_t class, right, count;
} class_row;

/* Worst first; equal ones in the order of classes. */
static int worse(const void *a, const void *b)
{
    const class_row *x = a, *y = b;
    double fx = (double)x->right / (double)x->count, fy = (double)y->right / (double)y->count;
    if (fx != fy)
        return fx < fy ? -1 : 1;
    return (x->class > y->class) - (x->class < y->class);
}

static void print_classes(const vt_loaded *l, const vt_classification *c, bool all)
{
    class_row *rows = vt_xcalloc((size_t)c->classes + 1, sizeof *rows);
    int64_t n = 0;
    for (int64_t i = 0; i < c->classes; i++)
        if (c->class_count[i] > 0)
            rows[n++] = (class_row){i, c->class_right[i], c->class_count[i]};
    qsort(rows, (size_t)n, sizeof *rows, worse);
    int64_t shown = all || n < WORST_CLASSES ? n : WORST_CLASSES;
    printf("\n%s\n", shown < n ? "worst classes (--classes for all)" : "classes, worst first");
    for (int64_t i = 0; i < shown; i++) {
        char right[32], count[32];
        vt_estimate a = vt_accuracy(rows[i].right, rows[i].count);
        printf("  %-24s %6.2f %%  [%.2f, %.2f]  %s of %s\n", l->info.class_names[rows[i].class], 100 * a.value,
               100 * a.low, 100 * a.high, vt_cli_number(right, rows[i].right), vt_cli_number(count, rows[i].count));
    }
    free(rows);
}

static void print_result(const vt_loaded *l, const vt_source *source, const vt_classification *c, double seconds,
                         bool all)
{
    char a[32], b[32];
    printf("checkpoint  %s (step %s)\n", l->dir, vt_cli_number(a, l->info.step));
    printf("data        %s (%s images, %s classes)\n", vt_source_spec(source), vt_cli_number(a, c->count),
           vt_cli_number(b, vt_source_classes(source)));
    vt_report_classification(c);
    printf("time        %s (%.0f images/s)\n", vt_format_seconds(a, seconds), (double)c->count / fmax(seconds, 1e-9));
    print_classes(l, c, all);
}

static vt_status evaluate(vt_cli *cli, const eval_options *o, vt_loaded *l, const vt_source *source, vt_err *err)
{
    vt_classification c = {0};
    bool permuted = false;
    int32_t *map = vt_xcalloc((size_t)vt_source_classes(source), sizeof *map);
    vt_status status = vt_checkpoint_match_classes(&l->info, source, map, &permuted, err);
    if (status == VT_OK) {
        if (permuted)
            vt_term_note(cli->term, "the classes of %s come in another order; they are matched by name",
                         vt_source_spec(source));
        vt_term_counter counter = vt_term_counting(cli->term, "evaluating");
        vt_eval_pass pass = vt_loaded_pass(l, source);
        pass.label_map = map;
        pass.progress = vt_term_count;
        pass.progress_context = &counter;
        status = vt_classify(&pass, &c, err);
        double seconds = (double)(vt_now_ns() - counter.start_ns) * 1e-9;
        vt_term_clear(cli->term);
        if (status == VT_OK && o->json)
            vt_cli_print_json(result_json(l, source, &c, permuted));
        else if (status == VT_OK)
            print_result(l, source, &c, seconds, o->classes);
    }
    vt_classification_release(&c);
    free(map);
    return status;
}

static vt_status run(vt_cli *cli, const eval_options *o, const vt_args *args, vt_err *err)
{
    vt_loaded l;
    vt_source *source = NULL;
    char *spec = NULL;
    vt_status status = vt_loaded_open(&l, args->list[0], &o->load, err);
    if (status == VT_OK)
        status = choose_data(&l, args, &spec, err);
    if (status == VT_OK)
        status = vt_source_open(&source, spec, err);
    if (status == VT_OK)
        status = evaluate(cli, o, &l, source, err);
    vt_source_close(source);
    vt_loaded_close(&l);
    free(spec);
    return status;
}

int vt_cmd_eval(vt_cli *cli, int argc, char **argv)
{
    eval_options o = {0};
    const vt_opt opts[] = {
        {"classes", NULL, &o.classes, "print every class"},
        {"json", NULL, &o.json, "print the result as JSON"},
        VT_LOAD_OPTS(o.load),
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 1, 2};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (vt_load_options_check(&o.load, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
