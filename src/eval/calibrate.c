/* Every image's figures are computed by itself (in chunks, by any thread) and then added up in order.
 *
 * The temperature. NLL as a function of beta is convex: of softmax it is ln sum exp(beta z_c) - beta mean z_k, of
 * sigmoid a sum of ln(1 + exp(+-beta z_c)); both are convex functions of beta times z. So its derivative never falls,
 * and a bracket [low, high] with a derivative below zero at low and above zero at high holds the minimum. A step is
 * Newton's where that stays inside the bracket, else the geometric middle; every eighth is the middle whatever Newton
 * says, so ln(high / low) halves at least once in eight steps and reaches rounding within STEPS_MOST from the 14 that
 * it begins with. Newton's steps, near the minimum quadratic, end it long before. */
#include "eval/calibrate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/philox.h"

#define LEAST      0x1p-10 /* of beta */
#define MOST       0x1p+10
#define CLOSE      1e-10 /* of beta */
#define STEPS_MOST 400
#define CHUNK      64 /* images */

const char *const vt_confidence_names[] = {"sigmoid", "softmax", NULL};

/* Of one image at one beta. */
typedef struct {
    double confidence, nll, brier;
    double slope, curvature; /* of the NLL by beta */
    bool right;
} figures;

static bool is_label(const int32_t *labels, int width, int64_t class)
{
    for (int k = 0; k < width && labels[k] >= 0; k++)
        if (labels[k] == class)
            return true;
    return false;
}

/* Around the largest logit, so that no exponential overflows and e of the largest is 1. */
static figures softmax_figures(const float *z, int64_t classes, const int32_t *labels, int width, int64_t best,
                               double beta)
{
    const double top = (double)z[best];
    double sum = 0, sum_z = 0, sum_zz = 0, squares = 0, own_z = 0, own = 0;
    int n = 0;
    for (int64_t c = 0; c < classes; c++) {
        double off = (double)z[c] - top, e = vt_exp(beta * off);
        sum += e;
        sum_z += e * off;
        sum_zz += e * off * off;
        squares += e * e;
    }
    for (; n < width && labels[n] >= 0; n++) {
        own_z += (double)z[labels[n]] - top;
        own += vt_exp(beta * ((double)z[labels[n]] - top));
    }
    double mean = sum_z / sum, k = (double)n;
    return (figures){
        .confidence = 1 / sum,
        .nll = vt_ln(sum) - beta * own_z / k,
        .brier = squares / (sum * sum) - 2 * own / (sum * k) + 1 / k,
        .slope = mean - own_z / k,
        .curvature = fmax(sum_zz / sum - mean * mean, 0),
    };
}

/* -ln p of a target is ln(1 + exp(-|x|)), and |x| more where x = beta z points away from it. */
static figures sigmoid_figures(const float *z, int64_t classes, const int32_t *labels, int width, int64_t best,
                               double beta)
{
    figures f = {0};
    for (int64_t c = 0; c < classes; c++) {
        double x = beta * (double)z[c], e = vt_exp(-fabs(x));
        double p = x >= 0 ? 1 / (1 + e) : e / (1 + e), q = x >= 0 ? e / (1 + e) : 1 / (1 + e);
        bool own = is_label(labels, width, c);
        f.nll += vt_log1p(e) + ((own ? -x : x) > 0 ? fabs(x) : 0);
        f.brier += own ? q * q : p * p;
        f.slope += (own ? -q : p) * (double)z[c];
        f.curvature += p * q * (double)z[c] * (double)z[c];
        if (c == best)
            f.confidence = p;
    }
    return f;
}

static figures figures_of(const vt_scores *s, vt_confidence kind, int64_t image, double beta)
{
    const float *z = s->logits + image * s->classes;
    const int32_t *labels = s->labels + image * s->width;
    int64_t best = 0;
    for (int64_t c = 1; c < s->classes; c++)
        best = z[c] > z[best] ? c : best;
    figures f = (kind == VT_CONFIDENCE_SOFTMAX ? softmax_figures : sigmoid_figures)(z, s->classes, labels, s->width,
                                                                                    best, beta);
    f.right = is_label(labels, s->width, best);
    return f;
}

typedef struct {
    const vt_scores *s;
    vt_confidence kind;
    const int64_t *images;
    const double *temperatures; /* (n), or NULL: */
    double beta;                /* for all */
    int64_t n;
    figures *out; /* (n) */
} work;

static void chunk(void *context, int64_t i, int thread)
{
    const work *w = context;
    for (int64_t k = i * CHUNK; k < (i + 1) * CHUNK && k < w->n; k++)
        w->out[k] = figures_of(w->s, w->kind, w->images[k], w->temperatures ? 1 / w->temperatures[k] : w->beta);
}

static void compute(work *w, vt_pool *pool)
{
    vt_pool_run(pool, (w->n + CHUNK - 1) / CHUNK, chunk, w);
}

static int bin_of(double confidence)
{
    int m = 0;
    while (m + 1 < VT_CALIBRATION_BINS && confidence > (double)(m + 1) / VT_CALIBRATION_BINS)
        m++;
    return m;
}

