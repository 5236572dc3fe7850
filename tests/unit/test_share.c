/* links: specd_engine */
/*
 * Who gets slots and who gives them up, over 100,000 random arrivals with cancels and pauses at any
 * moment. A judge that knows the rules of share.h, and not how they are kept, counts what breaks
 * them; policies that are wrong on purpose show that it would.
 */
#include "share.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS 8
#define SLOTS_MAX 32
#define GETS_ONE_WITHIN 8 /* rounds */

struct job {
    struct share_item item;
    struct job *next;
    int client;
    int32_t left; /* rounds that it still needs a slot */
    int stalled;  /* rounds until it may go on; 0: it is not set aside */
    uint64_t came, waited, since;
};

enum policy { AS_IT_IS, BY_ARRIVAL, NO_CLAIMS, CLAIM_ANY, HIGHEST_FIRST };

/* What the judge found. */
struct broken {
    int late;   /* a client without a slot, while another had two, for more than GETS_ONE_WITHIN */
    int uneven; /* as long: one that had less than another, and still would with one more */
    int apart;  /* a claim after which shares were no nearer to each other */
    int passed; /* somebody got a slot before an older one of its client that was not to be passed
                 */
    int idle;   /* a slot was free while somebody waited */
};

struct client {
    int live;                      /* so many jobs it has at any time; 0: it comes at random */
    int32_t length;                /* of its jobs, from half to one and a half of this */
    bool uses_priority;            /* any, at random */
    int32_t priority;              /* else */
    int n_waiting, n_held, n_live; /* held: slots, promises included */
    uint64_t load;                 /* weights of these */
    uint64_t tokens, longest_wait; /* rounds in slots; until the first one */
    int late, uneven;              /* rounds so far */
};

struct world {
    struct share share;
    enum policy policy;
    int n_slots, n_running, lag; /* lag: rounds until a slot that was given up is free */
    uint64_t round, seed;
    bool quiet;   /* no cancels and pauses */
    int freed[2]; /* slots that will be free next round, and the one after */
    struct client clients[CLIENTS];
    struct job *jobs;
    int n_arrived, n_claims;
    struct broken broken;
};

static uint32_t draw(struct world *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->seed >> 33) % n;
}

static struct job *job_of(struct share_item *i)
{
    return i ? (struct job *)((char *)i - offsetof(struct job, item)) : NULL;
}

static bool waits(const struct job *j)
{
    return j->item.state == SHARE_WAITING;
}

