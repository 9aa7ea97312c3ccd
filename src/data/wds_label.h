/* The label members of a WebDataset sample: KEY.cls, KEY.json, KEY.txt; inside data/ only. */
#ifndef VT_DATA_WDS_LABEL_H
#define VT_DATA_WDS_LABEL_H

#include "data/label_build.h"
#include "data/tar_index.h"

typedef enum { VT_WDS_CLS, VT_WDS_JSON, VT_WDS_TXT, VT_WDS_LABELS } vt_wds_label;
extern const char *const vt_wds_label_extensions[VT_WDS_LABELS]; /* ".cls", ... */

/* The sample's label from its members (index of each, or -1), .cls before .json before .txt; a .json without the key is
 * passed over where another is there. key: json_key=, then only .json counts; or NULL: "label", else "cls". False in
 * *found where no member tells. */
vt_status vt_wds_label_read(vt_label_build *b, const vt_tar_index *index, const int64_t members[VT_WDS_LABELS],
                            const char *key, bool *found, vt_err *err) VT_MUST_USE;

#endif
