/* The pool of threads. One atomic word, `gate`, holds the number of the current job, whether it is open, and how many
 * helpers are inside. A helper enters by a compare-and-swap that succeeds only while the job is open, claims chunks
 * until none is left, and leaves. The caller claims chunks too, then closes the gate and waits for those inside alone:
 * a helper that was asleep or off its processor all the time is not waited for, so a busy neighbour costs little.
 *
 *   gate: bits 0-15 helpers inside, bit 16 open, bits 17-63 job number
 *
 * The job's fields are written before the gate opens and after the last helper left, so they need no lock. Who waits
 * spins for at most SPIN_NS, then sleeps; a flag that is set before the last look at the gate, and read after the gate
 * was changed (both in sequentially consistent order), makes sure that no wake-up is lost. */
#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE__)
#include <immintrin.h>
#endif

#include "base/machine.h"
#include "base/philox.h"
#include "base/text.h"

#define SPIN_NS      50000 /* about the cost of two sleeps and wake-ups */
#define SPIN_CHECK   64    /* pauses between looks at the clock */
#define MAX_THREADS  4096
#define INSIDE_MASK  UINT64_C(0xffff)
#define OPEN_BIT     UINT64_C(0x10000)
#define NUMBER_SHIFT 17

typedef struct {
    vt_pool *pool;
    pthread_t id;
    int thread; /* 1 .. threads-1; the caller is 0 */
} helper;

struct vt_pool {
    alignas(64) _Atomic uint64_t gate;
    alignas(64) _Atomic int64_t next; /* first chunk not yet claimed */

    alignas(64) vt_pool_fn *fn; /* the job: see the head comment for who may touch it */
    void *context;
    int64_t n_chunks;
    uint64_t number;       /* of the current job */
    uint32_t shuffle_seed; /* 0: in order */
    bool running;

    pthread_mutex_t lock;
    pthread_cond_t opened, left;
    _Atomic int sleepers;       /* helpers that sleep on `opened`, or are about to */
    _Atomic bool caller_sleeps; /* the caller sleeps on `left`, or is about to */
    _Atomic bool stop;
    int64_t spin_ns;
    int threads;
    helper *helpers; /* threads - 1 of them */
};

void vt_flush_denormals(void)
{
#if defined(__SSE__)
    unsigned csr = _mm_getcsr();
    if ((csr & 0x8040U) != 0x8040U) /* bit 15 flush to zero, bit 6 denormals are zero */
        _mm_setcsr(csr | 0x8040U);
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    if ((fpcr & (UINT64_C(1) << 24)) == 0) /* FZ: inputs and results */
        __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (UINT64_C(1) << 24)));
#endif
}

