/* Looks and the index over them. Sums of at most 256 bytes and cosines of 14 bits stay far below 2^63. */
#include "data/similar.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "image/geometry.h"

#define SIDE      VT_LOOK_SIDE
#define PARTS     4
#define PART_BITS 16
#define VALUES    (1 << PART_BITS)
#define N_MASKS   (1 + PART_BITS + PART_BITS * (PART_BITS - 1) / 2) /* of at most two bits */

#define NEAR_BITS 16 /* shapes further apart are not compared */
#define NEAR      32 /* per cent; docs/results.md says what it finds and what it takes for another */
#define NEAR_CUT  28 /* the same where one is a part of the other: more ways to fit need a better fit */
#define MAYBE     90 /* above, no part is tried */
#define FLAT      4  /* grey levels: contrast counts as at least this */
#define COLOUR    2  /* weight of a colour difference, on a quarter as many places */

/* What the comparison of two thumbnails, and of their parts, costs beside that of 64 bits. */
#define WORK_WHOLE 250
#define WORK_PARTS 12000

/* --- looks --- */

static void half_hash(const char hex[VT_HASH_HEX], uint64_t out[2])
{
    for (int k = 0; k < 2; k++) {
        char part[17];
        memcpy(part, hex + 16 * k, 16);
        part[16] = '\0';
        out[k] = strtoull(part, NULL, 16);
    }
}

static void hash_image(const vt_image *im, const void *file, size_t size, vt_look *look)
{
    char hex[VT_HASH_HEX];
    look->bytes[0] = look->bytes[1] = 0;
    if (file) {
        vt_hash_bytes(file, size, hex);
        half_hash(hex, look->bytes);
    }
    vt_hasher *h = vt_hasher_new();
    const int64_t sides[2] = {im->width, im->height};
    vt_hasher_add(h, sides, sizeof sides);
    vt_hasher_add(h, im->pixels, (size_t)im->width * (size_t)im->height * 3);
    vt_hasher_finish(h, hex);
    half_hash(hex, look->pixels);
}

/* JPEG's grey and colour differences, in 1/1000. */
static void fill_thumbnail(const uint8_t *rgb, vt_look *look)
{
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            const uint8_t *p = rgb + 3 * (y * SIDE + x);
            look->grey[y * SIDE + x] = (uint8_t)((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000);
        }
    }
    for (int y = 0; y < SIDE / 2; y++) {
        for (int x = 0; x < SIDE / 2; x++) {
            const uint8_t *p = rgb + 3 * (2 * y * SIDE + 2 * x);
            int sum[3];
            for (int c = 0; c < 3; c++)
                sum[c] = p[c] + p[3 + c] + p[3 * SIDE + c] + p[3 * SIDE + 3 + c];
            int blue = (-169 * sum[0] - 331 * sum[1] + 500 * sum[2] + 4 * 128000 + 2000) / 4000;
            int red = (500 * sum[0] - 419 * sum[1] - 81 * sum[2] + 4 * 128000 + 2000) / 4000;
            look->blue[y * SIDE / 2 + x] = (uint8_t)(blue > 255 ? 255 : blue);
            look->red[y * SIDE / 2 + x] = (uint8_t)(red > 255 ? 255 : red);
        }
    }
}

/* cos(k pi / 32) * 16384, k = 0 .. 16. */
static const int quarter_wave[17] = {16384, 16305, 16069, 15679, 15137, 14449, 13623, 12665, 11585,
                                     10394, 9102,  7723,  6270,  4756,  3196,  1606,  0};

/* cos((2 x + 1) u pi / 32) * 16384 */
static int cosine(int u, int x)
{
    int k = (2 * x + 1) * u % 64;
    k = k > 32 ? 64 - k : k;
    return k <= 16 ? quarter_wave[k] : -quarter_wave[32 - k];
}

/* The bit of frequency (u, v) is 8 v + u: the parts of 16 bits go from low to high vertical frequencies. In place of
 * the constant one stands (8, 0). */
