/* Reading golden files (tests/golden), whose heads say how they were made. */
#ifndef TESTS_MODEL_GOLDEN_H
#define TESTS_MODEL_GOLDEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

json_t *golden_load(const char *path);
const json_t *golden_get(const json_t *object, const char *key);
int64_t golden_integer(const json_t *object, const char *key);
double golden_number(const json_t *object, const char *key);
bool golden_is(const json_t *object, const char *key, const char *text);
double golden_number_at(const json_t *array, size_t i);

/* Asserts and keeps the largest; a difference that is not a number fails. */
void golden_below(double difference, double bound, double *worst);

/* Asserts the shape of a tensor of that description. */
void golden_same_shape(const json_t *described, const int64_t *dims, int n_dims);

#endif
