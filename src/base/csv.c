/* The reader of CSV: a pointer into the text, and one cell. */
#include "base/csv.h"

#include <string.h>

/* The separator that the first line has most of, outside of quotes. */
static char find_separator(const char *p, const char *end)
{
    static const char candidates[] = {',', ';', '\t'};
    size_t counts[sizeof candidates] = {0};
    bool quoted = false;
    for (; p < end && (quoted || (*p != '\n' && *p != '\r')); p++) {
        quoted ^= *p == '"';
        for (size_t i = 0; i < sizeof candidates; i++)
            counts[i] += !quoted && *p == candidates[i];
    }
    size_t best = 0;
    for (size_t i = 1; i < sizeof candidates; i++)
        if (counts[i] > counts[best])
            best = i;
    return candidates[best];
}

static void skip_line(vt_csv *r)
{
    while (r->p < r->end && *r->p != '\n')
        r->p++;
    if (r->p < r->end)
        r->p++;
    r->line++;
}

static bool is_blank_line(const vt_csv *r)
{
    const char *p = r->p;
    while (p < r->end && (*p == ' ' || *p == '\r'))
        p++;
    return p == r->end || *p == '\n';
}

bool vt_csv_next_row(vt_csv *r)
{
    while (r->p < r->end && is_blank_line(r))
        skip_line(r);
    return r->p < r->end;
}

vt_status vt_csv_begin(vt_csv *r, const char *path, const void *data, size_t size, vt_err *err)
{
    *r = (vt_csv){.path = path, .p = data, .end = (const char *)data + size, .line = 1};
    if (memchr(data, '\0', size))
        return vt_fail(err, VT_EFORMAT, "%s holds zero bytes: it is no CSV", path);
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
        r->p += 3;
    while (vt_csv_next_row(r) && *r->p == '#')
        skip_line(r);
    if (r->p >= r->end)
        return vt_fail(err, VT_EFORMAT, "%s is empty; a header with the names of columns is expected", path);
    r->separator = find_separator(r->p, r->end);
    return VT_OK;
}

/* A quoted cell, from behind its opening quote to behind the closing one. */
static vt_status quoted_cell(vt_csv *r, vt_err *err)
{
    const size_t opened = r->line;
    for (;; r->p++) {
        if (r->p == r->end)
            return vt_fail(err, VT_EFORMAT, "%s:%zu: a quote opens here and is never closed", r->path, opened);
        if (*r->p == '"') {
            if (r->p + 1 == r->end || r->p[1] != '"')
                break;
            r->p++;
        }
        r->line += *r->p == '\n';
        vt_text_addn(&r->cell, r->p, 1);
    }
    r->p++;
    return VT_OK;
}

vt_status vt_csv_next_cell(vt_csv *r, bool *last, vt_err *err)
{
    vt_text_clear(&r->cell);
    if (r->p < r->end && *r->p == '"') {
        r->p++;
        VT_TRY(quoted_cell(r, err));
    }
    const char *start = r->p;
    while (r->p < r->end && *r->p != r->separator && *r->p != '\n')
        r->p++;
    vt_text_addn(&r->cell, start, (size_t)(r->p - start));
    *last = r->p == r->end || *r->p == '\n';
    if (r->p < r->end)
        r->p++;
    r->line += *last;
    while (r->cell.len && strchr(" \r\t", r->cell.s[r->cell.len - 1]) && r->cell.s[r->cell.len - 1])
        r->cell.s[--r->cell.len] = '\0';
    return VT_OK;
}

vt_status vt_csv_check_cells(size_t found, size_t header, vt_err *err)
{
    if (found == header)
        return VT_OK;
    return vt_fail(err, VT_EFORMAT,
                   "%zu cells, but the header has %zu; a cell that holds the separator stands in quotes", found,
                   header);
}

void vt_csv_release(vt_csv *r)
{
    vt_text_release(&r->cell);
}
