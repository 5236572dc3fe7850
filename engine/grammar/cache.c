#include "grammar/cache.h"

#include "grammar/network.h"

#include <stdlib.h>
#include <string.h>

struct kept_grammar {
    struct buf key; /* empty: none is kept here */
    struct grammar *grammar;
    uint64_t used;
};

struct grammar_cache {
    pthread_mutex_t lock;
    uint64_t clock;
    struct kept_grammar kept[GRAMMAR_CACHE_MAX];
};

struct grammar_cache *grammar_cache_create(void)
{
    struct grammar_cache *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void grammar_cache_free(struct grammar_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < COUNT_OF(c->kept); i++) {
        buf_free(&c->kept[i].key);
        grammar_unref(c->kept[i].grammar);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- keys: a schema's values one after the other --------------------------------------------- */

static void add_value(struct buf *key, const struct chat_value *v)
{
    uint8_t head[] = {(uint8_t)v->kind, v->key != NULL};
    buf_add(key, head, sizeof head);
    if (v->key)
        buf_add(key, v->key, strlen(v->key) + 1);
    switch (v->kind) {
    case CHAT_NULL:
        break;
    case CHAT_BOOL:
        buf_add(key, v->b ? "1" : "0", 1);
        break;
    case CHAT_INT:
    case CHAT_FLOAT: /* two that are one double are two numbers */
        buf_puts(key, v->text ? v->text : "");
        buf_add(key, &v->i, sizeof v->i);
        break;
    case CHAT_STRING:
        buf_add(key, v->s, strlen(v->s) + 1);
        break;
    case CHAT_LIST:
    case CHAT_DICT:
        buf_add(key, &v->n, sizeof v->n);
        break;
    }
}

/* false: too long to be kept. */
static bool make_key(struct buf *key, const struct chat_value *v)
{
    buf_add(key, v ? "s" : "o", 1);
    for (uint64_t left = v ? 1 : 0; left > 0 && key->len <= GRAMMAR_CACHE_KEY_MAX; v++) {
        left--;
        if (v->kind == CHAT_LIST || v->kind == CHAT_DICT)
            left += v->n;
        add_value(key, v);
    }
    return key->len <= GRAMMAR_CACHE_KEY_MAX;
}

/* ---- kept grammars --------------------------------------------------------------------------- */

/* Lock held. */
static struct kept_grammar *find(struct grammar_cache *c, const struct buf *key)
{
    for (size_t i = 0; i < COUNT_OF(c->kept); i++) {
        struct kept_grammar *k = &c->kept[i];
        if (k->grammar && k->key.len == key->len && memcmp(k->key.data, key->data, key->len) == 0) {
            k->used = ++c->clock;
            return k;
        }
    }
    return NULL;
}

/* Takes the key. Another thread may have compiled the same meanwhile: that one stays. */
static void keep(struct grammar_cache *c, struct buf *key, struct grammar *g)
{
    struct kept_grammar *oldest = &c->kept[0], old;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 1; i < COUNT_OF(c->kept); i++)
        if (c->kept[i].used < oldest->used)
            oldest = &c->kept[i];
    bool there = find(c, key) != NULL;
    old = *oldest;
    if (!there)
        *oldest = (struct kept_grammar){*key, grammar_ref(g), ++c->clock};
    pthread_mutex_unlock(&c->lock);
    buf_free(there ? key : &old.key);
    if (!there)
        grammar_unref(old.grammar);
}

static struct grammar *look_up(struct grammar_cache *c, const struct buf *key)
{
    pthread_mutex_lock(&c->lock);
    struct kept_grammar *k = find(c, key);
    struct grammar *g = k ? grammar_ref(k->grammar) : NULL;
    pthread_mutex_unlock(&c->lock);
    return g;
}

int grammar_cache_get(struct grammar_cache *c, struct grammar **out,
                      const struct chat_value *schema, char *err, size_t errlen)
{
    struct buf key = {0};
    bool keepable = make_key(&key, schema);
    *out = keepable ? look_up(c, &key) : NULL;
    if (*out) {
        buf_free(&key);
        return 0;
    }
    int rc = grammar_compile(out, schema, err, errlen);
    if (rc == 0 && keepable && (*out)->n_nodes <= GRAMMAR_CACHE_NODES_MAX)
        keep(c, &key, *out);
    else
        buf_free(&key);
    return rc;
}
