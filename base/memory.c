#include "specd/util.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Beyond all that x* functions allocate for a request; what there is of it, once it was used. */
#define RESERVE_MOST ((size_t)64 << 20)
#define RESERVE_LEAST ((size_t)4 << 20)

static _Atomic(void *) reserve;
static atomic_bool has_reserve;
static _Thread_local bool ran_short;

void memory_keep_reserve(void)
{
    atomic_store(&has_reserve, true);
    memory_is_short();
}

bool memory_is_short(void)
{
    void *none = NULL, *filled = NULL;
    if (!atomic_load(&has_reserve) || atomic_load(&reserve))
        return false;
    for (size_t size = RESERVE_MOST; !filled && size >= RESERVE_LEAST; size /= 2)
        filled = malloc(size);
    if (filled && !atomic_compare_exchange_strong(&reserve, &none, filled))
        free(filled);
    return !filled;
}

bool memory_ran_short(void)
{
    bool did = ran_short;
    ran_short = false;
    return did;
}

/* Gives the reserve back to the machine, so that what failed may be tried again. */
static void use_reserve(void)
{
    ran_short = true;
    free(atomic_exchange(&reserve, NULL));
}

static void *checked(void *p, size_t size)
{
    if (!p) {
        log_error("out of memory: %zu bytes", size);
        abort();
    }
    return p;
}

void *try_malloc(size_t size)
{
    void *p = memory_is_short() ? NULL : malloc(size ? size : 1);
    ran_short |= !p;
    return p;
}

void *try_realloc(void *ptr, size_t size)
{
    void *p = memory_is_short() ? NULL : realloc(ptr, size ? size : 1);
    ran_short |= !p;
    return p;
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p) {
        use_reserve();
        p = malloc(size ? size : 1);
    }
    return checked(p, size);
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) {
        use_reserve();
        p = calloc(count ? count : 1, size ? size : 1);
    }
    return checked(p, count * size);
}

void *xrealloc(void *ptr, size_t size)
{
    void *p = realloc(ptr, size ? size : 1);
    if (!p) {
        use_reserve();
        p = realloc(ptr, size ? size : 1);
    }
    return checked(p, size);
}

void *xaligned(size_t align, size_t size)
{
    size_t rounded = (size + align - 1) / align * align;
    return checked(aligned_alloc(align, rounded ? rounded : align), size);
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
    char *copy = xmalloc(n + 1);
    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

bool size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool size_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
