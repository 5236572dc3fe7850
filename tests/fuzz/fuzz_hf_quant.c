/*
 * A config.json from anywhere: its quantization_config.
 *
 * links: specd_model
 */
#include "fuzz.h"

#include "model/hf_quant.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root;
    struct hf_quant q;
    char err[300];
    if (json_file_parse(&root, (const char *)data, size, "config.json", err, sizeof err) != 0)
        return 0;
    struct json_reader r = {
        .object = root, .file = "config.json", .path = "", .err = err, .errlen = sizeof err};
    hf_quant_read(&q, &r);
    /* What the rows' makers divide by. */
    ASSERT(r.rc != 0 || (q.group % 32 == 0 && q.block[0] > 0 && q.block[1] > 0));
    json_free(root);
    return 0;
}

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const configs[] = {
        "{\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\","
        "\"weight_block_size\":[128,128]}}",
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"float-quantized\",\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":8,"
        "\"strategy\":\"block\",\"block_structure\":[128,128]}}}}}",
        "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}}",
        "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\"}}",
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"nvfp4-pack-quantized\"}}",
        "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,"
        "\"desc_act\":true,\"checkpoint_format\":\"gptq_v2\"}}",
        "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":-1,"
        "\"version\":\"gemm\",\"zero_point\":true}}",
        "{\"quantization_config\":null}",
    };
    if (i >= (int)COUNT_OF(configs))
        return false;
    buf_puts(out, configs[i]);
    return true;
}
