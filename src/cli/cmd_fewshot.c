/* vitro fewshot: how well the frozen features of a model separate new classes, from 1, 5, 10, ... labelled images each,
 * or from all of them; over several data sets, and several l2 of which one is chosen for all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/loaded.h"
#include "eval/fewshot.h"
#include "eval/stats.h"

#define LAMBDA    1024.0  /* spec of the evaluation: 2^10, for every data set */
#define SWEEP_LOW 0x1p-10 /* --l2 sweep: 2^-10, 2^-9, ... 2^19 */
#define N_SWEEP   30
#define TEST_MARK ",test=" /* between images to draw from and images to test on */

static const char text[] = VT_MODEL_HELP
    "Ridge regression on the features before the classifier, on the same draws of images as big_vision's. The classes\n"
    "may be any: they need not be those that the model was trained on. Images are drawn from the first 80 % of DATA "
    "and\n"
    "tested on the other 20 %, unless --test, or DATA,test=DATA, names the test images. Lambda is 1024 for every data\n"
    "set. Of several (--l2) one is chosen for each number of shots, by its mean rank over the data sets' test "
    "accuracies:\n"
    "what is printed for it is then the best of many on these images.\n\n"
    "Examples:\n"
    "  vitro fewshot runs/shapes-demo 'synthetic:shapes?count=2000&seed=5'\n"
    "  vitro fewshot runs/shapes-demo 'synthetic:shapes?count=1000' --test "
    "'synthetic:shapes?count=500&seed=1' --shots 5,10\n"
    "  vitro fewshot runs/shapes-demo 'synthetic:shapes?count=2000' --shots all\n"
    "  vitro fewshot runs/shapes-demo 'synthetic:shapes?count=500' "
    "'synthetic:shapes?count=500&seed=2,test=synthetic:shapes?count=200&seed=3' --l2 sweep";

typedef struct {
    vt_load_options load;
    const char *test, *shots, *seeds, *l2;
    bool json;
    vt_fewshot_options fewshot;
} fewshot_options;

/* One data set: what images are drawn from, what they are tested on, what came of it. */
typedef struct {
    char *pool, *test;
    int64_t classes;
    vt_fewshot_result r;
} measured;

typedef struct {
    measured *sets;
    int n;
    int chosen[VT_MAX_SHOTS]; /* index into l2 */
    double ranks[VT_MAX_SHOTS][VT_MAX_L2];
} results;

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

/* "1024", "0.5,8,1024", "sweep". */
static vt_status parse_l2(const char *list, vt_fewshot_options *f, vt_err *err)
{
    vt_text item = {0};
    vt_status status = VT_OK;
    f->n_l2 = 0;
    if (strcmp(list, "sweep") == 0) {
        for (double l2 = SWEEP_LOW; f->n_l2 < N_SWEEP; l2 *= 2)
            f->l2[f->n_l2++] = l2;
        return VT_OK;
    }
    for (const char *p = list; status == VT_OK; p++) {
        size_t n = strcspn(p, ",");
        double l2 = 0;
        vt_text_clear(&item);
        vt_text_addn(&item, p, n);
        status = vt_parse_f64(item.s, &l2, err);
        if (status == VT_OK && !(l2 >= 1e-6 && l2 <= 1e12))
            status = vt_fail(err, VT_EINVAL, "'%s' is no number from 1e-6 to 1e12", item.s);
        if (status == VT_OK && f->n_l2 == VT_MAX_L2)
            status = vt_fail(err, VT_EINVAL, "more than %d numbers", VT_MAX_L2);
        if (status == VT_OK && f->n_l2 > 0 && f->l2[f->n_l2 - 1] >= l2)
            status = vt_fail(err, VT_EINVAL, "the numbers must rise");
        if (status == VT_OK)
            f->l2[f->n_l2++] = l2;
        p += n;
        if (!*p)
            break;
    }
    vt_text_release(&item);
    return status == VT_OK ? VT_OK : vt_prefix(err, "--l2 %s", list);
}