static bool holds(const struct job *j)
{
    return j->item.state == SHARE_RUNNING || j->item.state == SHARE_PROMISED;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void set(struct world *w, struct job *j, enum share_state to)
{
    bool was = j->item.state == SHARE_WAITING || j->item.state == SHARE_PROMISED;
    bool is = to == SHARE_WAITING || to == SHARE_PROMISED;
    if (was && !is)
        j->waited += w->round - j->since;
    if (is && !was)
        j->since = w->round;
    share_set(&w->share, &j->item, to, w->round);
}

static struct job *arrive(struct world *w, int client)
{
    struct job *j = calloc(1, sizeof *j);
    struct client *c = &w->clients[client];
    memset(&j->item, 0xa5, sizeof j->item);
    j->client = client;
    j->left = c->length / 2 + (int32_t)draw(w, (uint32_t)c->length + 1) + 1;
    j->came = w->round;
    j->next = w->jobs;
    w->jobs = j;
    w->n_arrived++;
    c->n_live++;
    share_add(&w->share, &j->item, 70 + (uint64_t)client * 1000,
              c->uses_priority ? (int32_t)draw(w, 21) - 10 : c->priority);
    set(w, j, SHARE_WAITING);
    return j;
}

static void give_up_slot(struct world *w, const struct job *j)
{
    if (j->item.state != SHARE_RUNNING)
        return;
    w->freed[1] += w->lag;
    w->n_running -= !w->lag;
}

static void leave(struct world *w, struct job **at)
{
    struct job *j = *at;
    give_up_slot(w, j);
    w->clients[j->client].n_live--;
    share_remove(&w->share, &j->item);
    *at = j->next;
    free(j);
}

/* ---- the judge ------------------------------------------------------------------------------- */

static void count(struct world *w)
{
    for (int c = 0; c < CLIENTS; c++)
        w->clients[c].n_waiting = w->clients[c].n_held = 0, w->clients[c].load = 0;
    for (const struct job *j = w->jobs; j; j = j->next) {
        struct client *c = &w->clients[j->client];
        c->n_waiting += waits(j);
        c->n_held += holds(j);
        c->load += holds(j) ? j->item.weight : 0;
    }
}

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Clients that wait and have none, then what each has, the most first. */
static void potential(struct world *w, uint64_t out[CLIENTS + 1])
{
    out[0] = 0;
    count(w);
    for (int c = 0; c < CLIENTS; c++) {
        out[0] += w->clients[c].n_waiting > 0 && w->clients[c].n_held == 0;
        out[c + 1] = w->clients[c].load;
    }
    qsort(out + 1, CLIENTS, sizeof *out, descending);
}

static bool is_less(const uint64_t *a, const uint64_t *b)
{
    for (int i = 0; i <= CLIENTS; i++) {
        if (a[i] != b[i])
            return a[i] < b[i];
    }
    return false;
}

/* Within a client the oldest is first, but for a higher one, as long as it has not waited enough.
 */
static void judge_order(struct world *w, const struct job *first)
{
    for (const struct job *j = w->jobs; j; j = j->next) {
        if (j->client != first->client || j == first || !waits(j) ||
            j->item.arrival > first->item.arrival)
            continue;
        int64_t levels = first->item.priority - j->item.priority;
        uint64_t waited = j->waited + w->round - j->since;
        w->broken.passed += levels <= 0 || waited >= (uint64_t)levels * SHARE_LEVEL_ROUNDS;
    }
}

static uint64_t heaviest_waiting(const struct world *w, int client)
{
    uint64_t most = 0;
    for (const struct job *j = w->jobs; j; j = j->next) {
        if (j->client == client && waits(j))
            most = MAX(most, j->item.weight);
    }
    return most;
}

static void judge_round(struct world *w)
{
    count(w);
    int waiting = 0;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        bool late = false, uneven = false;
        waiting += c->n_waiting;
        for (int k = 0; k < CLIENTS && c->n_waiting > 0; k++) {
            const struct client *other = &w->clients[k];
            if (k == i || other->n_held < 2)
                continue;
            late |= c->n_held == 0;
            uneven |= c->n_held > 0 && c->load + heaviest_waiting(w, i) < other->load;
        }
        c->late = late ? c->late + 1 : 0;
        c->uneven = uneven ? c->uneven + 1 : 0;
        w->broken.late += c->late > GETS_ONE_WITHIN;
        w->broken.uneven += c->uneven > GETS_ONE_WITHIN;
    }
    w->broken.idle += waiting > 0 && w->n_running < w->n_slots;
}

/* ---- a round --------------------------------------------------------------------------------- */

static struct job *next_job(struct world *w)
{
    struct job *best = NULL;
    if (w->policy != BY_ARRIVAL && w->policy != HIGHEST_FIRST)
        return job_of(share_next(&w->share, w->round));
    for (struct job *j = w->jobs; j; j = j->next) { /* newest first */
        if (waits(j) &&
            (!best || w->policy == BY_ARRIVAL || j->item.priority >= best->item.priority))
            best = j;
    }
    return best;
}

static struct job *next_claim(struct world *w, struct job **victim)
{
    struct share_item *v = NULL, *i = NULL;
    bool is_free = w->n_slots - w->n_running + w->freed[0] + w->freed[1] > w->share.n_promised;
    if (w->policy == AS_IT_IS || w->policy == HIGHEST_FIRST)
        i = share_claim(&w->share, is_free, w->round, &v);
    *victim = job_of(v);
    struct job *j = w->policy == CLAIM_ANY ? job_of(share_next(&w->share, w->round)) : job_of(i);
    for (struct job *k = w->jobs; w->policy == CLAIM_ANY && k && j && !*victim; k = k->next) {
        if (k->item.state == SHARE_RUNNING && k->client != j->client)
            *victim = k;
    }
    return j && waits(j) && (is_free || *victim) ? j : NULL;
}

