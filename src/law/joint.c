/* The joint fit. Sizes and data are divided by their geometric means, so that units do not matter. */
#include "law/joint.h"

#include <assert.h>
#include <cminpack.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/math.h"
#include "base/text.h"
#include "law/linear.h"

const char *const vt_joint_names[VT_N_J] = {"A", "alpha", "B", "beta", "c", "R"};

#define KEPT      12    /* starts of the grid that are polished */
#define ROUNDS    3000  /* of renewed weights */
#define RESTS     1e-12 /* relative change of the sum at which they end */
#define SAME      1e-6
#define MAX_GRID  108
#define EXPONENTS 6

static const double lower[VT_N_J] = {1e-12, 1e-3, 1e-12, 1e-3, 1e-9, 1e-2}, upper[VT_N_J] = {1e9, 5, 1e9, 5, 1e6, 1e4};

typedef struct {
    const vt_joint_point *points; /* in units of the fit */
    const double *ln_y;
    double *weights; /* of squared residuals */
    size_t n;
    int k; /* parameters: 5, or 6 with R */
    double delta;
    bool huber;
} problem;

double vt_repeat_worth(double data, double unique, double r, double *by_ln_r)
{
    if (by_ln_r)
        *by_ln_r = 0;
    if (!(data > unique) || !isfinite(r))
        return data;
    const double x = data / unique - 1, e = vt_exp(-x / r);
    if (by_ln_r)
        *by_ln_r = unique * (r * (1 - e) - x * e);
    return unique + unique * r * (1 - e);
}

/* E at one point; g: derivatives of ln E by the logarithms of the parameters. */
static double curve(const double p[VT_N_J], const vt_joint_point *q, double g[VT_N_J])
{
    double slope;
    const double worth = vt_repeat_worth(q->data, q->unique, p[VT_J_R], &slope);
    const double ln_n = vt_ln(q->size), ln_d = vt_ln(worth);
    const double size = p[VT_J_A] * vt_exp(-p[VT_J_ALPHA] * ln_n), data = p[VT_J_B] * vt_exp(-p[VT_J_BETA] * ln_d);
    const double e = size + data + p[VT_J_C];
    if (g) {
        g[VT_J_A] = size / e;
        g[VT_J_ALPHA] = -p[VT_J_ALPHA] * ln_n * size / e;
        g[VT_J_B] = data / e;
        g[VT_J_BETA] = -p[VT_J_BETA] * ln_d * data / e;
        g[VT_J_C] = p[VT_J_C] / e;
        g[VT_J_R] = -p[VT_J_BETA] * data / e * slope / worth;
    }
    return e;
}

/* --- starts: variable projection
 * -------------------------------------------------------------------------------------- */

typedef struct {
    double p[VT_N_J], sum;
} start;

static int by_sum(const void *a, const void *b)
{
    const start *p = a, *q = b;
    return (p->sum > q->sum) - (p->sum < q->sum);
}

/* The best A, B, c >= 0 for given exponents, by relative errors. */
static void project(const problem *q, start *s, double *rows, double *ones)
{
    double v[3] = {0};
    for (size_t i = 0; i < q->n; i++) {
        const vt_joint_point *p = &q->points[i];
        const double y = vt_exp(q->ln_y[i]), worth = vt_repeat_worth(p->data, p->unique, s->p[VT_J_R], NULL);
        rows[3 * i] = vt_exp(-s->p[VT_J_ALPHA] * vt_ln(p->size)) / y;
        rows[3 * i + 1] = vt_exp(-s->p[VT_J_BETA] * vt_ln(worth)) / y;
        rows[3 * i + 2] = 1 / y;
        ones[i] = 1;
    }
    s->sum = vt_nonnegative(rows, ones, (long)q->n, 3, v);
    s->p[VT_J_A] = v[0];
    s->p[VT_J_B] = v[1];
    s->p[VT_J_C] = v[2];
}

