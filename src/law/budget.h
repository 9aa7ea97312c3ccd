/* From money to error: what a budget is in the fit's own unit, what is left of it for the run itself, and from which
 * budget on training beats something that is there already. No prices are built in. */
#ifndef VT_LAW_BUDGET_H
#define VT_LAW_BUDGET_H

#include "law/law.h"

/* Devices by name, with their peak rate for bf16 (dense; makers' data sheets). */
typedef struct {
    const char *name;
    double flops; /* a second */
} vt_device_peak;
extern const vt_device_peak vt_device_peaks[];
extern const size_t vt_n_device_peaks;

typedef struct {
    double amount;       /* in the fit's unit */
    double flops;        /* NaN where it cannot be told */
    double device_hours; /* NaN where no device was named */
    const vt_device_peak *device;
} vt_budget;

/* "1e19flops", "3 EFLOPs", "2e4 core_days", "50000xH100h"; x_unit is the fit's, mfu the share of the peak reached. */
vt_status vt_budget_parse(vt_budget *b, const char *text, const char *x_unit, double mfu, vt_err *err) VT_MUST_USE;

/* How many FLOPs a unit such as "gflops" is; 0 for units that are none. */
double vt_flops_of_unit(const char *unit);

/* What is kept back before the run, in percent of the budget. */
enum {
    VT_KEEP_PILOT,
    VT_KEEP_TUNING,
    VT_KEEP_EVALUATION,
    VT_KEEP_COOLDOWN,
    VT_KEEP_CHECKPOINTS,
    VT_KEEP_RESTARTS,
    VT_N_KEEP
};
extern const char *const vt_keep_names[VT_N_KEEP];
extern const char *const vt_keep_texts[VT_N_KEEP];
extern const double vt_keep_defaults[VT_N_KEEP]; /* percent */

/* "pilot=3,tuning=0": sets those named. */
vt_status vt_keep_parse(double percent[VT_N_KEEP], const char *text, vt_err *err) VT_MUST_USE;

/* The least x at which the law says less than y: by its centre and by the upper end of its interval (INFINITY: nowhere
 * up to 30 times beyond the data; 0: the cheapest run is better already). */
void vt_break_even(const vt_law *law, const vt_calibration *cal, int level, double y, double *centre, double *upper);

/* SoViT's rule (Alabdulmohsin et al. 2023): width, depth and MLP of a model for forward compute t (FLOPs x images). */
void vt_shape_for(double forward_flops, int *width, int *depth, int *mlp);

#endif
