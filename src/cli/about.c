/* Versions of libraries are asked from the libraries that run, where they tell; libjpeg-turbo tells only its header's.
 */
#include "cli/about.h"

#include <jansson.h>
#include <jconfig.h>
#include <openssl/crypto.h>
#include <spng.h>
#include <yaml.h>
#include <zlib.h>

#include "base/version.h"

#define TEXT_OF(x)  TEXT_OF_(x)
#define TEXT_OF_(x) #x

void vt_about_libraries(vt_library list[VT_N_LIBRARIES])
{
    const vt_library all[VT_N_LIBRARIES] = {
        {"jansson", jansson_version_str(), "JSON"},
        {"libyaml", yaml_get_version_string(), "recipes"},
        {"libjpeg-turbo", TEXT_OF(LIBJPEG_TURBO_VERSION), "JPEG images"},
        {"libspng", spng_version_string(), "PNG images"},
        {"zlib", zlibVersion(), "gzip files"},
        {"libcrypto", OpenSSL_version(OPENSSL_VERSION_STRING), "SHA-256"},
    };
    for (int i = 0; i < VT_N_LIBRARIES; i++)
        list[i] = all[i];
}

json_t *vt_about_json(void)
{
    vt_library libraries[VT_N_LIBRARIES];
    vt_about_libraries(libraries);
    json_t *versions = json_object();
    for (int i = 0; i < VT_N_LIBRARIES; i++)
        (void)json_object_set_new(versions, libraries[i].name, json_string(libraries[i].version));
    json_t *about = json_object();
    (void)json_object_set_new(about, "version", json_string(vt_version()));
    (void)json_object_set_new(about, "commit", json_string(vt_commit()));
    (void)json_object_set_new(about, "compiler", json_string(vt_compiler()));
    (void)json_object_set_new(about, "libraries", versions);
    return about;
}
