/*
 * tool_watch.h - how calls of strict tools begin, and where they do in a text as it comes.
 *
 * Behind a head the arguments follow, and where a tool is strict the engine's grammar holds them to
 * its schema (engine/grammar: watched text). The grammar gets the heads from here and the parser
 * looks for calls of strict tools where a watch finds them, so both mean the same places: one in
 * the arguments of another call, say, is none, even where the parser took that for text.
 *
 * A head is some pieces, one after another, between which white space may stand. Spellings of
 * tool_calls.h that are none: arguments ahead of their name, members between the two, a name with
 * escapes, [CALL_ID].
 */
#ifndef SPECD_SERVER_TOOL_WATCH_H
#define SPECD_SERVER_TOOL_WATCH_H

#include "json_walk.h"
#include "tool_calls.h"

#define TOOL_HEADS 7 /* of each tool */

/* Appends what the grammar has to know of a head, as members of an object: "behind", its pieces,
 * and "parameters". */
void tool_head_print(size_t head, const char *name, struct buf *out);

#define WATCH_TAIL_BYTES 256 /* twice the longest head, each of its white space being one byte */

/* Of an answer's text from its beginning. */
struct tool_watch {
    const struct tool_offer *offer;
    enum { WATCH_TEXT, WATCH_BLANKS, WATCH_JSON, WATCH_FUNCTION, WATCH_PARAMETER } state;
    int tool;        /* whose arguments come, or are to come: its number in the offer */
    bool parameters; /* they may be <parameter=key> */
    struct json_walk walk;
    size_t n; /* of the tail: what was read since the last arguments, white space as one blank */
    char tail[WATCH_TAIL_BYTES];
};
/* The number of the tool whose arguments begin with this byte, the next one; 0: none do. */
int tool_watch_byte(struct tool_watch *w, char c);

#endif
