/* What of a pass is left out, watched or told: frozen tensors cost nothing and change nothing, attention's figures are
 * those of its block, a visitor meets every tensor once and in order. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bf16.h"
#include "rig.h"

static rig_options options(vt_head_kind head)
{
    rig_options o = {.config = rig_tiny_config(head), .samples = 3, .slices = 2, .train = true};
    o.config.representation = 8;
    return o;
}

/* --- frozen tensors */

static bool all_but_classifier(const vt_tensor *t)
{
    return strncmp(t->name, "head.", 5) != 0;
}

static bool all_but_head(const vt_tensor *t)
{
    return all_but_classifier(t) && strncmp(t->name, "pre_logits", 10) != 0 && strncmp(t->name, "attn_pool", 9) != 0;
}

static bool all_but_biases(const vt_tensor *t)
{
    return !vt_has_suffix(t->name, ".bias");
}

static bool biases(const vt_tensor *t)
{
    return vt_has_suffix(t->name, ".bias");
}

static bool all_but_block_1(const vt_tensor *t)
{
    return strncmp(t->name, "blocks.1.", 9) != 0;
}

static bool embedding(const vt_tensor *t)
{
    return strncmp(t->name, "patch_embed", 11) == 0;
}

static bool all_but_probe(const vt_tensor *t)
{
    return strcmp(t->name, "attn_pool.latent") != 0 && strcmp(t->name, "cls_token") != 0;
}

static bool everything(const vt_tensor *t)
{
    return t != NULL;
}

/* Calls of the operations that make up a backward pass, and multiply-adds of those that make parameters' gradients. */
static vt_ops sound;
static int input_gradients, block_gradients;
static int64_t parameter_products;

static void counting_dx(const vt_exec *ex, const vt_linear_dx_args *a)
{
    input_gradients++;
    sound.linear_dx(ex, a);
}

static void counting_dw(const vt_exec *ex, const vt_linear_dw_args *a)
{
    parameter_products += a->in * a->out;
    sound.linear_dw(ex, a);
}

static void counting_attention(const vt_exec *ex, const vt_attention_bwd_args *a)
{
    block_gradients += a->q_sample_stride != 0;
    sound.attention_bwd(ex, a);
}

typedef struct {
    bool (*frozen)(const vt_tensor *t);
    int inputs, blocks; /* linear_dx and blocks' attention_bwd that may be done with a MAP head; -1: not counted */
} frozen_case;

static void check_frozen(const frozen_case *c, rig_options whole, vt_real type)
{
    rig_options part = whole;
    whole.type = part.type = type;
    part.frozen = c->frozen;
    rig a, b;
    rig_open(&a, &whole);
    rig_open(&b, &part);
    float *all = rig_step(&a, whole.samples);
    sound = b.backend.ops;
    b.backend.ops.linear_dx = counting_dx;
    b.backend.ops.linear_dw = counting_dw;
    b.backend.ops.attention_bwd = counting_attention;
    input_gradients = block_gradients = 0;
    parameter_products = 0;
    float *some = rig_step(&b, part.samples);

    int64_t at = 0, products = 0;
    for (int i = 0; i < b.model.n_params; at += b.model.params[i++].count) {
        const vt_tensor *t = &b.model.params[i];
        assert_int_equal(t->frozen, c->frozen(t));
        assert_true(t->frozen == (t->grad == NULL));
        if (!t->frozen)
            assert_memory_equal(some + at, all + at, (size_t)t->count * sizeof *all);
        const vt_tensor *bias = t->decays ? t + 1 : t; /* but for patches before a norm */
        if (t->decays && (!t->frozen || (vt_has_suffix(bias->name, ".bias") && !bias->frozen)))
            products += t->frozen ? t->dims[0] : t->count;
    }
    assert_true(parameter_products == products);
    if (whole.config.head == VT_HEAD_MAP && c->inputs >= 0) {
        assert_int_equal(input_gradients, c->inputs);
        assert_int_equal(block_gradients, c->blocks);
    }
    free(all);
    free(some);
    rig_close(&a);
    rig_close(&b);
}

/* Breaks when freezing changes what is trained, costs a gradient's memory, or work for tensors below the lowest that is
 * trained. */
static void test_frozen(void **state)
{
    (void)state;
    const frozen_case cases[] = {
        {all_but_classifier, 0, 0}, /* the classifier's own gradients only */
        {all_but_head, 6, 0},       /* classifier, tanh layer, the pool's fc2, fc1, proj, q; nothing for keys, values */
        {all_but_block_1, 10, 1},   /* classifier, tanh, fc2, fc1, proj, kv of the pool; one block's four */
        {all_but_biases, -1, 0},    {biases, -1, 0}, {embedding, -1, 0}, {all_but_probe, -1, 0}, {everything, 0, 0},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++)
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++)
            for (int type = VT_F32; type <= VT_BF16; type++)
                check_frozen(&cases[i], options((vt_head_kind)head), (vt_real)type);
}

static bool vectors(const vt_tensor *t)
{
    return t->n_dims == 1;
}

