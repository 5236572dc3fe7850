/*
 * Sets while a text is read: which members may still come, and where a byte of a name leads.
 *
 * No name is begun that cannot be completed: a word's letters are open while the word is, and a
 * name that is none of the words never begins with one that may not come. Such names wait until all
 * required words have come, or a model could go on with them for ever.
 */
#include "grammar/network.h"

static unsigned count_bits(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

/* Words behind which so many frames are left as they take. */
static uint64_t fitting(const struct grammar *g, const struct node *node, unsigned depth)
{
    const struct word_set *s = &g->sets[node->body];
    uint64_t fit = 0;
    if (depth + s->highest < GRAMMAR_STACK_MAX)
        return s->usable;
    for (uint32_t i = 0; i < node->n; i++)
        if (depth + g->nodes[g->edges[node->edges + i].to].height < GRAMMAR_STACK_MAX)
            fit |= UINT64_C(1) << i;
    return fit;
}

/* Members that must come once some of `required` have, and there are so many different ones. */
static unsigned still_due(const struct word_set *s, unsigned required, unsigned different)
{
    return MAX(required, s->min > different ? s->min - different : 0);
}

struct set_room set_room(const struct grammar *g, const struct grammar_frame *f)
{
    const struct node *node = &g->nodes[f->node];
    const struct word_set *s = &g->sets[node->body];
    uint64_t used = frame_used(f);
    struct set_room room = {.words = fitting(g, node, f->depth + 1u) & ~used,
                            .others = (s->required & ~used) == 0 &&
                                      f->depth + 1u + s->other_height < GRAMMAR_STACK_MAX};
    if (s->max == NODE_NO_MAX)
        return room;
    unsigned left = s->max - f->count, different = count_bits(used) + 1;
    unsigned required = count_bits(s->required & ~used);
    if (left < 1 + still_due(s, required, different)) {
        room.words &= s->required;
        room.others = false;
    }
    bool no_new = s->one_other && node->n < SET_WORDS_MAX && used >> node->n & 1;
    if (no_new && left < 1 + still_due(s, required, different - 1))
        room.others = false;
    if (left == 0)
        room.words = 0;
    return room;
}

bool set_may_close(const struct grammar *g, const struct grammar_frame *f)
{
    const struct word_set *s = &g->sets[g->nodes[f->node].body];
    uint64_t used = frame_used(f);
    return (s->required & ~used) == 0 && count_bits(used) >= s->min;
}

static void use(const struct word_set *s, struct grammar_frame *f, unsigned bit)
{
    f->used[bit / 32] |= 1u << bit % 32;
    f->count += s->max != NODE_NO_MAX;
}

void set_use_word(const struct grammar *g, struct grammar_frame *f, int bit)
{
    use(&g->sets[g->nodes[f->node].body], f, (unsigned)bit);
}

bool set_use_other(const struct grammar *g, struct grammar_frame *f, uint32_t hash)
{
    const struct node *node = &g->nodes[f->node];
    const struct word_set *s = &g->sets[node->body];
    uint64_t used = frame_used(f);
    if (s->min == 0 || node->n == SET_WORDS_MAX) {
        f->count += s->max != NODE_NO_MAX;
        return true;
    }
    unsigned bit = node->n;
    if (!s->one_other)
        bit += (hash ^ hash >> 16) % (SET_WORDS_MAX - node->n);
    unsigned due = still_due(s, count_bits(s->required & ~used), count_bits(used));
    if (used >> bit & 1 && s->max != NODE_NO_MAX && s->max - f->count < 1 + due)
        return false;
    use(s, f, bit);
    return true;
}

bool word_may_leave(const struct grammar *g, const struct node *at, struct set_room room)
{
    const struct word_place *p = &g->places[at->body];
    return room.others && !(p->above & ~room.words) &&
           g->sets[g->nodes[p->set].body].named != NODE_OF_NOTHING;
}

uint32_t word_next(const struct grammar *g, const struct node *at, struct set_room room,
                   uint8_t byte, uint8_t *sub)
{
    const struct word_place *p = &g->places[at->body];
    const struct word_set *s = &g->sets[g->nodes[p->set].body];
    const struct edge *e = &g->edges[at->edges];
    for (uint32_t i = 0; i < at->n; i++)
        if (e[i].lo == byte) {
            const struct node *to = &g->nodes[e[i].to];
            bool may_enter = g->places[to->body].below & room.words || word_may_leave(g, to, room);
            return may_enter ? e[i].to : NODE_OF_NOTHING;
        }
    bool escape = p->sub == CHARS_ESCAPE || (p->sub >= CHARS_HEX4 && p->sub <= CHARS_HEX1);
    if (!word_may_leave(g, at, room) || escape || byte == '\\')
        return NODE_OF_NOTHING;
    if (byte == '"' && p->sub == CHARS_WHOLE)
        return s->named;
    *sub = chars_next(p->sub, byte);
    return *sub == CHARS_DEAD ? NODE_OF_NOTHING : s->off[*sub];
}
