/* A model of every published family, made by its own program, is opened as a person would: by its path and the keys
 * that its files leave open. */
#include "scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/npy.h"
#include "base/text.h"
#include "train/engine.h"
#include "train/foreign.h"
#include "train/safetensors.h"
#include "train/weights.h"

#define BOUND 2e-5 /* relative L2: float32 against float64 */

static char *folder; /* of published.json and the models beside it */
static json_t *golden;
static scene here;

static int set_up(void **state)
{
    (void)state;
    vt_err err = {0};
    char *path = vt_path_join(folder, "published.json");
    if (vt_json_load(path, &golden, &err) != VT_OK)
        fail_msg("%s", err.msg);
    free(path);
    scene_make(&here);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(golden);
    scene_remove(&here);
    return 0;
}

/* A foreign model in an engine. */
typedef struct {
    vt_engine engine;
    vt_recipe recipe;
    vt_pixel_range pixels;
} opened;

/* Images i and i + 1 of the source, cropped, into the model. */
static void read_pair(vt_model *m, const char *spec, int64_t i)
{
    vt_source *source = NULL;
    vt_preprocess p;
    vt_image spare = {0};
    vt_err err = {0};
    size_t bytes = (size_t)(m->config.image_height * m->config.image_width * 3);
    assert_int_equal(vt_preprocess_parse(&p, "[central_crop(224)]", &err), VT_OK);
    if (vt_source_open(&source, spec, &err) != VT_OK)
        fail_msg("%s", err.msg);
    for (int64_t k = 0; k < 2; k++) {
        vt_read_buffer b = {0};
        assert_int_equal(vt_source_fetch(source, i + k, &b, &err), VT_OK);
        assert_int_equal(vt_preprocess_load(&p, 0, 0, &b, &spare, "", &err), VT_OK);
        memcpy(m->images + (size_t)k * bytes, b.image.pixels, bytes);
        vt_read_buffer_release(&b);
    }
    vt_image_release(&spare);
    vt_source_close(source);
}

static vt_status open_model(opened *o, const char *path, const json_t *keys, vt_err *err)
{
    const char *list[16];
    int n = 0;
    vt_foreign *f = NULL;
    vt_engine_options eo = {.slices = 8, .threads = 1, .workers = 1};
    const vt_foreign_use use = {.any_classes = true};
    *o = (opened){0};
    for (size_t i = 0; i < json_array_size(keys); i++)
        list[n++] = json_string_value(json_array_get(keys, i));
    VT_TRY(vt_recipe_of_overrides(&o->recipe, list, n, err));
    vt_status status = vt_foreign_open(&f, path, err);
    if (status == VT_OK)
        status = vt_foreign_adopt(f, &o->recipe, err);
    o->recipe.model.head_bias = 0;
    if (status == VT_OK)
        status = vt_recipe_model(&o->recipe, vt_foreign_classes(f), &eo.model, err);
    if (status == VT_OK)
        status = vt_recipe_pixels(&o->recipe, &o->pixels, err);
    eo.use = (vt_model_use){.samples = 2, .label_width = 1};
    if (status == VT_OK)
        status = vt_isa_pick(NULL, &eo.isa, err);
    if (status == VT_OK)
        status = vt_engine_open(&o->engine, &eo, err);
    if (status == VT_OK)
        status = vt_foreign_load(f, &o->engine.model, &o->engine.device, &use, err);
    if (status == VT_OK)
        vt_device_enter(&o->engine.device); /* tests look at tensors themselves */
    vt_foreign_close(f);
    return status;
}

static void close_model(opened *o)
{
    if (o->engine.device.entered > 0)
        vt_device_leave(&o->engine.device);
    vt_engine_close(&o->engine);
    vt_recipe_release(&o->recipe);
}

/* Relative L2 distance of rows from golden ones. */
static double distance(const float *x, const json_t *rows, int64_t width)
{
    double difference = 0, norm = 0;
    for (size_t r = 0; r < json_array_size(rows); r++) {
        assert_int_equal(json_array_size(json_array_get(rows, r)), width);
        for (int64_t c = 0; c < width; c++) {
            double wanted = json_number_value(json_array_get(json_array_get(rows, r), (size_t)c));
            double d = (double)x[(int64_t)r * width + c] - wanted;
            difference += d * d;
            norm += wanted * wanted;
        }
    }
    return sqrt(difference / norm);
}

