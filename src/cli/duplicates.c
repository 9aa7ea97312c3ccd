/* Looks are compared by all processors in windows; what is printed follows the order of the images. */
#include "cli/duplicates.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/machine.h"
#include "base/pool.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_data.h"

#define WINDOW      8192 /* images between two lines of progress */
#define LISTED      10   /* of each kind, by lines */
#define JSON_LISTED 1000 /* pairs in all */
#define NAME_BYTES  8192

/* By vt_same. */
static const struct {
    const char *name, *key;
} kinds[] = {{"", ""},
             {"same file", "same_file"},
             {"same pixels", "same_pixels"},
             {"near", "near"},
             {"near, mirrored", "near_mirrored"}};

vt_status vt_looked_open(vt_looked *l, const char *spec, vt_err *err)
{
    VT_TRY(vt_source_open(&l->source, spec, err));
    if (vt_source_is_endless(l->source))
        return vt_fail(err, VT_EINVAL, "data '%.300s' have no end; say how many by count=N", spec);
    l->n = vt_source_count(l->source);
    const size_t most = vt_machine_memory() / 3; /* two sources may be open */
    if (l->n > INT32_MAX || vt_similar_bytes(l->n) > most) {
        char need[32], have[32];
        return vt_fail(err, VT_ENOMEM,
                       "data '%.300s': looking for duplicates among %lld images takes %s; a third of this machine's "
                       "memory is %s: check parts of it, as in split=[:50%%]",
                       spec, (long long)l->n, vt_format_bytes(need, (double)vt_similar_bytes(l->n)),
                       vt_format_bytes(have, (double)most));
    }
    l->looks = malloc((size_t)l->n * sizeof *l->looks);
    l->good = calloc((size_t)l->n, sizeof *l->good);
    if (!l->looks || !l->good)
        return vt_fail(err, VT_ENOMEM, "data '%.300s': no memory to look at %lld images", spec, (long long)l->n);
    return VT_OK;
}

void vt_looked_close(vt_looked *l)
{
    vt_source_close(l->source);
    free(l->looks);
    free(l->good);
    *l = (vt_looked){0};
}

/* --- search --- */

typedef struct {
    vt_duplicates *found;
    const vt_similar *index;
    int64_t first;
    bool near;
} comparison;

static void compare_one(void *context, int64_t chunk, int thread)
{
    const comparison *c = context;
    const vt_looked *set = c->found->set;
    const int64_t i = c->first + chunk;
    const bool within = set == c->found->other;
    if (!set->good[i])
        return;
    c->found->matches[i] = vt_similar_find(c->index, &set->looks[i], within ? i : c->found->other->n, c->near);
}

/* Both texts are the caller's; true: the classes differ. */
static bool classes_differ(const vt_duplicates *d, int64_t i, vt_text *a, vt_text *b)
{
    vt_data_class_names(d->set->source, i, "|", a);
    vt_data_class_names(d->other->source, d->matches[i].other, "|", b);
    return strcmp(a->s, b->s) != 0;
}

static void count(vt_duplicates *d)
{
    vt_text a = {0}, b = {0};
    for (int64_t i = 0; i < d->set->n; i++) {
        const vt_match *m = &d->matches[i];
        d->cut_short += m->cut_short;
        if (m->same == VT_SAME_NONE)
            continue;
        d->total++;
        d->counts[m->same]++;
        d->other_classes[m->same] += classes_differ(d, i, &a, &b);
    }
    vt_text_release(&a);
    vt_text_release(&b);
}

vt_status vt_duplicates_find(vt_duplicates *d, const vt_looked *set, const vt_looked *other, bool near, vt_term *term,
                             vt_err *err)
{
    vt_similar *index = NULL;
    vt_pool *pool = NULL;
    *d = (vt_duplicates){.set = set, .other = other};
    vt_status status = vt_similar_new(&index, other->looks, other->good, other->n, err);
    if (status == VT_OK)
        status = vt_pool_new(&pool, vt_machine_cpus(), err);
    if (status == VT_OK) {
        d->matches = vt_xcalloc((size_t)set->n, sizeof *d->matches);
        comparison c = {.found = d, .index = index, .near = near};
        vt_term_counter counter = vt_term_counting(term, "comparing");
        for (; c.first < set->n; c.first += WINDOW) {
            const int64_t size = set->n - c.first < WINDOW ? set->n - c.first : WINDOW;
            vt_pool_run(pool, size, compare_one, &c);
            vt_term_count(&counter, c.first + size, set->n);
        }
        vt_term_clear(term);
        count(d);
    }
    vt_pool_free(pool);
    vt_similar_free(index);
    return status;
}

void vt_duplicates_release(vt_duplicates *d)
{
    free(d->matches);
    *d = (vt_duplicates){0};
}

/* --- output --- */

/* A pair in words; the buffers are reused from pair to pair. */
typedef struct {
    char name[NAME_BYTES], other[NAME_BYTES];
    vt_text classes, other_classes;
    bool differ;
} pair;

static void spell(const vt_duplicates *d, int64_t i, pair *p)
{
    (void)vt_source_sample_name(d->set->source, i, p->name, sizeof p->name);
    (void)vt_source_sample_name(d->other->source, d->matches[i].other, p->other, sizeof p->other);
    p->differ = classes_differ(d, i, &p->classes, &p->other_classes);
}

