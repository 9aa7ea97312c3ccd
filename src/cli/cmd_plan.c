/* vitro plan: what a model costs, by arithmetic alone, and every line of memory that its training takes on this
 * machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/shipped.h"
#include "model/cost.h"
#include "train/foreign.h"
#include "train/plan.h"
#include "train/run_data.h"

static const char text[] = "With RECIPE it opens the data and plans exactly what vitro train would take. With --model "
                           "it needs no data: the shape\n"
                           "is a name of the paper with its patch (S/16, ti/28, G/14) or free (w64-d4-m256-h4-p7: "
                           "width, depth, MLP width, heads,\n"
                           "patch). Exit status 1 when the plan does not fit this machine.\n\n"
                           "Examples:\n"
                           "  vitro plan recipes/shapes-demo.yaml train.batch=512\n"
                           "  vitro plan --model B/16 --classes 1000 --batch 64 --json\n"
                           "  vitro plan --model Ti/16 --head gap --image 384";

enum { MAX_OPTIMIZERS = 8 };

typedef struct {
    const char *model, *head, *image, *classes, *batch, *micro_batch;
    bool json;
} plan_options;

/* What is planned; source bytes are 0 without data. */
typedef struct {
    vt_recipe recipe; /* which the training borrows from */
    vt_training training;
    vt_plan plan;
    int64_t cache_file;                        /* bytes on disk of data.cache: file */
    size_t states[MAX_OPTIMIZERS], parameters; /* bytes of each kind's state, and of what it is kept for */
    bool fits;
} planned;

/* --- from options, from a recipe
 * -------------------------------------------------------------------------------------- */

static vt_status set(vt_recipe *r, const char *key, const char *value, vt_err *err)
{
    return value ? vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, r, key, value, err) : VT_OK;
}

/* A recipe around the shape: everything else at its default. */
static vt_status recipe_of_options(const plan_options *o, vt_recipe *r, int64_t *classes, vt_err *err)
{
    int64_t image = 0;
    VT_TRY(vt_cli_integer("image", o->image, 1, 65536, 224, &image, err));
    VT_TRY(vt_cli_integer("classes", o->classes, 0, 1 << 24, 0, classes, err));
    char *resize = vt_xasprintf("[resize(%lld)]", (long long)image), *side = vt_xasprintf("%lld", (long long)image);
    vt_keys_default(vt_recipe_keys, vt_n_recipe_keys, r);
    const char *const settings[][2] = {
        {"model.shape", o->model},       {"model.head", o->head},     {"model.image", side},
        {"train.batch", o->batch},       {"data.preprocess", resize}, {"data.eval_preprocess", resize},
        {"schedule.length", "1k steps"}, {"model.head_bias", "0"},    {"train.micro_batch", o->micro_batch}};
    vt_status status = VT_OK;
    for (size_t i = 0; i < VT_COUNT_OF(settings) && status == VT_OK; i++)
        status = set(r, settings[i][0], settings[i][1], err);
    free(resize);
    free(side);
    return status;
}

/* --model, everything that follows from it but the memory of data. */
static vt_status resolve_options(const plan_options *o, planned *p, vt_err *err)
{
    vt_data_facts facts = {.images = 1, .most_labels = 1};
    VT_TRY(recipe_of_options(o, &p->recipe, &facts.classes, err));
    return vt_recipe_resolve(&p->recipe, &facts, &p->training, err);
}

/* What data.cache will take, which nothing is made for yet. */
static vt_status plan_cache(const vt_source *train, planned *p, vt_plan_data *data, vt_err *err)
{
    vt_cache *cache = NULL;
    VT_TRY(vt_cache_open(&cache, (vt_cache_kind)p->recipe.data.cache, train, &p->training.preprocess,
                         p->training.workers, err));
    p->training.cache = vt_cache_memory(cache);
    p->cache_file = vt_cache_file_bytes(cache);
    data->sources += vt_cache_resident_bytes(cache);
    vt_cache_close(cache);
    return VT_OK;
}

