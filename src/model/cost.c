/* Parameters and operations by arithmetic (spec 1.1, 1.2), without building a model. Letters as in spec: n patches, D
 * width, L depth, M MLP width, H heads, P patch side, C classes; F width of the features, t tokens (n, and
 * those in front: class token, registers). */
#include "model/cost.h"

/* The classifier that the paper's printed operations include. */
enum { PAPER_CLASSES = 29593 };

static int64_t patches_of(const vt_model_config *c)
{
    return (c->image_height / c->patch) * (c->image_width / c->patch);
}

static int64_t front_of(const vt_model_config *c)
{
    return (vt_model_class_token(c) != VT_TOKEN_NONE ? 1 : 0) + c->registers;
}

/* Matrices of D x M in a block's MLP: a gate is one more. */
static int64_t mlp_matrices(const vt_model_config *c)
{
    return c->mlp_kind == VT_MLP_SWIGLU ? 3 : 2;
}

static int64_t features_of(const vt_model_config *c)
{
    return c->representation > 0 ? c->representation : c->width;
}

vt_param_counts vt_model_param_counts(const vt_model_config *c)
{
    int64_t n = patches_of(c), D = c->width, M = c->mlp, P = c->patch;
    int64_t matrices = mlp_matrices(c), mlp = matrices * D * M + (matrices - 1) * M + D;
    int64_t attention = 4 * D * D + 4 * D, norm = 2 * D, probe = D;
    int64_t variants = (c->qk_norm ? 4 * D / c->heads : 0) + (c->layer_scale > 0 ? 2 * D : 0);
    vt_param_counts p = {0};
    p.embed = 3 * P * P * D + (c->norm_pre ? norm : D);
    p.positions = (n + (vt_model_class_token(c) == VT_TOKEN_POSITION ? 1 : 0)) * D;
    p.blocks = c->depth * (attention + mlp + 2 * norm + variants);
    p.final_norm = norm;
    p.body = p.embed + p.positions + p.blocks + p.final_norm;
    p.front = front_of(c) * D;
    p.map_head = c->head == VT_HEAD_MAP ? probe + attention + norm + 2 * D * M + M + D : 0;
    p.representation = c->representation * (D + 1);
    p.classifier = c->classes * (features_of(c) + 1);
    p.total = p.body + p.front + p.map_head + p.representation + p.classifier;
    return p;
}

/* Multiply-adds of L blocks over t tokens. */
static double block_products(const vt_model_config *c, double t)
{
    double D = (double)c->width, L = (double)c->depth, M = (double)c->mlp;
    return L * (4 * t * D * D + 2 * t * t * D + (double)mlp_matrices(c) * t * D * M);
}

vt_flops vt_model_flops(const vt_model_config *c)
{
    double n = (double)patches_of(c), t = n + (double)front_of(c), D = (double)c->width, L = (double)c->depth;
    double M = (double)c->mlp, H = (double)c->heads, P = (double)c->patch, C = (double)c->classes;
    double F = (double)features_of(c), paper_classes = PAPER_CLASSES;

    double embed = n * 3 * P * P * D;
    double map_head = c->head == VT_HEAD_MAP ? 2 * t * D * D + 2 * D * D + 2 * t * D + 2 * D * M : 0;
    double head = map_head + (double)c->representation * D + C * F;
    /* coefficients fitted to XLA's cost analysis (spec 1.1): norms, residuals and biases; MLP bias and GELU; softmax */
    double elementwise = n * L * (22 * D + 9 * M + 4 * H * n + 11) + 10 * n * D;
    double paper_head = 2 * paper_classes * D + paper_classes;
    return (vt_flops){.products = 2 * (embed + block_products(c, t) + head),
                      .paper = 2 * (embed + block_products(c, n)) + elementwise + paper_head};
}
