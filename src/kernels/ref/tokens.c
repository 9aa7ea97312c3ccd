/* Reference kernels: means over tokens, and tokens put in front of the others. */
#include "kernels/ref/ref.h"

void vt_ref_mean_tokens_fwd(const vt_exec *ex, const vt_mean_tokens_fwd_args *a)
{
    (void)ex;
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t c = 0; c < a->cols; c++) {
            double sum = 0;
            for (int64_t t = a->first; t < a->first + a->taken; t++)
                sum += a->x[(b * a->tokens + t) * a->cols + c];
            a->y[b * a->cols + c] = (float)(sum / (double)a->taken);
        }
}

void vt_ref_mean_tokens_bwd(const vt_exec *ex, const vt_mean_tokens_bwd_args *a)
{
    (void)ex;
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t t = 0; t < a->tokens; t++)
            for (int64_t c = 0; c < a->cols; c++) {
                const int taken = t >= a->first && t < a->first + a->taken;
                const double share = taken ? a->dy[b * a->cols + c] / (double)a->taken : 0;
                a->dx[(b * a->tokens + t) * a->cols + c] = (float)share;
            }
}

void vt_ref_join_tokens_fwd(const vt_exec *ex, const vt_join_tokens_fwd_args *a)
{
    (void)ex;
    float *y = a->y; /* written in the order of memory: sample, token, column */
    for (int64_t b = 0; b < a->samples; b++) {
        for (int64_t c = 0; a->token && c < a->cols; c++)
            *y++ = a->position ? a->token[c] + a->position[c] : a->token[c];
        for (int64_t i = 0; i < a->n * a->cols; i++)
            *y++ = a->more[i];
        for (int64_t i = b * a->tokens * a->cols; i < (b + 1) * a->tokens * a->cols; i++)
            *y++ = a->x[i];
    }
}

void vt_ref_join_tokens_bwd(const vt_exec *ex, const vt_join_tokens_bwd_args *a)
{
    (void)ex;
    const float *dy = a->dy;
    for (int64_t b = 0; b < a->samples; b++) {
        dy += a->front * a->cols;
        for (int64_t i = b * a->tokens * a->cols; i < (b + 1) * a->tokens * a->cols; i++)
            a->dx[i] = *dy++;
    }
}
