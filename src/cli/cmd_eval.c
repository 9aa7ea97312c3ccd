/* vitro eval: top-1, top-5, precision of label sets and loss on labelled images, each with its 95 % interval; the
 * classes that go wrong; calibration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/loaded.h"
#include "cli/report.h"
#include "eval/classify.h"
#include "train/recipe.h"

#define WORST_CLASSES 5
#define MAP_SHARE     0.25 /* of the machine's memory, for the logits that mean average precision needs */
#define MAX_LIST      (16u << 20)

static const char text[] =
    VT_MODEL_HELP "Without DATA it takes the run's own data.eval. Class names are compared with those of the "
                  "checkpoint: other names\n"
                  "are refused, another order is mapped by name. Intervals are Wilson's, 95 %. An image with\n"
                  "several classes (labels=FILE) is right when the best class is one of them; one without is "
                  "left out.\n\n"
                  "Examples:\n"
                  "  vitro eval runs/shapes-demo\n"
                  "  vitro eval runs/shapes-demo 'synthetic:shapes?count=500&seed=9' --classes --json\n"
                  "  vitro eval runs/shapes-demo 'synthetic:shapes?count=500' --calibration\n"
                  "  vitro eval runs/shapes-demo 'synthetic:shapes?classes=4&count=200' --among data";

typedef struct {
    vt_load_options load;
    const char *among, *confidence;
    bool json, classes, calibration;
} eval_options;

/* What one command finds out. */
typedef struct {
    vt_classification c;
    vt_scores scores; /* where it is kept */
    vt_calibration calibration;
    double map;          /* mean average precision, over */
    int64_t map_classes; /* classes; 0: not computed */
    bool permuted;
    double seconds;
} findings;

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

static json_t *result_json(const vt_loaded *l, const vt_source *source, const eval_options *o, const findings *f)
{
    const vt_classification *c = &f->c;
    json_t *root = json_object();
    (void)json_object_set_new(root, "checkpoint", vt_cli_json_text(l->dir));
    (void)json_object_set_new(root, "step", json_integer(l->info.step));
    (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(source)));
    (void)json_object_set_new(root, "mapped_by_name", json_boolean(f->permuted));
    if (c->among < c->classes)
        (void)json_object_set_new(root, "among", json_integer(c->among));
    vt_report_classification_json(root, c);
    if (f->map_classes > 0)
        (void)json_object_set_new(root, "mean_average_precision", vt_json_number(f->map));
    if (o->calibration)
        (void)json_object_set_new(root, "calibration", vt_report_calibration_json(&f->calibration));
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

static void print_result(const vt_loaded *l, const vt_source *source, const eval_options *o, const findings *f)
{
    const vt_classification *c = &f->c;
    char a[32], b[32];
    vt_loaded_print(l);
    printf("data        %s (%s images, %s classes)\n", vt_source_spec(source), vt_cli_number(a, c->count),
           vt_cli_number(b, vt_source_classes(source)));
    if (c->among < c->classes)
        printf("among       %s of the model's %s classes: a prediction is the best of these\n",
               vt_cli_number(a, c->among), vt_cli_number(b, c->classes));
    vt_report_classification(c);
    if (f->map_classes > 0)
        printf("mAP         %.2f %%  average precision, mean over %s classes\n", 100 * f->map,
               vt_cli_number(a, f->map_classes));
    printf("time        %s (%.0f images/s)\n", vt_format_seconds(a, f->seconds),
           (double)c->count / fmax(f->seconds, 1e-9));
    if (o->calibration)
        vt_report_calibration(&f->calibration);
    print_classes(l, c, o->classes);
}

