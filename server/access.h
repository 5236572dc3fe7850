/*
 * access.h - the access log: one line for each request that has ended, without prompts and keys.
 *
 * The HTTP thread writes, the main thread opens anew at SIGHUP; the lock is between the two.
 * Nothing here fails a request or waits: see specd/lines.h for what happens to a line that can't be
 * written.
 */
#ifndef SPECD_SERVER_ACCESS_H
#define SPECD_SERVER_ACCESS_H

#include "specd/lines.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a request was for the engine. */
struct tally {
    bool generates; /* else there are no tokens to speak of */
    int64_t prompt_tokens, generated_tokens, accepted_tokens;
    uint64_t first_ns; /* when the first token was written; 0: none */
};

struct access_log {
    pthread_mutex_t lock;
    struct lines lines;
    bool json;
    bool dropping; /* since the log spoke of it */
    uint64_t told; /* lines dropped before that */
};

struct exchange;

void access_init(struct access_log *a);
/* path NULL: none; "-": stdout. Appends. SPECD_EFILE, also for a FIFO that nobody reads; *fd is -1
 * for none. */
int access_open(int *fd, const char *path, char *err, size_t errlen);
/* Takes fd, closes the one before. */
void access_replace(struct access_log *a, int fd, bool json);
void access_free(struct access_log *a);
uint64_t access_dropped(struct access_log *a); /* lines, since the start */

/* HTTP thread: the exchange is over; complete: the answer went out to its end. */
void access_write(struct access_log *a, const struct exchange *ex, bool complete);

#endif