static uint64_t shape_of(const uint8_t *grey)
{
    int64_t rows[SIDE][9]; /* frequency u of each row */
    uint64_t shape = 0;
    for (int y = 0; y < SIDE; y++) {
        for (int u = 0; u < 9; u++) {
            rows[y][u] = 0;
            for (int x = 0; x < SIDE; x++)
                rows[y][u] += (int64_t)grey[y * SIDE + x] * cosine(u, x);
        }
    }
    for (int bit = 0; bit < 64; bit++) {
        int u = bit == 0 ? 8 : bit % 8, v = bit / 8;
        int64_t sum = 0;
        for (int y = 0; y < SIDE; y++)
            sum += rows[y][u] * cosine(v, y);
        shape |= (uint64_t)(sum > 0) << bit;
    }
    return shape;
}

/* Mirroring left and right turns the sign of every odd horizontal frequency. */
#define MIRROR 0xaaaaaaaaaaaaaaaaULL

vt_status vt_look_at(const vt_image *image, const void *file, size_t size, vt_image *spare, vt_look *look, vt_err *err)
{
    hash_image(image, file, size, look);
    const vt_rect whole = {0, 0, image->width, image->height};
    VT_TRY(vt_resize_tf_area(image, whole, SIDE, SIDE, spare, err));
    fill_thumbnail(spare->pixels, look);
    look->shape = shape_of(look->grey);
    return VT_OK;
}

static int count_bits(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555ULL;
    x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
    return (int)(x * 0x0101010101010101ULL >> 56);
}

static int sum_of(const uint8_t *v, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += v[i];
    return sum;
}

/* Mean absolute deviation from the mean, times n, in grey levels. */
static int contrast_of(const uint8_t *v, int n)
{
    const int mean = (sum_of(v, n) + n / 2) / n;
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += abs(v[i] - mean);
    return sum;
}

/* A thumbnail, to be compared. */
typedef struct {
    uint8_t grey[VT_LOOK_GREY], blue[VT_LOOK_COLOUR], red[VT_LOOK_COLOUR];
} thumbnail;

static void mirror(const uint8_t *in, int side, uint8_t *out)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            out[y * side + x] = in[y * side + side - 1 - x];
}

static thumbnail thumbnail_of(const vt_look *l, bool mirrored)
{
    thumbnail t;
    if (mirrored) {
        mirror(l->grey, SIDE, t.grey);
        mirror(l->blue, SIDE / 2, t.blue);
        mirror(l->red, SIDE / 2, t.red);
    } else {
        memcpy(t.grey, l->grey, sizeof t.grey);
        memcpy(t.blue, l->blue, sizeof t.blue);
        memcpy(t.red, l->red, sizeof t.red);
    }
    return t;
}

static int distance_of(const uint8_t *a, const uint8_t *b, int n, int shift)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += abs(a[i] - b[i] - shift);
    return sum;
}

/* Sums of absolute differences, brightness aside, per cent of the contrast. */
static int difference_of(const thumbnail *a, const thumbnail *b)
{
    const int n = VT_LOOK_GREY, least = FLAT * n;
    const int shift = (sum_of(a->grey, n) - sum_of(b->grey, n)) / n;
    int apart = distance_of(a->grey, b->grey, n, shift);
    apart += COLOUR * distance_of(a->blue, b->blue, VT_LOOK_COLOUR, 0);
    apart += COLOUR * distance_of(a->red, b->red, VT_LOOK_COLOUR, 0);
    int contrast = (contrast_of(a->grey, n) + contrast_of(b->grey, n)) / 2;
    contrast = contrast < least ? least : contrast;
    return (100 * apart + contrast / 2) / contrast;
}

/* Parts of a picture that people cut out: the left upper corner and the size, in 1/40 of a side. */
typedef struct {
    int x, y, size;
} crop;
static const crop parts[] = {{1, 1, 38}, {0, 0, 38}, {2, 0, 38}, {0, 2, 38}, {2, 2, 38}, {2, 2, 36}};

