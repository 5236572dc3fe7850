#include "constraint.h"

#include <math.h>
#include <stdlib.h>

#define KEPT_MASKS_BYTES ((size_t)16 << 20)
#define FORCED_MAX 64 /* bytes that are looked ahead */

struct constraint {
    struct constraint_tables *tables;
    struct grammar *grammar;
    const struct sample_params *params;
    int32_t len, k_max;
    uint32_t words;
    enum { ROW_UNKNOWN, ROW_WAITS, ROW_READY, ROW_EMPTY } row; /* row 0 */
    bool open;                         /* it has all tokens but for the request's own bans */
    uint32_t *masks;                   /* (k_max + 1, words); NULL before the first round */
    struct grammar_state state, ahead; /* behind the committed text; behind drafted tokens */
};

void constraint_tables_init(struct constraint_tables *t, const struct tokenizer *tokenizer,
                            uint32_t n_vocab)
{
    t->tokenizer = tokenizer;
    token_trie_of(&t->trie, tokenizer, n_vocab);
    t->masks = grammar_masks_create(&t->trie, KEPT_MASKS_BYTES);
}

void constraint_tables_fini(struct constraint_tables *t)
{
    grammar_masks_free(t->masks);
    token_trie_fini(&t->trie);
}

static uint64_t work_done(const struct constraint_tables *t)
{
    struct grammar_masks_stats stats = grammar_masks_stats(t->masks);
    return stats.n_nodes + stats.n_steps;
}

void constraint_tables_renew(struct constraint_tables *t)
{
    t->work_before = work_done(t);
}

static bool budget_is_spent(const struct constraint_tables *t)
{
    return work_done(t) - t->work_before >= CONSTRAINT_WORK;
}

struct constraint *constraint_create(struct constraint_tables *t, struct grammar *g,
                                     const struct sample_params *params, int32_t k_max)
{
    struct constraint *c = xcalloc(1, sizeof *c);
    c->tables = t;
    c->grammar = grammar_ref(g);
    c->params = params;
    c->k_max = k_max;
    c->words = (uint32_t)mask_words((int32_t)t->trie.n_vocab);
    grammar_start(g, &c->state);
    return c;
}

void constraint_free(struct constraint *c)
{
    if (!c)
        return;
    grammar_unref(c->grammar);
    free(c->masks);
    free(c);
}

struct grammar *constraint_grammar(const struct constraint *c)
{
    return c->grammar;
}

