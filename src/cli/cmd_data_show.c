/* vitro data show: a sheet of what the model sees, with the labels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/philox.h"
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "cli/sheet.h"
#include "cli/shipped.h"
#include "data/preprocess.h"
#include "data/source.h"
#include "train/recipe.h"

#define COUNT       24
#define MAX_DRAWN   400 /* images on a sheet */
#define SHEET_WIDTH 1600
#define MAX_SIDE    512 /* of an image on the sheet: larger ones are shrunk */
#define WHOLE_SIDE  224 /* of an image that no preprocessing makes smaller */
#define ZOOMED_SIDE 160 /* smaller ones are magnified up to this */
#define GAP         16
#define DRAW_GAP    4
#define MAX_SEED    4294967295

#define PAGE  0xf0f0f0 /* not white: many pictures are */
#define BLACK 0x202020
#define GREY  0x808080
#define RED   0xc02020
#define PALE  0xd0d0d0

static const char show_text[] =
    "Writes one PNG with randomly chosen images of DATA and their classes. With --recipe they are what the model sees\n"
    "in training: data.preprocess of the recipe, its random operations included (mixup is not shown), and its seed;\n"
    "DATA may then be left out: data.train. --eval takes data.eval and data.eval_preprocess. With --preprocess the "
    "list\n"
    "is given; with neither, images are shown whole. Small images are magnified, their pixels remain squares.\n\n"
    "Examples:\n"
    "  vitro data show 'synthetic:shapes?count=200' --out sheet.png\n"
    "  vitro data show 'synthetic:shapes?count=200' --preprocess '[inception_crop(32), flip]' --draws 4 --out "
    "draws.png\n"
    "  vitro data show --recipe shapes-demo --out seen.png";

typedef struct {
    const char *out, *recipe, *preprocess, *count, *columns, *seed, *draws;
    bool eval, json;
} words;

typedef struct {
    const char *out;
    char *spec; /* malloc'ed */
    vt_preprocess preprocess;
    int64_t count, columns, draws; /* columns 0: as many as fit */
    uint32_t seed;
    bool whole; /* no preprocessing was named */
} show;

/* One image of the sheet, or why it is bad. */
typedef struct {
    vt_image image;
    int64_t index;
    bool bad;
} drawn;

/* --- what to show --- */

static vt_status read_recipe(const words *w, show *s, vt_err *err)
{
    char *path = NULL;
    vt_recipe recipe;
    VT_TRY(vt_shipped_resolve(w->recipe, &path, err));
    vt_status status = vt_recipe_load(&recipe, path, NULL, 0, err);
    free(path);
    VT_TRY(status);
    const char *list = w->eval ? recipe.data.eval_preprocess : recipe.data.preprocess;
    const char *spec = w->eval ? recipe.data.eval : recipe.data.train;
    if (!w->seed)
        s->seed = (uint32_t)recipe.train.seed;
    if (!s->spec && !spec[0])
        status = vt_fail(err, VT_EINVAL, "%s names no data.%s; give DATA", w->recipe, w->eval ? "eval" : "train");
    else if (!s->spec)
        s->spec = vt_xstrdup(spec);
    if (status == VT_OK && vt_preprocess_parse(&s->preprocess, list, err) != VT_OK)
        status = vt_prefix(err, "%s: data.%s", w->recipe, w->eval ? "eval_preprocess" : "preprocess");
    s->preprocess.orient = recipe.data.orient == VT_ORIENT_EXIF;
    vt_recipe_release(&recipe);
    return status;
}

static vt_status read_words(const words *w, show *s, const vt_args *args, vt_err *err)
{
    int64_t seed;
    if (!w->out || !w->out[0])
        return vt_fail(err, VT_EINVAL, "--out is missing: the PNG file to write");
    if (args->n == 0 && !w->recipe)
        return vt_fail(err, VT_EINVAL, "name DATA, or a recipe by --recipe");
    if (w->recipe && w->preprocess)
        return vt_fail(err, VT_EINVAL, "--recipe and --preprocess each say what is done to images; give one");
    if (w->eval && !w->recipe)
        return vt_fail(err, VT_EINVAL, "--eval goes with --recipe");
    VT_TRY(vt_cli_integer("count", w->count, 1, MAX_DRAWN, COUNT, &s->count, err));
    VT_TRY(vt_cli_integer("columns", w->columns, 1, MAX_DRAWN, 0, &s->columns, err));
    VT_TRY(vt_cli_integer("draws", w->draws, 1, MAX_DRAWN, 1, &s->draws, err));
    VT_TRY(vt_cli_integer("seed", w->seed, 0, MAX_SEED, 0, &seed, err));
    if (s->count * s->draws > MAX_DRAWN)
        return vt_fail(err, VT_EINVAL, "--count %lld times --draws %lld is more than the %d images that a sheet holds",
                       (long long)s->count, (long long)s->draws, MAX_DRAWN);
    s->out = w->out;
    s->seed = (uint32_t)seed;
    s->whole = !w->recipe && !w->preprocess;
    s->spec = args->n > 0 ? vt_xstrdup(args->list[0]) : NULL;
    if (w->preprocess && vt_preprocess_parse(&s->preprocess, w->preprocess, err) != VT_OK)
        return vt_prefix(err, "--preprocess");
    return VT_OK;
}

