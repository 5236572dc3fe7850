#include "tool_schema.h"

#include "tool_watch.h"

#include "specd/json_write.h"

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

/* ---- what may be called, and the types of parameters */

#define TYPES_SCHEMAS_MAX 100      /* looked at for a parameter: a reference may lead to itself */
#define TYPES_DEFINITIONS_MAX 1000 /* where there are more, references are not followed */

static int type_of_value(const struct json *v)
{
    static const int types[] = {[JSON_NULL] = TOOL_TYPE_NULL,     [JSON_BOOL] = TOOL_TYPE_BOOL,
                                [JSON_NUMBER] = TOOL_TYPE_NUMBER, [JSON_STRING] = TOOL_TYPE_STRING,
                                [JSON_ARRAY] = TOOL_TYPE_ARRAY,   [JSON_OBJECT] = TOOL_TYPE_OBJECT};
    return types[json_type(v)];
}

/* 0: no name of a type. */
static int type_by_name(const struct json *v)
{
    static const struct {
        const char *name;
        int type;
    } types[] = {{"null", TOOL_TYPE_NULL},     {"boolean", TOOL_TYPE_BOOL},
                 {"number", TOOL_TYPE_NUMBER}, {"integer", TOOL_TYPE_NUMBER},
                 {"string", TOOL_TYPE_STRING}, {"array", TOOL_TYPE_ARRAY},
                 {"object", TOOL_TYPE_OBJECT}};
    const char *name = json_string(v);
    for (size_t i = 0; name && i < COUNT_OF(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return 0;
}

/* "#/$defs/name", as programs write references: what it names in root, or NULL. */
static const struct json *find_definition(const struct json *root, const char *ref)
{
    static const char *const places[] = {"$defs", "definitions"};
    for (size_t i = 0; ref && i < COUNT_OF(places); i++) {
        const struct json *definitions = json_get(root, places[i]);
        size_t n = strlen(places[i]);
        if (strncmp(ref, "#/", 2) == 0 && strncmp(ref + 2, places[i], n) == 0 &&
            ref[2 + n] == '/' && json_count(definitions) <= TYPES_DEFINITIONS_MAX)
            return json_get(definitions, ref + n + 3);
    }
    return NULL;
}

/* The types that a value may have; TOOL_TYPE_ANY where it is not plain. left: schemas that may be
 * looked at. */
static int types_of(const struct json *root, const struct json *schema, int *left)
{
    static const char *const alternatives[] = {"anyOf", "oneOf"};
    const struct json *type = json_get(schema, "type"), *value = json_get(schema, "const");
    const struct json *target = find_definition(root, json_string(json_get(schema, "$ref")));
    int types = type_by_name(type);
    if (--*left < 0)
        return TOOL_TYPE_ANY;
    if (json_type(type) == JSON_ARRAY)
        for (const struct json *v = json_first(type); v; v = json_next(v))
            types |= type_by_name(v);
    if (types == 0 && value)
        types = type_of_value(value);
    if (types == 0)
        for (const struct json *v = json_first(json_get(schema, "enum")); v; v = json_next(v))
            types |= type_of_value(v);
    if (types == 0)
        for (size_t i = 0; i < COUNT_OF(alternatives); i++)
            for (const struct json *v = json_first(json_get(schema, alternatives[i]));
                 v && *left >= 0; v = json_next(v))
                types |= types_of(root, v, left);
    if (types == 0 && target)
        types = types_of(root, target, left);
    if (types != 0 && json_bool(json_get(schema, "nullable")))
        types |= TOOL_TYPE_NULL;
    return types ? types : TOOL_TYPE_ANY;
}

void tool_offer_add(struct tool_offer *offer, const struct json *tool,
                    enum tool_strictness strictness)
{
    struct buf *b = &offer->bytes;
    const char first = (char)strictness;
    const struct json *root = parameters_of(tool), *properties = json_get(root, "properties");
    const char *name = tool_name(tool);
    offer->strict |= strictness == TOOL_STRICT;
    buf_add(b, &first, 1);
    buf_add(b, name, strlen(name) + 1);
    if (json_type(properties) != JSON_OBJECT)
        properties = NULL;
    for (const struct json *v = json_first(properties); v; v = json_next(v)) {
        int left = TYPES_SCHEMAS_MAX;
        char types = (char)types_of(root, v, &left);
        buf_add(b, &types, 1);
        buf_add(b, json_key(v), strlen(json_key(v)) + 1);
    }
    buf_add(b, "", 1);
}

bool tool_takes_object(const struct json *tool)
{
    const struct json *parameters = parameters_of(tool);
    const struct json *type = parameters ? json_get(parameters, "type") : NULL;
    return !type || (json_type(type) == JSON_STRING && strcmp(json_string(type), "object") == 0);
}

/* ---- the schema of a tool's arguments */

/* Its place in $defs and its $id. Names need no escapes. */
static void put_place(struct buf *out, const char *before, const struct json *tool)
{
    buf_printf(out, "\"%stool:%s\"", before, tool_name(tool));
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

static void put_parameters(struct buf *out, const struct json *tool)
{
    const struct json *p = parameters_of(tool);
    const char *comma = "";
    buf_puts(out, "{");
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

/* ---- calls that are forced */

static void put_call(struct buf *out, const struct json *tool, const char *arguments)
{
    buf_printf(out,
               "{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"%s\"},\"%s\":{\"$ref\":",
               tool_name(tool), arguments);
    put_place(out, "#/$defs/", tool);
    buf_printf(out, "}},\"required\":[\"name\",\"%s\"],\"additionalProperties\":false}", arguments);
}

static void put_forced(struct buf *out, const struct grammar_tools *g)
{
    buf_puts(out, "{\"anyOf\":[{\"$ref\":\"" CALL_REF "\"}");
    if (g->many)
        buf_printf(out,
                   ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":%d,"
                   "\"items\":{\"$ref\":\"" CALL_REF "\"}}",
                   TOOL_CALLS_MAX);
    buf_puts(out, "],\"$defs\":{\"call\":{\"anyOf\":[");
    for (size_t i = 0; i < g->n; i++) {
        buf_puts(out, i ? "," : "");
        put_call(out, g->tools[i].tool, "arguments");
        buf_puts(out, ",");
        put_call(out, g->tools[i].tool, "parameters");
    }
    buf_puts(out, "],\"discriminator\":{\"propertyName\":\"name\"}}");
    for (size_t i = 0; i < g->n; i++) {
        buf_puts(out, ",");
        put_place(out, "", g->tools[i].tool);
        buf_puts(out, ":");
        put_parameters(out, g->tools[i].tool);
    }
    buf_puts(out, "}}");
}

/* ---- calls that may come: watched text */

/* Parameters with an $id of their own have no other name, and stand in each entry. */
static void put_watched(struct buf *out, const struct grammar_tools *g)
{
    for (size_t n = 0; n < g->n * TOOL_HEADS; n++) {
        const struct grammar_tool *t = &g->tools[n / TOOL_HEADS];
        buf_puts(out, n > 0 ? ",{" : "[{");
        tool_head_print(n % TOOL_HEADS, tool_name(t->tool), out);
        buf_puts(out,
                 t->strictness == TOOL_STRICT ? ",\"schema\":" : ",\"optional\":true,\"schema\":");
        if (n % TOOL_HEADS == 0 || has_id(parameters_of(t->tool))) {
            put_parameters(out, t->tool);
        } else {
            buf_puts(out, "{\"$ref\":");
            put_place(out, "", t->tool);
            buf_puts(out, "}");
        }
        buf_puts(out, "}");
    }
    buf_puts(out, "]");
}

int grammar_tools_schema(const struct grammar_tools *g, struct json **schema)
{
    struct buf out = {0};
    char why[64];
    if (g->forced)
        put_forced(&out, g);
    else
        put_watched(&out, g);
    int rc = json_parse_lax(schema, out.data, out.len, why, sizeof why);
    buf_free(&out);
    return rc;
}

void grammar_tools_name(const struct grammar_tools *g, struct api_error *e)
{
    struct api_error told = *e;
    size_t entry;
    int n = 0;
    if (g->forced || sscanf(told.message, "tools: schema /%zu/schema%n", &entry, &n) != 1 ||
        n == 0 || entry >= g->n * TOOL_HEADS)
        return;
    const char *field = g->tools[entry / TOOL_HEADS].field;
    api_fail(e, told.code, field, "%s: schema%s%s", field, told.message[n] == '/' ? " " : "",
             told.message + n);
}
