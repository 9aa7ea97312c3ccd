/* A table of runs as somebody wrote it down: named columns of texts, one row a run or a moment of one. Read from CSV of
 * any column names (comma, semicolon or tab; quotes of RFC 4180), the charts that W&B exports (one column a run: turned
 * into one row a run and step), JSON lines (vitro's metrics.jsonl, big_vision's metrics) and TensorBoard event files.
 *
 * Limits: 256 MiB a file, 1,000,000 rows, 2,000 columns, 16,000,000 cells, 64 KiB a cell. */
#ifndef VT_LAW_TABLE_H
#define VT_LAW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

#define VT_TABLE_MAX_BYTES   ((size_t)256 << 20)
#define VT_TABLE_MAX_ROWS    1000000
#define VT_TABLE_MAX_COLUMNS 2000
#define VT_TABLE_MAX_CELLS   16000000
#define VT_TABLE_MAX_CELL    65536

/* {0} is empty; release leaves {0}. */
typedef struct {
    char *path;         /* for messages */
    const char *format; /* "CSV", "JSON lines", ...: a word for people */
    char hash[VT_HASH_HEX];
    char **columns;
    size_t n_columns, n_rows;
    uint32_t *cells;  /* rows x columns offsets into text; 0 is an empty cell */
    char *text;       /* all texts, each terminated; text[0] is '\0' */
    size_t n_torn;    /* rows that could not be read: wrong number of cells, broken JSON, damaged record */
    size_t torn_line; /* line (or record) of the first of them, from 1 */
    const char *torn_why;
    size_t text_len, text_cap, cells_cap;
    uint32_t *index; /* hash table of columns: 1 + column, 0 is free */
} vt_table;

/* Reads a file of any of the formats; which one it is follows from its name and first bytes. "-" is no file. */
vt_status vt_table_load(vt_table *t, const char *path, vt_err *err) VT_MUST_USE;

/* The same from memory; place is the file's name. */
vt_status vt_table_parse(vt_table *t, const char *place, const unsigned char *data, size_t size,
                         vt_err *err) VT_MUST_USE;
void vt_table_release(vt_table *t);

/* The text of a cell, "" where there is none. */
const char *vt_table_cell(const vt_table *t, size_t row, size_t column);

/* The column of a name; the message names the nearest, or all when they are few. */
vt_status vt_table_find(const vt_table *t, const char *name, size_t *column, vt_err *err) VT_MUST_USE;
/* As above, without a message; false where there is none. */
bool vt_table_has(const vt_table *t, const char *name, size_t *column);

#endif
