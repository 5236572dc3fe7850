/*
 * prompts.c - what to complete: `prompt` as text, token ids or an array of either; `messages`.
 */
#include "call.h"

#include <stdlib.h>
#include <string.h>

#define ROLES "system|user|assistant|tool|developer"

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

/* ---- messages */

static int check_part(const struct json *part, size_t at, struct api_error *e)
{
    const struct json *type = NULL, *text = NULL;
    if (json_type(part) == JSON_OBJECT) {
        type = json_get(part, "type");
        text = json_get(part, "text");
    }
    if (type && json_type(type) == JSON_STRING && strcmp(json_string(type), "text") != 0)
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content': only parts of type \"text\" are supported", at);
    if (!type || json_type(type) != JSON_STRING || !text || json_type(text) != JSON_STRING)
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content': a part must be {\"type\":\"text\",\"text\":...}",
                        at);
    return 0;
}

static int check_content(const struct json *content, size_t at, bool may_be_null,
                         struct api_error *e)
{
    enum json_type type = content ? json_type(content) : JSON_NULL;
    if (type == JSON_STRING || (type == JSON_NULL && may_be_null))
        return 0;
    if (type != JSON_ARRAY)
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content' must be a string or a list of text parts", at);
    for (const struct json *part = json_first(content); part; part = json_next(part)) {
        int rc = check_part(part, at, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_message(const struct json *m, size_t at, struct api_error *e)
{
    if (json_type(m) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, "messages", "'messages[%zu]' must be an object", at);
    const struct json *role = json_get(m, "role");
    if (!role || json_type(role) != JSON_STRING || enum_index(ROLES, json_string(role)) < 0)
        return api_fail(e, SPECD_EINVAL, "messages", "'messages[%zu].role' must be one of %s", at,
                        ROLES);
    bool assistant = strcmp(json_string(role), "assistant") == 0;
    return check_content(json_get(m, "content"), at, assistant, e);
}

static int read_messages(struct call *c, const struct json *v, struct api_error *e)
{
    size_t n = json_type(v) == JSON_ARRAY ? json_count(v) : 0, at = 0;
    if (n < 1 || n > CALL_MESSAGES_MAX)
        return api_fail(e, SPECD_EINVAL, "messages", "'messages' must be a list of 1..%d messages",
                        CALL_MESSAGES_MAX);
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        int rc = check_message(m, at++, e);
        if (rc < 0)
            return rc;
    }
    c->prompts = xcalloc(1, sizeof *c->prompts);
    c->prompts[0] = (struct prompt){.kind = PROMPT_CHAT, .source = v};
    c->n_prompts = 1;
    return 0;
}

static size_t add_string(struct buf *b, const char *s)
{
    size_t at = b->len;
    buf_add(b, s, strlen(s) + 1);
    return at;
}

/* Parts are joined by line ends. */
static size_t add_content(struct buf *b, const struct json *content)
{
    size_t at = b->len;
    if (content && json_type(content) == JSON_STRING)
        return add_string(b, json_string(content));
    const struct json *part =
        content && json_type(content) == JSON_ARRAY ? json_first(content) : NULL;
    for (; part; part = json_next(part)) {
        if (b->len > at)
            buf_add(b, "\n", 1);
        buf_puts(b, json_string(json_get(part, "text")));
    }
    buf_add(b, "", 1);
    return at;
}

/* Two passes, because the storage may move while it grows. */
void messages_build(struct request *req, const struct json *messages)
{
    size_t n = json_count(messages), i = 0;
    struct {
        size_t role, content;
    } *at = xcalloc(n, sizeof *at);
    for (const struct json *m = json_first(messages); m; m = json_next(m), i++) {
        at[i].role = add_string(&req->storage, json_string(json_get(m, "role")));
        at[i].content = add_content(&req->storage, json_get(m, "content"));
    }
    req->messages = xcalloc(n, sizeof *req->messages);
    req->n_messages = n;
    for (i = 0; i < n; i++) {
        req->messages[i].role = req->storage.data + at[i].role;
        req->messages[i].content = req->storage.data + at[i].content;
    }
    free(at);
}

int prompts_read(struct call *c, struct api_error *e)
{
    const char *name = c->route == CALL_CHAT ? "messages" : "prompt";
    const struct json *v = json_get(c->doc, name);
    if (!v || json_type(v) == JSON_NULL)
        return api_fail(e, SPECD_EINVAL, name, "'%s' is required", name);
    return c->route == CALL_CHAT ? read_messages(c, v, e) : read_prompts(c, v, e);
}
