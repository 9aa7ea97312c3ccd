/* What every command shares: its row in the table of main.c, how its command line is read, and how it ends.
 *
 * A command prints its result to standard output and everything else through the terminal (term.h) to standard error.
 * It returns an exit status: 0 done, 1 failed, 2 wrong use, 75 stopped by SIGTERM and saved, 130 stopped by SIGINT and
 * saved. */
#ifndef VT_CLI_CLI_H
#define VT_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/opts.h"
#include "base/status.h"
#include "cli/term.h"

enum { VT_EXIT_DONE = 0, VT_EXIT_FAILED = 1, VT_EXIT_USE = 2, VT_EXIT_TERMINATED = 75, VT_EXIT_INTERRUPTED = 130 };

typedef struct vt_cli vt_cli;

typedef struct {
    const char *name;                               /* "train", or "data check": a command of a group */
    const char *usage;                              /* what follows the name */
    const char *help;                               /* one line */
    int (*run)(vt_cli *cli, int argc, char **argv); /* arguments behind the name */
} vt_command;

/* One run of the program. */
struct vt_cli {
    const vt_command *command;
    vt_term *term;
};

/* The table, in the order of the help; main.c. */
extern const vt_command vt_commands[];
extern const int vt_n_commands;

/* Positional arguments. */
typedef struct {
    const char **list;
    int n;
    const char **keys; /* with vt_cli_form.model_keys: the key=value of recipes that stood among them */
    int n_keys;
} vt_args;

/* The command line of a command. */
typedef struct {
    const vt_opt *opts;
    size_t n_opts;
    const char *text; /* of -h: what it does, then "Examples:" with lines that work */
    int min_args, max_args;
    bool model_keys; /* model.KEY=VALUE, data.KEY=VALUE, loss.name and init_positions are no positional arguments: they
                        say what the file of a MODEL does not */
} vt_cli_form;

#define VT_MANY 1000000 /* max_args of a command that takes a list */

/* Reads the command line. False: *status is the exit status (help was printed, or the use was wrong and is explained).
 */
bool vt_cli_parse(vt_cli *cli, const vt_cli_form *form, int argc, char **argv, vt_args *args, int *status);
void vt_args_release(vt_args *args);

/* An option's text as a whole number in min..max; NULL gives fallback. The message names the option. */
vt_status vt_cli_integer(const char *option, const char *text, int64_t min, int64_t max, int64_t fallback,
                         int64_t *value, vt_err *err) VT_MUST_USE;

/* Whether every argument behind the first is a key=value of recipes: a matter of the command line, before files are
 * read. */
vt_status vt_cli_check_overrides(const vt_args *args, vt_err *err) VT_MUST_USE;

/* Print the sentence in err and return the exit status: of a wrong command line, and of a command's work. */
int vt_cli_wrong_use(vt_cli *cli, const vt_err *err);
int vt_cli_end(vt_cli *cli, vt_status status, const vt_err *err);

/* Prints an object to standard output and drops the reference. Reals have 9 significant digits: a float32 is exact. */
void vt_cli_print_json(json_t *root);

/* A JSON text of bytes that may not be UTF-8 (file names are bytes): then what is not ASCII becomes '?'. */
json_t *vt_cli_json_text(const char *s);

/* A whole number with thousands separated, "60,000"; buf of at least 32 bytes, returned. */
char *vt_cli_number(char *buf, int64_t n);

/* The commands, cmd_*.c. */
int vt_cmd_train(vt_cli *cli, int argc, char **argv);
int vt_cmd_eval(vt_cli *cli, int argc, char **argv);
int vt_cmd_fewshot(vt_cli *cli, int argc, char **argv);
int vt_cmd_embed(vt_cli *cli, int argc, char **argv);
int vt_cmd_predict(vt_cli *cli, int argc, char **argv);
int vt_cmd_plan(vt_cli *cli, int argc, char **argv);
int vt_cmd_data_check(vt_cli *cli, int argc, char **argv);
int vt_cmd_data_stats(vt_cli *cli, int argc, char **argv);
int vt_cmd_data_pack(vt_cli *cli, int argc, char **argv);
int vt_cmd_data_show(vt_cli *cli, int argc, char **argv);
int vt_cmd_data_export(vt_cli *cli, int argc, char **argv);
int vt_cmd_recipe_list(vt_cli *cli, int argc, char **argv);
int vt_cmd_recipe_show(vt_cli *cli, int argc, char **argv);
int vt_cmd_recipe_check(vt_cli *cli, int argc, char **argv);
int vt_cmd_recipe_keys(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_fit(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_backtest(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_joint(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_shape(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_plan(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_next(vt_cli *cli, int argc, char **argv);
int vt_cmd_law_plot(vt_cli *cli, int argc, char **argv);
int vt_cmd_doctor(vt_cli *cli, int argc, char **argv);

#endif
