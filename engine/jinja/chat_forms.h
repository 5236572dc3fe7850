/*
 * chat_forms.h - in which form a chat template takes what a conversation holds.
 *
 * Templates differ: a content as text or as a list of parts, the arguments of a call as an object
 * or as its text, None, nothing or "" beside calls, one call a message or several, a system message
 * only at the beginning, ids of nine letters. A few dozen short conversations, whose texts are made
 * up, are rendered once, when the template is read: what is found in the prompt has a place.
 */
#ifndef SPECD_CHAT_FORMS_H
#define SPECD_CHAT_FORMS_H

#include "jinja/chat.h"
#include "jinja/jinja.h"

enum chat_role { CHAT_SYSTEM, CHAT_DEVELOPER, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL, CHAT_ROLES };
#define CHAT_ROLE_NAMES "system", "developer", "user", "assistant", "tool"

/* What a message that only calls has for a content. */
enum chat_empty { CHAT_EMPTY_NONE, CHAT_EMPTY_TEXT, CHAT_EMPTY_ABSENT };

struct chat_forms {
    /* By enum chat_role: a content that is a string, a list of typed parts, a list of one. None of
     * them: the template has no place for the role; CHAT_DEVELOPER has one only where it is more
     * than a name that the template prints as it comes. */
    bool text[CHAT_ROLES], parts[CHAT_ROLES], part[CHAT_ROLES];
    bool two_systems; /* at the beginning; developer messages where there is no system's place */
    bool system_developer;  /* a system and a developer message at the beginning */
    bool later_system;      /* behind other messages */
    bool later_developer;   /* likewise */
    bool two_users;         /* one behind the other */
    bool two_assistants;    /* likewise */
    bool user_after_result; /* of a call */

    bool tools;      /* definitions of tools */
    bool bare_tools; /* also without a description and parameters */

    bool calls; /* calls and their results; what follows is of these */
    bool arguments_text, arguments_object;
    enum chat_empty empty;
    bool many_calls;        /* in one message */
    bool text_beside_calls; /* in one message */
    bool text_before_calls; /* in a message before */
    bool nine_letters;      /* ids must have 9 letters or digits */
    bool named_results;     /* results must have the name of what was called */

    const char *reasoning;      /* the member that is printed, or NULL */
    bool reasoning_beside_text; /* also in a message that calls and has a content */
};

/* with_tools: the template is only rendered when there are tools. */
void chat_forms_find(const struct jinja *t, bool with_tools, struct chat_forms *out);

static inline bool chat_has_place(const struct chat_forms *f, enum chat_role role)
{
    return f->text[role] || f->parts[role] || f->part[role];
}

/* chat.c: the messages and tools of vars as they are; but by forms, unless it is NULL, a content
 * that is a string is a part where the template has no place for strings. */
int chat_render_as_is(const struct jinja *t, const struct chat_forms *forms,
                      const struct chat_vars *vars, struct buf *out, char *err, size_t errlen);

#endif