static pair *new_pair(void)
{
    return vt_xcalloc(1, sizeof(pair));
}

static void free_pair(pair *p)
{
    vt_text_release(&p->classes);
    vt_text_release(&p->other_classes);
    free(p);
}

static void print_some(const vt_duplicates *d, vt_same same, pair *p)
{
    char more[32];
    int64_t listed = 0;
    for (int64_t i = 0; i < d->set->n && listed < LISTED; i++) {
        if (d->matches[i].same != same)
            continue;
        listed++;
        spell(d, i, p);
        printf("%s: %s = %s", kinds[same].name, p->name, p->other);
        if (p->differ)
            printf("  (%s, but %s)", p->classes.len ? p->classes.s : "no class",
                   p->other_classes.len ? p->other_classes.s : "no class");
        printf("\n");
    }
    if (d->counts[same] > listed)
        printf("... and %s more (%s); --list FILE has all\n", vt_cli_number(more, d->counts[same] - listed),
               kinds[same].name);
}

void vt_duplicates_print(const vt_duplicates *d)
{
    char a[32], b[32];
    int64_t differ = 0;
    pair *p = new_pair();
    for (int k = VT_SAME_FILE; k <= VT_SAME_MIRRORED; k++) {
        print_some(d, (vt_same)k, p);
        differ += d->other_classes[k];
    }
    free_pair(p);
    if (d->set == d->other)
        printf("%s repeat another image", vt_cli_number(a, d->total));
    else
        printf("%s are also in %s", vt_cli_number(a, d->total), vt_source_spec(d->other->source));
    for (int k = VT_SAME_FILE; k <= VT_SAME_MIRRORED; k++)
        printf("%s%s %s", k > VT_SAME_FILE ? ", " : ": ", vt_cli_number(a, d->counts[k]), kinds[k].name);
    if (differ)
        printf("; %s of them under other classes", vt_cli_number(b, differ));
    printf("\n");
    if (d->cut_short)
        printf("for %s images the search for near ones was cut short: too many are alike\n",
               vt_cli_number(a, d->cut_short));
}

static json_t *pairs_json(const vt_duplicates *d)
{
    json_t *list = json_array();
    pair *p = new_pair();
    for (int64_t i = 0; i < d->set->n && json_array_size(list) < JSON_LISTED; i++) {
        const vt_match *m = &d->matches[i];
        if (m->same == VT_SAME_NONE)
            continue;
        spell(d, i, p);
        json_t *o = json_object();
        (void)json_object_set_new(o, "kind", json_string(kinds[m->same].key));
        (void)json_object_set_new(o, "image", vt_cli_json_text(p->name));
        (void)json_object_set_new(o, "other", vt_cli_json_text(p->other));
        (void)json_object_set_new(o, "classes", vt_cli_json_text(p->classes.s));
        (void)json_object_set_new(o, "other_classes", vt_cli_json_text(p->other_classes.s));
        (void)json_object_set_new(o, "difference", json_integer(m->difference));
        (void)json_array_append_new(list, o);
    }
    free_pair(p);
    return list;
}

json_t *vt_duplicates_json(const vt_duplicates *d)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "data", vt_cli_json_text(vt_source_spec(d->other->source)));
    (void)json_object_set_new(o, "count", json_integer(d->total));
    for (int k = VT_SAME_FILE; k <= VT_SAME_MIRRORED; k++) {
        json_t *kind = json_object();
        (void)json_object_set_new(kind, "count", json_integer(d->counts[k]));
        (void)json_object_set_new(kind, "other_classes", json_integer(d->other_classes[k]));
        (void)json_object_set_new(o, kinds[k].key, kind);
    }
    (void)json_object_set_new(o, "cut_short", json_integer(d->cut_short));
    (void)json_object_set_new(o, "pairs", pairs_json(d));
    return o;
}

/* RFC 4180: quotes around a field that needs them, doubled inside. */
static void add_field(vt_text *out, const char *s)
{
    if (!strpbrk(s, ",\"\r\n")) {
        vt_text_addf(out, "%s,", s);
        return;
    }
    vt_text_add(out, "\"");
    for (; *s; s++)
        vt_text_addn(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    vt_text_add(out, "\",");
}

const char vt_duplicates_csv_header[] = "kind,image,classes,other_data,other,other_classes,difference\n";

vt_status vt_duplicates_csv(const vt_duplicates *d, vt_atomic_file *out, vt_err *err)
{
    pair *p = new_pair();
    vt_text row = {0};
    vt_status status = VT_OK;
    for (int64_t i = 0; i < d->set->n && status == VT_OK; i++) {
        const vt_match *m = &d->matches[i];
        if (m->same == VT_SAME_NONE)
            continue;
        spell(d, i, p);
        vt_text_clear(&row);
        add_field(&row, kinds[m->same].key);
        add_field(&row, p->name);
        add_field(&row, p->classes.s);
        add_field(&row, vt_source_spec(d->other->source));
        add_field(&row, p->other);
        add_field(&row, p->other_classes.s);
        vt_text_addf(&row, "%d\n", m->difference);
        status = vt_atomic_write(out, row.s, row.len, err);
    }
    vt_text_release(&row);
    free_pair(p);
    return status;
}