static int make_starts(const problem *q, start starts[MAX_GRID])
{
    static const double exponents[EXPONENTS] = {0.1, 0.2, 0.35, 0.55, 0.9, 1.5}, rs[] = {3, 15, 60};
    double *rows = vt_xcalloc(4 * q->n, sizeof *rows);
    int n = 0;
    for (int a = 0; a < EXPONENTS; a++)
        for (int b = 0; b < EXPONENTS; b++)
            for (int r = 0; r < (q->k == VT_N_J ? 3 : 1); r++) {
                start *s = &starts[n++];
                *s = (start){.p = {[VT_J_ALPHA] = exponents[a], [VT_J_BETA] = exponents[b]}};
                s->p[VT_J_R] = q->k == VT_N_J ? rs[r] : (double)INFINITY;
                project(q, s, rows, rows + 3 * q->n);
            }
    free(rows);
    qsort(starts, (size_t)n, sizeof *starts, by_sum);
    return n;
}

/* --- polishing
 * -------------------------------------------------------------------------------------------------------- */

static void unpack(const problem *q, const double *theta, double p[VT_N_J], bool at_wall[VT_N_J])
{
    p[VT_J_R] = (double)INFINITY;
    at_wall[VT_J_R] = false;
    for (int i = 0; i < q->k; i++) {
        p[i] = vt_exp(theta[i]);
        at_wall[i] = !(p[i] >= lower[i] && p[i] <= upper[i]);
        p[i] = p[i] < lower[i] ? lower[i] : p[i] > upper[i] ? upper[i] : p[i];
    }
}

static int evaluate(void *context, int m, int k, const double *theta, double *r, double *jacobian, int ld, int flag)
{
    const problem *q = context;
    double p[VT_N_J], g[VT_N_J];
    bool at_wall[VT_N_J];
    unpack(q, theta, p, at_wall);
    for (int i = 0; i < m; i++) {
        const double e = curve(p, &q->points[i], flag == 2 ? g : NULL), w = q->weights[i];
        if (flag != 2)
            r[i] = w * (vt_ln(e) - q->ln_y[i]);
        for (int j = 0; j < k && flag == 2; j++)
            jacobian[i + j * ld] = at_wall[j] ? 0 : w * g[j];
    }
    return 0;
}

/* The sum to be minimised; renews the weights of Huber's loss, whose majorant they make. */
static double objective(problem *q, const double *theta)
{
    double p[VT_N_J], sum = 0;
    bool at_wall[VT_N_J];
    unpack(q, theta, p, at_wall);
    for (size_t i = 0; i < q->n; i++) {
        const double r = fabs(vt_ln(curve(p, &q->points[i], NULL)) - q->ln_y[i]);
        if (!q->huber) {
            q->weights[i] = 1;
            sum += r * r;
        } else {
            q->weights[i] = r <= q->delta ? 1 : sqrt(q->delta / r);
            sum += r <= q->delta ? r * r / 2 : q->delta * (r - q->delta / 2);
        }
    }
    return isfinite(sum) ? sum : HUGE_VAL;
}

static double polish(problem *q, double theta[VT_N_J], double *memory)
{
    double diag[VT_N_J], qtf[VT_N_J], wa1[VT_N_J], wa2[VT_N_J], wa3[VT_N_J];
    int pivots[VT_N_J], nfev, njev;
    const int m = (int)q->n, rounds = q->huber ? ROUNDS : 1;
    double *r = memory, *wa4 = r + q->n, *jacobian = wa4 + q->n, before = objective(q, theta);
    for (int round = 0; round < rounds; round++) {
        (void)lmder(evaluate, q, m, q->k, theta, r, jacobian, m, 1e-13, 1e-13, 0, q->huber ? 20 : 2000, diag, 1, 10, 0,
                    &nfev, &njev, pivots, qtf, wa1, wa2, wa3, wa4);
        const double now = objective(q, theta);
        const bool rests = before - now <= RESTS * before;
        before = now;
        if (rests)
            break;
    }
    return before;
}

