/* Rules by parameter name. A rule's pattern ends at the first colon that stands in no bracket expression, since no name
 * holds one; its properties end at a comma.
 *
 * The text comes from outside, so what a pattern may cost is bounded: its length times the copies of a part that the C
 * library makes, as it does for every + and {m,n} ("((a{99}){99}){99}"), since its work grows with the square of that;
 * and the number of rules. Back references, whose matching may take time without bound, are no part of extended
 * expressions and refused. */
#include "optim/rules.h"

#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { MAX_RULES = 64, MAX_PATTERN = 200, MAX_SIZE = 1000, MAX_WORD = 32 };

typedef enum { LR_FACTOR, DECAY, FROZEN, N_PROPERTIES } property;

static const struct {
    const char *word;
    property sets;
    bool has_number;
    double number; /* where none follows */
} words[] = {
    {"lr", LR_FACTOR, true, 0}, {"decay", DECAY, true, 0}, {"freeze", FROZEN, false, 1}, {"train", FROZEN, false, 0}};
static const char *const word_names[] = {"lr", "decay", "freeze", "train"};

typedef struct {
    char pattern[MAX_PATTERN + 1];
    bool sets[N_PROPERTIES];
    double value[N_PROPERTIES];
} rule;

/* Where reading stands: in the text itself, or in an item that was taken out of its quotes. */
typedef struct {
    const char *at, *end;
    size_t column; /* of `at`, counted from 1; inside quotes that of the item */
    bool quoted;
    vt_err *err;
} cursor;

static vt_status fail_at(const cursor *c, const char *fmt, ...) VT_PRINTF(2, 3);
static vt_status fail_at(const cursor *c, const char *fmt, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, fmt);
    (void)vsnprintf(text, sizeof text, fmt, arguments);
    va_end(arguments);
    return vt_fail(c->err, VT_EINVAL, "column %zu: %s", c->column, text);
}

static void skip(cursor *c, size_t n)
{
    c->at += n;
    c->column += c->quoted ? 0 : n;
}

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n'))
        skip(c, 1);
}

/* --- patterns -------------------------------------------------------------------------------------------------------
 */

/* Bytes of the bracket expression that begins at s, or 0 when it does not end. A ] that comes first, or that ends a
 * class such as [:digit:], does not close it. */
static size_t bracket_length(const char *s, const char *end)
{
    const char *p = s + 1;
    if (p < end && *p == '^')
        p++;
    if (p < end && *p == ']')
        p++;
    while (p < end && *p != ']') {
        if (*p == '[' && p + 1 < end && strchr(":.=", p[1])) {
            const char kind = p[1];
            for (p += 2; p + 1 < end && !(p[0] == kind && p[1] == ']'); p++) {
            }
            p++;
        }
        p++;
    }
    return p < end ? (size_t)(p + 1 - s) : 0;
}

/* How many copies of what stands before it a repetition {m}, {m,} or {m,n} makes. */
static long copies_of(const char *braces)
{
    char *end;
    long low = strtol(braces + 1, &end, 10), high = low;
    if (*end == ',')
        high = end[1] == '}' ? low + 1 : strtol(end + 1, NULL, 10);
    return high > low ? high : low;
}

/* Bytes of the pattern at the cursor, up to its colon; 0 when there is none. *copies: at most how many copies of a part
 * are made, repetitions taken as if each stood in the next. */
static size_t pattern_length(const cursor *c, long *copies, bool *refers_back)
{
    *copies = 1;
    *refers_back = false;
    for (const char *p = c->at; p < c->end;) {
        size_t n = 1;
        long times = 1;
        if (*p == ':')
            return (size_t)(p - c->at);
        if (*p == '\\' && p + 1 < c->end) {
            *refers_back |= p[1] >= '0' && p[1] <= '9';
            n = 2;
        } else if (*p == '[') {
            n = bracket_length(p, c->end);
            n += n == 0;
        } else if (*p == '+') {
            times = 2;
        } else if (*p == '{') {
            times = copies_of(p);
        }
        if (times > 1)
            *copies *= times < MAX_SIZE ? times : MAX_SIZE;
        if (*copies > MAX_SIZE)
            *copies = MAX_SIZE;
        p += n;
    }
    return 0;
}

