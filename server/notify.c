#include "notify.h"

#include "specd/util.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_supervisor(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof addr.sun_path)
        return;
    size_t len = strlen(path);
    memcpy(addr.sun_path, path, len);
    if (*path == '@')
        addr.sun_path[0] = '\0'; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

int notify_watchdog_ms(void)
{
    const char *patience_us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!patience_us || (pid && strtoll(pid, NULL, 10) != getpid()))
        return -1;
    long long ms = strtoll(patience_us, NULL, 10) / 4000;
    return ms > 0 ? (int)MIN(ms, INT_MAX) : -1;
}
