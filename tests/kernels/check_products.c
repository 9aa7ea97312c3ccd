/* Rows of the checker for matrix products and attention: shapes, contents, and bounds from rounding analysis.
 *
 * For a product the bound is check_sum_error(n) * sum |a||b|, the magnitudes being ref's own result on absolute values;
 * an activation multiplies it by its largest slope and adds its own error. */
#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"
#include "check.h"
#include "kernels/ref/ref.h"

static const double gelu_largest_slope = 1.13;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* How far a float32 evaluation of gelu'(z) may lie from the true one: a few roundings of tanh, times what multiplies
 * it. */
static double gelu_slope_error(double z)
{
    return 8 * CHECK_U * (1 + 0.4 * fabs(z) * (1 + 0.134145 * z * z));
}

CHECK_CALL(linear_fwd)

static void make_linear_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], in = c->dims[1], out = c->dims[2];
    vt_linear_fwd_args *a = &c->args.linear_fwd;
    *a = (vt_linear_fwd_args){.rows = rows, .in = in, .out = out};
    c->limits.width = larger(in, out);
    a->x = check_in(c, "x", rows * in, 0, 1);
    a->w = check_in(c, "w", out * in, 0, 2 / sqrt((double)in));
    a->act = check_choose(c, "gelu", 2) ? VT_ACT_GELU_TANH : VT_ACT_NONE;
    /* Now and then so large that GELU is all or nothing. */
    const int bias = check_choose(c, "bias_of", 5);
    if (bias != 1)
        a->bias = check_in(c, "bias", out, 0, bias == 2 ? 50 : 1);
    if (check_choose(c, "pre", 2))
        a->pre = check_out(c, "pre", rows * out);
    const int residual = check_choose(c, "residual", 4); /* none, over y, of all rows, of a period of rows */
    if (residual == 1) {
        a->y = check_inout(c, "y", rows * out, 0, 1);
        a->residual = a->y;
        a->residual_rows = rows;
        return;
    }
    if (residual > 1) {
        a->residual_rows = residual == 2 ? rows : 1 + (int64_t)vt_rng_below(&c->rng, (uint32_t)rows);
        a->residual = check_in(c, "residual", a->residual_rows * out, 0, 1);
    }
    a->y = check_out(c, "y", rows * out);
}

static void bound_linear_fwd(check_case *c)
{
    const vt_linear_fwd_args *a = &c->args.linear_fwd;
    const int64_t count = a->rows * a->out;
    float *x = check_abs(a->x, a->rows * a->in), *w = check_abs(a->w, a->out * a->in);
    float *bias = a->bias ? check_abs(a->bias, a->out) : NULL;
    float *sum = vt_xmalloc((size_t)count * sizeof *sum), *z = vt_xmalloc((size_t)count * sizeof *z);
    vt_linear_fwd_args plain = {
        .rows = a->rows, .in = a->in, .out = a->out, .x = a->x, .w = a->w, .bias = a->bias, .y = z};
    vt_ref_linear_fwd(NULL, &plain);
    plain.x = x, plain.w = w, plain.bias = bias, plain.y = sum;
    vt_ref_linear_fwd(NULL, &plain);

    const float *y = check_expected(c, "y");
    double *bound = check_bound(c, "y"), *pre_bound = a->pre ? check_bound(c, "pre") : NULL;
    for (int64_t i = 0; i < count; i++) {
        const double z_error = check_sum_error(a->in) * sum[i];
        if (pre_bound)
            pre_bound[i] = z_error + 2 * CHECK_U * fabs((double)z[i]);
        bound[i] = a->act == VT_ACT_NONE ? z_error : gelu_largest_slope * z_error + 8 * CHECK_U * fabs((double)z[i]);
        bound[i] += 2 * CHECK_U * fabs((double)y[i]);
    }
    free(x), free(w), free(bias), free(sum), free(z);
}

CHECK_CALL(linear_dx)

static void make_linear_dx(check_case *c)
{
    const int64_t rows = c->dims[0], in = c->dims[1], out = c->dims[2];
    vt_linear_dx_args *a = &c->args.linear_dx;
    *a = (vt_linear_dx_args){.rows = rows, .in = in, .out = out};
    c->limits.width = larger(in, out);
    a->dy = check_in(c, "dy", rows * out, 0, 1);
    a->w = check_in(c, "w", out * in, 0, 1);
    const int pre = check_choose(c, "pre", 4);
    a->act = VT_ACT_GELU_TANH;
    if (pre > 1)
        a->pre = check_in(c, "pre", rows * in, 0, pre == 2 ? 3 : 50);
    a->dx = check_out(c, "dx", rows * in);
}

