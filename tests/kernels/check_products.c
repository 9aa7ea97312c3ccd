/* Rows of the checker for linear layers: shapes, contents, and bounds from rounding analysis.
 *
 * For a product the bound is check_sum_error(n) * sum |a||b|, the magnitudes being ref's own result on absolute values;
 * an activation multiplies it by its largest slope and adds its own error. Operands of bf16 are exact, weights rounded
 * as the contract says, so that with them only the rounding of a stored result is added. */
#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"
#include "check.h"
#include "kernels/bf16.h"
#include "kernels/ref/ref.h"

static const double largest_slope = 1.13; /* of any activation */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* How far a float32 evaluation of act(z), which is y, may lie from the true one. */
static double act_error(vt_act act, double z, double y)
{
    return act == VT_ACT_NONE ? 0 : 8 * CHECK_U * fabs(act == VT_ACT_TANH ? y : z);
}

/* The same of its derivative; in the tanh form of GELU, a few roundings of tanh, times what multiplies it. */
static double slope_error(vt_act act, double z)
{
    return 8 * CHECK_U * (act == VT_ACT_GELU_TANH ? 1 + 0.4 * fabs(z) * (1 + 0.134145 * z * z) : 1);
}

/* A tensor as float32, its weights as a product takes them; to be freed. */
static float *as_floats(const void *x, vt_real type, int64_t count)
{
    float *y = vt_xmalloc((size_t)count * sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = (float)vt_ref_at(x, type, i);
    return y;
}

static float *as_weights(const float *w, vt_real type, int64_t count)
{
    float *y = vt_xmalloc((size_t)count * sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = type == VT_BF16 ? vt_bf16_to_f32(vt_bf16_from_f32(w[i])) : w[i];
    return y;
}

static void remove_signs(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = fabsf(x[i]);
}

CHECK_CALL(linear_fwd)

static void make_linear_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], in = c->dims[1], out = c->dims[2];
    vt_linear_fwd_args *a = &c->args.linear_fwd;
    *a = (vt_linear_fwd_args){.rows = rows, .in = in, .out = out, .type = check_choose_type(c, "type")};
    c->limits.width = larger(in, out);
    a->x = check_in_real(c, "x", a->type, rows * in, 0, 1);
    a->w = check_in(c, "w", out * in, 0, 2 / sqrt((double)in));
    a->act = (vt_act)check_choose(c, "act", 5);
    /* Now and then so large that GELU is all or nothing. */
    const int bias = check_choose(c, "bias_of", 5);
    if (bias != 1)
        a->bias = check_in(c, "bias", out, 0, bias == 2 ? 50 : 1);
    if (check_choose(c, "pre", 2))
        a->pre = check_out_real(c, "pre", a->type, rows * out);
    if (check_choose(c, "scale", 4) == 3)
        a->scale = check_in(c, "scale", out, 0, 1);
    const int residual = check_choose(c, "residual", 4); /* none, over y, of all rows, of a period of rows */
    if (residual == 1) {
        float *y = check_inout(c, "y", rows * out, 0, 1);
        a->y = y;
        a->residual = y;
        a->residual_rows = rows;
        return;
    }
    if (residual > 1) {
        a->residual_rows = residual == 2 ? rows : 1 + (int64_t)vt_rng_below(&c->rng, (uint32_t)rows);
        a->residual = check_in(c, "residual", a->residual_rows * out, 0, 1);
    }
    a->y = check_out_real(c, "y", a->residual ? VT_F32 : a->type, rows * out);
}

static void bound_linear_fwd(check_case *c)
{
    const vt_linear_fwd_args *a = &c->args.linear_fwd;
    const int64_t count = a->rows * a->out;
    float *x = as_floats(a->x, a->type, a->rows * a->in), *w = as_weights(a->w, a->type, a->out * a->in);
    float *bias = a->bias ? check_abs(a->bias, a->out) : NULL;
    float *sum = vt_xmalloc((size_t)count * sizeof *sum), *z = vt_xmalloc((size_t)count * sizeof *z);
    float *y = vt_xmalloc((size_t)count * sizeof *y);
    vt_linear_fwd_args exact = *a;
    exact.type = VT_F32, exact.x = x, exact.w = w, exact.pre = z, exact.y = y;
    vt_ref_linear_fwd(NULL, &exact);
    remove_signs(x, a->rows * a->in);
    remove_signs(w, a->out * a->in);
    vt_ref_linear_fwd(NULL, &(vt_linear_fwd_args){
                                .rows = a->rows, .in = a->in, .out = a->out, .x = x, .w = w, .bias = bias, .y = sum});

    const vt_real y_type = a->residual ? VT_F32 : a->type;
    double *bound = check_bound(c, "y"), *pre_bound = a->pre ? check_bound(c, "pre") : NULL;
    for (int64_t i = 0; i < count; i++) {
        const double z_error = check_sum_error(a->in) * sum[i], size = fabs((double)z[i]);
        if (pre_bound)
            pre_bound[i] = check_rounded(a->type, z[i], z_error + 2 * CHECK_U * size);
        const double slope = a->act == VT_ACT_NONE ? 1 : largest_slope;
        double error = slope * z_error + act_error(a->act, z[i], a->scale ? 1 : y[i]);
        if (a->scale)
            error = fabs((double)a->scale[i % a->out]) * (error + 2 * CHECK_U * size);
        error += 2 * CHECK_U * fabs((double)y[i]);
        bound[i] = check_rounded(y_type, y[i], error);
    }
    free(x), free(w), free(bias), free(sum), free(z), free(y);
}

