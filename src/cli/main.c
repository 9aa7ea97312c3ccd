/* The program: finds the command in the table, runs it, and sees that its output was written. Start reading here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/version.h"
#include "cli/about.h"
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "kernels/backend.h"

const vt_command vt_commands[] = {
    {"train", "RECIPE|RUN [key=value ...] [options]", "train a model; run it again to go on where it stopped",
     vt_cmd_train},
    {"eval", "MODEL [DATA] [key=value ...] [options]", "accuracy on labelled images, with its interval", vt_cmd_eval},
    {"fewshot", "MODEL DATA... [key=value ...] [options]",
     "accuracy from few labelled images a class, or all, by ridge regression", vt_cmd_fewshot},
    {"embed", "MODEL DATA -o FILE.npy [key=value ...] [options]", "features of every image, as NumPy arrays",
     vt_cmd_embed},
    {"predict", "MODEL IMAGE... [key=value ...] [options]", "class names with probabilities", vt_cmd_predict},
    {"plan", "RECIPE [key=value ...] | --model SHAPE [options]",
     "parameters, operations and memory, before anything runs", vt_cmd_plan},
    {"data check", "DATA [--against DATA ...] [options]", "read every image; name bad ones, duplicates and leaks",
     vt_cmd_data_check},
    {"data stats", "DATA [options]", "classes and their balance, image sizes, mean and deviation of pixels",
     vt_cmd_data_stats},
    {"data show", "[DATA] --out FILE [options]", "a sheet of images with their classes, as the model sees them",
     vt_cmd_data_show},
    {"data pack", "DATA --out DIR --name NAME [options]", "write WebDataset shards", vt_cmd_data_pack},
    {"data export", "DATA --out DIR [options]", "write images as PNG files", vt_cmd_data_export},
    {"recipe list", "[options]", "the recipes that come with vitro", vt_cmd_recipe_list},
    {"recipe show", "NAME", "print a recipe, to copy and change", vt_cmd_recipe_show},
    {"recipe check", "FILE [key=value ...] [options]", "read a recipe and its data, and say what it would train",
     vt_cmd_recipe_check},
    {"recipe keys", "[WORD] [options]", "what can be set: type, default, meaning", vt_cmd_recipe_keys},
    {"law fit", "TABLE --x COLUMN --y COLUMN [options]", "how error falls with compute, from any table of runs",
     vt_cmd_law_fit},
    {"law backtest", "TABLE --x COLUMN --y COLUMN --by COLUMNS [options]",
     "whether intervals would have held, and by how much to widen them", vt_cmd_law_backtest},
    {"law joint", "TABLE --size COLUMN --data COLUMN --y COLUMN [options]",
     "how error falls with model size and with data, and the best split", vt_cmd_law_joint},
    {"law shape", "TABLE --size COLUMN --x COLUMN --y COLUMN [options]",
     "the best width, depth or MLP for a compute, from a sweep", vt_cmd_law_shape},
    {"law plan", "FIT --budget AMOUNT [options]", "what a budget would buy, by a fit", vt_cmd_law_plan},
    {"law next", "TABLE --x COLUMN --y COLUMN --budget NUMBER [options]", "the runs that would say most about a target",
     vt_cmd_law_next},
    {"law plot", "TABLE --x COLUMN --y COLUMN --out DIR [options]", "figures of a law: SVG, data, scripts, one page",
     vt_cmd_law_plot},
    {"doctor", "[options]", "what this machine has and what vitro will use", vt_cmd_doctor},
};
const int vt_n_commands = (int)VT_COUNT_OF(vt_commands);

/* Length of the first word of a command's name when it is a command of a group ("data check"), else 0. */
static size_t group_length(const vt_command *c)
{
    const char *space = strchr(c->name, ' ');
    return space ? (size_t)(space - c->name) : 0;
}

static bool in_group(const vt_command *c, const char *group)
{
    size_t n = group_length(c);
    return n > 0 && strlen(group) == n && strncmp(c->name, group, n) == 0;
}

static bool is_group(const char *word)
{
    for (int i = 0; i < vt_n_commands; i++)
        if (in_group(&vt_commands[i], word))
            return true;
    return false;
}

