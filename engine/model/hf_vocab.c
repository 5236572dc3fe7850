#include "model/hf_vocab.h"

#include "model/hf_pipeline.h"
#include "model/json_file.h"
#include "model/mapping.h"
#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKENIZER_BYTES_MAX ((size_t)256 << 20)
#define CONFIG_BYTES_MAX ((size_t)16 << 20)
#define MERGES_MAX (1u << 21)

/* One folder being read. */
struct folder {
    struct vocab *v;
    const char *dir;
    char *err;
    size_t errlen;
};

static int32_t find_token(const struct vocab *v, const char *text)
{
    size_t len = strlen(text);
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].len == len && memcmp(v->tokens[i].text, text, len) == 0)
            return (int32_t)i;
    return -1;
}

/* Highest id of both lists plus one. 0 with r->rc set when an id is no number below the limit. */
static uint32_t count_tokens(struct json_reader *r, const struct json *vocab,
                             const struct json *added)
{
    uint64_t id, n = 0;
    const struct json *node;
    for (node = json_first(vocab); node; node = json_next(node)) {
        if (!json_file_whole(node, SPECD_VOCAB_MAX - 1, &id))
            json_file_bad(r, "model.vocab", "expected ids from 0 to %d", SPECD_VOCAB_MAX - 1);
        else
            n = MAX(n, id + 1);
    }
    for (node = json_first(added); node; node = json_next(node)) {
        if (!json_file_whole(json_get(node, "id"), SPECD_VOCAB_MAX - 1, &id))
            json_file_bad(r, "added_tokens", "expected ids from 0 to %d", SPECD_VOCAB_MAX - 1);
        else
            n = MAX(n, id + 1);
    }
    if (n == 0)
        json_file_bad(r, "model.vocab", "no tokens");
    return r->rc ? 0 : (uint32_t)n;
}

static void set_token(struct vocab_token *t, const char *text, enum token_type type)
{
    size_t len = strlen(text);
    *t = (struct vocab_token){.text = xstrndup(text, len), .len = (uint32_t)len, .type = type};
}

static void read_vocab(struct vocab *v, struct json_reader *r, const struct json *vocab)
{
    const struct json *node;
    for (node = json_first(vocab); node; node = json_next(node)) {
        struct vocab_token *t = &v->tokens[(uint32_t)json_number(node)];
        if (r->rc)
            return;
        if (t->text)
            json_file_bad(r, "model.vocab", "id %u occurs twice", (uint32_t)json_number(node));
        else
            set_token(t, json_key(node), TOKEN_NORMAL);
    }
}

static void read_added_token(struct vocab *v, struct json_reader *r)
{
    uint32_t id = json_file_u32(r, "id", REQUIRED, 0, 0, v->n_tokens - 1);
    const char *content = json_file_string(r, "content", REQUIRED);
    bool special = json_file_bool(r, "special", false);
    if (json_file_bool(r, "single_word", false))
        json_file_bad(r, "single_word", "is not supported (token %u)", id);
    if (r->rc)
        return;
    struct vocab_token *t = &v->tokens[id];
    if (!t->text) {
        set_token(t, content, TOKEN_NORMAL);
    } else if (strcmp(t->text, content) != 0) {
        json_file_bad(r, "id", "%u is another token's", id);
        return;
    }
    t->type = special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    t->lstrip = json_file_bool(r, "lstrip", false);
    t->rstrip = json_file_bool(r, "rstrip", false);
    /* With SentencePiece's normalisation the flag would mean the text behind a space prefix, which
     * no file intends. */
    t->normalized = json_file_bool(r, "normalized", !special) && v->kind == VOCAB_BPE;
}

/* As the padding of an embedding that is larger than its vocabulary. */
static void fill_gaps(struct vocab *v)
{
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        char text[24];
        if (v->tokens[i].text)
            continue;
        snprintf(text, sizeof text, "[PAD%u]", i);
        set_token(&v->tokens[i], text, TOKEN_UNUSED);
    }
}

static void read_tokens(struct vocab *v, struct json_reader *r, const struct json *vocab)
{
    const struct json *added = json_file_field(r, "added_tokens", OPTIONAL), *node;
    v->n_tokens = count_tokens(r, vocab, added);
    v->tokens = xcalloc(v->n_tokens, sizeof *v->tokens);
    if (r->rc == 0)
        read_vocab(v, r, vocab);
    for (node = json_first(added); node; node = json_next(node)) {
        struct json_reader token = *r;
        token.object = node;
        token.path = "added_tokens.";
        if (r->rc == 0)
            read_added_token(v, &token);
        r->rc = token.rc;
    }
    fill_gaps(v);
}

