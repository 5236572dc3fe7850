#include "logprobs.h"

#include "specd/json_write.h"
#include "specd/utf8.h"

#include <math.h>

size_t text_chars(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += (text[i] & 0xc0) != 0x80;
    return n;
}

/* ---- pieces */

static void write_name(const struct engine *e, int32_t id, const char *prefix, struct buf *out)
{
    size_t len;
    const char *bytes = engine_token_bytes(e, id, &len);
    if (utf8_valid_run(bytes, len) == len) {
        json_str(out, bytes, len);
        return;
    }
    buf_printf(out, "\"%s", prefix);
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "\\\\x%02x", (unsigned char)bytes[i]);
    json_lit(out, "\"");
}

static void write_bytes(const struct engine *e, int32_t id, struct buf *out)
{
    size_t len;
    const char *bytes = engine_token_bytes(e, id, &len);
    json_lit(out, "[");
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned char)bytes[i]);
    json_lit(out, "]");
}

/* JSON has no infinity; OpenAI writes -9999 for the impossible. */
static void write_logprob(float logprob, struct buf *out)
{
    buf_printf(out, "%.6f", logprob > -9999.0f ? (double)logprob : -9999.0);
}

static void comma(bool *first, struct buf *out)
{
    if (!*first)
        json_lit(out, ",");
    *first = false;
}

static const struct token_logprob *logprobs_of(const struct logprob_part *p, size_t i)
{
    return p->headless && i == 0 ? NULL : p->logprobs + i * (size_t)(1 + p->n_top);
}

typedef void write_token_fn(const struct engine *e, const struct logprob_part *p, size_t i,
                            struct logprob_at *at, struct buf *out);

/* [a,b,...] over the tokens of all parts but the first few, from where at stands until out is full;
 * true: to the end. */
static bool write_list(const struct engine *e, const struct logprob_part *parts, int n_parts,
                       size_t n_skipped, write_token_fn *write, struct logprob_at *at,
                       struct buf *out)
{
    size_t n_before = 0;
    if (at->i == 0)
        json_lit(out, "[");
    for (int p = 0; p < n_parts; n_before += parts[p++].n) {
        while (at->i + n_skipped < n_before + parts[p].n) {
            if (at->i > 0)
                json_lit(out, ",");
            write(e, &parts[p], at->i++ + n_skipped - n_before, at, out);
            if (out->len >= at->most)
                return false;
        }
    }
    json_lit(out, "]");
    return true;
}

/* ---- text completions */

#define TEXT_PREFIX "bytes:"

static void write_text_name(const struct engine *e, const struct logprob_part *p, size_t i,
                            struct logprob_at *at, struct buf *out)
{
    (void)at;
    write_name(e, p->tokens[i].id, TEXT_PREFIX, out);
}

static void write_own(const struct engine *e, const struct logprob_part *p, size_t i,
                      struct logprob_at *at, struct buf *out)
{
    const struct token_logprob *l = logprobs_of(p, i);
    (void)e;
    (void)at;
    if (l)
        write_logprob(l->logprob, out);
    else
        json_lit(out, "null");
}

static bool same_name(const struct engine *e, int32_t a, int32_t b)
{
    size_t len_a, len_b;
    const char *bytes_a = engine_token_bytes(e, a, &len_a);
    const char *bytes_b = engine_token_bytes(e, b, &len_b);
    return len_a == len_b && memcmp(bytes_a, bytes_b, len_a) == 0;
}

/* Is entry k named as one before it? Names are keys here, and a key may stand once. */
static bool is_repeated(const struct engine *e, const struct token_logprob *at, int k)
{
    for (int i = 0; i < k; i++) {
        if (at[i].id >= 0 && same_name(e, at[i].id, at[k].id))
            return true;
    }
    return false;
}

