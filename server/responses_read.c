/*
 * responses_read.c - the body of OpenAI's Responses, rewritten into that of a chat: input items
 * become messages, tools take chat's shape. Scalars are left to the table of
 * fields.
 *
 * Nothing of the input is left out without a word: what can't be read is an error that names it.
 * Left out with a line in the log are items that only record a hosted tool's work, and tools of
 * types that the server has not.
 */
#include "call.h"

#include "specd/json_write.h"

#include <stdio.h>
#include <string.h>

/* Items of hosted tools, and of Codex, that tell a model nothing. */
#define LEFT_OUT                                                                            \
    "web_search_call|file_search_call|computer_call|computer_call_output|"                  \
    "code_interpreter_call|image_generation_call|local_shell_call|local_shell_call_output|" \
    "shell_call|shell_call_output|apply_patch_call|apply_patch_call_output|mcp_list_tools|" \
    "mcp_approval_request|mcp_approval_response|mcp_call|item_reference|compaction|"        \
    "compaction_summary|additional_tools|tool_search_call|tool_search_output|"              \
    "agent_message|ghost_snapshot"

struct reader {
    struct json *doc;
    struct json *messages;
    size_t at; /* of the item */
    /* What adjacent items of the assistant say, which is one message; NULL, empty: nothing. */
    struct json *content, *calls;
    struct buf reasoning;
    struct api_error *e;
};

/* ---- what the answer repeats of the body, as it came */

static void repeat(struct call *c, const char *key, enum json_type type, const char *otherwise)
{
    const struct json *v = json_get(c->doc, key);
    buf_printf(&c->repeats, ",\"%s\":", key);
    if (json_type(v) == type)
        json_print(v, &c->repeats);
    else
        buf_puts(&c->repeats, otherwise);
}

static void repeat_members(struct call *c)
{
    const struct json *choice = json_get(c->doc, "tool_choice"), *text = json_get(c->doc, "text");
    bool formatted =
        json_type(text) == JSON_OBJECT && json_type(json_get(text, "format")) == JSON_OBJECT;
    repeat(c, "instructions", JSON_STRING, "null");
    repeat(c, "metadata", JSON_OBJECT, "{}");
    repeat(c, "reasoning", JSON_OBJECT, "{\"effort\":null,\"summary\":null}");
    repeat(c, "tools", JSON_ARRAY, "[]");
    repeat(c, "tool_choice", json_type(choice) == JSON_OBJECT ? JSON_OBJECT : JSON_STRING,
           "\"auto\"");
    if (formatted)
        repeat(c, "text", JSON_OBJECT, "");
    else
        buf_puts(&c->repeats, ",\"text\":{\"format\":{\"type\":\"text\"}}");
}

/* ---- messages */

static int fail_at(struct reader *r, const char *member, const char *why)
{
    char path[64];
    snprintf(path, sizeof path, "input[%zu]%s", r->at, member);
    return api_fail(r->e, SPECD_EINVAL, path, "'%s' %s", path, why);
}

static struct json *new_message(struct reader *r, const char *role, struct json *content)
{
    struct json *m = json_new_object(r->doc);
    json_set(m, "role", json_new_string(r->doc, role));
    json_set(m, "content", content);
    return m;
}

/* Another's item follows. Reasoning that led to nothing is not told. */
static void end_said(struct reader *r)
{
    if (r->content || r->calls) {
        struct json *content = r->content ? r->content : json_new_string(r->doc, "");
        struct json *m = new_message(r, "assistant", content);
        if (r->reasoning.len > 0)
            json_set(m, "reasoning_content", json_new_string(r->doc, r->reasoning.data));
        if (r->calls)
            json_set(m, "tool_calls", r->calls);
        json_append(r->messages, m);
    }
    r->content = r->calls = NULL;
    buf_clear(&r->reasoning);
}

