#include "fiber.h"
#include "sanitizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EMU_ASAN
static struct fiber *leaving;

static void switch_starts(struct fiber *from, const struct fiber *to, bool over)
{
    leaving = from;
    __sanitizer_start_switch_fiber(over ? nullptr : &from->fake_stack, to->stack, to->size);
}
/* A host's own stack is learned from each switch away from it: the next may be another thread's. */
static void switched(void *fake_stack)
{
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
    leaving->stack = const_cast<void *>(bottom);
    leaving->size = size;
}
static void switch_ends(struct fiber *self)
{
    switched(self->fake_stack);
}
void fiber_entered(void)
{
    switched(nullptr);
}
void fiber_forget(struct fiber *f)
{
    __asan_unpoison_memory_region(f->stack, f->size);
}
#else
static void switch_starts(struct fiber *, const struct fiber *, bool) {}
static void switch_ends(struct fiber *) {}
void fiber_entered(void) {}
void fiber_forget(struct fiber *) {}
#endif

#ifdef __x86_64__

/* void swap_stacks(void **save, void *restore) */
asm(".text\n"
    ".p2align 4\n"
    ".type specd_swap_stacks, @function\n"
    "specd_swap_stacks:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size specd_swap_stacks, .-specd_swap_stacks\n"
    /* The first return of a fiber: entry and arg wait in callee-saved registers. */
    ".p2align 4\n"
    ".type specd_first_entry, @function\n"
    "specd_first_entry:\n"
    "    movq %r12, %rdi\n"
    "    call *%rbx\n"
    "    ud2\n"
    ".size specd_first_entry, .-specd_first_entry\n");

extern "C" void specd_swap_stacks(void **save, void *restore);
extern "C" void specd_first_entry(void);

void fiber_make(struct fiber *f, void *stack, size_t size, void (*entry)(void *), void *arg)
{
    void **top = (void **)((char *)stack + size);

    f->stack = stack;
    f->size = size;
    f->fake_stack = nullptr;
    /* r15 r14 r13 r12 rbx rbp, the return address, and two words that keep the stack aligned. */
    *--top = nullptr;
    *--top = nullptr;
    *--top = (void *)specd_first_entry;
    *--top = nullptr;
    *--top = (void *)entry;
    *--top = arg;
    for (int i = 0; i < 3; i++)
        *--top = nullptr;
    f->context = top;
}

static void swap(struct fiber *from, struct fiber *to)
{
    specd_swap_stacks(&from->context, to->context);
}

#else

#include <ucontext.h>

static void first_entry(unsigned entry_high, unsigned entry_low, unsigned arg_high,
                        unsigned arg_low)
{
    auto entry = (void (*)(void *))(((size_t)entry_high << 32) | entry_low);

    entry((void *)(((size_t)arg_high << 32) | arg_low));
}

/* The context lies at the top of the fiber's own stack, the host's on its stack while it waits. */
void fiber_make(struct fiber *f, void *stack, size_t size, void (*entry)(void *), void *arg)
{
    size_t room = (sizeof(ucontext_t) + 63) / 64 * 64;
    ucontext_t *u = (ucontext_t *)((char *)stack + size - room);
    size_t e = (size_t)entry, a = (size_t)arg;

    f->stack = stack;
    f->size = size;
    f->fake_stack = nullptr;
    f->context = u;
    getcontext(u);
    u->uc_stack.ss_sp = stack;
    u->uc_stack.ss_size = size - room;
    u->uc_link = nullptr;
    makecontext(u, (void (*)())first_entry, 4, (unsigned)(e >> 32), (unsigned)e,
                (unsigned)(a >> 32), (unsigned)a);
}

static void swap(struct fiber *from, struct fiber *to)
{
    ucontext_t here;

    from->context = &here;
    swapcontext(&here, (ucontext_t *)to->context);
}

#endif

void fiber_switch(struct fiber *from, struct fiber *to)
{
    switch_starts(from, to, false);
    swap(from, to);
    switch_ends(from);
}

void fiber_leave(struct fiber *from, struct fiber *to)
{
    switch_starts(from, to, true);
    swap(from, to);
    abort();
}

char *fiber_stacks(size_t n, size_t size, size_t *stride)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    size = (size + page - 1) / page * page;
    *stride = size + page;
    char *all = (char *)mmap(nullptr, n * *stride, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
        perror("emulator: stacks");
        abort();
    }
    for (size_t i = 0; i < n; i++)
        mprotect(all + i * *stride, page, PROT_NONE);
    return all + page;
}
