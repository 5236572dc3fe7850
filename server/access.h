/*
 * access.h - the access log: one line for each request that has ended, without prompts and keys.
 *
 * A line is written by one write(2), so that lines never mix. The HTTP thread writes, the main
 * thread opens anew at SIGHUP; the lock is between the two. Nothing here fails a request: what
 * can't be written is lost.
 */
#ifndef SPECD_SERVER_ACCESS_H
#define SPECD_SERVER_ACCESS_H

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
    int fd; /* -1: none */
    bool json;
};

struct exchange;

void access_init(struct access_log *a);
/* path NULL: none; "-": stdout. Appends. SPECD_EFILE; *fd is -1 for none. */
int access_open(int *fd, const char *path, char *err, size_t errlen);
/* Takes fd, closes the one before. */
void access_replace(struct access_log *a, int fd, bool json);
void access_free(struct access_log *a);

/* HTTP thread: the exchange is over; complete: the answer went out to its end. */
void access_write(struct access_log *a, const struct exchange *ex, bool complete);

#endif
