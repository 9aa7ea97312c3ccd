/* vitro train: from a recipe to a run folder; the same command again goes on where it stopped. This file chooses the
 * run folder, catches signals, shows progress and says what came out; train/ does the work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/replay.h"
#include "cli/report.h"
#include "cli/shipped.h"
#include "cli/signals.h"
#include "train/train.h"

static const char text[] =
    "RECIPE is a YAML file, or the name of one that comes with vitro; key=value changes a key of it (vitro recipe "
    "keys\n"
    "lists them). The run lies in runs/NAME: checkpoints, recipe.yaml, metrics.jsonl, log.txt. The same command again\n"
    "goes on where the run stopped, to the same bytes. Ctrl-C and SIGTERM finish the step and save: exit status 130 "
    "and\n"
    "75; a second Ctrl-C ends at once.\n\n"
    "replay=STEP trains nothing: it does the update that took the run to STEP (1, 2, ...; as metrics.jsonl counts) "
    "once\n"
    "more, from the checkpoint before it, to the same bytes, and prints what every tensor held and which was bad "
    "first.\n"
    "The run is only read, and may be in training meanwhile.\n\n"
    "Examples:\n"
    "  vitro train recipes/shapes-demo.yaml\n"
    "  vitro train shapes-demo schedule.length=30 train.batch=64 --run runs/short\n"
    "  vitro train runs/short\n"
    "  vitro train runs/short replay=20\n"
    "  vitro train shapes-demo schedule.length=40 train.batch=64 --run runs/short --fresh --json";

typedef struct {
    const char *run;
    bool fresh, json, all;
    int64_t replay; /* 0: none */
} train_options;

/* --- what is trained, and where ----------------------------------------------------------------------------------- */

/* The run folder: --run, the run itself, or runs/NAME; malloc'ed. */
static char *choose_run(const train_options *o, const char *recipe)
{
    if (o->run)
        return vt_xstrdup(o->run);
    if (vt_is_dir(recipe))
        return vt_xstrdup(recipe);
    char *name = vt_xstrdup(vt_path_base(recipe));
    if (vt_has_suffix(name, ".yaml") && strlen(name) > strlen(".yaml"))
        name[strlen(name) - strlen(".yaml")] = '\0';
    char *run = vt_path_join("runs", name);
    free(name);
    return run;
}

/* --- progress -------------------------------------------------------------------------------------------------------
 */

static void show_progress(void *context, const vt_progress *p)
{
    vt_term *term = context;
    char left[32], eval[48] = "";
    if (!vt_term_due(term))
        return;
    if (p->has_eval)
        (void)snprintf(eval, sizeof eval, "  eval %.2f %%", 100 * p->eval_top1.value);
    const double share = 100.0 * (double)p->step / (double)(p->steps > 0 ? p->steps : 1);
    if (strcmp(p->phase, "train") != 0) {
        vt_term_progress(term, "step %lld/%lld  %s ...", (long long)p->step, (long long)p->steps,
                         strcmp(p->phase, "eval") == 0     ? "evaluating"
                         : strcmp(p->phase, "replay") == 0 ? "replaying"
                                                           : "saving");
        return;
    }
    vt_term_progress(
        term,
        "step %lld/%lld (%.0f %%)  loss %.4g  accuracy %.1f %%%s  lr %.2g  %.0f images/s  %s left  data wait %.0f %%",
        (long long)p->step, (long long)p->steps, share, p->loss, 100 * p->accuracy, eval, p->lr, p->images_per_second,
        vt_format_seconds(left, p->seconds_left), 100 * p->data_wait);
}

/* --- the result ------------------------------------------------------------------------------------------------------
 */

