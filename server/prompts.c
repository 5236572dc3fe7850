/*
 * prompts.c - what to complete: `prompt` as text, token ids or an array of either, or `messages`.
 */
#include "call.h"
#include "messages.h"

#include <stdlib.h>
#include <string.h>

int token_ids_read(const char *name, const struct json *list, uint32_t n_vocab, int32_t **ids,
                   size_t *n_ids, struct api_error *e)
{
    size_t n = json_count(list), i = 0;
    int32_t *out = xmalloc(n * sizeof *out); /* n <= JSON_VALUES_MAX */
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        int64_t id;
        if (!json_integer(v, &id) || id < 0 || id >= (int64_t)n_vocab) {
            free(out);
            return api_fail(e, SPECD_EINVAL, name,
                            "'%s': element %zu must be a token id, an integer in 0..%u", name, i,
                            n_vocab - 1);
        }
        out[i++] = (int32_t)id;
    }
    *ids = out;
    *n_ids = n;
    return 0;
}

static int read_prompt(struct call *c, const struct json *v, struct api_error *e)
{
    struct prompt *p = &c->prompts[c->n_prompts];
    if (json_type(v) == JSON_STRING) {
        p->kind = PROMPT_TEXT;
        p->source = v;
    } else if (json_type(v) == JSON_ARRAY && json_first(v)) {
        p->kind = PROMPT_TOKENS;
        int rc = token_ids_read("prompt", v, c->info->n_vocab, &p->ids, &p->n_ids, e);
        if (rc < 0)
            return rc;
    } else {
        return api_fail(e, SPECD_EINVAL, "prompt",
                        "'prompt' must be a string, a list of token ids, or a list of either");
    }
    c->n_prompts++;
    return 0;
}

/* A list is one prompt when it begins with a number, else a list of prompts. */
static int read_prompts(struct call *c, const struct json *v, struct api_error *e)
{
    const struct json *first = json_type(v) == JSON_ARRAY ? json_first(v) : NULL;
    c->many = first && json_type(first) != JSON_NUMBER;
    size_t n = c->many ? json_count(v) : 1;
    if (n > CALL_PROMPTS_MAX)
        return api_fail(e, SPECD_EINVAL, "prompt", "'prompt' may hold at most %d prompts",
                        CALL_PROMPTS_MAX);
    c->prompts = xcalloc(n, sizeof *c->prompts);
    if (!c->many)
        return read_prompt(c, v, e);
    for (; first; first = json_next(first)) {
        int rc = read_prompt(c, first, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_messages(struct call *c, const struct json *v, struct api_error *e)
{
    int rc = messages_check(call_prompt_field(c), v, e);
    if (rc < 0)
        return rc;
    c->prompts = xcalloc(1, sizeof *c->prompts);
    c->prompts[0] = (struct prompt){.kind = PROMPT_CHAT, .source = v};
    c->n_prompts = 1;
    return 0;
}

const char *call_prompt_field(const struct call *c)
{
    return !call_is_chat(c) ? "prompt" : c->route == CALL_RESPONSES ? "input" : "messages";
}

int prompts_read(struct call *c, struct api_error *e)
{
    const char *name = call_is_chat(c) ? "messages" : "prompt";
    const struct json *v = json_get(c->doc, name);
    if (!v || json_type(v) == JSON_NULL)
        return api_fail(e, SPECD_EINVAL, name, "'%s' is required", name);
    return call_is_chat(c) ? read_messages(c, v, e) : read_prompts(c, v, e);
}
