/*
 * Clients share slots: one that comes while another has more than its share gets one within eight
 * rounds, where slots are short and where blocks are, and whoever gave way says what it would have
 * said alone, token for token.
 *
 * labels: hostile exact
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#ifdef SPECD_HOSTILE
#define PROMPT 9
#define LONG_PROMPT 21 /* two of these leave no room in BLOCKS */
#define LONG 16        /* tokens of who gives way, */
#define SHORT 6        /* and of who comes */
#define BLOCKS 16      /* all that there is, whatever the pool's size */
#define POOL (1u << 20)
#define SHORT_OF_BLOCKS true /* so that the crowd loses its slots without the guests */
#else
#define PROMPT 37
#define LONG_PROMPT 201
#define LONG 200
#define SHORT 12
#define BLOCKS 30
#define POOL 1u /* what BLOCKS take is more */
#define SHORT_OF_BLOCKS false
#endif
#define CROWD 6 /* of one client */
#define GUESTS 3
#define WITHIN 8 /* rounds */

struct setting {
    const char *name;
    enum mode_choice mode;
    int k; /* fixed; -1: adapt */
    float temperature;
};

static const struct setting settings[] = {
    {"plain", MODE_RATIO, 0, 0.0f},      {"greedy", MODE_AUTO, -1, 0.0f},
    {"ratio", MODE_RATIO, 3, 1.0f},      {"block", MODE_BLOCK, 2, 1.1f},
    {"coupled", MODE_COUPLED, -1, 1.0f},
};

/* The crowd goes slowly until all guests are ready to run, so that it is there when they come. */
static struct request *_Atomic guests[GUESTS];
static atomic_int n_awaited; /* of them */
static atomic_int n_naps;    /* for them */
static void (*deliver)(struct request *req, void *arg);

static bool is_ready(struct request *req)
{
    pthread_mutex_lock(&req->output.lock);
    bool ready = req->output.stats.n_prompt > 0;
    pthread_mutex_unlock(&req->output.lock);
    return ready;
}

static void deliver_slowly(struct request *req, void *arg)
{
    bool all_ready = true;
    for (int i = 0; i < atomic_load(&n_awaited); i++) {
        struct request *guest = atomic_load(&guests[i]);
        all_ready &= guest && is_ready(guest);
    }
    if (!all_ready) /* longer and longer, so that a busy machine is not too slow for the guests */
        usleep(50000u << MIN(atomic_fetch_add(&n_naps, 1) / 8, 5));
    deliver(req, arg); /* when it is the last, the guests may be gone afterwards */
}

static struct request *ask(const struct setting *s, uint32_t prompt, int32_t n_prompt,
                           uint64_t client, int32_t n)
{
    struct request *req = prompt_request(prompt, n_prompt, n, true);
    req->params.law.temperature = s->temperature;
    req->params.has_seed = true;
    req->params.seed = 900 + prompt;
    req->params.spec.mode = s->mode;
    req->params.spec.fixed = s->k;
    req->client = client;
    return req;
}

static struct request *crowd_request(const struct setting *s, int i, int32_t n_prompt)
{
    struct request *req = ask(s, (uint32_t)i, n_prompt, 1, LONG);
    if (!deliver)
        deliver = req->on_output;
    req->on_output = deliver_slowly;
    return req;
}

/* Guests are of clients of their own, but the last, which is another choice of the one before. */
static struct request *guest_request(const struct setting *s, int i)
{
    struct request *req = ask(s, 20 + (uint32_t)MIN(i, 1), PROMPT, 2 + (uint64_t)MIN(i, 1), SHORT);
    req->params.seed += i == 2;
    if (i == 2) {
        req->parent = guests[1];
        request_ref(guests[1]);
    }
    return req;
}

static struct engine_config config_of(const struct setting *s)
{
    struct engine_config c = test_config("target");
    if (s->k != 0) {
        c.drafters[0] = DRAFT_LOOKUP;
        c.drafters[1] = DRAFT_MODEL;
        c.n_drafters = 2;
        c.draft_path = model_path("draft");
    }
    c.n_ctx = 512;
    return c;
}

static void answers_alone(const struct setting *s, int32_t n_prompt, struct tokens *crowd,
                          struct tokens *others)
{
    struct engine_config c = config_of(s);
    struct engine *e = engine_start(&c);
    for (int i = 0; i < CROWD; i++)
        generate(e, crowd_request(s, i, n_prompt), &crowd[i]);
    for (int i = 0; i < GUESTS; i++) {
        struct request *req = guest_request(s, MIN(i, 1));
        req->params.seed += i == 2;
        generate(e, req, &others[i]);
    }
    engine_close(e);
}