static void check_family(const json_t *family)
{
    const char *name = json_string_value(json_object_get(family, "name"));
    const json_t *images = json_object_get(family, "images"), *features = json_object_get(family, "features"),
                 *logits = json_object_get(family, "logits");
    char *path = vt_path_join(folder, json_string_value(json_object_get(family, "file")));
    opened o;
    vt_err err = {0};
    vt_status status = open_model(&o, path, json_object_get(family, "keys"), &err);
    if (status != VT_OK)
        fail_msg("%s: %s", name, err.msg);
    vt_model *m = &o.engine.model;
    for (size_t i = 0; i < json_array_size(images); i++)
        m->images[i] = (uint8_t)json_integer_value(json_array_get(images, i));
    vt_pass pass = {.backend = &o.engine.backend, .samples = 2, .pixels = o.pixels, .slices = 8};
    vt_model_forward(m, &pass);
    double df = json_is_array(features) ? distance(m->features, features, m->feature_width) : 0;
    double dl = json_is_array(logits) ? distance(m->logits, logits, m->config.classes) : 0;
    print_message("%-32s features %.1e, logits %.1e\n", name, df, dl);
    assert_true(df < BOUND && dl < BOUND);
    close_model(&o);
    free(path);
}

/* Breaks: a name, a layout, a fact or a part of some family's model. */
static void every_family(void **state)
{
    (void)state;
    const json_t *list = json_object_get(golden, "families");
    assert_int_equal(json_array_size(list), 17);
    for (size_t i = 0; i < json_array_size(list); i++)
        check_family(json_array_get(list, i));
}

static void class_logits(opened *o, float logits[5])
{
    vt_model *m = &o->engine.model;
    vt_pass pass = {.backend = &o->engine.backend, .samples = 1, .pixels = o->pixels, .slices = 8};
    memset(m->images, 77, (size_t)(m->config.image_height * m->config.image_width * 3));
    vt_model_forward(m, &pass);
    memcpy(logits, m->logits, 5 * sizeof *logits);
}