/* Place i of a part, in 1/80 of a place of the whole: the centre of a place lies at its half. */
static int place(int i, int corner, int size, int side)
{
    int at = 2 * side * corner + (2 * i + 1) * size - 40;
    const int last = 80 * (side - 1);
    return at < 0 ? 0 : at > last ? last : at;
}

static void cut(const uint8_t *in, int side, crop r, uint8_t *out)
{
    for (int y = 0; y < side; y++) {
        const int at_y = place(y, r.y, r.size, side), y0 = at_y / 80, ty = at_y % 80, y1 = y0 + (ty > 0);
        for (int x = 0; x < side; x++) {
            const int at_x = place(x, r.x, r.size, side), x0 = at_x / 80, tx = at_x % 80, x1 = x0 + (tx > 0);
            const int above = in[y0 * side + x0] * (80 - tx) + in[y0 * side + x1] * tx;
            const int below = in[y1 * side + x0] * (80 - tx) + in[y1 * side + x1] * tx;
            out[y * side + x] = (uint8_t)((above * (80 - ty) + below * ty + 3200) / 6400);
        }
    }
}

/* 1 2 1 along both axes, the edge repeated: what interpolation blurs in one is then blurred in the other. */
static void blur(uint8_t *v, int side)
{
    uint8_t in[VT_LOOK_GREY];
    memcpy(in, v, (size_t)(side * side));
    for (int y = 0; y < side; y++) {
        const int up = y > 0 ? y - 1 : 0, down = y < side - 1 ? y + 1 : y;
        for (int x = 0; x < side; x++) {
            const int left = x > 0 ? x - 1 : 0, right = x < side - 1 ? x + 1 : x;
            int sum = in[up * side + left] + 2 * in[up * side + x] + in[up * side + right];
            sum += 2 * in[y * side + left] + 4 * in[y * side + x] + 2 * in[y * side + right];
            sum += in[down * side + left] + 2 * in[down * side + x] + in[down * side + right];
            v[y * side + x] = (uint8_t)((sum + 8) / 16);
        }
    }
}

static void blur_thumbnail(thumbnail *t)
{
    blur(t->grey, SIDE);
    blur(t->blue, SIDE / 2);
    blur(t->red, SIDE / 2);
}

/* The least difference between a and a part of b, both blurred. */
static int difference_from_part(const thumbnail *a, const thumbnail *b)
{
    thumbnail whole = *a;
    int least = INT_MAX;
    blur_thumbnail(&whole);
    for (size_t i = 0; i < VT_COUNT_OF(parts); i++) {
        thumbnail t;
        cut(b->grey, SIDE, parts[i], t.grey);
        cut(b->blue, SIDE / 2, parts[i], t.blue);
        cut(b->red, SIDE / 2, parts[i], t.red);
        blur_thumbnail(&t);
        const int d = difference_of(&whole, &t);
        least = d < least ? d : least;
    }
    return least;
}

/* INT_MAX: not near. *work is what it cost, in comparisons of 64 bits. */
static int near_difference(const vt_look *a, const vt_look *b, bool mirrored, int64_t *work)
{
    const thumbnail s = thumbnail_of(a, mirrored), t = thumbnail_of(b, false);
    const int whole = difference_of(&s, &t);
    *work = WORK_WHOLE;
    if (whole <= NEAR)
        return whole;
    if (whole > MAYBE)
        return INT_MAX;
    *work += WORK_PARTS;
    const int one = difference_from_part(&s, &t), other = difference_from_part(&t, &s);
    const int least = one < other ? one : other;
    return least <= NEAR_CUT ? least : INT_MAX;
}

/* --- the index --- */

typedef struct {
    uint64_t shape;
    int32_t look;
} entry;

typedef struct {
    uint64_t bytes[2], pixels[2];
    int32_t look;
    int32_t first_file, first_pixels; /* the first look with the same file, and with the same pixels */
} exact;

struct vt_similar {
    const vt_look *looks;
    int64_t n;     /* in the tables: without those whose pixels an earlier one has */
    exact *exacts; /* sorted */
    int64_t n_exacts;
    uint32_t starts[PARTS][VALUES + 1];
    entry *entries[PARTS];
    uint16_t masks[N_MASKS];
};

