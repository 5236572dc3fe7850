/*
 * listen.h - the listening socket: TCP on a host and port, or a unix socket given as unix:PATH.
 *
 * Main thread; a process listens once.
 */
#ifndef SPECD_SERVER_LISTEN_H
#define SPECD_SERVER_LISTEN_H

#include "config.h"

struct listener {
    int fd;
    bool loopback; /* TCP that only this machine reaches */
    char url[160]; /* that reaches it; with the port chosen when port is 0 */
};

/* Binds and listens as the configuration says. A stale unix socket nobody listens on is replaced.
 * SPECD_EFILE with the reason. */
int listen_open(struct listener *out, const struct config *c, char *err, size_t errlen);
/* Removes the path of the unix socket, if it is still this process's. */
void listen_cleanup(void);

#endif
