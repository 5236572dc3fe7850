/*
 * json_write.h - JSON text straight into a struct buf: no tree, no allocation per value.
 *
 * The caller writes the punctuation. What is not UTF-8 in a string (a file's name, a message that
 * was cut) comes out as U+FFFD, so the result always is. Any thread; nothing fails.
 */
#ifndef SPECD_JSON_WRITE_H
#define SPECD_JSON_WRITE_H

#include "specd/util.h"

#include <string.h>

/* For string literals: the length is known to the compiler. */
#define json_lit(b, literal) buf_add(b, "" literal, sizeof(literal) - 1)

#define JSON_ESCAPE_MAX 6
/* What stands for a byte within a string: the bytes written to out, 0 where it stands for itself.
 * The one table of escapes: whoever writes strings elsewhere than to a buf asks it, too. */
size_t json_escape_byte(unsigned char c, char out[JSON_ESCAPE_MAX]);
/* With quotes; escapes what JSON requires and U+2028, U+2029, which old JavaScript trips over. */
void json_str(struct buf *b, const char *s, size_t len);
void json_escape(struct buf *b, const char *s, size_t len); /* the same without quotes */
/* The same from *at on, which moves along, until b holds most bytes or somewhat more; true: to the
 * end. */
bool json_escape_upto(struct buf *b, size_t most, const char *s, size_t len, size_t *at);
static inline void json_cstr(struct buf *b, const char *s)
{
    json_str(b, s, strlen(s));
}
void json_int(struct buf *b, int64_t v);
void json_uint(struct buf *b, uint64_t v);

#endif
