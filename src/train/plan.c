/* The memory plan of a training run, and the choice of `micro_batch: auto`.
 *
 * auto takes the largest divisor of the batch whose activations stay within a budget, small enough for the last-level
 * cache to help small models, and within the machine's memory; at or below one sample a slice only memory counts. It is
 * resolved once, when a run starts; the run's recipe keeps it, because sums over samples depend on it. */
#include "train/plan.h"

#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "optim/rules.h"

#define MEMORY_SHARE      0.9 /* of the machine, for all lines: the rest is for the system and libraries */
#define ACTIVATION_BUDGET ((size_t)48 << 20) /* bytes: about the last-level cache that two cores have */

static void add_line(vt_plan *plan, const char *name, size_t bytes, bool exact)
{
    plan->lines[plan->n_lines++] = (vt_plan_line){name, bytes, exact};
    plan->total += bytes;
}

static vt_engine_options options_of(const vt_training *t, const vt_isa *isa, int64_t micro_batch)
{
    vt_engine_options o = {.model = t->model,
                           .use = t->use,
                           .isa = isa,
                           .threads = t->threads,
                           .slices = t->slices,
                           .optimizer = t->optimizer,
                           .rules = t->rules,
                           .class_weights = t->class_weights,
                           .snapshot = t->snapshot,
                           .cache = t->cache,
                           .batch = t->batch,
                           .workers = t->workers};
    o.use.samples = micro_batch;
    return o;
}

vt_engine_options vt_plan_engine_options(const vt_training *t, const vt_isa *isa)
{
    return options_of(t, isa, t->micro_batch);
}

/* Fills the plan for one micro-batch; *activations tells the line that auto looks at. */
static vt_status measure(const vt_training *t, const vt_isa *isa, int64_t micro_batch, const vt_plan_data *data,
                         vt_plan *plan, size_t *activations, vt_err *err)
{
    size_t bytes[VT_N_ARENAS];
    vt_engine_options o = options_of(t, isa, micro_batch);
    VT_TRY(vt_engine_measure(&o, bytes, err));
    *plan = (vt_plan){.machine = vt_machine_memory(), .micro_batch = micro_batch};
    for (int i = 0; i < VT_N_ARENAS; i++)
        if (bytes[i] > 0 || i != VT_ARENA_CACHE)
            add_line(plan, vt_arena_names[i], bytes[i], true);
    add_line(plan, "data sources", data->sources, false);
    if (data->fewshot)
        add_line(plan, "few-shot features", data->fewshot, false);
    plan->decoders = (size_t)t->workers * data->decode;
    *activations = bytes[VT_ARENA_ACTIVATIONS];
    return VT_OK;
}

static bool fits(const vt_plan *plan)
{
    return (double)plan->total <= MEMORY_SHARE * (double)plan->machine;
}

/* The largest divisor of batch that is below n, or 0. */
static int64_t divisor_below(int64_t batch, int64_t n)
{
    for (int64_t d = n - 1; d >= 1; d--)
        if (batch % d == 0)
            return d;
    return 0;
}

static bool has_line(const vt_plan *plan, const char *name)
{
    for (int i = 0; i < plan->n_lines; i++)
        if (plan->lines[i].name == name)
            return true;
    return false;
}

static vt_status refuse(const vt_plan *plan, vt_err *err)
{
    vt_text lines = {0};
    char a[32], b[32];
    for (int i = 0; i < plan->n_lines; i++)
        vt_text_addf(&lines, "%s%s %s", i ? ", " : "", plan->lines[i].name,
                     vt_format_bytes(a, (double)plan->lines[i].bytes));
    vt_status status = vt_fail(err, VT_ENOMEM,
                               "the plan needs %s and this machine allows %s (%.0f %% of it): %s; take a smaller "
                               "model, train.micro_batch or train.recompute=block%s",
                               vt_format_bytes(a, (double)plan->total),
                               vt_format_bytes(b, MEMORY_SHARE * (double)plan->machine), 100 * MEMORY_SHARE, lines.s,
                               has_line(plan, vt_arena_names[VT_ARENA_CACHE]) ? ", or data.cache=file" : "");
    vt_text_release(&lines);
    return status;
}

/* The micro-batch that was given, or the choice of auto. */
static vt_status plan_micro_batch(vt_training *t, const vt_isa *isa, const vt_plan_data *data, vt_plan *plan,
                                  vt_err *err)
{
    size_t activations = 0;
    if (t->micro_batch)
        return measure(t, isa, t->micro_batch, data, plan, &activations, err);
    for (int64_t d = t->batch; d; d = divisor_below(t->batch, d)) {
        VT_TRY(measure(t, isa, d, data, plan, &activations, err));
        if (fits(plan) && (activations <= ACTIVATION_BUDGET || d <= t->slices))
            break;
    }
    t->micro_batch = plan->micro_batch;
    return VT_OK;
}

vt_status vt_plan_training(vt_training *t, const vt_isa *isa, const vt_plan_data *data, vt_plan *plan, vt_err *err)
{
    size_t activations = 0;
    bool wanted = t->snapshot;
    t->snapshot = false;
    VT_TRY(plan_micro_batch(t, isa, data, plan, err));
    if (!fits(plan))
        return refuse(plan, err);
    if (!wanted)
        return VT_OK;
    t->snapshot = true; /* where there is room */
    vt_plan roomy;
    VT_TRY(measure(t, isa, t->micro_batch, data, &roomy, &activations, err));
    t->snapshot = fits(&roomy);
    if (t->snapshot)
        *plan = roomy;
    return VT_OK;
}

vt_status vt_plan_optimizer_states(const vt_training *t, size_t *states, size_t *parameters, vt_err *err)
{
    vt_model model;
    vt_status status = vt_model_init(&model, &t->model, err);
    if (status == VT_OK && t->rules)
        status = vt_rules_apply(t->rules, model.params, model.n_params, err);
    for (int kind = 0; vt_optimizer_names[kind] && status == VT_OK; kind++) {
        vt_optimizer optimizer;
        vt_optimizer_config config = t->optimizer;
        config.kind = kind;
        config.moment = VT_MOMENT_AUTO;
        config.average = VT_AVERAGE_NONE;
        status = vt_optimizer_init(&optimizer, &config, model.params, model.n_params, err);
        if (status == VT_OK) {
            vt_state_size size = vt_optimizer_state_size(&optimizer);
            states[kind] = size.moments;
            *parameters = size.parameters;
        }
        vt_optimizer_release(&optimizer);
    }
    vt_model_release(&model);
    return status;
}