/* Breaks: a classifier whose classes are the data's by name is lost or mixed up, or one of other classes is kept. */
static void classifier(void **state)
{
    (void)state;
    char names[5][8] = {"eagle", "apple", "delta", "cloud", "beach"}, *list[5];
    const int of_file[5] = {4, 0, 3, 2, 1};
    float before[5], after[5];
    char *path = vt_path_join(folder, "transformers-vit");
    vt_foreign *f = NULL;
    opened o;
    vt_err err = {0};
    for (int i = 0; i < 5; i++)
        list[i] = names[i];
    const vt_foreign_use use = {.class_names = list}, unnamed = {.class_names = NULL};
    if (open_model(&o, path, NULL, &err) != VT_OK || vt_foreign_open(&f, path, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(vt_foreign_class_names(f)[4], "eagle");
    class_logits(&o, before);
    assert_int_equal(vt_foreign_load(f, &o.engine.model, &o.engine.device, &use, &err), VT_OK);
    class_logits(&o, after);
    for (int i = 0; i < 5; i++)
        assert_true(after[i] == before[of_file[i]]);
    for (int other = 0; other < 2; other++) { /* another name; numbers */
        vt_model_init_values(&o.engine.model, &o.engine.device, 0);
        (void)snprintf(names[2], sizeof names[2], "delte");
        assert_int_equal(vt_foreign_load(f, &o.engine.model, &o.engine.device, other ? &unnamed : &use, &err), VT_OK);
        class_logits(&o, after);
        for (int i = 0; i < 5; i++)
            assert_true(after[i] == 0);
    }
    vt_foreign_close(f);
    close_model(&o);
    free(path);
}

/* Breaks: classes that have no names on either side are taken to be the same because of their numbers. */
static void classes_without_names(void **state)
{
    (void)state;
    float before[5], after[5];
    char *path = vt_path_join(folder, "big-vision-map.npz");
    vt_foreign *f = NULL;
    opened o;
    vt_err err = {0};
    const vt_foreign_use unnamed = {.class_names = NULL}, any = {.any_classes = true};
    if (open_model(&o, path, NULL, &err) != VT_OK || vt_foreign_open(&f, path, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_null(vt_foreign_class_names(f));
    class_logits(&o, before);
    assert_true(before[0] != 0);
    vt_model_init_values(&o.engine.model, &o.engine.device, 0);
    assert_int_equal(vt_foreign_load(f, &o.engine.model, &o.engine.device, &unnamed, &err), VT_OK);
    class_logits(&o, after);
    for (int i = 0; i < 5; i++)
        assert_true(after[i] == 0);
    assert_int_equal(vt_foreign_load(f, &o.engine.model, &o.engine.device, &any, &err), VT_OK);
    class_logits(&o, after);
    assert_memory_equal(before, after, sizeof before);
    vt_foreign_close(f);
    close_model(&o);
    free(path);
}

static float *floats(const json_t *list)
{
    size_t n = json_array_size(list);
    float *x = vt_xcalloc(n + 1, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)json_number_value(json_array_get(list, i));
    return x;
}

static double largest_difference(const float *x, const json_t *wanted)
{
    double worst = 0;
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        double d = fabs((double)x[i] - json_number_value(json_array_get(wanted, i)));
        worst = d > worst ? d : worst;
    }
    return worst;
}

/* Breaks: positions or patches that are resized otherwise than timm does. */
static void timm_resizes(void **state)
{
    (void)state;
    const json_t *r = json_object_get(golden, "resampling"), *to = json_object_get(r, "to"),
                 *patches = json_object_get(r, "patches");
    float *positions = floats(json_object_get(r, "positions")), *patch = floats(json_object_get(r, "patch"));
    float out[9 * 9 * 6];
    vt_err err = {0};
    assert_int_equal(json_array_size(to), 4);
    for (size_t i = 0; i < json_array_size(to); i++) {
        const json_t *t = json_array_get(to, i), *values = json_object_get(t, "values");
        int64_t h = json_integer_value(json_object_get(t, "height")),
                w = json_integer_value(json_object_get(t, "width"));
        assert_int_equal(json_array_size(values), h * w * 3);
        vt_resample_positions(positions, 3, 4, VT_RESAMPLE_BICUBIC, out, h, w, 3);
        assert_true(largest_difference(out, values) < 2e-6);
    }
    assert_int_equal(json_array_size(patches), 5);
    for (size_t i = 0; i < json_array_size(patches); i++) {
        const json_t *t = json_array_get(patches, i);
        int64_t side = json_integer_value(json_object_get(t, "side"));
        assert_int_equal(vt_resample_patch(patch, 4, out, side, 6, &err), VT_OK);
        double worst = largest_difference(out, json_object_get(t, "values"));
        print_message("patch 4 -> %lld: %.1e\n", (long long)side, worst);
        assert_true(worst < 2e-5);
    }
    free(positions);
    free(patch);
}

/* Breaks: big_vision's resize of positions (spec 7.2 gives the first row). */
static void big_vision_resize(void **state)
{
    (void)state;
    const float grid[9] = {0, 1, 4, 2, 3, 5, 7, 8, 6}, first[5] = {0, 0.5F, 1, 2.5F, 4};
    float out[25], same[9];
    vt_resample_positions(grid, 3, 3, VT_RESAMPLE_BILINEAR, out, 5, 5, 1);
    assert_memory_equal(out, first, sizeof first);
    assert_true(out[20] == 7 && out[24] == 6 && out[12] == 3);
    vt_resample_positions(grid, 3, 3, VT_RESAMPLE_BILINEAR, same, 3, 3, 1);
    assert_memory_equal(same, grid, sizeof grid);
    vt_resample_positions(grid, 3, 3, VT_RESAMPLE_BILINEAR, out, 1, 5, 1);
    assert_memory_equal(out, first, sizeof first);
}

/* --- DeiT-Tiny: published weights, the images beside them, another program's outputs
 * ------------------------------------
 */

static const char *real(const char *name)
{
    static char path[1024];
    const char *root = getenv("VITRO_DATA");
    const char *const places[] = {"../shared/data", "../../shared/data", VITRO_SOURCE "/../shared/data"};
    for (size_t i = 0; i < (root ? 1 : VT_COUNT_OF(places)); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root ? root : places[i], name);
        if (vt_is_file(path))
            return path;
    }
    print_message("skipped: %s is not in VITRO_DATA nor in ../shared/data\n", name);
    return NULL;
}

/* The first rows of a .npy file of float32. */
static float *npy_rows(const char *path, int64_t rows, int64_t *width)
{
    unsigned char *data = NULL;
    size_t size = 0, offset = 0;
    vt_npy h;
    vt_err err = {0};
    assert_int_equal(vt_file_read(path, (size_t)1 << 30, &data, &size, &err), VT_OK);
    assert_int_equal(vt_npy_read_header(&h, data, size, path, &offset, &err), VT_OK);
    assert_true(h.rank == 2 && strcmp(h.descr, "<f4") == 0 && h.shape[0] >= rows);
    *width = h.shape[1];
    float *x = vt_xmalloc((size_t)(rows * *width) * sizeof *x);
    memcpy(x, data + offset, (size_t)(rows * *width) * sizeof *x);
    free(data);
    return x;
}

static double relative(const float *x, const float *wanted, int64_t n)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)wanted[i];
        difference += d * d;
        norm += (double)wanted[i] * (double)wanted[i];
    }
    return sqrt(difference / norm);
}

