/* What the commands of `vitro data` share: the forms of DATA, and counts. One file a command: cmd_data_*.c. */
#include "cli/cmd_data.h"

#include "base/text.h"

void vt_data_help(FILE *out)
{
    (void)fputs("\nDATA is one of:\n", out);
    for (const vt_source_help *h = vt_source_kinds_help; h->name; h++)
        (void)fprintf(out, "  %s\n      %s\n", h->form, h->help);
    (void)fputs("Options follow '?', joined by '&':\n", out);
    for (const vt_source_help *h = vt_source_options_help; h->name; h++)
        (void)fprintf(out, "  %-15s %s\n", h->form, h->help);
}

int64_t *vt_data_class_counts(const vt_source *s)
{
    int64_t *counts = vt_xcalloc((size_t)vt_source_classes(s), sizeof *counts);
    vt_source_class_counts(s, counts);
    return counts;
}
