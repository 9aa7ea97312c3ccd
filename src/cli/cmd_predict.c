/* vitro predict: the classes that a model sees in images, with the probability of each: the sigmoid of its logit where
 * training was by sigmoid cross-entropy (the probabilities of an image need not add up to one), else the softmax. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/math.h"
#include "cli/base64.h"
#include "cli/cli.h"
#include "cli/loaded.h"
#include "eval/classify.h"

#define DEFAULT_TOP 5

static const char text[] =
    VT_MODEL_HELP "One line an image: its name, then classes with probabilities, best first. A file that "
                  "cannot be read is named; the\n"
                  "others still go on, and the exit status is 1. Probabilities are sigmoids of logits, one "
                  "for each class by itself;\n"
                  "of a model trained by softmax they are its softmax.\n\n"
                  "Examples:\n"
                  "  vitro data export 'synthetic:shapes?seed=3' --out images --count 4\n"
                  "  vitro predict runs/shapes-demo images/*.png\n"
                  "  vitro predict runs/shapes-demo images/*.png --top 2 --json";

typedef struct {
    vt_load_options load;
    const char *top_text, *dump;
    bool json;
    int64_t top;
} predict_options;

/* What was computed for the images that could be read, in their order. */
typedef struct {
    int64_t n, height, width, classes;
    const char **names;
    uint8_t
        *pixels; /* (images, height, width, 3), as the model saw them: one pass's, or all when they are to be dumped */
    bool keep_pixels;
    float *logits; /* (n, classes) */
    int64_t bad;   /* images that could not be read */
} predictions;

static void predictions_release(predictions *p)
{
    free(p->names);
    free(p->pixels);
    free(p->logits);
}

/* Reads, decodes and preprocesses one file into the pixels of image i. */
static vt_status read_image(const vt_loaded *l, const char *path, vt_read_buffer *b, vt_image *spare, uint8_t *pixels,
                            vt_err *err)
{
    const vt_image *image = &b->image;
    const vt_model_config *c = &l->info.model;
    VT_TRY(vt_read_buffer_file(b, path, err));
    VT_TRY(vt_preprocess_load(&l->preprocess, 0, 0, b, spare, path, err));
    if (image->height != c->image_height || image->width != c->image_width)
        return vt_fail(err, VT_EFORMAT, "%s: preprocessing (%s) ends at %lldx%lld, but the model takes %lldx%lld", path,
                       l->info.preprocess, (long long)image->width, (long long)image->height, (long long)c->image_width,
                       (long long)c->image_height);
    memcpy(pixels, image->pixels, (size_t)(c->image_height * c->image_width * 3));
    return VT_OK;
}

/* Logits of images first .. first + count - 1, whose pixels are given. */
static void forward(vt_loaded *l, predictions *p, int64_t first, int64_t count, const uint8_t *pixels)
{
    vt_model *m = &l->engine.model;
    const vt_pass pass = {
        .backend = &l->engine.backend, .samples = count, .pixels = l->info.pixels, .slices = l->slices};
    vt_device_write(&l->engine.device, m->images, pixels, (size_t)(count * p->height * p->width * 3));
    vt_model_forward(m, &pass);
    vt_device_read(&l->engine.device, p->logits + first * p->classes, m->logits,
                   (size_t)(count * p->classes) * sizeof(float));
}

static void predict_all(vt_cli *cli, vt_loaded *l, const vt_args *args, predictions *p)
{
    const vt_model_config *c = &l->info.model;
    const int64_t n = args->n - 1, samples = l->engine.model.use.samples;
    const size_t image_bytes = (size_t)(c->image_height * c->image_width * 3);
    vt_read_buffer buffer = {0};
    vt_image spare = {0};
    int64_t done = 0; /* of p->n, those with logits */
    p->height = c->image_height;
    p->width = c->image_width;
    p->classes = c->classes;
    p->names = vt_xcalloc((size_t)n, sizeof *p->names);
    p->pixels = vt_xcalloc((size_t)(p->keep_pixels || n < samples ? n : samples), image_bytes);
    p->logits = vt_xcalloc((size_t)(n * c->classes), sizeof *p->logits);
    for (int64_t i = 0; i < n; i++) {
        vt_err why = {0};
        const char *path = args->list[i + 1];
        uint8_t *batch = p->pixels + (p->keep_pixels ? (size_t)done * image_bytes : 0);
        if (read_image(l, path, &buffer, &spare, batch + (size_t)(p->n - done) * image_bytes, &why) == VT_OK) {
            p->names[p->n++] = path;
        } else {
            p->bad++;
            vt_term_error(cli->term, cli->command->name, why.msg);
        }
        if (p->n - done == samples || (i == n - 1 && p->n > done)) {
            forward(l, p, done, p->n - done, batch);
            done = p->n;
        }
    }
    vt_read_buffer_release(&buffer);
    vt_image_release(&spare);
}

/* Of class c, by the loss that the model was trained with. */
static double probability(const vt_loaded *l, const float *logits, int64_t c)
{
    double sum = 0;
    if (l->info.loss != VT_LOSS_SOFTMAX)
        return 1.0 / (1.0 + vt_exp(-(double)logits[c]));
    for (int64_t k = 0; k < l->info.model.classes; k++)
        sum += vt_exp((double)logits[k] - (double)logits[c]); /* the other classes' against its own */
    return 1.0 / sum;
}