static json_t *keys_of(const char *const *keys)
{
    json_t *list = json_array();
    for (; *keys; keys++)
        json_array_append_new(list, json_string(*keys));
    return list;
}

static const char *const deit_keys[] = {"model.heads=3",
                                        "model.head=tok",
                                        "model.gelu=erf",
                                        "model.norm_eps=1e-6",
                                        "data.mean=[0.485,0.456,0.406]",
                                        "data.std=[0.229,0.224,0.225]",
                                        NULL};

/* Breaks: weights, normalisation, decoding or the model of a published backbone. */
static void deit_tiny(void **state)
{
    (void)state;
    enum { IMAGES = 4 };
    const char *found = real("imagenette224-val-00.tar.gz");
    if (!found)
        skip();
    char *spec = vt_xasprintf("wds:%s", found), *weights = vt_xstrdup(real("deit-tiny-patch16-224.f16.safetensors"));
    int64_t classes = 0, width = 0;
    float *logits = npy_rows(real("deit-tiny.ref-logits.npy"), IMAGES, &classes);
    float *features = npy_rows(real("deit-tiny.ref-features.npy"), IMAGES, &width);
    json_t *keys = keys_of(deit_keys);
    opened o;
    vt_err err = {0};
    if (open_model(&o, weights, keys, &err) != VT_OK)
        fail_msg("%s", err.msg);
    vt_model *m = &o.engine.model;
    assert_true(m->config.classes == classes && m->feature_width == width && m->use.samples == 2);
    for (int i = 0; i < IMAGES; i += 2) {
        vt_pass pass = {.backend = &o.engine.backend, .samples = 2, .pixels = o.pixels, .slices = 8};
        read_pair(m, spec, i);
        vt_model_forward(m, &pass);
        double dl = relative(m->logits, logits + i * classes, 2 * classes);
        double df = relative(m->features, features + i * width, 2 * width);
        print_message("images %d and %d: logits %.1e, features %.1e\n", i, i + 1, dl, df);
        assert_true(dl < 1e-4 && df < 1e-4);
    }
    json_decref(keys);
    close_model(&o);
    free(logits);
    free(features);
    free(spec);
    free(weights);
}

/* --- what may be wrong
 * ------------------------------------------------------------------------------------------------
 */

static void expect_refused(const char *path, const json_t *keys, vt_status status, const char *const *words)
{
    opened o;
    vt_err err = {0};
    vt_status got = open_model(&o, path, keys, &err);
    close_model(&o);
    if (got != status)
        fail_msg("%s: status %d, expected %d: %s", path, (int)got, (int)status, err.msg);
    for (; *words; words++)
        if (!strstr(err.msg, *words))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, *words);
}

/* Breaks: a person is not told which keys are missing, all at once. */
static void missing_keys(void **state)
{
    (void)state;
    char *path = vt_path_join(folder, "timm-token.safetensors");
    const char *const all[] = {"model.heads", "model.head ", "model.gelu", "model.norm_eps",
                               "data.mean",   "data.std",    NULL};
    expect_refused(path, NULL, VT_EINVAL, all);
    free(path);
    path = vt_path_join(folder, "absent.safetensors");
    const char *const absent[] = {"no such file", NULL};
    expect_refused(path, NULL, VT_EINVAL, absent);
    free(path);
    const char *const several[] = {"files of tensors", "name one", NULL};
    expect_refused(folder, NULL, VT_EINVAL, several);
}

