/* How the readers (table_csv.c, table_json.c, table_events.c) fill a table: columns first, rows after; every limit of
 * table.h is checked here. */
#ifndef VT_LAW_TABLE_BUILD_H
#define VT_LAW_TABLE_BUILD_H

#include "law/table.h"

/* The column of a name of n bytes, added where it is new. *column is SIZE_MAX when add is false and there is none. */
vt_status vt_table_column(vt_table *t, const char *name, size_t n, bool add, size_t *column, vt_err *err) VT_MUST_USE;

/* A new row of empty cells; after it no column may be added. */
vt_status vt_table_add_row(vt_table *t, vt_err *err) VT_MUST_USE;

/* Sets a cell of the last row. */
vt_status vt_table_set(vt_table *t, size_t column, const char *s, size_t n, vt_err *err) VT_MUST_USE;

/* Counts a row that could not be read. */
void vt_table_torn(vt_table *t, size_t line, const char *why);

vt_status vt_table_read_csv(vt_table *t, const unsigned char *data, size_t size, vt_err *err) VT_MUST_USE;
vt_status vt_table_read_json(vt_table *t, const unsigned char *data, size_t size, vt_err *err) VT_MUST_USE;
vt_status vt_table_read_events(vt_table *t, const unsigned char *data, size_t size, vt_err *err) VT_MUST_USE;

/* Whether the first bytes are a record of a TensorBoard event file (its length is followed by that length's checksum).
 */
bool vt_table_looks_like_events(const unsigned char *data, size_t size);

/* A chart exported by W&B ("run - metric", "run - metric__MIN", ...) turned into columns run, the first column's name
 * and the metric; any other table is left as it is. */
vt_status vt_table_unfold_wandb(vt_table *t, vt_err *err) VT_MUST_USE;

#endif
