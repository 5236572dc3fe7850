/*
 * sandbox.h - a seccomp filter: once everything is loaded, all threads may make only the system
 * calls that serving takes. What is taken over then can't start a program, open a connection to
 * another machine, or make memory executable.
 *
 * A call that is not on the list fails with EPERM and is logged by the kernel (audit), rather than
 * killing the process: an update of a library that makes a new call costs that call, not all
 * streams, and who attacks is refused just the same.
 */
#ifndef SPECD_SERVER_SANDBOX_H
#define SPECD_SERVER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* For all threads, also those to come, and for good. 0, or SPECD_EINTERNAL with the reason, and
 * then nothing is filtered. */
int sandbox_enter(char *err, size_t errlen);
/* Whether this build has it: libseccomp was there, and no sanitizer, whose calls are others. */
bool sandbox_built(void);

#endif