static void write_bytes(const char *path, const unsigned char *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(size ? fwrite(data, 1, size, f) : 0, size);
    assert_int_equal(fclose(f), 0);
}

/* Opens a broken copy; whatever comes of it, it is a status and a sentence. */
static bool opens(const char *path, const json_t *keys)
{
    opened o;
    vt_err err = {0};
    vt_status status = open_model(&o, path, keys, &err);
    close_model(&o);
    assert_true(status == VT_OK || err.msg[0] != '\0');
    return status == VT_OK;
}

/* Breaks: a file that is cut or has a wrong byte is read beyond its end, or taken for whole. */
static void broken_files(void **state)
{
    (void)state;
    const char *const names[] = {"timm-map.safetensors", "big-vision-gap-stacked.npz", "big-vision-map.npz"};
    const char *const map_keys[] = {"model.heads=3", "model.gelu=erf", "model.norm_eps=1e-6", "data.value_min=0", NULL};
    json_t *keys = keys_of(map_keys);
    for (size_t k = 0; k < VT_COUNT_OF(names); k++) {
        char *path = vt_path_join(folder, names[k]);
        const char *copy = scene_path(&here, k ? "copy.npz" : "copy.safetensors");
        unsigned char *data = NULL;
        size_t size = 0;
        vt_err err = {0};
        int taken = 0;
        assert_int_equal(vt_file_read(path, (size_t)1 << 20, &data, &size, &err), VT_OK);
        write_bytes(copy, data, size);
        assert_true(opens(copy, keys));
        for (size_t cut = 0; cut < size; cut += cut < 64 ? 7 : size / 20) {
            write_bytes(copy, data, cut);
            assert_false(opens(copy, keys));
        }
        for (size_t i = 0; i < 150; i++) {
            size_t at = i < 75 ? i * 37 % (size < 6000 ? size : 6000) : (i * 7919) % size;
            if (k > 0 && i % 3 == 0)
                at = size - 1 - i * 29 % 4000; /* the archive's directory */
            unsigned char was = data[at];
            data[at] ^= (unsigned char)(1U << i % 8);
            write_bytes(copy, data, size);
            taken += opens(copy, keys);
            data[at] = was;
        }
        print_message("%s: %d of 150 wrong bits make another model\n", names[k], taken);
        free(data);
        free(path);
    }
    json_decref(keys);
}

/* One tensor of a file to be written. */
static vt_stored_tensor tensor(const char *name, float *data, int n_dims, int64_t a, int64_t b, int64_t c, int64_t d)
{
    vt_stored_tensor t = {.n_dims = n_dims, .dims = {a, b, c, d}, .count = a * b * c * d, .data = data};
    (void)snprintf(t.name, sizeof t.name, "%s", name);
    return t;
}

