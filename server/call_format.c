/*
 * call_format.c - fields that say what the answer must be: response_format, json_schema, those
 * names of other servers, tool_choice.
 *
 * Whether a schema is one that can be followed is the engine's to say, before the first token.
 */
#include "call_values.h"

#include <stdio.h>
#include <string.h>

static bool is_string_if_given(const struct json *v)
{
    return !is_given(v) || json_type(v) == JSON_STRING;
}

/* ---- response_format, json_schema */

/* The name for as long as a request lives. */
static const char *lasting(const char *name)
{
    static const char *const names[] = {"guided_json",
                                        "guided_choice",
                                        "structured_outputs.json",
                                        "structured_outputs.choice",
                                        "structured_outputs.json_object",
                                        "response_format",
                                        "text.format",
                                        "output_config.format",
                                        "format"};
    size_t i = 0;
    while (i + 1 < COUNT_OF(names) && strcmp(names[i], name) != 0)
        i++;
    return names[i];
}

/* field: a static string. v: a schema, a list of texts, or none for any object. */
static int put_format(struct call *c, const char *field, const struct json *v, struct api_error *e)
{
    if (c->format.json)
        return api_fail(e, SPECD_EINVAL, field, "'%s' and '%s' both say what the answer must be",
                        c->format.field, field);
    c->format.json = true;
    c->format.schema = is_given(v) ? v : NULL;
    c->format.field = field;
    return 0;
}

static int set_format(struct call *c, const char *field, const struct json *schema,
                      struct api_error *e)
{
    if (is_given(schema) && json_type(schema) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, field, "'%s': a schema must be an object", field);
    int rc = is_given(schema) ? values_check(field, json_size(schema), e) : 0;
    if (rc < 0)
        return rc;
    return put_format(c, field, schema, e);
}

/* OpenAI's {"json_schema": {"name", "schema"}}, or flat, as in Responses and llama.cpp's. */
static int parse_schema_of(struct call *c, const char *field, const struct json *v,
                           struct api_error *e)
{
    const struct json *inner = json_get(v, "json_schema"), *schema = json_get(v, "schema");
    if (is_given(inner)) {
        if (json_type(inner) != JSON_OBJECT || !is_string_if_given(json_get(inner, "name")))
            return api_fail(e, SPECD_EINVAL, field,
                            "'%s.json_schema' must be an object with a string \"name\" and a "
                            "\"schema\"",
                            field);
        schema = json_get(inner, "schema");
    } else if (!is_given(schema)) {
        return api_fail(e, SPECD_EINVAL, field,
                        "'%s' of type \"json_schema\" needs a \"schema\", or \"json_schema\" "
                        "with one in it",
                        field);
    }
    return set_format(c, field, schema, e);
}

int parse_format(void *into, const char *name, const struct json *v, struct api_error *e)
{
    const struct json *type = json_type(v) == JSON_OBJECT ? json_get(v, "type") : NULL;
    int i = type && json_type(type) == JSON_STRING
                ? enum_index("text|json_object|json_schema", json_string(type))
                : -1;
    if (i < 0)
        return api_fail(e, SPECD_EINVAL, name,
                        "'%s' must be an object with \"type\" one of text|json_object|json_schema",
                        name);
    if (i == 0)
        return 0;
    return i == 1 ? set_format(into, lasting(name), json_get(v, "schema"), e)
                  : parse_schema_of(into, lasting(name), v, e);
}

int parse_schema(void *into, const char *name, const struct json *v, struct api_error *e)
{
    (void)name;
    return set_format(into, "json_schema", v, e);
}

/* ---- the same by other servers' names */

int parse_format_word(void *into, const char *name, const struct json *v, struct api_error *e)
{
    const char *word = json_string(v);
    if (word && *word == '\0')
        return 0;
    if (word && strcmp(word, "json") != 0)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be \"json\" or a JSON Schema", name);
    return set_format(into, lasting(name), word ? NULL : v, e);
}

int parse_guided_json(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    const char *text = json_string(v);
    struct json *schema;
    char why[128];
    if (text && *text == '\0')
        return 0;
    if (text) {
        int rc = json_parse(&schema, text, strlen(text), why, sizeof why);
        if (rc < 0)
            return api_fail(e, rc == SPECD_ENOMEM ? rc : SPECD_EINVAL, name,
                            "'%s' is no JSON Schema: %s", name, why);
        json_replace(c->doc, v, schema);
    }
    return set_format(c, lasting(name), v, e);
}

