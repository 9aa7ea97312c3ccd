/* Times vitro's training step (forward, loss, backward, clipping, optimizer) on made-up images, without data loading:
 * the twin of peer_torch.py. Reads lines "step N" from standard input, runs N timed steps for each and answers with one
 * line of JSON, so that bench/run can take turns between programs in one run.
 *
 *   bench-step --shape w64-d4-m256-h4-p7 --image 28 --classes 10 --batch 256 [--micro-batch N] [--head map] [--threads
 * 2] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/opts.h"
#include "base/philox.h"
#include "base/text.h"
#include "model/cost.h"
#include "train/plan.h"

#define MAX_STEPS 1000

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static vt_status number(const char *name, const char *text, int64_t *value, vt_err *err)
{
    if (vt_parse_i64(text, value, err) != VT_OK)
        return vt_prefix(err, "--%s", name);
    return VT_OK;
}

/* The training that the arguments ask for, with the paper's optimizer. */
static vt_status parse(int argc, char **argv, vt_training *t, vt_err *err)
{
    const char *shape = NULL, *image = "224", *classes = "1000", *batch = "8", *micro = "0", *head = "map",
               *threads = "0", *precision = "f32";
    const vt_opt opts[] = {{"shape", "NAME", &shape, "model"},
                           {"image", "N", &image, "side in pixels"},
                           {"classes", "N", &classes, "classes"},
                           {"batch", "N", &batch, "images a step"},
                           {"micro-batch", "N", &micro, "0: auto"},
                           {"head", "KIND", &head, "map or gap"},
                           {"precision", "TYPE", &precision, "f32 or bf16"},
                           {"threads", "N", &threads, "0: all there are"}};
    const char **rest = vt_xcalloc((size_t)argc + 1, sizeof *rest);
    int n_rest = 0;
    bool help = false;
    int64_t side = 0, n_threads = 0;
    vt_status status = vt_opts_parse(opts, VT_COUNT_OF(opts), argc - 1, argv + 1, rest, &n_rest, &help, err);
    free(rest);
    VT_TRY(status);
    if (help || !shape)
        return vt_fail(err, VT_EINVAL,
                       "usage: bench-step --shape NAME [--image N] [--classes N] [--batch N] [--micro-batch N] [--head "
                       "KIND] [--precision f32|bf16] [--threads N]");
    *t = (vt_training){.slices = 8,
                       .workers = 1,
                       .use = {.train = true, .label_width = 1},
                       .optimizer = {.lr = 1e-3,
                                     .decay_body = 0.03,
                                     .decay_head = 3,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .clip = 1,
                                     .exact_decay = true}};
    t->model.norm_eps = 1e-6;
    VT_TRY(vt_model_shape(shape, &t->model, err));
    VT_TRY(number("image", image, &side, err));
    VT_TRY(number("classes", classes, &t->model.classes, err));
    VT_TRY(number("batch", batch, &t->batch, err));
    VT_TRY(number("micro-batch", micro, &t->micro_batch, err));
    VT_TRY(number("threads", threads, &n_threads, err));
    t->model.image_height = t->model.image_width = side;
    t->model.head = strcmp(head, "gap") == 0 ? VT_HEAD_GAP : VT_HEAD_MAP;
    t->use.type = strcmp(precision, "bf16") == 0 ? VT_BF16 : VT_F32;
    t->threads = n_threads ? (int)n_threads : vt_machine_cpus();
    return vt_model_check(&t->model, err);
}

/* Random pixels and labels, the same for every micro-batch. */
static void fill_inputs(vt_engine *e)
{
    const vt_model_config *c = &e->model.config;
    int64_t samples = e->model.use.samples, pixels = samples * c->image_height * c->image_width * 3;
    uint8_t *images = vt_xmalloc((size_t)pixels);
    int32_t *labels = vt_xmalloc((size_t)samples * sizeof *labels);
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (int64_t i = 0; i < pixels; i++)
        images[i] = (uint8_t)(vt_rng_u32(&rng) >> 24);
    for (int64_t i = 0; i < samples; i++)
        labels[i] = (int32_t)vt_rng_below(&rng, (uint32_t)c->classes);
    vt_device_write(&e->device, e->model.images, images, (size_t)pixels);
    vt_device_write(&e->device, e->model.labels, labels, (size_t)samples * sizeof *labels);
    free(images);
    free(labels);
}

static void step(vt_engine *e, const vt_training *t, int64_t number_of_step)
{
    vt_step_report report;
    vt_pass pass = {.backend = &e->backend,
                    .samples = t->micro_batch,
                    .pixels = vt_pixel_range_gray(2.0F / 255, -1),
                    .drop = true,
                    .slices = t->slices,
                    .weight = 1.0F / (float)t->batch};
    for (int64_t done = 0; done < t->batch; done += t->micro_batch) {
        pass.accumulate = done > 0;
        vt_model_forward(&e->model, &pass);
        vt_model_loss(&e->model, &pass);
        vt_model_backward(&e->model, &pass);
    }
    vt_optimizer_step(&e->optimizer, &e->backend, number_of_step, 1e-3, false, &report);
}

static void answer(vt_engine *e, const vt_training *t, int64_t steps, int64_t *done)
{
    static double ms[MAX_STEPS];
    for (int64_t i = 0; i < steps; i++) {
        int64_t start = vt_now_ns();
        step(e, t, (*done)++);
        ms[i] = (double)(vt_now_ns() - start) * 1e-6;
    }
    qsort(ms, (size_t)steps, sizeof *ms, by_value);
    double median = ms[steps / 2], flops = 3 * vt_model_flops(&t->model).products * (double)t->batch;
    (void)printf("{\"median_ms\": %.3f, \"min_ms\": %.3f, \"images_per_s\": %.1f, \"gflops\": %.1f, \"micro_batch\": "
                 "%lld, \"isa\": \"%s\"}\n",
                 median, ms[0], 1e3 * (double)t->batch / median, flops / median * 1e-6, (long long)t->micro_batch,
                 e->backend.isa->name);
    (void)fflush(stdout);
}

static vt_status serve(const vt_training *t, const vt_isa *isa, vt_err *err)
{
    vt_engine e;
    char line[64];
    int64_t steps = 0, done = 0;
    vt_engine_options o = vt_plan_engine_options(t, isa);
    VT_TRY(vt_engine_open(&e, &o, err));
    vt_model_init_values(&e.model, &e.device, 0);
    fill_inputs(&e);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "step ", 5) != 0 || vt_parse_i64(line + 5, &steps, NULL) != VT_OK || steps < 1 ||
            steps > MAX_STEPS) {
            vt_engine_close(&e);
            return vt_fail(err, VT_EINVAL, "expected a line \"step N\" with N from 1 to %d, got \"%s\"", MAX_STEPS,
                           line);
        }
        answer(&e, t, steps, &done);
    }
    vt_engine_close(&e);
    return VT_OK;
}

int main(int argc, char **argv)
{
    vt_err err = {0};
    vt_training t;
    vt_plan plan;
    vt_plan_data no_data = {0};
    const vt_isa *isa = NULL;
    vt_status status = parse(argc, argv, &t, &err);
    if (status == VT_OK)
        status = vt_isa_pick(getenv("VITRO_ISA"), &isa, &err);
    if (status == VT_OK)
        status = vt_plan_training(&t, isa, &no_data, &plan, &err);
    if (status == VT_OK)
        status = serve(&t, isa, &err);
    if (status != VT_OK)
        (void)fprintf(stderr, "bench-step: %s\n", err.msg);
    return status == VT_OK ? 0 : 1;
}
