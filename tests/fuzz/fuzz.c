/* Files and texts for the targets. */
#include "fuzz.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define SLOTS 4

static char folder[64];
static char paths[SLOTS][96];

static void remove_files(void)
{
    if (vt_remove_tree(folder, NULL) != VT_OK)
        perror(folder);
}

/* Indexes and unpacked copies that readers keep go there too. */
static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "%s/vitro-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder) || setenv("XDG_CACHE_HOME", folder, 1) != 0) {
        perror(folder);
        exit(1);
    }
    (void)atexit(remove_files);
}

const char *fuzz_file(int slot, const uint8_t *data, size_t size, const char *ending)
{
    assert(slot >= 0 && slot < SLOTS);
    if (!folder[0])
        make_folder();
    (void)snprintf(paths[slot], sizeof paths[slot], "%s/input-%d%s", folder, slot, ending);
    int fd = open(paths[slot], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        perror(paths[slot]);
        exit(1);
    }
    close(fd);
    return paths[slot];
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = vt_xmalloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
