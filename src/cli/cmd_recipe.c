/* vitro recipe list, show, check, keys: the recipes that come with vitro, and everything that can be set in one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/shipped.h"
#include "data/preprocess.h"
#include "train/foreign.h"
#include "train/recipe.h"
#include "train/run_data.h"

#define MAX_RECIPE_BYTES ((size_t)1 << 20)

/* --- list and show
 * ---------------------------------------------------------------------------------------------------- */

static const char list_text[] = "The first line of each recipe says what it is for.\n\n"
                                "Examples:\n"
                                "  vitro recipe list\n"
                                "  vitro recipe list --json";

/* The first line of a file's head comment, without "# ", in a malloc'ed text. */
static char *first_line(const char *dir, const char *name)
{
    char *file = vt_xasprintf("%s.yaml", name), *path = vt_path_join(dir, file), *line = NULL;
    unsigned char *data = NULL;
    size_t size = 0;
    if (vt_file_read(path, MAX_RECIPE_BYTES, &data, &size, NULL) == VT_OK) {
        char *start = (char *)data + strspn((char *)data, "# ");
        start[strcspn(start, "\r\n")] = '\0';
        line = vt_xstrdup(start);
    }
    free(data);
    free(file);
    free(path);
    return line ? line : vt_xstrdup("(cannot be read)");
}

static vt_status list(bool json, vt_err *err)
{
    char *dir = NULL, **names = NULL;
    size_t n = 0;
    json_t *rows = json_array();
    vt_status status = vt_shipped_dir(&dir, err);
    if (status == VT_OK)
        status = vt_shipped_names(dir, &names, &n, err);
    for (size_t i = 0; i < n; i++) {
        char *line = first_line(dir, names[i]);
        if (json) {
            json_t *row = json_object();
            (void)json_object_set_new(row, "name", vt_cli_json_text(names[i]));
            (void)json_object_set_new(row, "about", vt_cli_json_text(line));
            (void)json_array_append_new(rows, row);
        } else {
            printf("%-22s %s\n", names[i], line);
        }
        free(line);
    }
    if (status == VT_OK && json)
        vt_cli_print_json(json_incref(rows));
    json_decref(rows);
    vt_free_names(names, n);
    free(dir);
    return status;
}

int vt_cmd_recipe_list(vt_cli *cli, int argc, char **argv)
{
    bool json = false;
    const vt_opt opts[] = {{"json", NULL, &json, "print the result as JSON"}};
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), list_text, 0, 0};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    status = vt_cli_end(cli, list(json, &err), &err);
    vt_args_release(&args);
    return status;
}

static const char show_text[] = "Examples:\n"
                                "  vitro recipe show shapes-demo\n"
                                "  vitro recipe show folder > my-recipe.yaml";

static vt_status show(const char *name, vt_err *err)
{
    char *path = NULL;
    unsigned char *data = NULL;
    size_t size = 0;
    VT_TRY(vt_shipped_resolve(name, &path, err));
    char *file = vt_is_dir(path) ? vt_path_join(path, "recipe.yaml") : vt_xstrdup(path);
    vt_status status = vt_file_read(file, MAX_RECIPE_BYTES, &data, &size, err);
    if (status == VT_OK)
        (void)fwrite(data, 1, size, stdout); /* met when standard output is closed */
    free(data);
    free(file);
    free(path);
    return status;
}

int vt_cmd_recipe_show(vt_cli *cli, int argc, char **argv)
{
    const vt_cli_form form = {NULL, 0, show_text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    status = vt_cli_end(cli, show(args.list[0], &err), &err);
    vt_args_release(&args);
    return status;
}

/* --- check
 * -------------------------------------------------------------------------------------------------------------- */

static const char check_text[] = "Reads FILE (or a recipe that comes with vitro), applies key=value, opens the data "
                                 "and prints the whole recipe as it\n"
                                 "would run, with what follows from it.\n\n"
                                 "Examples:\n"
                                 "  vitro recipe check recipes/shapes-demo.yaml\n"
                                 "  vitro recipe check shapes-demo schedule.length=2k model.head=gap --json";

static void print_check(const vt_recipe *r, const vt_training *t, bool json)
{
    const struct {
        const char *name;
        int64_t value;
    } facts[] = {{"steps", t->schedule.steps},         {"images", t->images},
                 {"warmup_steps", t->schedule.warmup}, {"cooldown_steps", t->schedule.cooldown},
                 {"classes", t->model.classes},        {"threads", t->threads}};
    if (json) {
        json_t *root = json_object(), *keys = json_object();
        vt_text value = {0};
        for (size_t i = 0; i < vt_n_recipe_keys; i++) {
            vt_text_clear(&value);
            vt_keys_print(&vt_recipe_keys[i], r, &value);
            (void)json_object_set_new(keys, vt_recipe_keys[i].name, vt_cli_json_text(value.s ? value.s : ""));
        }
        (void)json_object_set_new(root, "keys", keys);
        for (size_t i = 0; i < VT_COUNT_OF(facts); i++)
            (void)json_object_set_new(root, facts[i].name, json_integer(facts[i].value));
        vt_text_release(&value);
        vt_cli_print_json(root);
    } else {
        char a[32];
        vt_text text = {0};
        vt_recipe_dump(r, &text);
        printf("%s", text.s);
        vt_text_release(&text);
        for (size_t i = 0; i < VT_COUNT_OF(facts); i++)
            printf("# %-15s %s\n", facts[i].name, vt_cli_number(a, facts[i].value));
    }
}

static vt_status resolve(vt_recipe *r, vt_training *t, vt_err *err)
{
    vt_run_data data = {0};
    vt_status status = vt_run_data_open(&data, r, err);
    if (status == VT_OK)
        status = vt_init_adopt(r, err);
    if (status == VT_OK) {
        vt_data_facts facts = vt_run_data_facts(&data);
        status = vt_recipe_resolve(r, &facts, t, err);
    }
    vt_run_data_close(&data);
    return status;
}

static vt_status check(const vt_args *args, bool json, vt_err *err)
{
    vt_recipe recipe;
    vt_training training;
    char *path = NULL;
    VT_TRY(vt_shipped_resolve(args->list[0], &path, err));
    vt_status status = vt_recipe_load(&recipe, path, args->list + 1, args->n - 1, err);
    free(path);
    VT_TRY(status);
    status = resolve(&recipe, &training, err);
    if (status == VT_OK)
        print_check(&recipe, &training, json);
    vt_recipe_release(&recipe);
    return status;
}

int vt_cmd_recipe_check(vt_cli *cli, int argc, char **argv)
{
    bool json = false;
    const vt_opt opts[] = {{"json", NULL, &json, "print the result as JSON"}};
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), check_text, 1, VT_MANY};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (vt_cli_check_overrides(&args, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, check(&args, json, &err), &err);
    vt_args_release(&args);
    return status;
}