CHECK_CALL(linear_dx)

static void make_linear_dx(check_case *c)
{
    const int64_t rows = c->dims[0], in = c->dims[1], out = c->dims[2];
    vt_linear_dx_args *a = &c->args.linear_dx;
    *a = (vt_linear_dx_args){.rows = rows, .in = in, .out = out, .type = check_choose_type(c, "type")};
    c->limits.width = larger(in, out);
    a->dy = check_in_real(c, "dy", a->type, rows * out, 0, 1);
    a->w = check_in(c, "w", out * in, 0, 1);
    a->act = (vt_act)check_choose(c, "act", 5);
    const int pre = check_choose(c, "pre", 4);
    if (pre > 1)
        a->pre = check_in_real(c, "pre", a->type, rows * in, 0, pre == 2 ? 3 : 50);
    a->dx = check_out_real(c, "dx", a->type, rows * in);
}

static void bound_linear_dx(check_case *c)
{
    const vt_linear_dx_args *a = &c->args.linear_dx;
    const int64_t count = a->rows * a->in;
    float *dy = as_floats(a->dy, a->type, a->rows * a->out), *w = as_weights(a->w, a->type, a->out * a->in);
    float *pre = a->pre ? as_floats(a->pre, a->type, count) : NULL;
    float *magnitude = vt_xmalloc((size_t)count * sizeof *magnitude), *sum = vt_xmalloc((size_t)count * sizeof *sum);
    float *dx = vt_xmalloc((size_t)count * sizeof *dx);
    vt_linear_dx_args exact = {.rows = a->rows, .in = a->in, .out = a->out, .dy = dy, .w = w, .act = a->act};
    exact.dx = sum;
    vt_ref_linear_dx(NULL, &exact);
    exact.pre = pre, exact.dx = dx;
    vt_ref_linear_dx(NULL, &exact);
    remove_signs(dy, a->rows * a->out);
    remove_signs(w, a->out * a->in);
    exact.pre = NULL, exact.dx = magnitude;
    vt_ref_linear_dx(NULL, &exact);

    double *bound = check_bound(c, "dx");
    for (int64_t i = 0; i < count; i++) {
        double error = check_sum_error(a->out) * magnitude[i];
        if (pre)
            error = largest_slope * error + fabs((double)sum[i]) * slope_error(a->act, pre[i]);
        bound[i] = check_rounded(a->type, dx[i], error + 2 * CHECK_U * fabs((double)dx[i]));
    }
    free(dy), free(w), free(pre), free(magnitude), free(sum), free(dx);
}

static double work_linear(const int64_t *d)
{
    return 2.0 * (double)d[0] * (double)d[1] * (double)d[2];
}

CHECK_CALL(linear_dw)

static void make_linear_dw(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], in = c->dims[2], out = c->dims[3];
    static const int slices[] = {8, 1, 2, 4, 64};
    vt_linear_dw_args *a = &c->args.linear_dw;
    *a = (vt_linear_dw_args){.samples = samples, .tokens = tokens, .in = in, .out = out};
    a->type = check_choose_type(c, "type");
    a->grad_type = check_choose(c, "grad_type", 3) == 2 ? VT_BF16 : VT_F32;
    a->slices = slices[check_choose(c, "slices_of", 5)];
    a->accumulate = a->grad_type == VT_F32 && check_choose(c, "accumulate", 2);
    c->limits = (vt_limits){.tokens = tokens, .head_width = 1, .width = larger(in, out), .slices = a->slices};
    a->dy = check_in_real(c, "dy", a->type, samples * tokens * out, 0, 1);
    a->x = check_in_real(c, "x", a->type, samples * tokens * in, 0, 1);
    a->dw = a->accumulate ? check_inout(c, "dw", out * in, 0, 3) : check_out_real(c, "dw", a->grad_type, out * in);
    if (!check_choose(c, "no_dbias", 2))
        a->dbias = a->accumulate ? check_inout(c, "dbias", out, 0, 3) : check_out_real(c, "dbias", a->grad_type, out);
}

