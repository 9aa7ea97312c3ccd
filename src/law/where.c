/* Conditions on rows: "set=jft,metric=INet10|INet5,params_m<1000". ',' means and, '|' means or between values. Where
 * both sides are numbers they compare as numbers, else = and != compare texts and the others do not hold. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "law/points.h"

typedef enum { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE } op;

typedef struct {
    size_t column;
    op op;
    char *value; /* alternatives separated by '|' */
} condition;

struct vt_where {
    condition *list;
    size_t n;
};

/* The operator at p, its length in *length; 0 where there is none. */
static op operator_at(const char *p, size_t *length)
{
    static const struct {
        const char *text;
        op op;
    } ops[] = {{"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE}, {"==", OP_EQ}, {"=", OP_EQ}, {"<", OP_LT}, {">", OP_GT}};
    for (size_t i = 0; i < VT_COUNT_OF(ops); i++)
        if (vt_has_prefix(p, ops[i].text)) {
            *length = strlen(ops[i].text);
            return ops[i].op;
        }
    *length = 0;
    return OP_EQ;
}

static vt_status parse_one(vt_where *w, const vt_table *t, char *text, vt_err *err)
{
    size_t length = 0;
    char *p = text;
    op found = OP_EQ;
    for (; *p; p++) {
        found = operator_at(p, &length);
        if (length)
            break;
    }
    if (!*p || p == text)
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is no condition; expected column=value (or != < <= > >=)", text);
    condition c = {.op = found};
    char *name = vt_xstrdup(text);
    name[p - text] = '\0';
    vt_status status = vt_table_find(t, name, &c.column, err);
    free(name);
    VT_TRY(status);
    c.value = vt_xstrdup(p + length);
    w->list = vt_xrealloc(w->list, (w->n + 1) * sizeof *w->list);
    w->list[w->n++] = c;
    return VT_OK;
}

vt_status vt_where_parse(vt_where **w, const vt_table *t, const char *text, vt_err *err)
{
    *w = vt_xcalloc(1, sizeof **w);
    char *copy = vt_xstrdup(text ? text : "");
    vt_status status = VT_OK;
    for (char *p = copy, *next; *p && status == VT_OK; p = next) {
        next = p + strcspn(p, ",");
        if (*next)
            *next++ = '\0';
        status = parse_one(*w, t, p, err);
    }
    free(copy);
    if (status != VT_OK) {
        vt_where_free(*w);
        *w = NULL;
        return vt_prefix(err, "--where");
    }
    return VT_OK;
}

static bool compare(op o, const char *cell, const char *value)
{
    double a, b;
    if (vt_parse_f64(cell, &a, NULL) == VT_OK && vt_parse_f64(value, &b, NULL) == VT_OK) {
        switch (o) {
        case OP_EQ:
            return a == b;
        case OP_NE:
            return a != b;
        case OP_LT:
            return a < b;
        case OP_LE:
            return a <= b;
        case OP_GT:
            return a > b;
        case OP_GE:
            return a >= b;
        }
    }
    const bool same = strcmp(cell, value) == 0;
    return o == OP_EQ ? same : o == OP_NE ? !same : false;
}

static bool holds(const condition *c, const char *cell)
{
    char value[256];
    for (const char *p = c->value;;) {
        const size_t n = strcspn(p, "|");
        const size_t m = n < sizeof value ? n : sizeof value - 1;
        memcpy(value, p, m);
        value[m] = '\0';
        const bool one = compare(c->op, cell, value);
        if (c->op == OP_NE ? !one : one)
            return c->op != OP_NE;
        if (!p[n])
            return c->op == OP_NE;
        p += n + 1;
    }
}

bool vt_where_holds(const vt_where *w, const vt_table *t, size_t row)
{
    for (size_t i = 0; i < w->n; i++)
        if (!holds(&w->list[i], vt_table_cell(t, row, w->list[i].column)))
            return false;
    return true;
}

void vt_where_free(vt_where *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++)
        free(w->list[i].value);
    free(w->list);
    free(w);
}
