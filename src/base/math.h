/* Elementary functions of our own, so that no result depends on a libm: plain double arithmetic in a fixed order, the
 * same bits from every compiler and processor, and from threads that flush denormals and those that do not: an argument
 * below 2^-1022 counts as zero, and so does a result. Used where speed does not matter (initialisation, reference
 * kernels, schedules); kernels/cpu has vector versions of its own.
 *
 * Accurate to 2 units in the last place over the ranges stated (the largest error met in tests is 1.5, of erf). A value
 * out of range, or not-a-number, gives not-a-number. */
#ifndef VT_BASE_MATH_H
#define VT_BASE_MATH_H

double vt_exp(double x);   /* all x; 0 below -708.39, infinity above 709.78 */
double vt_ln(double x);    /* natural logarithm, x >= 0; -infinity at 0 */
double vt_log1p(double x); /* ln(1 + x), x >= -1 */
double vt_tanh(double x);
double vt_erf(double x);
double vt_sin(double x);           /* |x| <= 1e5 */
double vt_cos(double x);           /* |x| <= 1e5 */
double vt_pow(double x, double y); /* x >= 0 */
/* sqrt is correctly rounded by IEEE 754 everywhere; the C library's sqrt() and sqrtf() may be used. */

#endif
