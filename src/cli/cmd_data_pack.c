/* vitro data pack: any source as WebDataset shards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/pack.h"

#define SHARD_IMAGES 10000
#define SHARD_BYTES  1000000000
#define QUALITY      95
#define MAX_SEED     4294967295

static const char pack_text[] =
    "Writes DIR/NAME-000000.tar and on: KEY.jpg (.png, .webp) beside KEY.cls, which `wds:` and WebDataset read, and\n"
    "DIR/NAME.classes.txt. KEY is the image's name in DATA. Files stay as they are unless --preprocess or --format "
    "asks\n"
    "for pixels; these are written as PNG, or as JPEG (4:4:4), the way they are held. Every image is decoded: a bad "
    "one\n"
    "is named, and more than --max-bad end the work. Images with no class or several get theirs in "
    "DIR/NAME.labels.txt.\n"
    "The bytes do not depend on the number of processors or the time. Run it again to go on where it stopped:\n"
    "DIR/NAME.pack.json knows the finished shards by their SHA-256.\n\n"
    "Examples:\n"
    "  vitro data pack 'synthetic:shapes?count=200' --out shards --name shapes\n"
    "  vitro data pack 'synthetic:shapes?count=200&classes=4' --out small --name train --preprocess 'resize_small(24)' "
    "--format jpeg --quality 90 --shard-images 64 --shuffle 1";

typedef struct {
    const char *out, *name, *images, *bytes, *format, *quality, *preprocess, *max_bad, *shuffle;
    bool json;
} words;

static vt_status read_format(const words *w, vt_pack_options *o, vt_err *err)
{
    int64_t quality;
    const char *format = w->format ? w->format : o->preprocess.n_ops > 0 ? "png" : "keep";
    if (strcmp(format, "jpeg") == 0)
        o->format = VT_FORMAT_JPEG;
    else if (strcmp(format, "png") == 0)
        o->format = VT_FORMAT_PNG;
    else if (strcmp(format, "keep") != 0)
        return vt_fail(err, VT_EINVAL, "--format is '%.40s'; it must be keep, png or jpeg", format);
    if (o->format == VT_FORMAT_UNKNOWN && o->preprocess.n_ops > 0)
        return vt_fail(err, VT_EINVAL, "--format keep leaves files as they are, but --preprocess changes their pixels");
    if (w->quality && o->format != VT_FORMAT_JPEG)
        return vt_fail(err, VT_EINVAL, "--quality goes with --format jpeg");
    VT_TRY(vt_cli_integer("quality", w->quality, 1, 100, QUALITY, &quality, err));
    o->quality = (int)quality;
    return VT_OK;
}

static vt_status read_words(const words *w, vt_pack_options *o, vt_err *err)
{
    int64_t seed;
    if (!w->out || !w->out[0])
        return vt_fail(err, VT_EINVAL, "--out is missing: the folder to write to");
    if (!w->name || !w->name[0] || w->name[0] == '.' || strchr(w->name, '/'))
        return vt_fail(err, VT_EINVAL, "--name %s: what the shards' names begin with, as in train",
                       w->name ? "begins with '.', holds '/' or is empty" : "is missing");
    o->dir = w->out;
    o->name = w->name;
    VT_TRY(vt_cli_integer("shard-images", w->images, 1, INT64_MAX, SHARD_IMAGES, &o->shard_images, err));
    VT_TRY(vt_cli_integer("shard-bytes", w->bytes, 1, INT64_MAX, SHARD_BYTES, &o->shard_bytes, err));
    VT_TRY(vt_cli_integer("max-bad", w->max_bad, 0, INT64_MAX, 0, &o->max_bad, err));
    VT_TRY(vt_cli_integer("shuffle", w->shuffle, 0, MAX_SEED, 0, &seed, err));
    o->shuffle = w->shuffle != NULL;
    o->seed = (uint32_t)seed;
    if (w->preprocess && vt_preprocess_parse(&o->preprocess, w->preprocess, err) != VT_OK)
        return vt_prefix(err, "--preprocess");
    o->preprocess.orient = true; /* what is written has no EXIF */
    if (vt_preprocess_is_random(&o->preprocess))
        return vt_fail(err, VT_EINVAL, "--preprocess is random, but packed pixels are drawn once for all epochs");
    return read_format(w, o, err);
}

static void print_result(const vt_pack_result *r)
{
    char a[32], b[32], c[32], d[32];
    printf("%s images in %s shards, %s", vt_cli_number(a, r->images), vt_cli_number(b, r->shards),
           vt_format_bytes(c, (double)r->bytes));
    if (r->kept)
        printf("; %s of them were there already", vt_cli_number(d, r->kept));
    if (r->bad)
        printf("; %s bad images left out", vt_cli_number(d, r->bad));
    printf("\nread them as '%s'\n", r->read_as);
}

static void print_json(const vt_pack_result *r)
{
    json_t *root = json_object();
    (void)json_object_set_new(root, "images", json_integer(r->images));
    (void)json_object_set_new(root, "shards", json_integer(r->shards));
    (void)json_object_set_new(root, "shards_kept", json_integer(r->kept));
    (void)json_object_set_new(root, "bytes", json_integer(r->bytes));
    (void)json_object_set_new(root, "bad", json_integer(r->bad));
    (void)json_object_set_new(root, "data", vt_cli_json_text(r->read_as));
    vt_cli_print_json(root);
}

static vt_status pack(vt_cli *cli, const vt_pack_options *o, const char *spec, bool json, vt_err *err)
{
    vt_source *source = NULL;
    vt_pack_result r = {0};
    VT_TRY(vt_source_open(&source, spec, err));
    vt_status status = VT_OK;
    if (vt_source_is_endless(source))
        status = vt_fail(err, VT_EINVAL, "data '%.300s' have no end; say how many by count=N", spec);
    if (status == VT_OK)
        status = vt_pack_run(o, source, cli->term, &r, err);
    if (status == VT_OK && json)
        print_json(&r);
    else if (status == VT_OK)
        print_result(&r);
    free(r.read_as);
    vt_source_close(source);
    return status;
}

int vt_cmd_data_pack(vt_cli *cli, int argc, char **argv)
{
    words w = {0};
    vt_pack_options o = {0};
    const vt_opt opts[] = {
        {"out", "DIR", &w.out, "the folder to write to; made if absent"},
        {"name", "NAME", &w.name, "what the files' names begin with"},
        {"shard-images", "N", &w.images, "images in a shard at most; default: 10,000"},
        {"shard-bytes", "N", &w.bytes, "bytes of a shard at most, 500M and 2G understood; default: 1G"},
        {"preprocess", "LIST", &w.preprocess, "operations as in data.preprocess, not random: resize_small(256)"},
        {"format", "FORMAT", &w.format,
         "keep (the files as they are), png or jpeg; default: keep, png with --preprocess"},
        {"quality", "Q", &w.quality, "of JPEG, 1 to 100; default: 95"},
        {"shuffle", "SEED", &w.shuffle, "write in a random order, for programs that read shards one after the other"},
        {"max-bad", "N", &w.max_bad, "bad images to leave out before giving up; default: 0"},
        {"json", NULL, &w.json, "print the result as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), pack_text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (read_words(&w, &o, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, pack(cli, &o, args.list[0], w.json, &err), &err);
    vt_args_release(&args);
    return status;
}
