#include "model/pre.h"

#include "specd/util.h"

#include <string.h>

/* The families' regular expressions are part of the vocabularies' format. They are written once,
 * with what stands for white space left open: IN a class, alone, and what is none. PCRE2's own \s
 * has U+180E in it, the engines that these were written for do not, so it is spelled out there. */
#define SPACE "\\x{09}-\\x{0D}\\x{85}\\p{Z}"
#define AS_PUBLISHED(regex) regex("\\s", "\\s", "\\S")
#define FOR_PCRE2(regex) regex(SPACE, "[" SPACE "]", "[^" SPACE "]")
#define BOTH(regex) .hf_regex = AS_PUBLISHED(regex), .pattern = FOR_PCRE2(regex)

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define BLANKS(S, NOT_S) S "+(?!" NOT_S ")|" S "+"
#define GPT2(IN, S, NOT_S) \
    CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^" IN "\\p{L}\\p{N}]+|" BLANKS(S, NOT_S)
#define CASELESS(IN, S, NOT_S, digits)                                      \
    "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" IN \
    "\\p{L}\\p{N}]+[\\r\\n]*|" S "*[\\r\\n]+|" BLANKS(S, NOT_S)
#define LLAMA3(IN, S, NOT_S) CASELESS(IN, S, NOT_S, "\\p{N}{1,3}")
#define QWEN2(IN, S, NOT_S) CASELESS(IN, S, NOT_S, "\\p{N}")

/* Digits cut the text at every digit, then GPT-2's expression cuts what lies between: seen from
 * white space, a digit is the end of the text. */
#define SMOLLM                                    \
    "\\p{N}|" CONTRACTION "| ?\\p{L}+| ?[^" SPACE \
    "\\p{L}\\p{N}]+|" BLANKS("[" SPACE "]", "[^" SPACE "\\p{N}]")

/* llama.cpp's name for what it does with an unknown tokenizer: four expressions, each within the
 * pieces of the one before. Runs of punctuation, then GPT-2's (without the blanks that it leaves
 * alone), runs of digits (so that the space ahead of one is a piece) and, in them, every three. */
#define MARKS "\\p{P}$+<=>\\^~|"
#define DEFAULT                                                           \
    "[" MARKS "]+| ?\\p{L}+| (?=\\p{N})|[0-9]{3}|(?:(?![0-9]{3})\\p{N})+" \
    "| ?[^" SPACE "\\p{L}\\p{N}" MARKS "]+|" BLANKS("[" SPACE "]", "[^" SPACE MARKS "]")

const struct pre_family pre_families[PRE_COUNT] = {
    [PRE_GPT2] = {.name = "gpt2", .gguf = {{"gpt-2", false}}, BOTH(GPT2)},
    [PRE_SMOLLM] = {.name = "smollm",
                    .gguf = {{"smollm", false}, {"refact", false}, {"starcoder", false}},
                    .hf_regex = AS_PUBLISHED(GPT2),
                    .hf_digits = true,
                    .pattern = SMOLLM},
    [PRE_LLAMA3] = {.name = "llama3",
                    .gguf = {{"llama-bpe", false}, {"llama3", false}, {"llama-v3", false}},
                    BOTH(LLAMA3),
                    .add_bos = true,
                    .ignore_merges = true},
    /* In folders it is as llama3, of which a tokenizer.json says the rest. */
    [PRE_DBRX] = {.name = "dbrx", .gguf = {{"dbrx", false}}, .pattern = FOR_PCRE2(LLAMA3)},
    [PRE_QWEN2] = {.name = "qwen2",
                   .gguf = {{"qwen2", true}, {"deepseek-r1-qwen", false}},
                   BOTH(QWEN2)},
    [PRE_DEFAULT] = {.name = "default", .gguf = {{"default", false}}, .pattern = DEFAULT},
};

bool pre_find_gguf(const char *name, enum vocab_pre *pre, bool *nfc)
{
    for (int i = 0; i < PRE_COUNT; i++) {
        const struct pre_family *f = &pre_families[i];
        for (size_t k = 0; k < COUNT_OF(f->gguf) && f->gguf[k].name; k++) {
            if (strcmp(name, f->gguf[k].name) != 0)
                continue;
            *pre = (enum vocab_pre)i;
            *nfc = f->gguf[k].nfc;
            return true;
        }
    }
    return false;
}

bool pre_find_hf(const char *regex, bool digits, enum vocab_pre *pre)
{
    for (int i = 0; i < PRE_COUNT; i++) {
        const struct pre_family *f = &pre_families[i];
        if (!f->hf_regex || f->hf_digits != digits || strcmp(regex, f->hf_regex) != 0)
            continue;
        *pre = (enum vocab_pre)i;
        return true;
    }
    return false;
}
