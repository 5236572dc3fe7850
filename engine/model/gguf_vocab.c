#include "model/gguf_vocab.h"

#include "model/gguf_meta.h"
#include "model/pre.h"
#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MERGES_MAX (1u << 21)

static void read_kind(struct vocab *v, struct gguf_meta *r)
{
    static const char key[] = "tokenizer.ggml.model";
    char *model = meta_string(r, key, REQUIRED);
    char text[80];
    if (!model)
        return;
    if (strcmp(model, "gpt2") == 0)
        v->kind = VOCAB_BPE;
    else if (strcmp(model, "llama") == 0)
        v->kind = VOCAB_SPM;
    else
        meta_bad(r, key, "%s is not supported (gpt2 and llama are)",
                 printable(text, sizeof text, model, strlen(model)));
    free(model);
}

static void read_pre(struct vocab *v, struct gguf_meta *r)
{
    static const char key[] = "tokenizer.ggml.pre";
    char *name = meta_string(r, key, OPTIONAL);
    v->pre = PRE_GPT2;
    if (!name) {
        if (r->rc == 0)
            log_warn("%s: metadata %s is missing: using gpt-2, which may split text wrongly",
                     r->g->file, key);
        return;
    }
    char text[80];
    if (!pre_find_gguf(name, &v->pre, &v->nfc))
        meta_bad(r, key, "%s is a pre-tokenizer that specd does not have",
                 printable(text, sizeof text, name, strlen(name)));
    free(name);
}

static void read_tokens(struct vocab *v, struct gguf_meta *r)
{
    static const char key[] = "tokenizer.ggml.tokens";
    const struct gguf_kv *kv = meta_array(r, key, REQUIRED, GGUF_STRING);
    if (!kv)
        return;
    if (kv->n < 1 || kv->n > SPECD_VOCAB_MAX) {
        meta_bad(r, key, "%llu tokens, expected 1 to %d", (unsigned long long)kv->n,
                 SPECD_VOCAB_MAX);
        return;
    }
    v->tokens = xcalloc((size_t)kv->n, sizeof *v->tokens);
    const uint8_t *at = kv->data;
    for (uint64_t i = 0; i < kv->n; i++) {
        size_t len;
        const char *s = gguf_next_string(&at, &len);
        if (len > UINT32_MAX) {
            meta_bad(r, key, "token %llu is too long", (unsigned long long)i);
            return;
        }
        v->tokens[i] = (struct vocab_token){
            .text = xstrndup(s, len), .len = (uint32_t)len, .type = TOKEN_NORMAL};
        v->n_tokens++;
    }
}

/* An optional or required array with one element per token, or NULL. */
static const struct gguf_kv *per_token(const struct vocab *v, struct gguf_meta *r, const char *key,
                                       enum need need, enum gguf_type elem)
{
    const struct gguf_kv *kv = meta_array(r, key, need, elem);
    if (!kv || kv->n == v->n_tokens)
        return kv;
    meta_bad(r, key, "%llu elements for %u tokens", (unsigned long long)kv->n, v->n_tokens);
    return NULL;
}

static void read_token_types(struct vocab *v, struct gguf_meta *r)
{
    static const char key[] = "tokenizer.ggml.token_type";
    const struct gguf_kv *kv = per_token(v, r, key, OPTIONAL, GGUF_I32);
    for (uint32_t i = 0; kv && i < v->n_tokens; i++) {
        int32_t type;
        memcpy(&type, kv->data + i * sizeof type, sizeof type);
        if (type < 0 || type > TOKEN_BYTE)
            meta_bad(r, key, "token %u has type %d, expected 0 to %d", i, type, TOKEN_BYTE);
        else
            v->tokens[i].type = type == 0 ? TOKEN_NORMAL : (enum token_type)type;
    }
}

static void read_scores(struct vocab *v, struct gguf_meta *r)
{
    static const char key[] = "tokenizer.ggml.scores";
    const struct gguf_kv *kv =
        per_token(v, r, key, v->kind == VOCAB_SPM ? REQUIRED : OPTIONAL, GGUF_F32);
    for (uint32_t i = 0; kv && i < v->n_tokens; i++) {
        memcpy(&v->tokens[i].score, kv->data + i * sizeof(float), sizeof(float));
        if (!isfinite(v->tokens[i].score))
            meta_bad(r, key, "the score of token %u is not finite", i);
    }
}

