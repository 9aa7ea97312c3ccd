/* vitro data stats: what a collection is like, before a run looks at it for hours. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "cli/scan.h"
#include "data/source.h"

#define STATS_SAMPLE 2000 /* images whose pixels and sizes are looked at: deviations are known to about 1 % */

static const char stats_text[] = "Counts come from all samples; sizes and pixels from at most 2,000 of them, evenly "
                                 "spread. Mean and deviation of pixels\n"
                                 "are of values 0..1, by channel.\n\n"
                                 "Examples:\n"
                                 "  vitro data stats 'synthetic:shapes?count=200'\n"
                                 "  vitro data stats 'synthetic:shapes?count=200' --json";

typedef struct {
    int64_t n, bad;
    int64_t *widths, *heights;
    uint64_t pixels;
    double sum[3], squares[3]; /* of values 0..1 */
} stats_result;

static void receive_stats(void *context, const vt_scan_sample *s)
{
    stats_result *r = context;
    if (s->status != VT_OK) {
        r->bad++;
        return;
    }
    r->widths[r->n] = s->width;
    r->heights[r->n] = s->height;
    r->n++;
    r->pixels += (uint64_t)(s->width * s->height);
    for (int c = 0; c < 3; c++) {
        r->sum[c] += (double)s->sum[c] / 255.0;
        r->squares[c] += (double)s->squares[c] / (255.0 * 255.0);
    }
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
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
    spread classes, width, height;
    int64_t unlabelled; /* images without a class */
    double mean[3], deviation[3];
} summary;

static summary summarise(const vt_source *s, stats_result *r)
{
    summary m = {0};
    int64_t *counts = vt_data_class_counts(s);
    m.classes = spread_of(counts, vt_source_classes(s));
    for (int64_t i = 0; !vt_source_has_single_labels(s) && i < vt_source_count(s); i++)
        m.unlabelled += vt_source_label(s, i) < 0;
    m.width = spread_of(r->widths, r->n);
    m.height = spread_of(r->heights, r->n);
    for (int c = 0; c < 3 && r->pixels > 0; c++) {
        m.mean[c] = r->sum[c] / (double)r->pixels;
        m.deviation[c] = sqrt(fmax(0, r->squares[c] / (double)r->pixels - m.mean[c] * m.mean[c]));
    }
    free(counts);
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

static void print_stats_json(const vt_source *s, const stats_result *r, const summary *m)
{
    json_t *root = json_object(), *mean = json_array(), *deviation = json_array();
    for (int c = 0; c < 3; c++) {
        (void)json_array_append_new(mean, vt_json_number(m->mean[c]));
        (void)json_array_append_new(deviation, vt_json_number(m->deviation[c]));
    }
    (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(s)));
    (void)json_object_set_new(root, "images", json_integer(vt_source_count(s)));
    (void)json_object_set_new(root, "classes", json_integer(vt_source_classes(s)));
    (void)json_object_set_new(root, "images_per_class", spread_json(m->classes));
    (void)json_object_set_new(root, "most_classes_per_image", json_integer(vt_source_most_labels(s)));
    (void)json_object_set_new(root, "images_without_class", json_integer(m->unlabelled));
    (void)json_object_set_new(root, "sampled", json_integer(r->n + r->bad));
    (void)json_object_set_new(root, "unreadable", json_integer(r->bad));
    (void)json_object_set_new(root, "width", spread_json(m->width));
    (void)json_object_set_new(root, "height", spread_json(m->height));
    (void)json_object_set_new(root, "pixel_mean", mean);
    (void)json_object_set_new(root, "pixel_deviation", deviation);
    vt_cli_print_json(root);
}

static void print_spread(const char *name, spread s)
{
    char a[32], b[32], c[32];
    printf("%-18s min %s, median %s, max %s\n", name, vt_cli_number(a, s.least), vt_cli_number(b, s.middle),
           vt_cli_number(c, s.greatest));
}

static void print_stats(const vt_source *s, const stats_result *r, const summary *m)
{
    char a[32], b[32];
    printf("data               %s\n", vt_source_spec(s));
    printf("images             %s\n", vt_cli_number(a, vt_source_count(s)));
    printf("classes            %s\n", vt_cli_number(b, vt_source_classes(s)));
    print_spread("images per class", m->classes);
    if (!vt_source_has_single_labels(s))
        printf("classes per image  max %d; images with none: %s\n", vt_source_most_labels(s),
               vt_cli_number(a, m->unlabelled));
    printf("sampled            %s images%s\n", vt_cli_number(a, r->n + r->bad),
           r->bad ? "; some cannot be read: vitro data check names them" : "");
    print_spread("width", m->width);
    print_spread("height", m->height);
    printf("pixel mean         %.4f %.4f %.4f\n", m->mean[0], m->mean[1], m->mean[2]);
    printf("pixel deviation    %.4f %.4f %.4f\n", m->deviation[0], m->deviation[1], m->deviation[2]);
}

static vt_status stats(vt_cli *cli, const char *spec, bool json, vt_err *err)
{
    vt_source *source = NULL;
    stats_result r = {.widths = vt_xcalloc(STATS_SAMPLE, sizeof(int64_t)),
                      .heights = vt_xcalloc(STATS_SAMPLE, sizeof(int64_t))};
    vt_status status = vt_source_open(&source, spec, err);
    if (status == VT_OK) {
        const vt_scan scan = {.source = source,
                              .n = STATS_SAMPLE,
                              .pixels = true,
                              .term = cli->term,
                              .what = "reading",
                              .receive = receive_stats,
                              .context = &r};
        status = vt_scan_run(&scan, err);
    }
    if (status == VT_OK) {
        const summary m = summarise(source, &r);
        if (json)
            print_stats_json(source, &r, &m);
        else
            print_stats(source, &r, &m);
    }
    free(r.widths);
    free(r.heights);
    vt_source_close(source);
    return status;
}

int vt_cmd_data_stats(vt_cli *cli, int argc, char **argv)
{
    bool json = false;
    const vt_opt opts[] = {{"json", NULL, &json, "print the result as JSON"}};
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), stats_text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    status = vt_cli_end(cli, stats(cli, args.list[0], json, &err), &err);
    vt_args_release(&args);
    return status;
}