/* "left right" or ["left", "right"]. */
static bool read_merge(const struct json *node, struct vocab_merge *merge)
{
    const char *left, *right;
    size_t left_len;
    if (json_type(node) == JSON_STRING) {
        left = json_string(node);
        const char *space = strchr(left, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        left_len = (size_t)(space - left);
        right = space + 1;
    } else {
        const struct json *first = json_first(node), *second = first ? json_next(first) : NULL;
        left = json_string(first);
        right = json_string(second);
        if (!left || !right || json_next(second))
            return false;
        left_len = strlen(left);
    }
    *merge = (struct vocab_merge){.left = xstrndup(left, left_len),
                                  .right = xstrdup(right),
                                  .left_len = (uint32_t)left_len,
                                  .right_len = (uint32_t)strlen(right)};
    return true;
}

static void read_merges(struct vocab *v, struct json_reader *r)
{
    const struct json *merges = json_file_field(r, "merges", REQUIRED), *node;
    size_t n = json_count(merges);
    if (r->rc)
        return;
    if (json_type(merges) != JSON_ARRAY || n > MERGES_MAX) {
        json_file_bad(r, "merges", "expected an array of at most %u pairs", MERGES_MAX);
        return;
    }
    if (n == 0 && v->kind == VOCAB_SPM)
        json_file_bad(r, "merges", "empty, and there are no scores");
    v->merges = xcalloc(n, sizeof *v->merges);
    for (node = json_first(merges); node; node = json_next(node)) {
        if (!read_merge(node, &v->merges[v->n_merges])) {
            json_file_bad(r, "merges", "merge %u is no pair of two texts", v->n_merges);
            return;
        }
        v->n_merges++;
    }
}

static bool is_byte_name(const struct vocab_token *t)
{
    return t->len == 6 && memcmp(t->text, "<0x", 3) == 0 && isxdigit((unsigned char)t->text[3]) &&
           isxdigit((unsigned char)t->text[4]) && t->text[5] == '>';
}

/* Options of the BPE model that change ids. */
static void read_options(struct vocab *v, struct json_reader *r)
{
    const char *affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < COUNT_OF(affixes); i++) {
        const char *affix = json_file_string(r, affixes[i], OPTIONAL);
        if (affix && *affix)
            json_file_bad(r, affixes[i], "is not supported");
    }
    if (json_file_f64(r, "dropout", OPTIONAL, 0) != 0)
        json_file_bad(r, "dropout", "is not supported");
    v->ignore_merges = json_file_bool(r, "ignore_merges", false);
    bool spm = v->kind == VOCAB_SPM, byte_fallback = json_file_bool(r, "byte_fallback", false);
    const char *unk = json_file_string(r, "unk_token", OPTIONAL);
    if (unk) {
        v->unk = find_token(v, unk);
        if (v->unk < 0)
            json_file_bad(r, "unk_token", "is not in the vocabulary");
        else if (spm)
            v->tokens[v->unk].type = TOKEN_UNKNOWN;
        v->unk_bytes = true;
    }
    /* SentencePiece makes one unknown token of a run, GPT-2's kind one of each byte. */
    if (unk && json_file_bool(r, "fuse_unk", false) != spm && !byte_fallback)
        json_file_bad(r, "fuse_unk", "%s is not supported here", spm ? "false" : "true");
    for (uint32_t i = 0; spm && byte_fallback && i < v->n_tokens; i++)
        if (v->tokens[i].type == TOKEN_NORMAL && is_byte_name(&v->tokens[i]))
            v->tokens[i].type = TOKEN_BYTE;
}

static int read_tokenizer(struct folder *f, const struct json *root, const char *file)
{
    int rc = hf_pipeline_read(f->v, root, file, f->err, f->errlen);
    if (rc)
        return rc;
    struct json_reader r = {
        .object = root, .file = file, .path = "", .err = f->err, .errlen = f->errlen};
    struct json_reader model = r;
    model.object = json_file_field(&r, "model", REQUIRED);
    model.path = "model.";
    const char *type = json_file_string(&model, "type", OPTIONAL);
    if (type && strcmp(type, "BPE") != 0)
        json_file_bad(&model, "type", "only BPE is supported");
    const struct json *vocab = json_file_field(&model, "vocab", REQUIRED);
    if (vocab && json_type(vocab) != JSON_OBJECT)
        json_file_bad(&model, "vocab", "expected an object");
    r.rc = r.rc ? r.rc : model.rc;
    if (r.rc == 0)
        read_tokens(f->v, &r, vocab);
    model.rc = r.rc;
    if (model.rc == 0)
        read_options(f->v, &model);
    if (model.rc == 0)
        read_merges(f->v, &model);
    return model.rc;
}

