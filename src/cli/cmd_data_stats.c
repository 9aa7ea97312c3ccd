/* vitro data stats: what a collection is like, before a run looks at it for hours. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "cli/scan.h"

#define STATS_SAMPLE 2000 /* images whose pixels and sizes are looked at: deviations are known to about 1 % */
#define MAX_SAMPLE   100000000

static const char stats_text[] =
    "Classes are counted over all images; formats, sizes and pixels over --count of them, evenly spread. Mean and\n"
    "deviation are of values 0..1, by channel, each image with the same weight: what data.mean and data.std may be.\n"
    "A class is as large as its images; imbalance is the largest class over the smallest that is not empty.\n\n"
    "Examples:\n"
    "  vitro data stats 'synthetic:shapes?count=200'\n"
    "  vitro data stats 'synthetic:shapes?count=200' --count 50 --json";

/* Formats by vt_image_format, and pixels that no file holds (IDX, synthetic). */
static const char *const format_names[] = {"unknown", "JPEG", "PNG", "WebP", "no file"};
enum { NO_FILE = VT_COUNT_OF(format_names) - 1 };

/* One image. */
typedef struct {
    int64_t width, height, bytes; /* bytes of its file, 0 without */
    int format;
    bool grey;                  /* every pixel */
    double mean[3], squares[3]; /* of values 0..1 */
} facts;

typedef struct {
    const vt_source *source;
    int64_t wanted; /* images to look at */
    int64_t n, bad, grey;
    int64_t *widths, *heights, *bytes;
    double *aspects;
    int64_t formats[VT_COUNT_OF(format_names)];
    double sum[3], squares[3];
} stats;

static vt_status look(void *context, int64_t index, vt_scan_tools *tools, void *item, vt_err *err)
{
    const stats *r = context;
    facts *f = item;
    bool file;
    VT_TRY(vt_scan_load(r->source, index, tools, &file, err));
    const vt_read_buffer *b = &tools->buffer;
    const vt_image *im = &b->image;
    const int64_t n = im->width * im->height;
    uint64_t sum[3] = {0}, squares[3] = {0};
    f->width = im->width;
    f->height = im->height;
    f->bytes = file ? (int64_t)b->size : 0;
    f->format = file ? (int)vt_image_format_of(b->bytes, b->size) : NO_FILE;
    f->grey = true;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = im->pixels + 3 * i;
        f->grey = f->grey && p[0] == p[1] && p[1] == p[2];
        for (int c = 0; c < 3; c++) {
            sum[c] += p[c];
            squares[c] += (uint64_t)p[c] * p[c];
        }
    }
    for (int c = 0; c < 3; c++) {
        f->mean[c] = (double)sum[c] / (255.0 * (double)n);
        f->squares[c] = (double)squares[c] / (255.0 * 255.0 * (double)n);
    }
    return VT_OK;
}

static vt_status receive(void *context, const vt_scan_sample *s, vt_err *err)
{
    stats *r = context;
    const facts *f = s->item;
    if (s->status != VT_OK) {
        r->bad++;
        return VT_OK;
    }
    r->widths[r->n] = f->width;
    r->heights[r->n] = f->height;
    r->bytes[r->n] = f->bytes;
    r->aspects[r->n] = (double)f->width / (double)f->height;
    r->n++;
    r->grey += f->grey;
    r->formats[f->format]++;
    for (int c = 0; c < 3; c++) {
        r->sum[c] += f->mean[c];
        r->squares[c] += f->squares[c];
    }
    return VT_OK;
}

