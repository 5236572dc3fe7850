#include "grammar/mask.h"

#include "grammar/chars.h"
#include "grammar/network.h"

#include <stdlib.h>
#include <string.h>

#define WORTH_KEEPING 2000 /* nodes walked: about 50 us */
#define WAYS 4             /* places in which a mask may be kept */
#define STEPS_MAX 1500000  /* stacks moved on for one mask: about 50 ms */

struct kept_mask {
    uint64_t grammar, hash, used; /* grammar 0: empty */
    uint32_t n_allowed;
    struct grammar_state state;
};

/* What a walk knows after the bytes down to some depth. While there is one stack, and only its head
 * changes, because it is inside a string or goes from one reading node to the next, that head is
 * enough: the state is then that of depth `base` with this head in place of its own. */
struct level {
    bool light;
    uint8_t sub;
    uint16_t base;
    uint32_t node, count;
};

struct grammar_masks {
    const struct token_trie *trie;
    uint32_t words;
    struct kept_mask *kept;
    uint32_t *kept_bits; /* (n_sets * WAYS, words) */
    size_t n_sets;
    uint64_t clock;
    struct grammar_masks_stats stats;
    struct grammar_state *states; /* (longest + 1) by bytes read */
    struct level *levels;         /* likewise */
    struct set_room *rooms;       /* likewise, where a level's own state has a WORD at its head */
    uint64_t steps;               /* of this mask */
};

struct grammar_masks *grammar_masks_create(const struct token_trie *trie, size_t cache_bytes)
{
    struct grammar_masks *m = xcalloc(1, sizeof *m);
    m->trie = trie;
    m->words = (uint32_t)mask_words((int32_t)trie->n_vocab);
    m->states = xmalloc((trie->longest + 1) * sizeof *m->states);
    m->levels = xmalloc((trie->longest + 1) * sizeof *m->levels);
    m->rooms = xmalloc((trie->longest + 1) * sizeof *m->rooms);
    m->n_sets = cache_bytes / (WAYS * (sizeof *m->kept + m->words * sizeof(uint32_t)));
    if (m->n_sets > 0) {
        m->kept = xcalloc(m->n_sets * WAYS, sizeof *m->kept);
        m->kept_bits = xmalloc((m->n_sets * WAYS * m->words + 1) * sizeof(uint32_t));
    }
    return m;
}

void grammar_masks_free(struct grammar_masks *m)
{
    if (!m)
        return;
    free(m->kept);
    free(m->kept_bits);
    free(m->states);
    free(m->levels);
    free(m->rooms);
    free(m);
}

struct grammar_masks_stats grammar_masks_stats(const struct grammar_masks *m)
{
    return m->stats;
}

/* ---- walk ------------------------------------------------------------------------------------ */

static void find_level(struct grammar_masks *m, const struct grammar *g, uint32_t depth)
{
    const struct grammar_state *s = &m->states[depth];
    const struct grammar_frame *head = &s->frames[s->n_heads ? s->heads[0] : 0];
    struct level *l = &m->levels[depth];
    l->light = s->n_heads == 1 && g->nodes[head->node].kind != NODE_SPACE;
    if (!l->light)
        return;
    *l = (struct level){true, head->sub, (uint16_t)depth, head->node, head->count};
    if (g->nodes[head->node].kind == NODE_WORD)
        m->rooms[depth] = set_room(g, &s->frames[head->parent]);
}

/* Along the tree of a set's words, and into the string that a name becomes which is none: as
 * read_edge. */
static int read_in_word(const struct grammar *g, const struct level *from, struct set_room room,
                        uint8_t byte, struct level *to)
{
    uint8_t sub = from->sub;
    uint32_t next = word_next(g, &g->nodes[from->node], room, byte, &sub);
    const struct node *node = &g->nodes[next];
    if (next == NODE_OF_NOTHING)
        return 0;
    if (node->kind != NODE_STRING && (node->kind != NODE_WORD || g->places[node->body].bit >= 0))
        return -1;
    *to = *from;
    to->node = next;
    to->sub = sub;
    to->count = node->kind == NODE_STRING && node->hashed ? leaving_hash(from->node, byte) : 0;
    return 1;
}

