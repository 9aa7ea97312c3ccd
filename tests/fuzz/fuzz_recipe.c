/* Recipes: what is accepted prints as a recipe that reads back as the same, and resolves or says why not. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "train/recipe.h"

static void load_again(const char *text, size_t size)
{
    vt_recipe r;
    vt_err err = {0};
    vt_text dump = {0};
    assert(vt_recipe_load(&r, fuzz_file(1, (const uint8_t *)text, size, ""), NULL, 0, &err) == VT_OK);
    vt_recipe_dump(&r, &dump);
    assert(dump.len == size && memcmp(dump.s, text, size) == 0);
    vt_text_release(&dump);
    vt_recipe_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const vt_data_facts facts = {.images = 1000, .classes = 10, .most_labels = 1};
    vt_recipe r;
    vt_training t;
    vt_err err = {0};
    vt_text dump = {0};
    if (vt_recipe_load(&r, fuzz_file(0, data, size, ""), NULL, 0, &err) != VT_OK) {
        assert(err.msg[0]);
        return 0;
    }
    vt_recipe_dump(&r, &dump);
    load_again(dump.s, dump.len);
    vt_text_release(&dump);
    if (vt_recipe_resolve(&r, &facts, &t, &err) != VT_OK)
        assert(err.msg[0]);
    vt_recipe_release(&r);
    return 0;
}