/* Position p of the sample is image p * count / wanted, without its overflow. */
static int64_t spread_sample(const void *context, int64_t p)
{
    const stats *r = context;
    const int64_t count = vt_source_count(r->source), n = r->wanted;
    return count / n * p + count % n * p / n;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int by_real(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Least, middle (the lower of two) and greatest; sorts values. */
typedef struct {
    int64_t least, middle, greatest;
} spread;

static spread spread_of(int64_t *values, int64_t n)
{
    if (n == 0)
        return (spread){0};
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (spread){values[0], values[(n - 1) / 2], values[n - 1]};
}

typedef struct {
    spread classes, width, height, bytes;
    int64_t empty, unlabelled; /* classes without images; images without a class */
    double per_image;          /* classes of an image, mean */
    double imbalance;          /* 0: no class has images */
    double aspect[3], mean[3], deviation[3];
    int64_t total_bytes;
} summary;

static void summarise_classes(const vt_source *s, summary *m)
{
    const int64_t n = vt_source_classes(s);
    int64_t *counts = vt_data_class_counts(s), labels = 0;
    m->classes = spread_of(counts, n);
    for (int64_t c = 0; c < n; c++) {
        m->empty += counts[c] == 0;
        labels += counts[c];
    }
    if (m->empty < n)
        m->imbalance = (double)m->classes.greatest / (double)counts[m->empty];
    m->per_image = (double)labels / (double)vt_source_count(s);
    for (int64_t i = 0; !vt_source_has_single_labels(s) && i < vt_source_count(s); i++)
        m->unlabelled += vt_source_label(s, i) < 0;
    free(counts);
}

static summary summarise(const vt_source *s, stats *r)
{
    summary m = {0};
    summarise_classes(s, &m);
    for (int64_t i = 0; i < r->n; i++)
        m.total_bytes += r->bytes[i];
    m.width = spread_of(r->widths, r->n);
    m.height = spread_of(r->heights, r->n);
    m.bytes = spread_of(r->bytes, r->n);
    if (r->n > 0) {
        qsort(r->aspects, (size_t)r->n, sizeof *r->aspects, by_real);
        m.aspect[0] = r->aspects[0];
        m.aspect[1] = r->aspects[(r->n - 1) / 2];
        m.aspect[2] = r->aspects[r->n - 1];
    }
    for (int c = 0; c < 3 && r->n > 0; c++) {
        m.mean[c] = r->sum[c] / (double)r->n;
        m.deviation[c] = sqrt(fmax(0, r->squares[c] / (double)r->n - m.mean[c] * m.mean[c]));
    }
    return m;
}

static json_t *spread_json(spread s)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "min", json_integer(s.least));
    (void)json_object_set_new(o, "median", json_integer(s.middle));
    (void)json_object_set_new(o, "max", json_integer(s.greatest));
    return o;
}

static json_t *three_json(const double v[3])
{
    json_t *list = json_array();
    for (int c = 0; c < 3; c++)
        (void)json_array_append_new(list, vt_json_number(v[c]));
    return list;
}

static void print_json(const vt_source *s, const stats *r, const summary *m)
{
    json_t *root = json_object(), *formats = json_object(), *aspect = json_object();
    for (size_t f = 0; f < VT_COUNT_OF(format_names); f++)
        if (r->formats[f])
            (void)json_object_set_new(formats, format_names[f], json_integer(r->formats[f]));
    static const char *const order[] = {"min", "median", "max"};
    for (int k = 0; k < 3; k++)
        (void)json_object_set_new(aspect, order[k], vt_json_number(m->aspect[k]));
    (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(s)));
    (void)json_object_set_new(root, "images", json_integer(vt_source_count(s)));
    (void)json_object_set_new(root, "classes", json_integer(vt_source_classes(s)));
    (void)json_object_set_new(root, "empty_classes", json_integer(m->empty));
    (void)json_object_set_new(root, "images_per_class", spread_json(m->classes));
    (void)json_object_set_new(root, "imbalance", vt_json_number(m->imbalance));
    (void)json_object_set_new(root, "classes_per_image", vt_json_number(m->per_image));
    (void)json_object_set_new(root, "most_classes_per_image", json_integer(vt_source_most_labels(s)));
    (void)json_object_set_new(root, "images_without_class", json_integer(m->unlabelled));
    (void)json_object_set_new(root, "sampled", json_integer(r->n + r->bad));
    (void)json_object_set_new(root, "unreadable", json_integer(r->bad));
    (void)json_object_set_new(root, "formats", formats);
    (void)json_object_set_new(root, "grey", json_integer(r->grey));
    (void)json_object_set_new(root, "width", spread_json(m->width));
    (void)json_object_set_new(root, "height", spread_json(m->height));
    (void)json_object_set_new(root, "aspect", aspect);
    (void)json_object_set_new(root, "file_bytes", spread_json(m->bytes));
    (void)json_object_set_new(root, "sampled_bytes", json_integer(m->total_bytes));
    (void)json_object_set_new(root, "pixel_mean", three_json(m->mean));
    (void)json_object_set_new(root, "pixel_deviation", three_json(m->deviation));
    vt_cli_print_json(root);
}

