/* Arenas: what is counted is what is placed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/arena.h"

/* The same sequence of takes, as a model's layout makes it. */
static void place(vt_arena *a, void **out)
{
    out[0] = vt_arena_take(a, 3, 4);
    out[1] = vt_arena_take(a, 0, 8);
    out[2] = vt_arena_take(a, 17, 4);
    size_t mark = a->used;
    out[3] = vt_arena_take(a, 1000, 1);
    vt_arena_rewind(a, mark);
    out[4] = vt_arena_take(a, 1, 1);
}

/* A plan would differ from the run, or tensors would overlap or be misaligned. */
static void test_count_equals_placement(void **state)
{
    void *none[5], *at[5];
    vt_arena counting = vt_arena_counting();
    place(&counting, none);
    for (int i = 0; i < 5; i++)
        assert_null(none[i]);
    assert_int_equal(counting.used, 64 + 0 + 128 + 64);
    assert_int_equal(counting.high, 64 + 128 + 1024);

    unsigned char *memory = aligned_alloc(VT_ARENA_ALIGN, counting.high);
    vt_arena real = vt_arena_over(memory, counting.high);
    place(&real, at);
    assert_int_equal(real.used, counting.used);
    assert_int_equal(real.high, counting.high);
    assert_ptr_equal(at[0], memory);
    assert_ptr_equal(at[1], memory + 64);
    assert_ptr_equal(at[2], memory + 64);
    assert_ptr_equal(at[3], memory + 192);
    assert_ptr_equal(at[4], at[3]);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_count_equals_placement)};
    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