const uint32_t *constraint_masks(const struct constraint *c)
{
    return c->masks;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool accept_token(const struct constraint *c, struct grammar_state *s, int32_t id)
{
    size_t len;
    const char *bytes = tokenizer_piece(c->tables->tokenizer, id, false, &len);
    if (len == 0)
        return grammar_is_free(c->grammar, s);
    return grammar_accept(c->grammar, s, bytes, len);
}

static bool is_end(const struct constraint *c, int32_t id)
{
    for (int32_t i = 0; i < c->params->n_ends; i++) {
        if (c->params->ends[i].id == id)
            return true;
    }
    return false;
}

bool constraint_is_over(const struct constraint *c)
{
    return grammar_is_over(&c->state);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static void set_bit(const struct constraint *c, uint32_t *row, int32_t id, bool on)
{
    uint32_t bit = 1u << (uint32_t)id % 32, *word = row + (uint32_t)id / 32;
    if ((uint32_t)id < c->tables->trie.n_vocab)
        *word = on ? *word | bit : *word & ~bit;
}

/* What the request takes away; the position is that of the token to come. */
static void apply_bans(const struct constraint *c, uint32_t *row, int32_t position)
{
    const struct sample_params *p = c->params;
    for (uint32_t i = 0; p->allowed && i < c->words; i++)
        row[i] &= p->allowed[i];
    for (int32_t i = 0; i < p->n_bias; i++) {
        if (p->bias[i] == -INFINITY)
            set_bit(c, row, p->bias_ids[i], false);
    }
    for (int32_t i = 0; i < p->n_ends; i++) {
        if (p->ends[i].from > position)
            set_bit(c, row, p->ends[i].id, false);
    }
}

/* The grammar's mask; whether it has all tokens. */
static bool is_open(const struct constraint *c, const struct grammar_state *s, uint32_t *row)
{
    return grammar_mask(c->tables->masks, c->grammar, s, row) == c->tables->trie.n_vocab;
}

/* Row i, for the text and i drafted tokens, behind which the automaton is in state s. The request's
 * own end tokens may come where the text may end, whatever they spell. Returns whether any token
 * may come. */
static bool find_row(struct constraint *c, const struct grammar_state *s, int32_t i)
{
    uint32_t *row = c->masks + (size_t)i * c->words, left = 0;
    bool open = is_open(c, s, row);
    c->open = i == 0 ? open : c->open;
    for (int32_t e = 0; e < c->params->n_ends && grammar_may_end(s); e++)
        set_bit(c, row, c->params->ends[e].id, true);
    apply_bans(c, row, c->len + i);
    for (uint32_t w = 0; w < c->words; w++)
        left |= row[w];
    return left != 0;
}

void constraint_find(struct constraint *c, int32_t len)
{
    if (c->row == ROW_READY || c->row == ROW_EMPTY)
        return;
    if (budget_is_spent(c->tables)) {
        c->row = ROW_WAITS;
        return;
    }
    if (!c->masks)
        c->masks = xcalloc((size_t)(c->k_max + 1) * c->words, sizeof *c->masks);
    c->len = len;
    c->row = find_row(c, &c->state, 0) ? ROW_READY : ROW_EMPTY;
}

bool constraint_is_ready(const struct constraint *c)
{
    return c->row == ROW_READY;
}

bool constraint_is_open(const struct constraint *c)
{
    return c->row == ROW_READY && c->open;
}

bool constraint_waits(const struct constraint *c)
{
    return c->row == ROW_WAITS;
}

bool constraint_is_stuck(const struct constraint *c)
{
    return c->row == ROW_EMPTY;
}

int32_t constraint_advance(struct constraint *c, const int32_t *ids, int32_t n, bool ends,
                           bool unmasked)
{
    int32_t i;
    c->row = ROW_UNKNOWN;
    for (i = 0; i < n; i++) {
        if (unmasked && i > 0 && !is_open(c, &c->state, c->masks))
            break;
        bool is_end = ends && i == n - 1 && grammar_may_end(&c->state);
        if (!is_end && !accept_token(c, &c->state, ids[i]))
            break;
    }
    return i;
}

int32_t constraint_cut(struct constraint *c, const int32_t *draft, int32_t n)
{
    int32_t i = 0;
    grammar_state_copy(&c->ahead, &c->state);
    while (i < MIN(n, c->k_max) &&
           (grammar_is_free(c->grammar, &c->ahead) || !is_end(c, draft[i])) &&
           accept_token(c, &c->ahead, draft[i]) && !grammar_is_over(&c->ahead))
        i++;
    return i;
}

int32_t constraint_forced(struct constraint *c, int32_t *out, int32_t max)
{
    char text[FORCED_MAX];
    size_t len = 0, at = 0, used;
    int32_t n = 0;
    int byte;
    grammar_state_copy(&c->ahead, &c->state);
    while (len < sizeof text && (byte = grammar_forced(c->grammar, &c->ahead)) >= 0) {
        text[len] = (char)byte;
        if (!grammar_accept(c->grammar, &c->ahead, text + len, 1))
            break;
        len++;
    }
    while (n < max && at < len &&
           (out[n] = token_trie_longest(&c->tables->trie, text + at, len - at, &used)) >= 0) {
        at += used;
        n++;
    }
    return n;
}

int32_t constraint_draft(struct constraint *c, const int32_t *draft, int32_t k, bool fixed)
{
    grammar_state_copy(&c->ahead, &c->state);
    for (int32_t i = 0; i < k; i++) {
        if (!fixed && budget_is_spent(c->tables))
            return i;
        if (!accept_token(c, &c->ahead, draft[i]) || !find_row(c, &c->ahead, i + 1))
            return i;
    }
    return k;
}