int parse_json_object(void *into, const char *name, const struct json *v, struct api_error *e)
{
    if (json_type(v) != JSON_BOOL)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be true or false", name);
    return json_bool(v) ? set_format(into, lasting(name), NULL, e) : 0;
}

int parse_choice(void *into, const char *name, const struct json *v, struct api_error *e)
{
    bool good = json_type(v) == JSON_ARRAY && json_count(v) <= CALL_CHOICES_MAX;
    if (good && json_count(v) == 0)
        return 0;
    for (const struct json *s = good ? json_first(v) : NULL; s; s = json_next(s)) {
        size_t len = json_type(s) == JSON_STRING ? strlen(json_string(s)) : 0;
        good = good && len >= 1 && len <= CALL_STOP_BYTES_MAX;
    }
    if (!good)
        return api_fail(e, SPECD_EINVAL, name,
                        "'%s' must be a list of up to %d strings, each of 1..%d bytes", name,
                        CALL_CHOICES_MAX, CALL_STOP_BYTES_MAX);
    return put_format(into, lasting(name), v, e);
}

/* ---- tool_choice */

#define CHOICE_WORDS "auto|none|required|any" /* any: Mistral's word for required */

static enum tool_choice choice_of(int word)
{
    return word == TOOLS_REQUIRED + 1 ? TOOLS_REQUIRED : (enum tool_choice)word;
}

static int word_of(const struct json *v, const char *words)
{
    return v && json_type(v) == JSON_STRING ? enum_index(words, json_string(v)) : -1;
}

/* {"type": "function", "function": {"name": ...}}, or the name beside the type, if there is one. */
static const char *named_tool(const struct json *v)
{
    const struct json *type = json_get(v, "type"), *f = json_get(v, "function");
    if (json_type(v) != JSON_OBJECT || (is_given(type) && word_of(type, "function|tool") < 0))
        return NULL;
    const struct json *name = json_get(f && json_type(f) == JSON_OBJECT ? f : v, "name");
    return name && json_type(name) == JSON_STRING ? json_string(name) : NULL;
}

/* {"type": "allowed_tools", "mode": ..., "tools": [...]}, or these within "allowed_tools". */
static int parse_allowed_tools(struct call *c, const struct json *v, struct api_error *e)
{
    const struct json *inner = json_get(v, "allowed_tools");
    v = is_given(inner) ? inner : v;
    const struct json *tools = json_get(v, "tools");
    int mode = word_of(json_get(v, "mode"), "auto|required");
    bool good =
        mode >= 0 && tools && json_type(tools) == JSON_ARRAY && json_count(tools) <= CALL_TOOLS_MAX;
    for (const struct json *t = good ? json_first(tools) : NULL; t; t = json_next(t))
        good = good && named_tool(t);
    if (!good)
        return api_fail(e, SPECD_EINVAL, "tool_choice",
                        "'tool_choice' of type \"allowed_tools\" needs a \"mode\", \"auto\" or "
                        "\"required\", and \"tools\", a list of up to %d of {\"type\":\"function\","
                        "\"function\":{\"name\":...}}",
                        CALL_TOOLS_MAX);
    c->allowed_tools = tools;
    c->tool_choice = mode == 0 ? TOOLS_AUTO : TOOLS_REQUIRED;
    return 0;
}

int parse_tool_choice(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    const struct json *type = json_type(v) == JSON_OBJECT ? json_get(v, "type") : NULL;
    int word = word_of(type ? type : v, CHOICE_WORDS);
    if (word_of(type, "allowed_tools") == 0)
        return parse_allowed_tools(c, v, e);
    c->tool_name = word < 0 ? named_tool(v) : NULL;
    if (word < 0 && !c->tool_name)
        return api_fail(
            e, SPECD_EINVAL, name,
            "'%s' must be \"auto\", \"none\", \"required\", "
            "{\"type\":\"function\",\"function\":{\"name\":...}} or "
            "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":...,\"tools\":[...]}}",
            name);
    c->tool_choice = c->tool_name ? TOOLS_NAMED : choice_of(word);
    return 0;
}

static const struct json *find_tool(const struct json *tools, const char *name)
{
    for (const struct json *v = json_first(tools); v; v = json_next(v))
        if (strcmp(tool_name(v), name) == 0)
            return v;
    return NULL;
}

/* May it be called, as far as tool_choice says? */
static bool is_chosen(const struct call *c, const struct json *tool)
{
    bool chosen = !c->allowed_tools;
    for (const struct json *v = json_first(c->allowed_tools); v && !chosen; v = json_next(v))
        chosen = strcmp(named_tool(v), tool_name(tool)) == 0;
    return c->tool_name ? strcmp(c->tool_name, tool_name(tool)) == 0 : chosen;
}