/* Commands with their lines; of one group, or all where group is NULL. */
static void print_commands(FILE *out, const char *group)
{
    for (int i = 0; i < vt_n_commands; i++)
        if (!group || in_group(&vt_commands[i], group))
            (void)fprintf(out, "  %-13s %s\n", vt_commands[i].name, vt_commands[i].help);
}

static void print_help(FILE *out)
{
    (void)fputs("vitro trains Vision Transformers from labelled images, and says how good they are.\n\n"
                "Usage: vitro COMMAND [arguments]\n\nCommands:\n",
                out);
    print_commands(out, NULL);
    (void)fputs(
        "\nA first run (a minute or two; it needs no data of yours):\n\n"
        "  vitro train recipes/shapes-demo.yaml\n"
        "  vitro eval runs/shapes-demo\n\n"
        "vitro COMMAND -h shows a command's use, with examples that work. vitro --version says what this build is.\n",
        out);
}

static void print_version(void)
{
    vt_library libraries[VT_N_LIBRARIES];
    vt_about_libraries(libraries);
    printf("vitro %s\ncommit    %s\ncompiler  %s\nlibraries ", vt_version(), vt_commit(), vt_compiler());
    for (int i = 0; i < VT_N_LIBRARIES; i++)
        printf("%s%s %s", i ? ", " : "", libraries[i].name, libraries[i].version);
    printf("\nkernels   ");
    for (int i = 0; i < vt_n_isas; i++)
        printf("%s%s", i ? ", " : "", vt_isas[i].name);
    printf("\n");
}

/* A word that names no command (of a group, where group is not NULL): says so with the nearest that does. */
static int unknown(vt_term *term, const char *group, const char *word)
{
    const char *names[VT_COUNT_OF(vt_commands) * 2];
    size_t n = 0;
    for (int i = 0; i < vt_n_commands; i++) {
        const vt_command *c = &vt_commands[i];
        if (!group)
            names[n++] = c->name;
        else if (in_group(c, group))
            names[n++] = c->name + group_length(c) + 1;
    }
    if (!group) {
        names[n++] = "data";
        names[n++] = "recipe";
        names[n++] = "law";
    }
    const char *near = vt_nearest(word, names, n);
    const char *first = group ? group : "", *space = group ? " " : "";
    char *sentence =
        near ? vt_xasprintf("'%s%s%s' is no command; did you mean '%s%s%s'?", first, space, word, first, space, near)
             : vt_xasprintf("'%s%s%s' is no command; vitro -h lists them", first, space, word);
    vt_term_error(term, NULL, sentence);
    free(sentence);
    return VT_EXIT_USE;
}

static bool is_help(const char *word)
{
    return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "help") == 0;
}

/* `vitro data`, `vitro data -h`, `vitro data what?` */
static int group_only(vt_term *term, const char *group, const char *word)
{
    if (word && !is_help(word))
        return unknown(term, group, word);
    FILE *out = word ? stdout : stderr;
    (void)fprintf(out, "Usage: vitro %s COMMAND [arguments]\n\nCommands:\n", group);
    print_commands(out, group);
    if (strcmp(group, "data") == 0)
        vt_data_help(out);
    (void)fprintf(out, "\nvitro %s COMMAND -h shows its use, with examples that work.\n", group);
    return word ? VT_EXIT_DONE : VT_EXIT_USE;
}

static int run(vt_term *term, int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return VT_EXIT_USE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        print_version();
        return VT_EXIT_DONE;
    }
    if (is_help(word)) {
        print_help(stdout);
        return VT_EXIT_DONE;
    }
    for (int i = 0; i < vt_n_commands; i++) {
        const vt_command *c = &vt_commands[i];
        size_t group = group_length(c);
        bool named = group ? in_group(c, word) && argc > 2 && strcmp(argv[2], c->name + group + 1) == 0
                           : strcmp(word, c->name) == 0;
        int skip = group ? 3 : 2;
        if (named)
            return c->run(&(vt_cli){.command = c, .term = term}, argc - skip, argv + skip);
    }
    if (is_group(word))
        return group_only(term, word, argc > 2 ? argv[2] : NULL);
    return unknown(term, NULL, word);
}

int main(int argc, char **argv)
{
    vt_term *term = vt_term_new();
    int status = run(term, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        vt_term_error(term, NULL, "standard output cannot be written; the result may be incomplete");
        status = status == VT_EXIT_DONE ? VT_EXIT_FAILED : status;
    }
    vt_term_free(term);
    return status;
}
