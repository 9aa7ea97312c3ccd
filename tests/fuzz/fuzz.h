/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: it gives bytes to a reader as a file
 * from outside would, and asserts what must hold for all that is accepted. It is built twice: with libFuzzer
 * (preset fuzz, tools/fuzz), and with replay.c as a test that runs the committed inputs. */
#ifndef VT_TESTS_FUZZ_H
#define VT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file that holds these bytes, until the next call with the same slot (0 to 3) and ending of its name (".npz");
 * removed when the process ends. */
const char *fuzz_file(int slot, const uint8_t *data, size_t size, const char *ending);

/* The bytes as a terminated text without a zero inside (cut there); the caller frees it. */
char *fuzz_text(const uint8_t *data, size_t size);

#endif
