#include "messages.h"

#include "specd/error.h"

#include <string.h>

#define ROLES "system|user|assistant|tool|developer"

static bool is_a(const struct json *v, enum json_type type)
{
    return v && json_type(v) == type;
}

int values_check(const char *name, size_t n, struct api_error *e)
{
    if (n <= CALL_VALUES_MAX)
        return 0;
    return api_fail(e, SPECD_EINVAL, name, "'%s' must hold at most %d values", name,
                    CALL_VALUES_MAX);
}

/* ---- messages */

static int check_part(const struct json *part, size_t at, bool assistant, struct api_error *e)
{
    static const char refusal[] = "refusal";
    const struct json *type = json_get(part, "type");
    const char *kind = json_string(type);
    if (assistant && kind && strcmp(kind, refusal) == 0 && json_string(json_get(part, refusal)))
        return 0;
    if (kind && strcmp(kind, "text") != 0)
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content': only parts of type \"text\" are supported", at);
    if (!kind || !json_string(json_get(part, "text")))
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content': a part must be {\"type\":\"text\",\"text\":...}",
                        at);
    return 0;
}

static int check_content(const struct json *content, size_t at, bool assistant, struct api_error *e)
{
    int rc = 0;
    if (is_a(content, JSON_STRING) || (!is_given(content) && assistant))
        return 0;
    if (!is_a(content, JSON_ARRAY))
        return api_fail(e, SPECD_EINVAL, "messages",
                        "'messages[%zu].content' must be a string or a list of text parts", at);
    for (const struct json *part = json_first(content); part && rc == 0; part = json_next(part))
        rc = check_part(part, at, assistant, e);
    return rc;
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
    for (const struct json *v = good ? json_first(calls) : NULL; v && good; v = json_next(v))
        good = is_call(v);
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

int messages_check(const char *field, const struct json *messages, struct api_error *e)
{
    size_t n = json_type(messages) == JSON_ARRAY ? json_count(messages) : 0, at = 0, n_values = 0;
    if (n < 1 || n > CALL_MESSAGES_MAX)
        return api_fail(e, SPECD_EINVAL, field, "'%s' must be a list of 1..%d messages", field,
                        CALL_MESSAGES_MAX);
    for (const struct json *m = json_first(messages); m; m = json_next(m))
        for (const struct json *v = json_first(m); v; v = json_next(v))
            if (json_key(v) && strcmp(json_key(v), "role") != 0 &&
                strcmp(json_key(v), "content") != 0)
                n_values += json_size(v);
    int rc = values_check(field, n_values, e);
    for (const struct json *m = json_first(messages); m && rc == 0; m = json_next(m))
        rc = check_message(m, at++, e);
    return rc;
}

/* ---- tools and kwargs */

static bool is_tool_name(const struct json *v)
{
    const char *s = is_a(v, JSON_STRING) ? json_string(v) : "";
    size_t n = strspn(s, TOOL_NAME_BYTES);
    return n >= 1 && n <= CALL_TOOL_NAME_MAX && s[n] == '\0';
}

bool is_tool(const struct json *v)
{
    const struct json *type = json_type(v) == JSON_OBJECT ? json_get(v, "type") : NULL;
    if (!is_a(type, JSON_STRING) || strcmp(json_string(type), "function") != 0)
        return false;
    const struct json *f = json_get(v, "function");
    if (!is_a(f, JSON_OBJECT) || !is_tool_name(json_get(f, "name")))
        return false;
    const struct json *about = json_get(f, "description"), *p = json_get(f, "parameters");
    const struct json *strict = json_get(f, "strict");
    return (!is_given(about) || is_a(about, JSON_STRING)) &&
           (!is_given(p) || is_a(p, JSON_OBJECT)) && (!is_given(strict) || is_a(strict, JSON_BOOL));
}

int tools_check(const char *name, const struct json *tools, const size_t *at, struct api_error *e)
{
    if (json_type(tools) != JSON_ARRAY || json_count(tools) > CALL_TOOLS_MAX)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list of up to %d tools", name,
                        CALL_TOOLS_MAX);
    for (const struct json *v = json_first(tools); v; v = json_next(v), at++)
        if (!is_tool(v))
            return api_fail(
                e, SPECD_EINVAL, name,
                "'%s[%zu]' must be {\"type\":\"function\",\"function\":{\"name\":...,"
                "\"description\":...,\"parameters\":{...},\"strict\":...}}, with a name "
                "of 1..%d letters, digits, _, - or ., and true or false for strict",
                name, *at, CALL_TOOL_NAME_MAX);
    return values_check(name, json_size(tools), e);
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
    return values_check(name, json_size(kwargs), e);
}