static void schedule(struct world *w)
{
    struct job *j, *victim;
    for (;;) {
        while (w->n_running < w->n_slots && (j = next_job(w))) {
            if (waits(j))
                judge_order(w, j);
            if (j->waited == 0 && waits(j))
                w->clients[j->client].longest_wait =
                    MAX(w->clients[j->client].longest_wait, w->round - j->came);
            set(w, j, SHARE_RUNNING);
            w->n_running++;
        }
        j = next_claim(w, &victim);
        if (!j)
            return;
        if (!victim) {
            judge_order(w, j);
            set(w, j, SHARE_PROMISED);
            continue;
        }
        uint64_t before[CLIENTS + 1], after[CLIENTS + 1];
        potential(w, before);
        judge_order(w, j);
        give_up_slot(w, victim);
        set(w, victim, SHARE_WAITING);
        set(w, j, SHARE_PROMISED);
        potential(w, after);
        w->broken.apart += !is_less(after, before);
        w->n_claims++;
        if (w->policy == CLAIM_ANY)
            return; /* or it would not end */
    }
}

/* Jobs in slots go on by a round; some are cancelled or set aside, wherever they are. */
static void serve(struct world *w)
{
    for (struct job **at = &w->jobs; *at;) {
        struct job *j = *at;
        if (j->item.state == SHARE_RUNNING) {
            w->clients[j->client].tokens++;
            share_charge(&j->item, SHARE_TOKEN);
            j->left--;
        }
        if (j->stalled > 0 && --j->stalled == 0)
            set(w, j, SHARE_WAITING);
        bool over = j->left == 0 || (!w->quiet && draw(w, 2000) == 0);
        if (over) {
            leave(w, at);
            continue;
        }
        if (!w->quiet && j->item.state == SHARE_RUNNING && draw(w, 400) == 0) {
            give_up_slot(w, j);
            set(w, j, SHARE_IDLE);
            j->stalled = 1 + (int)draw(w, 50);
        }
        at = &j->next;
    }
}

static void play(struct world *w, bool arrivals)
{
    w->round++;
    w->n_running -= w->freed[0];
    w->freed[0] = w->freed[1];
    w->freed[1] = 0;
    for (int i = 0; arrivals && i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        while (c->n_live < c->live)
            arrive(w, i);
        if (c->live == 0 && c->length > 0 && draw(w, 40) == 0) {
            for (uint32_t n = draw(w, 4) == 0 ? draw(w, 30) : 1; n > 0; n--)
                arrive(w, i);
        }
    }
    schedule(w);
    judge_round(w);
    if (w->round % 16 == 0)
        assert_true(share_is_valid(&w->share));
    serve(w);
}

/* Nobody comes any more: all get to their end. */
static void finish(struct world *w)
{
    for (uint64_t last = w->round + 100000; w->jobs;) {
        play(w, false);
        assert_true(w->round < last);
    }
    assert_int_equal(w->share.n_waiting + w->share.n_promised + w->share.n_marked, 0);
    share_clear(&w->share);
}

static void assert_kept(const struct broken *b)
{
    assert_int_equal(b->late, 0);
    assert_int_equal(b->uneven, 0);
    assert_int_equal(b->apart, 0);
    assert_int_equal(b->passed, 0);
    assert_int_equal(b->idle, 0);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* A flood, a flood of short ones, some that always have a few, one that has one thing at a time,
 * and some that come in bursts. */
static struct world busy(uint64_t seed, enum policy policy, bool priorities)
{
    struct world w = {
        .seed = seed,
        .policy = policy,
        .clients = {{.live = 100, .length = 60},
                    {.live = 30, .length = 3},
                    {.live = 5, .length = 20},
                    {.live = 3, .length = 20},
                    {.live = 1, .length = 4},
                    {.length = 10},
                    {.length = 30},
                    {.length = 5}},
    };
    w.lag = (int)draw(&w, 2);
    w.n_slots = 1 + (int)draw(&w, SLOTS_MAX);
    for (int i = 0; i < CLIENTS; i++)
        w.clients[i].uses_priority = priorities && i % 2 == 0;
    return w;
}

static void test_random_days(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct world w = busy(11 + (uint64_t)i, AS_IT_IS, i % 2);
        while (w.n_arrived < 5000)
            play(&w, true);
        finish(&w);
        assert_kept(&w.broken);
    }
}

/* Four that always have something waiting, however long each of it is, and however much. */
static void test_shares(void **state)
{
    (void)state;
    for (int slots = 1; slots <= 11; slots++) {
        struct world w = {.seed = 5,
                          .n_slots = slots,
                          .quiet = true,
                          .clients = {{.live = 200, .length = 40},
                                      {.live = 20, .length = 40},
                                      {.live = 30, .length = 4},
                                      {.live = 60, .length = 90}}};
        while (w.round < 30000)
            play(&w, true);
        uint64_t least = UINT64_MAX, most = 0;
        for (int i = 0; i < 4; i++) {
            least = MIN(least, w.clients[i].tokens);
            most = MAX(most, w.clients[i].tokens);
        }
        assert_true((double)most < 1.1 * (double)least);
        finish(&w);
        assert_kept(&w.broken);
    }
}