/* Marks the class of that name. */
static vt_status mark(const vt_loaded *l, const char *name, const char *list, uint8_t *among, vt_err *err)
{
    for (int64_t c = 0; c < l->info.model.classes; c++)
        if (strcmp(l->info.class_names[c], name) == 0) {
            among[c] = 1;
            return VT_OK;
        }
    const char *near = vt_nearest(name, (const char *const *)l->info.class_names, (size_t)l->info.model.classes);
    return vt_fail(err, VT_EINVAL, "--among %s: the model has no class '%s'%s%s%s", list, name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* --among: `data`, the classes that some image has; or a file of names, one a line; or names joined by commas. */
static vt_status choose_among(const vt_loaded *l, const vt_source *source, const int32_t *map, const char *list,
                              uint8_t *among, vt_err *err)
{
    vt_status status = VT_OK;
    if (strcmp(list, "data") == 0) {
        int64_t *counts = vt_xcalloc((size_t)vt_source_classes(source), sizeof *counts);
        vt_source_class_counts(source, counts);
        for (int64_t c = 0; c < vt_source_classes(source); c++)
            among[map[c]] |= counts[c] > 0;
        free(counts);
        return VT_OK;
    }
    unsigned char *file = NULL;
    size_t size;
    if (vt_is_file(list))
        VT_TRY(vt_file_read(list, MAX_LIST, &file, &size, err));
    char *names = file ? (char *)file : vt_xstrdup(list), *rest = NULL;
    const char *between = file ? "\r\n" : ",";
    for (char *name = strtok_r(names, between, &rest); status == VT_OK && name; name = strtok_r(NULL, between, &rest))
        status = mark(l, name, list, among, err);
    free(names);
    return status;
}

/* Which classes of the model a prediction may be, or NULL: all. */
static vt_status choose_mask(const vt_loaded *l, const vt_source *source, const int32_t *map, const eval_options *o,
                             uint8_t **mask, vt_err *err)
{
    *mask = NULL;
    if (!o->among)
        return VT_OK;
    *mask = vt_xcalloc((size_t)l->info.model.classes, 1);
    return choose_among(l, source, map, o->among, *mask, err);
}

/* Logits are kept for calibration, and for mean average precision where images have several classes and there is room.
 */
static bool keeps(const vt_loaded *l, const vt_source *source, const eval_options *o)
{
    int width = vt_source_most_labels(source);
    size_t bytes = vt_scores_bytes(vt_source_count(source), l->info.model.classes, width);
    return o->calibration || (width > 1 && (double)bytes <= MAP_SHARE * (double)vt_machine_memory());
}

static vt_confidence confidence_of(const vt_loaded *l, const eval_options *o)
{
    if (o->confidence)
        return strcmp(o->confidence, "softmax") == 0 ? VT_CONFIDENCE_SOFTMAX : VT_CONFIDENCE_SIGMOID;
    return l->info.loss == VT_LOSS_SOFTMAX ? VT_CONFIDENCE_SOFTMAX : VT_CONFIDENCE_SIGMOID;
}

static vt_status find_out(vt_cli *cli, const eval_options *o, vt_loaded *l, vt_eval_pass *pass, findings *f,
                          vt_err *err)
{
    vt_term_counter counter = vt_term_counting(cli->term, "evaluating");
    pass->progress = vt_term_count;
    pass->progress_context = &counter;
    VT_TRY(vt_classify(pass, keeps(l, pass->source, o) ? &f->scores : NULL, &f->c, err));
    f->seconds = (double)(vt_now_ns() - counter.start_ns) * 1e-9;
    if (f->c.sets && f->scores.count > 0)
        f->map = vt_mean_average_precision(&f->scores, &f->map_classes);
    if (o->calibration)
        VT_TRY(vt_calibrate(&f->scores, confidence_of(l, o), pass->backend->exec.pool, &f->calibration, err));
    return VT_OK;
}

static vt_status evaluate(vt_cli *cli, const eval_options *o, vt_loaded *l, const vt_source *source, vt_err *err)
{
    findings f = {0};
    uint8_t *among = NULL;
    int32_t *map = vt_xcalloc((size_t)vt_source_classes(source), sizeof *map);
    vt_status status = vt_checkpoint_match_classes(&l->info, source, map, &f.permuted, err);
    if (status == VT_OK)
        status = choose_mask(l, source, map, o, &among, err);
    if (status == VT_OK) {
        if (f.permuted)
            vt_term_note(cli->term, "the classes of %s come in another order; they are matched by name",
                         vt_source_spec(source));
        vt_eval_pass pass = vt_loaded_pass(l, source);
        pass.label_map = map;
        pass.among = among;
        status = find_out(cli, o, l, &pass, &f, err);
        vt_term_clear(cli->term);
        if (status == VT_OK && o->json)
            vt_cli_print_json(result_json(l, source, o, &f));
        else if (status == VT_OK)
            print_result(l, source, o, &f);
    }
    vt_classification_release(&f.c);
    vt_scores_release(&f.scores);
    free(among);
    free(map);
    return status;
}

static vt_status run(vt_cli *cli, const eval_options *o, const vt_args *args, vt_err *err)
{
    vt_loaded l;
    vt_source *source = NULL;
    char *spec = NULL;
    vt_status status = vt_loaded_open(&l, args, &o->load, err);
    if (status == VT_OK)
        status = vt_loaded_need_classifier(&l, err);
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

static vt_status check_options(const eval_options *o, vt_err *err)
{
    VT_TRY(vt_load_options_check(&o->load, err));
    if (o->confidence && strcmp(o->confidence, "softmax") != 0 && strcmp(o->confidence, "sigmoid") != 0)
        return vt_fail(err, VT_EINVAL, "--confidence is %s; it must be softmax or sigmoid", o->confidence);
    if (o->confidence && !o->calibration)
        return vt_fail(err, VT_EINVAL, "--confidence says what --calibration measures; give both");
    return VT_OK;
}

int vt_cmd_eval(vt_cli *cli, int argc, char **argv)
{
    eval_options o = {0};
    const vt_opt opts[] = {
        {"classes", NULL, &o.classes, "print every class"},
        {"among", "LIST", &o.among,
         "predict only classes of DATA's images (data), or those in a file or list of names: a,b,c"},
        {"calibration", NULL, &o.calibration, "how far confidences can be believed, and the temperature that helps"},
        {"confidence", "KIND", &o.confidence, "softmax or sigmoid; default: what the model was trained with"},
        {"json", NULL, &o.json, "print the result as JSON"},
        VT_LOAD_OPTS(o.load),
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 1, 2, true};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check_options(&o, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