/* The sums, and those of magnitudes, of a case; old ones are added where the case accumulates. */
static void exact_dw(const vt_linear_dw_args *a, bool magnitudes, float *dw, float *dbias)
{
    const int64_t rows = a->samples * a->tokens;
    float *dy = as_floats(a->dy, a->type, rows * a->out), *x = as_floats(a->x, a->type, rows * a->in);
    vt_linear_dw_args exact = *a;
    exact.type = exact.grad_type = VT_F32;
    exact.dy = dy, exact.x = x, exact.dw = dw, exact.dbias = a->dbias ? dbias : NULL;
    for (int64_t i = 0; a->accumulate && i < a->out * a->in; i++)
        dw[i] = (float)vt_ref_at(a->dw, a->grad_type, i);
    for (int64_t o = 0; a->accumulate && a->dbias && o < a->out; o++)
        dbias[o] = (float)vt_ref_at(a->dbias, a->grad_type, o);
    if (magnitudes) {
        remove_signs(dy, rows * a->out);
        remove_signs(x, rows * a->in);
        remove_signs(dw, a->out * a->in);
        remove_signs(dbias, a->out);
    }
    vt_ref_linear_dw(NULL, &exact);
    free(dy), free(x);
}

static void bound_linear_dw(check_case *c)
{
    const vt_linear_dw_args *a = &c->args.linear_dw;
    const int64_t count = a->out * a->in;
    float *dw = vt_xcalloc((size_t)count, sizeof *dw), *magnitude = vt_xcalloc((size_t)count, sizeof *magnitude);
    float *dbias = vt_xcalloc((size_t)a->out, sizeof *dbias);
    float *bias_magnitude = vt_xcalloc((size_t)a->out, sizeof *bias_magnitude);
    exact_dw(a, false, dw, dbias);
    exact_dw(a, true, magnitude, bias_magnitude);

    const double error = check_sum_error(a->samples * a->tokens + a->slices);
    double *bound = check_bound(c, "dw"), *bias_bound = a->dbias ? check_bound(c, "dbias") : NULL;
    for (int64_t i = 0; i < count; i++)
        bound[i] = check_rounded(a->grad_type, dw[i], error * magnitude[i]);
    for (int64_t o = 0; a->dbias && o < a->out; o++)
        bias_bound[o] = check_rounded(a->grad_type, dbias[o], error * bias_magnitude[o]);
    free(dw), free(magnitude), free(dbias), free(bias_magnitude);
}

static double work_linear_dw(const int64_t *d)
{
    return 2.0 * (double)d[0] * (double)d[1] * (double)d[2] * (double)d[3];
}

#define LINEAR_DIMS                                                                                                    \
    {                                                                                                                  \
        {"rows", 300, {1, 2, 3, 15, 17, 64, 197, 400, 800}}, {"in", 300, {1, 3, 15, 17, 64, 72, 96, 768, 3333}},       \
            {"out", 300, {1, 3, 15, 17, 64, 72, 96, 768, 3333}},                                                       \
    }

/* Layers of B/16 (batch 8), S/16 and Ti/16 (32), and of widths 192 and 64 on 64 tokens. */
#define LINEAR_BENCH                                                                                                   \
    {                                                                                                                  \
        {1576, 768, 3072}, {1576, 3072, 768}, {6304, 384, 1536}, {6304, 192, 768}, {8192, 192, 768}, {16384, 64, 256}, \
            {16384, 256, 64},                                                                                          \
    }

const check_op check_products[] = {
    {"linear_fwd", LINEAR_DIMS, call_linear_fwd, make_linear_fwd, bound_linear_fwd, work_linear, "FLOP", LINEAR_BENCH},
    {"linear_dx", LINEAR_DIMS, call_linear_dx, make_linear_dx, bound_linear_dx, work_linear, "FLOP", LINEAR_BENCH},
    {"linear_dw",
     {{"samples", 20, {1, 2, 3, 5, 8, 9, 64}},
      {"tokens", 100, {1, 3, 16, 49, 197, 577}},
      {"in", 200, {1, 3, 15, 17, 64, 72, 96, 192, 768}},
      {"out", 200, {1, 3, 10, 15, 17, 64, 72, 192, 400}}},
     call_linear_dw,
     make_linear_dw,
     bound_linear_dw,
     work_linear_dw,
     "FLOP",
     {{8, 197, 768, 3072},
      {8, 197, 3072, 768},
      {32, 197, 384, 1536},
      {32, 197, 192, 768},
      {128, 64, 192, 768},
      {256, 64, 64, 256},
      {256, 64, 256, 64}}},
    {NULL},
};
