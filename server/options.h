/*
 * options.h - the table of options, and how the text of a value becomes a field of struct config.
 */
#ifndef SPECD_SERVER_OPTIONS_H
#define SPECD_SERVER_OPTIONS_H

#include "config.h"

enum option_kind {
    OPTION_FLAG,    /* bool; no value on the command line, or =true, =false */
    OPTION_STRING,  /* char *, owned by the config */
    OPTION_INT,     /* int32_t in min..max */
    OPTION_SIZE,    /* uint64_t bytes, with K, M, G, T */
    OPTION_SECONDS, /* int32_t milliseconds, given in seconds */
    OPTION_RATIO,   /* float in 0..1 */
    OPTION_CHOICE,  /* enum: the index in "a|b|c" */
    OPTION_CUSTOM,
};

enum option_flags {
    NOT_IN_ARGS = 1,
    NOT_IN_ENV = 2,
    NOT_IN_FILE = 4,
    RELOADS = 8, /* SIGHUP takes its new value */
};

struct option {
    const char *name, *letter; /* letter: its short form without the dash, or NULL */
    const char *value;         /* how --help shows it */
    enum option_kind kind;
    size_t offset; /* in struct config */
    int64_t min, max;
    const char *fallback; /* the default, as text; NULL: none */
    const char *choices;
    int (*set)(struct config *c, const char *text, char *err, size_t errlen);
    unsigned flags;
    const char *help;
};

extern const struct option options[];
extern const size_t n_options;

/* Parses text into c. err gets what the value may be, without the option's name. */
int option_set(const struct option *o, struct config *c, const char *text, char *err,
               size_t errlen);
/* By long name, or by its short form ("m", "md"); NULL when there is none. */
const struct option *option_find(const char *name, size_t len, bool is_letter);
/* The option of the command line whose name is nearest to a mistyped one; never NULL. */
const struct option *option_nearest(const char *name, size_t len);

#endif
