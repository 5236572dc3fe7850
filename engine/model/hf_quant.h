/*
 * hf_quant.h - quantised weights of Hugging Face folders: tensors whose rows are made on reading.
 *
 * N rows (outputs), K columns (inputs), groups of g columns:
 *   fp8   X.weight f8_e4m3 (N, K); X.weight_scale or X.weight_scale_inv, which multiplies all the
 *         same: one number, N of them, or one a block (quantization_config's, else 128 x 128).
 *         transformers' FineGrainedFP8Config and FbgemmFp8Config, compressed-tensors'
 *         float-quantized, modelopt's FP8
 *   nvfp4 X.weight u8 (N, K / 2), two e2m1 numbers a byte, the even column's in the low bits;
 *         X.weight_scale f8_e4m3 (N, K / 16), no number below zero; X.weight_scale_2, one number
 *         that multiplies all (modelopt); or X.weight_packed, and X.weight_global_scale, one number
 *         that all is divided by (compressed-tensors' nvfp4-pack-quantized)
 *   gptq  X.qweight i32 (K / 8, N), eight columns a word, the lowest bits first; X.qzeros i32
 *         (K / g, N / 8), eight rows a word, one less than the zero (gptq_v2: the zero itself);
 *         X.scales (K / g, N); X.g_idx i32 (K), the columns' groups.
 *         Frantar et al. 2022, arXiv 2210.17323
 *   awq   X.qweight i32 (K, N / 8), X.qzeros i32 (K / g, N / 8), rows 0, 2, 4, 6, 1, 3, 5, 7 in a
 *         word; X.scales (K / g, N). Lin et al. 2023, arXiv 2306.00978, version gemm
 *
 * A value is scale * code in fp8 and nvfp4, scale * (code - zero) in the others. nvfp4 becomes the
 * type of GGUF's name, and the number for all a tensor's scale. Groups of 4 bits become
 * blocks that specd has already, none of whose values is rounded: q4_0 where all zeros are 8, else
 * q5_0; f32 where groups are scattered over the columns (act-order) or a scale is no f16 number.
 */
#ifndef SPECD_MODEL_HF_QUANT_H
#define SPECD_MODEL_HF_QUANT_H

#include "model/json_file.h"
#include "model/tensor_dir.h"

enum hf_quant_method { HF_PLAIN, HF_FP8, HF_NVFP4, HF_GPTQ, HF_AWQ };

struct hf_quant {
    enum hf_quant_method method;
    uint32_t group;         /* columns; 0: all of a row */
    uint32_t block[2];      /* fp8: rows and columns */
    bool zeros_are_shifted; /* by one */
    bool act_order;
};

/* config.json's quantization_config, if there is one. Errors go to r. */
void hf_quant_read(struct hf_quant *q, struct json_reader *r);

/* What tensors of a directory are made by. They outlive the models that are bound to it. */
struct hf_sources {
    struct hf_rows **all;
    size_t n;
};

/* Makes the quantised tensors of a sealed directory the weights that they stand for, and seals it
 * again. SPECD_EFILE, naming file and tensor: a shape that does not fit, or a type that only
 * quantised folders have in one that is none. */
int hf_quant_bind(struct hf_sources *s, struct tensor_dir *dir, const struct hf_quant *q, char *err,
                  size_t errlen);
void hf_sources_fini(struct hf_sources *s);

#endif