static vt_status check_data(const fewshot_options *o, const vt_args *args, int i, vt_err *err)
{
    const char *data = args->list[i], *query = strchr(data, '?');
    if (o->test && args->n > 2)
        return vt_fail(err, VT_EINVAL, "--test goes with one DATA; of several, write each as DATA" TEST_MARK "DATA");
    if (o->test && strstr(data, TEST_MARK))
        return vt_fail(err, VT_EINVAL, "%s names its test images, and so does --test", data);
    if (o->test || strstr(data, TEST_MARK))
        return VT_OK;
    if (query && strstr(query, "split="))
        return vt_fail(err, VT_EINVAL, "%s has a split of its own; name the test images by --test", data);
    if (strstr(data, " + "))
        return vt_fail(err, VT_EINVAL, "%s is several sources; name the test images by --test", data);
    return VT_OK;
}

static vt_status check_options(fewshot_options *o, const vt_args *args, vt_err *err)
{
    int64_t seeds = 0;
    VT_TRY(vt_load_options_check(&o->load, err));
    VT_TRY(vt_cli_integer("seeds", o->seeds, 1, VT_MAX_SEEDS, 3, &seeds, err));
    o->fewshot.n_seeds = (int)seeds;
    VT_TRY(parse_l2(o->l2 ? o->l2 : "1024", &o->fewshot, err));
    for (int i = 1; i < args->n; i++)
        VT_TRY(check_data(o, args, i, err));
    o->fewshot.all = o->shots && strcmp(o->shots, "all") == 0;
    return o->fewshot.all ? VT_OK : parse_shots(o->shots ? o->shots : "1,5,10,25", &o->fewshot, err);
}

/* DATA with one option more. */
static char *with_split(const char *data, const char *split)
{
    return vt_xasprintf("%s%csplit=%s", data, strchr(data, '?') ? '&' : '?', split);
}

static void name_data(measured *m, const char *data, const char *test)
{
    const char *mark = strstr(data, TEST_MARK);
    m->pool = test   ? vt_xstrdup(data)
              : mark ? vt_xasprintf("%.*s", (int)(mark - data), data)
                     : with_split(data, "[:80%]");
    m->test = test ? vt_xstrdup(test) : mark ? vt_xstrdup(mark + strlen(TEST_MARK)) : with_split(data, "[80%:]");
}

static void choose(results *all)
{
    const vt_fewshot_result *r = &all->sets[0].r;
    double *accuracy = vt_xcalloc((size_t)all->n * VT_MAX_L2, sizeof *accuracy);
    for (int i = 0; i < r->n_shots; i++) {
        for (int s = 0; s < all->n; s++)
            for (int k = 0; k < r->n_l2; k++)
                accuracy[s * r->n_l2 + k] = all->sets[s].r.scores[k][i].mean;
        all->chosen[i] = vt_fewshot_choose(accuracy, all->n, r->n_l2, all->ranks[i]);
    }
    free(accuracy);
}

/* Of the mean over draws, for the luck of the test images; the luck of the draws is the deviation. */
static vt_estimate test_interval(const vt_fewshot_result *r, const vt_fewshot_score *score)
{
    return vt_proportion(score->mean, r->test_count);
}

