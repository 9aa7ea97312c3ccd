/* Command-line options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/opts.h"

typedef struct {
    bool json, help;
    const char *out, *model, *args[16];
    int n_args;
} parsed;

static vt_status parse(parsed *p, const char *const *argv, vt_err *err)
{
    *p = (parsed){0};
    const vt_opt opts[] = {{"json", NULL, &p->json, "print JSON"},
                           {"o", "FILE", &p->out, "write to FILE"},
                           {"model", "NAME", &p->model, "a model"}};
    char copies[16][64], *pointers[16];
    int argc = 0;
    for (; argv[argc] != NULL; argc++) {
        strncpy(copies[argc], argv[argc], 63);
        copies[argc][63] = '\0';
        pointers[argc] = copies[argc];
    }
    vt_status status = vt_opts_parse(opts, VT_COUNT_OF(opts), argc, pointers, p->args, &p->n_args, &p->help, err);
    assert_true(status != VT_OK || p->n_args <= argc);
    if (status == VT_OK && p->n_args == 2 && argc == 7) {
        assert_string_equal(p->args[0], "r.yaml");
        assert_string_equal(p->args[1], "optimizer.lr=1");
        assert_string_equal(p->out, "f");
        assert_string_equal(p->model, "G/14");
    }
    return status;
}

/* Options and arguments would be mixed up. */
static void test_forms(void **state)
{
    parsed p;
    vt_err err = {0};
    assert_int_equal(
        parse(&p, (const char *[]){"r.yaml", "--json", "-o", "f", "--model=G/14", "optimizer.lr=1", "--", NULL}, &err),
        VT_OK);
    assert_true(p.json && p.n_args == 2 && !p.help);
    assert_int_equal(parse(&p, (const char *[]){"--model", "--json", "--", "-x", "--json", "-", NULL}, &err), VT_OK);
    assert_false(p.json);
    assert_int_equal(p.n_args, 3);
    assert_int_equal(parse(&p, (const char *[]){"a", "-h", NULL}, &err), VT_OK);
    assert_true(p.help);
    assert_int_equal(parse(&p, (const char *[]){"--help", NULL}, &err), VT_OK);
    assert_true(p.help);
    assert_int_equal(parse(&p, (const char *[]){NULL}, &err), VT_OK);
}

/* A wrong option would be taken for something else, or its message would not help. */
static void test_refusals(void **state)
{
    static const struct {
        const char *arg, *message;
    } rows[] = {{"--jsn", "unknown option '--jsn'; did you mean --json?"},
                {"--frobnicate", "unknown option '--frobnicate'; -h lists the options"},
                {"-json", "unknown option '-json'; did you mean --json?"},
                {"--json=1", "--json takes no value, but '--json=1' gives one"},
                {"--model", "--model needs a value (NAME)"},
                {"-o", "-o needs a value (FILE)"},
                {"--o", "-o needs a value (FILE)"},
                {"-5", "unknown option '-5'; -h lists the options"},
                {"--=", "unknown option '--='; -h lists the options"}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        parsed p;
        vt_err err = {0};
        assert_int_equal(parse(&p, (const char *[]){rows[i].arg, NULL}, &err), VT_EINVAL);
        assert_string_equal(err.msg, rows[i].message);
    }
}

/* -h would print crooked columns. */
static void test_help(void **state)
{
    const vt_opt opts[] = {{"json", NULL, NULL, "print JSON"}, {"o", "FILE", NULL, "write to FILE"}};
    vt_text t = {0};
    vt_opts_help(opts, 2, &t);
    assert_string_equal(t.s, "Options:\n"
                             "  --json      print JSON\n"
                             "  -o FILE     write to FILE\n"
                             "  -h, --help  show this text\n");
    vt_text_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_help)};
    return cmocka_run_group_tests_name("base/opts", tests, NULL, NULL);
}
