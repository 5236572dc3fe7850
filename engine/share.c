#include "share.h"

#include "specd/util.h"

#include <stdlib.h>

#define SLOT_WEIGHT 1000 /* of priority 0 */

struct share_client {
    uint64_t id;
    struct share_client *next;
    struct share_item *first, *last; /* its sequences, by arrival */
    int32_t n_waiting, n_running;    /* PROMISED ones run */
    int32_t n_marked;                /* whose priority is not 0 */
    uint64_t load;                   /* weights of those that run */
    uint64_t work;                   /* weighed, on the virtual clock: see share.now */
};

/* A level more counts a fifth less, a level less a quarter more. */
static uint64_t weight(int32_t priority)
{
    uint64_t w = SLOT_WEIGHT;
    for (int32_t i = 0; i < priority; i++)
        w = w * 4 / 5;
    for (int32_t i = 0; i > priority; i--)
        w = w * 5 / 4;
    return w;
}

static bool runs(const struct share_item *i)
{
    return i->state == SHARE_RUNNING || i->state == SHARE_PROMISED;
}

static bool is_in_line(enum share_state state)
{
    return state == SHARE_WAITING || state == SHARE_PROMISED;
}

static uint64_t rounds_waited(const struct share_item *i, uint64_t round)
{
    return i->waited + (is_in_line(i->state) ? round - i->since : 0);
}

/* Priority in rounds, and with what was waited: a goes ahead of b where its rank is above b's
 * standing. */
static int64_t rank(const struct share_item *i)
{
    return (int64_t)i->priority * SHARE_LEVEL_ROUNDS;
}

static int64_t standing(const struct share_item *i, uint64_t round)
{
    return rank(i) + (int64_t)rounds_waited(i, round);
}

/* ---- items and their clients ----------------------------------------------------------------- */

static struct share_client *find_or_add(struct share *s, uint64_t id)
{
    struct share_client *c = s->clients;
    while (c && c->id != id)
        c = c->next;
    if (!c) {
        c = xcalloc(1, sizeof *c);
        *c = (struct share_client){.id = id, .next = s->clients, .work = s->now};
        s->clients = c;
    }
    return c;
}

void share_add(struct share *s, struct share_item *item, uint64_t client, int32_t priority)
{
    struct share_client *c = find_or_add(s, client);
    *item = (struct share_item){.client = c,
                                .prev = c->last,
                                .priority = priority,
                                .weight = weight(priority),
                                .arrival = ++s->n_added};
    if (c->last)
        c->last->next = item;
    else
        c->first = item;
    c->last = item;
    c->n_marked += priority != 0;
    s->n_marked += priority != 0;
}

/* Counts the item in its state, or no more. */
static void count(struct share *s, const struct share_item *item, int32_t n)
{
    struct share_client *c = item->client;
    if (item->state == SHARE_WAITING) {
        c->n_waiting += n;
        s->n_waiting += n;
    }
    if (item->state == SHARE_PROMISED)
        s->n_promised += n;
    if (runs(item)) {
        c->n_running += n;
        c->load = n > 0 ? c->load + item->weight : c->load - item->weight;
    }
}

void share_set(struct share *s, struct share_item *item, enum share_state state, uint64_t round)
{
    struct share_client *c = item->client;
    count(s, item, -1);
    if (is_in_line(item->state) && !is_in_line(state)) {
        item->waited += round - item->since;
        if (state == SHARE_RUNNING)
            s->now = MAX(s->now, c->work);
    } else if (!is_in_line(item->state) && is_in_line(state)) {
        item->since = round;
        if (c->n_waiting == 0)
            c->work = MAX(c->work, s->now); /* what it did not ask for earns nothing */
    }
    item->state = state;
    count(s, item, 1);
}

