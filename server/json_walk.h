/*
 * json_walk.h - JSON (RFC 8259) byte by byte, as it comes: where it stops being valid, and where
 * its parts begin and end. The reader of json.h wants a text that is complete.
 *
 * What a walk passes is what json_scan_lax passes, but that UTF-8, the length of numbers and how
 * many values there are is not looked at. A plain value without memory of its own.
 */
#ifndef SPECD_SERVER_JSON_WALK_H
#define SPECD_SERVER_JSON_WALK_H

#include "specd/json.h"

/* What a byte was. */
enum walked {
    WALK_BAD,        /* no JSON begins with the bytes up to here; the walk is over */
    WALK_ON,         /* inside or between values */
    WALK_OPEN,       /* the first of an object or a list, which depth counts */
    WALK_CLOSE,      /* its last; depth is that around it, 0: the value is complete */
    WALK_KEY,        /* a member's name begins */
    WALK_KEY_END,    /* its closing quote */
    WALK_STRING,     /* a string begins that is a value */
    WALK_STRING_END, /* its closing quote */
    WALK_SCALAR,     /* a number, true, false or null begins; it ends before what follows */
};

/* Zero-initialise. The value walked is an object or a list. */
struct json_walk {
    int depth;
    int state; /* json_walk.c */
    bool key;  /* the string is a member's name */
    int left;  /* hexadecimal digits of an escape to come */
    const char *word;
    bool object[JSON_DEPTH_MAX]; /* what is open, outermost first: objects, lists */
};

/* Behind WALK_BAD and the last WALK_CLOSE nothing may follow. */
enum walked json_walk(struct json_walk *w, char c);

#endif
