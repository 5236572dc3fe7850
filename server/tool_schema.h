/*
 * tool_schema.h - calls of tools that an answer must make, and the schema that says so.
 *
 * The calls are the bare objects of tool_calls.h: {"name", "arguments"} or {"name", "parameters"},
 * as families of models differ in the second name and each keeps to its own. Of many
 * calls the grammar has the name come first (grammar.h), so that there may be any number of tools.
 * The parameters of each tool stand once, in $defs, as a schema of their own with an $id, so that a
 * $ref within resolves within (JSON Schema Core 8.2.1, 9.2.1).
 *
 * The tools are borrowed from a document of JSON that tools_check has passed.
 */
#ifndef SPECD_SERVER_TOOL_SCHEMA_H
#define SPECD_SERVER_TOOL_SCHEMA_H

#include "messages.h"
#include "tool_calls.h"

struct forced_tools {
    const struct json *tools[CALL_TOOLS_MAX]; /* that may be called, no name twice */
    size_t n;                                 /* 0: nothing is forced */
    bool many;                                /* a list of calls may come as well */
};

const char *tool_name(const struct json *tool);
/* Adds a tool and the types that its parameters may have, as far as their schemas say plainly. */
void tool_offer_add(struct tool_offer *offer, const struct json *tool);

/* Can they be forced? 0, or the error by the field at fault. */
int forced_tools_check(const struct forced_tools *f, struct api_error *e);
/* The schema, a document of its own. SPECD_EJSON when it nests too deeply there; SPECD_ENOMEM. */
int forced_tools_schema(const struct forced_tools *f, struct json **schema);

#endif