/* --- keys
 * --------------------------------------------------------------------------------------------------------------- */

static const char keys_text[] = "With WORD only keys whose name or meaning contains it.\n\n"
                                "Examples:\n"
                                "  vitro recipe keys\n"
                                "  vitro recipe keys decay\n"
                                "  vitro recipe keys --markdown";

typedef struct {
    bool markdown, json;
} keys_options;

static void print_key(const vt_key *k)
{
    printf("%s", k->name);
    if (!k->fallback)
        printf("  must be given");
    else
        printf(" = %s", k->fallback[0] ? k->fallback : "\"\"");
    if (k->unit)
        printf(" (%s)", k->unit);
    if (k->choices) {
        printf("  one of:");
        for (int i = 0; k->choices[i]; i++)
            printf(" %s", k->choices[i]);
    }
    printf("%s\n    %s\n", k->may_change ? "  [may change on resume]" : "", k->help);
}

static json_t *key_json(const vt_key *k)
{
    json_t *row = json_object();
    (void)json_object_set_new(row, "name", json_string(k->name));
    (void)json_object_set_new(row, "default", k->fallback ? json_string(k->fallback) : json_null());
    (void)json_object_set_new(row, "unit", k->unit ? json_string(k->unit) : json_null());
    (void)json_object_set_new(row, "may_change", json_boolean(k->may_change));
    (void)json_object_set_new(row, "meaning", json_string(k->help));
    if (k->choices) {
        json_t *choices = json_array();
        for (int i = 0; k->choices[i]; i++)
            (void)json_array_append_new(choices, json_string(k->choices[i]));
        (void)json_object_set_new(row, "choices", choices);
    }
    return row;
}

static void print_markdown(void)
{
    vt_text table = {0};
    vt_keys_reference(vt_recipe_keys, vt_n_recipe_keys, &table);
    printf("%s\n| operation of data.preprocess | what it does |\n| --- | --- |\n", table.s);
    for (const vt_preprocess_help_row *h = vt_preprocess_help; h->form; h++)
        printf("| `%s` | %s |\n", h->form, h->help);
    vt_text_release(&table);
}

static vt_status keys(const keys_options *o, const char *word, vt_err *err)
{
    json_t *rows = json_array();
    int64_t shown = 0;
    if (o->markdown)
        print_markdown();
    for (size_t i = 0; i < vt_n_recipe_keys && !o->markdown; i++) {
        const vt_key *k = &vt_recipe_keys[i];
        if (word && !strstr(k->name, word) && !strstr(k->help, word))
            continue;
        shown++;
        if (o->json)
            (void)json_array_append_new(rows, key_json(k));
        else
            print_key(k);
    }
    if (!o->json && !o->markdown && !word) {
        printf("\noperations of data.preprocess and data.eval_preprocess\n");
        for (const vt_preprocess_help_row *h = vt_preprocess_help; h->form; h++)
            printf("%s\n    %s\n", h->form, h->help);
    }
    if (o->json)
        vt_cli_print_json(json_incref(rows));
    json_decref(rows);
    return shown || o->markdown ? VT_OK : vt_fail(err, VT_EINVAL, "no key mentions '%s'", word);
}

int vt_cmd_recipe_keys(vt_cli *cli, int argc, char **argv)
{
    keys_options o = {0};
    const vt_opt opts[] = {
        {"markdown", NULL, &o.markdown, "print the reference page"},
        {"json", NULL, &o.json, "print the result as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), keys_text, 0, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    status = vt_cli_end(cli, keys(&o, args.n ? args.list[0] : NULL, &err), &err);
    vt_args_release(&args);
    return status;
}
