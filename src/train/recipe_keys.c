/* The table of recipe keys: everything that a person can set, once. base/keys.c hangs parsing, overrides, messages and
 * the reference page (docs/recipe.md) on it.
 *
 * To add a key: a field in recipe.h, a row here in the same order, what it becomes in recipe.c, and
 * `tests/docs.sh BUILD --write` for the page. */
#include <stddef.h>

#include "train/recipe.h"
#include "train/resample.h"

static const char *const recompute_names[] = {"none", "block", NULL};
static const char *const sampling_names[] = {"natural", "balanced", NULL}; /* vt_sampling */
static const char *const orient_names[] = {"exif", "none", NULL};          /* vt_orient_kind */
static const char *const real_names[] = {"f32", "bf16", NULL};             /* vt_real */

#define AT(field) offsetof(vt_recipe, field)
#define NO_LIMIT  1e18

const char *const vt_divergence_names[] = {"stop", "skip", NULL};

const vt_key vt_recipe_keys[] = {
    {"from", VT_KEY_STRING, AT(from), "", 0, 0, NULL, NULL, true,
     "a run or checkpoint of another training whose parameters, optimizer state and step this run begins with: a "
     "cooldown branch of a long run; empty begins anew"},
    {"init", VT_KEY_STRING, AT(init), "", 0, 0, NULL, NULL, false,
     "a model whose values the parameters begin with: a run or checkpoint, a folder or file of safetensors (timm, "
     "transformers' ViT, DINOv2, SigLIP and CLIP, OpenCLIP), or big_vision's .npz (docs/transfer.md); the keys model.* "
     "and data.mean that its file tells may be left out, and the classifier is new unless its classes are the data's"},
    {"init_positions", VT_KEY_ENUM, AT(init_positions), "auto", 0, 0, vt_resample_names, NULL, false,
     "how init's position embeddings are resized for another resolution: bilinear (big_vision), bicubic (timm), or "
     "auto "
     "by the file"},

    {"model.shape", VT_KEY_STRING, AT(model.shape), NULL, 0, 0, NULL, NULL, false,
     "a name with its patch, S/16 or ti/28 or G/14, or a free shape like w64-d4-m256-h4-p7 (width, depth, MLP width, "
     "heads, patch)"},
    {"model.heads", VT_KEY_AUTO_I64, AT(model.heads), "auto", 0, 65536, NULL, NULL, false,
     "attention heads; auto is what model.shape says (a file of weights may not tell them)"},
    {"model.head", VT_KEY_ENUM, AT(model.head), "map", 0, 0, vt_head_names, NULL, false,
     "how tokens become one vector: map (attention pooling, the paper's), gap (mean) or tok (class token)"},
    {"model.image", VT_KEY_SIZE, AT(model.image), NULL, 1, 65536, NULL, "pixels", false,
     "the images that the model sees: a side, or height x width as in 40x24; preprocessing must end at this size"},
    {"model.positions", VT_KEY_ENUM, AT(model.positions), "learned", 0, 0, vt_positions_names, NULL, false,
     "position embeddings: learned, or sincos2d (sines and cosines of the grid, never trained)"},
    {"model.gelu", VT_KEY_ENUM, AT(model.gelu), "tanh", 0, 0, vt_gelu_names, NULL, false,
     "the activation's form: tanh (the paper's code), erf (exact, timm's default) or quick (z sigmoid(1.702 z), "
     "CLIP's)"},
    {"model.class_token", VT_KEY_ENUM, AT(model.class_token), "auto", 0, 0, vt_token_names, NULL, false,
     "the class token: none, plain (without a position) or position (with one of its own, the first); auto is plain "
     "with the head tok, else none. gap takes the mean without it, map looks at it too"},
    {"model.registers", VT_KEY_I64, AT(model.registers), "0", 0, VT_MAX_TOKENS, NULL, "tokens", false,
     "tokens without image and position behind the class token, which pooling leaves out but for map (DINOv2: 4)"},
    {"model.mlp_kind", VT_KEY_ENUM, AT(model.mlp_kind), "gelu", 0, 0, vt_mlp_names, NULL, false,
     "gelu, or swiglu: (silu(gate) * value) of two products, each as wide as the shape's MLP"},
    {"model.layer_scale", VT_KEY_F64, AT(model.layer_scale), "0", 0, 1000, NULL, NULL, false,
     "first value of a trained factor for each column of a branch (LayerScale; DINOv2: 1e-5); 0 for none"},
    {"model.norm_pre", VT_KEY_BOOL, AT(model.norm_pre), "false", 0, 0, NULL, NULL, false,
     "LayerNorm before the first block, and no bias of the patch embedding (CLIP)"},
    {"model.qk_norm", VT_KEY_BOOL, AT(model.qk_norm), "false", 0, 0, NULL, NULL, false,
     "LayerNorm of queries and keys, head by head"},
    {"model.norm_pooled", VT_KEY_BOOL, AT(model.norm_pooled), "false", 0, 0, NULL, NULL, false,
     "the final norm comes after pooling instead of before (timm's fc_norm)"},
    {"model.representation", VT_KEY_I64, AT(model.representation), "0", 0, 65536, NULL, NULL, false,
     "width of a tanh layer before the classifier; 0 for none"},
    {"model.norm_eps", VT_KEY_F64, AT(model.norm_eps), "1e-6", 1e-12, 1, NULL, NULL, false,
     "epsilon of every LayerNorm"},
    {"model.dropout", VT_KEY_F64, AT(model.dropout), "0", 0, 0.99, NULL, NULL, false,
     "share of the activations dropped after the embedding and in each branch of a block"},
    {"model.drop_path", VT_KEY_F64, AT(model.drop_path), "0", 0, 0.99, NULL, NULL, false,
     "stochastic depth: share of the samples that skip a branch of the last block, falling linearly to 0 at the first"},
    {"model.classes", VT_KEY_AUTO_I64, AT(model.classes), "auto", 0, 1 << 24, NULL, "classes", false,
     "width of the classifier; auto takes the number of classes of data.train"},
    {"model.class_names", VT_KEY_STRING, AT(model.class_names), "", 0, 0, NULL, NULL, false,
     "a file with the names of the classes of init's classifier, one a line, where its own files do not name them"},
    {"model.head_bias", VT_KEY_AUTO_F64, AT(model.head_bias), "auto", -100, 100, NULL, NULL, false,
     "initial bias of the classifier; auto is -ln(classes), so that sigmoid losses start small (the paper: -10 for "
     "29,593 classes)"},

    {"data.train", VT_KEY_STRING, AT(data.train), NULL, 0, 0, NULL, NULL, false,
     "training images: a DATA spec (vitro data -h)"},
    {"data.eval", VT_KEY_STRING, AT(data.eval), "", 0, 0, NULL, NULL, false,
     "evaluation images: a DATA spec; empty for none"},
    {"data.sampling", VT_KEY_ENUM, AT(data.sampling), "natural", 0, 0, sampling_names, NULL, false,
     "which images come: natural (each once an epoch) or balanced (classes take turns, however many images each has)"},
    {"data.preprocess", VT_KEY_STRING, AT(data.preprocess), NULL, 0, 0, NULL, NULL, false,
     "what happens to a training image: a list of operations, [inception_crop(224), flip]"},
    {"data.eval_preprocess", VT_KEY_STRING, AT(data.eval_preprocess), NULL, 0, 0, NULL, NULL, false,
     "what happens to an image that is evaluated or predicted: a list without randomness, [resize_small(256), "
     "central_crop(224)]"},
    {"data.orient", VT_KEY_ENUM, AT(data.orient), "exif", 0, 0, orient_names, NULL, false,
     "before all else, an image is turned upright as its file's EXIF data say, in training and evaluation; none: taken "
     "as "
     "stored"},
    {"data.value_min", VT_KEY_F64, AT(data.value_min), "-1", -1e6, 1e6, NULL, NULL, false,
     "the value that a pixel of 0 becomes"},
    {"data.value_max", VT_KEY_F64, AT(data.value_max), "1", -1e6, 1e6, NULL, NULL, false,
     "the value that a pixel of 255 becomes"},
    {"data.mean", VT_KEY_STRING, AT(data.mean), "", 0, 0, NULL, NULL, false,
     "in place of data.value_min and data.value_max: red, green and blue of a mean that is taken from pixels between 0 "
     "and 1, [0.485, 0.456, 0.406]; together with data.std"},
    {"data.std", VT_KEY_STRING, AT(data.std), "", 0, 0, NULL, NULL, false,
     "what pixels minus data.mean are divided by, [0.229, 0.224, 0.225]"},
    {"data.workers", VT_KEY_AUTO_I64, AT(data.workers), "auto", 0, 256, NULL, "threads", true,
     "threads that read, decode and preprocess; never changes results"},
    {"data.cache", VT_KEY_ENUM, AT(data.cache), "none", 0, 0, vt_cache_names, NULL, true,
     "decoded pixels of data.train, behind the operations before the first random one, kept from the first epoch on: "
     "in "
     "memory, which the plan counts, or in a file of the cache folder, which runs share; never changes results"},
    {"data.max_bad", VT_KEY_AMOUNT, AT(data.max_bad), "0", 0, NO_LIMIT, NULL, "images", true,
     "images of data.train, and of an evaluation's data, that may turn out gone or broken: so many, or a share as in "
     "0.1%; each is named, training puts another in its place, an evaluation leaves it out; 0 stops at the first"},

    {"train.batch", VT_KEY_I64, AT(train.batch), "256", 1, 1 << 24, NULL, "images", false, "images in one update"},
    {"train.micro_batch", VT_KEY_AUTO_I64, AT(train.micro_batch), "auto", 0, 1 << 24, NULL, "images", false,
     "images in one pass, a divisor of train.batch; auto chooses by memory once, and the run's recipe keeps the "
     "choice"},
    {"train.slices", VT_KEY_I64, AT(train.slices), "8", 1, VT_MAX_SLICES, NULL, NULL, false,
     "partial sums over the samples of a micro-batch, added as a balanced tree; a power of two"},
    {"train.seed", VT_KEY_I64, AT(train.seed), "0", 0, 4294967295.0, NULL, NULL, false,
     "the key of all random numbers"},
    {"train.recompute", VT_KEY_ENUM, AT(train.recompute), "none", 0, 0, recompute_names, NULL, true,
     "block keeps only each block's input and computes the rest again in the backward pass: less memory, a third more "
     "work, and the same bytes for the same micro-batch"},
    {"train.precision", VT_KEY_ENUM, AT(train.precision), "f32", 0, 0, real_names, NULL, false,
     "bf16 computes the body's products from bf16 operands into float32 sums and halves its activations; weights, "
     "residual stream, statistics, head and optimizer stay float32"},
    {"train.gradients", VT_KEY_ENUM, AT(train.gradients), "f32", 0, 0, real_names, NULL, false,
     "bf16 halves the memory of gradients; only with one micro-batch an update"},
    {"train.threads", VT_KEY_AUTO_I64, AT(train.threads), "auto", 0, 1024, NULL, "threads", true,
     "threads that compute; never changes results"},
    {"train.max_minutes", VT_KEY_F64, AT(train.max_minutes), "0", 0, NO_LIMIT, NULL, "minutes", true,
     "start the cooldown early so that the run ends within this time, all its parts together; 0 for no limit"},
    {"train.save_every", VT_KEY_AMOUNT, AT(train.save_every), "0", 0, NO_LIMIT, NULL, NULL, true,
     "how often a checkpoint is written; one is always written at the end and on a signal"},
    {"train.keep", VT_KEY_I64, AT(train.keep), "2", 1, 1 << 20, NULL, "checkpoints", true,
     "how many of the newest checkpoints stay on disk"},
    {"train.background_save", VT_KEY_BOOL, AT(train.background_save), "true", 0, 0, NULL, NULL, true,
     "write checkpoints while training goes on, from a copy in memory, where the plan has room for it"},
    {"train.log_every", VT_KEY_I64, AT(train.log_every), "10", 1, 1 << 30, NULL, "steps", true,
     "how often metrics.jsonl gets a line"},
    {"train.watch_every", VT_KEY_I64, AT(train.watch_every), "0", 0, 1 << 30, NULL, "steps", true,
     "how often a line tells norms of gradient, update and parameter by group of tensors, entropy and largest logit of "
     "attention; 0 for never"},
    {"train.on_divergence", VT_KEY_ENUM, AT(train.on_divergence), "stop", 0, 0, vt_divergence_names, NULL, true,
     "when a loss or gradient is not finite: stop and explain, or go back to the last checkpoint and skip the samples "
     "of "
     "that update"},
    {"train.stall_minutes", VT_KEY_F64, AT(train.stall_minutes), "5", 0, NO_LIMIT, NULL, "minutes", true,
     "say which stage waits (read, decode, step, evaluate, save) when none has moved for so long; 0 for never"},

    {"optimizer.name", VT_KEY_ENUM, AT(optimizer.kind), "adafactor", 0, 0, vt_optimizer_names, NULL, false,
     "adafactor (the paper's, half the parameters' memory), adam (bf16 first moment, 1.5), adamw (float32, 2.0) or sgd "
     "(momentum)"},
    {"optimizer.lr", VT_KEY_F64, AT(optimizer.lr), "8e-4", 0, 1000, NULL, NULL, false,
     "peak learning rate, reached after the warm-up"},
    {"optimizer.layer_decay", VT_KEY_F64, AT(optimizer.layer_decay), "1", 0.01, 1, NULL, NULL, false,
     "factor of the learning rate for each step down: 1 for head and final norm, x for the last block, x^2 for the one "
     "before it, ..., least for the embedding (BEiT's layer-wise decay; 0.75 to 0.9 for fine-tuning); 1 for none"},
    {"optimizer.decay", VT_KEY_F64, AT(optimizer.decay), "0.03", 0, 1000, NULL, NULL, false,
     "weight decay of the body's matrices, times lr (decoupled)"},
    {"optimizer.decay_head", VT_KEY_F64, AT(optimizer.decay_head), "3.0", 0, 1e5, NULL, NULL, false,
     "weight decay of the classifier's matrix, times lr: strong decay here serves few-shot transfer (the paper, 3.1)"},
    {"optimizer.beta1", VT_KEY_F64, AT(optimizer.beta1), "0.9", 0, 0.9999, NULL, NULL, false,
     "decay of the first moment, or of sgd's momentum"},
    {"optimizer.beta2", VT_KEY_F64, AT(optimizer.beta2), "0.999", 0, 0.999999, NULL, NULL, false,
     "decay of the second moment; adafactor: the upper limit of 1 - k^-0.8"},
    {"optimizer.eps", VT_KEY_F64, AT(optimizer.eps), "1e-8", 0, 1, NULL, NULL, false,
     "added to the root of adam's second moment"},
    {"optimizer.moments", VT_KEY_ENUM, AT(optimizer.moment), "auto", 0, 0, vt_moment_names, NULL, false,
     "how the first moment is stored: bf16 or f32; auto is bf16 but for adamw"},
    {"optimizer.exact_beta1", VT_KEY_BOOL, AT(optimizer.exact_beta1), "true", 0, 0, NULL, NULL, false,
     "decay a bf16 moment by beta1 itself; false: by beta1 rounded to bf16 (0.8984375), as optax does"},
    {"optimizer.clip", VT_KEY_F64, AT(optimizer.clip), "1.0", 0, NO_LIMIT, NULL, NULL, false,
     "largest global norm of the gradient; 0 for no clipping"},

    {"optimizer.rules", VT_KEY_STRING, AT(optimizer.rules), "", 0, 0, NULL, NULL, false,
     "by parameter name: [head\\.weight: decay 3.0, blocks\\.[01]\\..*: freeze, pos_embed: lr 0.1]; a regular "
     "expression "
     "must match the whole name, and the first rule that sets a property wins"},
    {"optimizer.average", VT_KEY_ENUM, AT(optimizer.average), "none", 0, 0, vt_average_names, NULL, false,
     "ema (moving average) or polyak (mean) of the parameters, which is then what is evaluated and saved as the model"},
    {"optimizer.average_decay", VT_KEY_F64, AT(optimizer.average_decay), "0.9999", 0, 0.9999999, NULL, NULL, false,
     "of ema"},
    {"optimizer.average_start", VT_KEY_AMOUNT, AT(optimizer.average_start), "0", 0, NO_LIMIT, NULL, NULL, false,
     "where polyak's mean begins"},

    {"loss.name", VT_KEY_ENUM, AT(loss.kind), "sigmoid", 0, 0, vt_xent_names, NULL, false,
     "cross-entropy: sigmoid (each class by itself, several may be right; the paper's) or softmax"},
    {"loss.smoothing", VT_KEY_F64, AT(loss.smoothing), "0", 0, 0.99, NULL, NULL, false,
     "label smoothing: a right class counts 1 - e, the others share e"},
    {"loss.mixup", VT_KEY_F64, AT(loss.mixup), "0", 0, 100, NULL, NULL, false,
     "mixes each image and its label with the one before it in the batch, by a share drawn from Beta(p, p) for every "
     "update; 0 for none"},
    {"loss.class_weights", VT_KEY_STRING, AT(loss.class_weights), "none", 0, 0, NULL, NULL, false,
     "none, balanced (images / (classes * images of the class)), or a list with a weight for each class, [1, 0.5, 2]"},

    {"schedule.name", VT_KEY_ENUM, AT(schedule.kind), "rsqrt", 0, 0, vt_schedule_names, NULL, false,
     "shape of the learning-rate curve"},
    {"schedule.length", VT_KEY_AMOUNT, AT(schedule.length), NULL, 0, NO_LIMIT, NULL, NULL, false,
     "how long to train: 30 epochs, 2M images, 10k steps"},
    {"schedule.warmup", VT_KEY_AMOUNT, AT(schedule.warmup), "5%", 0, NO_LIMIT, NULL, NULL, false, "linear rise from 0"},
    {"schedule.cooldown", VT_KEY_AMOUNT, AT(schedule.cooldown), "20%", 0, NO_LIMIT, NULL, NULL, false,
     "fall to 0 at the end"},
    {"schedule.cooldown_shape", VT_KEY_ENUM, AT(schedule.cooldown_kind), "linear", 0, 0, vt_cooldown_names, NULL, false,
     "linear, or 1-sqrt (slow at first, steep at the end)"},
    {"schedule.timescale", VT_KEY_AMOUNT, AT(schedule.timescale), "10k steps", 1, NO_LIMIT, NULL, NULL, false,
     "of rsqrt: the curve is 1/sqrt(1 + (t + shift - warmup)/timescale)"},
    {"schedule.shift", VT_KEY_AMOUNT, AT(schedule.shift), "0", 0, NO_LIMIT, NULL, NULL, false,
     "of rsqrt: steps that the curve is ahead, as when a run goes on with another batch size"},
    {"schedule.power", VT_KEY_F64, AT(schedule.power), "1", 0.01, 100, NULL, NULL, false, "of polynomial"},
    {"schedule.end", VT_KEY_F64, AT(schedule.end), "0", 0, 1, NULL, NULL, false,
     "of linear and polynomial: the factor at the end"},

    {"eval.every", VT_KEY_AMOUNT, AT(eval.every), "0", 0, NO_LIMIT, NULL, NULL, true,
     "how often data.eval is evaluated; always at the end; never changes the training"},
    {"eval.fewshot", VT_KEY_STRING, AT(eval.fewshot), "", 0, 0, NULL, NULL, true,
     "images that few-shot accuracy on the way is fitted to: a DATA spec; empty for none"},
    {"eval.fewshot_test", VT_KEY_STRING, AT(eval.fewshot_test), "", 0, 0, NULL, NULL, true,
     "images that it is measured on: a DATA spec; empty takes data.eval"},
    {"eval.fewshot_every", VT_KEY_AMOUNT, AT(eval.fewshot_every), "0", 0, NO_LIMIT, NULL, NULL, true,
     "how often few-shot accuracy is measured; 0 for only at the end"},
    {"eval.fewshot_shots", VT_KEY_I64, AT(eval.fewshot_shots), "5", 1, 1000, NULL, "images a class", true,
     "how many images of each class are fitted to"},
    {"eval.fewshot_images", VT_KEY_I64, AT(eval.fewshot_images), "1000", 1, 1 << 24, NULL, "images", true,
     "how many test images at most"},
};
const size_t vt_n_recipe_keys = VT_COUNT_OF(vt_recipe_keys);
