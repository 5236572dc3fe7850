/*
 * tool_json.h - one JSON value that may be a call of a tool, or a list of them.
 *
 * {"name": ..., "arguments" or "parameters": ...}, or the same within "function". Arguments are
 * kept as they are written; some models wrap them into a string.
 */
#ifndef SPECD_SERVER_TOOL_JSON_H
#define SPECD_SERVER_TOOL_JSON_H

#include "tool_calls.h"

/* Appends the calls, of which those beyond room are dropped. offered: the names that there may be,
 * each with its NUL; NULL: any. False, and nothing appended, when text is something else. */
bool tool_json_read(const char *text, size_t len, const struct buf *offered, int room,
                    struct tool_output *out);
/* The same where the name stands apart and text is the arguments. */
bool tool_json_named(const char *name, size_t name_len, const char *text, size_t len, int room,
                     struct tool_output *out);

#endif
