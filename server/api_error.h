/*
 * api_error.h - what went wrong with a request, as the client reads it. Any thread.
 */
#ifndef SPECD_SERVER_API_ERROR_H
#define SPECD_SERVER_API_ERROR_H

#include "specd/util.h"

struct api_error {
    int code;       /* SPECD_E* */
    char param[64]; /* "" when no field is at fault */
    char message[320];
};

/* Fills *e and returns code. */
int api_fail(struct api_error *e, int code, const char *param, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* rc; or SPECD_ENOMEM with its text, where memory ran short in what rc came of. */
int api_memory(int rc, struct api_error *e);
/* The engine's messages begin with the field at fault, "prompt: ...": makes it the param. */
void api_name_field(struct api_error *e);
/* {"error":{...}}, OpenAI's */
void error_json(struct buf *out, const struct api_error *e);
/* Anthropic's: {"type":"error","error":{...},"request_id":...}, and the status it comes with. */
void messages_error_json(struct buf *out, const struct api_error *e, const char *request_id);
int messages_error_status(int code);

#endif
