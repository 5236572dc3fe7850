/*
 * grammar.c - drafts what must follow under a grammar: names of members, the rest of a constant.
 *
 * The text is certain and its spelling is not: other tokens may spell it, and the target decides
 * between them as ever. Peers call it jumping forward; here no law changes.
 */
#include "drafter.h"

#include "constraint.h"

static void *begin(const struct draft_text *text)
{
    return text->constraint;
}

static int32_t propose(void *state, int32_t room, int32_t *out, int32_t *match)
{
    (void)match;
    return constraint_forced(state, out, room);
}

const struct drafter grammar_drafter = {
    .type = DRAFT_GRAMMAR,
    .source = DRAFT_FROM_HOST,
    .under_grammar = true,
    .prior = {0.8},
    .begin = begin,
    .propose = propose,
};
