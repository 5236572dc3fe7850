/*
 * responses_read.c - the body of OpenAI's Responses, rewritten into that of a chat.
 */
#include "call.h"

#include <string.h>

static void add_message(struct json *doc, struct json *messages, const char *role,
                        struct json *content)
{
    struct json *m = json_new_object(doc);
    json_set(m, "role", json_new_string(doc, role, strlen(role)));
    json_set(m, "content", content);
    json_append(messages, m);
}

int responses_read(struct call *c, struct api_error *e)
{
    struct json *messages = json_new_array(c->doc), *input, *instructions;
    input = json_detach(c->doc, json_get(c->doc, "input"));
    instructions = json_detach(c->doc, json_get(c->doc, "instructions"));
    if (!input || (json_type(input) != JSON_STRING && json_type(input) != JSON_ARRAY))
        return api_fail(e, SPECD_EINVAL, "input", "'input' must be a string or a list of items");
    if (instructions && json_type(instructions) == JSON_STRING)
        add_message(c->doc, messages, "system", instructions);
    if (json_type(input) == JSON_STRING)
        add_message(c->doc, messages, "user", input);
    for (const struct json *item = json_first(input), *next; item; item = next) {
        next = json_next(item);
        json_append(messages, json_detach(input, item));
    }
    json_set(c->doc, "messages", messages);
    return 0;
}
