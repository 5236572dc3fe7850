/*
 * A safetensors file from anywhere: the JSON wrapper and the header parser.
 *
 * links: specd_model
 */
#include "fuzz.h"

#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

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
        "{}",
    };
    if (i >= (int)COUNT_OF(headers))
        return false;
    uint64_t len = (strlen(headers[i]) + 7) / 8 * 8;
    buf_add(out, &len, sizeof len);
    buf_puts(out, headers[i]);
    while (out->len < sizeof len + len)
        buf_puts(out, " ");
    buf_reserve(out, 32);
    memset(out->data + out->len, 0, 32);
    out->len += strcmp(headers[i], "{}") == 0 ? 0 : 32;
    return true;
}
