/* See cache_file.h. */
#include "data/cache_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define PAGE  4096
#define MAGIC "vitro pixels 1\n"

typedef struct {
    char magic[16];
    char key[VT_HASH_HEX];
    uint64_t count, cell, size, index_sum;
    uint64_t sum; /* of all before it */
} header;

/* The first bytes of a cell. */
typedef struct {
    uint64_t sum; /* never 0 in a filled cell */
    uint32_t height, width;
} head;

/* 64 bits that change with every byte: four lanes, each word multiplied and folded. Guards against damage, not against
 * malice. */
static uint64_t sum_of(const void *data, size_t n, uint64_t seed)
{
    const uint64_t k = 0x9e3779b97f4a7c15U;
    const unsigned char *p = data;
    uint64_t lane[4] = {seed ^ n, seed + k, seed + 2 * k, seed + 3 * k}, w;
    for (; n >= 32; n -= 32, p += 32) {
        for (int j = 0; j < 4; j++) {
            memcpy(&w, p + 8 * j, 8);
            lane[j] = (lane[j] ^ w) * k;
            lane[j] ^= lane[j] >> 29;
        }
    }
    for (size_t i = 0; i < n; i++)
        lane[i % 4] = (lane[i % 4] ^ p[i]) * k + (lane[i % 4] >> 31);
    uint64_t sum = 0;
    for (int j = 0; j < 4; j++)
        sum = ((sum ^ lane[j]) * k) ^ (sum >> 32);
    return sum ? sum : 1;
}

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
    return (bytes + to - 1) / to * to;
}

uint64_t vt_cells_at(const vt_cells *c, int64_t i)
{
    return c->offsets ? c->offsets[i] : (uint64_t)i * c->cell;
}

uint64_t vt_cells_room(const vt_cells *c, int64_t i)
{
    uint64_t bytes = vt_cells_at(c, i + 1) - vt_cells_at(c, i);
    return bytes > VT_CELL_HEAD ? (bytes - VT_CELL_HEAD) / 3 : 0;
}

uint64_t vt_cells_total(const vt_cells *c)
{
    return vt_cells_at(c, c->count);
}

static uint64_t index_bytes(const vt_cells *c)
{
    return c->offsets ? ((uint64_t)c->count + 1) * sizeof *c->offsets : 0;
}

static uint64_t data_at(const vt_cells *c)
{
    return round_up(PAGE + index_bytes(c), PAGE);
}

uint64_t vt_cache_file_size(const vt_cells *cells)
{
    return data_at(cells) + vt_cells_total(cells);
}

static vt_status path_of(const char key[VT_HASH_HEX], char **path, vt_err *err)
{
    char *cache = NULL;
    VT_TRY(vt_cache_dir(&cache, err));
    char *folder = vt_path_join(cache, "pixels");
    vt_status status = vt_make_dirs(folder, err);
    if (status == VT_OK)
        *path = vt_xasprintf("%s/%.32s.pixels", folder, key);
    free(folder);
    free(cache);
    return status;
}

/* --- an existing file --- */

static bool read_index(int fd, const char *path, const header *h, vt_cells *cells)
{
    size_t bytes = ((size_t)h->count + 1) * sizeof *cells->offsets;
    if (h->cell != 0)
        return true;
    cells->offsets = vt_xmalloc(bytes);
    bool good = vt_file_read_at(fd, path, PAGE, cells->offsets, bytes, NULL) == VT_OK &&
                sum_of(cells->offsets, bytes, 1) == h->index_sum && cells->offsets[0] == 0;
    for (uint64_t i = 0; good && i < h->count; i++)
        good = cells->offsets[i] <= cells->offsets[i + 1];
    if (good)
        return true;
    free(cells->offsets);
    cells->offsets = NULL;
    return false;
}

/* NULL where the file is whole and of this key; else what is wrong. */
static const char *check(int fd, const char *path, const char *key, int64_t count, vt_cells *cells)
{
    header h;
    struct stat st;
    *cells = (vt_cells){0};
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return "is no regular file";
    if (vt_file_read_at(fd, path, 0, &h, sizeof h, NULL) != VT_OK)
        return "is truncated";
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || sum_of(&h, offsetof(header, sum), 0) != h.sum ||
        memcmp(h.key, key, VT_HASH_HEX) != 0 || h.count != (uint64_t)count)
        return "has a damaged header";
    if (h.size != (uint64_t)st.st_size)
        return "is truncated";
    *cells = (vt_cells){.count = count, .cell = h.cell};
    if (!read_index(fd, path, &h, cells) || vt_cache_file_size(cells) != h.size)
        return "has a damaged index";
    return NULL;
}

static bool take(vt_cache_file *f, int fd, const vt_cells *cells)
{
    f->fd = fd;
    f->data = data_at(cells);
    return true;
}

