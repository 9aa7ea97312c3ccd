/* Runs a fuzz target over files and folders of inputs, without libFuzzer: the committed seeds and found cases as a test
 * under any compiler and sanitizer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "fuzz.h"

#define MAX_INPUT (16u << 20)

static int run_file(const char *path)
{
    unsigned char *data = NULL;
    size_t size = 0;
    vt_err err = {0};
    if (vt_file_read(path, MAX_INPUT, &data, &size, &err) != VT_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    /* Exactly as long as the input, so that a sanitizer sees a read behind its end. */
    unsigned char *exact = vt_xmalloc(size ? size : 1);
    memcpy(exact, data, size);
    free(data);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

static int run_folder(const char *path)
{
    char **names = NULL;
    size_t n = 0;
    int count = 0;
    vt_err err = {0};
    if (vt_list_dir(path, &names, &n, &err) != VT_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        char *file = vt_path_join(path, names[i]);
        count += run_file(file);
        free(file);
    }
    vt_free_names(names, n);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += vt_is_dir(argv[i]) ? run_folder(argv[i]) : run_file(argv[i]);
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