static json_t *shot_json(const fewshot_options *o, const results *all, const vt_fewshot_result *r, int i)
{
    const vt_fewshot_score *score = &r->scores[all->chosen[i]][i];
    vt_estimate e = test_interval(r, score);
    json_t *row = json_object(), *seeds = json_array(), *sweep = json_array();
    for (int s = 0; s < r->n_seeds; s++)
        (void)json_array_append_new(seeds, vt_json_number((double)score->right[s] / (double)r->test_count));
    (void)json_object_set_new(row, "shots", o->fewshot.all ? json_string("all") : json_integer(r->shots[i]));
    (void)json_object_set_new(row, "mean", vt_json_number(score->mean));
    (void)json_object_set_new(row, "interval", json_pack("[f,f]", e.low, e.high));
    (void)json_object_set_new(row, "deviation", vt_json_number(score->deviation));
    (void)json_object_set_new(row, "accuracy_by_seed", seeds);
    (void)json_object_set_new(row, "l2", vt_json_number(r->l2[all->chosen[i]]));
    for (int k = 0; k < r->n_l2; k++)
        (void)json_array_append_new(sweep, json_pack("{s:f, s:f, s:f}", "l2", r->l2[k], "accuracy",
                                                     r->scores[k][i].mean, "mean_rank", all->ranks[i][k]));
    if (r->n_l2 > 1)
        (void)json_object_set(row, "sweep", sweep);
    json_decref(sweep);
    return row;
}

static void add_set(json_t *to, const fewshot_options *o, const results *all, const measured *m)
{
    json_t *rows = json_array();
    (void)json_object_set_new(to, "pool", vt_cli_json_text(m->pool));
    (void)json_object_set_new(to, "test", vt_cli_json_text(m->test));
    (void)json_object_set_new(to, "test_count", json_integer(m->r.test_count));
    for (int i = 0; i < m->r.n_shots; i++)
        (void)json_array_append_new(rows, shot_json(o, all, &m->r, i));
    (void)json_object_set_new(to, "shots", rows);
}

static void print_json(const vt_loaded *l, const fewshot_options *o, const results *all)
{
    json_t *root = json_object(), *sets = json_array();
    (void)json_object_set_new(root, "checkpoint", vt_cli_json_text(l->dir));
    (void)json_object_set_new(root, "step", json_integer(l->info.step));
    if (all->n == 1) {
        add_set(root, o, all, &all->sets[0]);
    } else {
        for (int s = 0; s < all->n; s++) {
            json_t *set = json_object();
            add_set(set, o, all, &all->sets[s]);
            (void)json_array_append_new(sets, set);
        }
        (void)json_object_set(root, "sets", sets);
    }
    json_decref(sets);
    vt_cli_print_json(root);
}

/* Accuracy of every l2 and number of shots; a star at those that were chosen. */
static void print_sweep(const fewshot_options *o, const results *all, const vt_fewshot_result *r)
{
    printf("\naccuracy, %%, from");
    for (int i = 0; i < r->n_shots; i++)
        if (o->fewshot.all)
            printf("     all");
        else
            printf(" %7d", r->shots[i]);
    printf("%s\n", o->fewshot.all ? "" : "  shots");
    for (int k = 0; k < r->n_l2; k++) {
        printf("  l2 %12.6g", r->l2[k]);
        for (int i = 0; i < r->n_shots; i++) {
            char cell[16];
            (void)snprintf(cell, sizeof cell, "%s%.2f", all->chosen[i] == k ? "*" : "", 100 * r->scores[k][i].mean);
            printf(" %7s", cell);
        }
        printf("\n");
    }
}

static void print_rows(const fewshot_options *o, const results *all, const vt_fewshot_result *r)
{
    const bool many = r->n_l2 > 1, draws = !o->fewshot.all;
    printf("\nshots  accuracy  95 %% interval%s", many ? "   l2" : "");
    if (draws)
        printf("%s  deviation over %d seed%s", many ? "        " : " ", r->n_seeds, r->n_seeds == 1 ? "" : "s");
    printf("\n");
    for (int i = 0; i < r->n_shots; i++) {
        const vt_fewshot_score *score = &r->scores[all->chosen[i]][i];
        vt_estimate e = test_interval(r, score);
        if (draws)
            printf("%5d", r->shots[i]);
        else
            printf("  all");
        printf("  %6.2f %%  [%5.2f, %5.2f]", 100 * score->mean, 100 * e.low, 100 * e.high);
        if (many)
            printf(draws ? "  %-10.6g" : "  %.6g", r->l2[all->chosen[i]]);
        if (draws)
            printf("  %.2f %%%s", 100 * score->deviation,
                   r->shots[i] > r->fewest ? "  (some classes have fewer images)" : "");
        printf("\n");
    }
}

