/* NAME.pack.json: what was packed, how, and which shards are finished. Read back with suspicion: only shards whose size
 * and SHA-256 still hold are kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/pack.h"

#define FORMAT "vitro pack 1"

void vt_pack_manifest_init(vt_pack_manifest *m, const vt_pack_options *o, const vt_source *source)
{
    vt_text list = {0}, settings = {0};
    *m = (vt_pack_manifest){.dir = vt_xstrdup(o->dir), .name = vt_xstrdup(o->name)};
    m->path = vt_xasprintf("%s/%s.pack.json", o->dir, o->name);
    m->data = vt_xstrdup(vt_source_spec(source));
    vt_source_fingerprint(source, m->fingerprint);
    vt_preprocess_print(&o->preprocess, &list);
    vt_text_addf(&settings, "shard-images %lld, shard-bytes %lld, format %s", (long long)o->shard_images,
                 (long long)o->shard_bytes,
                 o->format == VT_FORMAT_JPEG  ? "jpeg"
                 : o->format == VT_FORMAT_PNG ? "png"
                                              : "keep");
    if (o->format == VT_FORMAT_JPEG)
        vt_text_addf(&settings, ", quality %d", o->quality);
    vt_text_addf(&settings, ", preprocess %s", list.s);
    if (o->shuffle)
        vt_text_addf(&settings, ", shuffle %u", o->seed);
    m->settings = settings.s;
    vt_text_release(&list);
}

void vt_pack_manifest_release(vt_pack_manifest *m)
{
    free(m->dir);
    free(m->name);
    free(m->path);
    free(m->data);
    free(m->settings);
    free(m->shards);
    free(m->bad);
    free(m->bad_at);
    *m = (vt_pack_manifest){0};
}

char *vt_pack_shard_path(const vt_pack_manifest *m, int64_t shard)
{
    return vt_xasprintf("%s/%s-%06lld.tar", m->dir, m->name, (long long)shard);
}

void vt_pack_add_shard(vt_pack_manifest *m, const vt_pack_shard *shard)
{
    m->shards = vt_xrealloc(m->shards, (size_t)(m->n_shards + 1) * sizeof *m->shards);
    m->shards[m->n_shards++] = *shard;
}

void vt_pack_add_bad(vt_pack_manifest *m, int64_t index, int64_t position)
{
    m->bad = vt_xrealloc(m->bad, (size_t)(m->n_bad + 1) * sizeof *m->bad);
    m->bad_at = vt_xrealloc(m->bad_at, (size_t)(m->n_bad + 1) * sizeof *m->bad_at);
    m->bad[m->n_bad] = index;
    m->bad_at[m->n_bad++] = position;
}

vt_status vt_pack_manifest_save(const vt_pack_manifest *m, vt_err *err)
{
    json_t *root = json_object(), *shards = json_array(), *bad = json_array();
    for (int64_t i = 0; i < m->n_shards; i++) {
        const vt_pack_shard *s = &m->shards[i];
        char *path = vt_pack_shard_path(m, i);
        json_t *o = json_object();
        (void)json_object_set_new(o, "file", vt_json_text(vt_path_base(path)));
        (void)json_object_set_new(o, "end", json_integer(s->end));
        (void)json_object_set_new(o, "images", json_integer(s->images));
        (void)json_object_set_new(o, "bytes", json_integer(s->bytes));
        (void)json_object_set_new(o, "sha256", json_string(s->hash));
        (void)json_array_append_new(shards, o);
        free(path);
    }
    for (int64_t i = 0; i < m->n_bad; i++) {
        json_t *o = json_object();
        (void)json_object_set_new(o, "index", json_integer(m->bad[i]));
        (void)json_object_set_new(o, "position", json_integer(m->bad_at[i]));
        (void)json_array_append_new(bad, o);
    }
    (void)json_object_set_new(root, "format", json_string(FORMAT));
    (void)json_object_set_new(root, "data", vt_json_text(m->data));
    (void)json_object_set_new(root, "fingerprint", json_string(m->fingerprint));
    (void)json_object_set_new(root, "settings", vt_json_text(m->settings));
    (void)json_object_set_new(root, "complete", json_boolean(m->complete));
    (void)json_object_set_new(root, "shards", shards);
    (void)json_object_set_new(root, "bad", bad);
    vt_status status = vt_json_save(m->path, root, err);
    json_decref(root);
    return status;
}

/* --- reading it back --- */

