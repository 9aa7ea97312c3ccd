/* vitro embed: the features of every image of a collection, as NumPy arrays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/loaded.h"
#include "cli/signals.h"
#include "eval/embed.h"

static const char text[] = VT_MODEL_HELP
    "Features are the vector before the classifier, float32, a row for each image in the order of DATA. Beside\n"
    "FILE.npy lie FILE.labels.npy (int64; with labels=FILE a row of classes each, filled with -1), FILE.keys.txt "
    "(names\n"
    "of images) and FILE.classes.txt (names of classes). They are written as they come and named when complete.\n\n"
    "Examples:\n"
    "  vitro embed runs/shapes-demo 'synthetic:shapes?count=500' -o shapes.npy\n"
    "  vitro embed runs/shapes-demo 'synthetic:shapes?count=500&seed=1' -o test.npy --logits";

typedef struct {
    vt_load_options load;
    const char *out;
    bool logits, json;
} embed_options;

static vt_status check_options(const embed_options *o, vt_err *err)
{
    VT_TRY(vt_load_options_check(&o->load, err));
    if (!o->out)
        return vt_fail(err, VT_EINVAL, "name the file of features by -o FILE.npy");
    if (!vt_has_suffix(o->out, ".npy") || *vt_path_base(o->out) == '.')
        return vt_fail(err, VT_EINVAL, "-o is %s; the name must end in .npy", o->out);
    return VT_OK;
}

static void print_result(const embed_options *o, const vt_loaded *l, const vt_source *source, double seconds)
{
    const vt_model *m = &l->engine.model;
    char a[32], b[32];
    if (o->json) {
        json_t *root = json_object();
        (void)json_object_set_new(root, "checkpoint", vt_cli_json_text(l->dir));
        (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(source)));
        (void)json_object_set_new(root, "features", vt_cli_json_text(o->out));
        (void)json_object_set_new(root, "count", json_integer(vt_source_count(source)));
        (void)json_object_set_new(root, "width", json_integer(m->feature_width));
        vt_cli_print_json(root);
        return;
    }
    vt_loaded_print(l);
    printf("data        %s (%s images, %s classes)\n", vt_source_spec(source),
           vt_cli_number(a, vt_source_count(source)), vt_cli_number(b, vt_source_classes(source)));
    printf("features    %s (%lld, %lld) float32, before the classifier\n", o->out, (long long)vt_source_count(source),
           (long long)m->feature_width);
    printf("time        %s (%.0f images/s)\n", vt_format_seconds(a, seconds),
           (double)vt_source_count(source) / (seconds > 1e-9 ? seconds : 1e-9));
}

static vt_status run(vt_cli *cli, const embed_options *o, const vt_args *args, vt_err *err)
{
    vt_loaded l;
    vt_source *source = NULL;
    vt_status status = vt_loaded_open(&l, args, &o->load, err);
    if (status == VT_OK && o->logits && l.info.model.classes == 0)
        status = vt_fail(err, VT_EINVAL, "%s: the model has no classifier, so there are no logits: leave out --logits",
                         l.dir);
    if (status == VT_OK)
        status = vt_source_open(&source, args->list[1], err);
    if (status == VT_OK) {
        vt_term_counter counter = vt_term_counting(cli->term, "features");
        vt_eval_pass pass = vt_loaded_pass(&l, source);
        vt_signals_catch(); /* so that a stopped one leaves no temporary files */
        pass.stop = vt_signals_stop;
        pass.progress = vt_term_count;
        pass.progress_context = &counter;
        status = vt_embed(&pass, o->out, o->logits, err);
        vt_term_clear(cli->term);
        if (status == VT_OK)
            print_result(o, &l, source, (double)(vt_now_ns() - counter.start_ns) * 1e-9);
    }
    vt_source_close(source);
    vt_loaded_close(&l);
    return status;
}

int vt_cmd_embed(vt_cli *cli, int argc, char **argv)
{
    embed_options o = {0};
    const vt_opt opts[] = {
        {"o", "FILE.npy", &o.out, "the file of features; the others lie beside it"},
        {"logits", NULL, &o.logits, "write FILE.logits.npy too"},
        {"json", NULL, &o.json, "print what was written as JSON"},
        VT_LOAD_OPTS(o.load),
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 2, 2, true};
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
