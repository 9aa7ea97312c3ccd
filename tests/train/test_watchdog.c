/* The watchdog names what waits and for which image, keeps silent while anything moves, and ends with its run. */
#include "scene.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "train/watchdog.h"

#define STALL   0.002 /* minutes: 120 ms */
#define STALL_S "0.002"

static scene here;

/* What was logged; lines come from the watchdog's thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static vt_text logged;

static void keep_line(void *context, vt_log_level level, const char *line)
{
    (void)context, (void)level;
    pthread_mutex_lock(&lock);
    vt_text_addf(&logged, "%s\n", line);
    pthread_mutex_unlock(&lock);
}

static bool was_logged(const char *words)
{
    pthread_mutex_lock(&lock);
    bool found = logged.s && strstr(logged.s, words);
    pthread_mutex_unlock(&lock);
    return found;
}

static void forget_log(void)
{
    pthread_mutex_lock(&lock);
    vt_text_clear(&logged);
    pthread_mutex_unlock(&lock);
}

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* Waits for as long as a machine under load may need. */
static bool comes(const char *words)
{
    for (int i = 0; i < 2000 && !was_logged(words); i++)
        sleep_ms(10);
    return was_logged(words);
}

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    vt_log_set(keep_line, NULL, VT_LOG_INFO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vt_log_set(NULL, NULL, VT_LOG_ERROR);
    vt_text_release(&logged);
    scene_remove(&here);
    return 0;
}

/* Breaks when a stage has no words, or the words of another one; or a worker's image is not named. */
static void every_stage_has_its_words(void **state)
{
    static const struct {
        vt_stage stage;
        const char *words;
    } cases[] = {
        {VT_STAGE_OPEN, "opening the data and the run"},
        {VT_STAGE_LOADER, "update 7 waits for its images; workers are decoding shapes[3]"},
        {VT_STAGE_STEP, "update 7 computes"},
        {VT_STAGE_EVALUATE, "the evaluation after update 6; workers are preprocessing shapes[5]"},
        {VT_STAGE_SAVE, "the checkpoint after update 6 is being written"},
    };
    static vt_loader_board train, eval;
    vt_err err = {0};
    vt_source *source = NULL;
    (void)state;
    assert_int_equal(vt_source_open(&source, "synthetic:shapes?count=10", &err), VT_OK);
    atomic_store(&train.source, source);
    atomic_store(&eval.source, source);
    atomic_store(&train.workers[1].sample, 3);
    atomic_store(&train.workers[1].work, VT_WORK_DECODE);
    atomic_store(&eval.workers[0].sample, 5);
    atomic_store(&eval.workers[0].work, VT_WORK_PREPROCESS);
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_watchdog w = {0};
        forget_log();
        atomic_store(&w.update, 7);
        vt_watchdog_at(&w, cases[i].stage);
        vt_watchdog_start(&w, STALL, &train, &eval);
        if (!comes(cases[i].words))
            fail_msg("'%s' did not come, but: %s", cases[i].words, logged.s ? logged.s : "nothing");
        vt_watchdog_beat(&w);
        assert_true(comes("it moves again"));
        vt_watchdog_stop(&w);
    }
    vt_source_close(source);
}

/* Breaks when 0 minutes start a thread, or one that never ran cannot be stopped. */
static void none_is_asked_for(void **state)
{
    static vt_loader_board train, eval;
    vt_watchdog w = {0};
    (void)state;
    vt_watchdog_stop(&w);
    vt_watchdog_start(&w, 0, &train, &eval);
    assert_false(w.running);
    vt_watchdog_stop(&w);
}

/* --- an image that cannot be read, for a while ----------------------------------------------------------------------
 */

enum { IMAGES = 64, BLOCKING = 40 };

/* A 1 x 1 PNG, then replaced by a FIFO, which keeps its reader waiting for a writer. */
static const unsigned char png[] = {0x89, 'P',  'N',  'G',  '\r', '\n', 0x1a, '\n', 0,   0,    0,    13,   'I',  'H',
                                    'D',  'R',  0,    0,    0,    1,    0,    0,    0,   1,    8,    2,    0,    0,
                                    0,    0x90, 0x77, 0x53, 0xde, 0,    0,    0,    12,  'I',  'D',  'A',  'T',  8,
                                    0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0,    0,    3,    1,   1,    0,    0x18, 0xdd, 0x8d,
                                    0xb0, 0,    0,    0,    0,    'I',  'E',  'N',  'D', 0xae, 0x42, 0x60, 0x82};

static void make_images(void)
{
    vt_err err = {0};
    for (int i = 0; i < IMAGES; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "images/%c/%02d.png", 'a' + i % 4, i);
        char *dir = vt_xasprintf("%s/images/%c", here.dir, 'a' + i % 4);
        if (vt_make_dirs(dir, &err) != VT_OK || vt_file_write(scene_path(&here, name), png, sizeof png, &err) != VT_OK)
            fail_msg("%s", err.msg);
        free(dir);
    }
}

static char blocking[256]; /* the path */

/* Once training has begun: the file becomes a FIFO. */
static void block(void *context, const vt_progress *p)
{
    (void)context;
    static bool done;
    if (p->step != 1 || done)
        return;
    done = true;
    if (unlink(blocking) != 0 || mkfifo(blocking, 0600) != 0)
        fail_msg("no FIFO");
}

/* When the warning has come: lets the reader go. It finds an empty file, and training ends with a sentence. */
static void *let_go(void *context)
{
    bool *seen = context;
    *seen = comes("reading a/40.png");
    int fd = open(blocking, O_WRONLY);
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

/* Breaks when a run that waits for a file does not say for which, or a watchdog outlives its run. */
static void a_blocking_file_is_named(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_train_observer o = {.progress = block};
    bool seen = false;
    pthread_t helper;
    (void)state;
    make_images();
    char *spec = vt_xasprintf("data.train=folder:%s/images", here.dir);
    vt_recipe r = scene_recipe(&here, spec, "data.eval=", "data.preprocess=[resize(12)]", "train.batch=8",
                               "train.stall_minutes=" STALL_S, "data.workers=2", NULL);
    forget_log();
    (void)snprintf(blocking, sizeof blocking, "%s", scene_path(&here, "images/a/40.png"));
    assert_int_equal(pthread_create(&helper, NULL, let_go, &seen), 0);
    assert_int_not_equal(scene_train(&here, &r, "blocked", &o, &result, &err), VT_OK);
    assert_int_equal(pthread_join(helper, NULL), 0);
    assert_true(seen);
    assert_true(was_logged("waits for its images"));
    assert_non_null(strstr(err.msg, "40.png"));
    forget_log();
    sleep_ms(500);
    assert_false(was_logged("nothing has moved"));
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    free(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stage_has_its_words),
        cmocka_unit_test(none_is_asked_for),
        cmocka_unit_test(a_blocking_file_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
