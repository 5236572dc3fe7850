/*
 * What every device asks of slots and rounds: K, draft steps and the draft model's rows of
 * specd/round_rules.h against a round played token by token, staged slots, rounds that do not fit,
 * and every order of verbs.
 *
 * links: specd_base
 */
#include "specd/round_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B SPECD_BLOCK_TOKENS
#define CTX (8 * B)
#define VOCAB 40
#define SLOTS 3
#define K_MAX 3

static const struct device_setup setup = {.n_slots = SLOTS, .n_ctx = CTX, .k_max = K_MAX};

/* ---- rules ----------------------------------------------------------------------------------- */

static void test_k(void **state)
{
    struct round_seq seq = {0};
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct draft_limits limits = {rand() % (SPECD_K_MAX + 1), rand() % (SPECD_K_MAX + 1), VOCAB,
                                      rand() % 4 ? VOCAB : 0};
        int32_t len = 1 + rand() % 30, limit = len + rand() % 8, lag = 1 + rand() % 4, n_ids = 0;
        seq.k = rand() % (SPECD_K_MAX + 2) - 1;
        seq.source = rand() % 2 ? DRAFT_FROM_MODEL : DRAFT_FROM_HOST;
        for (int32_t k = 0; k < SPECD_K_MAX; k++)
            seq.host_draft[k] = rand() % 6 ? rand() % VOCAB : rand() % 2 ? -1 : VOCAB;
        while (n_ids < SPECD_K_MAX && seq.host_draft[n_ids] >= 0 && seq.host_draft[n_ids] < VOCAB)
            n_ids++;

        int32_t k = round_k(&seq, &limits, len, limit, len - lag), most = 0;
        bool none = seq.source == DRAFT_FROM_MODEL &&
                    (lag > SPECD_DRAFT_LAG_MAX || limits.n_vocab_draft == 0);
        for (int32_t want = 1; want <= seq.k && !none; want++) {
            if (want <= limits.k_max && len + want + 1 <= limit &&
                want <= (seq.source == DRAFT_FROM_MODEL ? limits.k_draft : n_ids))
                most = want;
        }
        assert_int_equal(k, most);
        assert_int_equal(round_k_recorded(DRAFT_FROM_HOST, k, 1), k);
        assert_int_equal(round_k_recorded(DRAFT_FROM_MODEL, k, 1), k < 1 ? k : 1);
    }
}

/* A text of numbers: what was committed, what was drafted behind it, what the draft model was fed
 * at each position. Its good rows are those before the first that is not of the text. */
static void test_draft_rows(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        int32_t text[64], fed[64], drafted[SPECD_K_MAX], rows = 0;
        int32_t len = 3 + rand() % 20, k = rand() % (SPECD_K_MAX + 1);
        int32_t had = len - 1 - rand() % SPECD_DRAFT_LAG_MAX;
        enum draft_source source = rand() % 4 ? DRAFT_FROM_MODEL : DRAFT_FROM_HOST;
        struct seq_result r = {.n_accepted = rand() % (k + 1)};
        r.n_tokens = rand() % 4 ? r.n_accepted + 1 : 1 + rand() % (r.n_accepted + 1);
        memset(fed, 0xff, sizeof(fed));
        for (int32_t p = 0; p < len; p++)
            text[p] = 1000 + p;
        for (int32_t j = 0; j < k; j++)
            drafted[j] = 2000 + j;

        memcpy(fed, text, (size_t)had * sizeof(fed[0]));
        for (int32_t step = 1; step_drafts(source, k, step); step++) {
            int32_t first = step_first_row(step, len, had);
            assert_true(step == 1 ? first == had : first == len - 2 + step);
            for (int32_t p = first; p <= len - 2 + step; p++)
                fed[p] = p < len ? text[p] : drafted[p - len];
        }
        for (int32_t j = 0; j < r.n_tokens; j++)
            text[len + j] = j < r.n_accepted ? drafted[j] : 3000;
        while (rows < len + r.n_tokens && fed[rows] == text[rows])
            rows++;
        rows = rows < len + r.n_tokens - 1 ? rows : len + r.n_tokens - 1;
        assert_int_equal(round_draft_rows(source, k, len, had, &r), rows);
    }
}

