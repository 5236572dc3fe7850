#include "logprobs.h"

#include "json_write.h"
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

static bool is_utf8(const char *s, size_t len)
{
    while (len > 0) {
        size_t n = utf8_length((const unsigned char *)s, len);
        if (n == 0)
            return false;
        s += n;
        len -= n;
    }
    return true;
}

static void write_name(const struct engine *e, int32_t id, const char *prefix, struct buf *out)
{
    size_t len;
    const char *bytes = engine_token_bytes(e, id, &len);
    if (is_utf8(bytes, len)) {
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
                            struct buf *out);

/* [a,b,...] over the tokens of all parts. */
static void write_list(const struct engine *e, const struct logprob_part *parts, int n_parts,
                       write_token_fn *write, struct buf *out)
{
    bool first = true;
    json_lit(out, "[");
    for (int i = 0; i < n_parts; i++) {
        for (size_t j = 0; j < parts[i].n; j++) {
            comma(&first, out);
            write(e, &parts[i], j, out);
        }
    }
    json_lit(out, "]");
}

/* ---- text completions */

#define TEXT_PREFIX "bytes:"

static void write_text_name(const struct engine *e, const struct logprob_part *p, size_t i,
                            struct buf *out)
{
    write_name(e, p->tokens[i].id, TEXT_PREFIX, out);
}

static void write_own(const struct engine *e, const struct logprob_part *p, size_t i,
                      struct buf *out)
{
    const struct token_logprob *at = logprobs_of(p, i);
    (void)e;
    if (at)
        write_logprob(at->logprob, out);
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
                            struct buf *out)
{
    const struct token_logprob *at = logprobs_of(p, i);
    bool first = true;
    if (!at) {
        json_lit(out, "null");
        return;
    }
    json_lit(out, "{");
    for (int k = 0; k <= p->n_top; k++) {
        if (at[k].id < 0 || is_repeated(e, at, k))
            continue;
        comma(&first, out);
        write_name(e, at[k].id, TEXT_PREFIX, out);
        json_lit(out, ":");
        write_logprob(at[k].logprob, out);
    }
    json_lit(out, "}");
}

static void write_offsets(const struct logprob_part *parts, int n_parts, size_t offset,
                          struct buf *out)
{
    bool first = true;
    json_lit(out, "[");
    for (int i = 0; i < n_parts; i++) {
        const char *text = parts[i].text;
        for (size_t j = 0; j < parts[i].n; j++) {
            size_t len = parts[i].tokens[j].text_len;
            comma(&first, out);
            json_uint(out, offset);
            offset += text_chars(text, len);
            text += len;
        }
    }
    json_lit(out, "]");
}

void logprobs_text(const struct engine *e, const struct logprob_part *parts, int n_parts,
                   size_t offset, struct buf *out)
{
    json_lit(out, "{\"tokens\":");
    write_list(e, parts, n_parts, write_text_name, out);
    json_lit(out, ",\"token_logprobs\":");
    write_list(e, parts, n_parts, write_own, out);
    json_lit(out, ",\"top_logprobs\":");
    write_list(e, parts, n_parts, write_top_names, out);
    json_lit(out, ",\"text_offset\":");
    write_offsets(parts, n_parts, offset, out);
    json_lit(out, "}");
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

static void write_entries(const struct engine *e, const struct logprob_part *parts, int n_parts,
                          bool with_id, struct buf *out)
{
    bool first = true;
    json_lit(out, "[");
    for (int i = 0; i < n_parts; i++) {
        for (size_t j = parts[i].headless; j < parts[i].n; j++) {
            const struct token_logprob *at = logprobs_of(&parts[i], j);
            comma(&first, out);
            json_lit(out, "{");
            write_entry(e, at, with_id, out);
            json_lit(out, ",\"top_logprobs\":");
            write_alternatives(e, at + 1, parts[i].n_top, with_id, out);
            json_lit(out, "}");
        }
    }
    json_lit(out, "]");
}

void logprobs_chat(const struct engine *e, const struct logprob_part *parts, int n_parts,
                   size_t offset, struct buf *out)
{
    (void)offset;
    json_lit(out, "{\"content\":");
    write_entries(e, parts, n_parts, false, out);
    json_lit(out, ",\"refusal\":null}");
}

void logprobs_native(const struct engine *e, const struct logprob_part *parts, int n_parts,
                     size_t offset, struct buf *out)
{
    (void)offset;
    write_entries(e, parts, n_parts, true, out);
}
