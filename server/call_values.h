/*
 * call_values.h - readers and writers of request fields that have a shape of their own.
 *
 * Each is a field_parse or field_write of call_fields.c's table; what they read into is a struct
 * call.
 */
#ifndef SPECD_SERVER_CALL_VALUES_H
#define SPECD_SERVER_CALL_VALUES_H

#include "call.h"

field_parse parse_text, parse_max_tokens, parse_seed, parse_stop, parse_stop_ids, parse_allowed,
    parse_bias, parse_salt, parse_prediction, parse_tools, parse_kwargs, parse_include,
    parse_effort;
field_parse parse_nothing; /* read elsewhere */

/* ---- call_format.c */
field_parse parse_format, parse_format_word, parse_schema, parse_guided_json, parse_json_object,
    parse_choice, parse_tool_choice;

/* The text of a prediction's content, its parts joined by line ends as those of a message. */
void prediction_text(const struct json *content, struct buf *out);

field_write write_max_tokens, write_seed, write_stop;

#endif
