/* What the readers of labels=FILE share: label_sets.c (rows of text, and the whole) and label_files.c (CSV, JSON). */
#ifndef VT_DATA_LABEL_ROWS_H
#define VT_DATA_LABEL_ROWS_H

#include "data/label_sets.h"

#define VT_LABEL_UNSEEN UINT32_MAX /* as the number of classes: the sample had no row yet */

/* A stretch of the file, or of a name elsewhere; not terminated. */
typedef struct {
    const char *s;
    size_t n;
} vt_piece;

typedef struct {
    vt_piece name;
    int64_t index;
} vt_label_entry;

typedef struct {
    const vt_collection_kind *kind;
    vt_collection *c;
    vt_label_entry *samples, *classes; /* sorted by name; NULL where indices or numbers stand for names */
    vt_label_sets sets;
    size_t n_labels, capacity; /* of sets.classes */
    int64_t most;              /* largest class so far */
    int64_t rows;
} vt_label_reader;

int vt_piece_compare(vt_piece a, vt_piece b);
int vt_piece_shown(vt_piece text); /* bytes of it that fit into a message */
vt_piece vt_piece_trim(vt_piece p);
/* What is in front of the first mark, or all; *rest goes on behind it, or its text is NULL. */
vt_piece vt_piece_cut(vt_piece *rest, char mark);
int vt_label_compare_entries(const void *a, const void *b);

vt_status vt_label_find_sample(const vt_label_reader *r, vt_piece name, int64_t *sample, vt_err *err) VT_MUST_USE;
/* Begins the row of a sample; vt_label_end_row must follow. */
vt_status vt_label_begin_row(vt_label_reader *r, int64_t sample, vt_label_row **row, vt_err *err) VT_MUST_USE;
void vt_label_end_row(vt_label_reader *r, const vt_label_row *row);
/* A class by its name (or number, where classes have none), or by its place; text is what the file says. */
vt_status vt_label_add_class(vt_label_reader *r, vt_label_row *row, vt_piece text, vt_err *err) VT_MUST_USE;
vt_status vt_label_insert_class(vt_label_reader *r, vt_label_row *row, int64_t class, vt_piece text,
                                vt_err *err) VT_MUST_USE;

vt_status vt_label_read_csv(vt_label_reader *r, const char *text, size_t size, vt_err *err) VT_MUST_USE;
vt_status vt_label_read_json(vt_label_reader *r, const char *text, size_t size, vt_err *err) VT_MUST_USE;

#endif