/* A crowd of n that has what there is, then the guests. */
static void check_shares(const struct setting *s, const struct engine_config *c, int n,
                         int32_t n_prompt, const struct tokens *alone,
                         const struct tokens *alone_guests)
{
    struct engine *e = engine_start(c);
    struct request *crowd[CROWD];
    assert_true(c->kv_bytes == 0 || engine_info(e)->n_blocks == BLOCKS);
    struct engine_stats stats;
    struct tokens got;
    atomic_store(&n_naps, 0);
    atomic_store(&n_awaited, GUESTS);
    for (int i = 0; i < n; i++)
        request_submit(e, crowd[i] = crowd_request(s, i, n_prompt));
    for (int i = 0; i < MIN(n, c->n_slots); i++)
        request_wait_tokens(crowd[i], 1);
    hold_outputs(true);
    for (int i = 0; i < GUESTS; i++)
        guests[i] = guest_request(s, i);
    for (int i = 0; i < GUESTS; i++)
        request_submit(e, guests[i]);
    hold_outputs(false);
    for (int i = 0; i < n; i++)
        request_wait(crowd[i]);
    for (int i = 0; i < GUESTS; i++)
        request_wait(guests[i]);
    atomic_store(&n_awaited, 0);
    engine_stats(e, &stats);
    if (!SHORT_OF_BLOCKS)
        assert_true(stats.preemptions_share > 0);
    for (int i = 0; i < n; i++) {
        request_tokens(crowd[i], &got);
        assert_same_tokens(&alone[i], &got, s->name);
    }
    for (int i = 0; i < GUESTS; i++) {
        struct request *req = guests[i];
        guests[i] = NULL;
        request_tokens(req, &got);
        assert_same_tokens(&alone_guests[i], &got, s->name);
        if (i < 2 && !SHORT_OF_BLOCKS) /* the third has no claim to a second slot of its client */
            assert_in_range(got.stats.waited_rounds, 1, WITHIN);
    }
    engine_close(e);
}

static void test_slots(void **state)
{
    static struct tokens alone[CROWD], alone_guests[GUESTS];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        struct engine_config c = config_of(&settings[i]);
        answers_alone(&settings[i], PROMPT, alone, alone_guests);
        c.n_slots = 4;
        check_shares(&settings[i], &c, CROWD, PROMPT, alone, alone_guests);
    }
}

/* Slots for all, and a pool that two of the crowd nearly fill with their prompts. */
static void test_blocks(void **state)
{
    static struct tokens alone[CROWD], alone_guests[GUESTS];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        struct engine_config c = config_of(&settings[i]);
        uint64_t token_bytes = settings[i].k == 0 ? 768 : 1024; /* K and V of all layers */
        answers_alone(&settings[i], LONG_PROMPT, alone, alone_guests);
        c.n_slots = 8;
        c.n_ctx = BLOCKS * SPECD_BLOCK_TOKENS;
        c.kv_bytes = POOL + BLOCKS * SPECD_BLOCK_TOKENS * token_bytes;
        check_shares(&settings[i], &c, 2, LONG_PROMPT, alone, alone_guests);
    }
}

/* Of one client, on one slot: who is urgent goes ahead, and who gave way goes on. */
static void test_priority(void **state)
{
    static struct tokens alone[CROWD], alone_guests[GUESTS];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        const struct setting *s = &settings[i];
        struct engine_config c = config_of(s);
        struct engine_stats stats;
        struct tokens got;
        answers_alone(s, PROMPT, alone, alone_guests);
        c.n_slots = 1;
        struct engine *e = engine_start(&c);
        struct request *slow = crowd_request(s, 0, PROMPT), *urgent = ask(s, 20, PROMPT, 1, SHORT);
        slow->priority = -3;
        urgent->priority = 4;
        atomic_store(&n_naps, 0);
        atomic_store(&n_awaited, 1);
        request_submit(e, slow);
        request_wait_tokens(slow, 1);
        hold_outputs(true);
        guests[0] = urgent;
        request_submit(e, urgent);
        hold_outputs(false);
        request_wait(slow);
        request_wait(urgent);
        atomic_store(&n_awaited, 0);
        guests[0] = NULL;
        request_tokens(urgent, &got);
        assert_same_tokens(&alone_guests[0], &got, s->name);
        if (!SHORT_OF_BLOCKS)
            assert_in_range(got.stats.waited_rounds, 1, WITHIN);
        request_tokens(slow, &got);
        assert_same_tokens(&alone[0], &got, s->name);
        engine_stats(e, &stats);
        assert_true(stats.preemptions_share == 1 || SHORT_OF_BLOCKS);
        engine_close(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_priority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