/* Breaks: a file whose tensors are not those of one model is taken for one, or the message does not name the tensor. */
static void wrong_tensors(void **state)
{
    (void)state;
    enum { BLOCK = 12, ALL = 3 + BLOCK + 2 };
    static float data[4096];
    const char *const suffixes[] = {"norm1.weight",     "norm1.bias",     "attn.qkv.weight", "attn.qkv.bias",
                                    "attn.proj.weight", "attn.proj.bias", "norm2.weight",    "norm2.bias",
                                    "mlp.fc1.weight",   "mlp.fc1.bias",   "mlp.fc2.weight",  "mlp.fc2.bias"};
    const int64_t sides[BLOCK][2] = {{8, 1}, {8, 1}, {24, 8}, {24, 1}, {8, 8},  {8, 1},
                                     {8, 1}, {8, 1}, {16, 8}, {16, 1}, {8, 16}, {8, 1}};
    const char *const given[] = {"model.heads=2", "model.gelu=erf", "model.norm_eps=1e-6", "data.value_min=0", NULL};
    const char *path = scene_path(&here, "wrong.safetensors");
    json_t *keys = keys_of(given);
    vt_stored_tensor list[ALL + 1];
    int n = 0;
    list[n++] = tensor("patch_embed.proj.weight", data, 4, 8, 3, 2, 2);
    list[n++] = tensor("patch_embed.proj.bias", data, 1, 8, 1, 1, 1);
    list[n++] = tensor("pos_embed", data, 3, 1, 4, 8, 1);
    for (int i = 0; i < BLOCK; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blocks.0.%s", suffixes[i]);
        list[n++] = tensor(name, data, sides[i][1] == 1 ? 1 : 2, sides[i][0], sides[i][1], 1, 1);
    }
    list[n++] = tensor("norm.weight", data, 1, 8, 1, 1, 1);
    list[n++] = tensor("norm.bias", data, 1, 8, 1, 1, 1);

    static const struct {
        int drop;          /* index of a tensor that is missing, or -1 */
        const char *extra; /* one too many, or NULL */
        int64_t side;      /* of pos_embed's rows */
        float value;       /* of a number */
        const char *words[3];
    } cases[] = {
        {-1, NULL, 4, 0, {NULL}},
        {6, NULL, 4, 0, {"blocks.0.attn.qkv.bias", NULL}}, /* is a bias of all blocks: 0 */
        {7, NULL, 4, 0, {"no tensor for timm's blocks.0.attn.proj.weight", NULL}},
        {0, NULL, 4, 0, {"no patch embedding", "timm", NULL}},
        {-1, "blocks.0.attn.rel_pos", 4, 0, {"blocks.0.attn.rel_pos has no place", NULL}},
        {-1, "blocks.2.norm1.weight", 4, 0, {"blocks.2.norm1.weight", "has no place", NULL}},
        {-1, "dist_token", 4, 0, {"dist_token", "distilled", NULL}},
        {-1, NULL, 5, 0, {"5 positions", "model.image", NULL}},
        {-1, NULL, 4, (float)NAN, {"is not finite", NULL}},
    };
    for (size_t k = 0; k < VT_COUNT_OF(cases); k++) {
        char hex[VT_HASH_HEX];
        int64_t bytes = 0;
        vt_err err = {0};
        vt_stored_tensor some[ALL + 1];
        int m = 0;
        for (int i = 0; i < n; i++)
            if (i != cases[k].drop)
                some[m++] = list[i];
        if (cases[k].extra)
            some[m++] = tensor(cases[k].extra, data, 1, 8, 1, 1, 1);
        for (int i = 0; i < m; i++)
            if (strcmp(some[i].name, "pos_embed") == 0)
                some[i] = tensor("pos_embed", data, 3, 1, cases[k].side, 8, 1);
        data[3] = cases[k].value;
        assert_int_equal(vt_safetensors_save(path, NULL, some, m, hex, &bytes, &err), VT_OK);
        opened o;
        vt_status status = open_model(&o, path, keys, &err);
        close_model(&o);
        bool fine = k < 2;
        if ((status == VT_OK) != fine)
            fail_msg("case %zu: %s", k, status ? err.msg : "was taken");
        for (int w = 0; !fine && cases[k].words[w]; w++)
            if (!strstr(err.msg, cases[k].words[w]))
                fail_msg("case %zu: \"%s\" does not say \"%s\"", k, err.msg, cases[k].words[w]);
    }
    json_decref(keys);
}

/* --- configuration files --------------------------------------------------------------------------------------------
 */

static void write_text(const char *dir, const char *name, const char *text)
{
    char *path = vt_path_join(dir, name);
    assert_int_equal(vt_file_write(path, text, strlen(text), NULL), VT_OK);
    free(path);
}

/* A folder with a published model's weights under `name`, which the test writes other files beside. */
static const char *copy_weights(const char *to, const char *name)
{
    unsigned char *data = NULL;
    size_t size = 0;
    const char *dir = scene_path(&here, to);
    char *from = vt_path_join(folder, "transformers-dinov2/model.safetensors"), *path = vt_path_join(dir, name);
    assert_int_equal(vt_make_dirs(dir, NULL), VT_OK);
    assert_int_equal(vt_file_read(from, (size_t)1 << 20, &data, &size, NULL), VT_OK);
    write_bytes(path, data, size);
    free(data);
    free(from);
    free(path);
    return dir;
}

static int warnings;

static void count_warnings(void *context, vt_log_level level, const char *line)
{
    (void)context, (void)line;
    warnings += level == VT_LOG_WARN;
}

