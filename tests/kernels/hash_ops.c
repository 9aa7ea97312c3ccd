/* Prints what every operation computes, as one line "ISA OPERATION HASH" each (FNV-1a, 64 bits): two builds of vitro
 * (another compiler, or for `portable` another architecture) agree to the bit when these lines do. Ends with status 1
 * when instruction sets whose results go by the same name (vt_isa.bytes) do not agree.
 *
 *   hash_ops [ISA...]     all that this processor has when none is named
 *
 * The cases are those of the checker (check.h) for a fixed seed. A NaN counts as a NaN, whatever its sign and payload:
 * the order of operands, which compilers may swap, decides those. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "check.h"
#include "kernels/backend.h"

#define SEED     1
#define CASES    24
#define MAX_WORK 1e6

static const check_op *const tables[] = {check_products, check_attention, check_rows, check_scales, check_updates};

static void make_nans_equal(const check_buffer *b)
{
    if (b->type == CHECK_F32) {
        float *x = (float *)(void *)b->data;
        for (int64_t i = 0; i < b->count; i++)
            if (x[i] != x[i])
                memset(&x[i], 0xff, sizeof x[i]);
    } else if (b->type == CHECK_F64) {
        double *x = (double *)(void *)b->data;
        for (int64_t i = 0; i < b->count; i++)
            if (x[i] != x[i])
                memset(&x[i], 0xff, sizeof x[i]);
    } else if (b->type == CHECK_BF16) {
        uint16_t *x = (uint16_t *)(void *)b->data;
        for (int64_t i = 0; i < b->count; i++)
            if ((x[i] & 0x7fff) > 0x7f80)
                x[i] = 0xffff;
    }
}

static void add_to_hash(uint64_t *hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ bytes[i]) * 0x100000001b3U;
}

static void hash_case(const check_op *op, const vt_isa *isa, vt_pool *pool, uint32_t index, uint64_t *hash)
{
    check_case c;
    check_case_make(&c, op, SEED, index, MAX_WORK, false);
    vt_exec ex = {.pool = pool};
    ex.scratch_bytes = (isa->scratch_bytes(&c.limits) + VT_ARENA_ALIGN - 1) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    ex.scratch = check_slot(0, ex.scratch_bytes, true);
    vt_ops ops;
    isa->fill(&ops);
    check_case_reset(&c);
    op->call(&ops, &ex, &c);
    for (int i = 0; i < c.n_buffers; i++) {
        const check_buffer *b = &c.buffers[i];
        if (!b->bound)
            continue;
        make_nans_equal(b);
        add_to_hash(hash, b->data, check_buffer_bytes(b));
    }
    check_case_release(&c);
}

static uint64_t hash_op(const check_op *op, const vt_isa *isa, vt_pool *pool)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (uint32_t i = 0; i < CASES; i++)
        hash_case(op, isa, pool, i, &hash);
    return hash;
}

/* Prints the hashes of those sets; the number of operations on which two of one name disagree. */
static int hash_isas(const vt_isa *const *isas, int n, vt_pool *pool)
{
    int disagreements = 0;
    for (size_t t = 0; t < VT_COUNT_OF(tables); t++)
        for (const check_op *op = tables[t]; op->name; op++)
            for (int i = 0; i < n; i++) {
                const uint64_t hash = hash_op(op, isas[i], pool);
                printf("%-10s %-16s %016llx", isas[i]->name, op->name, (unsigned long long)hash);
                for (int j = 0; j < i; j++)
                    if (strcmp(isas[i]->bytes, isas[j]->bytes) == 0 && hash_op(op, isas[j], pool) != hash) {
                        printf("  differs from %s", isas[j]->name);
                        disagreements++;
                    }
                printf("\n");
            }
    return disagreements;
}

int main(int argc, char **argv)
{
    vt_err err = {0};
    vt_pool *pool;
    vt_flush_denormals();
    if (vt_pool_new(&pool, 1, &err) != VT_OK) {
        fprintf(stderr, "hash_ops: %s\n", err.msg);
        return 2;
    }
    const vt_isa **isas = vt_xcalloc((size_t)(vt_n_isas + argc), sizeof *isas);
    int n = 0;
    for (int i = 0; i < vt_n_isas && argc == 1; i++)
        if (vt_isas[i].usable())
            isas[n++] = &vt_isas[i];
    for (int i = 1; i < argc; i++)
        if (vt_isa_pick(argv[i], &isas[n++], &err) != VT_OK) {
            fprintf(stderr, "hash_ops: %s\n", err.msg);
            return 2;
        }
    const int disagreements = hash_isas(isas, n, pool);
    free(isas);
    vt_pool_free(pool);
    return disagreements > 0;
}