/* Along the edges of a node: 1 if a single one leads to a node that reads edges as well, in *to; 0
 * if none fits; -1 if it takes a step of the whole state. */
static int read_edge(const struct grammar *g, const struct level *from, uint8_t byte,
                     uint8_t height_left, struct level *to)
{
    const struct node *node = &g->nodes[from->node];
    const struct edge *e = &g->edges[node->edges], *found = NULL;
    for (uint32_t i = 0; i < node->n; i++) {
        if (byte < e[i].lo || e[i].hi < byte)
            continue;
        if (found)
            return -1;
        found = &e[i];
    }
    if (!found || g->nodes[found->to].height > height_left)
        return 0;
    if (g->nodes[found->to].kind != NODE_BYTES)
        return -1;
    *to = *from;
    to->node = found->to;
    if (node->hashed)
        to->count = name_hash(from->count, byte);
    return 1;
}

/* Gives the head of a light level a state of its own at that depth. */
static void make_state(struct grammar_masks *m, uint32_t depth)
{
    const struct level *l = &m->levels[depth];
    if (!l->light || l->base == depth)
        return;
    struct grammar_state *s = &m->states[depth];
    grammar_state_copy(s, &m->states[l->base]);
    struct grammar_frame *head = &s->frames[s->heads[0]];
    head->node = l->node;
    head->sub = l->sub;
    head->count = l->count;
}

/* Along what is watched: as read_edge. */
static int read_in_watched(const struct grammar *g, const struct level *from, uint8_t byte,
                           uint8_t height_left, struct level *to)
{
    uint32_t next = watch_next(&g->nodes[from->node], g->edges, byte);
    if (g->nodes[next].height > height_left)
        return 0;
    if (g->nodes[next].kind != NODE_WATCH)
        return -1;
    *to = *from;
    to->node = next;
    return 1;
}

static bool read_byte(struct grammar_masks *m, const struct grammar *g, uint32_t depth,
                      uint8_t byte)
{
    struct level *l = &m->levels[depth];
    if (l->light) {
        const struct grammar_state *base = &m->states[l->base];
        const struct node *node = &g->nodes[l->node];
        int read = -1;
        if (node->kind == NODE_STRING) {
            if (!(l->sub == CHARS_WHOLE && byte == '"')) {
                uint8_t sub = l->sub;
                uint32_t count = l->count;
                if (!string_next(node, &sub, &count, byte))
                    return false;
                l[1] = (struct level){true, sub, l->base, l->node, count};
                return true;
            }
        } else if (node->kind == NODE_BYTES || node->kind == NODE_WATCH) {
            uint8_t left = GRAMMAR_STACK_MAX - 1 - base->frames[base->heads[0]].depth;
            read = node->kind == NODE_BYTES ? read_edge(g, l, byte, left, l + 1)
                                            : read_in_watched(g, l, byte, left, l + 1);
        } else {
            read = read_in_word(g, l, m->rooms[l->base], byte, l + 1);
        }
        if (read >= 0)
            return read == 1;
        make_state(m, depth);
    }
    m->steps += m->states[depth].n_heads;
    if (!grammar_step(g, &m->states[depth], byte, &m->states[depth + 1]))
        return false;
    find_level(m, g, depth + 1);
    return true;
}

/* Whether the level is in a text that is watched, and no token can come to what is watched for that
 * has at most so many bytes more. */
static bool all_may_come(const struct grammar *g, const struct level *l, unsigned bytes)
{
    const struct node *node = l->light ? &g->nodes[l->node] : NULL;
    return node && node->kind == NODE_WATCH && bytes < MIN(node->left, TOKEN_TRIE_BELOW_MAX);
}

/* The tokens of a node and all below it. */
static void set_subtree(const struct token_tree *tree, uint32_t i, bool may, uint32_t *allowed)
{
    const struct trie_node *node = &tree->nodes[i], *last = &tree->nodes[node->skip - 1];
    for (uint32_t k = node->first; k < last->first + last->n_ids; k++) {
        uint32_t bit = 1u << tree->ids[k] % 32, *word = &allowed[tree->ids[k] / 32];
        *word = may ? *word | bit : *word & ~bit;
    }
}

