#include "messages.h"

#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLES "system|user|assistant|tool|developer"

static bool is_a(const struct json *v, enum json_type type)
{
    return v && json_type(v) == type;
}

static bool is_given(const struct json *v)
{
    return v && json_type(v) != JSON_NULL;
}

/* null says nothing, and templates take an empty list of calls for calls. */
static bool is_member(const struct json *m)
{
    if (strcmp(json_key(m), "role") == 0 || strcmp(json_key(m), "content") == 0)
        return false;
    return json_type(m) != JSON_NULL && (json_type(m) != JSON_ARRAY || json_first(m));
}

/* ---- messages */

static int check_part(const struct json *part, size_t at, struct api_error *e)
{
    const struct json *type = NULL, *text = NULL;
    if (json_type(part) == JSON_OBJECT) {
        type = json_get(part, "type");
        text = json_get(part, "text");
    }
    if (is_a(type, JSON_STRING) && strcmp(json_string(type), "text") != 0)
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content': only parts of type \"text\" are supported", at);
    if (!is_a(type, JSON_STRING) || !is_a(text, JSON_STRING))
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content': a part must be {\"type\":\"text\",\"text\":...}",
                        at);
    return 0;
}

static int check_content(const struct json *content, size_t at, bool may_be_null,
                         struct api_error *e)
{
    if (is_a(content, JSON_STRING) || (!is_given(content) && may_be_null))
        return 0;
    if (!is_a(content, JSON_ARRAY))
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content' must be a string or a list of text parts", at);
    for (const struct json *part = json_first(content); part; part = json_next(part)) {
        int rc = check_part(part, at, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* {"id", "type", "function": {"name", "arguments"}}, arguments as text or as an object. */
static bool is_call(const struct json *v)
{
    const struct json *f = json_type(v) == JSON_OBJECT ? json_get(v, "function") : NULL;
    if (!is_a(f, JSON_OBJECT) || !is_a(json_get(f, "name"), JSON_STRING))
        return false;
    const struct json *arguments = json_get(f, "arguments");
    return !is_given(arguments) || is_a(arguments, JSON_STRING) || is_a(arguments, JSON_OBJECT);
}

static int check_calls(const struct json *calls, size_t at, struct api_error *e)
{
    bool good = json_type(calls) == JSON_ARRAY;
    for (const struct json *v = good ? json_first(calls) : NULL; v; v = json_next(v))
        good = good && is_call(v);
    if (good)
        return 0;
    return api_fail(e, SPECD_EINVAL, "messages",
                    "'messages[%zu].tool_calls' must be a list of "
                    "{\"function\":{\"name\":...,\"arguments\":...}}",
                    at);
}

static int check_message(const struct json *m, size_t at, struct api_error *e)
{
    if (json_type(m) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, "messages", "'messages[%zu]' must be an object", at);
    const struct json *role = json_get(m, "role"), *calls = json_get(m, "tool_calls");
    const struct json *id = json_get(m, "tool_call_id");
    if (!is_a(role, JSON_STRING) || enum_index(ROLES, json_string(role)) < 0)
        return api_fail(e, SPECD_EINVAL, "messages", "'messages[%zu].role' must be one of %s", at,
                        ROLES);
    if (is_given(id) && !is_a(id, JSON_STRING))
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].tool_call_id' must be a string", at);
    if (is_given(calls) && check_calls(calls, at, e) < 0)
        return e->code;
    bool assistant = strcmp(json_string(role), "assistant") == 0;
    return check_content(json_get(m, "content"), at, assistant, e);
}

int messages_check(const struct json *messages, struct api_error *e)
{
    size_t n = json_type(messages) == JSON_ARRAY ? json_count(messages) : 0, at = 0, n_values = 0;
    if (n < 1 || n > CALL_MESSAGES_MAX)
        return api_fail(e, SPECD_EINVAL, "messages", "'messages' must be a list of 1..%d messages",
                        CALL_MESSAGES_MAX);
    for (const struct json *m = json_first(messages); m; m = json_next(m)) {
        int rc = check_message(m, at++, e);
        if (rc < 0)
            return rc;
        for (const struct json *v = json_first(m); v && n_values <= CALL_VALUES_MAX;
             v = json_next(v))
            n_values += is_member(v) ? values_count(v) : 0;
    }
    return values_check("messages", n_values, e);
}

/* ---- tools and kwargs */

static bool is_tool_name(const struct json *v)
{
    const char *s = is_a(v, JSON_STRING) ? json_string(v) : "";
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return n >= 1 && n <= CALL_TOOL_NAME_MAX && s[n] == '\0';
}

static bool is_tool(const struct json *v)
{
    const struct json *type = json_type(v) == JSON_OBJECT ? json_get(v, "type") : NULL;
    if (!is_a(type, JSON_STRING) || strcmp(json_string(type), "function") != 0)
        return false;
    const struct json *f = json_get(v, "function");
    if (!is_a(f, JSON_OBJECT) || !is_tool_name(json_get(f, "name")))
        return false;
    const struct json *about = json_get(f, "description"), *p = json_get(f, "parameters");
    return (!is_given(about) || is_a(about, JSON_STRING)) && (!is_given(p) || is_a(p, JSON_OBJECT));
}

int tools_check(const char *name, const struct json *tools, struct api_error *e)
{
    size_t at = 0;
    if (json_type(tools) != JSON_ARRAY || json_count(tools) > CALL_TOOLS_MAX)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list of up to %d tools", name,
                        CALL_TOOLS_MAX);
    for (const struct json *v = json_first(tools); v; v = json_next(v), at++)
        if (!is_tool(v))
            return api_fail(e, SPECD_EINVAL, name,
                            "'%s[%zu]' must be {\"type\":\"function\",\"function\":{\"name\":...,"
                            "\"description\":...,\"parameters\":{...}}}, with a name of 1..%d "
                            "letters, digits, _, - or .",
                            name, at, CALL_TOOL_NAME_MAX);
    return values_check(name, values_count(tools), e);
}

int kwargs_check(const char *name, const struct json *kwargs, struct api_error *e)
{
    static const char *const own[] = {"messages",  "tools",     "add_generation_prompt",
                                      "bos_token", "eos_token", "continue_final_message"};
    if (json_type(kwargs) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be an object", name);
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (json_get(kwargs, own[i]))
            return api_fail(e, SPECD_EINVAL, name, "'%s' can't set '%s', which has its own field",
                            name, own[i]);
    return values_check(name, values_count(kwargs), e);
}

/* ---- into a request */

/* Where in a message a value stands: arguments of calls come as text, and templates want what it
 * says. */
enum place { ELSEWHERE, IN_MESSAGE, IN_CALLS, IN_CALL, IN_FUNCTION };

static enum place place_of(enum place parent, const char *key)
{
    if (parent == IN_MESSAGE && strcmp(key, "tool_calls") == 0)
        return IN_CALLS;
    if (parent == IN_CALLS)
        return IN_CALL;
    return parent == IN_CALL && strcmp(key, "function") == 0 ? IN_FUNCTION : ELSEWHERE;
}

/* false: s is no JSON object, or a huge one, and stays text. */
static bool put_parsed(struct values *t, const char *key, const char *s)
{
    struct json *doc;
    char why[8];
    if (json_loads(&doc, s, strlen(s), why, sizeof why) < 0)
        return false;
    bool object = json_type(doc) == JSON_OBJECT && t->n + values_count(doc) <= 2 * CALL_VALUES_MAX;
    if (object)
        values_json(t, key, doc);
    json_free(doc);
    return object;
}

static void put(struct values *t, const char *key, const struct json *v, enum place place)
{
    bool list = json_type(v) == JSON_ARRAY, dict = json_type(v) == JSON_OBJECT;
    if (place == ELSEWHERE || (!list && !dict)) {
        values_json(t, key, v);
        return;
    }
    (list ? values_list : values_dict)(t, key, json_count(v));
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        const char *name = dict ? json_key(m) : NULL;
        bool text = place == IN_FUNCTION && json_type(m) == JSON_STRING;
        if (!(text && strcmp(name, "arguments") == 0 && put_parsed(t, name, json_string(m))))
            put(t, name, m, place_of(place, name));
    }
}

/* The members of a message beside role and content; index 0 of t is never one. */
static size_t put_members(struct values *t, const struct json *message)
{
    uint32_t n = 0;
    for (const struct json *m = json_first(message); m; m = json_next(m))
        n += is_member(m);
    if (n == 0)
        return 0;
    size_t at = t->n;
    values_dict(t, NULL, n);
    for (const struct json *m = json_first(message); m; m = json_next(m))
        if (is_member(m))
            put(t, json_key(m), m, place_of(IN_MESSAGE, json_key(m)));
    return at;
}

/* Parts are joined by line ends. NULL: a call without content. */
static const char *put_content(struct values *t, const struct json *message)
{
    const struct json *content = json_get(message, "content"), *calls;
    if (is_a(content, JSON_STRING))
        return values_text(t, json_string(content));
    calls = json_get(message, "tool_calls");
    if (!is_given(content) && is_a(calls, JSON_ARRAY) && json_first(calls))
        return NULL;
    char *at = t->text ? t->text + t->len : NULL;
    const struct json *part = is_a(content, JSON_ARRAY) ? json_first(content) : NULL;
    for (; part; part = json_next(part)) {
        values_text(t, json_string(json_get(part, "text")));
        if (json_next(part) && t->text)
            t->text[t->len - 1] = '\n';
        t->len -= !json_next(part); /* the end is written below */
    }
    values_text(t, "");
    return at;
}

static void put_all(struct values *t, struct request *req, const struct json *messages,
                    const struct json *tools, const struct json *kwargs)
{
    size_t i = 0;
    t->n = 1; /* 0: none */
    for (const struct json *m = json_first(messages); m; m = json_next(m), i++) {
        struct chat_message *to = &req->messages[i];
        to->role = values_text(t, json_string(json_get(m, "role")));
        to->content = put_content(t, m);
        size_t at = put_members(t, m);
        to->members = t->values && at ? t->values + at : NULL;
    }
    req->chat.tools = tools && t->values ? t->values + t->n : NULL;
    if (tools)
        values_json(t, NULL, tools);
    req->chat.kwargs = kwargs && t->values ? t->values + t->n : NULL;
    if (kwargs)
        values_json(t, NULL, kwargs);
}

void messages_build(struct request *req, const struct json *messages, const struct json *tools,
                    const struct json *kwargs)
{
    struct values t = {0};
    req->n_messages = json_count(messages);
    req->messages = xcalloc(req->n_messages, sizeof *req->messages);
    put_all(&t, req, messages, tools, kwargs);
    values_alloc(&t);
    req->chat_values = t.values;
    req->chat_text = t.text;
    put_all(&t, req, messages, tools, kwargs);
}