/* Makes chat's {"type":"text","text":...} of a part. Member: the list's name. */
static int read_part(struct reader *r, const char *member, size_t at, struct json *part)
{
    static const char types[] = "input_text|output_text|text|summary_text|reasoning_text|refusal";
    char where[48], why[128];
    const char *type = json_string(json_get(part, "type"));
    int i = type ? enum_index(types, type) : -1;
    if (i < 0) {
        snprintf(where, sizeof where, ".%s[%zu].type", member, at);
        snprintf(why, sizeof why, "is \"%.32s\": only parts of text can be read",
                 type ? type : "missing");
        return fail_at(r, where, why);
    }
    const char *key = strcmp(type, "refusal") == 0 ? "refusal" : "text";
    if (!json_string(json_get(part, key))) {
        snprintf(where, sizeof where, ".%s[%zu].%s", member, at, key);
        return fail_at(r, where, "must be a string");
    }
    json_set(part, "text", json_detach(part, json_get(part, key)));
    json_set(part, "type", json_new_string(r->doc, "text"));
    return 0;
}

/* The member of that name as chat has a content: a string, or a list of text parts. */
static int read_content(struct reader *r, struct json *item, const char *member, struct json **out)
{
    size_t at = 0;
    struct json *content = json_detach(item, json_get(item, member));
    *out = content;
    if (json_type(content) == JSON_STRING)
        return 0;
    for (const struct json *part = json_first(content); part; part = json_next(part)) {
        int rc = read_part(r, member, at++, (struct json *)part);
        if (rc < 0)
            return rc;
    }
    if (json_type(content) == JSON_ARRAY)
        return 0;
    char where[16];
    snprintf(where, sizeof where, ".%s", member);
    return fail_at(r, where, "must be a string or a list of parts");
}

/* Adds to what the assistant says, whose content is a list of parts. */
static void say(struct reader *r, struct json *content)
{
    if (!r->content)
        r->content = json_new_array(r->doc);
    if (json_type(content) == JSON_STRING) {
        struct json *part = json_new_object(r->doc);
        json_set(part, "type", json_new_string(r->doc, "text"));
        json_set(part, "text", content);
        json_append(r->content, part);
        return;
    }
    for (const struct json *part = json_first(content), *next; part; part = next) {
        next = json_next(part);
        json_append(r->content, json_detach(content, part));
    }
}

static int read_message(struct reader *r, struct json *item)
{
    static const char roles[] = "user|assistant|system|developer";
    const char *role = json_string(json_get(item, "role"));
    struct json *content;
    if (!role || enum_index(roles, role) < 0)
        return fail_at(r, ".role", "must be one of user|assistant|system|developer");
    bool assistant = strcmp(role, "assistant") == 0;
    if (assistant && json_type(json_get(item, "content")) == JSON_NULL)
        return 0;
    int rc = read_content(r, item, "content", &content);
    if (rc < 0)
        return rc;
    if (assistant) {
        say(r, content);
        return 0;
    }
    end_said(r);
    json_append(r->messages, new_message(r, role, content));
    return 0;
}

/* ---- calls and their results */

/* {"input": text}: what a custom tool is called with, where all have arguments. */
static struct json *wrap_input(struct reader *r, struct json *item)
{
    struct json *wrapped = json_new_object(r->doc);
    json_set(wrapped, "input", json_detach(item, json_get(item, "input")));
    return wrapped;
}

static int read_call(struct reader *r, struct json *item, bool custom)
{
    const struct json *id = json_get(item, "call_id"), *arguments = json_get(item, "arguments");
    if (json_type(id) != JSON_STRING)
        return fail_at(r, ".call_id", "must be a string");
    if (!json_string(json_get(item, "name")))
        return fail_at(r, ".name", "must be a string");
    if (custom && !json_string(json_get(item, "input")))
        return fail_at(r, ".input", "must be a string");
    if (!custom && json_type(arguments) != JSON_NULL && json_type(arguments) != JSON_STRING &&
        json_type(arguments) != JSON_OBJECT)
        return fail_at(r, ".arguments", "must be a string");
    struct json *call = json_new_object(r->doc), *function = json_new_object(r->doc);
    json_set(function, "name", json_detach(item, json_get(item, "name")));
    if (custom)
        json_set(function, "arguments", wrap_input(r, item));
    else if (json_type(arguments) != JSON_NULL)
        json_set(function, "arguments", json_detach(item, arguments));
    else
        json_set(function, "arguments", json_new_string(r->doc, "{}"));
    json_set(call, "id", json_detach(item, id));
    json_set(call, "type", json_new_string(r->doc, "function"));
    json_set(call, "function", function);
    if (!r->calls)
        r->calls = json_new_array(r->doc);
    json_append(r->calls, call);
    return 0;
}