static vt_status check_same(const vt_pack_manifest *m, const json_t *root, vt_err *err)
{
    const char *format, *fingerprint, *settings;
    VT_TRY(vt_json_get_string(root, "format", m->path, &format, err));
    if (strcmp(format, FORMAT) != 0)
        return vt_fail(err, VT_EUNSUPPORTED, "%s: its format is '%.60s'; expected '%s'", m->path, format, FORMAT);
    VT_TRY(vt_json_get_string(root, "fingerprint", m->path, &fingerprint, err));
    VT_TRY(vt_json_get_string(root, "settings", m->path, &settings, err));
    if (strcmp(fingerprint, m->fingerprint) != 0)
        return vt_fail(err, VT_EINVAL,
                       "%s: other data were packed under this name, or these have changed; give another --name or "
                       "--out, or remove the %s-*.tar files and %s",
                       m->path, m->name, vt_path_base(m->path));
    if (strcmp(settings, m->settings) != 0)
        return vt_fail(err, VT_EINVAL,
                       "%s: these data were packed under this name in another way (%.200s; now %.200s); give another "
                       "--name or --out",
                       m->path, settings, m->settings);
    return VT_OK;
}

static vt_status read_shard(const vt_pack_manifest *m, const json_t *o, vt_pack_shard *s, vt_err *err)
{
    const char *hash;
    VT_TRY(vt_json_get_i64(o, "end", m->path, &s->end, err));
    VT_TRY(vt_json_get_i64(o, "images", m->path, &s->images, err));
    VT_TRY(vt_json_get_i64(o, "bytes", m->path, &s->bytes, err));
    VT_TRY(vt_json_get_string(o, "sha256", m->path, &hash, err));
    if (strlen(hash) != VT_HASH_HEX - 1 || s->end < 1 || s->images < 0 || s->bytes < 0)
        return vt_fail(err, VT_EFORMAT, "%s: a shard with impossible figures; remove this file to pack anew", m->path);
    memcpy(s->hash, hash, VT_HASH_HEX);
    return VT_OK;
}

static bool is_whole(const vt_pack_manifest *m, int64_t i, const vt_pack_shard *s)
{
    char hash[VT_HASH_HEX];
    struct stat st;
    char *path = vt_pack_shard_path(m, i);
    bool whole = stat(path, &st) == 0 && S_ISREG(st.st_mode) && (int64_t)st.st_size == s->bytes &&
                 vt_hash_file(path, hash, NULL) == VT_OK && strcmp(hash, s->hash) == 0;
    free(path);
    return whole;
}

static vt_status read_shards(vt_pack_manifest *m, const json_t *root, vt_term *term, vt_err *err)
{
    const json_t *shards = json_object_get(root, "shards"), *bad = json_object_get(root, "bad");
    const size_t n = json_array_size(shards);
    int64_t end = 0;
    bool whole = true;
    for (size_t i = 0; i < n && whole; i++) {
        vt_pack_shard s;
        VT_TRY(read_shard(m, json_array_get(shards, i), &s, err));
        whole = s.end > end && is_whole(m, (int64_t)i, &s);
        if (whole)
            vt_pack_add_shard(m, &s);
        else
            vt_term_note(term, "%s-%06zu.tar is not what was written: packed again from there", m->name, i);
        end = whole ? s.end : end;
    }
    for (size_t i = 0; i < json_array_size(bad); i++) {
        int64_t index, position;
        VT_TRY(vt_json_get_i64(json_array_get(bad, i), "index", m->path, &index, err));
        VT_TRY(vt_json_get_i64(json_array_get(bad, i), "position", m->path, &position, err));
        if (position < end)
            vt_pack_add_bad(m, index, position);
    }
    m->complete = whole && json_is_true(json_object_get(root, "complete"));
    return VT_OK;
}

/* What calls that were killed left half written, and shards that nobody vouches for. Names are malloc'ed. */
static vt_status look_around(const vt_pack_manifest *m, bool manifest, vt_err *err)
{
    char **names;
    size_t n;
    vt_status status = VT_OK;
    VT_TRY(vt_list_dir(m->dir, &names, &n, err));
    char *prefix = vt_xasprintf("%s-", m->name), *half_manifest = vt_xasprintf("%s.pack.json.tmp.", m->name);
    for (size_t i = 0; i < n && status == VT_OK; i++) {
        const bool ours = vt_has_prefix(names[i], prefix);
        if ((ours && strstr(names[i], ".tar.tmp.")) || vt_has_prefix(names[i], half_manifest)) {
            char *path = vt_path_join(m->dir, names[i]);
            (void)unlink(path);
            free(path);
        } else if (ours && vt_has_suffix(names[i], ".tar") && !manifest) {
            status = vt_fail(err, VT_EINVAL,
                             "%s/%s is there already, but no %s that tells what it holds; give another --name or --out",
                             m->dir, names[i], vt_path_base(m->path));
        }
    }
    free(prefix);
    free(half_manifest);
    vt_free_names(names, n);
    return status;
}

vt_status vt_pack_manifest_load(vt_pack_manifest *m, vt_term *term, vt_err *err)
{
    json_t *root = NULL;
    const bool there = vt_is_file(m->path);
    VT_TRY(look_around(m, there, err));
    if (!there)
        return VT_OK;
    VT_TRY(vt_json_load(m->path, &root, err));
    vt_status status = check_same(m, root, err);
    if (status == VT_OK)
        status = read_shards(m, root, term, err);
    json_decref(root);
    return status;
}