/* Breaks: an image is brought to the model's side in another way than the program that made the model does it. */
static void preprocessing(void **state)
{
    (void)state;
    static const struct {
        const char *family, *preprocessor; /* family NULL: timm, whose pretrained_cfg it is */
        const char *list;                  /* data.eval_preprocess */
        int warnings;
    } cases[] = {
        {"vit", "{}", "[resize(16, bilinear)]", 0},
        {"dinov2", "{}", "[resize(16, bicubic)]", 0},
        {"vit", "{'size':16,'resample':2}", "[resize(16, bilinear)]", 0},
        {"clip_vision_model", "{'size':20,'crop_size':16,'do_center_crop':true}",
         "[resize_small(20, bicubic), center_crop(16)]", 0},
        {"vit", "{'size':16,'crop_size':12,'do_center_crop':false}", "[resize(16, bilinear)]", 0},
        {"vit",
         "{'feature_extractor_type':'DeiTFeatureExtractor','size':18,'crop_size':16,'do_center_crop':true,'resample':"
         "3}",
         "[resize(18, bicubic), center_crop(16)]", 0},
        {"dinov2", "{'size':{'shortest_edge':32},'crop_size':{'height':28,'width':28},'resample':4}",
         "[resize_small(18, box), center_crop(16)]", 0},
        {"dinov2", "{'size':{'shortest_edge':32},'crop_size':{'height':28,'width':28},'do_center_crop':false}",
         "[resize_small(16, bicubic), center_crop(16)]", 0},
        {"vit", "{'size':{'height':16,'width':16},'resample':1}", "[resize(16, bicubic)]", 1},
        {"vit", "{'resample':99}", "[resize(16, bicubic)]", 1},
        {NULL, "{'crop_pct':0.8,'interpolation':'bilinear'}", "[resize_small(20, bilinear), center_crop(16)]", 0},
        {NULL, "{'crop_pct':1.0,'crop_mode':'squash'}", "[resize(16, bicubic)]", 0},
        {NULL, "{'crop_pct':0.8,'crop_mode':'squash'}", "[resize(20, bicubic), center_crop(16)]", 0},
        {NULL, "{'crop_pct':0.8,'crop_mode':'border'}", "[resize_small(20, bicubic), center_crop(16)]", 1},
    };
    const char *const keys[] = {"data.value_min=0", "model.heads=3"};
    vt_log_set(count_warnings, NULL, VT_LOG_WARN);
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_foreign *f = NULL;
        vt_recipe r;
        vt_err err = {0};
        char config[400], other[300];
        const char *dir = copy_weights(cases[i].family ? "transformers" : "timm", "model.safetensors");
        (void)snprintf(other, sizeof other, "%s", cases[i].preprocessor);
        for (char *c = other; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        if (cases[i].family)
            (void)snprintf(config, sizeof config, "{\"model_type\": \"%s\", \"image_size\": 16}", cases[i].family);
        else
            (void)snprintf(config, sizeof config,
                           "{\"architecture\": \"vit_tiny_patch4_16\", \"global_pool\": \"token\", "
                           "\"pretrained_cfg\": %s}",
                           other);
        write_text(dir, "config.json", config);
        if (cases[i].family)
            write_text(dir, "preprocessor_config.json", other);
        warnings = 0;
        if (vt_recipe_of_overrides(&r, keys, 2, &err) != VT_OK || vt_foreign_open(&f, dir, &err) != VT_OK ||
            vt_foreign_adopt(f, &r, &err) != VT_OK)
            fail_msg("case %zu: %s", i, err.msg);
        if (strcmp(r.data.eval_preprocess, cases[i].list) != 0 || warnings != cases[i].warnings)
            fail_msg("case %zu: %s, %d warnings", i, r.data.eval_preprocess, warnings);
        vt_recipe_release(&r);
        vt_foreign_close(f);
    }
    vt_log_set(NULL, NULL, VT_LOG_ERROR);
}

/* Breaks: transformers' DINOv2 classifier, which takes the patches' mean too, is taken for one of the features, or
 * keeps the model from being used. */