/* `given` is what the bits of the tokens are now. Where many stacks go along with most tokens, a
 * walk to the end would take seconds. One that has taken too long goes no deeper: what is left are
 * short tokens, which still spell every text. */
static void walk(struct grammar_masks *m, const struct grammar *g, const struct token_tree *tree,
                 uint32_t i, uint32_t end, bool given, uint32_t *allowed)
{
    uint64_t visits = 0;
    for (; i < end; visits++) {
        const struct trie_node *node = &tree->nodes[i];
        const struct level *level = &m->levels[node->depth + 1];
        bool may = read_byte(m, g, node->depth, node->byte);
        if (!may || all_may_come(g, level, node->below)) {
            if (may != given)
                set_subtree(tree, i, may, allowed);
            i = node->skip;
            continue;
        }
        for (uint32_t k = node->first; k < node->first + node->n_ids && !given; k++)
            allowed[tree->ids[k] / 32] |= 1u << tree->ids[k] % 32;
        if (m->steps < STEPS_MAX) {
            i++;
            continue;
        }
        for (uint32_t k = i + 1; k < node->skip && given; k = tree->nodes[k].skip)
            set_subtree(tree, k, false, allowed);
        i = node->skip;
    }
    m->stats.n_nodes += visits;
}

/* The plain tokens that an open string lets through, when that settles all plain tokens: a stack
 * that takes every one of them, or the only stack. */
static bool allow_plain(struct grammar_masks *m, const struct grammar *g,
                        const struct grammar_state *s, uint32_t *allowed)
{
    const struct token_trie *t = m->trie;
    for (uint16_t i = 0; i < s->n_heads; i++) {
        const struct grammar_frame *f = &s->frames[s->heads[i]];
        const struct node *node = &g->nodes[f->node];
        if (node->kind != NODE_STRING || f->sub != CHARS_WHOLE)
            continue;
        uint32_t room = node->max - f->count;
        if (node->hashed || room >= t->plain_longest) {
            memcpy(allowed, t->plain, m->words * sizeof *allowed);
            return true;
        }
        if (s->n_heads > 1)
            continue;
        for (uint32_t k = 0; k < t->plain_upto[room]; k++)
            allowed[t->plain_ids[k] / 32] |= 1u << t->plain_ids[k] % 32;
        return true;
    }
    return false;
}

/* A name may be any string but for what the tree of words says: plain tokens fit, except that those
 * that begin as a word goes on are walked. */
static bool allow_names(struct grammar_masks *m, const struct grammar *g,
                        const struct grammar_state *s, uint32_t *allowed)
{
    const struct token_tree *all = &m->trie->all;
    const struct grammar_frame *f = &s->frames[s->n_heads ? s->heads[0] : 0];
    const struct node *node = &g->nodes[f->node];
    uint8_t sub;
    if (s->n_heads != 1 || node->kind != NODE_WORD || g->places[node->body].sub != CHARS_WHOLE)
        return false;
    struct set_room room = set_room(g, &s->frames[f->parent]);
    if (!word_may_leave(g, node, room))
        return false;
    memcpy(allowed, m->trie->plain, m->words * sizeof *allowed);
    for (uint32_t i = 0; i < all->n_nodes; i = all->nodes[i].skip) {
        uint32_t to = word_next(g, node, room, all->nodes[i].byte, &sub);
        if (to != NODE_OF_NOTHING && g->nodes[to].kind != NODE_WORD)
            continue;
        set_subtree(all, i, false, allowed);
        if (to != NODE_OF_NOTHING)
            walk(m, g, all, i, all->nodes[i].skip, false, allowed);
    }
    return true;
}

/* In watched text every token fits that does not come to what is watched for: of the others all
 * bytes are followed. */
