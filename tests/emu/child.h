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

/* How fn(seed) ends: it says whether its result was right, or its process is ended. What it wrote
 * to stderr is in `said`, as much as fits. */
static inline enum child_end child_run_said(bool (*fn)(unsigned long seed), unsigned long seed,
                                            char *said, size_t n)
{
    int status, null, ends[2];
    size_t length = 0;
    char rest[256];
    pid_t pid;

    if (pipe(ends) != 0 || (pid = fork()) < 0)
        abort();
    if (pid == 0) {
        null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        alarm(60);
        _exit(fn(seed) ? 0 : 3);
    }
    close(ends[1]);
    for (;;) {
        bool fits = length + 1 < n;
        ssize_t got =
            read(ends[0], fits ? said + length : rest, fits ? n - 1 - length : sizeof(rest));
        if (got <= 0)
            break;
        length += fits ? (size_t)got : 0;
    }
    said[length] = 0;
    close(ends[0]);
    if (waitpid(pid, &status, 0) != pid)
        abort();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return CHILD_RIGHT;
    return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? CHILD_WRONG : CHILD_DIED;
}

static inline enum child_end child_run(bool (*fn)(unsigned long seed), unsigned long seed)
{
    char said[256];

    return child_run_said(fn, seed, said, sizeof(said));
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