static void wide_classifier(void **state)
{
    (void)state;
    static float data[5 * 48];
    const char *dir = copy_weights("wide", "body.safetensors");
    char *body = vt_path_join(dir, "body.safetensors"), *more = vt_path_join(dir, "more.safetensors"),
         *index = vt_path_join(dir, "model.safetensors.index.json"), hex[VT_HASH_HEX];
    const vt_stored_tensor head[] = {tensor("classifier.weight", data, 2, 5, 48, 1, 1),
                                     tensor("classifier.bias", data, 1, 5, 1, 1, 1)};
    json_t *root = json_object(), *map = json_object();
    vt_weights w = {0};
    vt_foreign *f = NULL;
    opened o;
    vt_err err = {0};
    int64_t bytes = 0;
    assert_int_equal(vt_safetensors_save(more, NULL, head, 2, hex, &bytes, &err), VT_OK);
    assert_int_equal(vt_weights_open(&w, body, &err), VT_OK);
    for (int i = 0; i < w.n; i++)
        (void)json_object_set_new(map, w.list[i].name, json_string("body.safetensors"));
    for (int i = 0; i < 2; i++)
        (void)json_object_set_new(map, head[i].name, json_string("more.safetensors"));
    vt_weights_close(&w);
    (void)json_object_set_new(root, "weight_map", map);
    assert_int_equal(vt_json_save(index, root, &err), VT_OK);
    write_text(dir, "config.json",
               "{\"model_type\": \"dinov2\", \"image_size\": 16, \"num_attention_heads\": 3, "
               "\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\", \"3\": \"d\", \"4\": \"e\"}}");
    json_t *keys = json_pack("[s]", "data.value_min=0");
    if (vt_foreign_open(&f, dir, &err) != VT_OK || open_model(&o, dir, keys, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(vt_foreign_classes(f), 0);
    assert_int_equal(o.engine.model.config.classes, 0);
    json_decref(keys);
    json_decref(root);
    vt_foreign_close(f);
    close_model(&o);
    free(body);
    free(more);
    free(index);
}

/* Breaks: a file that became another one since the model was adopted is read beyond what it holds. */
static void another_file(void **state)
{
    (void)state;
    static float data[24 * 3 * 8];
    const int64_t sides[][3] = {{3, 4, 2}, {3, 2, 4}, {1, 4, 4}};
    char *model = vt_path_join(folder, "transformers-vit");
    const char *path = scene_path(&here, "another.safetensors");
    const vt_foreign_use use = {.any_classes = true};
    opened o;
    vt_err err = {0};
    if (open_model(&o, model, NULL, &err) != VT_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < VT_COUNT_OF(sides); i++) {
        char hex[VT_HASH_HEX];
        int64_t bytes = 0;
        vt_foreign *f = NULL;
        const vt_stored_tensor list[] = {
            tensor("patch_embed.proj.weight", data, 4, 24, sides[i][0], sides[i][1], sides[i][2]),
            tensor("head.weight", data, 2, 5, 24, 1, 1)};
        assert_int_equal(vt_safetensors_save(path, NULL, list, 2, hex, &bytes, &err), VT_OK);
        if (vt_foreign_open(&f, path, &err) != VT_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(vt_foreign_load(f, &o.engine.model, &o.engine.device, &use, &err), VT_EUNSUPPORTED);
        assert_non_null(strstr(err.msg, "its patch embedding is 24 x "));
        vt_foreign_close(f);
    }
    close_model(&o);
    free(model);
}

/* Breaks: a run of vitro's that is opened with a key forgets that its images are taken as they are stored. */
static void own_orientation(void **state)
{
    (void)state;
    const char *const keys[] = {"model.image=16"};
    vt_recipe r = scene_recipe(&here, "data.orient=none", "schedule.length=2", "schedule.warmup=0",
                               "schedule.cooldown=0", "data.eval=", NULL);
    vt_train_result result;
    vt_foreign *f = NULL;
    vt_err err = {0};
    if (scene_train(&here, &r, "lying", NULL, &result, &err) != VT_OK)
        fail_msg("%s", err.msg);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    if (vt_recipe_of_overrides(&r, keys, 1, &err) != VT_OK ||
        vt_foreign_open(&f, scene_path(&here, "lying"), &err) != VT_OK || vt_foreign_adopt(f, &r, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(r.data.orient, VT_ORIENT_NONE);
    vt_recipe_release(&r);
    vt_foreign_close(f);
}

int main(int argc, char **argv)
{
    assert_int_equal(argc, 2); /* tests/golden/published */
    folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family),      cmocka_unit_test(classifier),      cmocka_unit_test(timm_resizes),
        cmocka_unit_test(big_vision_resize), cmocka_unit_test(deit_tiny),       cmocka_unit_test(missing_keys),
        cmocka_unit_test(broken_files),      cmocka_unit_test(wrong_tensors),   cmocka_unit_test(classes_without_names),
        cmocka_unit_test(preprocessing),     cmocka_unit_test(wide_classifier), cmocka_unit_test(another_file),
        cmocka_unit_test(own_orientation)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