static vt_status resolve_recipe(const vt_args *args, planned *p, vt_plan_data *memory, vt_err *err)
{
    vt_run_data data = {0};
    char *path = NULL;
    VT_TRY(vt_shipped_resolve(args->list[0], &path, err));
    vt_status status = vt_recipe_load(&p->recipe, path, args->list + 1, args->n - 1, err);
    free(path);
    VT_TRY(status);
    status = vt_run_data_open(&data, &p->recipe, err);
    if (status == VT_OK)
        status = vt_init_adopt(&p->recipe, err);
    if (status == VT_OK) {
        vt_data_facts facts = vt_run_data_facts(&data);
        status = vt_recipe_resolve(&p->recipe, &facts, &p->training, err);
    }
    if (status == VT_OK) {
        *memory = vt_run_data_memory(&data, &p->recipe, &p->training);
        status = plan_cache(data.train, p, memory, err);
    }
    vt_run_data_close(&data);
    return status;
}

/* --- what is printed
 * -------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *what;
    int64_t count;
    bool optional; /* printed only where there is one */
} part;

enum { MAX_PARTS = 10 };

static int list_parts(const vt_model_config *c, const vt_param_counts *p, part list[MAX_PARTS])
{
    const char *positions =
        c->positions == VT_POSITIONS_SINCOS2D ? "sines and cosines, not trained" : "one vector a patch";
    const part all[] = {
        {"embedding", "patches to tokens", p->embed, false},
        {"positions", positions, p->positions, false},
        {"blocks", "attention and MLP", p->blocks, false},
        {"final norm", "", p->final_norm, false},
        {"body", "the sum so far: what the paper counts", p->body, false},
        {"tokens in front", "class token, registers", p->front, true},
        {"MAP head", "attention pooling", p->map_head, true},
        {"representation layer", "tanh, before the classifier", p->representation, true},
        {"classifier", c->classes ? "weights and biases" : "none: no classes given", p->classifier, false},
        {"total", "", p->total, false},
    };
    memcpy(list, all, sizeof all);
    return (int)VT_COUNT_OF(all);
}

static void print_model(const vt_model_config *c)
{
    part parts[MAX_PARTS];
    char a[32];
    vt_param_counts counts = vt_model_param_counts(c);
    vt_flops flops = vt_model_flops(c);
    int n = list_parts(c, &counts, parts);
    printf("model       width %lld, depth %lld, MLP %lld, heads %lld, patch %lld, head %s, images %lldx%lld, %s "
           "classes\n\n",
           (long long)c->width, (long long)c->depth, (long long)c->mlp, (long long)c->heads, (long long)c->patch,
           vt_head_names[c->head], (long long)c->image_width, (long long)c->image_height, vt_cli_number(a, c->classes));
    printf("parameters\n");
    for (int i = 0; i < n; i++) {
        if (parts[i].count > 0 || !parts[i].optional)
            printf("  %-22s %15s%s%s\n", parts[i].name, vt_cli_number(a, parts[i].count), parts[i].what[0] ? "  " : "",
                   parts[i].what);
    }
    printf("\noperations of one image, forward, in GFLOP (a multiply-add is 2)\n");
    printf("  %-22s %15.3f  matrix products of this model, head and classifier included\n", "products",
           flops.products * 1e-9);
    printf("  %-22s %15.3f  with elementwise work, average pooling and 29,593 classes\n", "the paper's count",
           flops.paper * 1e-9);
    printf("  %-22s %15.3f  3 x products\n", "training", 3 * flops.products * 1e-9);
}

