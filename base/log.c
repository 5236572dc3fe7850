/*
 * Logging to stderr. A line is formatted on the stack; one beyond the buffer is cut.
 */
#include "specd/json_write.h"
#include "specd/lines.h"
#include "specd/utf8.h"
#include "specd/util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4400

static atomic_int min_level = LOG_INFO;
static atomic_bool as_json;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lines to_stderr = {.fd = STDERR_FILENO}; /* under lock */
static bool opened;                                    /* stderr has a descriptor of our own */
static uint64_t told;                                  /* lines dropped that the log speaks of */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set(enum log_level level, bool json)
{
    atomic_store(&min_level, (int)level);
    atomic_store(&as_json, json);
    pthread_mutex_lock(&lock);
    if (!opened) {
        int fd = lines_dup(STDERR_FILENO);
        to_stderr.fd = fd >= 0 ? fd : to_stderr.fd;
        opened = true;
    }
    pthread_mutex_unlock(&lock);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&min_level, memory_order_relaxed);
}

static size_t timestamp(char *out, size_t cap)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(out + n, cap - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

/* s as the inside of a JSON string, as far as there is room. What is not UTF-8 (a file's name, a
 * message that was cut) becomes U+FFFD. */
static void escape(char *out, size_t cap, const char *s)
{
    size_t n = 0;
    while (*s && n + JSON_ESCAPE_MAX < cap) {
        size_t read = utf8_length(s, strnlen(s, 4));
        size_t wrote = json_escape_byte((unsigned char)*s, out + n);
        if (read == 0) {
            read = 1;
            wrote = strlen(UTF8_REPLACEMENT);
            memcpy(out + n, UTF8_REPLACEMENT, wrote);
        } else if (wrote == 0) {
            wrote = read;
            memcpy(out + n, s, read);
        }
        s += read;
        n += wrote;
    }
    out[n] = '\0';
}

static size_t format(char *line, size_t cap, enum log_level level, const char *message)
{
    char stamp[40];
    int n;
    timestamp(stamp, sizeof stamp);
    if (atomic_load(&as_json)) {
        char escaped[LINE_MAX_BYTES - 100];
        escape(escaped, sizeof escaped, message);
        n = snprintf(line, cap, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"}\n", stamp,
                     level_names[level], escaped);
    } else {
        n = snprintf(line, cap, "%s %-5s %s\n", stamp, level_names[level], message);
    }
    return n > 0 ? MIN((size_t)n, cap - 1) : 0;
}

void log_at(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char message[2048], line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    size_t n = format(line, sizeof line, level, message);
    pthread_mutex_lock(&lock);
    lines_put(&to_stderr, line, n);
    if (to_stderr.n_kept == 0 && to_stderr.dropped > told) {
        snprintf(message, sizeof message, "%llu lines of this log were dropped: nobody read them",
                 (unsigned long long)(to_stderr.dropped - told));
        told = to_stderr.dropped;
        n = format(line, sizeof line, LOG_WARN, message);
        lines_put(&to_stderr, line, n);
    }
    pthread_mutex_unlock(&lock);
}

uint64_t log_dropped(void)
{
    pthread_mutex_lock(&lock);
    uint64_t n = to_stderr.dropped;
    pthread_mutex_unlock(&lock);
    return n;
}

_Noreturn void specd_assert_fail(const char *cond, const char *file, int line)
{
    log_error("%s:%d: assertion failed: %s", file, line, cond);
    abort();
}
