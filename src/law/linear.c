/* Cholesky for a handful of unknowns. */
#include "law/linear.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* L of m = L L', in place in the lower triangle. */
static bool cholesky(double *m, int k)
{
    for (int j = 0; j < k; j++) {
        for (int i = j; i < k; i++) {
            double s = m[i * k + j];
            for (int l = 0; l < j; l++)
                s -= m[i * k + l] * m[j * k + l];
            if (i == j) {
                if (!(s > 1e-13))
                    return false;
                m[j * k + j] = sqrt(s);
            } else {
                m[i * k + j] = s / m[j * k + j];
            }
        }
    }
    return true;
}

/* Solves L L' v = v. */
static void solve(const double *l, int k, double *v)
{
    for (int i = 0; i < k; i++) {
        for (int j = 0; j < i; j++)
            v[i] -= l[i * k + j] * v[j];
        v[i] /= l[i * k + i];
    }
    for (int i = k - 1; i >= 0; i--) {
        for (int j = i + 1; j < k; j++)
            v[i] -= l[j * k + i] * v[j];
        v[i] /= l[i * k + i];
    }
}

bool vt_invert_spd(double *m, int k)
{
    double scale[VT_LINEAR_MAX], inverse[VT_LINEAR_MAX * VT_LINEAR_MAX];
    assert(k <= VT_LINEAR_MAX);
    for (int i = 0; i < k; i++) {
        if (!(m[i * k + i] > 0) || !isfinite(m[i * k + i]))
            return false;
        scale[i] = 1 / sqrt(m[i * k + i]);
    }
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++)
            m[i * k + j] *= scale[i] * scale[j];
    if (!cholesky(m, k))
        return false;
    for (int c = 0; c < k; c++) {
        double v[VT_LINEAR_MAX] = {0};
        v[c] = 1;
        solve(m, k, v);
        for (int i = 0; i < k; i++)
            inverse[i * k + c] = v[i] * scale[i] * scale[c];
    }
    memcpy(m, inverse, (size_t)(k * k) * sizeof *m);
    return true;
}

double vt_nonnegative(const double *a, const double *t, long n, int k, double v[])
{
    double aa[16] = {0}, at[4] = {0}, tt = 0, best = HUGE_VAL;
    assert(k >= 1 && k <= 4);
    for (long r = 0; r < n; r++) {
        tt += t[r] * t[r];
        for (int i = 0; i < k; i++) {
            at[i] += a[r * k + i] * t[r];
            for (int j = 0; j < k; j++)
                aa[i * k + j] += a[r * k + i] * a[r * k + j];
        }
    }
    for (int set = 0; set < 1 << k; set++) { /* a bit for each coefficient that is not 0 */
        double m[16], w[4] = {0}, full[4] = {0};
        int index[4], c = 0;
        for (int i = 0; i < k; i++)
            if (set >> i & 1)
                index[c++] = i;
        for (int i = 0; i < c; i++)
            for (int j = 0; j < c; j++)
                m[i * c + j] = aa[index[i] * k + index[j]];
        if (c > 0 && !vt_invert_spd(m, c))
            continue;
        double explained = 0;
        bool allowed = true;
        for (int i = 0; i < c; i++) {
            for (int j = 0; j < c; j++)
                w[i] += m[i * c + j] * at[index[j]];
            explained += w[i] * at[index[i]];
            allowed = allowed && w[i] >= 0;
            full[index[i]] = w[i];
        }
        if (allowed && tt - explained < best) {
            best = tt - explained;
            memcpy(v, full, (size_t)k * sizeof *v);
        }
    }
    return best > 0 ? best : 0;
}