static void print_memory(const planned *p)
{
    const vt_plan *plan = &p->plan;
    char a[32], b[32];
    printf("\nmemory of training, batch %lld in micro-batches of %lld\n", (long long)p->training.batch,
           (long long)plan->micro_batch);
    for (int i = 0; i < plan->n_lines; i++)
        printf("  %-22s %15s  %10s%s\n", plan->lines[i].name, vt_cli_number(a, (int64_t)plan->lines[i].bytes),
               vt_format_bytes(b, (double)plan->lines[i].bytes), plan->lines[i].exact ? "" : "  kept open");
    printf("  %-22s %15s  %10s\n", "total", vt_cli_number(a, (int64_t)plan->total),
           vt_format_bytes(b, (double)plan->total));
    printf("  %-22s %15s  %10s  %s\n", "this machine", vt_cli_number(a, (int64_t)plan->machine),
           vt_format_bytes(b, (double)plan->machine), p->fits ? "it fits" : "IT DOES NOT FIT");
    if (p->cache_file)
        printf("  data.cache=file takes %s on disk, in the cache folder\n", vt_format_bytes(b, (double)p->cache_file));
    if (plan->decoders)
        printf("  beyond the total, decoders take up to %s while they read images of the largest size allowed\n",
               vt_format_bytes(b, (double)plan->decoders));
}

/* What the other optimizers would keep; the table says so where a person chooses one. */
static void print_optimizers(const planned *p)
{
    char a[32];
    printf("\nstate of optimizers beside the parameters\n");
    for (int k = 0; vt_optimizer_names[k]; k++)
        printf("  %-22s %4.2f x  %10s  %s%s\n", vt_optimizer_names[k],
               (double)p->states[k] / (double)(p->parameters ? p->parameters : 1),
               vt_format_bytes(a, (double)p->states[k]), vt_optimizer_kinds[k].keeps,
               k == p->training.optimizer.kind ? " (this recipe's)" : "");
}

static json_t *memory_json(const planned *p)
{
    json_t *memory = json_object(), *lines = json_array();
    for (int i = 0; i < p->plan.n_lines; i++) {
        json_t *line = json_object();
        (void)json_object_set_new(line, "name", json_string(p->plan.lines[i].name));
        (void)json_object_set_new(line, "bytes", json_integer((json_int_t)p->plan.lines[i].bytes));
        (void)json_object_set_new(line, "exact", json_boolean(p->plan.lines[i].exact));
        (void)json_array_append_new(lines, line);
    }
    (void)json_object_set_new(memory, "batch", json_integer(p->training.batch));
    (void)json_object_set_new(memory, "micro_batch", json_integer(p->plan.micro_batch));
    (void)json_object_set_new(memory, "lines", lines);
    (void)json_object_set_new(memory, "total_bytes", json_integer((json_int_t)p->plan.total));
    (void)json_object_set_new(memory, "decoders_at_most_bytes", json_integer((json_int_t)p->plan.decoders));
    (void)json_object_set_new(memory, "machine_bytes", json_integer((json_int_t)p->plan.machine));
    (void)json_object_set_new(memory, "fits", json_boolean(p->fits));
    json_t *states = json_object();
    for (int k = 0; vt_optimizer_names[k]; k++)
        (void)json_object_set_new(states, vt_optimizer_names[k], json_integer((json_int_t)p->states[k]));
    (void)json_object_set_new(memory, "optimizer_states", states);
    return memory;
}

