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

void vt_data_class_names(const vt_source *s, int64_t i, const char *between, vt_text *out)
{
    int32_t classes[VT_MAX_LABELS];
    vt_text_clear(out);
    vt_text_add(out, "");
    const int n = vt_source_labels(s, i, classes, VT_MAX_LABELS);
    for (int k = 0; k < n; k++)
        vt_text_addf(out, "%s%s", k ? between : "", vt_source_class_name(s, classes[k]));
}

int64_t *vt_data_class_counts(const vt_source *s)
{
    int64_t *counts = vt_xcalloc((size_t)vt_source_classes(s), sizeof *counts);
    vt_source_class_counts(s, counts);
    return counts;
}
