/*
 * Memory whose edges are watched: by AddressSanitizer, or by a tail of noise that must stay as is.
 */
#include "emu_impl.h"
#include "sanitizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef EMU_ASAN
static const size_t tail = 0;
#else
static const size_t tail = 256;
#endif
#define TAIL_BYTE 0xf9

void *emu_allocate(size_t align, size_t bytes, uint64_t random)
{
    static const unsigned char fill[] = {0xff, 0xa5, 0x7f, 0x00, 0xc1, 0x3c};
    size_t twice = 2 * align > sizeof(void *) ? 2 * align : sizeof(void *);
    void *base, *p;

    if (posix_memalign(&base, twice, align + bytes + tail) != 0) {
        fprintf(stderr, "emulator: no memory\n");
        abort();
    }
    p = (char *)base + align;
#ifdef EMU_ASAN
    ASAN_POISON_MEMORY_REGION(base, align);
#endif
    memset(p, fill[(random >> 40) % sizeof(fill)], bytes);
    for (size_t i = 0; i < tail; i++)
        ((unsigned char *)p)[bytes + i] = TAIL_BYTE;
    return p;
}

bool emu_release(void *p, size_t align, size_t bytes)
{
    bool whole = true;

    for (size_t i = 0; i < tail; i++)
        whole = whole && ((unsigned char *)p)[bytes + i] == TAIL_BYTE;
    free((char *)p - align);
    return whole;
}
