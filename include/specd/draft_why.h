/*
 * draft_why.h - why a request drafts nothing in a round: one list, of which the enum, the label in
 * metrics and the text of `speculative.disabled_because` are made.
 */
#ifndef SPECD_DRAFT_WHY_H
#define SPECD_DRAFT_WHY_H

#define DRAFT_REASONS(X)                                                                  \
    X(DISABLED, "disabled", "the request disabled it")                                    \
    X(NO_DRAFTER, "no_drafter", "the server has no drafter")                              \
    X(NO_SUCH_DRAFTER, "no_such_drafter", "the server has no drafter of this kind")       \
    X(NO_PREDICTION, "no_prediction", "the request has no prediction")                    \
    X(GRAMMAR, "grammar", "under a JSON format only lookup can draft")                    \
    X(ZERO, "zero", "the request or the server set K to 0")                               \
    X(FIRST, "first_token", "nothing is drafted before the first token")                  \
    X(ROOM, "room", "no more than one token was left to generate")                        \
    X(CONTEXT, "context", "the text is longer than the draft model's context")            \
    X(NOTHING, "nothing", "the text repeated nothing that could be looked up")            \
    X(UNFILLED, "unfilled", "the draft model's KV was not there yet")                     \
    X(SHARED, "shared", "another request computed the draft model's KV of the same text") \
    X(REST, "rest", "too few tokens were to come for the draft model's KV to pay")        \
    X(NOT_PAYING, "not_paying", "drafting was not expected to pay")                       \
    X(BUDGET, "budget", "what drafting may lose was spent")                               \
    X(MEASURED, "measured", "rounds without drafts were measured")

#define DRAFT_WHY_ID(id, name, text) DRAFT_WHY_##id,
enum draft_why { DRAFT_WHY_NONE, DRAFT_REASONS(DRAFT_WHY_ID) DRAFT_WHYS }; /* NONE: it drafts */
#undef DRAFT_WHY_ID

/* Both "" for NONE. */
static inline const char *draft_why_name(enum draft_why why)
{
#define DRAFT_WHY_NAME(id, name, text) name,
    static const char *const names[] = {"", DRAFT_REASONS(DRAFT_WHY_NAME)};
#undef DRAFT_WHY_NAME
    return names[why];
}

static inline const char *draft_why_text(enum draft_why why)
{
#define DRAFT_WHY_TEXT(id, name, text) text,
    static const char *const texts[] = {"", DRAFT_REASONS(DRAFT_WHY_TEXT)};
#undef DRAFT_WHY_TEXT
    return texts[why];
}

#endif
