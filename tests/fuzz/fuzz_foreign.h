/* A file or folder of tensors as a model to start from: opened, its facts turned into keys, its numbers loaded where
 * the model is small. */
#ifndef VT_TESTS_FUZZ_FOREIGN_H
#define VT_TESTS_FUZZ_FOREIGN_H

void fuzz_foreign(const char *path);

#endif