static void bound_linear_dx(check_case *c)
{
    const vt_linear_dx_args *a = &c->args.linear_dx;
    const int64_t count = a->rows * a->in;
    float *dy = check_abs(a->dy, a->rows * a->out), *w = check_abs(a->w, a->out * a->in);
    float *magnitude = vt_xmalloc((size_t)count * sizeof *magnitude), *sum = vt_xmalloc((size_t)count * sizeof *sum);
    vt_linear_dx_args plain = {.rows = a->rows, .in = a->in, .out = a->out, .dy = a->dy, .w = a->w, .dx = sum};
    vt_ref_linear_dx(NULL, &plain);
    plain.dy = dy, plain.w = w, plain.dx = magnitude;
    vt_ref_linear_dx(NULL, &plain);

    const float *dx = check_expected(c, "dx");
    double *bound = check_bound(c, "dx");
    for (int64_t i = 0; i < count; i++) {
        const double sum_error = check_sum_error(a->out) * magnitude[i];
        bound[i] = a->pre ? gelu_largest_slope * sum_error +
                                fabs((double)sum[i]) * gelu_slope_error(((const float *)a->pre)[i])
                          : sum_error;
        bound[i] += 2 * CHECK_U * fabs((double)dx[i]);
    }
    free(dy), free(w), free(magnitude), free(sum);
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
    a->slices = slices[check_choose(c, "slices_of", 5)];
    a->accumulate = check_choose(c, "accumulate", 2);
    c->limits = (vt_limits){.tokens = tokens, .head_width = 1, .width = larger(in, out), .slices = a->slices};
    a->dy = check_in(c, "dy", samples * tokens * out, 0, 1);
    a->x = check_in(c, "x", samples * tokens * in, 0, 1);
    a->dw = a->accumulate ? check_inout(c, "dw", out * in, 0, 3) : check_out(c, "dw", out * in);
    if (!check_choose(c, "no_dbias", 2))
        a->dbias = a->accumulate ? check_inout(c, "dbias", out, 0, 3) : check_out(c, "dbias", out);
}

static void bound_linear_dw(check_case *c)
{
    const vt_linear_dw_args *a = &c->args.linear_dw;
    const int64_t rows = a->samples * a->tokens, count = a->out * a->in;
    float *dy = check_abs(a->dy, rows * a->out), *x = check_abs(a->x, rows * a->in);
    float *dw = check_abs(a->dw, count), *dbias = a->dbias ? check_abs(a->dbias, a->out) : NULL;
    vt_linear_dw_args magnitude = *a;
    magnitude.dy = dy, magnitude.x = x, magnitude.dw = dw, magnitude.dbias = dbias;
    vt_ref_linear_dw(NULL, &magnitude);

    const double error = check_sum_error(rows + a->slices);
    double *bound = check_bound(c, "dw"), *bias_bound = dbias ? check_bound(c, "dbias") : NULL;
    for (int64_t i = 0; i < count; i++)
        bound[i] = error * dw[i];
    for (int64_t o = 0; dbias && o < a->out; o++)
        bias_bound[o] = error * dbias[o];
    free(dy), free(x), free(dw), free(dbias);
}

static double work_linear_dw(const int64_t *d)
{
    return 2.0 * (double)d[0] * (double)d[1] * (double)d[2] * (double)d[3];
}

#define LINEAR_DIMS                                                                                                    \
    {                                                                                                                  \
        {"rows", 300, {1, 2, 3, 15, 17, 64, 197, 400, 800}}, {"in", 300, {1, 3, 15, 17, 64, 72, 96, 768, 3072}},       \
            {"out", 300, {1, 3, 15, 17, 64, 72, 96, 768, 3072}},                                                       \
    }

const check_op check_products[] = {
    {"linear_fwd",
     LINEAR_DIMS,
     call_linear_fwd,
     make_linear_fwd,
     bound_linear_fwd,
     work_linear,
     "FLOP",
     {{1576, 768, 3072}, {1576, 3072, 768}, {16384, 64, 256}}},
    {"linear_dx",
     LINEAR_DIMS,
     call_linear_dx,
     make_linear_dx,
     bound_linear_dx,
     work_linear,
     "FLOP",
     {{1576, 768, 3072}, {1576, 3072, 768}, {16384, 64, 256}}},
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
     {{8, 197, 768, 3072}, {8, 197, 3072, 768}, {256, 64, 64, 256}}},
    {NULL},
};
