/* Tensor memory: exact regions, refusal beyond the machine's limit, and the guard where this build has it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/machine.h"
#include "device/device.h"
#include "kernels/backend.h"

/* Breaks when a region is not zeroed, not aligned, or not of exactly the bytes that were asked for. */
static void test_arena(void **state)
{
    (void)state;
    vt_device d;
    vt_arena arena, empty;
    vt_err err = {0};
    vt_device_init(&d);
    assert_int_equal(vt_device_arena(&d, 3 * 64 * 1000, "tensors", &arena, &err), VT_OK);
    assert_int_equal(vt_device_arena(&d, 0, "nothing", &empty, &err), VT_OK);
    assert_int_equal(arena.size, 3 * 64 * 1000);
    assert_int_equal(empty.size, 0);
    assert_non_null(empty.base); /* a NULL base would only count */
    unsigned char bytes[1000], pattern[1000];
    unsigned char *tensor = vt_arena_take(&arena, 1000, 1);
    assert_int_equal((uintptr_t)tensor % VT_ARENA_ALIGN, 0);
    vt_device_read(&d, bytes, tensor, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0);
    memset(pattern, 0x5a, sizeof pattern);
    vt_device_write(&d, tensor, pattern, sizeof pattern);
    vt_device_read(&d, bytes, tensor, sizeof bytes);
    assert_memory_equal(bytes, pattern, sizeof bytes);
    vt_device_release(&d);
    vt_device_release(&d); /* empty again: nothing to unmap */
}

/* Breaks when more than the machine has is promised, in one region or in several, or the message lacks its numbers. */
static void test_refusal(void **state)
{
    (void)state;
    vt_device d;
    vt_arena arena;
    vt_err err = {0};
    const size_t limit = vt_machine_memory(), sizes[] = {limit + 1, SIZE_MAX, limit - 1000};
    vt_device_init(&d);
    assert_int_equal(vt_device_arena(&d, 4096, "first", &arena, &err), VT_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vt_device_arena(&d, sizes[i], "activations", &arena, &err), VT_ENOMEM);
        assert_non_null(strstr(err.msg, "activations"));
        assert_non_null(strstr(err.msg, "limit"));
    }
    assert_int_equal(d.n_regions, 1);
    vt_device_release(&d);
}

/* The signal that ended a child which wrote to a tensor, inside an enter or outside; 0 when it lived. */
static int signal_of_write(vt_device *d, unsigned char *tensor, int inside)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would turn the signal into an exit status */
        if (inside)
            vt_device_enter(d);
        *(volatile unsigned char *)tensor = 1;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Breaks when host code can touch a tensor outside kernels and nobody notices, or when nesting ends protection early.
 */
static void test_guard(void **state)
{
    (void)state;
    vt_device d;
    vt_arena arena;
    vt_err err = {0};
    vt_device_init(&d);
    assert_int_equal(vt_device_arena(&d, 4096, "tensors", &arena, &err), VT_OK);
    unsigned char *tensor = vt_arena_take(&arena, 4096, 1);
    const int caught = vt_device_guarded() ? SIGSEGV : 0;
    assert_int_equal(signal_of_write(&d, tensor, 0), caught);
    assert_int_equal(signal_of_write(&d, tensor, 1), 0);
    vt_device_enter(&d);
    vt_device_enter(&d);
    vt_device_leave(&d);
    assert_int_equal(signal_of_write(&d, tensor, 0), 0);
    vt_device_leave(&d);
    assert_int_equal(signal_of_write(&d, tensor, 0), caught);
    vt_device_release(&d);
}

/* Breaks when vt_run does not open the guard, or scratch is not what the counting run said. */
static void test_backend(void **state)
{
    (void)state;
    const vt_limits limits = {.tokens = 17, .head_width = 16, .width = 48, .slices = 8};
    for (int i = 0; i < vt_n_isas; i++) {
        if (!vt_isas[i].usable())
            continue;
        vt_device d;
        vt_pool *pool;
        vt_arena arena;
        vt_backend be;
        vt_err err = {0};
        vt_device_init(&d);
        assert_int_equal(vt_pool_new(&pool, 2, &err), VT_OK);
        vt_backend_init(&be, &vt_isas[i], pool, &d);
        vt_arena counting = vt_arena_counting();
        vt_backend_place_scratch(&be, &counting, &limits);
        (void)vt_arena_take(&counting, 64, sizeof(float));
        assert_int_equal(vt_device_arena(&d, counting.used, "scratch", &arena, &err), VT_OK);
        vt_backend_place_scratch(&be, &arena, &limits);
        float *x = vt_arena_take(&arena, 64, sizeof(float)), host[4] = {1, 2, 3, 4}, y = 0;
        assert_int_equal(arena.used, counting.used);
        vt_device_write(&d, x, host, sizeof host);
        vt_run(&be, mean_tokens_fwd, .samples = 1, .tokens = 4, .taken = 4, .cols = 1, .x = x, .y = x + 32);
        vt_device_read(&d, &y, x + 32, sizeof y);
        assert_true(y == 2.5f);
        vt_pool_free(pool);
        vt_device_release(&d);
    }
}

/* Breaks when VITRO_ISA picks something else than it names, or its message does not help. */
static void test_pick(void **state)
{
    (void)state;
    const vt_isa *isa = NULL;
    vt_err err = {0};
    assert_int_equal(vt_isa_pick(NULL, &isa, &err), VT_OK);
    assert_true(isa->usable());
    assert_string_not_equal(isa->name, "ref");
    assert_int_equal(vt_isa_pick("", &isa, &err), VT_OK);
    for (int i = 0; i < vt_n_isas; i++) {
        const vt_status status = vt_isa_pick(vt_isas[i].name, &isa, &err);
        assert_int_equal(status, vt_isas[i].usable() ? VT_OK : VT_EUNSUPPORTED);
        if (status == VT_OK)
            assert_ptr_equal(isa, &vt_isas[i]);
    }
    assert_string_equal(vt_isas[vt_n_isas - 1].name, "ref");
    assert_int_equal(vt_isa_pick("sse9", &isa, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "sse9"));
    assert_non_null(strstr(err.msg, "portable, ref"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),   cmocka_unit_test(test_refusal), cmocka_unit_test(test_guard),
        cmocka_unit_test(test_backend), cmocka_unit_test(test_pick),
    };
    return cmocka_run_group_tests_name("kernels/device", tests, NULL, NULL);
}
