/* Which program this is: "0.1.0", the commit it was built from (with "-dirty" when files differed), the compiler. */
#ifndef VT_BASE_VERSION_H
#define VT_BASE_VERSION_H

const char *vt_version(void);
const char *vt_commit(void);
const char *vt_compiler(void); /* "gcc 12.2.0", "clang 14.0.6" */

#endif
