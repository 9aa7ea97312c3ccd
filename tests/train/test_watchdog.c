/* The watchdog names what waits and for which image, keeps silent while anything moves, and ends with its run. */
#include "scene.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "image/image.h"
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

/* --- an image that takes long ---------------------------------------------------------------------------------------
 */

enum { IMAGES = 64, SIDE = 8000 };

/* A 1 x 1 PNG; one of them is then replaced by an image that takes several times STALL to decode. */
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

static char slow[256], prepared[256]; /* paths */

static void make_slow_image(void)
{
    vt_err err = {0};
    vt_image im = {0};
    (void)snprintf(slow, sizeof slow, "%s", scene_path(&here, "images/a/40.png"));
    (void)snprintf(prepared, sizeof prepared, "%s", scene_path(&here, "prepared"));
    assert_int_equal(vt_image_resize_buffer(&im, SIDE, SIDE, &err), VT_OK);
    memset(im.pixels, 0, (size_t)SIDE * SIDE * 3);
    assert_int_equal(vt_image_write_png(&im, prepared, &err), VT_OK);
    vt_image_release(&im);
}

/* Once training has begun: the file becomes the slow one. */
static void replace(void *context, const vt_progress *p)
{
    (void)context;
    if (p->step == 1)
        (void)rename(prepared, slow);
}

/* Breaks when a run that waits for an image does not say for which, or a watchdog outlives its run. */
static void an_image_that_takes_long_is_named(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_train_observer o = {.progress = replace};
    (void)state;
    make_images();
    make_slow_image();
    char *spec = vt_xasprintf("data.train=folder:%s/images", here.dir);
    vt_recipe r = scene_recipe(&here, spec, "data.eval=", "data.preprocess=[resize(12)]", "train.batch=8",
                               "train.stall_minutes=" STALL_S, "data.workers=2", NULL);
    forget_log();
    if (scene_train(&here, &r, "slow", &o, &result, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_true(was_logged("waits for its images"));
    assert_true(was_logged("decoding a/40.png"));
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
        cmocka_unit_test(an_image_that_takes_long_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
