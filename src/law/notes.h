/* What goes wrong with laws, checked for: each finding is one sentence that the person reads under the fit. */
#ifndef VT_LAW_NOTES_H
#define VT_LAW_NOTES_H

#include "law/law.h"

/* Fills law->notes. */
void vt_law_note(vt_law *law, const vt_points *pts);

#endif
