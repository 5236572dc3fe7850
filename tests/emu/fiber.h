/*
 * fiber.h - stacks that a host thread switches between by hand: one carries one emulated GPU
 * thread.
 *
 * A switch saves the callee-saved registers and nothing else. AddressSanitizer is told of every
 * switch. One fiber runs at a time; whichever host thread switches to it carries it.
 */
#ifndef SPECD_EMU_FIBER_H
#define SPECD_EMU_FIBER_H

#include <stddef.h>

struct fiber {
    void *context; /* where it stopped: its stack pointer, or a ucontext_t */
    void *stack;   /* lowest address; the page below it faults */
    size_t size;
    void *fake_stack; /* AddressSanitizer's */
};

/* Makes a fiber that runs entry(arg) on `stack` when it is first switched to. entry must not
 * return: it ends with fiber_leave. */
void fiber_make(struct fiber *f, void *stack, size_t size, void (*entry)(void *), void *arg);
/* To be called first in entry. */
void fiber_entered(void);
/* Saves the caller in `from` and continues `to`. */
void fiber_switch(struct fiber *from, struct fiber *to);
/* Continues `to`; `from` is over and its stack may be used again. */
[[noreturn]] void fiber_leave(struct fiber *from, struct fiber *to);
/* A fiber that will not go on: its stack may be used again. */
void fiber_forget(struct fiber *f);

/* n stacks of `size` bytes with a guard page below each; the caller keeps them for good. */
char *fiber_stacks(size_t n, size_t size, size_t *stride);

#endif