/* The same where a family has more of a block: all of its vectors frozen, and what else there is. */
static void test_frozen_families(void **state)
{
    (void)state;
    const frozen_case cases[] = {
        {all_but_classifier, -1, 0}, {all_but_biases, -1, 0}, {biases, -1, 0}, {vectors, -1, 0},
        {all_but_probe, -1, 0},      {all_but_block_1, -1, 0}};
    for (int family = 3; family < RIG_FAMILIES; family += 2)
        for (size_t i = 0; i < VT_COUNT_OF(cases); i++)
            for (int type = VT_F32; type <= VT_BF16; type++) {
                rig_options o = options(VT_HEAD_TOK);
                o.config = rig_family(family);
                check_frozen(&cases[i], o, (vt_real)type);
            }
}

/* --- the visitor */

enum { MAX_VISITS = 512 };

typedef struct {
    rig *r;
    int n;
    char names[MAX_VISITS][96];
    double *qkv; /* of block 1, if asked for */
} visits;

static double element(vt_real type, const void *x, int64_t i)
{
    return type == VT_BF16 ? (double)vt_bf16_to_f32(((const uint16_t *)x)[i]) : (double)((const float *)x)[i];
}

/* Copies, looks for what is not a number, and keeps the name. */
static void visit(void *context, const char *name, vt_real type, const void *x, int64_t count)
{
    visits *v = context;
    size_t bytes = (size_t)count * (type == VT_BF16 ? 2 : 4);
    void *copy = malloc(bytes);
    assert_true(v->n < MAX_VISITS && count > 0);
    vt_device_read(&v->r->device, copy, x, bytes);
    if (strcmp(name, "blocks.1.attn.qkv") == 0)
        v->qkv = realloc(v->qkv, (size_t)count * sizeof *v->qkv);
    for (int64_t i = 0; i < count; i++) {
        double value = element(type, copy, i);
        assert_true(isfinite(value));
        if (strcmp(name, "blocks.1.attn.qkv") == 0)
            v->qkv[i] = value;
    }
    free(copy);
    (void)snprintf(v->names[v->n++], sizeof v->names[0], "%s", name);
}

static int place_of(const visits *v, const char *name)
{
    for (int i = 0; i < v->n; i++)
        if (strcmp(v->names[i], name) == 0)
            return i;
    print_error("%s was not told\n", name);
    fail();
    return -1;
}

static void check_order(const visits *v, const char *const *names, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        assert_true(place_of(v, names[i]) < place_of(v, names[i + 1]));
}

static const char *const of_all[] = {"patches",
                                     "patch_embed",
                                     "blocks.0.norm1",
                                     "blocks.0.attn.qkv",
                                     "blocks.0.attn.lse",
                                     "blocks.0.attn",
                                     "blocks.0.attn.proj",
                                     "blocks.0.mid",
                                     "blocks.0.norm2",
                                     "blocks.0.mlp.fc1",
                                     "blocks.0.mlp.act",
                                     "blocks.0.mlp.drop",
                                     "blocks.0.mlp.fc2",
                                     "blocks.0.out",
                                     "blocks.1.norm1",
                                     "blocks.1.out",
                                     "norm",
                                     "pooled",
                                     "pre_logits",
                                     "features",
                                     "logits",
                                     "loss",
                                     "grad logits",
                                     "grad pre_logits",
                                     "grad pooled",
                                     "grad norm",
                                     "grad blocks.1.out",
                                     "grad blocks.1.mlp.fc2",
                                     "grad blocks.1.mlp.fc1",
                                     "grad blocks.1.norm2",
                                     "grad blocks.1.mid",
                                     "grad blocks.1.attn.proj",
                                     "grad blocks.1.attn",
                                     "grad blocks.1.attn.qkv",
                                     "grad blocks.1.norm1",
                                     "grad blocks.1.in",
                                     "grad blocks.0.mlp.fc1",
                                     "grad blocks.0.in",
                                     "grad patch_embed.proj.bias"};

/* A pass with a visitor beside one without; order: names that are told one after another, with others between. */
static void check_visits(rig_options o, vt_real type, vt_recompute recompute, const char *const *order, size_t n_order)
{
    o.type = type;
    o.recompute = recompute;
    o.dropout = 0.1F;
    rig r, quiet;
    rig_open(&quiet, &o);
    float *expected = rig_step(&quiet, o.samples);
    rig_open(&r, &o);
    visits *v = calloc(1, sizeof *v);
    v->r = &r;
    r.pass.visit = visit;
    r.pass.visit_context = v;
    float *found = rig_step(&r, o.samples);
    assert_memory_equal(found, expected, (size_t)r.model.param_count * sizeof *found);

    check_order(v, order, n_order);
    for (int i = 0; i < v->n; i++)
        assert_int_equal(place_of(v, v->names[i]), i); /* once each */
    for (int i = 0; i < r.model.n_params; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "grad %s", r.model.params[i].name);
        (void)place_of(v, name);
    }
    free(v->qkv);
    free(v);
    free(found);
    free(expected);
    rig_close(&r);
    rig_close(&quiet);
}

/* Breaks when a tensor is told under a wrong name, too late (then it holds another's numbers), twice or not at all, or
 * when looking changes a result. */