/* Where all arguments follow their schemas, or the answer a format, nothing is left to watch. */
static enum tool_strictness strictness_of(const struct call *c, const struct json *tool)
{
    const struct json *strict = json_get(json_get(tool, "function"), "strict");
    if (c->tool_choice != TOOLS_AUTO || c->format.json)
        return TOOL_FREE;
    if (is_given(strict))
        return json_bool(strict) ? TOOL_STRICT : TOOL_FREE;
    return c->route == CALL_RESPONSES && tool_takes_object(tool) ? TOOL_WATCHED : TOOL_FREE;
}

/* at: in c->tools. 0, or the error by the client's own name of the schema. */
static int add_to_grammar(struct call *c, const struct json *tool, enum tool_strictness strictness,
                          size_t at, struct api_error *e)
{
    struct grammar_tool *t = &c->grammar.tools[c->grammar.n++];
    size_t n = c->tool_at[at];
    *t = (struct grammar_tool){.tool = tool, .strictness = strictness};
    if (c->route == CALL_MESSAGES)
        snprintf(t->field, sizeof t->field, "tools.%zu.input_schema", n);
    else
        snprintf(t->field, sizeof t->field, "tools[%zu]%s.parameters", n,
                 c->route == CALL_CHAT ? ".function" : "");
    if (tool_takes_object(tool))
        return 0;
    return api_fail(e, SPECD_EINVAL, t->field,
                    "'%s' must have the type \"object\", as arguments of calls have to follow it",
                    t->field);
}

int call_choose_tools(struct call *c, struct api_error *e)
{
    bool forced = c->tool_choice == TOOLS_REQUIRED || c->tool_choice == TOOLS_NAMED;
    const struct json *first = c->tool_choice == TOOLS_NONE ? NULL : json_first(c->tools);
    bool there = !c->tool_name || find_tool(c->tools, c->tool_name);
    size_t at = 0;
    int rc = 0;
    for (const struct json *v = json_first(c->allowed_tools); v; v = json_next(v))
        there = there && find_tool(c->tools, named_tool(v));
    if (forced && (!first || (c->allowed_tools && !json_first(c->allowed_tools))))
        return api_fail(e, SPECD_EINVAL, "tool_choice",
                        "'tool_choice' asks for a call: there must be 'tools'");
    if (!there)
        return api_fail(e, SPECD_EINVAL, "tool_choice",
                        "'tool_choice' names a function that is not among the 'tools'");
    c->grammar.forced = forced;
    c->grammar.many = c->tool_choice == TOOLS_REQUIRED && c->parallel_tools;
    c->offer.closed = c->tool_name || c->allowed_tools;
    for (const struct json *v = first; v && rc == 0; v = json_next(v), at++) {
        if (!is_chosen(c, v) || find_tool(c->tools, tool_name(v)) != v)
            continue;
        enum tool_strictness strictness = strictness_of(c, v);
        tool_offer_add(&c->offer, v, strictness);
        if (forced || strictness != TOOL_FREE)
            rc = add_to_grammar(c, v, strictness, at, e);
    }
    return rc;
}

/* ---- into a request */

static void flatten(const struct json *v, struct chat_value **next)
{
    struct chat_value *to = (*next)++;
    *to = (struct chat_value){.key = json_key(v), .text = json_number_text(v)};
    switch (json_type(v)) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        to->kind = CHAT_BOOL;
        to->b = json_bool(v);
        break;
    case JSON_NUMBER:
        to->kind = CHAT_INT;
        if (!json_integer(v, &to->i)) {
            to->kind = CHAT_FLOAT;
            to->d = json_number(v);
        }
        break;
    case JSON_STRING:
        to->kind = CHAT_STRING;
        to->s = json_string(v);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        to->kind = json_type(v) == JSON_ARRAY ? CHAT_LIST : CHAT_DICT;
        to->n = (uint32_t)json_count(v);
        for (const struct json *m = json_first(v); m; m = json_next(m))
            flatten(m, next);
    }
}

/* An answer that must be a call has no content for a format to be about; where there is a format no
 * tool is strict. */
void call_build_schema(const struct call *c, const struct json *schema, struct request_source *s)
{
    if (c->grammar.n > 0)
        schema = grammar_tools_schema(&c->grammar, &s->made) == 0 ? s->made : NULL; /* no memory */
    if (!schema)
        return;
    struct chat_value *next = s->schema = xcalloc(json_size(schema), sizeof *s->schema);
    flatten(schema, &next);
    s->schema->key = NULL;
}
