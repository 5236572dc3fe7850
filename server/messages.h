/*
 * messages.h - what a chat template is rendered from: messages, tools, chat_template_kwargs.
 *
 * What becomes of messages for a template that wants another form is engine/jinja/chat_turns.h's to
 * say. HTTP thread.
 */
#ifndef SPECD_SERVER_MESSAGES_H
#define SPECD_SERVER_MESSAGES_H

#include "fields.h"

#define CALL_MESSAGES_MAX 65536
#define CALL_TOOLS_MAX 128
#define CALL_TOOL_NAME_MAX 64
#define TOOL_NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
#define CALL_VALUES_MAX 50000 /* of each field that holds any JSON */

/* 0, or the error that names the message and its member. */
int messages_check(const char *field, const struct json *messages, struct api_error *e);
/* Is v {"type":"function","function":{...}} as tools_check wants each? */
bool is_tool(const struct json *v);
/* at: of each of them, its place in the client's list. */
int tools_check(const char *name, const struct json *tools, const size_t *at, struct api_error *e);
int kwargs_check(const char *name, const struct json *kwargs, struct api_error *e);
/* SPECD_EINVAL by the field's name if n is more than CALL_VALUES_MAX. */
int values_check(const char *name, size_t n, struct api_error *e);

#endif