static void test_can_decode(void **state)
{
    (void)state;
    assert_true(slot_can_decode(1, 2, 0));
    assert_true(slot_can_decode(5, 9, 4));
    assert_false(slot_can_decode(0, 9, -1)); /* never set */
    assert_false(slot_can_decode(9, 9, 8));  /* full */
    assert_false(slot_can_decode(5, 9, 3));
    assert_false(slot_can_decode(5, 9, 5));
}

/* ---- slots ----------------------------------------------------------------------------------- */

struct stages {
    struct slot_shape shape;
    struct slot_stage at[SLOTS];
    int32_t tokens[CTX], blocks[8], bias_ids[SPECD_BIAS_MAX];
    float bias[SPECD_BIAS_MAX];
    uint32_t allowed[2], draft_ids[2];
};

/* Only slot 1 has arrays, filled with what is in no configuration. */
static void stages_make(struct stages *s)
{
    memset(s, 0xff, sizeof(*s));
    s->shape = slot_shape_of(&setup, VOCAB);
    memset(s->at, 0, sizeof(s->at));
    s->at[1].tokens = s->tokens;
    s->at[1].blocks = s->blocks;
    s->at[1].lists = (struct slot_lists){s->bias_ids, s->bias, s->allowed, s->draft_ids};
}

static void test_stage_config(void **state)
{
    static struct stages s;
    int32_t tokens[] = {5, 6, 7}, bias_ids[] = {0, VOCAB - 1};
    float bias[] = {1.0f, -2.0f};
    uint32_t allowed[] = {0x11, 0x22}, draft_ids[] = {0x33, 0x44};
    struct slot_config c = {
        .params = {.n_bias = 2,
                   .bias_ids = bias_ids,
                   .bias = bias,
                   .allowed = allowed,
                   .n_logprobs = SPECD_LOGPROBS_MAX},
        .tokens = tokens,
        .n_tokens = 3,
        .n_prompt = 2,
        .limit = CTX,
        .rows = {2, 1},
        .round = 7,
    };
    (void)state;
    stages_make(&s);
    assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &c), 0);
    tokens[0] = bias_ids[0] = -1; /* the caller's are his again */
    bias[1] = 9.0f;
    allowed[1] = 0;
    const struct slot_stage *at = &s.at[1];
    assert_true(at->is_set);
    assert_int_equal(at->config.rows[MODEL_DRAFT], 1);
    assert_int_equal(at->config.round, 7);
    assert_ptr_equal(at->config.tokens, s.tokens);
    assert_int_equal(s.tokens[0], 5);
    assert_int_equal(s.tokens[2], 7);
    assert_int_equal(s.tokens[3], -1);
    assert_int_equal(at->config.params.bias_ids[0], 0);
    assert_int_equal(at->config.params.bias_ids[1], VOCAB - 1);
    assert_true(at->config.params.bias[1] == -2.0f);
    assert_int_equal(at->config.params.allowed[1], 0x22);
    assert_false(s.at[0].is_set || s.at[2].is_set);

    tokens[0] = bias_ids[0] = 0;
    c.params.allowed = NULL; /* all ids are allowed: no list, whatever the room holds */
    assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &c), 0);
    assert_null(at->config.params.allowed);

    c.params.draft_ids = draft_ids; /* refused where there is no room */
    assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &c), SPECD_EINVAL);
    assert_int_equal(slot_draft_words(&s.shape), 0);
    s.shape.trims_draft = true;
    assert_int_equal(slot_draft_words(&s.shape), mask_words(VOCAB));
    assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &c), 0);
    draft_ids[0] = 0;
    assert_int_equal(at->config.params.draft_ids[0], 0x33);
    assert_int_equal(at->config.params.draft_ids[1], 0x44);
    c.params.draft_ids = NULL;
    assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &c), 0);
    assert_null(at->config.params.draft_ids);
}

#define WITH(...)                                                                   \
    {                                                                               \
        bad = ok;                                                                   \
        __VA_ARGS__;                                                                \
        stages_make(&s);                                                            \
        assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &bad), SPECD_EINVAL); \
        assert_false(s.at[1].is_set);                                               \
        assert_int_equal(s.tokens[0], -1);                                          \
    }

