/* A model's life: from a configuration to its geometry and tables, and the end of both; and the names of its kinds.
 * What memory it takes is in activations.c, what it computes in order.c, embed.c, block.c and head.c. */
#include "model/layout.h"

#include <stdlib.h>

const char *const vt_xent_names[] = {"sigmoid", "softmax", NULL};
const char *const vt_head_names[] = {"map", "gap", "tok", NULL};
const char *const vt_positions_names[] = {"learned", "sincos2d", NULL};
const char *const vt_gelu_names[] = {"tanh", "erf", "quick", NULL};
const char *const vt_token_names[] = {"auto", "none", "plain", "position", NULL};
const char *const vt_mlp_names[] = {"gelu", "swiglu", NULL};

vt_status vt_model_init(vt_model *m, const vt_model_config *config, vt_err *err)
{
    *m = (vt_model){0};
    VT_TRY(vt_model_check(config, err));
    m->config = *config;
    m->grid_h = config->image_height / config->patch;
    m->grid_w = config->image_width / config->patch;
    m->patches = m->grid_h * m->grid_w;
    m->config.class_token = (int)vt_model_class_token(config);
    m->token = m->config.class_token != VT_TOKEN_NONE;
    m->token_position = m->config.class_token == VT_TOKEN_POSITION;
    m->front = (m->token ? 1 : 0) + config->registers;
    m->tokens = m->front + m->patches;
    m->fc1_width = config->mlp_kind == VT_MLP_SWIGLU ? 2 * config->mlp : config->mlp;
    m->feature_width = config->representation > 0 ? config->representation : config->width;
    m->head_width = config->width / config->heads;
    m->patch_dim = 3 * config->patch * config->patch;

    size_t depth = (size_t)config->depth;
    m->layout = vt_xcalloc(1, sizeof *m->layout);
    m->layout->x = vt_xcalloc(depth + 1, sizeof *m->layout->x);
    m->layout->acts = vt_xcalloc(depth, sizeof *m->layout->acts);
    m->layout->held = -1;
    vt_model_build_params(m);
    return VT_OK;
}

void vt_model_release(vt_model *m)
{
    if (m->layout != NULL) {
        free(m->layout->init);
        free(m->layout->rows);
        free(m->layout->x);
        free(m->layout->acts);
    }
    free(m->layout);
    free(m->params);
    *m = (vt_model){0};
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

vt_limits vt_model_limits(const vt_model *m, int slices)
{
    int64_t width = max_i64(3 * m->config.width, m->patch_dim);
    for (int i = 0; i < m->n_params; i++)
        for (int d = 0; d < m->params[i].n_dims; d++)
            width = max_i64(width, m->params[i].dims[d]);
    return (vt_limits){.tokens = m->tokens,
                       .head_width = m->head_width,
                       .slices = slices,
                       .width = width,
                       .norm_width = m->config.width};
}