static int read_result(struct reader *r, struct json *item)
{
    const struct json *id = json_get(item, "call_id");
    struct json *content;
    if (json_type(id) != JSON_STRING)
        return fail_at(r, ".call_id", "must be a string");
    int rc = read_content(r, item, "output", &content);
    if (rc < 0)
        return rc;
    end_said(r);
    struct json *m = new_message(r, "tool", content);
    json_set(m, "tool_call_id", json_detach(item, id));
    json_append(r->messages, m);
    return 0;
}

/* Its text where it is told, else its summary; what is encrypted is another server's. */
static int read_reasoning(struct reader *r, struct json *item)
{
    const char *member = json_type(json_get(item, "content")) != JSON_NULL ? "content" : "summary";
    struct json *content;
    if (json_type(json_get(item, member)) == JSON_NULL)
        return 0;
    int rc = read_content(r, item, member, &content);
    if (rc < 0)
        return rc;
    if (json_type(content) == JSON_STRING)
        buf_puts(&r->reasoning, json_string(content));
    for (const struct json *part = json_first(content); part; part = json_next(part)) {
        buf_puts(&r->reasoning, r->reasoning.len > 0 ? "\n" : "");
        buf_puts(&r->reasoning, json_string(json_get(part, "text")));
    }
    return 0;
}

static int read_item(struct reader *r, struct json *item)
{
    if (json_type(item) != JSON_OBJECT)
        return fail_at(r, "", "must be an object");
    const char *type = json_string(json_get(item, "type"));
    char why[96];
    if (!type && json_type(json_get(item, "type")) != JSON_NULL)
        return fail_at(r, ".type", "must be a string");
    if (!type || strcmp(type, "message") == 0)
        return read_message(r, item);
    if (strcmp(type, "reasoning") == 0)
        return read_reasoning(r, item);
    switch (enum_index("function_call|custom_tool_call|function_call_output|"
                       "custom_tool_call_output|" LEFT_OUT,
                       type)) {
    case -1:
        snprintf(why, sizeof why, "is \"%.40s\", which this server does not know", type);
        return fail_at(r, ".type", why);
    case 0:
        return read_call(r, item, false);
    case 1:
        return read_call(r, item, true);
    case 2:
    case 3:
        return read_result(r, item);
    default:
        log_debug("input[%zu] of type %s is left out", r->at, type);
        return 0;
    }
}

static int read_items(struct reader *r, struct json *input)
{
    int rc = 0;
    for (const struct json *item = json_first(input); item && rc == 0; item = json_next(item)) {
        rc = read_item(r, (struct json *)item);
        r->at++;
    }
    end_said(r);
    return rc;
}

static int read_input(struct reader *r)
{
    struct json *instructions = json_detach(r->doc, json_get(r->doc, "instructions"));
    struct json *input = json_detach(r->doc, json_get(r->doc, "input"));
    if (json_type(input) != JSON_STRING && json_type(input) != JSON_ARRAY)
        return api_fail(r->e, SPECD_EINVAL, "input", "'input' must be a string or a list of items");
    if (json_count(input) > CALL_MESSAGES_MAX)
        return api_fail(r->e, SPECD_EINVAL, "input", "'input' must hold at most %d items",
                        CALL_MESSAGES_MAX);
    if (json_type(instructions) != JSON_NULL && json_type(instructions) != JSON_STRING)
        return api_fail(r->e, SPECD_EINVAL, "instructions", "'instructions' must be a string");
    if (json_type(instructions) != JSON_NULL)
        json_append(r->messages, new_message(r, "system", instructions));
    if (json_type(input) == JSON_STRING)
        json_append(r->messages, new_message(r, "user", input));
    else if (json_count(input) == 0) /* some clients ask so whether anybody is there */
        json_append(r->messages, new_message(r, "user", json_new_string(r->doc, "")));
    int rc = read_items(r, input);
    if (rc == 0 && json_count(r->messages) == 0)
        return api_fail(r->e, SPECD_EINVAL, "input",
                        "'input' has nothing that a prompt is made of");
    return rc;
}