static void test_stage_config_that_does_not_fit(void **state)
{
    static struct stages s;
    int32_t tokens[] = {5, VOCAB, 7}, bias_ids[] = {1, -1};
    struct slot_config bad,
        ok = {.tokens = tokens,
              .n_tokens = 1,
              .n_prompt = 1,
              .limit = 2,
              .params = {.n_bias = 1, .bias_ids = bias_ids, .bias = (float[2]){0}}};
    (void)state;
    stages_make(&s);
    assert_int_equal(slot_stage_config(s.at, &s.shape, -1, &ok), SPECD_EINVAL);
    assert_int_equal(slot_stage_config(s.at, &s.shape, SLOTS, &ok), SPECD_EINVAL);
    assert_int_equal(slot_stage_config(s.at, &s.shape, 1, &ok), 0);
    WITH(bad.n_tokens = 0);
    WITH(bad.n_tokens = 2); /* its second token is no id */
    WITH(bad.tokens = tokens + 2, bad.n_tokens = bad.limit + 1);
    WITH(bad.limit = CTX + 1);
    WITH(bad.n_prompt = -1);
    WITH(bad.n_prompt = 2);
    WITH(bad.rows[MODEL_TARGET] = 1);
    WITH(bad.rows[MODEL_DRAFT] = 1);
    WITH(bad.rows[MODEL_DRAFT] = -1);
    WITH(bad.params.n_ends = SPECD_ENDS_MAX + 1);
    WITH(bad.params.n_bias = -1);
    WITH(bad.params.n_bias = 2);
    WITH(bad.params.n_bias = SPECD_BIAS_MAX + 1);
    WITH(bad.params.n_logprobs = SPECD_LOGPROBS_MAX + 1);
}

static void test_stage_blocks(void **state)
{
    static struct stages s;
    int32_t ids[] = {3, 0, 9, 10};
    (void)state;
    stages_make(&s);
    struct slot_stage *at = &s.at[1];
    assert_int_equal(s.shape.n_blocks, 8);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 0, 4, ids, 10, 0), SPECD_EINVAL);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 6, 3, ids, 10, 0), SPECD_EINVAL);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 9, 0, ids, 10, 0), SPECD_EINVAL);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, -1, 1, ids, 10, 0), SPECD_EINVAL);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 0, -1, ids, 10, 0), SPECD_EINVAL);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, SLOTS, 0, 1, ids, 10, 0), SPECD_EINVAL);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 2, 0, ids, 10, 0), 0);
    assert_int_equal(at->first_dirty, at->end_dirty);
    assert_int_equal(s.blocks[0], -1);

    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 5, 3, ids, 10, 0), 0);
    assert_int_equal(at->first_dirty, 5);
    assert_int_equal(at->end_dirty, 8);
    assert_int_equal(slot_stage_blocks(s.at, &s.shape, 1, 2, 1, ids, 10, 0), 0);
    assert_int_equal(at->first_dirty, 2);
    assert_int_equal(at->end_dirty, 8);
    assert_int_equal(s.blocks[2], 3);
    assert_int_equal(s.blocks[3], -1);
    assert_int_equal(s.blocks[7], 9);
}

