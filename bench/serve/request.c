#include "request.h"

#include <stdlib.h>

/* splitmix64 */
static uint64_t rnd(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void put_json_string(struct buf *b, const char *s, size_t len)
{
    buf_puts(b, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)s[i];
        if (ch < 0x20)
            buf_printf(b, "\\u%04x", ch);
        else if (ch == '"' || ch == '\\')
            buf_printf(b, "\\%c", ch);
        else
            buf_add(b, s + i, 1);
    }
    buf_puts(b, "\"");
}

static void put_words(struct buf *b, int n, uint64_t *state)
{
    static const char *const words[] = {"river", "stone", "early", "light", "under", "seven",
                                        "paper", "house", "green", "voice", "north", "story",
                                        "water", "small", "night", "field"};
    buf_puts(b, "\"");
    for (int i = 0; i < n; i++) {
        buf_puts(b, i ? " " : "");
        buf_puts(b, words[rnd(state) % COUNT_OF(words)]);
    }
    buf_puts(b, "\"");
}

static void put_ids(struct buf *b, int n, int vocab, uint64_t *state)
{
    for (int i = 0; i < n; i++)
        buf_printf(b, "%c%d", i ? ',' : '[', (int)(rnd(state) % (uint64_t)vocab));
    buf_puts(b, "]");
}

static void put_prompt(struct buf *b, const struct options *o, int index)
{
    uint64_t state = o->seed << 32 | (uint64_t)(o->same_prompt ? 0 : index);
    if (o->n_prompts > 0) {
        const struct buf *p = &o->prompts[index % o->n_prompts];
        put_json_string(b, p->data, p->len);
    } else if (o->words || o->chat) {
        put_words(b, o->prompt_tokens, &state);
    } else {
        put_ids(b, o->prompt_tokens, o->vocab, &state);
    }
}

static void put_body(struct buf *b, const struct options *o, enum spec_choice spec, int index)
{
    buf_puts(b, o->chat ? "{\"messages\":[{\"role\":\"user\",\"content\":" : "{\"prompt\":");
    put_prompt(b, o, index);
    buf_puts(b, o->chat ? "}]" : "");
    buf_printf(b, ",\"max_tokens\":%d,\"temperature\":%g,\"ignore_eos\":%s", o->max_tokens,
               o->temperature, o->ignore_eos ? "true" : "false");
    if (o->stream)
        buf_puts(b, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if (spec != SPEC_SERVER)
        buf_printf(b, ",\"speculative\":{\"enabled\":%s}", spec == SPEC_ON ? "true" : "false");
    if (o->fields)
        buf_printf(b, ",%s", o->fields);
    buf_puts(b, "}");
}

void request_put(struct buf *out, const struct options *o, enum spec_choice spec, int index)
{
    struct buf body = {0};
    const char *key = getenv("SPECD_API_KEY");
    put_body(&body, o, spec, index);
    buf_printf(out,
               "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n",
               o->chat ? "/v1/chat/completions" : "/v1/completions",
               o->port ? o->host : "localhost", body.len);
    if (key)
        buf_printf(out, "Authorization: Bearer %s\r\n", key);
    buf_puts(out, "\r\n");
    buf_add(out, body.data, body.len);
    buf_free(&body);
}