static vt_status read_pattern(cursor *c, rule *r)
{
    long copies;
    bool refers_back;
    size_t n = pattern_length(c, &copies, &refers_back);
    if (n == 0)
        return fail_at(c, "expected PATTERN: PROPERTY, as in head\\.weight: decay 3.0");
    if (n > MAX_PATTERN)
        return fail_at(c, "a pattern of %zu bytes; at most %d are read", n, MAX_PATTERN);
    memcpy(r->pattern, c->at, n);
    r->pattern[n] = '\0';
    if (strlen(r->pattern) != n || strpbrk(r->pattern, " \t\n"))
        return fail_at(c, "the pattern \"%s\" holds a blank, which no name does; a rule is PATTERN: PROPERTY",
                       r->pattern);
    if (refers_back)
        return fail_at(c, "the pattern \"%s\" refers back to a group; extended expressions do not", r->pattern);
    if (copies > 1 && (long)n * copies > MAX_SIZE)
        return fail_at(
            c,
            "the pattern \"%s\" repeats too much; its length times all counts of its {m,n}, and 2 for each +, "
            "may be %d",
            r->pattern, MAX_SIZE);
    return VT_OK;
}

/* --- properties -----------------------------------------------------------------------------------------------------
 */

/* The next word; empty at the end of the rule. */
static vt_status read_word(cursor *c, char word[MAX_WORD + 1])
{
    size_t n = 0;
    skip_blanks(c);
    while (c->at + n < c->end && !strchr(" \t\n,", c->at[n]))
        n++;
    if (n > MAX_WORD)
        return fail_at(c, "\"%.*s...\" is no property; expected lr X, decay X, freeze or train", MAX_WORD, c->at);
    memcpy(word, c->at, n);
    word[n] = '\0';
    return VT_OK;
}

static vt_status read_number(cursor *c, const char *name, double *value)
{
    char word[MAX_WORD + 1];
    VT_TRY(read_word(c, word));
    if (vt_parse_f64(word, value, NULL) != VT_OK || !(*value >= 0.0 && *value <= 1e6))
        return fail_at(c, "%s is \"%s\"; expected a number from 0 to 1e6", name, word);
    skip(c, strlen(word));
    return VT_OK;
}

static vt_status read_properties(cursor *c, rule *r)
{
    int n = 0;
    for (;; n++) {
        char word[MAX_WORD + 1];
        size_t k = 0;
        VT_TRY(read_word(c, word));
        if (word[0] == '\0')
            break;
        while (k < VT_COUNT_OF(words) && strcmp(words[k].word, word) != 0)
            k++;
        if (k == VT_COUNT_OF(words)) {
            const char *near = vt_nearest(word, word_names, VT_COUNT_OF(word_names));
            return fail_at(c, "\"%s\" is no property%s%s; expected lr X, decay X, freeze or train", word,
                           near ? "; did you mean " : "", near ? near : "");
        }
        if (r->sets[words[k].sets])
            return fail_at(c, "\"%s\" says again what this rule has said", word);
        r->sets[words[k].sets] = true;
        r->value[words[k].sets] = words[k].number;
        skip(c, strlen(word));
        if (words[k].has_number)
            VT_TRY(read_number(c, word, &r->value[words[k].sets]));
    }
    return n > 0 ? VT_OK
                 : fail_at(c, "the rule of \"%s\" says nothing; expected lr X, decay X, freeze or train", r->pattern);
}

/* --- application ----------------------------------------------------------------------------------------------------
 */

typedef struct {
    vt_tensor *params;
    int n_params;
    struct {
        bool by_model, decided[N_PROPERTIES];
    } * state; /* per tensor: the model froze it; a rule has set this property */
} target;

static void set(vt_tensor *t, property what, double value)
{
    if (what == LR_FACTOR)
        t->lr_factor = value;
    else if (what == DECAY)
        t->decay = value;
    else
        t->frozen = value > 0;
}

static vt_status apply(const cursor *c, const rule *r, target *g)
{
    regex_t compiled;
    bool used = false;
    int code = regcomp(&compiled, r->pattern, REG_EXTENDED);
    if (code != 0) {
        char reason[120];
        (void)regerror(code, &compiled, reason, sizeof reason);
        return fail_at(c, "the pattern \"%s\": %s", r->pattern, reason);
    }
    for (int i = 0; i < g->n_params; i++) {
        regmatch_t whole;
        /* Matches are the leftmost, and of these the longest: one over the whole name is found where there is one. */
        if (regexec(&compiled, g->params[i].name, 1, &whole, 0) != 0 || whole.rm_so != 0 ||
            g->params[i].name[whole.rm_eo] != '\0')
            continue;
        used = true;
        for (int k = 0; k < N_PROPERTIES; k++) {
            if (!r->sets[k] || g->state[i].decided[k])
                continue;
            g->state[i].decided[k] = true;
            if (k != FROZEN || !g->state[i].by_model)
                set(&g->params[i], (property)k, r->value[k]);
        }
    }
    regfree(&compiled);
    return used ? VT_OK : fail_at(c, "the pattern \"%s\" matches no parameter", r->pattern);
}

