/*
 * tls.h - the certificate that the listener shows, and its change while connections live.
 *
 * libmicrohttpd asks for it at each handshake, through GnuTLS, by tls_retrieve, which gets no
 * argument of ours: so there is one pair in use for the whole process. Pairs that were replaced are
 * kept until tls_close, because handshakes in progress may still hold them.
 *
 * The main thread loads and replaces, the HTTP thread retrieves.
 */
#ifndef SPECD_SERVER_TLS_H
#define SPECD_SERVER_TLS_H

#include <gnutls/abstract.h>
#include <stdbool.h>
#include <stddef.h>

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
