/* What tells classes: lists in CSV, labels=FILE as rows, CSV and JSON, hierarchies, and the .json and .txt of shards.
 * The first byte chooses. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/source.h"
#include "fuzz.h"

static void open_and_look(const char *spec)
{
    vt_source *s = NULL;
    vt_err err = {0};
    int32_t classes[VT_MAX_LABELS];
    if (vt_source_open(&s, spec, &err) == VT_OK) {
        for (int64_t i = 0; i < vt_source_count(s); i++) {
            int n = vt_source_labels(s, i, classes, VT_MAX_LABELS);
            assert(n <= vt_source_most_labels(s) && vt_source_label(s, i) < vt_source_classes(s));
            for (int k = 0; k < n; k++)
                assert(classes[k] >= 0 && classes[k] < vt_source_classes(s) && (k == 0 || classes[k] > classes[k - 1]));
        }
        for (int64_t c = 0; c < vt_source_classes(s); c++)
            assert(vt_source_class_name(s, c)[0] && (vt_source_is_leaf(s, c) || true));
    } else {
        assert(err.msg[0]);
    }
    vt_source_close(s);
}

static void try_option(const char *before, const char *file)
{
    char *spec = vt_xasprintf("synthetic:shapes?count=3&classes=4%s%s", before, file);
    open_and_look(spec);
    free(spec);
}

/* The bytes as label cells of rows that name a file that is there. */
static void try_list(const uint8_t *data, size_t size)
{
    const char *image = fuzz_file(1, (const uint8_t *)"x", 1, ".png");
    vt_text text = {0};
    vt_text_addf(&text, "path,label\n%s,", vt_path_base(image));
    for (size_t i = 0; i < size; i++) {
        vt_text_addn(&text, (const char *)data + i, 1);
        if (data[i] == '\n')
            vt_text_addf(&text, "%s,", vt_path_base(image));
    }
    open_and_look(fuzz_file(0, (const uint8_t *)text.s, text.len, ".csv"));
    vt_text_release(&text);
}

/* A shard of one sample: a.png, and a.json or a.txt with the bytes. */
static void try_shard(const char *extension, const uint8_t *data, size_t size)
{
    vt_text tar = {0};
    for (int member = 0; member < 2; member++) {
        char block[512] = "";
        size_t n = member ? size : 1;
        unsigned sum = 0;
        strcpy(block, "a");
        strcat(block, member ? extension : ".png");
        memcpy(block + 100, "0000644", 8);
        char *number = vt_xasprintf("%011zo", n);
        memcpy(block + 124, number, 12);
        free(number);
        memcpy(block + 148, "        ", 8);
        block[156] = '0';
        memcpy(block + 257, "ustar", 6);
        memcpy(block + 263, "00", 2);
        for (int i = 0; i < 512; i++)
            sum += (unsigned char)block[i];
        number = vt_xasprintf("%06o", sum);
        memcpy(block + 148, number, 7);
        free(number);
        vt_text_addn(&tar, block, 512);
        vt_text_addn(&tar, member ? (const char *)data : "x", n);
        while (tar.len % 512)
            vt_text_addn(&tar, "", 1);
    }
    char zeros[1024] = "";
    vt_text_addn(&tar, zeros, sizeof zeros);
    open_and_look(fuzz_file(0, (const uint8_t *)tar.s, tar.len, ".tar"));
    vt_text_release(&tar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const uint8_t *rest = data + 1;
    switch (data[0] % 6) {
    case 0:
        try_list(rest, size - 1);
        break;
    case 1: /* JSON where it begins with '[' */
        try_option("&labels=", fuzz_file(0, rest, size - 1, ""));
        break;
    case 2:
        try_option("&labels=", fuzz_file(0, rest, size - 1, ".csv"));
        break;
    case 3:
        try_option("&ancestors=on&hierarchy=", fuzz_file(0, rest, size - 1, ""));
        break;
    case 4:
        try_shard(".json", rest, size - 1);
        break;
    default:
        try_shard(".txt", rest, size - 1);
        break;
    }
    return 0;
}
