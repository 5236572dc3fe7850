/*
 * faulty_memory.c - base/memory.c where an allocation can be made to fail, by a file that a test
 * maps.
 *
 * $FAULTY_MEMORY names the file: three 64-bit numbers. Allocations of at least [1] bytes are
 * counted in [2]; the one that brings the countdown in [0] to zero gets nothing. -1: none fails.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct faults {
    _Atomic int64_t countdown;
    _Atomic uint64_t least, seen;
};

static struct faults *faults(void)
{
    static struct faults *mapped;
    static struct faults none = {.countdown = -1};
    if (!mapped) {
        const char *path = getenv("FAULTY_MEMORY");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *p = fd < 0 ? MAP_FAILED
                         : mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        mapped = p == MAP_FAILED ? &none : p;
        if (fd >= 0)
            close(fd);
    }
    return mapped;
}

static int fails(size_t size)
{
    struct faults *f = faults();
    if (size < atomic_load(&f->least))
        return 0;
    atomic_fetch_add(&f->seen, 1);
    return atomic_load(&f->countdown) >= 0 && atomic_fetch_sub(&f->countdown, 1) == 0;
}

static void *faulty_malloc(size_t size)
{
    return fails(size) ? NULL : malloc(size);
}

static void *faulty_calloc(size_t n, size_t size)
{
    return fails(n * size) ? NULL : calloc(n, size);
}

static void *faulty_realloc(void *p, size_t size)
{
    return fails(size) ? NULL : realloc(p, size);
}

#define malloc faulty_malloc
#define calloc faulty_calloc
#define realloc faulty_realloc
#include "../../base/memory.c"
