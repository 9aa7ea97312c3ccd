/* Initial values (spec 2.2). Every tensor draws from its own address: Philox with key (seed, VT_STREAM_INIT), use =
 * hash of the tensor's name, index = element / 4; the four elements of a group draw one after another. So a tensor's
 * values depend on the seed and its name alone, not on what other tensors the model has.
 *
 * The bounds of a fused qkv or kv weight are those of its (D, D) projections, as in big_vision. */
#include "model/layout.h"

#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/philox.h"

enum { CHUNK = 1 << 16 }; /* elements drawn on the host before they are copied */

/* The standard deviation of a standard normal cut at +-2, by which the cut one is divided to have the wanted std. */
static const double truncated_std = 0.87962566103423978;

typedef struct {
    vt_init_kind kind;
    double scale; /* std, bound or value */
} distribution;

static distribution distribution_of(const vt_model *m, const vt_init_rule *rule)
{
    double fan_in = (double)rule->fan_in, fan_sum = (double)(rule->fan_in + rule->fan_out);
    switch (rule->kind) {
    case VT_INIT_ZERO:
        return (distribution){rule->kind, 0.0};
    case VT_INIT_ONE:
        return (distribution){rule->kind, 1.0};
    case VT_INIT_LECUN:
        return (distribution){rule->kind, sqrt(1.0 / fan_in) / truncated_std};
    case VT_INIT_XAVIER:
        return (distribution){rule->kind, sqrt(6.0 / fan_sum)};
    case VT_INIT_POSITION:
        return (distribution){rule->kind, sqrt(1.0 / (double)m->config.width)};
    case VT_INIT_SINCOS:
        return (distribution){rule->kind, 0.0};
    case VT_INIT_TINY:
        return (distribution){rule->kind, 1e-6};
    case VT_INIT_SCALE:
        return (distribution){rule->kind, m->config.layer_scale};
    case VT_INIT_HEAD_BIAS:
        return (distribution){rule->kind, m->config.head_bias};
    }
    return (distribution){VT_INIT_ZERO, 0.0};
}

static double normal_within_two(vt_rng *rng)
{
    for (;;) {
        double z = vt_rng_normal(rng);
        if (fabs(z) <= 2.0)
            return z;
    }
}

static float draw(vt_rng *rng, distribution d)
{
    switch (d.kind) {
    case VT_INIT_LECUN:
        return (float)(d.scale * normal_within_two(rng));
    case VT_INIT_POSITION:
    case VT_INIT_TINY:
        return (float)(d.scale * vt_rng_normal(rng));
    case VT_INIT_XAVIER:
        return (float)(d.scale * (2.0 * (double)vt_rng_uniform(rng) - 1.0));
    case VT_INIT_ZERO:
    case VT_INIT_ONE:
    case VT_INIT_SINCOS:
    case VT_INIT_SCALE:
    case VT_INIT_HEAD_BIAS:
        break;
    }
    return (float)d.scale;
}

static void init_tensor(const vt_tensor *t, distribution d, vt_device *device, uint32_t seed, float *chunk)
{
    uint32_t use = vt_fnv1a(t->name);
    vt_rng rng = {0};
    for (int64_t first = 0; first < t->count; first += CHUNK) {
        int64_t n = t->count - first < CHUNK ? t->count - first : CHUNK;
        for (int64_t j = 0; j < n; j++) {
            if (j % 4 == 0)
                rng = vt_rng_at(seed, VT_STREAM_INIT, (uint64_t)(first + j) / 4, use);
            chunk[j] = draw(&rng, d);
        }
        vt_device_write(device, t->value + first, chunk, (size_t)n * sizeof *chunk);
    }
}

/* The table of sincos2d (spec 1.4): row y * grid_w + x is [sin(x w), cos(x w), sin(y w), cos(y w)], each D/4 long, with
 * frequencies w_j = 10000^(-j / (D/4 - 1)), j = 0 .. D/4 - 1. */
static void init_positions(const vt_model *m, const vt_tensor *t, vt_device *device)
{
    int64_t D = m->config.width, quarter = D / 4;
    float *row = vt_xcalloc((size_t)D, sizeof *row);
    for (int64_t i = 0; i < m->patches; i++) {
        double x = (double)(i % m->grid_w), y = (double)(i / m->grid_w);
        for (int64_t j = 0; j < quarter; j++) {
            double w = quarter > 1 ? vt_pow(10000.0, -(double)j / (double)(quarter - 1)) : 1.0;
            row[j] = (float)vt_sin(x * w);
            row[quarter + j] = (float)vt_cos(x * w);
            row[2 * quarter + j] = (float)vt_sin(y * w);
            row[3 * quarter + j] = (float)vt_cos(y * w);
        }
        vt_device_write(device, t->value + i * D, row, (size_t)D * sizeof *row);
    }
    free(row);
}

void vt_model_init_values(vt_model *m, vt_device *device, uint32_t seed)
{
    float *chunk = vt_xcalloc(CHUNK, sizeof *chunk);
    for (int i = 0; i < m->n_params; i++) {
        const vt_init_rule *rule = &m->layout->init[i];
        if (rule->kind == VT_INIT_SINCOS)
            init_positions(m, &m->params[i], device);
        else
            init_tensor(&m->params[i], distribution_of(m, rule), device, seed, chunk);
    }
    free(chunk);
}