bool vt_cache_file_find(vt_cache_file *f, const char key[VT_HASH_HEX], int64_t count, vt_cells *cells)
{
    *f = (vt_cache_file){.fd = -1};
    *cells = (vt_cells){0};
    if (path_of(key, &f->path, NULL) != VT_OK)
        return false;
    int fd = open(f->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    const char *wrong = check(fd, f->path, key, count, cells);
    if (!wrong)
        return take(f, fd, cells);
    vt_log(VT_LOG_WARN, "data.cache: %s %s; it is made anew", f->path, wrong);
    close(fd);
    (void)unlink(f->path);
    free(cells->offsets);
    *cells = (vt_cells){0};
    return false;
}

/* --- a new one --- */

static vt_status write_at(int fd, const void *data, size_t n, uint64_t at, const char *path, vt_err *err)
{
    const char *p = data;
    while (n > 0) {
        ssize_t done = pwrite(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return vt_fail_errno(err, "%s", path);
        p += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return VT_OK;
}

static vt_status write_frame(int fd, const char *path, const char *key, const vt_cells *cells, vt_err *err)
{
    header h = {.magic = MAGIC,
                .count = (uint64_t)cells->count,
                .cell = cells->offsets ? 0 : cells->cell,
                .size = vt_cache_file_size(cells)};
    memcpy(h.key, key, VT_HASH_HEX);
    if (cells->offsets) {
        h.index_sum = sum_of(cells->offsets, index_bytes(cells), 1);
        VT_TRY(write_at(fd, cells->offsets, index_bytes(cells), PAGE, path, err));
    }
    h.sum = sum_of(&h, offsetof(header, sum), 0);
    VT_TRY(write_at(fd, &h, sizeof h, 0, path, err));
    int code = posix_fallocate(fd, 0, (off_t)h.size); /* now, so that no later write finds the disk full */
    errno = code;
    return code == 0 ? VT_OK : vt_fail_errno(err, "%s", path);
}

/* Writes beside and links: whoever comes first has made it, and the others take that one. Its cells may lie elsewhere
 * than those that were measured here: an image may have been unreadable for one of the two. */
vt_status vt_cache_file_make(vt_cache_file *f, const char key[VT_HASH_HEX], vt_cells *cells, vt_err *err)
{
    vt_cells found;
    if (!f->path)
        VT_TRY(path_of(key, &f->path, err));
    char *beside = vt_xasprintf("%s.tmp.%ld", f->path, (long)getpid());
    int fd = open(beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    vt_status status = fd < 0 ? vt_fail_errno(err, "%s", beside) : write_frame(fd, beside, key, cells, err);
    if (status == VT_OK && link(beside, f->path) != 0 && errno != EEXIST)
        status = vt_fail_errno(err, "%s", f->path);
    if (fd >= 0) {
        close(fd);
        (void)unlink(beside);
    }
    free(beside);
    VT_TRY(status);
    char *path = f->path;
    bool there = vt_cache_file_find(f, key, cells->count, &found);
    free(path);
    if (!there)
        return vt_fail(err, VT_EIO, "%s vanished", f->path ? f->path : "the file");
    free(cells->offsets);
    *cells = found;
    return VT_OK;
}

void vt_cache_file_close(vt_cache_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    *f = (vt_cache_file){.fd = -1};
}

/* --- cells --- */

static uint64_t cell_sum(int64_t i, const head *h, const void *pixels)
{
    uint64_t seed = (uint64_t)i * 0xbf58476d1ce4e5b9U + ((uint64_t)h->height << 32 | h->width);
    return sum_of(pixels, (size_t)h->height * h->width * 3, seed);
}

static bool read_pixels(vt_cache_file *f, uint64_t at, int64_t i, const head *h, vt_image *image)
{
    return vt_image_resize_buffer(image, h->width, h->height, NULL) == VT_OK &&
           vt_file_read_at(f->fd, f->path, (int64_t)(at + VT_CELL_HEAD), image->pixels,
                           (size_t)h->height * h->width * 3, NULL) == VT_OK &&
           cell_sum(i, h, image->pixels) == h->sum;
}

bool vt_cache_file_get(vt_cache_file *f, const vt_cells *cells, int64_t i, vt_image *image)
{
    head h;
    uint64_t at = f->data + vt_cells_at(cells, i), room = vt_cells_room(cells, i);
    if (f->fd < 0 || room == 0)
        return false;
    bool readable = vt_file_read_at(f->fd, f->path, (int64_t)at, &h, sizeof h, NULL) == VT_OK;
    if (readable && h.sum == 0 && h.height == 0 && h.width == 0)
        return false;
    if (readable && h.height > 0 && h.width > 0 && h.width <= room / h.height && read_pixels(f, at, i, &h, image))
        return true;
    if (!atomic_exchange(&f->damaged, true))
        vt_log(VT_LOG_WARN, "data.cache: pixels in %s are damaged; the images are decoded again and kept anew",
               f->path);
    return false;
}

void vt_cache_file_put(vt_cache_file *f, const vt_cells *cells, int64_t i, const vt_image *image)
{
    vt_err err = {0};
    uint64_t at = f->data + vt_cells_at(cells, i);
    size_t bytes = (size_t)(image->height * image->width * 3);
    head h = {.height = (uint32_t)image->height, .width = (uint32_t)image->width};
    if (f->fd < 0 || atomic_load(&f->refused) || bytes / 3 > vt_cells_room(cells, i))
        return;
    h.sum = cell_sum(i, &h, image->pixels);
    if (write_at(f->fd, image->pixels, bytes, at + VT_CELL_HEAD, f->path, &err) == VT_OK &&
        write_at(f->fd, &h, sizeof h, at, f->path, &err) == VT_OK)
        return;
    if (!atomic_exchange(&f->refused, true))
        vt_log(VT_LOG_WARN, "data.cache: no more pixels are kept: %s", err.msg);
}