/* --- standard errors
 * -------------------------------------------------------------------------------------------------- */

static void standard_errors(const problem *q, vt_joint *j, const double p[VT_N_J], double ln_size, double ln_data)
{
    double jj[VT_N_J * VT_N_J] = {0}, g[VT_N_J];
    int index[VT_N_J], k = 0, of[VT_N_J];
    for (int i = 0; i < q->k; i++) {
        of[i] = -1;
        if (!j->at_bound[i])
            of[i] = k, index[k++] = i;
    }
    for (size_t i = 0; i < q->n; i++) {
        (void)curve(p, &q->points[i], g);
        for (int a = 0; a < k; a++)
            for (int b = 0; b < k; b++)
                jj[a * k + b] += g[index[a]] * g[index[b]];
    }
    if (q->n <= (size_t)k || !vt_invert_spd(jj, k))
        return;
    const double variance = j->rms * j->rms * (double)q->n / (double)(q->n - (size_t)k);
    for (int a = 0; a < k; a++) {
        const int i = index[a], exponent = i == VT_J_A ? VT_J_ALPHA : i == VT_J_B ? VT_J_BETA : -1;
        double v = jj[a * k + a]; /* of ln p; ln A = ln A' + alpha ln unit */
        if (exponent >= 0 && of[exponent] >= 0) {
            const int b = of[exponent];
            const double slope = p[exponent] * (i == VT_J_A ? ln_size : ln_data);
            v += slope * (2 * jj[a * k + b] + slope * jj[b * k + b]);
        }
        j->se[i] = j->p[i] * sqrt(variance * (v > 0 ? v : 0));
    }
}

/* --- the fit
 * ---------------------------------------------------------------------------------------------------------- */

static vt_status check(const vt_joint_how *how, const vt_joint_point *points, size_t n, vt_err *err)
{
    const size_t k = how->repeat ? VT_N_J : VT_N_J - 1;
    size_t sizes = 1, amounts = 1, repeats = 0;
    if (n > VT_FIT_MAX_POINTS || n <= k)
        return vt_fail(err, VT_EINVAL, "%zu runs; a joint law of %zu parameters takes %zu to %d", n, k, k + 1,
                       VT_FIT_MAX_POINTS);
    for (size_t i = 0; i < n; i++) {
        assert(points[i].size > 0 && points[i].data > 0 && points[i].unique > 0 && points[i].y > 0);
        sizes += i > 0 && points[i].size != points[0].size;
        amounts += i > 0 && points[i].data != points[0].data;
        repeats += points[i].data > points[i].unique;
    }
    if (sizes < 2)
        return vt_fail(err, VT_EINVAL, "all %zu runs are of one model size; a joint law needs several", n);
    if (amounts < 2)
        return vt_fail(err, VT_EINVAL, "all %zu runs saw the same amount of data; a joint law needs several", n);
    if (how->repeat && repeats < 3)
        return vt_fail(err, VT_EINVAL, "%zu runs saw data more than once; the term for repeats needs at least 3",
                       repeats);
    return VT_OK;
}

static void solve(problem *q, vt_joint *j, double p[VT_N_J])
{
    start starts[MAX_GRID];
    double best[VT_N_J] = {0}, sums[KEPT], *memory = vt_xcalloc(q->n * (2 + VT_N_J), sizeof *memory);
    const int grid = make_starts(q, starts);
    j->starts = grid < KEPT ? grid : KEPT;
    j->objective = HUGE_VAL;
    for (int s = 0; s < j->starts; s++) {
        double theta[VT_N_J];
        for (int i = 0; i < q->k; i++) {
            const double x = starts[s].p[i], least = i == VT_J_C ? 1e-4 : 1e-6;
            theta[i] = vt_ln(x > least ? x : least);
        }
        sums[s] = polish(q, theta, memory);
        if (sums[s] < j->objective) {
            j->objective = sums[s];
            memcpy(best, theta, sizeof best);
        }
    }
    for (int s = 0; s < j->starts; s++)
        j->agree += sums[s] <= j->objective * (1 + SAME) + 1e-18 * (double)q->n;
    unpack(q, best, p, j->at_bound);
    free(memory);
}

