/* A source written as WebDataset shards, NAME-000000.tar and on: KEY.jpg, .png or .webp beside KEY.cls. Behind
 * `vitro data pack`.
 *
 * Samples are read, checked and encoded by all processors, and written in order by one, so the number of processors
 * changes no byte. A manifest, NAME.pack.json, lists the finished shards with their SHA-256; it is written anew after
 * each. Packing the same again goes on behind the finished shards that are still whole. */
#ifndef VT_CLI_PACK_H
#define VT_CLI_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "cli/term.h"
#include "data/preprocess.h"
#include "data/source.h"

typedef struct {
    const char *dir, *name;
    int64_t shard_images, shard_bytes; /* at most; a shard has at least one image */
    int64_t max_bad;
    vt_image_format format; /* VT_FORMAT_UNKNOWN: the files as they are; pixels that have none, PNG */
    int quality;            /* of JPEG */
    vt_preprocess preprocess;
    bool shuffle; /* in the order of epoch 0 of a training with seed; else in the source's */
    uint32_t seed;
} vt_pack_options;

typedef struct {
    int64_t shards, kept; /* kept: finished before this call */
    int64_t images, bytes, bad;
    bool labels;   /* classes are in NAME.labels.txt: some image has none or several */
    char *read_as; /* the SPEC of what was written; malloc'ed */
} vt_pack_result;

vt_status vt_pack_run(const vt_pack_options *o, const vt_source *source, vt_term *term, vt_pack_result *result,
                      vt_err *err) VT_MUST_USE;

/* --- pack_manifest.c: what is finished */

typedef struct {
    int64_t end; /* position behind its last sample, bad ones included */
    int64_t images, bytes;
    char hash[VT_HASH_HEX];
} vt_pack_shard;

typedef struct {
    char *dir, *name, *path;
    char *data, *settings; /* what was packed and how; another pack has another */
    char fingerprint[VT_HASH_HEX];
    vt_pack_shard *shards;
    int64_t n_shards;
    int64_t *bad;    /* indices in the source of the samples left out, in order of position */
    int64_t *bad_at; /* their positions */
    int64_t n_bad;
    bool complete;
} vt_pack_manifest;

/* Of this pack, empty; release frees it. */
void vt_pack_manifest_init(vt_pack_manifest *m, const vt_pack_options *o, const vt_source *source);
void vt_pack_manifest_release(vt_pack_manifest *m);
char *vt_pack_shard_path(const vt_pack_manifest *m, int64_t shard); /* malloc'ed */

/* Reads what an earlier call left, and keeps the shards at the beginning that are whole. Refuses another pack's, and
 * shards without a manifest. */
vt_status vt_pack_manifest_load(vt_pack_manifest *m, vt_term *term, vt_err *err) VT_MUST_USE;
vt_status vt_pack_manifest_save(const vt_pack_manifest *m, vt_err *err) VT_MUST_USE;

void vt_pack_add_shard(vt_pack_manifest *m, const vt_pack_shard *shard);
void vt_pack_add_bad(vt_pack_manifest *m, int64_t index, int64_t position);

#endif
