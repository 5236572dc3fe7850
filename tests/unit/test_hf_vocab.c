/*
 * Hugging Face folders: every form of tokenizer.json and its neighbours that is read, and that what
 * is not supported is refused by name. Ids of whole vocabularies: tests/oracle.
 *
 * links: specd_text specd_model specd_base
 */
#include "model/hf_vocab.h"
#include "specd/error.h"
#include "specd/limits.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MARK "\xE2\x96\x81"

/* The parts of a tokenizer.json; a test replaces some. */
struct parts {
    const char *added, *normalizer, *pre, *post, *model, *vocab, *merges;
};
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define BYTE_LEVEL_ALONE "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define ADDED(id, text, flags) "{\"id\":" id ",\"content\":\"" text "\"" flags "}"
#define SPECIAL ",\"special\":true"

static const struct parts bpe_parts = {
    .added = ADDED("4", "<s>", SPECIAL),
    .normalizer = "null",
    .pre = BYTE_LEVEL,
    .post = "null",
    .model = "",
    .vocab = "\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3",
    .merges = "\"a b\"",
};
static const struct parts spm_parts = {
    .added = ADDED("0", "<unk>", SPECIAL),
    .normalizer =
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" MARK
        "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]}",
    .pre = "null",
    .post = "null",
    .model = ",\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"<unk>\"",
    .vocab = "\"<unk>\":0,\"<0x41>\":1,\"" MARK "\":2,\"a\":3,\"" MARK "a\":4",
    .merges = "[\"" MARK "\",\"a\"]",
};

struct folder {
    char path[64];
    struct vocab v;
    char err[600];
};

static void save(const struct folder *f, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void folder_make(struct folder *f)
{
    *f = (struct folder){.path = "/tmp/specd-hf-XXXXXX"};
    assert_non_null(mkdtemp(f->path));
}

static void save_parts(const struct folder *f, const struct parts *p)
{
    struct buf b = {0};
    buf_printf(&b,
               "{\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,"
               "\"post_processor\":%s,\"model\":{\"type\":\"BPE\"%s,\"vocab\":{%s},"
               "\"merges\":[%s]}}",
               p->added, p->normalizer, p->pre, p->post, p->model, p->vocab, p->merges);
    save(f, "tokenizer.json", b.data);
    buf_free(&b);
}

static int folder_load(struct folder *f)
{
    vocab_free(&f->v);
    f->err[0] = '\0';
    return hf_vocab_load(&f->v, f->path, f->err, sizeof f->err);
}

static void folder_remove(struct folder *f)
{
    static const char *const names[] = {
        "tokenizer.json",      "tokenizer_config.json", "special_tokens_map.json",
        "chat_template.jinja", "chat_template.json",    "additional_chat_templates/tool_use.jinja"};
    char path[128];
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/additional_chat_templates", f->path);
    rmdir(path);
    rmdir(f->path);
    vocab_free(&f->v);
}

static void check_loads(const struct parts *p, struct folder *f)
{
    folder_make(f);
    save_parts(f, p);
    assert_int_equal(folder_load(f), 0);
}

static void check_refused(const struct parts *p, const char *why)
{
    struct folder f;
    folder_make(&f);
    save_parts(&f, p);
    assert_int_equal(folder_load(&f), SPECD_EFILE);
    if (!strstr(f.err, why) || !strstr(f.err, f.path))
        fail_msg("\"%s\" does not name \"%s\" and the folder", f.err, why);
    assert_null(strchr(f.err, '\n'));
    folder_remove(&f);
}

static void test_byte_level(void **state)
{
    (void)state;
    struct folder f;
    struct parts p = bpe_parts;
    p.added = ADDED("4", "<s>", SPECIAL) "," ADDED("6", "<u>", ",\"lstrip\":true") "," ADDED(
        "2", "ab", ",\"rstrip\":true,\"normalized\":false");
    check_loads(&p, &f);
    assert_int_equal(f.v.kind, VOCAB_BPE);
    assert_int_equal(f.v.pre, PRE_GPT2);
    assert_int_equal(f.v.n_tokens, 7);
    assert_int_equal(f.v.tokens[3].len, 2);
    assert_int_equal(f.v.tokens[4].type, TOKEN_CONTROL);
    assert_false(f.v.tokens[4].normalized);
    assert_int_equal(f.v.tokens[5].type, TOKEN_UNUSED); /* a gap */
    assert_int_equal(f.v.tokens[6].type, TOKEN_USER_DEFINED);
    assert_true(f.v.tokens[6].normalized && f.v.tokens[6].lstrip && !f.v.tokens[6].rstrip);
    assert_int_equal(f.v.tokens[2].type, TOKEN_USER_DEFINED);
    assert_true(f.v.tokens[2].rstrip && !f.v.tokens[2].normalized);
    assert_int_equal(f.v.n_merges, 1);
    assert_string_equal(f.v.merges[0].left, "a");
    assert_string_equal(f.v.merges[0].right, "b");
    assert_int_equal(f.v.bos, -1);
    assert_false(f.v.add_bos || f.v.add_space_prefix || f.v.nfc);
    folder_remove(&f);
}

static void test_families(void **state)
{
    (void)state;
    static const char llama3[] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}"
        "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+";
    struct folder f;
    struct parts p = bpe_parts;
    p.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
            "\"individual_digits\":true}," BYTE_LEVEL "]}";
    check_loads(&p, &f);
    assert_int_equal(f.v.pre, PRE_SMOLLM);
    folder_remove(&f);

    struct buf pre = {0};
    buf_printf(&pre,
               "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
               "{\"Regex\":\"%s\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL_ALONE
               "]}",
               llama3);
    p.pre = pre.data;
    p.normalizer = "{\"type\":\"NFC\"}";
    p.model = ",\"ignore_merges\":true";
    check_loads(&p, &f);
    assert_int_equal(f.v.pre, PRE_LLAMA3);
    assert_true(f.v.nfc && f.v.ignore_merges);
    folder_remove(&f);
    buf_free(&pre);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    struct folder f;
    check_loads(&spm_parts, &f);
    assert_int_equal(f.v.kind, VOCAB_SPM);
    assert_int_equal(f.v.tokens[0].type, TOKEN_UNKNOWN);
    assert_int_equal(f.v.tokens[1].type, TOKEN_BYTE);
    assert_int_equal(f.v.tokens[3].type, TOKEN_NORMAL);
    assert_int_equal(f.v.unk, 0);
    assert_true(f.v.add_space_prefix);
    assert_int_equal(f.v.space_prefix, PREFIX_STRETCH);
    assert_string_equal(f.v.merges[0].left, MARK);
    folder_remove(&f);
    struct parts p = spm_parts;
    p.normalizer = "null";
    p.pre = "{\"type\":\"Metaspace\",\"replacement\":\"" MARK
            "\",\"prepend_scheme\":\"first\",\"split\":false}";
    check_loads(&p, &f);
    assert_int_equal(f.v.space_prefix, PREFIX_FIRST);
    folder_remove(&f);
}

static void test_template_adds_tokens(void **state)
{
    (void)state;
    struct folder f;
    struct parts p = bpe_parts;
    p.post = "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
             "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
             "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\","
             "\"ids\":[4]}}}]}";
    check_loads(&p, &f);
    assert_int_equal(f.v.bos, 4);
    assert_true(f.v.add_bos && !f.v.add_eos);
    save(&f, "tokenizer_config.json", "{\"add_bos_token\":false,\"add_eos_token\":true}");
    assert_int_equal(folder_load(&f), 0);
    assert_false(f.v.add_bos || f.v.add_eos); /* there is no eos */
    folder_remove(&f);
}

static void test_config(void **state)
{
    (void)state;
    struct folder f;
    struct parts p = bpe_parts;
    p.added = ADDED("4", "<s>", SPECIAL) "," ADDED("5", "<|im_end|>", SPECIAL);
    check_loads(&p, &f);
    assert_int_equal(f.v.n_eog, 1); /* known by its text */
    save(&f, "tokenizer_config.json",
         "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"<|im_end|>\",\"add_bos_token\":true,"
         "\"pad_token\":\"nowhere\",\"chat_template\":\"{{ x }}\"}");
    save(&f, "special_tokens_map.json", "{\"bos_token\":\"a\",\"unk_token\":\"a\"}");
    assert_int_equal(folder_load(&f), 0);
    assert_int_equal(f.v.bos, 4);
    assert_int_equal(f.v.eos, 5);
    assert_int_equal(f.v.unk, 0);
    assert_int_equal(f.v.pad, -1);
    assert_true(f.v.add_bos);
    assert_int_equal(f.v.n_eog, 1);
    assert_string_equal(f.v.chat_template, "{{ x }}");
    save(&f, "tokenizer_config.json",
         "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"T\"},"
         "{\"name\":\"default\",\"template\":\"D\"}]}");
    assert_int_equal(folder_load(&f), 0);
    assert_string_equal(f.v.chat_template, "D");
    assert_null(f.v.tools_template);
    save(&f, "chat_template.json", "{\"chat_template\":\"P\"}");
    assert_int_equal(folder_load(&f), 0);
    assert_string_equal(f.v.chat_template, "D");
    save(&f, "tokenizer_config.json",
         "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T\"},"
         "{\"name\":\"default\",\"template\":\"D\"}]}");
    assert_int_equal(folder_load(&f), 0);
    assert_string_equal(f.v.chat_template, "D");
    assert_string_equal(f.v.tools_template, "T");
    save(&f, "tokenizer_config.json", "{}");
    assert_int_equal(folder_load(&f), 0);
    assert_string_equal(f.v.chat_template, "P");
    assert_null(f.v.tools_template);
    save(&f, "chat_template.jinja", "J");
    char more[128];
    snprintf(more, sizeof more, "%s/additional_chat_templates", f.path);
    assert_int_equal(mkdir(more, 0700), 0);
    save(&f, "additional_chat_templates/tool_use.jinja", "U");
    assert_int_equal(folder_load(&f), 0);
    assert_string_equal(f.v.chat_template, "J");
    assert_string_equal(f.v.tools_template, "U");
    folder_remove(&f);
}

static void test_what_is_not_supported_is_named(void **state)
{
    (void)state;
    struct parts p = bpe_parts;
    p.pre = "{\"type\":\"Whitespace\"}";
    check_refused(&p, "pre_tokenizer.type: Whitespace");
    p.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}";
    check_refused(&p, "pre_tokenizer.add_prefix_space");
    p.pre = BYTE_LEVEL_ALONE;
    check_refused(&p, "pre_tokenizer");
    p.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
            "\"\\\\d{1,3}\"},\"behavior\":\"Isolated\"}," BYTE_LEVEL_ALONE "]}";
    check_refused(&p, "\\d{1,3}");
    p.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Digits\","
            "\"individual_digits\":true}]}";
    check_refused(&p, "after ByteLevel");
    p.pre = "null";
    check_refused(&p, "pre_tokenizer");
    p = bpe_parts;
    p.normalizer = "{\"type\":\"NFKC\"}";
    check_refused(&p, "normalizer.type: NFKC");
    p.normalizer = spm_parts.normalizer;
    check_refused(&p, "normalizer");
    p = bpe_parts;
    p.post = "{\"type\":\"BertProcessing\"}";
    check_refused(&p, "post_processor.type: BertProcessing");
    p = bpe_parts;
    p.added = ADDED("4", "<s>", ",\"single_word\":true");
    check_refused(&p, "single_word");
    p = bpe_parts;
    p.model = ",\"dropout\":0.1";
    check_refused(&p, "model.dropout");
    p.model = ",\"end_of_word_suffix\":\"</w>\"";
    check_refused(&p, "model.end_of_word_suffix");
    p.model = ",\"unk_token\":\"zz\"";
    check_refused(&p, "model.unk_token");
    p = spm_parts;
    p.merges = "";
    check_refused(&p, "merges");
}