vt_status vt_joint_fit(vt_joint *j, const vt_joint_how *how, const vt_joint_point *points, size_t n, vt_err *err)
{
    *j = (vt_joint){.how = *how, .n = n, .least_size = HUGE_VAL};
    VT_TRY(check(how, points, n, err));
    vt_joint_point *scaled = vt_xcalloc(n, sizeof *scaled);
    double *ln_y = vt_xcalloc(2 * n, sizeof *ln_y), ln_size = 0, ln_data = 0, p[VT_N_J], squares = 0;
    for (size_t i = 0; i < n; i++) {
        ln_size += vt_ln(points[i].size) / (double)n;
        ln_data += vt_ln(points[i].data) / (double)n;
        ln_y[i] = vt_ln(points[i].y);
        j->least_size = points[i].size < j->least_size ? points[i].size : j->least_size;
        j->most_size = points[i].size > j->most_size ? points[i].size : j->most_size;
    }
    const double size = vt_exp(ln_size), data = vt_exp(ln_data);
    for (size_t i = 0; i < n; i++)
        scaled[i] = (vt_joint_point){points[i].size / size, points[i].data / data, points[i].unique / data, 0};
    problem q = {.points = scaled,
                 .ln_y = ln_y,
                 .weights = ln_y + n,
                 .n = n,
                 .k = how->repeat ? VT_N_J : VT_N_J - 1,
                 .delta = how->delta > 0 ? how->delta : 1e-3,
                 .huber = how->loss == VT_LOSS_HUBER};
    solve(&q, j, p);
    memcpy(j->p, p, sizeof p);
    j->p[VT_J_A] = p[VT_J_A] * vt_exp(p[VT_J_ALPHA] * ln_size);
    j->p[VT_J_B] = p[VT_J_B] * vt_exp(p[VT_J_BETA] * ln_data);
    for (size_t i = 0; i < n; i++) {
        const double r = vt_ln(curve(p, &scaled[i], NULL)) - ln_y[i];
        squares += r * r;
    }
    j->rms = sqrt(squares / (double)n);
    standard_errors(&q, j, p, ln_size, ln_data);
    free(scaled);
    free(ln_y);
    return isfinite(j->objective) ? VT_OK : vt_fail(err, VT_EINVAL, "the joint law could not be fitted to %zu runs", n);
}

/* --- using it
 * --------------------------------------------------------------------------------------------------------- */

double vt_joint_at(const vt_joint *j, double size, double data, double unique)
{
    return curve(j->p, &(vt_joint_point){.size = size, .data = data, .unique = unique}, NULL);
}

static double balance(double a, double alpha, double b, double beta)
{
    return vt_exp(vt_ln(alpha * a / (beta * b)) / (alpha + beta));
}

void vt_joint_optimum(const vt_joint *j, double compute, double per_pair, double *size, double *data, double *y)
{
    const double *p = j->p, alpha = p[VT_J_ALPHA], beta = p[VT_J_BETA];
    const double pairs = compute / per_pair;
    *size = balance(p[VT_J_A], alpha, p[VT_J_B], beta) * vt_exp(beta / (alpha + beta) * vt_ln(pairs));
    *data = pairs / *size;
    *y = vt_joint_at(j, *size, *data, HUGE_VAL);
}

/* Data that a model of a size needs for y; INFINITY where it never gets there. */
static double data_for(const vt_joint *j, double size, double y)
{
    const double rest = y - j->p[VT_J_C] - j->p[VT_J_A] * vt_exp(-j->p[VT_J_ALPHA] * vt_ln(size));
    return rest > 0 ? vt_exp(-vt_ln(rest / j->p[VT_J_B]) / j->p[VT_J_BETA]) : HUGE_VAL;
}

