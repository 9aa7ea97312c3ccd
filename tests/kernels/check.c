/* The checker of kernels: every operation of every implementation against ref, on drawn shapes.
 *
 *   check [--isa NAME] [--op NAME] [--seed N] [--case N] [--quick]   compare with ref; exit status 1 on any failure
 *   check --bench [--isa NAME] [--op NAME] [--threads N] [--bf16]    time the same rows, tensors float32 or bf16
 *   check --break OP|all                                             prove that a wrong element is seen
 *
 * A case is run with 1, 2 and 3 threads and with the work handed out in a drawn order: the first result must lie within
 * its bounds of ref, the others must be the same bytes. Outputs and scratch hold NaNs before each run. Everything
 * follows from the seed, so that a failure comes back with the command that it prints. */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/text.h"
#include "check.h"
#include "kernels/backend.h"
#include "kernels/ref/ref.h"

#define FULL_CASES  60
#define FULL_WORK   6e6 /* multiply-adds times 2, or elements */
#define BIG_WORK    6e7 /* of every tenth case: beyond what a kernel takes in one block */
#define QUICK_CASES 12
#define QUICK_WORK  3e5
#define MAX_REPEATS 101

typedef struct {
    const char *isa, *op, *break_op;
    uint32_t seed;
    int only_case, threads; /* -1: all cases */
    bool quick, bench;
} options;

static const check_op *const tables[] = {check_products, check_attention, check_rows, check_scales, check_updates};

/* What is being run, for messages and for the signal handler. */
static char now[600];

/* Ways to run a case. */
enum { ONE_THREAD, TWO_THREADS, THREE_THREADS, SHUFFLED, N_WAYS };
static const char *const way_names[N_WAYS] = {"1 thread", "2 threads", "3 threads",
                                              "3 threads, chunks in another order"};
static vt_pool *pools[N_WAYS];

static void die(const char *message)
{
    fprintf(stderr, "check: %s\n", message);
    exit(2);
}