/* ---- tools */

/* Free text, which a model gives as the argument of a function. */
static void custom_to_function(struct call *c, struct json *tool)
{
    static const char parameters[] =
        "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},\"required\":["
        "\"input\"],\"additionalProperties\":false}";
    struct json *text = json_new_string(c->doc, ""), *made;
    char why[8];
    const char *name = json_string(json_get(tool, "name"));
    if (name)
        buf_add(&c->custom_names, name, strlen(name) + 1);
    json_detach(tool, json_get(tool, "format"));
    if (text && json_parse(&made, parameters, sizeof parameters - 1, why, sizeof why) == 0) {
        json_replace(c->doc, text, made);
        json_set(tool, "parameters", text);
    }
}

/* Flat {"type","name",...} into {"type":"function","function":{"name",...}}. Others are no tools
 * of this server. */
static int read_tools(struct call *c, struct api_error *e)
{
    struct json *flat = json_detach(c->doc, json_get(c->doc, "tools"));
    struct json *nested = json_new_array(c->doc);
    size_t at = 0, n = 0;
    if (json_type(flat) == JSON_NULL)
        return 0;
    if (json_type(flat) != JSON_ARRAY)
        return api_fail(e, SPECD_EINVAL, "tools", "'tools' must be a list of tools");
    for (const struct json *v = json_first(flat), *next; v; v = next, at++) {
        next = json_next(v);
        const char *type = json_string(json_get(v, "type"));
        if (!type)
            return api_fail(e, SPECD_EINVAL, "tools", "'tools[%zu]' must have a \"type\"", at);
        int kind = enum_index("function|custom", type);
        if (kind < 0) {
            log_debug("tools[%zu] of type %s is left out", at, type);
            continue;
        }
        struct json *tool = json_detach(flat, v), *outer = json_new_object(c->doc);
        json_detach(tool, json_get(tool, "type"));
        if (kind == 1)
            custom_to_function(c, tool);
        json_set(outer, "type", json_new_string(c->doc, "function"));
        json_set(outer, "function", tool);
        if (outer && !is_tool(outer))
            return api_fail(
                e, SPECD_EINVAL, "tools",
                "'tools[%zu]' must be {\"type\":\"function\",\"name\":...,"
                "\"description\":...,\"parameters\":{...},\"strict\":...}, with a name of "
                "1..%d letters, digits, _, - or ., and true or false for strict",
                at, CALL_TOOL_NAME_MAX);
        json_append(nested, outer);
        if (n < CALL_TOOLS_MAX)
            c->tool_at[n++] = at;
    }
    if (nested && json_count(nested) > 0)
        json_set(c->doc, "tools", nested);
    return 0;
}

/* A custom tool is a function here, and one of another type cannot be among those allowed. */
static void read_tool_choice(struct call *c)
{
    const struct json *choice = json_get(c->doc, "tool_choice"), *next;
    struct json *allowed = (struct json *)json_get(choice, "tools");
    const char *type = json_string(json_get(choice, "type"));
    if (type && strcmp(type, "custom") == 0)
        json_replace_string(c->doc, json_get(choice, "type"), "function");
    for (const struct json *v = json_first(allowed); v; v = next) {
        next = json_next(v);
        type = json_string(json_get(v, "type"));
        if (type && strcmp(type, "custom") == 0)
            json_replace_string(c->doc, json_get(v, "type"), "function");
        else if (type && strcmp(type, "function") != 0)
            json_detach(allowed, v);
    }
}

int responses_read(struct call *c, struct api_error *e)
{
    struct reader r = {.doc = c->doc, .messages = json_new_array(c->doc), .e = e};
    repeat_members(c);
    int rc = read_input(&r);
    if (rc == 0)
        rc = read_tools(c, e);
    if (rc == 0)
        read_tool_choice(c);
    json_set(c->doc, "messages", r.messages);
    buf_free(&r.reasoning);
    return rc;
}
