/*
 * lines.h - lines of text for a descriptor that may be slow, full or gone: a log.
 *
 * Nothing here waits, whatever stands behind the descriptor: a full disk, a pipe whose reader
 * stands still, a stopped terminal. What it does not take is kept, up to LINES_KEPT bytes, and goes
 * out before the next line, so that a line is never torn; lines beyond that are dropped whole and
 * counted. No memory is allocated. One thread at a time: the caller locks.
 */
#ifndef SPECD_LINES_H
#define SPECD_LINES_H

#include <stddef.h>
#include <stdint.h>

#define LINES_KEPT (64 * 1024)

struct lines {
    int fd;           /* -1: none, lines go nowhere */
    uint64_t dropped; /* lines, since the beginning */
    size_t n_kept;
    char kept[LINES_KEPT];
};

/* A descriptor for `fd` (stdout, say) that others' settings do not touch, nor ours theirs; to be
 * closed. -1 with errno. */
int lines_dup(int fd);
/* Goes over to fd, which it owns from now on and which need not have O_NONBLOCK. What the one
 * before does not take at once is lost; it is closed. */
void lines_use(struct lines *l, int fd);
/* text: one line with its line end, or more. */
void lines_put(struct lines *l, const char *text, size_t len);

#endif
