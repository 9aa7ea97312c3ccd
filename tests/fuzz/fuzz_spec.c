/* The small languages of a command line: SPECs with their braces, splits and options, preprocessing lists, shapes of
 * models, optimizer rules. The first byte chooses. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/preprocess.h"
#include "data/source.h"
#include "data/spec.h"
#include "fuzz.h"
#include "model/model.h"

/* Opening reads only what lies at a place that is not there, or draws synthetic images. */
static void try_spec(const char *text)
{
    vt_spec spec;
    vt_source *s = NULL;
    vt_err err = {0};
    int64_t from, to;
    if (vt_spec_parse(&spec, text, strlen(text), &err) == VT_OK && vt_spec_get_split(&spec, &from, &to, &err) == VT_OK)
        assert(from >= 0 && from < to && to <= VT_SHARE_ALL);
    vt_spec_release(&spec);
    if (strncmp(text, "synthetic:", 10) == 0 && vt_source_open(&s, text, &err) == VT_OK)
        assert(vt_source_count(s) >= 1 && vt_source_classes(s) >= 1);
    vt_source_close(s);
}

static void try_braces(const char *text)
{
    char **paths = NULL;
    int64_t n = 0;
    vt_err err = {0};
    if (vt_spec_expand(text, &paths, &n, &err) == VT_OK) {
        assert(n >= 1);
        vt_free_names(paths, (size_t)n);
    }
}

static void try_preprocess(const char *text)
{
    vt_preprocess p, again;
    vt_text first = {0}, second = {0};
    vt_err err = {0};
    if (vt_preprocess_parse(&p, text, &err) != VT_OK)
        return;
    vt_preprocess_print(&p, &first);
    assert(vt_preprocess_parse(&again, first.s ? first.s : "", &err) == VT_OK);
    vt_preprocess_print(&again, &second);
    assert(first.len == second.len && (first.len == 0 || memcmp(first.s, second.s, first.len) == 0));
    vt_text_release(&first);
    vt_text_release(&second);
}

static void try_shape(const char *text)
{
    vt_model_config c = {.classes = 10, .image_height = 32, .image_width = 32, .norm_eps = 1e-6};
    vt_err err = {0};
    if (vt_model_shape(text, &c, &err) != VT_OK || vt_model_check(&c, &err) != VT_OK)
        assert(err.msg[0]);
}

static void try_classes(const uint8_t *data, size_t size)
{
    char **names = NULL;
    int64_t n = 0;
    vt_err err = {0};
    if (vt_class_file_read(fuzz_file(0, data, size, ""), &names, &n, &err) == VT_OK)
        vt_free_names(names, (size_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *text = fuzz_text(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        try_spec(text);
        break;
    case 1:
        try_braces(text);
        break;
    case 2:
        try_preprocess(text);
        break;
    case 3:
        try_shape(text);
        break;
    default:
        try_classes(data + 1, size - 1);
        break;
    }
    free(text);
    return 0;
}
