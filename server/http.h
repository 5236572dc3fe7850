/*
 * http.h - the HTTP side as main sees it: opened before the engine, closed before it.
 *
 * Called by the main thread. Between http_open and http_attach, and until the engine is ready, all
 * routes answer 503 "Loading model".
 */
#ifndef SPECD_SERVER_HTTP_H
#define SPECD_SERVER_HTTP_H

#include "config.h"

struct server;

/* Listens and starts the HTTP thread. config must outlive the server. */
int http_open(struct server **out, const struct config *config, char *err, size_t errlen);
/* Puts keys, certificate, limits and access log of another configuration into effect, or nothing of
 * it. config may go afterwards. */
int http_reload(struct server *s, const struct config *config, char *err, size_t errlen);
void http_attach(struct server *s, struct engine *engine);
/* No new work from now on: not ready, and generating routes answer 503. */
void http_drain(struct server *s);
/* As server_hangs. */
int64_t http_hangs(const struct server *s, const char **what);
const char *http_url(const struct server *s);
/* Waits until no request is in progress, at most timeout_ms; whether none is. */
bool http_flush(struct server *s, int timeout_ms);
/* Ends every connection; requests still running are cancelled, so the engine must still be open. */
void http_close(struct server *s);

#endif