static bool allow_watched(struct grammar_masks *m, const struct grammar *g,
                          const struct grammar_state *s, uint32_t *allowed)
{
    const struct token_trie *t = m->trie;
    bool is_free = grammar_is_free(g, s), is_light = m->levels[0].light;
    if (!is_free && !(is_light && g->nodes[m->levels[0].node].kind == NODE_WATCH))
        return false;
    if (is_free) {
        memset(allowed, 0xFF, m->words * sizeof *allowed);
        if (t->n_vocab % 32)
            allowed[m->words - 1] = (1u << t->n_vocab % 32) - 1;
        walk(m, g, &t->unused, 0, t->unused.n_nodes, true, allowed);
    } else {
        memcpy(allowed, t->spelled, m->words * sizeof *allowed);
    }
    walk(m, g, &t->all, 0, t->all.n_nodes, true, allowed);
    for (uint32_t i = 0; i < t->n_too_long && is_free; i++) {
        const struct token_bytes *token = &t->too_long[i];
        grammar_state_copy(&m->states[0], s);
        if (!grammar_accept(g, &m->states[0], token->data, token->len))
            allowed[token->id / 32] &= ~(1u << token->id % 32);
    }
    return true;
}

static uint32_t count_bits(const uint32_t *bits, uint32_t words)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < words; i++)
        n += (uint32_t)__builtin_popcount(bits[i]);
    return n;
}

static uint32_t find_mask(struct grammar_masks *m, const struct grammar *g,
                          const struct grammar_state *s, uint32_t *allowed)
{
    const struct token_trie *t = m->trie;
    memset(allowed, 0, m->words * sizeof *allowed);
    m->steps = 0;
    grammar_state_copy(&m->states[0], s);
    find_level(m, g, 0);
    if (!allow_watched(m, g, s, allowed)) {
        bool plain_done = allow_plain(m, g, s, allowed) || allow_names(m, g, s, allowed);
        const struct token_tree *tree = plain_done ? &t->others : &t->all;
        walk(m, g, tree, 0, tree->n_nodes, false, allowed);
    }
    m->stats.n_steps += m->steps;
    for (uint32_t i = 0; i < t->n_ends && s->may_end; i++)
        if (t->ends[i] >= 0 && (uint32_t)t->ends[i] < t->n_vocab)
            allowed[t->ends[i] / 32] |= 1u << t->ends[i] % 32;
    return count_bits(allowed, m->words);
}

/* ---- kept masks ------------------------------------------------------------------------------ */

/* The place of the mask if it is kept; else the one to keep it in, and *found false. */
static size_t find_place(struct grammar_masks *m, const struct grammar *g,
                         const struct grammar_state *s, uint64_t hash, bool *found)
{
    size_t first = hash % m->n_sets * WAYS, oldest = first;
    *found = true;
    for (size_t i = first; i < first + WAYS; i++) {
        const struct kept_mask *k = &m->kept[i];
        if (k->grammar == g->id && k->hash == hash && grammar_state_equal(&k->state, s))
            return i;
        if (k->used < m->kept[oldest].used)
            oldest = i;
    }
    *found = false;
    return oldest;
}

uint32_t grammar_mask(struct grammar_masks *m, const struct grammar *g,
                      const struct grammar_state *s, uint32_t *allowed)
{
    uint64_t before = m->stats.n_nodes, hash = grammar_state_hash(s) ^ g->id;
    m->stats.n_masks++;
    if (m->n_sets == 0)
        return find_mask(m, g, s, allowed);
    bool found;
    size_t place = find_place(m, g, s, hash, &found);
    struct kept_mask *k = &m->kept[place];
    uint32_t *bits = m->kept_bits + place * m->words;
    if (found) {
        memcpy(allowed, bits, m->words * sizeof *bits);
        m->stats.n_kept++;
        k->used = ++m->clock;
        return k->n_allowed;
    }
    uint32_t n = find_mask(m, g, s, allowed);
    if (m->stats.n_nodes - before < WORTH_KEEPING)
        return n;
    *k = (struct kept_mask){.grammar = g->id, .hash = hash, .used = ++m->clock, .n_allowed = n};
    grammar_state_copy(&k->state, s);
    memcpy(bits, allowed, m->words * sizeof *bits);
    return n;
}
