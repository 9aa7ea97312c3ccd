/* Joint laws: error or loss from the size of the model and the data it saw.
 *
 *   E = A N^-alpha + B D'^-beta + c,   D' = D, or where D exceeds the U different images there are
 *   D' = U + U R (1 - exp(-(D / U - 1) / R)):  repeats are worth less and less, R epochs' worth in all
 *
 * Fitted to all runs. Starts come from a grid of (alpha, beta, R), the coefficients by linear least squares of relative
 * errors (variable projection); the best are polished in ln E by Levenberg-Marquardt, for Huber's loss under weights
 * that are renewed until the sum rests. Sources: Hoffmann et al. 2022, approach 3; Muennighoff et al. 2023. */
#ifndef VT_LAW_JOINT_H
#define VT_LAW_JOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "law/fit.h"

enum { VT_J_A, VT_J_ALPHA, VT_J_B, VT_J_BETA, VT_J_C, VT_J_R, VT_N_J };
extern const char *const vt_joint_names[VT_N_J]; /* "A", "alpha", ... */

typedef struct {
    double size, data, unique; /* unique: INFINITY where nothing repeats */
    double y;
} vt_joint_point;

typedef struct {
    vt_loss loss; /* VT_LOSS_LOG or VT_LOSS_HUBER */
    double delta; /* of Huber's loss, in ln E */
    bool repeat;  /* fit R */
} vt_joint_how;

typedef struct {
    vt_joint_how how;
    double p[VT_N_J];  /* R is INFINITY without repeat */
    double se[VT_N_J]; /* by the delta method; of least squares, so for Huber's loss an approximation */
    double objective;  /* the sum that was minimised: squares of ln, or Huber's loss of ln */
    double rms;        /* of ln E */
    size_t n;
    int starts, agree;
    bool at_bound[VT_N_J];
    double least_size, most_size; /* of the points */
} vt_joint;

vt_status vt_joint_fit(vt_joint *j, const vt_joint_how *how, const vt_joint_point *points, size_t n,
                       vt_err *err) VT_MUST_USE;
double vt_joint_at(const vt_joint *j, double size, double data, double unique);

/* What D images (or tokens) of U different ones are worth, and its derivative by ln R where that is not NULL. */
double vt_repeat_worth(double data, double unique, double r, double *by_ln_r);

/* The best size and data for C = per_pair x size x data (6 for parameters and tokens), without repeats:
 * N = G (C / per_pair)^(beta / (alpha + beta)), G = (alpha A / (beta B))^(1 / (alpha + beta)). */
void vt_joint_optimum(const vt_joint *j, double compute, double per_pair, double *size, double *data, double *y);

/* The cheapest model over its life: of all that reach the y of the best split for `compute`, the one with the least
 * training plus `uses` predictions of per_use x size each. False where it is smaller than a tenth of the least size
 * that was fitted: nothing is known there. */
typedef struct {
    double size, data, training, serving;
} vt_life;
bool vt_joint_life(const vt_joint *j, double compute, double per_pair, double uses, double per_use, vt_life *life);

/* As a file, and back. */
json_t *vt_joint_json(const vt_joint *j, const char *size_column, const char *data_column);
vt_status vt_joint_load(vt_joint *j, const char *path, vt_err *err) VT_MUST_USE;

/* Muennighoff's full form, in which a model too large for its data repeats too:
 *   N' = U_N + U_N R_N (1 - exp(-(N / U_N - 1) / R_N)),  U_N = min(N, (U G)^(beta / alpha) G). */
typedef struct {
    double a, alpha, b, beta, e, r_data, r_size;
} vt_muennighoff;
double vt_muennighoff_at(const vt_muennighoff *m, double size, double data, double unique);

#endif