static void test_params_count(void **state)
{
    const struct law_params plain = {.repetition = 1.0f};
    struct sample_params p = {.target = plain, .draft = plain};
    (void)state;
    assert_false(params_count(&p));
    p.draft.frequency = -0.5f;
    assert_true(params_count(&p));
    p.draft = plain;
    p.target.presence = 0.5f;
    assert_true(params_count(&p));
    p.target = plain;
    p.target.repetition = 1.1f;
    assert_true(params_count(&p));
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Slot 0 decodes, slot 1 is a prompt of 2 blocks without a row, slot 2 was never set. */
static struct slot_view views[SLOTS];
static int32_t tables[SLOTS][8];
static struct slot_shape shape;
static struct round_limits limits;

static struct slot_view view_of(const void *slots, int32_t slot)
{
    return ((const struct slot_view *)slots)[slot];
}

static void views_make(void)
{
    memset(tables, 0xff, sizeof(tables));
    memset(tables[0], 0, sizeof(tables[0]));
    tables[1][0] = tables[1][1] = 0;
    views[0] = (struct slot_view){tables[0], B + 2, B + 5, {B + 1, B}, 0, false};
    views[1] = (struct slot_view){tables[1], 2 * B, 4 * B, {0, 0}, -1, false};
    views[2] = (struct slot_view){.blocks = tables[2]};
    shape = slot_shape_of(&setup, VOCAB);
    limits = (struct round_limits){&shape, {true, true}, VOCAB};
}

static int check(const struct round *round, int32_t *k)
{
    int32_t all[SPECD_SLOTS_MAX];
    int rc = round_check(round, &limits, view_of, views, all);
    for (int32_t i = 0; rc == 0 && k && i < round->n_seqs; i++)
        k[i] = all[i];
    return rc;
}

static struct round round_of(struct round_chunk chunk)
{
    return (struct round){.chunks = {chunk}, .n_chunks = 1};
}

static void test_chunks(void **state)
{
    const struct round_chunk all = {1, MODEL_TARGET, 0, 2 * B - 1, false};
    struct round_chunk c = all;
    struct round r;
    (void)state;
    views_make();
    r = round_of(all);
    assert_int_equal(check(&r, NULL), 0);
    r.n_chunks = 2, r.chunks[1] = all;
    assert_int_equal(check(&r, NULL), SPECD_EINVAL); /* a slot and role twice */
    r.chunks[1].role = MODEL_DRAFT;
    assert_int_equal(check(&r, NULL), 0);
    limits.has_model[MODEL_DRAFT] = false;
    assert_int_equal(check(&r, NULL), SPECD_EINVAL);
    r.n_chunks = -1;
    assert_int_equal(check(&r, NULL), SPECD_EINVAL);
    r.n_chunks = 2 * SPECD_SLOTS_MAX + 1;
    assert_int_equal(check(&r, NULL), SPECD_EINVAL);

    const struct round_chunk bad[] = {
        {1, MODEL_TARGET, 0, 2 * B, false}, /* the last token belongs to a verify pass */
        {1, MODEL_TARGET, 1, 1, false},     /* not where the rows end */
        {1, MODEL_TARGET, -1, 1, false},    {1, MODEL_TARGET, 0, 0, false},
        {0, MODEL_TARGET, B + 1, 1, false}, /* nothing is left */
        {2, MODEL_TARGET, 0, 1, false},     /* never set */
        {3, MODEL_TARGET, 0, 1, false},     {-1, MODEL_TARGET, 0, 1, false},
        {1, MODEL_ROLES, 0, 1, false},      {1, MODEL_TARGET, 0, 1, true}, /* wants no scores */
        {0, MODEL_DRAFT, B, 1, true},                                      /* a draft has none */
    };
    limits.has_model[MODEL_DRAFT] = true;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        r = round_of(bad[i]);
        assert_int_equal(check(&r, NULL), SPECD_EINVAL);
    }
    tables[1][1] = -1;
    r = round_of(all);
    assert_int_equal(check(&r, NULL), SPECD_EINVAL); /* positions without a block */
    c.n = B;
    r = round_of(c);
    assert_int_equal(check(&r, NULL), 0);
}

/* Rows to be scored are counted over all chunks. */
static void test_scores(void **state)
{
    const int32_t half = SPECD_SCORE_ROWS / 2;
    struct round r = {.n_chunks = 2};
    (void)state;
    views_make();
    for (int32_t i = 0; i < 2; i++) {
        memset(tables[i], 0, sizeof(tables[i]));
        views[i] = (struct slot_view){tables[i], CTX, CTX, {0, 0}, 5, false};
        r.chunks[i] = (struct round_chunk){i, MODEL_TARGET, 0, half + i, true};
    }
    r.chunks[1].n = SPECD_SCORE_ROWS - half;
    assert_int_equal(check(&r, NULL), 0);
    r.chunks[1].n++;
    assert_int_equal(check(&r, NULL), SPECD_EINVAL);
    r.chunks[0].score = false;
    assert_int_equal(check(&r, NULL), 0);
}

