/* Reading a command line and ending a command: the same words and the same exit statuses for all of them. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/signals.h"
#include "train/recipe.h"

static void print_help(const vt_command *c, const vt_cli_form *form)
{
    vt_text options = {0};
    vt_opts_help(form->opts, form->n_opts, &options);
    printf("vitro %s: %s\n\nUsage: vitro %s %s\n\n%s\n", c->name, c->help, c->name, c->usage, form->text);
    if (options.len)
        printf("\n%s", options.s);
    vt_text_release(&options);
}

static vt_status check_count(const vt_command *c, const vt_cli_form *form, const vt_args *args, vt_err *err)
{
    if (args->n < form->min_args)
        return vt_fail(err, VT_EINVAL, "an argument is missing; use: vitro %s %s", c->name, c->usage);
    if (args->n > form->max_args)
        return vt_fail(err, VT_EINVAL, "'%s' is one argument too many; use: vitro %s %s", args->list[form->max_args],
                       c->name, c->usage);
    for (int i = 0; i < args->n; i++)
        if (args->list[i][0] == '\0')
            return vt_fail(err, VT_EINVAL, "argument %d is empty; use: vitro %s %s", i + 1, c->name, c->usage);
    return VT_OK;
}

static bool is_model_key(const char *argument)
{
    return strchr(argument, '=') &&
           (vt_has_prefix(argument, "model.") || vt_has_prefix(argument, "data.") ||
            vt_has_prefix(argument, "loss.name=") || vt_has_prefix(argument, "init_positions="));
}

/* Moves key=value arguments from list to keys; whether each is one that recipes know. */
static vt_status take_keys(vt_args *args, vt_err *err)
{
    vt_recipe scratch;
    int n = 0;
    args->keys = vt_xcalloc((size_t)args->n + 1, sizeof *args->keys);
    for (int i = 0; i < args->n; i++) {
        if (is_model_key(args->list[i]))
            args->keys[args->n_keys++] = args->list[i];
        else
            args->list[n++] = args->list[i];
    }
    args->n = n;
    VT_TRY(vt_recipe_of_overrides(&scratch, args->keys, args->n_keys, err));
    vt_recipe_release(&scratch);
    return VT_OK;
}

bool vt_cli_parse(vt_cli *cli, const vt_cli_form *form, int argc, char **argv, vt_args *args, int *status)
{
    vt_err err = {0};
    bool help = false;
    *args = (vt_args){.list = vt_xcalloc((size_t)argc + 1, sizeof *args->list)};
    vt_status parsed = vt_opts_parse(form->opts, form->n_opts, argc, argv, args->list, &args->n, &help, &err);
    if (parsed == VT_OK && help) {
        print_help(cli->command, form);
        *status = VT_EXIT_DONE;
    } else if (parsed != VT_OK || (form->model_keys && take_keys(args, &err) != VT_OK) ||
               check_count(cli->command, form, args, &err) != VT_OK) {
        *status = vt_cli_wrong_use(cli, &err);
    } else {
        return true;
    }
    vt_args_release(args);
    return false;
}

void vt_args_release(vt_args *args)
{
    free(args->list);
    free(args->keys);
    *args = (vt_args){0};
}

vt_status vt_cli_integer(const char *option, const char *text, int64_t min, int64_t max, int64_t fallback,
                         int64_t *value, vt_err *err)
{
    *value = fallback;
    if (!text)
        return VT_OK;
    if (vt_parse_i64(text, value, err) != VT_OK)
        return vt_prefix(err, "--%s", option);
    if (*value < min || *value > max)
        return vt_fail(err, VT_EINVAL, "--%s is %lld; it must be %lld to %lld", option, (long long)*value,
                       (long long)min, (long long)max);
    return VT_OK;
}

vt_status vt_cli_check_overrides(const vt_args *args, vt_err *err)
{
    vt_recipe scratch;
    vt_status status = VT_OK;
    vt_keys_default(vt_recipe_keys, vt_n_recipe_keys, &scratch);
    for (int i = 1; i < args->n && status == VT_OK; i++) {
        if (strchr(args->list[i], '='))
            status = vt_keys_set_override(vt_recipe_keys, vt_n_recipe_keys, &scratch, args->list[i], err);
        else
            status = vt_fail(err, VT_EINVAL, "'%s' is no key=value; one recipe at a time", args->list[i]);
    }
    vt_keys_release(vt_recipe_keys, vt_n_recipe_keys, &scratch);
    return status;
}

int vt_cli_wrong_use(vt_cli *cli, const vt_err *err)
{
    vt_term_error(cli->term, cli->command->name, err->msg);
    vt_term_note(cli->term, "(vitro %s -h shows its use, with examples)", cli->command->name);
    return VT_EXIT_USE;
}

int vt_cli_end(vt_cli *cli, vt_status status, const vt_err *err)
{
    vt_term_clear(cli->term);
    if (status == VT_OK)
        return VT_EXIT_DONE;
    vt_term_error(cli->term, cli->command->name, err->msg);
    if (status == VT_ESTOPPED)
        return vt_signals_stop() == vt_signals_interrupt ? VT_EXIT_INTERRUPTED : VT_EXIT_TERMINATED;
    return VT_EXIT_FAILED;
}

static int write_stdout(const char *text, size_t size, void *unused)
{
    return fwrite(text, 1, size, stdout) == size ? 0 : -1;
}

void vt_cli_print_json(json_t *root)
{
    /* A failed write is met when main.c closes standard output. */
    (void)json_dump_callback(root, write_stdout, NULL, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    (void)putchar('\n');
    json_decref(root);
}

json_t *vt_cli_json_text(const char *s)
{
    return vt_json_text(s);
}

char *vt_cli_number(char *buf, int64_t n)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)(n < 0 ? -n : n));
    char *p = buf;
    if (n < 0)
        *p++ = '-';
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = '\0';
    return buf;
}
