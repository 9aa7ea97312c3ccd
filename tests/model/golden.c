/* See golden.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"

json_t *golden_load(const char *path)
{
    json_error_t problem;
    json_t *golden = json_load_file(path, 0, &problem);
    assert_non_null(golden);
    return golden;
}

const json_t *golden_get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_non_null(value);
    return value;
}

int64_t golden_integer(const json_t *object, const char *key)
{
    const json_t *value = golden_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

double golden_number(const json_t *object, const char *key)
{
    const json_t *value = golden_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

bool golden_is(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(golden_get(object, key));
    assert_non_null(value);
    return strcmp(value, text) == 0;
}

double golden_number_at(const json_t *array, size_t i)
{
    const json_t *value = json_array_get(array, i);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

void golden_below(double difference, double bound, double *worst)
{
    assert_true(difference < bound);
    if (difference > *worst)
        *worst = difference;
}

void golden_same_shape(const json_t *described, const int64_t *dims, int n_dims)
{
    const json_t *shape = golden_get(described, "shape");
    assert_int_equal(json_array_size(shape), n_dims);
    for (int d = 0; d < n_dims; d++)
        assert_true(golden_number_at(shape, (size_t)d) == (double)dims[d]);
}
