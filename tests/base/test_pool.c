/* The pool: every chunk once, whoever claims it, and nothing lost when jobs follow one another quickly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/attr.h"
#include "base/machine.h"
#include "base/pool.h"

enum { MAX_CHUNKS = 1000 };

typedef struct {
    int plain[MAX_CHUNKS]; /* not atomic: a chunk run twice at once is a race that TSan reports */
    int threads;
} job;

static void count_chunk(void *context, int64_t chunk, int thread)
{
    job *j = context;
    assert_true(thread >= 0 && thread < j->threads);
    j->plain[chunk]++;
}

/* A chunk would be left out, run twice, or seen by the next job. */
static void test_every_chunk_once(void **state)
{
    static const int64_t counts[] = {0, 1, 2, 3, 7, 64, MAX_CHUNKS};
    for (int threads = 1; threads <= 5; threads++) {
        vt_pool *pool;
        vt_err err = {0};
        assert_int_equal(vt_pool_new(&pool, threads, &err), VT_OK);
        assert_int_equal(vt_pool_threads(pool), threads);
        for (uint32_t round = 0; round < 60; round++) {
            job j = {.threads = threads};
            int64_t n = counts[round % VT_COUNT_OF(counts)];
            vt_pool_shuffle(pool, round % 3 == 2 ? round : 0);
            vt_pool_run(pool, n, count_chunk, &j);
            for (int64_t c = 0; c < MAX_CHUNKS; c++)
                assert_int_equal(j.plain[c], c < n ? 1 : 0);
        }
        vt_pool_free(pool);
    }
    vt_pool_free(NULL);
}

static void add_chunk(void *context, int64_t chunk, int thread)
{
    int64_t *sums = context;
    sums[chunk] += chunk + 1;
}

/* A wake-up would be lost, or a late thread would work on a job that is over: many short jobs, with pauses in which the
 * threads go to sleep. */
static void test_many_short_jobs(void **state)
{
    int64_t sums[4] = {0};
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, 3, NULL), VT_OK);
    for (int i = 0; i < 3000; i++) {
        vt_pool_run(pool, 1 + i % 4, add_chunk, sums);
        if (i % 100 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    vt_pool_free(pool);
    assert_int_equal(sums[0], 3000);
    assert_int_equal(sums[3], 4 * 750);
}

typedef struct {
    _Atomic int arrived, denormals;
    bool met;
} meeting;

/* Waits, at most 20 s, until both chunks are being worked on. */
static void meet(void *context, int64_t chunk, int thread)
{
    meeting *m = context;
    volatile double tiny = DBL_MIN;
    if (tiny * 0.5 != 0)
        atomic_fetch_add(&m->denormals, 1);
    atomic_fetch_add(&m->arrived, 1);
    int64_t end = vt_now_ns() + INT64_C(20000000000);
    while (atomic_load(&m->arrived) < 2 && vt_now_ns() < end)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (atomic_load(&m->arrived) == 2 && chunk == 0)
        m->met = true;
}

/* All chunks would be done by the caller alone: here two must be in work at the same time, also from sleeping threads.
 */
static void test_threads_take_part(void **state)
{
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, 2, NULL), VT_OK);
    for (int i = 0; i < 5; i++) {
        meeting m = {0};
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        vt_pool_run(pool, 2, meet, &m);
        assert_true(m.met);
#if defined(__SSE__) || defined(__aarch64__)
        assert_int_equal(m.denormals, 0);
#endif
    }
    vt_pool_free(pool);
}

static void add_late(void *context, int64_t chunk, int thread)
{
    int64_t *done = context;
    nanosleep(&(struct timespec){.tv_nsec = thread == 0 ? 100000 : 3000000}, NULL);
    done[chunk] = 1;
}

/* The caller would go on while a thread still works on its chunk. */
static void test_waits_for_the_last(void **state)
{
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, 2, NULL), VT_OK);
    for (int i = 0; i < 20; i++) {
        int64_t done[10] = {0};
        vt_pool_run(pool, 10, add_late, done);
        for (int c = 0; c < 10; c++)
            assert_int_equal(done[c], 1);
    }
    vt_pool_free(pool);
}

static void record_order(void *context, int64_t chunk, int thread)
{
    int64_t **next = context;
    *(*next)++ = chunk;
}

/* The shuffle that tests rely on would not shuffle. */
static void test_shuffle(void **state)
{
    int64_t order[50], *next = order;
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
    vt_pool_run(pool, 50, record_order, &next);
    for (int i = 0; i < 50; i++)
        assert_int_equal(order[i], i);
    vt_pool_shuffle(pool, 3);
    next = order;
    vt_pool_run(pool, 50, record_order, &next);
    int moved = 0;
    for (int i = 0; i < 50; i++)
        moved += order[i] != i;
    assert_true(moved > 30);
    vt_pool_free(pool);
}

static void note_signals(void *context, int64_t chunk, int thread)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (thread != 0 && !sigismember(&blocked, SIGINT))
        atomic_fetch_add((_Atomic int *)context, 1);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* A signal would be handled in a worker instead of the thread that waits for it. */
static void test_signals_stay_outside(void **state)
{
    _Atomic int open_threads = 0;
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, 2, NULL), VT_OK);
    vt_pool_run(pool, 20, note_signals, &open_threads);
    assert_int_equal(open_threads, 0);
    vt_pool_free(pool);
}

/* A senseless number of threads would crash instead of giving a sentence. */
static void test_refusals(void **state)
{
    vt_pool *pool;
    vt_err err = {0};
    assert_int_equal(vt_pool_new(&pool, 0, &err), VT_EINVAL);
    assert_string_equal(err.msg, "0 threads asked for; expected 1 to 4096");
    assert_null(pool);
    assert_int_equal(vt_pool_new(&pool, 1 << 20, &err), VT_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_take_part), cmocka_unit_test(test_every_chunk_once),
        cmocka_unit_test(test_many_short_jobs),   cmocka_unit_test(test_waits_for_the_last),
        cmocka_unit_test(test_shuffle),           cmocka_unit_test(test_signals_stay_outside),
        cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests_name("base/pool", tests, NULL, NULL);
}
