/* The named shapes of spec 1.1 and 1.4, the grammar of names, and what makes a configuration a model.
 *
 *   NAME        a row of the table, with its default patch      "B"
 *   NAME/P      the same with patch P                           "S/28"
 *   free        w<width>-d<depth>-m<MLP>-h<heads>[-p<patch>]    "w64-d4-m256-h4-p7"; also with /P instead of -p */
#include "model/model.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Limits keep every product of sizes far inside int64; those of tokens and head width are the kernels'. */
#define MAX_SIDE    65536
#define MAX_WIDTH   65536
#define MAX_MLP     (1 << 20)
#define MAX_DEPTH   4096
#define MAX_CLASSES (1 << 24)

enum { FREE_SHAPE_PATCH = 16, NAME_BYTES = 64 };

const vt_shape vt_shapes[] = {
    {"mu", 32, 1, 128, 2, 16},         {"Ti", 192, 12, 768, 3, 16},        {"s", 256, 6, 1024, 8, 16},
    {"S", 384, 12, 1536, 6, 16},       {"M", 512, 12, 2048, 8, 16},        {"B", 768, 12, 3072, 12, 16},
    {"L", 1024, 24, 4096, 16, 16},     {"So400m", 1152, 27, 4304, 16, 14}, {"H", 1280, 32, 5120, 16, 14},
    {"g", 1408, 40, 6144, 16, 14},     {"g-opt", 1536, 40, 6144, 16, 14},  {"G", 1664, 48, 8192, 16, 14},
    {"G-opt", 1536, 48, 8192, 16, 14}, {"e", 1792, 56, 15360, 16, 14},     {NULL, 0, 0, 0, 0, 0},
};

/* The row of that name; in another case only when a single row fits. */
static const vt_shape *find_shape(const char *name)
{
    const vt_shape *found = NULL;
    int fits = 0;
    for (const vt_shape *s = vt_shapes; s->name != NULL; s++) {
        if (strcmp(s->name, name) == 0)
            return s;
        if (strcasecmp(s->name, name) == 0) {
            found = s;
            fits++;
        }
    }
    return fits == 1 ? found : NULL;
}

static vt_status unknown_shape(const char *name, const char *base, vt_err *err)
{
    const char *names[VT_COUNT_OF(vt_shapes)];
    size_t n = 0;
    vt_text list = {0};
    for (const vt_shape *s = vt_shapes; s->name != NULL; s++) {
        vt_text_addf(&list, "%s%s", n > 0 ? ", " : "", s->name);
        names[n++] = s->name;
    }
    const char *near = vt_nearest(base, names, n);
    vt_status status = vt_fail(
        err, VT_EINVAL,
        "model.shape: no shape is called \"%.40s\"%s%s%s; it is one of %s, each with \"/PATCH\" if wanted, or "
        "free as w64-d4-m256-h4-p7 (width, depth, MLP width, heads, patch)",
        name, near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"" : "", list.s);
    vt_text_release(&list);
    return status;
}

/* A size behind a letter or slash: digits only, 1 .. 10^9. */
static const char *parse_size(const char *s, int64_t *size)
{
    *size = 0;
    while (isdigit((unsigned char)*s) && *size < 1000000000)
        *size = *size * 10 + (*s++ - '0');
    return s;
}

/* w..-d..-m..-h..[-p..]. Returns 0 when the text is not of this form, each letter once at most. */
static int parse_free(const char *s, vt_model_config *c)
{
    static const char letters[] = "wdmhp";
    int64_t values[5] = {0};
    do {
        const char *letter = strchr(letters, tolower((unsigned char)*s));
        if (*s == '\0' || letter == NULL || values[letter - letters] != 0)
            return 0;
        int64_t *value = &values[letter - letters];
        s = parse_size(s + 1, value);
        if (*value == 0 || (*s != '-' && *s != '\0'))
            return 0;
    } while (*s++ == '-');
    if (values[0] == 0 || values[1] == 0 || values[2] == 0 || values[3] == 0)
        return 0;
    c->width = values[0], c->depth = values[1], c->mlp = values[2], c->heads = values[3], c->patch = values[4];
    return 1;
}

vt_status vt_model_shape(const char *name, vt_model_config *config, vt_err *err)
{
    char base[NAME_BYTES];
    const char *slash = strchr(name, '/');
    size_t length = slash != NULL ? (size_t)(slash - name) : strlen(name);
    if (length >= sizeof base)
        return vt_fail(err, VT_EINVAL, "model.shape: \"%.40s...\" is too long for the name of a shape", name);
    snprintf(base, sizeof base, "%.*s", (int)length, name);

    int64_t patch = 0;
    if (slash != NULL && (*parse_size(slash + 1, &patch) != '\0' || patch == 0))
        return vt_fail(err, VT_EINVAL,
                       "model.shape: in \"%.40s\" a patch side in pixels must stand behind the slash, as in B/16",
                       name);

    vt_model_config c = *config;
    const vt_shape *s = find_shape(base);
    if (s != NULL)
        c.width = s->width, c.depth = s->depth, c.mlp = s->mlp, c.heads = s->heads, c.patch = 0;
    else if (!parse_free(base, &c))
        return unknown_shape(name, base, err);
    if (patch != 0 && c.patch != 0)
        return vt_fail(err, VT_EINVAL, "model.shape: \"%.40s\" gives the patch twice; use -p or / but not both", name);
    if (patch != 0)
        c.patch = patch;
    else if (c.patch == 0)
        c.patch = s != NULL ? s->default_patch : FREE_SHAPE_PATCH;
    *config = c;
    return VT_OK;
}