void vt_calibration_measure(const vt_scores *s, vt_confidence kind, const int64_t *images, const double *temperatures,
                            int64_t n, vt_pool *pool, vt_calibration_figures *f)
{
    work w = {.s = s, .kind = kind, .images = images, .temperatures = temperatures, .n = n};
    w.out = vt_xcalloc((size_t)n + 1, sizeof *w.out);
    compute(&w, pool);
    *f = (vt_calibration_figures){.count = n};
    for (int64_t i = 0; i < n; i++) {
        vt_reliability_bin *bin = &f->bins[bin_of(w.out[i].confidence)];
        bin->count++;
        bin->right += w.out[i].right;
        bin->confidence += w.out[i].confidence; /* a sum for now */
        f->nll += w.out[i].nll;
        f->brier += w.out[i].brier;
    }
    for (int m = 0; m < VT_CALIBRATION_BINS; m++) {
        vt_reliability_bin *bin = &f->bins[m];
        f->ece += fabs(bin->confidence - (double)bin->right);
        bin->confidence /= (double)(bin->count > 0 ? bin->count : 1);
    }
    f->ece /= (double)n;
    f->nll /= (double)n;
    f->brier /= (double)n;
    free(w.out);
}

/* Slope and curvature of the NLL at w->beta, summed over the images. */
static double slope_at(work *w, double beta, vt_pool *pool, double *curvature)
{
    double slope = 0;
    w->beta = beta;
    *curvature = 0;
    compute(w, pool);
    for (int64_t i = 0; i < w->n; i++) {
        slope += w->out[i].slope;
        *curvature += w->out[i].curvature;
    }
    return slope;
}

static double least(work *w, vt_pool *pool)
{
    double low = LEAST, high = MOST, beta = 1, curvature;
    for (int step = 1; step < STEPS_MOST && high > low * (1 + 1e-14); step++) {
        double slope = slope_at(w, beta, pool, &curvature);
        if (slope == 0)
            break;
        *(slope < 0 ? &low : &high) = beta;
        double next = beta - slope / curvature;
        bool newton = next > low && next < high && step % 8 != 0; /* false for not-a-number */
        if (!newton)
            next = sqrt(low * high);
        bool close = newton && fabs(next - beta) <= CLOSE * beta;
        beta = next;
        if (close)
            break;
    }
    return beta;
}

vt_temperature vt_calibration_fit(const vt_scores *s, vt_confidence kind, const int64_t *images, int64_t n,
                                  vt_pool *pool)
{
    work w = {.s = s, .kind = kind, .images = images, .n = n};
    double curvature, beta;
    w.out = vt_xcalloc((size_t)n + 1, sizeof *w.out);
    bool rises = slope_at(&w, LEAST, pool, &curvature) >= 0;
    bool falls = !rises && slope_at(&w, MOST, pool, &curvature) <= 0; /* 0: nothing is left to gain */
    if (falls)
        beta = MOST;
    else
        beta = rises ? LEAST : least(&w, pool);
    free(w.out);
    return (vt_temperature){1 / beta, falls || rises};
}

/* Images by half: the first n/2 positions of the keyed permutation, and the others; each half in the images' order. */
static void halve(int64_t n, int64_t *images, char *half)
{
    int64_t first = 0, second = n / 2;
    for (int64_t p = 0; p < n; p++)
        half[vt_permute(VT_CALIBRATION_SEED, 0, (uint64_t)n, (uint64_t)p)] = p >= n / 2;
    for (int64_t i = 0; i < n; i++)
        images[half[i] ? second++ : first++] = i;
}

static void both_halves(const vt_scores *s, vt_calibration *c, const int64_t *images, double *temperatures,
                        vt_pool *pool)
{
    const int64_t n = s->count, begin[3] = {0, n / 2, n};
    for (int h = 0; h < 2; h++)
        c->fitted[h] = vt_calibration_fit(s, c->kind, images + begin[h], begin[h + 1] - begin[h], pool);
    for (int after = 0; after < 2; after++) {
        for (int h = 0; h < 2; h++) {
            for (int64_t i = begin[h]; i < begin[h + 1]; i++)
                temperatures[i] = after ? c->fitted[1 - h].temperature : 1;
            vt_calibration_measure(s, c->kind, images + begin[h], temperatures + begin[h], begin[h + 1] - begin[h],
                                   pool, &c->halves[h][after]);
        }
        vt_calibration_measure(s, c->kind, images, temperatures, n, pool, after ? &c->after : &c->before);
    }
}

vt_status vt_calibrate(const vt_scores *s, vt_confidence kind, vt_pool *pool, vt_calibration *c, vt_err *err)
{
    const int64_t n = s->count;
    *c = (vt_calibration){.kind = kind};
    if (n < 2)
        return vt_fail(err, VT_EINVAL, "calibration needs at least 2 images with a class; there is %lld", (long long)n);
    for (int64_t i = 0; i < n * s->classes; i++)
        if (!isfinite(s->logits[i]))
            return vt_fail(err, VT_EDIVERGED, "a logit is not finite: the model's weights have diverged");
    int64_t *images = vt_xcalloc((size_t)n, sizeof *images);
    double *temperatures = vt_xcalloc((size_t)n, sizeof *temperatures);
    char *half = vt_xcalloc((size_t)n, 1);
    halve(n, images, half);
    both_halves(s, c, images, temperatures, pool);
    free(half);
    free(temperatures);
    free(images);
    return VT_OK;
}