static void print_json(const char *run, const vt_train_result *r, const char *outcome)
{
    json_t *root = json_object();
    (void)json_object_set_new(root, "outcome", json_string(outcome));
    (void)json_object_set_new(root, "run", vt_cli_json_text(run));
    (void)json_object_set_new(root, "checkpoint", r->checkpoint ? vt_cli_json_text(r->checkpoint) : json_null());
    (void)json_object_set_new(root, "step", json_integer(r->step));
    (void)json_object_set_new(root, "images", json_integer(r->images));
    (void)json_object_set_new(root, "resumed_from", r->resumed_from < 0 ? json_null() : json_integer(r->resumed_from));
    (void)json_object_set_new(root, "last_loss",
                              r->step == r->resumed_from ? json_null() : vt_json_number(r->last_loss));
    (void)json_object_set_new(root, "bad_images", json_integer((json_int_t)r->bad));
    (void)json_object_set_new(root, "skipped", json_integer(r->skipped));
    (void)json_object_set_new(root, "seconds", vt_json_number(r->seconds));
    (void)json_object_set_new(root, "images_per_second", vt_json_number(r->images_per_second));
    (void)json_object_set_new(root, "plan_total_bytes", json_integer((json_int_t)r->plan_total));
    (void)json_object_set_new(root, "plan_bytes", json_integer((json_int_t)r->plan_bytes));
    (void)json_object_set_new(root, "high_water_bytes", json_integer((json_int_t)r->high_water_bytes));
    (void)json_object_set_new(root, "resident_anonymous_bytes", json_integer((json_int_t)r->resident_anonymous));
    if (r->evaluated) {
        json_t *eval = json_object();
        vt_report_classification_json(eval, &r->final_eval);
        (void)json_object_set_new(root, "eval", eval);
    }
    vt_cli_print_json(root);
}

static void print_summary(const char *run, const vt_train_result *r)
{
    char a[32], b[32], c[32];
    printf("%s %s steps, %s images; %s in this call", r->step == r->resumed_from ? "finished   " : "trained    ",
           vt_cli_number(a, r->step), vt_cli_number(b, r->images), vt_format_seconds(c, r->seconds));
    if (r->images_per_second > 0)
        printf(" (%.0f images/s)", r->images_per_second);
    printf("\n");
    if (r->bad > 0)
        printf("bad images  %lld of %s could not be used, and others stood for them; metrics.jsonl names them\n",
               (long long)r->bad, vt_cli_number(a, r->data_images));
    if (r->skipped > 0)
        printf("skipped     %d updates that diverged; the checkpoint's manifest.json lists their images\n", r->skipped);
    if (r->evaluated)
        vt_report_classification(&r->final_eval);
    printf("memory      %s planned, data included; %s resident", vt_format_bytes(a, (double)r->plan_total),
           vt_format_bytes(b, (double)r->resident_anonymous));
    printf("; tensors and buffers took %s, %s\n", vt_format_bytes(c, (double)r->high_water_bytes),
           r->high_water_bytes == r->plan_bytes ? "as planned to the byte" : "WHICH IS NOT THE PLAN");
    printf("checkpoint  %s\n\nnext\n", r->checkpoint);
    printf("  vitro eval %s --classes             accuracy of every class\n", run);
    printf("  vitro predict %s IMAGE...           what it sees in your images\n", run);
    printf("  vitro fewshot %s DATA               other classes, from a few images each\n", run);
}

/* What log.txt keeps of a call that ended well or on a signal; the sentence of a failure is there already. */
static void log_outcome(vt_term *term, const vt_train_result *r)
{
    char seconds[32];
    if (r->step == r->resumed_from) {
        vt_term_log(term, "step %lld: this run was finished before; nothing was trained", (long long)r->step);
        return;
    }
    vt_term_log(term, "step %lld after %s in this call, %.0f images/s, loss %.5g; %s", (long long)r->step,
                vt_format_seconds(seconds, r->seconds), r->images_per_second, r->last_loss, r->checkpoint);
    if (r->evaluated) {
        vt_estimate e = vt_accuracy(r->final_eval.right1, r->final_eval.count);
        vt_term_log(term, "top-1 %.2f %% [%.2f, %.2f], %lld of %lld", 100 * e.value, 100 * e.low, 100 * e.high,
                    (long long)r->final_eval.right1, (long long)r->final_eval.count);
    }
}

