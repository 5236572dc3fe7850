/*
 * The architectures: one row each. docs/architecture.md says how to add one.
 */
#include "model/arch.h"

const struct arch archs[] = {
    {.names = {[NAMES_GGUF] = "llama", [NAMES_HF] = "llama"}, /* Mistral's GGUF files, too */
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA, .may = PART_BIT(PART_QKV_BIAS)}},
     .gguf_rope = ROPE_PAIRS}, /* the writer permutes q and k */
    {.names = {[NAMES_HF] = "mistral"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA, .may = PART_BIT(PART_QKV_BIAS)}},
     .hf_slides = true,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "qwen2", [NAMES_HF] = "qwen2"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA | PART_BIT(PART_QKV_BIAS)}},
     .gguf_rope = ROPE_HALVES,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "qwen3", [NAMES_HF] = "qwen3"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA | PART_BIT(PART_QK_NORM), .may = PART_BIT(PART_QKV_BIAS)}},
     .gguf_rope = ROPE_HALVES,
     .hf_head_dim = 128,
     .hf_window = 4096},
    {.names = {[NAMES_GGUF] = "phi3", [NAMES_HF] = "phi3"}, /* Phi-4, too */
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA}},
     .gguf_rope = ROPE_HALVES,
     .hf_slides = true},
};
const int n_archs = sizeof archs / sizeof *archs;