static void test_visit(void **state)
{
    (void)state;
    for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++)
        for (int type = VT_F32; type <= VT_BF16; type++)
            for (int recompute = VT_RECOMPUTE_NONE; recompute <= VT_RECOMPUTE_BLOCK; recompute++)
                check_visits(options((vt_head_kind)head), (vt_real)type, (vt_recompute)recompute, of_all,
                             VT_COUNT_OF(of_all));
}

/* The same for the variants of published families, and when what only they have is not told. */
static void test_visit_families(void **state)
{
    (void)state;
    static const char *const order[] = {"tokens",
                                        "norm_pre",
                                        "blocks.0.attn.qkv",
                                        "blocks.0.attn.qk_norm",
                                        "blocks.0.attn",
                                        "blocks.0.attn.proj",
                                        "blocks.0.ls1",
                                        "blocks.0.mid",
                                        "blocks.0.mlp.fc1",
                                        "blocks.0.mlp.act",
                                        "pooled",
                                        "fc_norm",
                                        "logits",
                                        "grad fc_norm.in",
                                        "grad blocks.1.ls2",
                                        "grad blocks.1.mlp.fc2",
                                        "grad blocks.1.mlp.act",
                                        "grad blocks.1.mlp.fc1",
                                        "grad blocks.1.attn.qk_norm",
                                        "grad blocks.1.attn.q_norm.weight",
                                        "grad blocks.1.attn.qkv",
                                        "grad norm_pre.in",
                                        "grad reg_token",
                                        "grad pos_embed"};
    for (int family = 0; family < RIG_FAMILIES; family++)
        for (int type = VT_F32; type <= VT_BF16; type++)
            for (int recompute = VT_RECOMPUTE_NONE; recompute <= VT_RECOMPUTE_BLOCK; recompute++) {
                rig_options o = options(VT_HEAD_TOK);
                o.config = rig_family(family);
                check_visits(o, (vt_real)type, (vt_recompute)recompute, order,
                             family == RIG_FAMILIES - 1 ? VT_COUNT_OF(order) : 0);
            }
}

/* --- what people watch */

/* Entropy and largest score of one head of block 1, from its queries and keys. */
static void attention_figures(const vt_model *m, const double *qkv, int64_t h, double *entropy, double *largest)
{
    int64_t B = 3, N = m->tokens, D = m->config.width, K = m->head_width;
    double *scores = malloc((size_t)N * sizeof *scores), total = 0.0;
    *largest = 0.0;
    for (int64_t i = 0; i < B * N; i++) {
        double top = -1e300, sum = 0.0, mean = 0.0;
        for (int64_t j = 0; j < N; j++) {
            const double *q = qkv + i * 3 * D + h * K, *k = qkv + (i / N * N + j) * 3 * D + D + h * K;
            scores[j] = 0.0;
            for (int64_t e = 0; e < K; e++)
                scores[j] += q[e] * k[e] / sqrt((double)K);
            top = fmax(top, scores[j]);
            *largest = fmax(*largest, fabs(scores[j]));
        }
        for (int64_t j = 0; j < N; j++) {
            sum += exp(scores[j] - top);
            mean += exp(scores[j] - top) * (scores[j] - top);
        }
        total += log(sum) - mean / sum;
    }
    *entropy = total / (double)(B * N);
    free(scores);
}

/* Breaks when the figures are those of another block or head, when recomputing spoils them, or when they miss a type.
 */
static void test_watch(void **state)
{
    (void)state;
    for (int type = VT_F32; type <= VT_BF16; type++)
        for (int recompute = VT_RECOMPUTE_NONE; recompute <= VT_RECOMPUTE_BLOCK; recompute++) {
            rig_options o = options(VT_HEAD_TOK);
            o.type = (vt_real)type;
            o.recompute = (vt_recompute)recompute;
            rig r;
            rig_open(&r, &o);
            visits *v = calloc(1, sizeof *v);
            v->r = &r;
            r.pass.watch = true;
            r.pass.visit = visit;
            r.pass.visit_context = v;
            free(rig_step(&r, o.samples));
            double found[2][2][3];
            vt_device_read(&r.device, found[0], r.model.entropy, sizeof found[0]);
            vt_device_read(&r.device, found[1], r.model.largest_score, sizeof found[1]);
            for (int64_t h = 0; h < 3; h++) {
                double entropy = 0.0, largest = 0.0;
                attention_figures(&r.model, v->qkv, h, &entropy, &largest);
                assert_true(fabs(found[0][1][h] / entropy - 1.0) < 1e-4);
                assert_true(fabs(found[1][1][h] / largest - 1.0) < 1e-4);
                assert_true(found[0][0][h] > 0.0 && found[0][0][h] <= log((double)r.model.tokens) * (1.0 + 1e-6));
                assert_true(found[0][0][h] != found[0][1][h]);
            }
            free(v->qkv);
            free(v);
            rig_close(&r);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen),         cmocka_unit_test(test_frozen_families), cmocka_unit_test(test_visit),
        cmocka_unit_test(test_visit_families), cmocka_unit_test(test_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