static void test_seqs(void **state)
{
    const uint32_t masks[8] = {0};
    struct round r = {.seqs = {{.slot = 0, .k = 2}}, .n_seqs = 1};
    int32_t k[2] = {-1, -1};
    (void)state;
    views_make();
    assert_int_equal(check(&r, k), 0);
    assert_int_equal(k[0], 2);
    r.seqs[0].k = 9;
    assert_int_equal(check(&r, k), 0);
    assert_int_equal(k[0], 2); /* len + K + 1 <= limit */
    r.seqs[0].masks = masks;
    assert_int_equal(check(&r, k), SPECD_EINVAL); /* what the drafts will be is not known */
    r.seqs[0].k = 0;
    assert_int_equal(check(&r, k), 0);
    r.seqs[0].k = 9, r.seqs[0].source = DRAFT_FROM_HOST;
    assert_int_equal(check(&r, k), 0);
    r.seqs[0].masks = NULL, r.seqs[0].source = DRAFT_FROM_MODEL;

    r.n_seqs = 2, r.seqs[1] = r.seqs[0];
    assert_int_equal(check(&r, k), SPECD_EINVAL); /* twice */
    r.seqs[1].slot = 2;
    assert_int_equal(check(&r, k), SPECD_EINVAL); /* never set */
    r.seqs[1].slot = SLOTS;
    assert_int_equal(check(&r, k), SPECD_EINVAL);
    r.seqs[1].slot = 1;
    assert_int_equal(check(&r, k), SPECD_EINVAL); /* its prompt is not there */
    r.chunks[r.n_chunks++] = (struct round_chunk){1, MODEL_TARGET, 0, 2 * B - 1, false};
    assert_int_equal(check(&r, k), 0);
    assert_int_equal(k[1], 0); /* the draft model has no row */
    r.chunks[r.n_chunks++] = (struct round_chunk){1, MODEL_DRAFT, 0, 2 * B - 2, false};
    assert_int_equal(check(&r, k), SPECD_EINVAL); /* it catches up in this round: blocks for x~ */
    tables[1][2] = 0;
    assert_int_equal(check(&r, k), 0);
    assert_int_equal(k[1], K_MAX);

    tables[0][1] = -1;
    assert_int_equal(check(&r, k), SPECD_EINVAL);
    r.n_seqs = SLOTS + 1;
    assert_int_equal(check(&r, k), SPECD_EINVAL);
}

/* Of a slot that a round in flight extends, only what cannot change is asked. */
static void test_moving(void **state)
{
    struct round r = {.seqs = {{.slot = 0, .k = 9}}, .n_seqs = 1};
    int32_t k = -1;
    (void)state;
    views_make();
    views[0].is_moving = true;
    views[0].rows[MODEL_DRAFT] = 0; /* may have caught up */
    tables[0][1] = -1;              /* checked when it runs */
    assert_int_equal(check(&r, &k), 0);
    assert_int_equal(k, 2);
    r.chunks[r.n_chunks++] = (struct round_chunk){0, MODEL_DRAFT, 1, 2, false};
    assert_int_equal(check(&r, &k), 0);
    r.chunks[0].n = B; /* into the block that is none */
    assert_int_equal(check(&r, &k), SPECD_EINVAL);
    tables[0][1] = 0;
    r.chunks[0].n = B + 5; /* past the limit */
    assert_int_equal(check(&r, &k), SPECD_EINVAL);
    r.n_chunks = 0;
    views[0].len = 0;
    assert_int_equal(check(&r, &k), SPECD_EINVAL);
}

/* ---- verbs ----------------------------------------------------------------------------------- */

/* Prompt rows of either model, draft steps and their draws, verify rows and verify. */
#define VERBS "TP12abRV"