/* Clients whose work is outweighed are as good as new ones. */
static void forget_idle(struct share *s)
{
    for (struct share_client **at = &s->clients; *at;) {
        struct share_client *c = *at;
        if (!c->first && c->work <= s->now) {
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
}

void share_remove(struct share *s, struct share_item *item)
{
    struct share_client *c = item->client;
    count(s, item, -1);
    c->n_marked -= item->priority != 0;
    s->n_marked -= item->priority != 0;
    if (item->prev)
        item->prev->next = item->next;
    else
        c->first = item->next;
    if (item->next)
        item->next->prev = item->prev;
    else
        c->last = item->prev;
    item->client = NULL;
    if (!c->first)
        forget_idle(s);
}

void share_charge(const struct share_item *item, uint64_t work)
{
    item->client->work += work * item->weight;
}

void share_clear(struct share *s)
{
    for (struct share_client *c = s->clients, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *s = (struct share){0};
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Of a client's items in a state the oldest, or one that goes ahead of all older ones. */
static struct share_item *head(const struct share_client *c, enum share_state state, uint64_t round)
{
    struct share_item *best = NULL;
    int64_t most = INT64_MIN; /* standing of those looked at */
    for (struct share_item *i = c->first; i && !(best && c->n_marked == 0); i = i->next) {
        if (i->state != state)
            continue;
        if (!best || rank(i) > most)
            best = i;
        most = MAX(most, standing(i, round));
    }
    return best;
}

/* Of a client's running items the youngest, or one that lets all younger ones go ahead. */
static struct share_item *tail(const struct share_client *c, uint64_t round)
{
    struct share_item *worst = NULL;
    int64_t least = INT64_MAX; /* rank of those looked at */
    for (struct share_item *i = c->last; i && !(worst && c->n_marked == 0); i = i->prev) {
        if (i->state != SHARE_RUNNING)
            continue;
        if (!worst || standing(i, round) < least)
            worst = i;
        least = MIN(least, rank(i));
    }
    return worst;
}

bool share_is_sooner(const struct share_item *a, const struct share_item *b)
{
    uint64_t work = a->client->work, other = b->client->work;
    return work != other ? work < other : a->arrival < b->arrival;
}

/* Whether a gets a slot before b. */
static bool is_before(const struct share_item *a, const struct share_item *b)
{
    const struct share_client *c = a->client, *d = b->client;
    bool none = c->n_running == 0;
    uint64_t load = c->load + a->weight, other = d->load + b->weight;
    if (none != (d->n_running == 0))
        return none;
    if (!none && load != other)
        return load < other;
    return share_is_sooner(a, b);
}

/* Whether it goes ahead of all clients without a slot whose turn is before its own. */
static bool passes_all(const struct share *s, const struct share_item *item, uint64_t round)
{
    for (const struct share_client *c = s->clients; c; c = c->next) {
        const struct share_item *i =
            c->n_waiting > 0 && c != item->client ? head(c, SHARE_WAITING, round) : NULL;
        if (i && is_before(i, item) && rank(item) <= standing(i, round))
            return false;
    }
    return true;
}

/* Among those that wait and have no promise. */
static struct share_item *next_waiting(const struct share *s, uint64_t round)
{
    struct share_item *best = NULL;
    for (const struct share_client *c = s->clients; c; c = c->next) {
        struct share_item *i = c->n_waiting > 0 ? head(c, SHARE_WAITING, round) : NULL;
        if (i && (!best || is_before(i, best)))
            best = i;
    }
    for (const struct share_client *c = s->n_marked > 0 ? s->clients : NULL; best && c;
         c = c->next) {
        struct share_item *i =
            c->n_waiting > 0 && c->n_running == 0 ? head(c, SHARE_WAITING, round) : NULL;
        if (i && i->priority > best->priority && passes_all(s, i, round))
            best = i;
    }
    return best;
}

struct share_item *share_next(const struct share *s, uint64_t round)
{
    struct share_item *best = NULL;
    for (const struct share_client *c = s->clients; s->n_promised > 0 && c; c = c->next) {
        struct share_item *i = head(c, SHARE_PROMISED, round);
        if (i && (!best || i->since < best->since))
            best = i;
    }
    return best || s->n_waiting == 0 ? best : next_waiting(s, round);
}

/* ---- who gives way --------------------------------------------------------------------------- */

/* What the item's client has without it. */
static uint64_t load_without(const struct share_item *i)
{
    return i->client->load - (runs(i) ? i->weight : 0);
}

static bool has_none(const struct share_item *i)
{
    return i->client->n_running == (runs(i) ? 1 : 0);
}

/* Of the client that has most; NULL where the item's own has as much, or others have one each. */
static struct share_item *victim_of_share(const struct share *s, const struct share_item *item,
                                          uint64_t round)
{
    const struct share_client *most = NULL;
    for (const struct share_client *c = s->clients; c; c = c->next) {
        if (c != item->client && c->n_running >= 2 && (!most || c->load > most->load))
            most = c;
    }
    if (!most || !(has_none(item) || load_without(item) + item->weight < most->load))
        return NULL;
    return tail(most, round);
}

/* One that lets the item go ahead: of its own client, or the only one of another's. */
static struct share_item *victim_of_priority(const struct share *s, const struct share_item *item,
                                             uint64_t round)
{
    struct share_item *worst = NULL;
    if (s->n_marked == 0)
        return NULL;
    for (const struct share_client *c = s->clients; c; c = c->next) {
        bool may = c == item->client || (c->n_running == 1 && has_none(item));
        for (struct share_item *i = may ? c->first : NULL; i; i = i->next) {
            if (i->state != SHARE_RUNNING || rank(item) <= standing(i, round))
                continue;
            if (!worst || i->priority < worst->priority ||
                (i->priority == worst->priority && i->arrival > worst->arrival))
                worst = i;
        }
    }
    return worst;
}

struct share_item *share_victim(const struct share *s, const struct share_item *item,
                                uint64_t round)
{
    if (round - item->since < SHARE_CLAIM_ROUNDS)
        return NULL;
    struct share_item *victim = victim_of_share(s, item, round);
    return victim ? victim : victim_of_priority(s, item, round);
}

struct share_item *share_claim(const struct share *s, bool is_free, uint64_t round,
                               struct share_item **victim)
{
    struct share_item *first = s->n_waiting > 0 ? next_waiting(s, round) : NULL;
    *victim = first && !is_free ? share_victim(s, first, round) : NULL;
    if (is_free || *victim)
        return first;
    for (const struct share_client *c = s->clients; s->n_waiting > 0 && c; c = c->next) {
        struct share_item *i = c->n_waiting > 0 ? head(c, SHARE_WAITING, round) : NULL;
        if (i && (*victim = share_victim(s, i, round)))
            return i;
    }
    return NULL;
}

struct share_item *share_yields(const struct share *s, uint64_t round)
{
    struct share_item *worst = NULL;
    for (const struct share_client *c = s->clients; c; c = c->next) {
        struct share_item *i = c->n_running > 0 ? tail(c, round) : NULL;
        if (i && (!worst || c->load > worst->client->load ||
                  (c->load == worst->client->load && i->arrival > worst->arrival)))
            worst = i;
    }
    return worst;
}

/* ---- invariants ------------------------------------------------------------------------------ */

bool share_is_valid(const struct share *s)
{
    int32_t waiting = 0, promised = 0;
    for (const struct share_client *c = s->clients; c; c = c->next) {
        int32_t running = 0, own = 0, marked = 0;
        uint64_t load = 0;
        for (const struct share_item *i = c->first; i; i = i->next) {
            own += i->state == SHARE_WAITING;
            promised += i->state == SHARE_PROMISED;
            running += runs(i);
            marked += i->priority != 0;
            load += runs(i) ? i->weight : 0;
            if (i->client != c || (i->next ? i->next->prev != i : c->last != i))
                return false;
            if (i->next && i->next->arrival <= i->arrival)
                return false;
        }
        if (own != c->n_waiting || running != c->n_running || marked != c->n_marked ||
            load != c->load)
            return false;
        waiting += own;
    }
    return waiting == s->n_waiting && promised == s->n_promised;
}