/* --- images --- */

/* Image shrunk by area, aspect kept, until its longer side is about `most`. */
static vt_status shrink(vt_image *image, int64_t most, vt_image *spare, vt_err *err)
{
    const int64_t longer = image->width > image->height ? image->width : image->height;
    const int64_t shorter = image->width > image->height ? image->height : image->width;
    const int64_t side = shorter * most / longer;
    char text[64];
    vt_preprocess list;
    if (longer <= most)
        return VT_OK;
    (void)snprintf(text, sizeof text, "resize_small(%lld)", (long long)(side > 0 ? side : 1));
    VT_TRY(vt_preprocess_parse(&list, text, err));
    return vt_preprocess_run(&list, 0, 0, image, spare, err);
}

/* Draw k of a sample is what epoch k would make of it. */
static vt_status load(const show *s, const vt_source *source, int64_t index, int64_t k, vt_read_buffer *b,
                      vt_image *spare, vt_err *err)
{
    char name[512];
    const uint64_t position = (uint64_t)k * (uint64_t)vt_source_count(source) + (uint64_t)index;
    VT_TRY(vt_source_fetch(source, index, b, err));
    VT_TRY(vt_preprocess_load(&s->preprocess, s->seed, position, b, spare,
                              vt_source_sample_name(source, index, name, sizeof name), err));
    return shrink(&b->image, s->whole ? WHOLE_SIDE : MAX_SIDE, spare, err);
}

/* All images of the sheet, count * draws of them. Returns how many are bad. */
static int64_t load_all(const show *s, const vt_source *source, vt_term *term, drawn *all)
{
    vt_read_buffer b = {0};
    vt_image spare = {0};
    int64_t bad = 0;
    for (int64_t i = 0; i < s->count * s->draws; i++) {
        vt_err err = {0};
        drawn *d = &all[i];
        d->index = (int64_t)vt_permute(s->seed, 0, (uint64_t)vt_source_count(source), (uint64_t)(i / s->draws));
        d->bad = load(s, source, d->index, i % s->draws, &b, &spare, &err) != VT_OK ||
                 vt_image_resize_buffer(&d->image, b.image.width, b.image.height, &err) != VT_OK;
        if (!d->bad)
            memcpy(d->image.pixels, b.image.pixels, 3 * (size_t)b.image.width * (size_t)b.image.height);
        else if (i % s->draws == 0)
            vt_term_note(term, "bad: %s", err.msg);
        bad += d->bad;
    }
    vt_read_buffer_release(&b);
    vt_image_release(&spare);
    return bad;
}

/* --- the sheet --- */

typedef struct {
    int64_t zoom, width, height;   /* of one image's place */
    int64_t text_zoom, cell_width; /* a cell: the draws of one image side by side, and its words below */
    int64_t cell_height, columns, rows;
} layout;

static layout lay_out(const show *s, const drawn *all)
{
    layout l = {.zoom = 1, .width = 1, .height = 1};
    for (int64_t i = 0; i < s->count * s->draws; i++) {
        l.width = all[i].image.width > l.width ? all[i].image.width : l.width;
        l.height = all[i].image.height > l.height ? all[i].image.height : l.height;
    }
    const int64_t longer = l.width > l.height ? l.width : l.height;
    l.zoom = longer < ZOOMED_SIDE ? ZOOMED_SIDE / longer : 1;
    l.zoom = l.zoom > 16 ? 16 : l.zoom;
    l.width *= l.zoom;
    l.height *= l.zoom;
    l.cell_width = s->draws * l.width + (s->draws - 1) * DRAW_GAP;
    l.text_zoom = l.cell_width >= 120 ? 2 : 1;
    l.cell_height = l.height + (VT_FONT_HEIGHT + 4) * l.text_zoom + VT_FONT_HEIGHT + 4;
    l.columns = s->columns ? s->columns : (SHEET_WIDTH - GAP) / (l.cell_width + GAP);
    l.columns = l.columns < 1 ? 1 : l.columns > s->count ? s->count : l.columns;
    l.rows = (s->count + l.columns - 1) / l.columns;
    return l;
}

