/*
 * messages.h - what a chat template is rendered from: messages, tools, chat_template_kwargs.
 *
 * The checks also make of messages what templates want: the parts of a content are joined to one
 * text, the arguments of calls, which come as text, are read. HTTP thread.
 */
#ifndef SPECD_SERVER_MESSAGES_H
#define SPECD_SERVER_MESSAGES_H

#include "fields.h"

#define CALL_MESSAGES_MAX 65536
#define CALL_TOOLS_MAX 128
#define CALL_TOOL_NAME_MAX 64
#define CALL_VALUES_MAX 50000 /* of each field that holds any JSON */

/* 0, or the error that names the message and its member. messages is a value of doc. */
int messages_check(struct json *doc, const struct json *messages, struct api_error *e);
/* Is v {"type":"function","function":{...}} as tools_check wants each? */
bool is_tool(const struct json *v);
int tools_check(const char *name, const struct json *tools, struct api_error *e);
int kwargs_check(const char *name, const struct json *kwargs, struct api_error *e);
/* SPECD_EINVAL by the field's name if n is more than CALL_VALUES_MAX. */
int values_check(const char *name, size_t n, struct api_error *e);

#endif
