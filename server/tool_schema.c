#include "tool_schema.h"

#include "tool_calls.h"

#include <stdio.h>
#include <string.h>

#define CALL_REF "#/$defs/call" /* no tool's place: those have a colon */

const char *tool_name(const struct json *tool)
{
    return json_string(json_get(json_get(tool, "function"), "name"));
}

/* NULL: none are declared. */
static const struct json *parameters_of(const struct json *tool)
{
    const struct json *p = json_get(json_get(tool, "function"), "parameters");
    return p && json_type(p) == JSON_OBJECT ? p : NULL;
}

/* ---- which */

static bool has(const struct forced_tools *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(tool_name(f->tools[i]), name) == 0)
            return true;
    return false;
}

void forced_tools_pick(struct forced_tools *f, const struct json *tools, const char *only,
                       bool many)
{
    f->n = 0;
    f->many = many;
    for (const struct json *v = json_first(tools); v; v = json_next(v)) {
        const char *name = tool_name(v);
        if ((!only || strcmp(only, name) == 0) && !has(f, name))
            f->tools[f->n++] = v;
    }
}

/* Arguments are an object, whatever else a schema would let them be. */
static bool are_objects(const struct json *parameters)
{
    const struct json *type = parameters ? json_get(parameters, "type") : NULL;
    return !type || (json_type(type) == JSON_STRING && strcmp(json_string(type), "object") == 0);
}

int forced_tools_check(const struct forced_tools *f, struct api_error *e)
{
    if (f->n > FORCED_TOOLS_MAX)
        return api_fail(e, SPECD_EINVAL, "tool_choice",
                        "'tool_choice': a call of any tool can be forced when there are at most %d",
                        FORCED_TOOLS_MAX);
    for (size_t i = 0; i < f->n; i++)
        if (!are_objects(parameters_of(f->tools[i])))
            return api_fail(e, SPECD_EINVAL, "tools",
                            "'tools': to force a call, the parameters of '%s' must have the type "
                            "\"object\"",
                            tool_name(f->tools[i]));
    return 0;
}

/* ---- the schema */

struct place {
    char id[CALL_TOOL_NAME_MAX + 8];   /* "tool:NAME", the name in $defs, too */
    char ref[CALL_TOOL_NAME_MAX + 16]; /* to it */
};

static struct place place_of(const struct json *tool)
{
    struct place p;
    snprintf(p.id, sizeof p.id, "tool:%s", tool_name(tool));
    snprintf(p.ref, sizeof p.ref, "#/$defs/%s", p.id);
    return p;
}

static void put_ref(struct values *t, const char *key, const char *ref)
{
    values_dict(t, key, 1);
    values_string(t, "$ref", ref);
}

static void put_call(struct values *t, const struct json *tool, const char *arguments)
{
    struct place p = place_of(tool);
    values_dict(t, NULL, 4);
    values_string(t, "type", "object");
    values_dict(t, "properties", 2);
    values_dict(t, "name", 1);
    values_string(t, "const", tool_name(tool));
    put_ref(t, arguments, p.ref);
    values_list(t, "required", 2);
    values_string(t, NULL, "name");
    values_string(t, NULL, arguments);
    values_bool(t, "additionalProperties", false);
}

static void put_calls(struct values *t, const struct forced_tools *f)
{
    bool both = f->n <= FORCED_BOTH_KEYS_MAX;
    values_dict(t, "call", 1);
    values_list(t, "anyOf", both ? 2 * f->n : f->n);
    for (size_t i = 0; i < f->n; i++) {
        put_call(t, f->tools[i], "arguments");
        if (both)
            put_call(t, f->tools[i], "parameters");
    }
}

/* A schema that leaves the type open means an object here. */
static bool leaves_type_open(const struct json *parameters)
{
    static const char *const words[] = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"};
    for (size_t i = 0; parameters && i < COUNT_OF(words); i++)
        if (json_get(parameters, words[i]))
            return false;
    return true;
}

/* An $id that makes a schema one of its own: not a mere anchor, as in older drafts. */
static bool has_id(const struct json *parameters)
{
    const struct json *id = parameters ? json_get(parameters, "$id") : NULL;
    return id && json_type(id) == JSON_STRING && json_string(id)[0] != '#';
}

/* Where a name stands twice, the first counts. */
static void put_parameters(struct values *t, const struct json *tool)
{
    const struct json *p = parameters_of(tool), *m = p ? json_first(p) : NULL;
    struct place place = place_of(tool);
    bool named = has_id(p), open = leaves_type_open(p);
    values_dict(t, place.id, (p ? json_count(p) : 0) + !named + open);
    if (!named)
        values_string(t, "$id", place.id);
    if (open)
        values_string(t, "type", "object");
    for (; m; m = json_next(m))
        values_json(t, json_key(m), m);
}

static void put_list_of_calls(struct values *t)
{
    values_dict(t, NULL, 4);
    values_string(t, "type", "array");
    values_int(t, "minItems", 1);
    values_int(t, "maxItems", TOOL_CALLS_MAX);
    put_ref(t, "items", CALL_REF);
}

void forced_tools_schema(const struct forced_tools *f, struct values *t)
{
    values_dict(t, NULL, 2);
    values_list(t, "anyOf", f->many ? 2 : 1);
    put_ref(t, NULL, CALL_REF);
    if (f->many)
        put_list_of_calls(t);
    values_dict(t, "$defs", f->n + 1);
    put_calls(t, f);
    for (size_t i = 0; i < f->n; i++)
        put_parameters(t, f->tools[i]);
}
