/* The order of a pass: embedding, blocks, head, loss, and back. */
#include "model/steps.h"

#include <assert.h>

void vt_model_forward(vt_model *m, const vt_pass *p)
{
    vt_model_embed_forward(m, p);
    for (int64_t l = 0; l < m->config.depth; l++)
        vt_model_block_forward(m, p, l);
    vt_model_head_forward(m, p);
}

void vt_model_loss(vt_model *m, const vt_pass *p)
{
    int64_t B = p->samples, C = m->config.classes;
    float *dlogits = m->layout->head_grads.logits;
    assert(C > 0 && (p->partner_share == 0.0F || m->use.mix));
    vt_run(p->backend, cross_entropy, .kind = p->loss.kind, .samples = B, .classes = C,
           .label_width = m->use.label_width, .logits = m->logits, .labels = m->labels,
           .partner_share = p->partner_share, .smoothing = p->loss.smoothing, .class_weights = p->loss.class_weights,
           .weight = p->weight, .loss = m->loss, .dlogits = dlogits);
    seen(p, NO_BLOCK, "loss", VT_F32, m->loss, B);
    if (dlogits != NULL)
        seen_grad(p, NO_BLOCK, "logits", VT_F32, dlogits, B * C);
}

/* Each part returns at once when neither it nor anything below it is trained. */
void vt_model_backward(vt_model *m, const vt_pass *p)
{
    vt_model_head_backward(m, p);
    for (int64_t l = m->config.depth - 1; l >= 0; l--)
        vt_model_block_backward(m, p, l);
    vt_model_embed_backward(m, p);
}