static void test_broken_files(void **state)
{
    (void)state;
    struct parts p = bpe_parts;
    p.vocab = "";
    p.added = "";
    check_refused(&p, "model.vocab");
    p = bpe_parts;
    p.vocab = "\"a\":0,\"b\":0";
    check_refused(&p, "model.vocab");
    p.vocab = "\"a\":-1";
    check_refused(&p, "model.vocab");
    p.vocab = "\"a\":1e9";
    check_refused(&p, "model.vocab");
    p.vocab = "\"a\":\"x\"";
    check_refused(&p, "model.vocab");
    p.vocab = "\"a\\u0000b\":0";
    check_refused(&p, "u0000");
    p = bpe_parts;
    p.added = ADDED("0", "other", "");
    check_refused(&p, "added_tokens.id");
    p.added = ADDED("1.5", "x", "");
    check_refused(&p, "added_tokens");
    p = bpe_parts;
    p.merges = "\"ab\"";
    check_refused(&p, "merge 0");
    p.merges = "[\"a\"]";
    check_refused(&p, "merge 0");
    p.merges = "[\"a\",\"b\"],7";
    check_refused(&p, "merge 1");
    p = bpe_parts;
    p.post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
             "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[99]}}}";
    check_refused(&p, "post_processor");
    struct folder f;
    folder_make(&f);
    assert_int_equal(folder_load(&f), SPECD_EFILE);
    assert_non_null(strstr(f.err, "tokenizer.json"));
    save_parts(&f, &bpe_parts);
    save(&f, "tokenizer_config.json", "{");
    assert_int_equal(folder_load(&f), SPECD_EFILE);
    assert_non_null(strstr(f.err, "tokenizer_config.json"));
    folder_remove(&f);
}