static int compare_hash(const uint64_t a[2], const uint64_t b[2])
{
    int high = (a[0] > b[0]) - (a[0] < b[0]);
    return high ? high : (a[1] > b[1]) - (a[1] < b[1]);
}

static int by_hash(const void *a, const void *b)
{
    const exact *x = a, *y = b;
    int order = compare_hash(x->pixels, y->pixels);
    if (order == 0)
        order = compare_hash(x->bytes, y->bytes);
    return order ? order : (x->look > y->look) - (x->look < y->look);
}

/* Sorts by pixels, then file, then place, and notes the first of each group. */
static void group_exacts(vt_similar *s)
{
    qsort(s->exacts, (size_t)s->n_exacts, sizeof *s->exacts, by_hash);
    for (int64_t from = 0, to; from < s->n_exacts; from = to) {
        int32_t first = s->exacts[from].look;
        for (to = from; to < s->n_exacts && compare_hash(s->exacts[to].pixels, s->exacts[from].pixels) == 0; to++) {
            exact *e = &s->exacts[to];
            bool same = to > from && compare_hash(e->bytes, e[-1].bytes) == 0;
            e->first_file = same ? e[-1].first_file : e->look;
            first = e->look < first ? e->look : first;
        }
        for (int64_t i = from; i < to; i++)
            s->exacts[i].first_pixels = first;
    }
}

static uint32_t part_of(uint64_t shape, int part)
{
    return (uint32_t)(shape >> (PART_BITS * part)) & (VALUES - 1);
}

/* By value of each part, then by place in looks. */
static void fill_tables(vt_similar *s, const bool *chosen, int64_t n)
{
    for (int p = 0; p < PARTS; p++) {
        uint32_t *starts = s->starts[p];
        for (int64_t i = 0; i < n; i++)
            if (chosen[i])
                starts[part_of(s->looks[i].shape, p) + 1]++;
        for (int v = 0; v < VALUES; v++)
            starts[v + 1] += starts[v];
        uint32_t *next = vt_xmalloc(VALUES * sizeof *next);
        memcpy(next, starts, VALUES * sizeof *next);
        for (int64_t i = 0; i < n; i++)
            if (chosen[i])
                s->entries[p][next[part_of(s->looks[i].shape, p)]++] = (entry){s->looks[i].shape, (int32_t)i};
        free(next);
    }
}

/* None, one and two bits. */
static void fill_masks(uint16_t *masks)
{
    int n = 1;
    for (int a = 0; a < PART_BITS; a++)
        masks[n++] = (uint16_t)(1u << a);
    for (int a = 0; a < PART_BITS; a++)
        for (int b = 0; b < a; b++)
            masks[n++] = (uint16_t)(1u << a | 1u << b);
}

size_t vt_similar_bytes(int64_t n)
{
    return sizeof(vt_similar) + (size_t)n * (sizeof(vt_look) + sizeof(exact) + PARTS * sizeof(entry) + sizeof(bool));
}

static void fill(vt_similar *s, const bool *used, int64_t n, bool *chosen)
{
    for (int64_t i = 0; i < n; i++) {
        const vt_look *l = &s->looks[i];
        if (!used || used[i])
            s->exacts[s->n_exacts++] = (exact){
                .bytes = {l->bytes[0], l->bytes[1]}, .pixels = {l->pixels[0], l->pixels[1]}, .look = (int32_t)i};
    }
    group_exacts(s);
    for (int64_t i = 0; i < s->n_exacts; i++)
        chosen[s->exacts[i].look] = s->exacts[i].first_pixels == s->exacts[i].look;
    fill_tables(s, chosen, n);
    fill_masks(s->masks);
}