/* "left right": byte-level texts write a space as another letter, so there is exactly one. */
static bool split_merge(struct vocab_merge *merge, const char *s, size_t len)
{
    const char *space = memchr(s, ' ', len);
    if (!space || space == s || space == s + len - 1 || len > UINT32_MAX)
        return false;
    size_t left = (size_t)(space - s), right = len - left - 1;
    if (memchr(space + 1, ' ', right))
        return false;
    *merge = (struct vocab_merge){.left = xstrndup(s, left),
                                  .right = xstrndup(space + 1, right),
                                  .left_len = (uint32_t)left,
                                  .right_len = (uint32_t)right};
    return true;
}

static void read_merges(struct vocab *v, struct gguf_meta *r)
{
    static const char key[] = "tokenizer.ggml.merges";
    const struct gguf_kv *kv = meta_array(r, key, REQUIRED, GGUF_STRING);
    if (!kv)
        return;
    if (kv->n > MERGES_MAX) {
        meta_bad(r, key, "%llu merges, expected at most %u", (unsigned long long)kv->n, MERGES_MAX);
        return;
    }
    v->merges = xcalloc((size_t)kv->n, sizeof *v->merges);
    const uint8_t *at = kv->data;
    for (uint64_t i = 0; i < kv->n; i++) {
        size_t len;
        const char *s = gguf_next_string(&at, &len);
        if (!split_merge(&v->merges[i], s, len)) {
            meta_bad(r, key, "merge %llu is no pair separated by one space", (unsigned long long)i);
            return;
        }
        v->n_merges++;
    }
}

static int32_t default_id(const struct vocab *v, uint32_t id, enum token_type type)
{
    bool has = v->kind == VOCAB_SPM && id < v->n_tokens && v->tokens[id].type == type;
    return has ? (int32_t)id : -1;
}

static void read_specials(struct vocab *v, struct gguf_meta *r)
{
    bool spm = v->kind == VOCAB_SPM;
    const struct pre_family *family = &pre_families[v->pre];
    v->unk =
        meta_id(r, "tokenizer.ggml.unknown_token_id", default_id(v, 0, TOKEN_UNKNOWN), v->n_tokens);
    v->bos =
        meta_id(r, "tokenizer.ggml.bos_token_id", default_id(v, 1, TOKEN_CONTROL), v->n_tokens);
    v->eos =
        meta_id(r, "tokenizer.ggml.eos_token_id", default_id(v, 2, TOKEN_CONTROL), v->n_tokens);
    v->pad = meta_id(r, "tokenizer.ggml.padding_token_id", -1, v->n_tokens);
    v->add_bos =
        meta_bool(r, "tokenizer.ggml.add_bos_token", spm || family->add_bos) && v->bos >= 0;
    v->add_eos = meta_bool(r, "tokenizer.ggml.add_eos_token", false) && v->eos >= 0;
    v->add_space_prefix = meta_bool(r, "tokenizer.ggml.add_space_prefix", spm);
    v->ignore_merges = !spm && family->ignore_merges;
    vocab_add_eog(v, v->eos);
    vocab_add_eog(v, meta_id(r, "tokenizer.ggml.eot_token_id", -1, v->n_tokens));
    vocab_add_eog(v, meta_id(r, "tokenizer.ggml.eom_token_id", -1, v->n_tokens));
    vocab_find_eog(v);
}

int gguf_vocab(struct vocab *v, const struct gguf *g, char *err, size_t errlen)
{
    struct gguf_meta r = {.g = g, .prefix = "", .err = err, .errlen = errlen};
    read_kind(v, &r);
    if (r.rc == 0 && v->kind == VOCAB_BPE)
        read_pre(v, &r);
    read_tokens(v, &r);
    read_token_types(v, &r);
    read_scores(v, &r);
    if (v->kind == VOCAB_BPE)
        read_merges(v, &r);
    if (meta_bool(&r, "tokenizer.ggml.remove_extra_whitespaces", false))
        meta_bad(&r, "tokenizer.ggml.remove_extra_whitespaces", "is not supported");
    read_specials(v, &r);
    v->chat_template = meta_string(&r, "tokenizer.chat_template", OPTIONAL);
    v->tools_template = meta_string(&r, "tokenizer.chat_template.tool_use", OPTIONAL);
    return r.rc;
}
