/* CSV, cell by cell: RFC 4180 quotes, separated by comma, semicolon or tab (whichever the header has most of), lines
 * ended by LF or CRLF, an optional byte-order mark, lines that begin with '#' before the header left out. A quote that
 * is never closed is an error, since all behind it would be lost; so is a zero byte. */
#ifndef VT_BASE_CSV_H
#define VT_BASE_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

typedef struct {
    const char *path; /* for messages; borrowed, like the text */
    const char *p, *end;
    char separator;
    size_t line;  /* of p, from 1 */
    vt_text cell; /* the last one read: always terminated, blanks around it removed */
} vt_csv;

/* Begins before the header's first cell. An empty text is an error. Release r afterwards, whatever happened. */
vt_status vt_csv_begin(vt_csv *r, const char *path, const void *data, size_t size, vt_err *err) VT_MUST_USE;
/* The next row begins at p, behind empty lines; false at the end. */
bool vt_csv_next_row(vt_csv *r);
/* Reads a cell of the row; *last when the row ends with it. */
vt_status vt_csv_next_cell(vt_csv *r, bool *last, vt_err *err) VT_MUST_USE;
/* Refuses a row that has not as many cells as the header. */
vt_status vt_csv_check_cells(size_t found, size_t header, vt_err *err) VT_MUST_USE;
void vt_csv_release(vt_csv *r);

#endif