static vt_status read_rule(cursor *c, target *g)
{
    const cursor begin = *c;
    rule r = {.pattern = ""};
    VT_TRY(read_pattern(c, &r));
    skip(c, strlen(r.pattern) + 1);
    VT_TRY(read_properties(c, &r));
    return apply(&begin, &r, g);
}

/* An item in double quotes, as base/yaml.h writes it. */
static vt_status read_quoted(cursor *c, target *g)
{
    vt_text inside = {0};
    const char *p = c->at + 1;
    for (; p < c->end && *p != '"'; p++) {
        if (*p == '\\' && p + 1 < c->end)
            p++;
        vt_text_addn(&inside, p, 1);
    }
    if (p == c->end || inside.len == 0) {
        vt_text_release(&inside);
        return fail_at(c, p == c->end ? "a quotation mark that is not closed" : "an empty rule");
    }
    cursor item = {inside.s, inside.s + inside.len, c->column, true, c->err};
    vt_status status = read_rule(&item, g);
    if (status == VT_OK && item.at < item.end)
        status = fail_at(c, "a comma in a quoted rule; each rule stands in quotes of its own");
    vt_text_release(&inside);
    skip(c, (size_t)(p + 1 - c->at));
    skip_blanks(c);
    return status;
}

static vt_status read_rules(cursor *c, target *g)
{
    for (int n = 0;; n++) {
        skip_blanks(c);
        if (n == MAX_RULES)
            return fail_at(c, "more than %d rules", MAX_RULES);
        VT_TRY(c->at < c->end && *c->at == '"' ? read_quoted(c, g) : read_rule(c, g));
        if (c->at == c->end)
            return VT_OK;
        if (*c->at != ',')
            return fail_at(c, "expected a comma between rules");
        skip(c, 1);
    }
}

/* The text without blanks around it and without its outer brackets. No rule ends with a bracket. */
static cursor inside(const char *text, vt_err *err)
{
    cursor c = {text, text + strlen(text), 1, false, err};
    skip_blanks(&c);
    while (c.end > c.at && strchr(" \t\n", c.end[-1]))
        c.end--;
    if (c.end - c.at >= 2 && c.at[0] == '[' && c.end[-1] == ']') {
        skip(&c, 1);
        c.end--;
    }
    skip_blanks(&c);
    return c;
}

vt_status vt_rules_apply(const char *text, vt_tensor *params, int n_params, vt_err *err)
{
    target g = {params, n_params, vt_xcalloc((size_t)n_params, sizeof *g.state)};
    for (int i = 0; i < n_params; i++) {
        g.state[i].by_model = params[i].frozen;
        params[i].lr_factor = 1.0;
        params[i].decay = -1.0;
    }
    cursor c = inside(text, err);
    vt_status status = c.at == c.end ? VT_OK : read_rules(&c, &g);
    free(g.state);
    int frozen = 0;
    for (int i = 0; i < n_params; i++)
        frozen += params[i].frozen;
    if (status == VT_OK && n_params > 0 && frozen == n_params)
        return vt_fail(err, VT_EINVAL, "the rules freeze every parameter; nothing is left to train");
    return status;
}

/* i of layer-wise decay; -1 for what comes behind the blocks. */
static long layer_of(const char *name)
{
    static const char *const before[] = {"patch_embed.", "pos_embed", "cls_token", "reg_token", "norm_pre."};
    for (size_t i = 0; i < VT_COUNT_OF(before); i++)
        if (vt_has_prefix(name, before[i]))
            return 0;
    return vt_has_prefix(name, "blocks.") ? strtol(name + strlen("blocks."), NULL, 10) + 1 : -1;
}

void vt_layer_decay_apply(double decay, vt_tensor *params, int n_params)
{
    long depth = 0;
    for (int i = 0; i < n_params; i++)
        depth = layer_of(params[i].name) > depth ? layer_of(params[i].name) : depth;
    for (int i = 0; i < n_params; i++) {
        long layer = layer_of(params[i].name);
        for (long steps = layer < 0 ? 0 : depth + 1 - layer; steps > 0; steps--)
            params[i].lr_factor *= decay;
    }
}