static void on_crash(int signal_number)
{
    static const char text[] = "\nFAIL crashed (read or wrote outside a buffer?)\n     ";
    ssize_t done = write(STDERR_FILENO, text, sizeof text - 1);
    done += write(STDERR_FILENO, now, strlen(now));
    (void)done;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void describe(const check_op *op, const check_case *c, const vt_isa *isa, const options *o, uint32_t index)
{
    char shape[400];
    check_case_print(c, op, shape, sizeof shape);
    snprintf(now, sizeof now, "%s %s: %s\n     again: check --op %s --isa %s --seed %u --case %u%s\n", op->name,
             isa->name, shape, op->name, isa->name, o->seed, index, o->quick ? " --quick" : "");
}

/* Scratch as large as the implementation asked for, and not a byte more before the inaccessible page. */
static vt_exec exec_for(const vt_isa *isa, vt_pool *pool, const check_case *c)
{
    vt_exec ex = {.pool = pool};
    ex.scratch_bytes = (isa->scratch_bytes(&c->limits) + VT_ARENA_ALIGN - 1) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    const size_t bytes = ex.scratch_bytes * (size_t)vt_pool_threads(pool);
    ex.scratch = check_slot(0, bytes, true);
    memset(ex.scratch, 0xff, bytes);
    return ex;
}

static void run(const check_op *op, check_case *c, const vt_isa *isa, vt_pool *pool)
{
    vt_ops ops;
    isa->fill(&ops);
    const vt_exec ex = exec_for(isa, pool, c);
    check_case_reset(c);
    op->call(&ops, &ex, c);
}

static bool same_results(const check_case *c, unsigned char *const *first)
{
    for (int i = 0; i < c->n_buffers; i++)
        if (first[i] && memcmp(first[i], c->buffers[i].data, check_buffer_bytes(&c->buffers[i])) != 0)
            return false;
    return true;
}

/* Runs one made case in all ways; false, with the reason printed, when something is wrong. */
static bool run_ways(const check_op *op, check_case *c, const vt_isa *isa, const options *o, bool break_it,
                     double *worst)
{
    unsigned char *first[CHECK_MAX_BUFFERS] = {NULL};
    char message[300] = "";
    bool good = true;
    for (int way = 0; way < N_WAYS && good; way++) {
        run(op, c, isa, pools[way]);
        if (way == ONE_THREAD) {
            if (break_it)
                check_case_break(c);
            good = check_case_compare(c, worst, message, sizeof message);
            for (int i = 0; i < c->n_buffers; i++)
                if (c->buffers[i].bound) {
                    first[i] = vt_xmalloc(check_buffer_bytes(&c->buffers[i]));
                    memcpy(first[i], c->buffers[i].data, check_buffer_bytes(&c->buffers[i]));
                }
        } else if (!same_results(c, first)) {
            good = false;
            snprintf(message, sizeof message, "with %s the results differ from those of 1 thread", way_names[way]);
        }
    }
    if (!good && !o->break_op)
        printf("FAIL %s\n     %s", message, now);
    for (int i = 0; i < c->n_buffers; i++)
        free(first[i]);
    return good;
}

static double most_work(const options *o, uint32_t index)
{
    return o->quick ? QUICK_WORK : index % 10 == 9 ? BIG_WORK : FULL_WORK;
}

/* The share of its bound that the worst element reached in *worst; false on failure. */
static bool check_one(const check_op *op, const vt_isa *isa, const options *o, uint32_t index, double *worst)
{
    check_case c;
    check_case_make(&c, op, o->seed, index, most_work(o, index), false);
    describe(op, &c, isa, o, index);
    vt_ops ops;
    vt_ops_fill_ref(&ops);
    check_case_reset(&c);
    op->call(&ops, &(vt_exec){.pool = pools[ONE_THREAD]}, &c);
    check_case_take_expected(&c);
    check_case_reset(&c);
    op->bound(&c);
    const bool good = run_ways(op, &c, isa, o, o->break_op != NULL, worst);
    check_case_release(&c);
    return good;
}

/* Checks the operations of one implementation; the number of failed cases. */
static int check_isa(const vt_isa *isa, const options *o)
{
    int operations = 0, cases = 0, failed = 0;
    for (size_t t = 0; t < VT_COUNT_OF(tables); t++)
        for (const check_op *op = tables[t]; op->name; op++) {
            if (o->op && strcmp(o->op, op->name) != 0)
                continue;
            const int n = o->quick ? QUICK_CASES : FULL_CASES;
            const int64_t begin = vt_now_ns();
            double worst = 0;
            int failed_here = 0, cases_here = 0;
            for (int i = 0; i < n && failed_here < 3; i++) {
                double share = 0;
                if (o->only_case >= 0 && i != o->only_case)
                    continue;
                cases_here++;
                failed_here += !check_one(op, isa, o, (uint32_t)i, &share);
                worst = share > worst ? share : worst;
            }
            printf("%-16s %-10s %3d cases, worst %.2f of its bound, %.2f s%s\n", op->name, isa->name, cases_here, worst,
                   (double)(vt_now_ns() - begin) / 1e9, failed_here ? "  FAILED" : "");
            fflush(stdout);
            operations++;
            cases += cases_here;
            failed += failed_here;
        }
    printf("check %s: %d operations, %d cases, %d failed (seed %u)\n", isa->name, operations, cases, failed, o->seed);
    if (cases == 0)
        die("no operation or case of this name");
    return failed;
}

/* Spoils one element of each operation's result and expects the comparison to see it; the number of those not seen. */
static int check_breaks(const vt_isa *isa, const options *o)
{
    int broken = 0, missed = 0;
    for (size_t t = 0; t < VT_COUNT_OF(tables); t++)
        for (const check_op *op = tables[t]; op->name; op++) {
            if (strcmp(o->break_op, "all") != 0 && strcmp(o->break_op, op->name) != 0)
                continue;
            double share = 0;
            const bool seen = !check_one(op, isa, o, 0, &share);
            if (!seen)
                printf("FAIL a wrong element of %s was not seen\n     %s", op->name, now);
            broken++;
            missed += !seen;
        }
    printf("check --break: %d of %d broken kernels of %s were caught\n", broken - missed, broken, isa->name);
    return broken == 0 ? 1 : missed;
}

static int by_time(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_one(const check_op *op, const vt_isa *isa, const options *o, uint32_t index, vt_pool *pool)
{
    static double seconds[MAX_REPEATS];
    check_case c;
    check_case_make(&c, op, o->seed, index, 0, true);
    describe(op, &c, isa, o, index);
    run(op, &c, isa, pool); /* warms up; from here on results are computed over results */
    vt_ops ops;
    isa->fill(&ops);
    const vt_exec ex = exec_for(isa, pool, &c);
    double total = 0, bytes = 0;
    int n = 0;
    while (n < 9 || (total < 0.3 && n < MAX_REPEATS)) {
        const int64_t begin = vt_now_ns();
        op->call(&ops, &ex, &c);
        seconds[n] = (double)(vt_now_ns() - begin) / 1e9;
        total += seconds[n++];
    }
    qsort(seconds, (size_t)n, sizeof *seconds, by_time);
    for (int i = 0; i < c.n_buffers; i++)
        bytes += (double)check_buffer_bytes(&c.buffers[i]);
    const double work = op->unit ? op->work(c.dims) : bytes;
    char shape[400];
    check_case_print(&c, op, shape, sizeof shape);
    printf("%-16s %-10s %9.3f ms, best %9.3f; %7.1f G%s/s, best %7.1f;  %s\n", op->name, isa->name,
           seconds[n / 2] * 1e3, seconds[0] * 1e3, work / seconds[n / 2] / 1e9, op->unit ? op->unit : "B",
           work / seconds[0] / 1e9, shape);
    fflush(stdout);
    check_case_release(&c);
}

static void bench_isa(const vt_isa *isa, const options *o, vt_pool *pool)
{
    for (size_t t = 0; t < VT_COUNT_OF(tables); t++)
        for (const check_op *op = tables[t]; op->name; op++)
            for (uint32_t i = 0; i < CHECK_MAX_BENCH && op->bench[i][0]; i++)
                if (!o->op || strcmp(o->op, op->name) == 0)
                    time_one(op, isa, o, i, pool);
}

static int number(const char *text)
{
    int64_t value = 0;
    vt_err err = {0};
    if (!text || vt_parse_i64(text, &value, &err) != VT_OK || value < 0 || value > INT32_MAX)
        die(text ? err.msg : "an option lacks its number");
    return (int)value;
}

static options parse(int argc, char **argv)
{
    options o = {.seed = 1, .only_case = -1, .threads = vt_machine_cpus()};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--quick") == 0)
            o.quick = true;
        else if (strcmp(name, "--bench") == 0)
            o.bench = true;
        else if (strcmp(name, "--bf16") == 0)
            check_bench_type = VT_BF16;
        else if (i++, strcmp(name, "--isa") == 0)
            o.isa = value;
        else if (strcmp(name, "--op") == 0)
            o.op = value;
        else if (strcmp(name, "--break") == 0)
            o.break_op = value;
        else if (strcmp(name, "--seed") == 0)
            o.seed = (uint32_t)number(value);
        else if (strcmp(name, "--case") == 0)
            o.only_case = number(value);
        else if (strcmp(name, "--threads") == 0)
            o.threads = number(value);
        else
            die("unknown option; the head of check.c has them all");
    }
    return o;
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    vt_err err = {0};
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGILL, on_crash);
    signal(SIGABRT, on_crash);
    vt_flush_denormals();
    for (int way = 0; way < N_WAYS; way++)
        if (vt_pool_new(&pools[way], way == SHUFFLED ? 3 : way + 1, &err) != VT_OK)
            die(err.msg);
    vt_pool_shuffle(pools[SHUFFLED], 20210608);
    vt_pool *bench_pool;
    if (vt_pool_new(&bench_pool, o.threads, &err) != VT_OK)
        die(err.msg);

    int failed = 0, matched = 0;
    for (int i = 0; i < vt_n_isas; i++) {
        const vt_isa *isa = &vt_isas[i];
        const bool slow = o.bench && !o.isa && strcmp(isa->name, "ref") == 0;
        if (slow || (o.isa && strcmp(o.isa, isa->name) != 0))
            continue;
        matched++;
        if (!isa->usable())
            printf("check %s: this processor does not have it, skipped\n", isa->name);
        else if (o.bench)
            bench_isa(isa, &o, bench_pool);
        else if (o.break_op)
            failed += check_breaks(isa, &o);
        else
            failed += check_isa(isa, &o);
    }
    for (int way = 0; way < N_WAYS; way++)
        vt_pool_free(pools[way]);
    vt_pool_free(bench_pool);
    if (!matched)
        die("no implementation of this name was built");
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