vt_status vt_similar_new(vt_similar **index, const vt_look *looks, const bool *used, int64_t n, vt_err *err)
{
    vt_similar *s = *index = calloc(1, sizeof *s);
    bool *chosen = calloc((size_t)n + 1, sizeof *chosen), complete = s && chosen;
    if (s) {
        s->looks = looks;
        s->exacts = malloc((size_t)(n + 1) * sizeof *s->exacts);
        complete = complete && s->exacts;
        for (int p = 0; p < PARTS; p++) {
            s->entries[p] = malloc((size_t)(n + 1) * sizeof *s->entries[p]);
            complete = complete && s->entries[p];
        }
    }
    vt_status status = VT_OK;
    if (complete)
        fill(s, used, n, chosen);
    else
        status = vt_fail(err, VT_ENOMEM, "no memory to compare %lld images", (long long)n);
    free(chosen);
    if (status != VT_OK) {
        vt_similar_free(s);
        *index = NULL;
    }
    return status;
}

void vt_similar_free(vt_similar *s)
{
    if (!s)
        return;
    for (int p = 0; p < PARTS; p++)
        free(s->entries[p]);
    free(s->exacts);
    free(s);
}

/* --- a query --- */

/* The first entry whose pixels are those of look, and whose file is not before its. */
static const exact *find_exact(const vt_similar *s, const vt_look *look)
{
    int64_t low = 0, high = s->n_exacts;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const exact *e = &s->exacts[middle];
        int order = compare_hash(e->pixels, look->pixels);
        if (order == 0)
            order = compare_hash(e->bytes, look->bytes);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < s->n_exacts && compare_hash(s->exacts[low].pixels, look->pixels) == 0)
        return &s->exacts[low];
    if (low > 0 && compare_hash(s->exacts[low - 1].pixels, look->pixels) == 0)
        return &s->exacts[low - 1];
    return NULL;
}

typedef struct {
    const vt_similar *index;
    const vt_look *look;
    int64_t before;
    uint64_t shape;
    bool mirrored;
    int64_t work;
    vt_match best;
} query;

static void consider(query *q, int32_t other)
{
    int64_t work;
    const int difference = near_difference(q->look, &q->index->looks[other], q->mirrored, &work);
    q->work -= work;
    const vt_match *best = &q->best;
    bool better = best->same == VT_SAME_NONE || difference < best->difference ||
                  (difference == best->difference && other < best->other);
    if (difference < INT_MAX && better)
        q->best = (vt_match){.same = q->mirrored ? VT_SAME_MIRRORED : VT_SAME_NEARLY,
                             .other = other,
                             .difference = difference,
                             .cut_short = best->cut_short};
}

/* The looks whose part p has this value. */
static void visit(query *q, int p, uint32_t value)
{
    const vt_similar *s = q->index;
    for (uint32_t i = s->starts[p][value]; i < s->starts[p][value + 1]; i++) {
        const entry *e = &s->entries[p][i];
        if (e->look >= q->before)
            return;
        if (q->work-- <= 0) {
            q->best.cut_short = true;
            return;
        }
        if (count_bits(e->shape ^ q->shape) <= NEAR_BITS)
            consider(q, e->look);
    }
}

static void search(query *q)
{
    for (int m = 0; m < N_MASKS && q->work > 0; m++)
        for (int mirrored = 0; mirrored < 2; mirrored++) {
            q->mirrored = mirrored;
            q->shape = q->look->shape ^ (mirrored ? MIRROR : 0);
            for (int p = 0; p < PARTS; p++)
                visit(q, p, part_of(q->shape, p) ^ q->index->masks[m]);
        }
}

vt_match vt_similar_find(const vt_similar *s, const vt_look *look, int64_t before, bool near)
{
    const exact *e = find_exact(s, look);
    const bool file = e && (look->bytes[0] || look->bytes[1]) && compare_hash(e->bytes, look->bytes) == 0;
    if (file && e->first_file < before)
        return (vt_match){.same = VT_SAME_FILE, .other = e->first_file};
    if (e && e->first_pixels < before)
        return (vt_match){.same = VT_SAME_PIXELS, .other = e->first_pixels};
    query q = {.index = s, .look = look, .before = before, .work = VT_SIMILAR_WORK};
    if (near)
        search(&q);
    return q.best;
}
