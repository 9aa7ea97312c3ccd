/* Log lines reach the receiver whole, one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/log.h"

typedef struct {
    int n, inside;
    vt_log_level level;
    char line[4096];
} seen;

static void receive(void *context, vt_log_level level, const char *line)
{
    seen *s = context;
    assert_int_equal(s->inside++, 0);
    s->n++;
    s->level = level;
    strncpy(s->line, line, sizeof(s->line) - 1);
    s->inside--;
}

/* Lines above the level would get through, several lines arrive as one, or a file name would steer the terminal. */
static void test_levels_and_newlines(void **state)
{
    seen s = {0};
    vt_log(VT_LOG_ERROR, "dropped: nobody listens");
    vt_log_set(receive, &s, VT_LOG_INFO);
    vt_log(VT_LOG_DEBUG, "not seen");
    assert_int_equal(s.n, 0);
    vt_log(VT_LOG_INFO, "a %d\033[2J", 7);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.level, VT_LOG_INFO);
    assert_string_equal(s.line, "a 7 [2J");
    vt_log(VT_LOG_WARN, "one\n\ntwo\n");
    assert_int_equal(s.n, 3);
    assert_string_equal(s.line, "two");
    vt_log_set(NULL, NULL, VT_LOG_DEBUG);
    vt_log(VT_LOG_ERROR, "dropped");
    assert_int_equal(s.n, 3);
}

/* A long line would be cut. */
static void test_long_line(void **state)
{
    seen s = {0};
    char big[4000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    vt_log_set(receive, &s, VT_LOG_INFO);
    vt_log(VT_LOG_WARN, "%s", big);
    assert_string_equal(s.line, big);
    vt_log_set(NULL, NULL, VT_LOG_INFO);
}

static void *write_lines(void *argument)
{
    for (int i = 0; i < 500; i++)
        vt_log(VT_LOG_INFO, "line %d", i);
    return argument;
}

/* Two threads would be inside the receiver at once. */
static void test_threads(void **state)
{
    seen s = {0};
    pthread_t other;
    vt_log_set(receive, &s, VT_LOG_INFO);
    assert_int_equal(pthread_create(&other, NULL, write_lines, NULL), 0);
    write_lines(NULL);
    pthread_join(other, NULL);
    assert_int_equal(s.n, 1000);
    vt_log_set(NULL, NULL, VT_LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_levels_and_newlines), cmocka_unit_test(test_long_line),
                                       cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
