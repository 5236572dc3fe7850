/*
 * child.h - runs what should fail in a process of its own.
 */
#ifndef SPECD_EMU_CHILD_H
#define SPECD_EMU_CHILD_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum child_end { CHILD_RIGHT, CHILD_WRONG, CHILD_DIED };

/* How fn(seed) ends: it says whether its result was right, or its process is ended. Silent. */
static inline enum child_end child_run(bool (*fn)(unsigned long seed), unsigned long seed)
{
    int status, null;
    pid_t pid = fork();

    if (pid == 0) {
        null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        alarm(60);
        _exit(fn(seed) ? 0 : 3);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return CHILD_RIGHT;
    return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? CHILD_WRONG : CHILD_DIED;
}

/* Of n seeds, how many end right. */
static inline int child_rights(bool (*fn)(unsigned long seed), int n)
{
    int rights = 0;

    for (int i = 0; i < n; i++)
        rights += child_run(fn, (unsigned long)i + 1) == CHILD_RIGHT;
    return rights;
}

#endif