/* Two who send a new request when they have an answer: two at a time, and forty. */
static void test_two_and_forty(void **state)
{
    (void)state;
    for (int slots = 4; slots <= 16; slots *= 2) {
        struct world w = {
            .seed = 6,
            .n_slots = slots,
            .lag = 1,
            .quiet = true,
            .clients = {{.live = slots / 2, .length = 40}, {.live = 40, .length = 40}}};
        while (w.round < 20000)
            play(&w, true);
        double ratio = (double)w.clients[0].tokens / (double)w.clients[1].tokens;
        assert_true(ratio > 0.8 && ratio < 1.25);
        assert_true(w.clients[0].longest_wait <= GETS_ONE_WITHIN);
        finish(&w);
        assert_kept(&w.broken);
    }
}

/* A priority weighs slots, and the lowest still gets its turn. */
static void test_priorities_weigh(void **state)
{
    (void)state;
    for (int slots = 1; slots <= 16; slots += 5) {
        struct world w = {.seed = 8,
                          .n_slots = slots,
                          .quiet = true,
                          .clients = {{.live = 40, .length = 30, .priority = 10},
                                      {.live = 40, .length = 30},
                                      {.live = 40, .length = 30, .priority = -10}}};
        while (w.round < 60000)
            play(&w, true);
        assert_true(w.clients[0].tokens > 3 * w.clients[1].tokens / 2);
        assert_true(w.clients[1].tokens >= w.clients[2].tokens);
        assert_true(w.clients[2].tokens > 100);
        finish(&w);
        assert_kept(&w.broken);
    }
}

/* Of one client: urgent ones at once, but who has waited enough is passed over no more. */
static void test_own_priorities(void **state)
{
    (void)state;
    struct world w = {.seed = 9, .n_slots = 2, .quiet = true, .clients = {{.length = 1000}}};
    struct job *slow[3];
    for (int i = 0; i < 3; i++) {
        w.clients[0].priority = -10;
        slow[i] = arrive(&w, 0);
    }
    play(&w, false);
    assert_true(holds(slow[0]) && holds(slow[1]));
    w.clients[0].priority = 10;
    struct job *urgent = arrive(&w, 0);
    for (int i = 0; i <= SHARE_CLAIM_ROUNDS; i++)
        play(&w, false);
    assert_true(holds(urgent) && holds(slow[0]) && waits(slow[1]));
    urgent->left = 1;
    play(&w, false);
    w.clients[0].length = 4;
    for (int i = 0; i < 400; i++) { /* urgent ones all the time */
        arrive(&w, 0);
        arrive(&w, 0);
        play(&w, false);
    }
    for (int i = 0; i < 3; i++) /* each gave way for 160 rounds at most */
        assert_true(slow[i]->waited <= 2 * 10 * SHARE_LEVEL_ROUNDS + 400 && slow[i]->left < 1400);
    assert_true(holds(slow[0]) && holds(slow[1]));
    assert_kept(&w.broken);
    finish(&w);
}

/* The judge sees each of these. */
static void test_wrong_policies(void **state)
{
    (void)state;
    for (int policy = BY_ARRIVAL; policy <= HIGHEST_FIRST; policy++) {
        struct world w = busy(31, (enum policy)policy, policy == HIGHEST_FIRST);
        w.n_slots = 12;
        w.clients[0].length = 500; /* nobody's slot is free soon by itself */
        w.clients[1].live = 0;
        while (w.n_arrived < 2000)
            play(&w, true);
        const struct broken *b = &w.broken;
        assert_true(policy == HIGHEST_FIRST ? b->passed > 0
                    : policy == CLAIM_ANY   ? b->apart > 0
                                            : b->late > 0);
        w.policy = AS_IT_IS;
        finish(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_days),    cmocka_unit_test(test_shares),
        cmocka_unit_test(test_two_and_forty),  cmocka_unit_test(test_priorities_weigh),
        cmocka_unit_test(test_own_priorities), cmocka_unit_test(test_wrong_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
