/* Parameters and operations by arithmetic (spec 1.1, 1.2), without building a model. Letters as in spec: n tokens, D
 * width, L depth, M MLP width, H heads, P patch side, C classes. */
#include "model/cost.h"

/* The classifier that the paper's printed operations include. */
enum { PAPER_CLASSES = 29593 };

static int64_t tokens_of(const vt_model_config *c)
{
    return (c->image_height / c->patch) * (c->image_width / c->patch);
}

vt_param_counts vt_model_param_counts(const vt_model_config *c)
{
    int64_t n = tokens_of(c), D = c->width, M = c->mlp, P = c->patch;
    int64_t mlp = 2 * D * M + M + D, attention = 4 * D * D + 4 * D, norm = 2 * D, probe = D;
    vt_param_counts p = {0};
    p.embed = 3 * P * P * D + D;
    p.positions = n * D;
    p.blocks = c->depth * (attention + mlp + 2 * norm);
    p.final_norm = norm;
    p.body = p.embed + p.positions + p.blocks + p.final_norm;
    p.map_head = c->head == VT_HEAD_MAP ? probe + attention + norm + mlp : 0;
    p.classifier = c->classes * (D + 1);
    p.total = p.body + p.map_head + p.classifier;
    return p;
}

vt_flops vt_model_flops(const vt_model_config *c)
{
    double n = (double)tokens_of(c), D = (double)c->width, L = (double)c->depth, M = (double)c->mlp;
    double H = (double)c->heads, P = (double)c->patch, C = (double)c->classes, paper_classes = PAPER_CLASSES;

    double body = n * 3 * P * P * D + L * (4 * n * D * D + 2 * n * n * D + 2 * n * D * M);
    double map_head = c->head == VT_HEAD_MAP ? 2 * n * D * D + 2 * D * D + 2 * n * D + 2 * D * M : 0;
    /* coefficients fitted to XLA's cost analysis (spec 1.1): norms, residuals and biases; MLP bias and GELU; softmax */
    double elementwise = n * L * (22 * D + 9 * M + 4 * H * n + 11) + 10 * n * D;
    double paper_head = 2 * paper_classes * D + paper_classes;
    return (vt_flops){.products = 2 * (body + map_head + C * D), .paper = 2 * body + elementwise + paper_head};
}