static void print_json(const planned *p)
{
    const vt_model_config *c = &p->training.model;
    part parts[MAX_PARTS];
    vt_param_counts counts = vt_model_param_counts(c);
    vt_flops flops = vt_model_flops(c);
    json_t *root = json_object(), *model = json_object(), *parameters = json_object(), *operations = json_object();
    const struct {
        const char *name;
        int64_t value;
    } members[] = {{"width", c->width},
                   {"depth", c->depth},
                   {"mlp", c->mlp},
                   {"heads", c->heads},
                   {"patch", c->patch},
                   {"image_height", c->image_height},
                   {"image_width", c->image_width},
                   {"representation", c->representation},
                   {"classes", c->classes}};
    for (size_t i = 0; i < VT_COUNT_OF(members); i++)
        (void)json_object_set_new(model, members[i].name, json_integer(members[i].value));
    (void)json_object_set_new(model, "head", json_string(vt_head_names[c->head]));
    (void)json_object_set_new(model, "positions", json_string(vt_positions_names[c->positions]));
    (void)json_object_set_new(model, "gelu", json_string(vt_gelu_names[c->gelu]));
    (void)json_object_set_new(model, "norm_eps", vt_json_number(c->norm_eps));
    int n = list_parts(c, &counts, parts);
    for (int i = 0; i < n; i++)
        (void)json_object_set_new(parameters, parts[i].name, json_integer(parts[i].count));
    (void)json_object_set_new(operations, "products", vt_json_number(flops.products));
    (void)json_object_set_new(operations, "paper", vt_json_number(flops.paper));
    (void)json_object_set_new(root, "model", model);
    (void)json_object_set_new(root, "parameters", parameters);
    (void)json_object_set_new(root, "operations_per_image", operations);
    (void)json_object_set_new(root, "memory", memory_json(p));
    vt_cli_print_json(root);
}

/* --- the command
 * ------------------------------------------------------------------------------------------------------- */

static vt_status run(const plan_options *o, const vt_args *args, vt_err *err)
{
    planned p = {0};
    const vt_isa *isa = NULL;
    vt_plan_data data = {0};
    vt_status status = vt_isa_pick(getenv("VITRO_ISA"), &isa, err);
    if (status == VT_OK)
        status = o->model ? resolve_options(o, &p, err) : resolve_recipe(args, &p, &data, err);
    if (status == VT_OK)
        status = vt_plan_training(&p.training, isa, &data, &p.plan, err);
    p.fits = status == VT_OK;
    if (p.plan.n_lines > 0)
        VT_TRY(vt_plan_optimizer_states(&p.training, p.states, &p.parameters, err));
    if (p.plan.n_lines > 0 && o->json) {
        print_json(&p);
    } else if (p.plan.n_lines > 0) {
        print_model(&p.training.model);
        print_memory(&p);
        print_optimizers(&p);
    }
    vt_recipe_release(&p.recipe);
    return status;
}

/* The command line alone: either a model or a recipe, and options that can be read. */
static vt_status check(const plan_options *o, const vt_args *args, vt_err *err)
{
    if (!o->model && args->n == 0)
        return vt_fail(err, VT_EINVAL, "name a RECIPE, or a shape by --model");
    if (o->model && args->n > 0)
        return vt_fail(err, VT_EINVAL, "'%s' is one argument too many: --model needs no recipe", args->list[0]);
    if (!o->model && (o->head || o->image || o->classes || o->batch || o->micro_batch))
        return vt_fail(err, VT_EINVAL,
                       "--head, --image, --classes, --batch and --micro-batch go with --model; a recipe is "
                       "changed by key=value");
    if (o->model) {
        planned p = {0};
        vt_status status = resolve_options(o, &p, err);
        vt_recipe_release(&p.recipe);
        return status;
    }
    return vt_cli_check_overrides(args, err);
}

int vt_cmd_plan(vt_cli *cli, int argc, char **argv)
{
    plan_options o = {0};
    const vt_opt opts[] = {
        {"model", "SHAPE", &o.model, "plan this shape instead of a recipe"},
        {"head", "map|gap|tok", &o.head, "with --model: attention pooling, average or class token; default: map"},
        {"image", "SIDE", &o.image, "with --model: side of images in pixels; default: 224"},
        {"classes", "N", &o.classes, "with --model: width of the classifier; default: 0, none"},
        {"batch", "N", &o.batch, "with --model: images in one update; default: 256"},
        {"micro-batch", "N", &o.micro_batch, "with --model: images in one pass; default: auto"},
        {"json", NULL, &o.json, "print the result as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 0, VT_MANY};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check(&o, &args, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(&o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