static void print_result(const vt_loaded *l, const fewshot_options *o, const results *all)
{
    char a[32], b[32];
    vt_loaded_print(l);
    for (int s = 0; s < all->n; s++) {
        const measured *m = &all->sets[s];
        printf("%spool        %s (%s images, %s classes)\n", s > 0 ? "\n" : "", m->pool,
               vt_cli_number(a, m->r.pool_count), vt_cli_number(b, m->classes));
        printf("test        %s (%s images)\n", m->test, vt_cli_number(a, m->r.test_count));
        if (m->r.n_l2 > 1)
            print_sweep(o, all, &m->r);
        print_rows(o, all, &m->r);
    }
    if (o->fewshot.n_l2 > 1)
        printf("\n* the best %s, chosen on the test images\n", all->n == 1 ? "one" : "mean rank over the data sets");
}

static vt_status measure(vt_cli *cli, const fewshot_options *o, vt_loaded *l, measured *m, vt_err *err)
{
    vt_source *pool = NULL, *test = NULL;
    vt_status status = vt_source_open(&pool, m->pool, err);
    if (status == VT_OK)
        status = vt_source_open(&test, m->test, err);
    if (status == VT_OK)
        status = vt_fewshot_check_classes(pool, test, err);
    if (status == VT_OK) {
        vt_term_counter counter = vt_term_counting(cli->term, "features");
        vt_eval_pass train_pass = vt_loaded_pass(l, pool), test_pass = vt_loaded_pass(l, test);
        train_pass.progress = test_pass.progress = vt_term_count;
        train_pass.progress_context = test_pass.progress_context = &counter;
        status = vt_fewshot(&train_pass, &test_pass, &o->fewshot, &m->r, err);
        vt_term_clear(cli->term);
        m->classes = vt_source_classes(pool);
    }
    vt_source_close(pool);
    vt_source_close(test);
    return status;
}

static vt_status run(vt_cli *cli, const fewshot_options *o, const vt_args *args, vt_err *err)
{
    vt_loaded l;
    results all = {.n = args->n - 1};
    all.sets = vt_xcalloc((size_t)all.n, sizeof *all.sets);
    vt_status status = vt_loaded_open(&l, args, &o->load, err);
    for (int s = 0; s < all.n && status == VT_OK; s++) {
        name_data(&all.sets[s], args->list[1 + s], o->test);
        status = measure(cli, o, &l, &all.sets[s], err);
    }
    if (status == VT_OK) {
        choose(&all);
        if (o->json)
            print_json(&l, o, &all);
        else
            print_result(&l, o, &all);
    }
    for (int s = 0; s < all.n; s++) {
        free(all.sets[s].pool);
        free(all.sets[s].test);
    }
    free(all.sets);
    vt_loaded_close(&l);
    return status;
}

int vt_cmd_fewshot(vt_cli *cli, int argc, char **argv)
{
    fewshot_options o = {0};
    const vt_opt opts[] = {
        {"test", "DATA", &o.test, "test images; default: the last 20 % of DATA, and the first 80 % to draw from"},
        {"shots", "LIST", &o.shots, "images a class, or all: every image, a linear probe; default: 1,5,10,25"},
        {"seeds", "N", &o.seeds, "draws, each with another seed; default: 3"},
        {"l2", "LIST", &o.l2, "numbers, or sweep: 2^-10 to 2^19; default: 1024"},
        {"json", NULL, &o.json, "print the result as JSON"},
        VT_LOAD_OPTS(o.load),
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 2, VT_MANY, true};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check_options(&o, &args, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
