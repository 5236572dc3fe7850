/*
 * util.h - the few things every room needs: checked allocation, a growable byte buffer, logging.
 *
 * Host memory is small beside the weights, which are sized and reported before they are allocated.
 * Sizes that come from a file or a client must be checked with size_mul before they get here.
 */
#ifndef SPECD_UTIL_H
#define SPECD_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* A check that stays in release builds: for bugs, never for input. */
#define ASSERT(cond)                                      \
    do {                                                  \
        if (__builtin_expect(!(cond), 0))                 \
            specd_assert_fail(#cond, __FILE__, __LINE__); \
    } while (0)
_Noreturn void specd_assert_fail(const char *cond, const char *file, int line);

/* An allocation that fails costs the request it was for, not the process. The x* functions never
 * return NULL: when the machine gives nothing they take from a reserve, and the process ends only
 * when that is used up as well. What grows far beyond what a client sent (a tree of JSON, a
 * template's values) is allocated by the try functions, which return NULL as malloc does. Both mark
 * the thread: whoever works for a request asks memory_ran_short() before the work and behind it,
 * and answers SPECD_ENOMEM if it did. */
void memory_keep_reserve(
    void);                   /* at the start of a process that serves; without it there is none */
bool memory_ran_short(void); /* has an allocation of this thread failed since it last asked? */
bool memory_is_short(void);  /* is the reserve in use, and can't be filled again? */
void *try_malloc(size_t size);
void *try_realloc(void *ptr, size_t size); /* NULL: ptr is as it was */

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *ptr, size_t size);
void *xaligned(size_t align, size_t size); /* size is rounded up to align; free() releases it */
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);

/* false, and *out untouched, when the product or sum does not fit. */
bool size_mul(size_t a, size_t b, size_t *out);
bool size_add(size_t a, size_t b, size_t *out);

/* Formats into err (if errlen > 0) and returns code: `return fail(SPECD_EFILE, err, errlen, ...)`.
 */
int fail(int code, char *err, size_t errlen, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Returns a call's error to the caller, if there is one. */
#define TRY(call)         \
    do {                  \
        int rc_ = (call); \
        if (rc_ != 0)     \
            return rc_;   \
    } while (0)

/* A growable run of bytes. Zero-initialise it; data is NUL-terminated once anything was added. */
struct buf {
    char *data;
    size_t len, cap;
};
void buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *data, size_t len);
bool buf_try_add(struct buf *b, const void *data,
                 size_t len); /* false: no memory, b is as it was */
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *b); /* keeps the memory */
char *buf_take(struct buf *b); /* hands data to the caller, who frees it; b is empty again */
void buf_free(struct buf *b);

/* Parts of a text, in order and apart. Zero-initialise it. */
struct text_span {
    size_t begin, end;
};
struct text_spans {
    struct text_span *items;
    size_t n, cap;
};
void text_spans_add(struct text_spans *s, size_t begin,
                    size_t end);                      /* behind or next to the last */
void text_spans_cut(struct text_spans *s, size_t at); /* what is at or behind `at` goes */
void text_spans_free(struct text_spans *s);
/* Index of the first span that ends behind `at`, or n. */
size_t text_spans_find(const struct text_span *items, size_t n, size_t at);

/* Moves *s and shortens *len past blanks and line ends at both ends. */
void text_trim(const char **s, size_t *len);

int hex_digit(char c); /* its value, or -1 */

/* FNV-1a, 64 bits. */
static inline uint64_t fnv1a(const void *data, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)data;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* Adds the whole of a regular file of at most max bytes to out. Never waits: a FIFO, a device or a
 * folder is refused. 0, or SPECD_EFILE with "PATH: reason"; out may then hold a part. */
int file_read(const char *path, size_t max, struct buf *out, char *err, size_t errlen);

/* Monotonic nanoseconds. */
uint64_t clock_ns(void);

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_set(enum log_level level, bool json);
bool log_enabled(enum log_level level);
/* One line to stderr, whole or not at all, without ever waiting for its reader (specd/lines.h); any
 * thread. Prompts are never logged. */
void log_at(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
uint64_t log_dropped(void); /* lines that stderr did not take */
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

#endif