static void print_lines(const vt_loaded *l, const predictions *p, int64_t top)
{
    int64_t *best = vt_xcalloc((size_t)top, sizeof *best);
    for (int64_t i = 0; i < p->n; i++) {
        const float *logits = p->logits + i * p->classes;
        vt_top_k(logits, p->classes, (int)top, best);
        printf("%s:", p->names[i]);
        for (int64_t k = 0; k < top; k++)
            printf("%s %s %.4f", k ? "," : "", l->info.class_names[best[k]], probability(l, logits, best[k]));
        printf("\n");
    }
    free(best);
}

static json_t *logits_json(const predictions *p, int64_t i)
{
    json_t *row = json_array();
    for (int64_t c = 0; c < p->classes; c++)
        (void)json_array_append_new(row, vt_json_number((double)p->logits[i * p->classes + c]));
    return row;
}

static void print_json(const vt_loaded *l, const predictions *p, int64_t top)
{
    json_t *root = json_object(), *images = json_array();
    int64_t *best = vt_xcalloc((size_t)top, sizeof *best);
    for (int64_t i = 0; i < p->n; i++) {
        const float *logits = p->logits + i * p->classes;
        json_t *row = json_object(), *classes = json_array();
        vt_top_k(logits, p->classes, (int)top, best);
        for (int64_t k = 0; k < top; k++) {
            json_t *class = json_object();
            (void)json_object_set_new(class, "class", vt_cli_json_text(l->info.class_names[best[k]]));
            (void)json_object_set_new(class, "index", json_integer(best[k]));
            (void)json_object_set_new(class, "probability", vt_json_number(probability(l, logits, best[k])));
            (void)json_array_append_new(classes, class);
        }
        (void)json_object_set_new(row, "image", vt_cli_json_text(p->names[i]));
        (void)json_object_set_new(row, "top", classes);
        (void)json_object_set_new(row, "logits", logits_json(p, i));
        (void)json_array_append_new(images, row);
    }
    (void)json_object_set_new(root, "checkpoint", vt_cli_json_text(l->dir));
    (void)json_object_set_new(
        root, "probabilities",
        json_string(vt_xent_names[l->info.loss == VT_LOSS_SOFTMAX ? VT_LOSS_SOFTMAX : VT_LOSS_SIGMOID]));
    (void)json_object_set_new(root, "images", images);
    (void)json_object_set_new(root, "unreadable", json_integer(p->bad));
    vt_cli_print_json(root);
    free(best);
}

/* The values that pixels 0 and 255 become, for each color. */
static json_t *value_range(const vt_pixel_range *pixels)
{
    json_t *low = json_array(), *high = json_array();
    for (int c = 0; c < 3; c++) {
        (void)json_array_append_new(low, vt_json_number((double)pixels->offset[c]));
        (void)json_array_append_new(high, vt_json_number((double)(255.0f * pixels->scale[c] + pixels->offset[c])));
    }
    return json_pack("[o,o]", low, high);
}

/* Everything that another program needs to compute the same: the pixels behind preprocessing, their range, the logits.
 */
static vt_status dump(const vt_loaded *l, const predictions *p, const char *path, vt_err *err)
{
    json_t *root = json_object(), *input = json_object(), *logits = json_array();
    char *encoded = vt_base64(p->pixels, (size_t)(p->n * p->height * p->width * 3));
    (void)json_object_set_new(input, "images", json_integer(p->n));
    (void)json_object_set_new(input, "height", json_integer(p->height));
    (void)json_object_set_new(input, "width", json_integer(p->width));
    (void)json_object_set_new(input, "pixels_base64", json_string(encoded));
    for (int64_t i = 0; i < p->n; i++)
        (void)json_array_append_new(logits, logits_json(p, i));
    (void)json_object_set_new(root, "input", input);
    (void)json_object_set_new(root, "value_range", value_range(&l->info.pixels));
    (void)json_object_set_new(root, "logits", logits);
    vt_status status = vt_json_save(path, root, err);
    json_decref(root);
    free(encoded);
    return status;
}

static vt_status run(vt_cli *cli, const predict_options *o, const vt_args *args, vt_err *err)
{
    vt_loaded l;
    predictions p = {.keep_pixels = o->dump != NULL};
    vt_status status = vt_loaded_open(&l, args, &o->load, err);
    if (status == VT_OK)
        status = vt_loaded_need_classifier(&l, err);
    if (status == VT_OK) {
        int64_t top = o->top < l.info.model.classes ? o->top : l.info.model.classes;
        predict_all(cli, &l, args, &p);
        if (o->json)
            print_json(&l, &p, top);
        else
            print_lines(&l, &p, top);
        if (o->dump)
            status = dump(&l, &p, o->dump, err);
    }
    if (status == VT_OK && p.bad > 0)
        status = vt_fail(err, VT_EFORMAT, "%lld of %d images could not be read", (long long)p.bad, args->n - 1);
    predictions_release(&p);
    vt_loaded_close(&l);
    return status;
}

int vt_cmd_predict(vt_cli *cli, int argc, char **argv)
{
    predict_options o = {0};
    const vt_opt opts[] = {
        {"top", "K", &o.top_text, "classes an image; default: 5"},
        {"json", NULL, &o.json, "print the result as JSON, with every logit"},
        {"dump", "FILE", &o.dump, "write preprocessed pixels and logits as JSON, to compare with other programs"},
        VT_LOAD_OPTS(o.load),
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 2, VT_MANY, true};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (vt_load_options_check(&o.load, &err) != VT_OK ||
        vt_cli_integer("top", o.top_text, 1, 1000000, DEFAULT_TOP, &o.top, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
