#include "specd/lines.h"

#include "specd/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* O_NONBLOCK belongs to what all duplicates of a descriptor share, other processes' among them, so
 * a pipe or a terminal is opened once more. A regular file needs none of this. */
int lines_dup(int fd)
{
    struct stat st;
    char path[40];
    int own = -1;
    if (fstat(fd, &st) != 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
        own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* What was written at once; 0 when nothing was, for whatever reason. */
static size_t write_some(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK) {
        /* A pipe that could not be opened anew takes PIPE_BUF bytes when it is ready. */
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        n = poll(&ready, 1, 0) == 1 ? write(fd, data, MIN(len, PIPE_BUF)) : 0;
    }
    return n > 0 ? (size_t)n : 0;
}

static void flush(struct lines *l)
{
    size_t done = 0, n;
    while (done < l->n_kept && (n = write_some(l->fd, l->kept + done, l->n_kept - done)) > 0)
        done += n;
    l->n_kept -= done;
    memmove(l->kept, l->kept + done, l->n_kept);
}

void lines_use(struct lines *l, int fd)
{
    if (l->fd >= 0) {
        flush(l);
        close(l->fd);
    }
    l->fd = fd;
    l->n_kept = 0;
}

void lines_put(struct lines *l, const char *text, size_t len)
{
    if (l->fd < 0)
        return;
    if (l->n_kept > 0)
        flush(l);
    if (len > LINES_KEPT - l->n_kept) {
        l->dropped++;
        return;
    }
    memcpy(l->kept + l->n_kept, text, len);
    l->n_kept += len;
    flush(l);
}
