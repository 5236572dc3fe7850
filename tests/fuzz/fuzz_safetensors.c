/*
 * A safetensors file from anywhere: the JSON wrapper, the header parser, and quantised tensors,
 * whose rows are made.
 *
 * links: specd_model
 */
#include "fuzz.h"

#include "model/hf_quant.h"
#include "model/safetensors.h"
#include "specd/model.h"

#include <stdlib.h>
#include <string.h>

/* Small ones: a header may state sides that only their product bounds. */
static void make_rows(const struct tensor_dir *dir)
{
    for (size_t i = 0; i < dir->n; i++) {
        const struct tensor_entry *e = &dir->entries[i];
        struct tensor t = {.type = e->type,
                           .rows = (uint32_t)e->shape[0],
                           .cols = (uint32_t)e->shape[1],
                           .source = e->source};
        if (!e->source || e->shape[0] * e->shape[1] > 1 << 16)
            continue;
        void *room = xmalloc(dtype_row_bytes(t.type, t.cols) * t.rows);
        tensor_rows(&t, 0, t.rows, room);
        free(room);
    }
}

static void bind(const uint8_t *data, size_t size, const struct hf_quant *q)
{
    struct tensor_dir dir = {0};
    struct hf_sources sources = {0};
    size_t header_bytes;
    char err[300];
    if (safetensors_parse(&dir, data, size, "fuzz", &header_bytes, err, sizeof err) == 0 &&
        tensor_dir_seal(&dir, err, sizeof err) == 0 &&
        hf_quant_bind(&sources, &dir, q, err, sizeof err) == 0)
        make_rows(&dir);
    tensor_dir_fini(&dir);
    hf_sources_fini(&sources);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_dir dir = {0};
    size_t header_bytes;
    char err[300];
    int rc = safetensors_parse(&dir, data, size, "fuzz", &header_bytes, err, sizeof err);
    if (rc == 0)
        rc = tensor_dir_seal(&dir, err, sizeof err);
    for (size_t i = 0; rc == 0 && i < dir.n; i++) {
        const struct tensor_entry *e = &dir.entries[i];
        ASSERT(e->data >= data + header_bytes && e->bytes <= (size_t)(data + size - e->data));
        ASSERT(tensor_dir_find(&dir, e->name) == e);
    }
    tensor_dir_fini(&dir);
    for (enum hf_quant_method m = HF_PLAIN; m <= HF_AWQ && rc == 0; m++)
        bind(data, size, &(struct hf_quant){m, .group = 32, .block = {2, 32}});
    return 0;
}

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const headers[] = {
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}",
        "{\"x.weight\":{\"shape\":[],\"data_offsets\":[0,2],\"dtype\":\"F16\"},"
        "\"empty\":{\"dtype\":\"F16\",\"shape\":[3,0],\"data_offsets\":[2,2]},"
        "\"\\u00e4\\ud83d\\ude00\":{\"dtype\":\"F16\",\"shape\":[1,1,15],"
        "\"data_offsets\":[2,32]}}",
        "{\"a.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[4,64],\"data_offsets\":[0,256]},"
        "\"a.weight_scale_inv\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[256,272]},"
        "\"b.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,32],\"data_offsets\":[272,336]},"
        "\"b.weight_scale\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[336,340]}}",
        "{\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[8,8],\"data_offsets\":[0,256]},"
        "\"a.qzeros\":{\"dtype\":\"I32\",\"shape\":[2,1],\"data_offsets\":[256,264]},"
        "\"a.scales\":{\"dtype\":\"F16\",\"shape\":[2,8],\"data_offsets\":[264,296]},"
        "\"a.bias\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[296,312]},"
        "\"a.g_idx\":{\"dtype\":\"I32\",\"shape\":[64],\"data_offsets\":[312,568]}}",
        "{\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[32,1],\"data_offsets\":[0,128]},"
        "\"a.qzeros\":{\"dtype\":\"I32\",\"shape\":[1,1],\"data_offsets\":[128,132]},"
        "\"a.scales\":{\"dtype\":\"F16\",\"shape\":[1,8],\"data_offsets\":[132,148]}}",
        "{\"a.weight_packed\":{\"dtype\":\"U8\",\"shape\":[2,64],\"data_offsets\":[0,128]},"
        "\"a.weight_scale\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,8],\"data_offsets\":[128,144]},"
        "\"a.weight_global_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[144,148]},"
        "\"b.weight\":{\"dtype\":\"U8\",\"shape\":[1,32],\"data_offsets\":[148,180]},"
        "\"b.weight_scale\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,4],\"data_offsets\":[180,184]},"
        "\"b.weight_scale_2\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[184,188]}}",
        "{}",
    };
    static const size_t bytes[COUNT_OF(headers)] = {32, 32, 340, 568, 148, 188, 0};
    if (i >= (int)COUNT_OF(headers))
        return false;
    uint64_t len = (strlen(headers[i]) + 7) / 8 * 8;
    buf_add(out, &len, sizeof len);
    buf_puts(out, headers[i]);
    while (out->len < sizeof len + len)
        buf_puts(out, " ");
    for (size_t n = 0; n < bytes[i]; n++)
        buf_add(out, &(uint8_t){i == 5 ? 0x40 : 0}, 1); /* a number to divide by */
    return true;
}