/* The token itself is always there, as OpenAI has it: up to n + 1 entries. */
static void write_top_names(const struct engine *e, const struct logprob_part *p, size_t i,
                            struct logprob_at *at, struct buf *out)
{
    const struct token_logprob *l = logprobs_of(p, i);
    bool first = true;
    (void)at;
    if (!l) {
        json_lit(out, "null");
        return;
    }
    json_lit(out, "{");
    for (int k = 0; k <= p->n_top; k++) {
        if (l[k].id < 0 || is_repeated(e, l, k))
            continue;
        comma(&first, out);
        write_name(e, l[k].id, TEXT_PREFIX, out);
        json_lit(out, ":");
        write_logprob(l[k].logprob, out);
    }
    json_lit(out, "}");
}

static void write_offset(const struct engine *e, const struct logprob_part *p, size_t i,
                         struct logprob_at *at, struct buf *out)
{
    size_t len = p->tokens[i].text_len;
    (void)e;
    if (i == 0)
        at->bytes = 0;
    json_uint(out, at->chars);
    at->chars += text_chars(p->text + at->bytes, len);
    at->bytes += len;
}

bool logprobs_text(const struct engine *e, const struct logprob_part *parts, int n_parts,
                   struct logprob_at *at, struct buf *out)
{
    static const struct {
        const char *name;
        write_token_fn *write;
    } lists[] = {{"{\"tokens\":", write_text_name},
                 {",\"token_logprobs\":", write_own},
                 {",\"top_logprobs\":", write_top_names},
                 {",\"text_offset\":", write_offset}};
    for (; at->list < (int)COUNT_OF(lists); at->list++, at->i = 0) {
        if (at->i == 0)
            buf_puts(out, lists[at->list].name);
        if (!write_list(e, parts, n_parts, 0, lists[at->list].write, at, out))
            return false;
    }
    json_lit(out, "}");
    return true;
}

/* ---- chat and native */

static void write_entry(const struct engine *e, const struct token_logprob *l, bool with_id,
                        struct buf *out)
{
    if (with_id) {
        json_lit(out, "\"id\":");
        json_int(out, l->id);
        json_lit(out, ",");
    }
    json_lit(out, "\"token\":");
    write_name(e, l->id, "", out);
    json_lit(out, ",\"logprob\":");
    write_logprob(l->logprob, out);
    json_lit(out, ",\"bytes\":");
    write_bytes(e, l->id, out);
}

static void write_alternatives(const struct engine *e, const struct token_logprob *at, int n,
                               bool with_id, struct buf *out)
{
    json_lit(out, "[");
    for (int i = 0; i < n && at[i].id >= 0; i++) {
        buf_puts(out, i > 0 ? ",{" : "{");
        write_entry(e, &at[i], with_id, out);
        json_lit(out, "}");
    }
    json_lit(out, "]");
}

static void write_chat(const struct engine *e, const struct logprob_part *p, size_t i,
                       struct logprob_at *at, struct buf *out)
{
    const struct token_logprob *l = logprobs_of(p, i);
    json_lit(out, "{");
    write_entry(e, l, at->with_id, out);
    json_lit(out, ",\"top_logprobs\":");
    write_alternatives(e, l + 1, p->n_top, at->with_id, out);
    json_lit(out, "}");
}

/* A token that nothing comes before has no entry. */
bool logprobs_entries(const struct engine *e, const struct logprob_part *parts, int n_parts,
                      struct logprob_at *at, struct buf *out)
{
    size_t n_skipped = n_parts > 0 && parts[0].n > 0 && parts[0].headless;
    return write_list(e, parts, n_parts, n_skipped, write_chat, at, out);
}

bool logprobs_chat(const struct engine *e, const struct logprob_part *parts, int n_parts,
                   struct logprob_at *at, struct buf *out)
{
    if (at->i == 0)
        json_lit(out, "{\"content\":");
    if (!logprobs_entries(e, parts, n_parts, at, out))
        return false;
    json_lit(out, ",\"refusal\":null}");
    return true;
}

bool logprobs_native(const struct engine *e, const struct logprob_part *parts, int n_parts,
                     struct logprob_at *at, struct buf *out)
{
    at->with_id = true;
    return logprobs_entries(e, parts, n_parts, at, out);
}
