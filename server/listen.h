/*
 * listen.h - the listening socket, TCP on a host and port or a unix socket given as unix:PATH, and
 * the certificate that it shows. A process listens once.
 *
 * libmicrohttpd asks for the certificate at each handshake, through GnuTLS, by tls_retrieve, which
 * gets no argument of ours: so there is one pair in use for the whole process. Pairs that were
 * replaced are kept until tls_close, because handshakes in progress may still hold them.
 *
 * The main thread opens, loads and replaces; the HTTP thread retrieves.
 */
#ifndef SPECD_SERVER_LISTEN_H
#define SPECD_SERVER_LISTEN_H

#include "config.h"

#include <gnutls/abstract.h>

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

#define TLS_CHAIN_MAX 16
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct tls_pair;

/* PEM files: a certificate with its chain, and its key, without a password. *out is NULL when
 * cert_path is. SPECD_EFILE with the reason, also when the two do not belong together. */
int tls_load(struct tls_pair **out, const char *cert_path, const char *key_path, char *err,
             size_t errlen);
void tls_free(struct tls_pair *pair);

/* Takes the pair, from the next handshake on. */
void tls_use(struct tls_pair *pair);
/* No handshake can be in progress any more. */
void tls_close(void);

/* A gnutls_certificate_retrieve_function2. */
int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **chain,
                 unsigned *chain_length, gnutls_privkey_t *key);

#endif
