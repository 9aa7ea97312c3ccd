/* What people watch, one line of metrics.jsonl on request (train.watch_every): norms of gradient, update and parameter
 * for each group of tensors (a block, the embedding, the head), the entropy and the largest score of each block's
 * attention in the last micro-batch, and the share of updates whose gradient was clipped since the line before. Costs
 * one more pass over the parameters and one over each block's scores, in the steps that are watched only. */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Bytes of a name that tell its group: "blocks.3" of "blocks.3.attn.qkv.weight", else all before the first dot. */
static size_t group_length(const char *name)
{
    size_t first = strcspn(name, ".");
    if (strncmp(name, "blocks.", 7) != 0)
        return first;
    return first + 1 + strcspn(name + first + 1, ".");
}

/* The norms of the group that begins with tensor i; *next is the first tensor behind it. */
static json_t *group_norms(const vt_optimizer *o, int i, int *next)
{
    const char *name = o->params[i].name;
    size_t length = group_length(name);
    double grad = 0, change = 0, value = 0;
    for (;
         i < o->n_params && group_length(o->params[i].name) == length && strncmp(o->params[i].name, name, length) == 0;
         i++) {
        const vt_watched *w = &o->watched[i];
        grad += w->grad_norm * w->grad_norm;
        change += w->change_norm * w->change_norm;
        value += w->value_norm * w->value_norm;
    }
    *next = i;
    return json_pack("{s:o, s:o, s:o}", "gradient", vt_json_number(sqrt(grad)), "update", vt_json_number(sqrt(change)),
                     "parameter", vt_json_number(sqrt(value)));
}

static json_t *all_norms(const vt_optimizer *o)
{
    json_t *groups = json_object();
    for (int i = 0, next = 0; i < o->n_params; i = next) {
        char *name = vt_xasprintf("%.*s", (int)group_length(o->params[i].name), o->params[i].name);
        json_object_set_new(groups, name, group_norms(o, i, &next));
        free(name);
    }
    return groups;
}

/* For each block: mean and least entropy over heads, in nats, and the largest |score|. */
static json_t *attention(vt_trainer *tr)
{
    vt_model *m = &tr->engine.model;
    int64_t heads = m->config.heads, depth = m->config.depth;
    size_t bytes = (size_t)(heads * depth) * sizeof(double);
    double *entropy = vt_xmalloc(bytes), *largest = vt_xmalloc(bytes);
    json_t *blocks = json_array();
    vt_device_read(&tr->engine.device, entropy, m->entropy, bytes);
    vt_device_read(&tr->engine.device, largest, m->largest_score, bytes);
    for (int64_t l = 0; l < depth; l++) {
        double sum = 0, least = entropy[l * heads], top = largest[l * heads];
        for (int64_t h = 0; h < heads; h++) {
            sum += entropy[l * heads + h];
            least = fmin(least, entropy[l * heads + h]);
            top = fmax(top, largest[l * heads + h]);
        }
        json_array_append_new(blocks,
                              json_pack("{s:o, s:o, s:o}", "entropy", vt_json_number(sum / (double)heads),
                                        "least_entropy", vt_json_number(least), "largest_score", vt_json_number(top)));
    }
    free(entropy);
    free(largest);
    return blocks;
}

void vt_trainer_log_watch(vt_trainer *tr)
{
    double clipped = tr->watched_steps ? (double)tr->clipped_steps / (double)tr->watched_steps : 0;
    tr->watched_steps = tr->clipped_steps = 0;
    vt_run_log_metrics(&tr->run, json_pack("{s:I, s:o, s:o, s:f}", "step", (json_int_t)tr->state.step, "norms",
                                           all_norms(&tr->engine.optimizer), "attention", attention(tr),
                                           "clipped_share", clipped));
}