bool vt_joint_life(const vt_joint *j, double compute, double per_pair, double uses, double per_use, vt_life *life)
{
    double size, data, y, least = HUGE_VAL;
    vt_joint_optimum(j, compute, per_pair, &size, &data, &y);
    for (int i = 0; i <= 2000; i++) { /* from the best size down to a thousandth of it */
        const double n = size * vt_exp(-6.907755 * i / 2000), d = data_for(j, n, y);
        const double training = per_pair * n * d, serving = uses * per_use * n;
        if (isfinite(d) && training + serving < least) {
            least = training + serving;
            *life = (vt_life){n, d, training, serving};
        }
    }
    return isfinite(least) && life->size >= j->least_size / 10;
}

json_t *vt_joint_json(const vt_joint *j, const char *size_column, const char *data_column)
{
    json_t *o = json_object(), *se = json_object();
    (void)json_object_set_new(o, "vitro_joint_law", json_integer(1));
    (void)json_object_set_new(o, "size", json_string(size_column));
    (void)json_object_set_new(o, "data", json_string(data_column));
    for (int i = 0; i < VT_N_J; i++) {
        (void)json_object_set_new(o, vt_joint_names[i], vt_json_number(j->p[i]));
        (void)json_object_set_new(se, vt_joint_names[i], j->se[i] > 0 ? vt_json_number(j->se[i]) : json_null());
    }
    (void)json_object_set_new(o, "standard_errors", se);
    (void)json_object_set_new(o, "runs", json_integer((json_int_t)j->n));
    (void)json_object_set_new(o, "rms_ln", vt_json_number(j->rms));
    (void)json_object_set_new(o, "objective", vt_json_number(j->objective));
    (void)json_object_set_new(o, "starts", json_integer(j->starts));
    (void)json_object_set_new(o, "starts_agree", json_integer(j->agree));
    (void)json_object_set_new(o, "least_size", vt_json_number(j->least_size));
    (void)json_object_set_new(o, "most_size", vt_json_number(j->most_size));
    return o;
}

vt_status vt_joint_load(vt_joint *j, const char *path, vt_err *err)
{
    json_t *root;
    vt_status status = VT_OK;
    *j = (vt_joint){0};
    VT_TRY(vt_json_load(path, &root, err));
    for (int i = 0; i < VT_J_R && status == VT_OK; i++) {
        status = vt_json_get_f64(root, vt_joint_names[i], path, &j->p[i], err);
        if (status == VT_OK && !(j->p[i] > 0 && j->p[i] < 1e300))
            status = vt_fail(err, VT_EFORMAT, "%s: %s is %g; a positive number is expected", path, vt_joint_names[i],
                             j->p[i]);
    }
    const json_t *r = json_object_get(root, "R");
    j->p[VT_J_R] = json_is_number(r) ? json_number_value(r) : (double)INFINITY;
    if (status == VT_OK)
        status = vt_json_get_f64(root, "least_size", path, &j->least_size, err);
    if (status == VT_OK)
        status = vt_json_get_f64(root, "most_size", path, &j->most_size, err);
    json_decref(root);
    return status;
}

double vt_muennighoff_at(const vt_muennighoff *m, double size, double data, double unique)
{
    const double g = balance(m->a, m->alpha, m->b, m->beta), seen = data < unique ? data : unique;
    const double enough = vt_exp(m->beta / m->alpha * vt_ln(seen * g)) * g, base = size < enough ? size : enough;
    const double n = vt_repeat_worth(size, base, m->r_size, NULL), d = vt_repeat_worth(data, unique, m->r_data, NULL);
    return m->e + m->a * vt_exp(-m->alpha * vt_ln(n)) + m->b * vt_exp(-m->beta * vt_ln(d));
}
