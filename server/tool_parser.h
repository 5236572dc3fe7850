/*
 * tool_parser.h - the parts of the parser of tool_calls.h: a machine that takes a byte at a time.
 *
 * Bytes that are not decided on are held; when they turn out to be no call the first of them are
 * text and the others are read again. Each part reads on in its states: text, tags and names
 * outside of JSON (tool_calls.c), calls in JSON (tool_json.c), <parameter=key> (tool_function.c).
 */
#ifndef SPECD_SERVER_TOOL_PARSER_H
#define SPECD_SERVER_TOOL_PARSER_H

#include "json_walk.h"
#include "tool_calls.h"
#include "tool_watch.h"

#define NAME_BYTES_MAX 128 /* of a name outside of JSON */
#define TAGS_MAX 3         /* one in the other */

struct tag {
    const char *open, *close; /* close: NULL for none */
    bool means_call;          /* whatever it names */
};

/* What is read; held are the bytes ... */
enum state {
    IN_TEXT,      /* ... that may be blanks before a call */
    IN_TAG,       /* ... up to now of what may be a tag, from `word` on, and what is before it */
    BEHIND_TAG,   /* ... up to now */
    IN_NAME,      /* ... likewise: a name outside of JSON, from `word` on */
    IN_MARK,      /* ... likewise: [ARGS] or [CALL_ID] behind it */
    IN_ID,        /* ... likewise: what follows [CALL_ID] */
    BEHIND_NAME,  /* ... likewise: blanks */
    IN_CALL,      /* ... likewise: the JSON around a call's name and arguments */
    IN_ARGUMENTS, /* of a call that has begun: none */
    IN_REST,      /* the JSON behind them: all of it */
    IN_FUNCTION,  /* <function=name> up to </function>, between parameters: a tag, from `word` on */
    IN_KEY,       /* ... <parameter=key> */
    IN_VALUE,     /* ... what may be its end tag */
    BEHIND,       /* a call: ... what may be a closing tag */
};

/* A member of a call in JSON, by its name. */
enum member { NAME, FUNCTION, ARGUMENTS, OTHER };

/* Bytes of what is held. */
struct span {
    size_t at, len;
};

struct tool_parser {
    const struct tool_offer *offer;
    bool one;
    enum state state;
    bool started; /* something was shown or called: JSON alone is not looked for any more */
    struct buf in;
    size_t from, n; /* of `in`, n bytes are held; what is behind them was not read yet */
    struct tool_watch watch;
    struct buf begun_there; /* for each byte of `in` what the watch found; empty: none is strict */
    size_t word, tag;       /* in what is held: the word that is read, the first tag */
    const struct tag *open[TAGS_MAX];
    int n_open;
    bool any_name;
    /* JSON */
    struct json_walk walk;
    bool list;
    int n_elements; /* of it that were calls */
    int level;      /* depth of the call's members */
    bool nested;    /* they are within "function" */
    enum member member;
    struct buf name;          /* empty: not known yet */
    struct offered_tool tool; /* of that name */
    bool has_arguments;       /* held, or begun */
    struct span arguments;    /* held: as they stand there, unless they were unwrapped */
    struct buf unwrapped;
    bool in_key;
    /* <function=...> */
    bool first_parameter, first_byte;
    int types;        /* of the parameter */
    struct buf value; /* up to its end, when it may be something else than a string */

    bool begun, dropped; /* a call has begun; it is one too many */
    int n_calls;
};

static inline const char *held(const struct tool_parser *p)
{
    return p->in.data + p->from;
}

static inline char last(const struct tool_parser *p)
{
    return held(p)[p->n - 1];
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* ---- tool_parser.c */

/* Holds nothing any more of the first n bytes; those behind them are read again. */
void parser_drop_first(struct tool_parser *p, size_t n);
void parser_drop(struct tool_parser *p); /* of all */
/* The first n of the held bytes are text; those behind them are read again, as what may be text. */
void parser_show(struct tool_parser *p, size_t n, struct tool_output *out);
void parser_give_up(struct tool_parser *p, struct tool_output *out); /* it was no call */
/* Is what is held, from `at` on, the word (1), its beginning (0) or neither (-1)? */
int parser_compare(const struct tool_parser *p, size_t at, const char *word);

bool parser_may_call(struct tool_parser *p); /* the name: finds the tool */
/* May its arguments begin with a byte of what is held? */
bool parser_may_begin(const struct tool_parser *p, size_t at);

/* Events of a call, of which one too many has none. */
void parser_begin(struct tool_parser *p, struct tool_output *out);
void parser_argue(struct tool_parser *p, const char *bytes, size_t len, struct tool_output *out);
void parser_end(struct tool_parser *p, struct tool_output *out);
void parser_whole_call(struct tool_parser *p, const char *arguments, size_t len,
                       struct tool_output *out);

/* ---- the parts: a function for a state takes the last of the held bytes */

/* The object of arguments alone is walked from the last byte on. */
void parser_start_arguments(struct tool_parser *p, struct tool_output *out);
void parser_start_json(struct tool_parser *p, size_t at); /* where it begins in what is held */
void parser_in_call(struct tool_parser *p, struct tool_output *out);
void parser_in_rest(struct tool_parser *p);
void parser_in_function(struct tool_parser *p, struct tool_output *out);
void parser_in_key(struct tool_parser *p, struct tool_output *out);
void parser_in_value(struct tool_parser *p, struct tool_output *out);
void parser_value_byte(struct tool_parser *p, char c,
                       struct tool_output *out); /* c is part of it */

#endif
