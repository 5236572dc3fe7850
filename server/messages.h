/*
 * messages.h - what a chat template is rendered from: messages, tools, chat_template_kwargs.
 *
 * The checks run on the JSON document; messages_build copies what it says into a request, as the
 * flat values of request.h, so that requests outlive the document. HTTP thread.
 */
#ifndef SPECD_SERVER_MESSAGES_H
#define SPECD_SERVER_MESSAGES_H

#include "fields.h"

#include "specd/request.h"

#define CALL_MESSAGES_MAX 65536
#define CALL_TOOLS_MAX 128
#define CALL_TOOL_NAME_MAX 64

/* 0, or the error that names the message and its member. */
int messages_check(const struct json *messages, struct api_error *e);
int tools_check(const char *name, const struct json *tools, struct api_error *e);
int kwargs_check(const char *name, const struct json *kwargs, struct api_error *e);

/* Fills messages and chat of req. tools and kwargs may be NULL; all have passed their checks. */
void messages_build(struct request *req, const struct json *messages, const struct json *tools,
                    const struct json *kwargs);

#endif
