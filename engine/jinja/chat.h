/*
 * chat.h - chat messages to prompt text, by the model's own Jinja template.
 *
 * An interpreter of the part of Jinja that published chat templates use, rendering as Hugging
 * Face's apply_chat_template does (trim_blocks, lstrip_blocks). No file, no network, no unbounded
 * work: steps, depth and output are limited. A template is immutable: any thread may render.
 */
#ifndef SPECD_CHAT_H
#define SPECD_CHAT_H

#include "specd/request.h"
#include "specd/util.h"

struct chat_template;

/* Copies source, and finds out in which form it takes messages (chat_forms.h). for_tools: it is
 * only rendered when there are tools. SPECD_EINVAL with line and reason. */
int chat_template_create(struct chat_template **out, const char *source, bool for_tools, char *err,
                         size_t errlen);
void chat_template_free(struct chat_template *t);
/* Appends what it has no place for and what becomes of that, for the log; or nothing. */
void chat_template_describe(const struct chat_template *t, struct buf *out);

struct chat_vars {
    struct chat_options options;
    const char *bos_token, *eos_token; /* "" when the model has none: undefined, as in HF */
    const char *field;                 /* that the messages came in, for errors */
};
/* Appends the prompt to out: the messages in the form that the template takes (chat_turns.h); and
 * to client, unless it is NULL, what of out is not the template's own text. SPECD_EINVAL with the
 * template's own words when it raises, and, naming the field, for a text that it would leave out
 * and a last message that it does not end with; SPECD_ENOMEM. */
int chat_render(const struct chat_template *t, const struct chat_vars *vars, struct buf *out,
                struct text_spans *client, char *err, size_t errlen);

/* Does an answer to a prompt that chat_render made begin with a thought, as far as the template and
 * the prompt tell? client as it was rendered. */
struct thinking chat_thinking(const struct chat_template *t, const struct chat_options *o,
                              const struct buf *prompt, const struct text_spans *client);

#endif
