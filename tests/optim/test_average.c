/* Averages of the parameters, against values worked by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench.h"

static const vt_tensor tensors[] = {
    {.name = "a", .n_dims = 1, .dims = {19}, .count = 19, .lr_factor = 1, .decay = -1},
    {.name = "b", .n_dims = 1, .dims = {3}, .count = 3, .lr_factor = 1, .decay = -1, .frozen = true},
};

/* sgd without momentum at lr 1 on the gradient -1: the value after update t is t + 1. */
static vt_optimizer_config counting_up(vt_average_kind average)
{
    return (vt_optimizer_config){.kind = 3, .lr = 1, .average = average, .average_decay = 0.75, .average_start = 2};
}

static void open_counting(bench *b, vt_average_kind average, const vt_isa *isa)
{
    const vt_optimizer_config c = counting_up(average);
    float down[19], zero[19] = {0}, frozen[3] = {7, 7, 7};
    for (int j = 0; j < 19; j++)
        down[j] = -1;
    bench_open(b, tensors, 2, &c, isa, 1);
    bench_write_value(b, 0, zero);
    bench_write_value(b, 1, frozen);
    bench_write_grad(b, 0, down);
}

static void average_is(bench *b, double expected)
{
    const vt_state_tensor *s = bench_find_state(&b->optimizer, "a.average");
    assert_non_null(s);
    float *x = bench_read_state(b, s);
    for (int64_t j = 0; j < s->count; j++)
        assert_true(fabs((double)x[j] - expected) < 1e-6); /* some roundings of numbers below 8 */
    free(x);
}

/* Breaks when the average lags a step, its warm-up is lost (kept = 0, 2/11, 3/12, ... up to the decay), or the mean
 * begins elsewhere than at average_start. */
static void test_by_hand(void **state)
{
    (void)state;
    /* ema: 1; 2/11 1 + 9/11 2 = 20/11; 1/4 20/11 + 3/4 3 = 119/44; 4/13 119/44 + 9/13 4 = 3.600699...
     * polyak: the values themselves up to update 2 (3), then (3 + 4) / 2, (3 + 4 + 5) / 3 */
    static const double ema[] = {1, 20.0 / 11, 119.0 / 44, 4.0 / 13 * 119 / 44 + 36.0 / 13};
    static const double polyak[] = {1, 2, 3, 3.5, 4};
    for (int i = 0; i < vt_n_isas; i++) {
        bench b;
        vt_step_report report;
        if (!vt_isas[i].usable())
            continue;
        open_counting(&b, VT_AVERAGE_EMA, &vt_isas[i]);
        for (int t = 0; t < (int)VT_COUNT_OF(ema); t++) {
            vt_optimizer_step(&b.optimizer, &b.backend, t, 1, false, &report);
            average_is(&b, ema[t]);
        }
        /* 31/40 > 3/4: the decay has taken over */
        vt_optimizer_step(&b.optimizer, &b.backend, 30, 1, false, &report);
        average_is(&b, 0.75 * ema[3] + 0.25 * 5);
        bench_close(&b);
        open_counting(&b, VT_AVERAGE_POLYAK, &vt_isas[i]);
        for (int t = 0; t < (int)VT_COUNT_OF(polyak); t++) {
            vt_optimizer_step(&b.optimizer, &b.backend, t, 1, false, &report);
            average_is(&b, polyak[t]);
        }
        bench_close(&b);
    }
}

static void value_is(bench *b, int i, float expected)
{
    float *x = bench_read_value(b, i);
    for (int64_t j = 0; j < b->params[i].count; j++)
        assert_true(x[j] == expected);
    free(x);
}

/* Breaks when evaluation sees anything but the averages, training goes on from them, or a frozen tensor has one. */
static void test_swap(void **state)
{
    (void)state;
    bench b;
    vt_step_report report;
    open_counting(&b, VT_AVERAGE_POLYAK, &vt_isas[0]);
    assert_null(bench_find_state(&b.optimizer, "b.average"));
    for (int t = 0; t < 4; t++)
        vt_optimizer_step(&b.optimizer, &b.backend, t, 1, false, &report);
    vt_average_swap(&b.optimizer);
    value_is(&b, 0, 3.5F);
    value_is(&b, 1, 7);
    average_is(&b, 4);
    vt_average_swap(&b.optimizer);
    value_is(&b, 0, 4);
    vt_optimizer_step(&b.optimizer, &b.backend, 4, 1, false, &report);
    average_is(&b, 4);
    bench_close(&b);

    open_counting(&b, VT_AVERAGE_NONE, &vt_isas[0]);
    vt_average_swap(&b.optimizer);
    value_is(&b, 0, 0);
    vt_average_swap(&b.optimizer);
    assert_null(bench_find_state(&b.optimizer, "a.average"));
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_hand), cmocka_unit_test(test_swap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