static void print_spread(const char *name, spread s)
{
    char a[32], b[32], c[32];
    printf("%-18s min %s, median %s, max %s\n", name, vt_cli_number(a, s.least), vt_cli_number(b, s.middle),
           vt_cli_number(c, s.greatest));
}

static void print_classes(const vt_source *s, const summary *m)
{
    char a[32], b[32];
    printf("data               %s\n", vt_source_spec(s));
    printf("images             %s\n", vt_cli_number(a, vt_source_count(s)));
    printf("classes            %s", vt_cli_number(b, vt_source_classes(s)));
    if (m->empty)
        printf(", %s without images", vt_cli_number(a, m->empty));
    printf("\n");
    print_spread("images per class", m->classes);
    if (m->imbalance > 0)
        printf("imbalance          %.2f\n", m->imbalance);
    if (!vt_source_has_single_labels(s))
        printf("classes per image  mean %.3g, max %d; %s images have none\n", m->per_image, vt_source_most_labels(s),
               vt_cli_number(a, m->unlabelled));
}

static void print_text(const vt_source *s, const stats *r, const summary *m)
{
    char a[32], b[32];
    print_classes(s, m);
    printf("looked at          %s images", vt_cli_number(a, r->n + r->bad));
    if (r->bad)
        printf(", %s unreadable (vitro data check names them)", vt_cli_number(b, r->bad));
    printf("\n");
    if (r->n == 0)
        return;
    printf("formats            ");
    bool first = true;
    for (size_t f = 0; f < VT_COUNT_OF(format_names); f++)
        if (r->formats[f]) {
            printf("%s%s %s", first ? "" : ", ", format_names[f], vt_cli_number(a, r->formats[f]));
            first = false;
        }
    printf("\ngrey               %.1f %%\n", 100 * (double)r->grey / (double)r->n);
    print_spread("width", m->width);
    print_spread("height", m->height);
    printf("width / height     min %.2f, median %.2f, max %.2f\n", m->aspect[0], m->aspect[1], m->aspect[2]);
    if (m->total_bytes > 0) {
        print_spread("bytes of a file", m->bytes);
        printf("bytes in all       %s%s\n", r->n < vt_source_count(s) ? "about " : "",
               vt_format_bytes(a, (double)m->total_bytes / (double)r->n * (double)vt_source_count(s)));
    }
    printf("pixel mean         [%.4f, %.4f, %.4f]\n", m->mean[0], m->mean[1], m->mean[2]);
    printf("pixel deviation    [%.4f, %.4f, %.4f]\n", m->deviation[0], m->deviation[1], m->deviation[2]);
}

static vt_status run(vt_cli *cli, const char *spec, int64_t count, bool json, vt_err *err)
{
    vt_source *source = NULL;
    stats r = {0};
    vt_status status = vt_source_open(&source, spec, err);
    if (status == VT_OK) {
        r.source = source;
        r.wanted = count < vt_source_count(source) ? count : vt_source_count(source);
        r.widths = vt_xcalloc((size_t)r.wanted, sizeof *r.widths);
        r.heights = vt_xcalloc((size_t)r.wanted, sizeof *r.heights);
        r.bytes = vt_xcalloc((size_t)r.wanted, sizeof *r.bytes);
        r.aspects = vt_xcalloc((size_t)r.wanted, sizeof *r.aspects);
        const vt_scan scan = {.source = source,
                              .end = r.wanted,
                              .sample = spread_sample,
                              .item_bytes = sizeof(facts),
                              .work = look,
                              .receive = receive,
                              .context = &r,
                              .term = cli->term,
                              .what = "reading"};
        status = vt_scan_run(&scan, err);
    }
    if (status == VT_OK) {
        const summary m = summarise(source, &r);
        if (json)
            print_json(source, &r, &m);
        else
            print_text(source, &r, &m);
    }
    free(r.widths);
    free(r.heights);
    free(r.bytes);
    free(r.aspects);
    vt_source_close(source);
    return status;
}

int vt_cmd_data_stats(vt_cli *cli, int argc, char **argv)
{
    bool json = false;
    const char *count_text = NULL;
    int64_t count;
    const vt_opt opts[] = {
        {"count", "N", &count_text, "images to look at; default: 2,000"},
        {"json", NULL, &json, "print the result as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), stats_text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (vt_cli_integer("count", count_text, 1, MAX_SAMPLE, STATS_SAMPLE, &count, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, args.list[0], count, json, &err), &err);
    vt_args_release(&args);
    return status;
}
