#include "tls.h"

#include "specd/error.h"
#include "specd/util.h"

#include <gnutls/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1 << 20)
#define ID_BYTES_MAX 64

struct tls_pair {
    gnutls_pcert_st chain[TLS_CHAIN_MAX];
    unsigned n_chain;
    gnutls_privkey_t key;
    struct tls_pair *older;
};

static _Atomic(struct tls_pair *) in_use;

/* ---- loading */

static int read_file(struct buf *file, gnutls_datum_t *pem, const char *option, const char *path,
                     char *err, size_t errlen)
{
    char why[300];
    int rc = file_read(path, FILE_BYTES_MAX, file, why, sizeof why);
    if (rc < 0)
        return fail(rc, err, errlen, "%s: %s", option, why);
    *pem = (gnutls_datum_t){(unsigned char *)file->data, (unsigned)file->len};
    return 0;
}

static void drop_file(struct buf *file)
{
    if (file->data)
        explicit_bzero(file->data, file->cap);
    buf_free(file);
}

static int import_chain(struct tls_pair *p, const char *path, char *err, size_t errlen)
{
    gnutls_datum_t pem;
    struct buf file = {0};
    int rc = read_file(&file, &pem, "tls-cert", path, err, errlen);
    if (rc == 0) {
        unsigned n = TLS_CHAIN_MAX;
        int why = gnutls_pcert_list_import_x509_raw(p->chain, &n, &pem, GNUTLS_X509_FMT_PEM,
                                                    GNUTLS_X509_CRT_LIST_SORT);
        p->n_chain = why == 0 ? n : 0;
        if (why < 0)
            rc = fail(SPECD_EFILE, err, errlen, "tls-cert: %s: %s", path, gnutls_strerror(why));
    }
    drop_file(&file);
    return rc;
}

static int import_key(struct tls_pair *p, const char *path, char *err, size_t errlen)
{
    gnutls_datum_t pem;
    struct buf file = {0};
    int rc = read_file(&file, &pem, "tls-key", path, err, errlen);
    if (rc == 0) {
        int why = gnutls_privkey_init(&p->key);
        if (why == 0)
            why = gnutls_privkey_import_x509_raw(p->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (why < 0)
            rc = fail(SPECD_EFILE, err, errlen, "tls-key: %s: %s", path, gnutls_strerror(why));
    }
    drop_file(&file);
    return rc;
}

static bool belong_together(const struct tls_pair *p)
{
    unsigned char ids[2][ID_BYTES_MAX];
    size_t lens[2] = {ID_BYTES_MAX, ID_BYTES_MAX};
    gnutls_pubkey_t own;
    if (gnutls_pubkey_init(&own) < 0)
        return false;
    bool ok = gnutls_pubkey_import_privkey(own, p->key, 0, 0) == 0 &&
              gnutls_pubkey_get_key_id(own, 0, ids[0], &lens[0]) == 0 &&
              gnutls_pubkey_get_key_id(p->chain[0].pubkey, 0, ids[1], &lens[1]) == 0 &&
              lens[0] == lens[1] && memcmp(ids[0], ids[1], lens[0]) == 0;
    gnutls_pubkey_deinit(own);
    return ok;
}

int tls_load(struct tls_pair **out, const char *cert_path, const char *key_path, char *err,
             size_t errlen)
{
    *out = NULL;
    if (!cert_path)
        return 0;
    struct tls_pair *p = xcalloc(1, sizeof *p);
    int rc = import_chain(p, cert_path, err, errlen);
    if (rc == 0)
        rc = import_key(p, key_path, err, errlen);
    if (rc == 0 && !belong_together(p))
        rc =
            fail(SPECD_EFILE, err, errlen, "tls-key: %s is not the key of %s", key_path, cert_path);
    if (rc < 0) {
        tls_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void tls_free(struct tls_pair *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->n_chain; i++)
        gnutls_pcert_deinit(&p->chain[i]);
    if (p->key)
        gnutls_privkey_deinit(p->key);
    free(p);
}

/* ---- in use */

static bool same_key_and_chain(const struct tls_pair *a, const struct tls_pair *b)
{
    bool same = a->n_chain == b->n_chain;
    for (unsigned i = 0; same && i < a->n_chain; i++)
        same = a->chain[i].cert.size == b->chain[i].cert.size &&
               memcmp(a->chain[i].cert.data, b->chain[i].cert.data, a->chain[i].cert.size) == 0;
    return same; /* each belongs to its key */
}

void tls_use(struct tls_pair *pair)
{
    struct tls_pair *old = atomic_load(&in_use);
    if (!pair)
        return;
    if (old && same_key_and_chain(old, pair)) { /* SIGHUP for another reason: keep no copies */
        tls_free(pair);
        return;
    }
    pair->older = old;
    atomic_store(&in_use, pair);
}

void tls_close(void)
{
    struct tls_pair *next;
    for (struct tls_pair *p = atomic_exchange(&in_use, NULL); p; p = next) {
        next = p->older;
        tls_free(p);
    }
}

int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **chain,
                 unsigned *chain_length, gnutls_privkey_t *key)
{
    struct tls_pair *p = atomic_load(&in_use);
    (void)session;
    (void)authorities;
    (void)n_authorities;
    (void)algorithms;
    (void)n_algorithms;
    *chain = p->chain;
    *chain_length = p->n_chain;
    *key = p->key;
    return 0;
}
