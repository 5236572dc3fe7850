/*
 * listen.h - the listening socket: TCP on a host and port, or a unix socket given as unix:PATH.
 */
#ifndef SPECD_SERVER_LISTEN_H
#define SPECD_SERVER_LISTEN_H

#include <stddef.h>

/* Binds and listens. *fd, and the URL that reaches it by scheme (the port chosen when port is 0). A
 * stale unix socket nobody listens on is replaced. SPECD_EFILE with the reason. */
int listen_open(int *fd, const char *host, int port, const char *scheme, char *url, size_t url_cap,
                char *err, size_t errlen);
void listen_cleanup(const char *host); /* removes the path of a unix socket */

#endif