static void draw_cell(const show *s, const layout *l, const vt_source *source, const drawn *first, int64_t x, int64_t y,
                      vt_image *sheet)
{
    char name[512];
    vt_text classes = {0};
    for (int64_t k = 0; k < s->draws; k++) {
        const drawn *d = &first[k];
        const int64_t left = x + k * (l->width + DRAW_GAP);
        const int64_t width = d->image.width * l->zoom, height = d->image.height * l->zoom;
        if (d->bad) {
            vt_sheet_fill(sheet, left, y, l->width, l->height, PALE);
            vt_sheet_text(sheet, "bad image", left + 8, y + 8, l->width - 8, 1, false, RED);
        } else {
            vt_sheet_place(sheet, &d->image, left + (l->width - width) / 2, y + (l->height - height) / 2, l->zoom);
        }
    }
    vt_data_class_names(source, first->index, ", ", &classes);
    (void)vt_source_sample_name(source, first->index, name, sizeof name);
    const int64_t below = y + l->height + 4 * l->text_zoom;
    vt_sheet_text(sheet, classes.len ? classes.s : "(no class)", x, below, l->cell_width, l->text_zoom, false,
                  classes.len ? BLACK : GREY);
    vt_sheet_text(sheet, name, x, below + VT_FONT_HEIGHT * l->text_zoom + 4, l->cell_width, 1, true, GREY);
    vt_text_release(&classes);
}

static vt_status write_sheet(const show *s, const vt_source *source, const drawn *all, vt_err *err)
{
    const layout l = lay_out(s, all);
    vt_image sheet = {0};
    vt_status status = vt_image_resize_buffer(&sheet, GAP + l.columns * (l.cell_width + GAP),
                                              GAP + l.rows * (l.cell_height + GAP), err);
    if (status != VT_OK)
        return vt_prefix(err, "the sheet is too large; ask for fewer images");
    vt_sheet_fill(&sheet, 0, 0, sheet.width, sheet.height, PAGE);
    for (int64_t i = 0; i < s->count; i++) {
        const int64_t x = GAP + i % l.columns * (l.cell_width + GAP), y = GAP + i / l.columns * (l.cell_height + GAP);
        draw_cell(s, &l, source, &all[i * s->draws], x, y, &sheet);
    }
    status = vt_image_write_png(&sheet, s->out, err);
    vt_image_release(&sheet);
    return status;
}

static void report(const show *s, const vt_source *source, int64_t bad, bool json)
{
    vt_text list = {0};
    vt_preprocess_print(&s->preprocess, &list);
    if (json) {
        json_t *root = json_object();
        (void)json_object_set_new(root, "sheet", vt_cli_json_text(s->out));
        (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(source)));
        (void)json_object_set_new(root, "preprocess", vt_cli_json_text(list.s));
        (void)json_object_set_new(root, "images", json_integer(s->count));
        (void)json_object_set_new(root, "draws", json_integer(s->draws));
        (void)json_object_set_new(root, "bad", json_integer(bad));
        vt_cli_print_json(root);
    } else {
        printf("%s: %lld images of %s, %s\n", s->out, (long long)s->count, vt_source_spec(source),
               s->whole ? "whole" : list.s);
    }
    vt_text_release(&list);
}

static vt_status run(vt_cli *cli, const words *w, show *s, vt_err *err)
{
    vt_source *source = NULL;
    s->preprocess.orient = true;
    if (w->recipe)
        VT_TRY(read_recipe(w, s, err));
    VT_TRY(vt_source_open(&source, s->spec, err));
    if (s->count > vt_source_count(source))
        s->count = vt_source_count(source);
    const int64_t n = s->count * s->draws;
    drawn *all = vt_xcalloc((size_t)n, sizeof *all);
    const int64_t bad = load_all(s, source, cli->term, all);
    vt_status status = write_sheet(s, source, all, err);
    if (status == VT_OK)
        report(s, source, bad, w->json);
    for (int64_t i = 0; i < n; i++)
        vt_image_release(&all[i].image);
    free(all);
    vt_source_close(source);
    return status;
}

int vt_cmd_data_show(vt_cli *cli, int argc, char **argv)
{
    words w = {0};
    show s = {0};
    const vt_opt opts[] = {
        {"out", "FILE", &w.out, "the PNG to write"},
        {"recipe", "RECIPE", &w.recipe, "a recipe or run: its preprocessing, and its data where DATA is left out"},
        {"eval", NULL, &w.eval, "what the recipe does in evaluation instead of training"},
        {"preprocess", "LIST", &w.preprocess, "operations as in data.preprocess"},
        {"count", "N", &w.count, "images; default: 24"},
        {"draws", "K", &w.draws, "what K epochs make of each image, side by side; default: 1"},
        {"columns", "C", &w.columns, "images in a row; default: about 1600 pixels"},
        {"seed", "S", &w.seed, "which images and draws; default: 0, or the recipe's"},
        {"json", NULL, &w.json, "print what was shown as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), show_text, 0, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (read_words(&w, &s, &args, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(cli, &w, &s, &err), &err);
    free(s.spec);
    vt_args_release(&args);
    return status;
}
