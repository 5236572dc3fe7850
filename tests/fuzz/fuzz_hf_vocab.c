/*
 * A tokenizer.json from anywhere: what loads and makes a tokenizer also encodes.
 *
 * links: specd_text specd_model specd_base
 */
#include "fuzz_folder.h"

#include "model/hf_vocab.h"
#include "text/tokenizer.h"

static void encode(const struct tokenizer *t)
{
    static const char text[] = "ab \xE2\x96\x81 abc <s> x\xC3\xA9\xFF 12";
    int32_t *ids;
    size_t n;
    ASSERT(tokenizer_encode(t, text, sizeof text - 1, ENCODE_SPECIAL | ENCODE_BOS, NULL, &ids,
                            &n) == 0);
    for (size_t i = 0; i < n; i++)
        ASSERT(ids[i] >= 0 && (uint32_t)ids[i] < tokenizer_n_vocab(t));
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_folder_save("tokenizer.json", data, size);
    struct vocab v = {0};
    struct tokenizer *t = NULL;
    char err[256] = "";
    int rc = hf_vocab_load(&v, folder, err, sizeof err);
    ASSERT((rc == 0) == (err[0] == '\0'));
    if (rc == 0)
        rc = tokenizer_create(&t, &v, err, sizeof err);
    if (rc == 0)
        encode(t);
    tokenizer_free(t);
    vocab_free(&v);
    return 0;
}

#define MARK "\xE2\x96\x81"

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const seeds[] = {
        "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true,\"lstrip\":true,"
        "\"normalized\":false}],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":"
        "\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":"
        "{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[4]}}},\"model\":{\"type\":\"BPE\","
        "\"unk_token\":null,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3},"
        "\"merges\":[\"a b\"]}}",
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true}],\"normalizer\":{"
        "\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" MARK
        "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK
        "\"}]},\"pre_tokenizer\":null,\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,"
        "\"fuse_unk\":true,\"unk_token\":\"<unk>\",\"vocab\":{\"<unk>\":0,\"<0x41>\":1,\"" MARK
        "\":2,\"a\":3,\"" MARK "a\":4},\"merges\":[[\"" MARK "\",\"a\"]]}}",
    };
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_puts(out, seeds[i]);
    return true;
}