/* The largest vocabulary there may be; the time is printed, not judged. */
static void test_a_large_vocabulary(void **state)
{
    (void)state;
    struct folder f;
    struct buf vocab = {0}, merges = {0};
    buf_puts(&vocab, "\"a\":0");
    uint32_t n = 1;
    for (const char *c = "bcdefghijklmnop"; *c; c++)
        buf_printf(&vocab, ",\"%c\":%u", *c, n++);
    for (uint32_t i = 0; n < SPECD_VOCAB_MAX; i++, n++) {
        char left[12] = "";
        for (uint32_t k = 0, rest = i / 16 + 1; rest > 0; k++, rest /= 16)
            left[k] = (char)('a' + rest % 16);
        buf_printf(&vocab, ",\"%s%c\":%u", left, 'a' + (int)(i % 16), n);
        buf_printf(&merges, "%s\"a b\"", i ? "," : "");
    }
    struct parts p = bpe_parts;
    p.added = "";
    p.vocab = vocab.data;
    p.merges = merges.data;
    folder_make(&f);
    save_parts(&f, &p);
    uint64_t start = clock_ns();
    int rc = folder_load(&f);
    print_message("    %u tokens, %u merges: %.0f ms\n", f.v.n_tokens, f.v.n_merges,
                  (double)(clock_ns() - start) / 1e6);
    assert_string_equal(f.err, "");
    assert_int_equal(rc, 0);
    assert_int_equal(f.v.n_tokens, SPECD_VOCAB_MAX);
    folder_remove(&f);
    buf_free(&vocab);
    buf_free(&merges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),    cmocka_unit_test(test_families),
        cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_template_adds_tokens),
        cmocka_unit_test(test_config),        cmocka_unit_test(test_what_is_not_supported_is_named),
        cmocka_unit_test(test_broken_files),  cmocka_unit_test(test_a_large_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