static int record(struct round_record *r, char verb)
{
    switch (verb) {
    case 'T':
        return round_record_forward(r, MODEL_TARGET, ROWS_PROMPT, 0);
    case 'P':
        return round_record_forward(r, MODEL_DRAFT, ROWS_PROMPT, 0);
    case '1':
    case '2':
        return round_record_forward(r, MODEL_DRAFT, ROWS_STEP, verb - '0');
    case 'a':
    case 'b':
        return round_record_draw(r, verb - 'a' + 1);
    case 'R':
        return round_record_forward(r, MODEL_TARGET, ROWS_VERIFY, 0);
    default:
        return round_record_verify(r);
    }
}

/* Whether `verb` may follow the verbs in `done`. */
static bool may_follow(const char *done, char verb)
{
    char last = *done ? done[strlen(done) - 1] : '\0';
    bool has_a = strchr(done, 'a'), has_b = strchr(done, 'b');
    switch (verb) {
    case 'a':
        return last == '1';
    case 'b':
        return last == '2';
    case 'V':
        return last == 'R';
    case '1':
        return !has_a && !strchr(done, 'V');
    case '2':
        return has_a && !has_b && !strchr(done, 'V');
    default:
        return !strchr(done, 'V');
    }
}

static void test_every_order(void **state)
{
    struct round round = {.n_seqs = 1, .n_chunks = 1, .chunks = {{.role = MODEL_DRAFT}}};
    int n_ends = 0;
    (void)state;
    views_make();
    for (int order = 0; order < 8 * 8 * 8 * 8 * 8 * 8; order++) {
        struct round_record r;
        char done[8] = "";
        round_record_begin(&r, &round, &limits);
        for (int i = 0, rest = order; i < 6; i++, rest /= 8) {
            char verb = VERBS[rest % 8];
            bool may = may_follow(done, verb);
            assert_int_equal(record(&r, verb), may ? 0 : SPECD_EINVAL);
            if (may)
                done[strlen(done)] = verb;
        }
        bool complete = strchr(done, 'V') && strchr(done, 'P');
        assert_int_equal(r.n_steps, strchr(done, 'b') ? 2 : strchr(done, 'a') ? 1 : 0);
        assert_int_equal(round_record_end(&r), complete ? 0 : SPECD_EINVAL);
        assert_int_equal(round_record_end(&r), SPECD_EINVAL);
        n_ends += complete;
    }
    assert_true(n_ends > 0);
}

static void test_record(void **state)
{
    struct round_record r = {.active = false};
    struct round round = {.n_seqs = 0};
    (void)state;
    views_make();
    assert_int_equal(record(&r, 'T'), SPECD_EINVAL); /* none was begun */
    assert_int_equal(round_record_end(&r), SPECD_EINVAL);
    round_record_begin(&r, &round, &limits);
    assert_int_equal(round_record_forward(&r, MODEL_TARGET, ROWS_STEP, 1), SPECD_EINVAL);
    assert_int_equal(round_record_forward(&r, MODEL_DRAFT, ROWS_VERIFY, 0), SPECD_EINVAL);
    assert_int_equal(round_record_forward(&r, MODEL_ROLES, ROWS_PROMPT, 0), SPECD_EINVAL);
    assert_int_equal(round_record_end(&r), 0); /* an empty round */

    limits.has_model[MODEL_DRAFT] = false;
    round_record_begin(&r, &round, &limits);
    assert_int_equal(record(&r, 'P'), SPECD_EINVAL);
    limits.has_model[MODEL_DRAFT] = true;
    round_record_begin(&r, &round, &limits);
    for (int step = 1; step <= SPECD_K_MAX; step++) {
        assert_int_equal(round_record_forward(&r, MODEL_DRAFT, ROWS_STEP, step), 0);
        assert_int_equal(round_record_draw(&r, step), 0);
    }
    assert_int_equal(round_record_forward(&r, MODEL_DRAFT, ROWS_STEP, SPECD_K_MAX + 1),
                     SPECD_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_k),
        cmocka_unit_test(test_draft_rows),
        cmocka_unit_test(test_can_decode),
        cmocka_unit_test(test_stage_config),
        cmocka_unit_test(test_stage_config_that_does_not_fit),
        cmocka_unit_test(test_stage_blocks),
        cmocka_unit_test(test_params_count),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_seqs),
        cmocka_unit_test(test_moving),
        cmocka_unit_test(test_every_order),
        cmocka_unit_test(test_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
