/*
 * The architectures: one row each. docs/architecture.md says how to add one.
 */
#include "model/arch.h"

/* Of layers of which some have experts and others a feed-forward for all. */
#define PARTS_EXPERTS (PARTS_LLAMA & ~PART_BIT(PART_GATED_FFN))
#define MAY_EXPERTS (PART_BIT(PART_EXPERTS) | PART_BIT(PART_GATED_FFN))
#define PARTS_GEMMA3 (PARTS_LLAMA | PART_BIT(PART_QK_NORM) | PART_BIT(PART_POST_NORM))
#define PARTS_OLMO2                                                                      \
    (PART_BIT(PART_ATTENTION) | PART_BIT(PART_GATED_FFN) | PART_BIT(PART_QK_NORM_WIDE) | \
     PART_BIT(PART_POST_NORM))
/* attention_bias and mlp_bias: which of them a model has, its tensors say. */
#define ATTENTION_BIASES (PART_BIT(PART_QKV_BIAS) | PART_BIT(PART_O_BIAS))
#define BIASES (ATTENTION_BIASES | PART_BIT(PART_FFN_BIAS))

const struct arch archs[] = {
    {.names = {[NAMES_GGUF] = "llama", [NAMES_HF] = "llama"}, /* Mistral's GGUF files, too */
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA, .may = BIASES, .windowed = true}},
     .gguf_rope = ROPE_PAIRS}, /* the writer permutes q and k */
    {.names = {[NAMES_HF] = "mistral"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA, .may = BIASES, .windowed = true}},
     .hf_slides = true,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "qwen2", [NAMES_HF] = "qwen2"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA | PART_BIT(PART_QKV_BIAS)}},
     .gguf_rope = ROPE_HALVES,
     .hf_unwindowed = 28,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "qwen3", [NAMES_HF] = "qwen3"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA | PART_BIT(PART_QK_NORM), .may = ATTENTION_BIASES}},
     .gguf_rope = ROPE_HALVES,
     .hf_head_dim = 128,
     .hf_unwindowed = 28,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "qwen2moe", [NAMES_HF] = "qwen2_moe"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_EXPERTS | PART_BIT(PART_QKV_BIAS),
                .may = MAY_EXPERTS | PART_BIT(PART_SHARED_EXPERT)}},
     .gguf_rope = ROPE_HALVES,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "qwen3moe", [NAMES_HF] = "qwen3_moe"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_EXPERTS | PART_BIT(PART_QK_NORM),
                .may = MAY_EXPERTS | PART_BIT(PART_QKV_BIAS),
                .windowed = true}},
     .gguf_rope = ROPE_HALVES,
     .experts_normed = true,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "smollm3", [NAMES_HF] = "smollm3"},
     .n_kinds = 2,
     .kinds = {{.times = 3, .needs = PARTS_LLAMA, .may = BIASES},
               {.needs = PARTS_LLAMA, .may = BIASES, .windowed = true, .no_rope = true}},
     .gguf_rope = ROPE_PAIRS,
     .hf_tied = true},
    {.names = {[NAMES_GGUF] = "phi3", [NAMES_HF] = "phi3"}, /* Phi-4, too */
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA, .windowed = true}},
     .gguf_rope = ROPE_HALVES,
     .hf_slides = true},
    {.names = {[NAMES_GGUF] = "granite", [NAMES_HF] = "granite"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA, .may = BIASES}},
     .gguf_rope = ROPE_PAIRS,
     .scaled = true},
    {.names = {[NAMES_GGUF] = "olmo2", [NAMES_HF] = "olmo2"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_OLMO2, .may = ATTENTION_BIASES}},
     .gguf_rope = ROPE_HALVES},
    {.names = {[NAMES_GGUF] = "gemma3", [NAMES_HF] = "gemma3_text"},
     .hf_wrapper = "gemma3", /* from 4B on */
     .n_kinds = 2,
     .kinds = {{.times = 5, .needs = PARTS_GEMMA3, .may = ATTENTION_BIASES, .windowed = true},
               {.needs = PARTS_GEMMA3, .may = ATTENTION_BIASES}},
     .n_renames = 1,
     .renames = {{LAYER_FFN_NORM, NAMES_HF, "pre_feedforward_layernorm.weight"}},
     .gate = GATE_GELU_TANH,
     .fine_activations = true,
     .gguf_rope = ROPE_HALVES,
     .window_rope_base = 1e4,
     .embd_by_width = true,
     .gguf_wide_heads_layers = 62, /* the 27B's scores go by its 168, not by D */
     .hf_norms_less_one = true,
     .hf_heads = 8,
     .hf_kv_heads = 4,
     .hf_vocab = 262208,
     .hf_ctx = 131072,
     .hf_rope_base = 1e6,
     .hf_head_dim = 256,
     .hf_slides = true,
     .hf_window = 4096,
     .hf_tied = true,
     .hf_query_scalar = 256},
};
const int n_archs = sizeof archs / sizeof *archs;