static void pause_briefly(void)
{
#if defined(__SSE__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(vt_pool *pool, int thread)
{
    int64_t n = pool->n_chunks;
    for (;;) {
        int64_t chunk = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (chunk >= n)
            return;
        if (pool->shuffle_seed != 0)
            chunk = (int64_t)vt_permute(pool->shuffle_seed, pool->number, (uint64_t)n, (uint64_t)chunk);
        pool->fn(pool->context, chunk, thread);
    }
}

/* Whether there is something for a helper that last served job `served`. */
static bool is_news(vt_pool *pool, uint64_t served)
{
    uint64_t gate = atomic_load(&pool->gate);
    return ((gate & OPEN_BIT) != 0 && gate >> NUMBER_SHIFT != served) || atomic_load(&pool->stop);
}

static void wait_for_news(vt_pool *pool, uint64_t served)
{
    if (pool->spin_ns > 0) {
        int64_t end = vt_now_ns() + pool->spin_ns;
        do {
            for (int i = 0; i < SPIN_CHECK; i++) {
                if (is_news(pool, served))
                    return;
                pause_briefly();
            }
        } while (vt_now_ns() < end);
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!is_news(pool, served))
        pthread_cond_wait(&pool->opened, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Enters the open job; false when it closed meanwhile. *served is the number of the job entered. */
static bool enter(vt_pool *pool, uint64_t *served)
{
    uint64_t gate = atomic_load(&pool->gate);
    while ((gate & OPEN_BIT) != 0) {
        if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) {
            *served = gate >> NUMBER_SHIFT;
            return true;
        }
    }
    return false;
}

static void leave(vt_pool *pool)
{
    uint64_t before = atomic_fetch_sub(&pool->gate, 1);
    bool last = (before & INSIDE_MASK) == 1 && (before & OPEN_BIT) == 0;
    if (last && atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_signal(&pool->left);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void *helper_main(void *argument)
{
    helper *h = argument;
    vt_pool *pool = h->pool;
    uint64_t served = 0;
    vt_flush_denormals();
    for (;;) {
        wait_for_news(pool, served);
        if (atomic_load(&pool->stop))
            return NULL;
        if (enter(pool, &served)) {
            work(pool, h->thread);
            leave(pool);
        }
    }
}

static void wake_helpers(vt_pool *pool, int64_t wanted)
{
    int sleepers = atomic_load(&pool->sleepers);
    if (sleepers == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    if (wanted >= sleepers) {
        pthread_cond_broadcast(&pool->opened);
    } else {
        for (int64_t i = 0; i < wanted; i++)
            pthread_cond_signal(&pool->opened);
    }
    pthread_mutex_unlock(&pool->lock);
}

static bool is_empty(vt_pool *pool)
{
    return (atomic_load(&pool->gate) & INSIDE_MASK) == 0;
}

static void wait_for_helpers(vt_pool *pool)
{
    if (is_empty(pool))
        return;
    int64_t end = vt_now_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < SPIN_CHECK; i++) {
            if (is_empty(pool))
                return;
            pause_briefly();
        }
    } while (vt_now_ns() < end);
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (!is_empty(pool))
        pthread_cond_wait(&pool->left, &pool->lock);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

void vt_pool_run(vt_pool *pool, int64_t n_chunks, vt_pool_fn *fn, void *context)
{
    assert(!pool->running && n_chunks >= 0);
    vt_flush_denormals();
    if (n_chunks == 0)
        return;
    pool->running = true;
    pool->number++;
    pool->fn = fn;
    pool->context = context;
    pool->n_chunks = n_chunks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    bool shared = pool->threads > 1 && n_chunks > 1;
    if (shared) {
        atomic_store(&pool->gate, pool->number << NUMBER_SHIFT | OPEN_BIT);
        wake_helpers(pool, n_chunks - 1);
    }
    work(pool, 0);
    if (shared) {
        atomic_fetch_and(&pool->gate, ~OPEN_BIT);
        wait_for_helpers(pool);
    }
    pool->running = false;
}

/* Stops and joins the first n helpers. */
static void stop_helpers(vt_pool *pool, int n)
{
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < n; i++)
        pthread_join(pool->helpers[i].id, NULL);
}

static void destroy(vt_pool *pool)
{
    pthread_cond_destroy(&pool->opened);
    pthread_cond_destroy(&pool->left);
    pthread_mutex_destroy(&pool->lock);
    free(pool->helpers);
    free(pool);
}

/* Helpers take no signals: those are for the thread that set the handlers up. */
static int start_helpers(vt_pool *pool, int *started)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = 0;
    for (*started = 0; *started < pool->threads - 1 && failed == 0;) {
        helper *h = &pool->helpers[*started];
        *h = (helper){.pool = pool, .thread = *started + 1};
        failed = pthread_create(&h->id, NULL, helper_main, h);
        if (failed == 0)
            ++*started;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

vt_status vt_pool_new(vt_pool **pool, int threads, vt_err *err)
{
    *pool = NULL;
    if (threads < 1 || threads > MAX_THREADS)
        return vt_fail(err, VT_EINVAL, "%d threads asked for; expected 1 to %d", threads, MAX_THREADS);
    vt_pool *p = aligned_alloc(alignof(vt_pool), sizeof(vt_pool));
    if (p == NULL)
        return vt_fail(err, VT_ENOMEM, "no memory for a pool of %d threads", threads);
    memset(p, 0, sizeof(*p));
    p->threads = threads;
    p->helpers = vt_xcalloc((size_t)threads, sizeof(helper));
    /* With fewer processors than threads, whoever spins keeps a worker off its processor. */
    p->spin_ns = threads <= vt_machine_cpus() ? SPIN_NS : 0;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->opened, NULL);
    pthread_cond_init(&p->left, NULL);
    int started, failed = start_helpers(p, &started);
    if (failed != 0) {
        stop_helpers(p, started);
        destroy(p);
        return vt_fail(err, VT_ENOMEM, "the system started %d of %d threads (%s); ask for fewer threads", started + 1,
                       threads, strerror(failed));
    }
    *pool = p;
    return VT_OK;
}

void vt_pool_free(vt_pool *pool)
{
    if (pool == NULL)
        return;
    assert(!pool->running);
    stop_helpers(pool, pool->threads - 1);
    destroy(pool);
}

int vt_pool_threads(const vt_pool *pool)
{
    return pool->threads;
}

void vt_pool_shuffle(vt_pool *pool, uint32_t seed)
{
    assert(!pool->running);
    pool->shuffle_seed = seed;
}
