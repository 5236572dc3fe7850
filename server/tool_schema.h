/*
 * tool_schema.h - what the engine's grammar gets to know of tools: calls that an answer must make,
 * or how arguments go on where a call of a strict tool has begun.
 *
 * Forced calls are the bare objects of tool_calls.h: {"name", "arguments"} or {"name",
 * "parameters"}, as families of models differ in the second name and each keeps to its own. The
 * name comes first (a discriminator: grammar.h), so that arguments can be told as they come, and
 * however many tools there are one stack reads it. The parameters of each tool stand once, in
 * $defs, as a schema of their own with an $id, so that a $ref within resolves within (JSON Schema
 * Core 8.2.1, 9.2.1).
 *
 * Of strict tools the grammar gets a list, with an entry for each way in which a call of one begins
 * (tool_watch.h); a tool's first one has the parameters, and the others refer to it.
 *
 * The tools are borrowed from a document of JSON that tools_check has passed.
 */
#ifndef SPECD_SERVER_TOOL_SCHEMA_H
#define SPECD_SERVER_TOOL_SCHEMA_H

#include "messages.h"
#include "tool_calls.h"

/* A tool that the grammar of an answer is about, and its schema as the client knows it. */
struct grammar_tool {
    const struct json *tool;
    enum tool_strictness strictness;
    char field[48];
};
struct grammar_tools {
    struct grammar_tool tools[CALL_TOOLS_MAX]; /* no name twice */
    size_t n;                                  /* 0: it is about none */
    bool forced;                               /* the answer is a call of one */
    bool many;                                 /* or a list of them */
};

const char *tool_name(const struct json *tool);
/* Arguments are an object: does the schema let them be one, and nothing else? */
bool tool_takes_object(const struct json *tool);
/* Adds a tool and the types that its parameters may have, as far as their schemas say plainly. */
void tool_offer_add(struct tool_offer *offer, const struct json *tool,
                    enum tool_strictness strictness);

/* Of at least one tool: what request_format.schema points to, a document of its own. SPECD_EJSON
 * when it nests too deeply there; SPECD_ENOMEM. */
int grammar_tools_schema(const struct grammar_tools *g, struct json **schema);
/* The engine's messages begin with the place in that, "tools: schema /7/schema/...": tells the
 * client's name of it instead. */
void grammar_tools_name(const struct grammar_tools *g, struct api_error *e);

#endif
