#include "lookup_pool.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

#define OUTPUT_END (-1) /* a token behind each output: no match crosses it */
#define POOL_LEAST 512  /* tokens that an almost empty pool costs as much as */

struct lookup_pool {
    struct lookup_pools *all;
    struct lookup_pool *before, *after; /* in the order of their use */
    char *salt;
    int32_t refs;
    uint64_t version;
    struct suffix *texts[2]; /* the younger, the older; NULL: none */
};

struct lookup_pools {
    struct lookup_pool *newest, *oldest;
};

static int32_t tokens_of(const struct lookup_pool *p)
{
    int32_t n = 0;
    for (int i = 0; i < 2; i++)
        n += p->texts[i] ? suffix_n_tokens(p->texts[i]) : 0;
    return n > 0 ? MAX(n, POOL_LEAST) : 0;
}

/* ---- the list of pools ----------------------------------------------------------------------- */

static void take_out(struct lookup_pool *p)
{
    struct lookup_pools *all = p->all;
    if (p->before)
        p->before->after = p->after;
    else
        all->newest = p->after;
    if (p->after)
        p->after->before = p->before;
    else
        all->oldest = p->before;
    p->before = p->after = NULL;
}

static void put_first(struct lookup_pool *p)
{
    struct lookup_pools *all = p->all;
    p->after = all->newest;
    if (all->newest)
        all->newest->before = p;
    else
        all->oldest = p;
    all->newest = p;
}

/* A pool that holds nothing and that nobody uses goes. */
static void drop_if_idle(struct lookup_pool *p)
{
    if (p->refs > 0 || tokens_of(p) > 0)
        return;
    take_out(p);
    free(p->salt);
    free(p);
}

static void empty(struct lookup_pool *p)
{
    for (int i = 0; i < 2; i++) {
        suffix_free(p->texts[i]);
        p->texts[i] = NULL;
    }
    p->version += 2; /* neither text is what a place says */
    drop_if_idle(p);
}

struct lookup_pools *lookup_pools_create(void)
{
    return xcalloc(1, sizeof(struct lookup_pools));
}

void lookup_pools_free(struct lookup_pools *all)
{
    while (all && all->oldest) {
        ASSERT(all->oldest->refs == 0);
        empty(all->oldest);
    }
    free(all);
}

int32_t lookup_pools_tokens(const struct lookup_pools *all)
{
    int32_t n = 0;
    for (const struct lookup_pool *p = all->newest; p; p = p->after)
        n += tokens_of(p);
    return n;
}

struct lookup_pool *lookup_pool_of(struct lookup_pools *all, const char *salt)
{
    struct lookup_pool *p = all->newest;
    while (p && strcmp(p->salt, salt) != 0)
        p = p->after;
    if (p) {
        take_out(p);
    } else {
        p = xcalloc(1, sizeof *p);
        p->all = all;
        p->salt = xstrdup(salt);
    }
    put_first(p);
    return lookup_pool_ref(p);
}

struct lookup_pool *lookup_pool_ref(struct lookup_pool *p)
{
    if (p)
        p->refs++;
    return p;
}

void lookup_pool_unref(struct lookup_pool *p)
{
    if (!p)
        return;
    p->refs--;
    drop_if_idle(p);
}

void lookup_pool_add(struct lookup_pool *p, const int32_t *output, int32_t n)
{
    static const int32_t end = OUTPUT_END;
    if (p->texts[0] && suffix_n_tokens(p->texts[0]) >= LOOKUP_TEXT_TOKENS) {
        suffix_free(p->texts[1]);
        p->texts[1] = p->texts[0];
        p->texts[0] = NULL;
        p->version++;
    }
    if (!p->texts[0])
        p->texts[0] = suffix_create();
    suffix_append(p->texts[0], output, MIN(n, LOOKUP_OUTPUT_TOKENS));
    suffix_append(p->texts[0], &end, 1);
    take_out(p);
    put_first(p);
    struct lookup_pool *old = p->all->oldest, *next;
    for (int32_t held = lookup_pools_tokens(p->all); held > LOOKUP_POOL_TOKENS && old != p;
         old = next) {
        next = old->before;
        held -= tokens_of(old);
        empty(old);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static void renew(const struct lookup_pool *p, struct lookup_place *place)
{
    if (place->version == p->version)
        return;
    place->at[1] = place->version + 1 == p->version ? place->at[0] : (struct suffix_at){0};
    place->at[0] = (struct suffix_at){0};
    place->version = p->version;
}

void lookup_pool_read(const struct lookup_pool *p, struct lookup_place *place, int32_t token)
{
    renew(p, place);
    for (int i = 0; i < 2; i++) {
        if (p->texts[i])
            suffix_read(p->texts[i], &place->at[i], token);
    }
}

int32_t lookup_pool_match(const struct lookup_pool *p, struct lookup_place *place)
{
    renew(p, place);
    return MAX(place->at[0].len, place->at[1].len);
}

int32_t lookup_pool_follow(const struct lookup_pool *p, struct lookup_place *place, int32_t *out,
                           int32_t n)
{
    renew(p, place);
    int text = place->at[1].len > place->at[0].len;
    if (!p->texts[text])
        return 0;
    int32_t got = suffix_follow(p->texts[text], place->at[text], out, n), i = 0;
    while (i < got && out[i] != OUTPUT_END)
        i++;
    return i;
}