/* A special token's text: a string, or an object with "content". NULL when absent. */
static const char *special_text(const struct json *root, const char *name)
{
    const struct json *node = json_get(root, name);
    if (json_type(node) == JSON_OBJECT)
        node = json_get(node, "content");
    return json_string(node);
}

static void set_special(const struct vocab *v, const struct json *root, const char *name,
                        int32_t *id)
{
    const char *text = *id < 0 ? special_text(root, name) : NULL;
    if (text)
        *id = find_token(v, text);
}

static void set_specials(struct vocab *v, const struct json *root)
{
    set_special(v, root, "bos_token", &v->bos);
    set_special(v, root, "eos_token", &v->eos);
    set_special(v, root, "unk_token", &v->unk);
    set_special(v, root, "pad_token", &v->pad);
}

static void set_rule(const struct json *root, const char *name, bool *rule)
{
    const struct json *node = json_get(root, name);
    if (json_type(node) == JSON_BOOL)
        *rule = json_bool(node);
}

/* One template, or a list of named ones: "default", without one the first, and "tool_use". Files of
 * their own win over it. */
static void read_templates(struct folder *f, const struct json *root)
{
    const struct json *node = json_get(root, "chat_template"), *named;
    const char *plain = json_string(node), *tools = NULL;
    if (f->v->chat_template)
        return;
    for (named = json_first(node); named; named = json_next(named)) {
        const char *name = json_string(json_get(named, "name"));
        const char *text = json_string(json_get(named, "template"));
        if (text && (!plain || (name && strcmp(name, "default") == 0)))
            plain = text;
        if (text && name && strcmp(name, "tool_use") == 0)
            tools = text;
    }
    f->v->chat_template = plain ? xstrdup(plain) : NULL;
    if (tools && !f->v->tools_template)
        f->v->tools_template = xstrdup(tools);
}

static void read_config(struct folder *f, const struct json *root)
{
    struct vocab *v = f->v;
    set_specials(v, root);
    set_rule(root, "add_bos_token", &v->add_bos);
    set_rule(root, "add_eos_token", &v->add_eos);
    read_templates(f, root);
}

static void read_special_map(struct folder *f, const struct json *root)
{
    set_specials(f->v, root);
}

/* An optional JSON file of the folder. */
static int read_beside(struct folder *f, const char *name,
                       void (*read)(struct folder *f, const struct json *root))
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    if (access(path, F_OK) != 0)
        return 0;
    struct json *root;
    int rc = json_file_load(&root, path, CONFIG_BYTES_MAX, f->err, f->errlen);
    if (rc)
        return rc;
    read(f, root);
    json_free(root);
    return 0;
}

static int read_template_file(struct folder *f, const char *name, char **out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    struct mapping map;
    if (access(path, F_OK) != 0)
        return 0;
    int rc = mapping_open(&map, path, f->err, f->errlen);
    if (rc)
        return rc;
    if (map.size > CONFIG_BYTES_MAX || memchr(map.data, 0, map.size))
        rc = fail(SPECD_EFILE, f->err, f->errlen, "%s: not a text file", path);
    else
        *out = xstrndup((const char *)map.data, map.size);
    mapping_close(&map);
    return rc;
}

int hf_vocab_load(struct vocab *v, const char *dir, char *err, size_t errlen)
{
    struct folder f = {.v = v, .dir = dir, .err = err, .errlen = errlen};
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    v->bos = v->eos = v->unk = v->pad = -1;
    struct json *root;
    int rc = json_file_load(&root, path, TOKENIZER_BYTES_MAX, err, errlen);
    if (rc)
        return rc;
    rc = read_tokenizer(&f, root, path);
    json_free(root);
    if (rc == 0)
        rc = read_template_file(&f, "chat_template.jinja", &v->chat_template);
    if (rc == 0)
        rc = read_template_file(&f, "additional_chat_templates/tool_use.jinja", &v->tools_template);
    if (rc == 0)
        rc = read_beside(&f, "tokenizer_config.json", read_config);
    if (rc == 0) /* where older folders of processors have it */
        rc = read_beside(&f, "chat_template.json", read_templates);
    if (rc == 0)
        rc = read_beside(&f, "special_tokens_map.json", read_special_map);
    if (rc)
        return rc;
    if (v->bos >= (int32_t)v->n_tokens || v->eos >= (int32_t)v->n_tokens)
        return fail(SPECD_EFILE, err, errlen, "%s: post_processor: ids beyond the vocabulary",
                    path);
    v->add_bos = v->add_bos && v->bos >= 0;
    v->add_eos = v->add_eos && v->eos >= 0;
    vocab_add_eog(v, v->eos);
    vocab_find_eog(v);
    return 0;
}
