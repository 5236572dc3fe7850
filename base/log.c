/*
 * Logging to stderr. A line is formatted on the stack and written with one write(2), so lines of
 * different threads never mix; a line beyond the buffer is cut.
 */
#include "specd/util.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int min_level = LOG_INFO;
static atomic_bool as_json;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set(enum log_level level, bool json)
{
    atomic_store(&min_level, (int)level);
    atomic_store(&as_json, json);
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < COUNT_OF(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
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

/* Appends s as the inside of a JSON string; stops before the buffer is full. */
static size_t json_escape(char *out, size_t cap, const char *s)
{
    size_t n = 0;
    for (; *s && n + 8 < cap; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20) {
            n += (size_t)snprintf(out + n, cap - n, "\\u%04x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
    return n;
}

void log_at(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char message[2048], stamp[40], line[4400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    timestamp(stamp, sizeof stamp);
    int n;
    if (atomic_load(&as_json)) {
        char escaped[4200];
        json_escape(escaped, sizeof escaped, message);
        n = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"}\n",
                     stamp, level_names[level], escaped);
    } else {
        n = snprintf(line, sizeof line, "%s %-5s %s\n", stamp, level_names[level], message);
    }
    if (n > 0) {
        ssize_t ignored = write(STDERR_FILENO, line, MIN((size_t)n, sizeof line - 1));
        (void)ignored; /* a closed stderr must not stop the server */
    }
}

_Noreturn void specd_assert_fail(const char *cond, const char *file, int line)
{
    log_error("%s:%d: assertion failed: %s", file, line, cond);
    abort();
}