static vt_status train(vt_cli *cli, const train_options *o, vt_recipe *recipe, const char *run, vt_err *err)
{
    const vt_train_observer observer = {.progress = show_progress, .context = cli->term, .stop = vt_signals_stop};
    vt_train_result result;
    char *log = vt_path_join(run, "log.txt");
    char *header = vt_xasprintf("vitro %s, commit %s, %s", vt_version(), vt_commit(), vt_compiler());
    vt_signals_catch();
    vt_term_note(cli->term, "training in %s", run);
    vt_term_keep_log(cli->term, log, header);
    vt_status status = vt_train(recipe, run, o->fresh, &observer, &result, err);
    vt_term_clear(cli->term);
    if (status == VT_OK || status == VT_ESTOPPED) {
        log_outcome(cli->term, &result);
        if (o->json)
            print_json(run, &result, status == VT_OK ? "finished" : "stopped");
        else if (status == VT_OK)
            print_summary(run, &result);
    }
    if (status == VT_EBUSY) /* the log belongs to the other training */
        vt_term_keep_log(cli->term, NULL, NULL);
    vt_train_result_release(&result);
    free(log);
    free(header);
    return status;
}

/* The run's log.txt is not written: nothing of the run is. */
static vt_status replay(vt_cli *cli, const train_options *o, vt_recipe *recipe, const char *run, vt_err *err)
{
    const vt_train_observer observer = {.progress = show_progress, .context = cli->term, .stop = vt_signals_stop};
    vt_evidence ev;
    vt_signals_catch();
    VT_TRY(vt_replay(recipe, run, o->replay, &observer, &ev, err));
    vt_term_clear(cli->term);
    if (o->json)
        vt_replay_print_json(run, &ev);
    else
        vt_replay_print(run, &ev, o->all);
    vt_evidence_release(&ev);
    return VT_OK;
}

static vt_status run_command(vt_cli *cli, const train_options *o, const vt_args *args, vt_err *err)
{
    char *path = NULL, *run = NULL;
    vt_recipe recipe = {0};
    vt_status status = vt_shipped_resolve(args->list[0], &path, err);
    if (status == VT_OK)
        status = vt_recipe_load(&recipe, path, args->list + 1, args->n - 1, err);
    if (status == VT_OK) {
        run = choose_run(o, path);
        status = o->replay ? replay(cli, o, &recipe, run, err) : train(cli, o, &recipe, run, err);
        vt_recipe_release(&recipe);
    }
    free(path);
    free(run);
    return status;
}

/* Takes replay=STEP out of the key=value words. */
static vt_status take_replay(vt_args *args, train_options *o, vt_err *err)
{
    static const char word[] = "replay=";
    int kept = 1;
    for (int i = 1; i < args->n; i++) {
        if (!vt_has_prefix(args->list[i], word)) {
            args->list[kept++] = args->list[i];
            continue;
        }
        if (vt_parse_i64(args->list[i] + strlen(word), &o->replay, NULL) != VT_OK || o->replay < 1)
            return vt_fail(err, VT_EINVAL, "'%s': expected the number of an update, 1, 2, ..., as in replay=20",
                           args->list[i]);
    }
    args->n = kept;
    if (o->replay && o->fresh)
        return vt_fail(err, VT_EINVAL, "--fresh removes the run that %s%lld would look at; leave one of them out", word,
                       (long long)o->replay);
    if (o->all && !o->replay)
        return vt_fail(err, VT_EINVAL, "--all goes with replay=STEP");
    return VT_OK;
}

int vt_cmd_train(vt_cli *cli, int argc, char **argv)
{
    train_options o = {0};
    const vt_opt opts[] = {
        {"run", "DIR", &o.run, "the run's folder; default: runs/NAME, NAME being the recipe's file without .yaml"},
        {"fresh", NULL, &o.fresh,
         "start anew: the run in that folder is removed once the new one is known to be possible"},
        {"json", NULL, &o.json, "print the result as JSON"},
        {"all", NULL, &o.all, "with replay=STEP: print every tensor instead of the worst one of each block"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 1, VT_MANY};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (o.run && o.run[0] == '\0') {
        (void)vt_fail(&err, VT_EINVAL, "--run is empty; name the run's folder, or leave --run out");
        status = vt_cli_wrong_use(cli, &err);
    } else if (take_replay(&args, &o, &err) != VT_OK || vt_cli_check_overrides(&args, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run_command(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