static vt_status in_range(const char *what, int64_t value, int64_t min, int64_t max, vt_err *err)
{
    if (value < min || value > max)
        return vt_fail(err, VT_EINVAL, "%s is %lld; it must be between %lld and %lld", what, (long long)value,
                       (long long)min, (long long)max);
    return VT_OK;
}

/* A choice of a table of n names. */
static vt_status in_names(const char *key, int value, const char *const *names, vt_err *err)
{
    int n = 0;
    vt_text list = {0};
    while (names[n] != NULL) {
        vt_text_addf(&list, "%s%s", n > 0 ? ", " : "", names[n]);
        n++;
    }
    vt_status status = value >= 0 && value < n
                           ? VT_OK
                           : vt_fail(err, VT_EINVAL, "%s has number %d; it must be one of %s", key, value, list.s);
    vt_text_release(&list);
    return status;
}

vt_token_kind vt_model_class_token(const vt_model_config *c)
{
    if (c->class_token != VT_TOKEN_AUTO)
        return (vt_token_kind)c->class_token;
    return c->head == VT_HEAD_TOK ? VT_TOKEN_PLAIN : VT_TOKEN_NONE;
}

/* Tokens that are no patches. */
static vt_status check_tokens(const vt_model_config *c, vt_err *err)
{
    VT_TRY(in_names("model.class_token", c->class_token, vt_token_names, err));
    VT_TRY(in_range("model.registers", c->registers, 0, VT_MAX_TOKENS, err));
    vt_token_kind token = vt_model_class_token(c);
    if (c->head == VT_HEAD_TOK && token == VT_TOKEN_NONE)
        return vt_fail(err, VT_EINVAL, "model.head is tok, which needs a class token; model.class_token is none");
    if (c->positions == VT_POSITIONS_SINCOS2D && token == VT_TOKEN_POSITION)
        return vt_fail(err, VT_EINVAL,
                       "model.positions is sincos2d, in which a class token has no place; model.class_token must be "
                       "plain");
    return VT_OK;
}

/* All but sizes. */
static vt_status check_kinds(const vt_model_config *c, vt_err *err)
{
    VT_TRY(in_names("model.head", c->head, vt_head_names, err));
    VT_TRY(in_names("model.positions", c->positions, vt_positions_names, err));
    VT_TRY(in_names("model.gelu", c->gelu, vt_gelu_names, err));
    VT_TRY(in_names("model.mlp_kind", c->mlp_kind, vt_mlp_names, err));
    VT_TRY(check_tokens(c, err));
    if (!(c->layer_scale >= 0 && c->layer_scale <= 1000))
        return vt_fail(err, VT_EINVAL, "model.layer_scale is %g; it must be between 0 (none) and 1000", c->layer_scale);
    VT_TRY(in_range("model.representation", c->representation, 0, MAX_WIDTH, err));
    if (c->positions == VT_POSITIONS_SINCOS2D && c->width % 4 != 0)
        return vt_fail(err, VT_EINVAL,
                       "model.positions is sincos2d, which needs a width that 4 divides; model.shape has width %lld",
                       (long long)c->width);
    if (!(c->norm_eps > 0.0 && c->norm_eps <= 1.0))
        return vt_fail(err, VT_EINVAL, "model.norm_eps is %g; it must be above 0 and at most 1", c->norm_eps);
    if (!isfinite(c->head_bias))
        return vt_fail(err, VT_EINVAL, "model.head_bias must be a finite number");
    return VT_OK;
}

vt_status vt_model_check(const vt_model_config *c, vt_err *err)
{
    VT_TRY(in_range("model.shape: the width", c->width, 1, MAX_WIDTH, err));
    VT_TRY(in_range("model.shape: the depth", c->depth, 1, MAX_DEPTH, err));
    VT_TRY(in_range("model.shape: the MLP width", c->mlp, 1, MAX_MLP, err));
    VT_TRY(in_range("model.shape: the number of heads", c->heads, 1, MAX_WIDTH, err));
    VT_TRY(in_range("model.shape: the patch side", c->patch, 1, MAX_SIDE, err));
    VT_TRY(in_range("model.image: the height", c->image_height, 1, MAX_SIDE, err));
    VT_TRY(in_range("model.image: the width", c->image_width, 1, MAX_SIDE, err));
    VT_TRY(in_range("model.classes", c->classes, 0, MAX_CLASSES, err));
    if (c->width % c->heads != 0)
        return vt_fail(err, VT_EINVAL, "model.shape: the number of heads (%lld) must divide the width (%lld)",
                       (long long)c->heads, (long long)c->width);
    if (c->width / c->heads > VT_MAX_HEAD_WIDTH)
        return vt_fail(err, VT_EINVAL,
                       "model.shape: width %lld over %lld heads makes heads of %lld; at most %d are supported",
                       (long long)c->width, (long long)c->heads, (long long)(c->width / c->heads), VT_MAX_HEAD_WIDTH);
    if (c->image_height < c->patch || c->image_width < c->patch)
        return vt_fail(err, VT_EINVAL, "model.image is %lldx%lld (height x width), smaller than one patch of side %lld",
                       (long long)c->image_height, (long long)c->image_width, (long long)c->patch);
    int64_t tokens = (c->image_height / c->patch) * (c->image_width / c->patch);
    tokens += c->registers + (vt_model_class_token(c) != VT_TOKEN_NONE);
    if (tokens > VT_MAX_TOKENS)
        return vt_fail(err, VT_EINVAL,
                       "model.image %lldx%lld in patches of %lld makes %lld tokens; at most %d are supported",
                       (long long)c->image_height, (long long)c->image_width, (long long)c->patch, (long long)tokens,
                       VT_MAX_TOKENS);
    return check_kinds(c, err);
}
