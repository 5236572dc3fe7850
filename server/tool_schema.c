#include "tool_schema.h"

#include "specd/json_write.h"
#include "tool_calls.h"

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

/* Its place in $defs and its $id. Names need no escapes. */
static void put_place(struct buf *out, const char *before, const struct json *tool)
{
    buf_printf(out, "\"%stool:%s\"", before, tool_name(tool));
}

static void put_call(struct buf *out, const struct json *tool, const char *arguments)
{
    buf_printf(out,
               "{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"%s\"},\"%s\":{\"$ref\":",
               tool_name(tool), arguments);
    put_place(out, "#/$defs/", tool);
    buf_printf(out, "}},\"required\":[\"name\",\"%s\"],\"additionalProperties\":false}", arguments);
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
static void put_parameters(struct buf *out, const struct json *tool)
{
    const struct json *p = parameters_of(tool);
    const char *comma = "";
    buf_puts(out, ",");
    put_place(out, "", tool);
    buf_puts(out, ":{");
    if (!has_id(p)) {
        buf_puts(out, "\"$id\":");
        put_place(out, "", tool);
        comma = ",";
    }
    if (leaves_type_open(p)) {
        buf_printf(out, "%s\"type\":\"object\"", comma);
        comma = ",";
    }
    for (const struct json *m = json_first(p); m; m = json_next(m), comma = ",") {
        buf_puts(out, comma);
        json_cstr(out, json_key(m));
        buf_puts(out, ":");
        json_print(m, out);
    }
    buf_puts(out, "}");
}

int forced_tools_schema(const struct forced_tools *f, struct json **schema)
{
    struct buf out = {0};
    char why[64];
    buf_puts(&out, "{\"anyOf\":[{\"$ref\":\"" CALL_REF "\"}");
    if (f->many)
        buf_printf(&out,
                   ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":%d,"
                   "\"items\":{\"$ref\":\"" CALL_REF "\"}}",
                   TOOL_CALLS_MAX);
    buf_puts(&out, "],\"$defs\":{\"call\":{\"anyOf\":[");
    for (size_t i = 0; i < f->n; i++) {
        buf_puts(&out, i ? "," : "");
        put_call(&out, f->tools[i], "arguments");
        if (f->n <= FORCED_BOTH_KEYS_MAX) {
            buf_puts(&out, ",");
            put_call(&out, f->tools[i], "parameters");
        }
    }
    buf_puts(&out, "]}");
    for (size_t i = 0; i < f->n; i++)
        put_parameters(&out, f->tools[i]);
    buf_puts(&out, "}}");
    int rc = json_parse_lax(schema, out.data, out.len, why, sizeof why);
    buf_free(&out);
    return rc;
}
