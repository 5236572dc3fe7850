/*
 * A step of the network: every stack reads the byte, then runs on to nodes that read.
 *
 * The stacks of a state are a forest of frames that share their lower parts; the new state is
 * built from nothing, so that frames nobody needs any more fall away. Strings go first: what they
 * become never grows, so a string that is open is not given up when other stacks multiply.
 */
#include "grammar/chars.h"
#include "grammar/network.h"

#include <string.h>

#define NO_FRAME UINT16_MAX
#define SEEN_MAX 96     /* places a step remembers, so as not to run on from them twice */
#define VISITS_MAX 8192 /* places a step runs through at most */
#define DEPTH_TOP (GRAMMAR_STACK_MAX - 1)

enum space_state { SPACE_START, SPACE_SPACES, SPACE_TABS };
enum { SUB_IN_LOOP = 1, SUB_IN_SET }; /* of a frame below the body of a loop, a member of a set */

struct place {
    uint32_t node;
    uint16_t parent;
};

struct step {
    const struct grammar *g;
    const struct grammar_state *from;
    struct grammar_state *to;
    unsigned n_seen, visits;
    struct place seen[SEEN_MAX];
    uint16_t copies[GRAMMAR_FRAMES_MAX]; /* from's frames in to */
};

static void step_init(struct step *st, const struct grammar *g, const struct grammar_state *from,
                      struct grammar_state *to)
{
    st->g = g;
    st->from = from;
    st->to = to;
    st->n_seen = st->visits = 0;
    to->n_heads = to->n_frames = 0;
    to->may_end = false;
    if (from)
        memset(st->copies, 0xFF, from->n_frames * sizeof st->copies[0]);
}

static bool same_frame(const struct grammar_frame *a, const struct grammar_frame *b)
{
    return a->node == b->node && a->count == b->count && a->parent == b->parent &&
           a->sub == b->sub && frame_used(a) == frame_used(b);
}

/* The frame in the new state; NO_FRAME if there is no room. */
static uint16_t put_frame(struct step *st, struct grammar_frame f)
{
    struct grammar_state *to = st->to;
    for (uint16_t i = to->n_frames; i-- > 0;)
        if (same_frame(&to->frames[i], &f))
            return i;
    if (to->n_frames == GRAMMAR_FRAMES_MAX)
        return NO_FRAME;
    to->frames[to->n_frames] = f;
    return to->n_frames++;
}

static void put_head(struct step *st, struct grammar_frame f)
{
    struct grammar_state *to = st->to;
    if (to->n_heads == GRAMMAR_HEADS_MAX)
        return;
    uint16_t frame = put_frame(st, f);
    for (uint16_t i = 0; i < to->n_heads; i++)
        if (to->heads[i] == frame)
            return;
    if (frame != NO_FRAME)
        to->heads[to->n_heads++] = frame;
}

/* A frame of the old state, with all below it, in the new one. */
static bool copy_frame(struct step *st, uint16_t old, uint16_t *copy)
{
    *copy = NO_FRAME;
    if (old == NO_FRAME)
        return true;
    if (st->copies[old] == NO_FRAME) {
        struct grammar_frame f = st->from->frames[old];
        if (!copy_frame(st, f.parent, &f.parent))
            return false;
        st->copies[old] = put_frame(st, f);
    }
    *copy = st->copies[old];
    return *copy != NO_FRAME;
}

static bool seen(struct step *st, uint32_t node, uint16_t parent)
{
    for (unsigned i = 0; i < st->n_seen; i++)
        if (st->seen[i].node == node && st->seen[i].parent == parent)
            return true;
    if (st->n_seen < SEEN_MAX)
        st->seen[st->n_seen++] = (struct place){node, parent};
    return false;
}

static void run_on(struct step *st, uint32_t at, uint16_t parent, uint8_t depth);

static void run_above(struct step *st, uint32_t at, struct grammar_frame below)
{
    if (below.depth + 1 + st->g->nodes[at].height > DEPTH_TOP)
        return;
    uint16_t frame = put_frame(st, below);
    if (frame != NO_FRAME)
        run_on(st, at, frame, below.depth + 1);
}

static void run_loop(struct step *st, uint32_t at, uint32_t count, uint16_t parent, uint8_t depth)
{
    const struct node *node = &st->g->nodes[at];
    if (count < node->max)
        run_above(
            st, node->body,
            (struct grammar_frame){
                .node = at, .count = count, .parent = parent, .sub = SUB_IN_LOOP, .depth = depth});
    if (count >= node->min)
        run_on(st, node->next, parent, depth);
}

/* At a place where a member may come or the set may end; behind: of one that has members. */
static void run_set(struct step *st, struct grammar_frame f, bool behind)
{
    const struct grammar *g = st->g;
    const struct word_set *s = &g->sets[g->nodes[f.node].body];
    for (;;) {
        struct set_room room = set_room(g, &f);
        bool in_tree = s->named != NODE_OF_NOTHING; /* others are read there, too */
        if (room.words || (in_tree && room.others))
            run_above(st, s->word[behind], f);
        if (!in_tree && room.others)
            run_above(st, s->other[behind], f);
        if (!set_may_close(g, &f))
            return;
        if (s->later == 0)
            break;
        f.node = s->later;
        f.used[0] = f.used[1] = 0;
        s = &g->sets[g->nodes[f.node].body];
    }
    run_on(st, s->close[behind], f.parent, f.depth);
}

/* Where a word of the set below ends; it may also go on. */
static void run_word(struct step *st, uint32_t at, uint16_t parent, uint8_t depth)
{
    const struct node *node = &st->g->nodes[at];
    const struct word_place *p = &st->g->places[node->body];
    struct grammar_frame f = st->to->frames[parent];
    if (node->n > 0 || p->bit < 0)
        put_head(st, (struct grammar_frame){.node = at, .parent = parent, .depth = depth});
    if (p->bit < 0 || !(set_room(st->g, &f).words >> p->bit & 1))
        return;
    set_use_word(st->g, &f, p->bit);
    uint16_t frame = put_frame(st, f);
    if (frame != NO_FRAME)
        run_on(st, p->next, frame, depth);
}

static void run_other(struct step *st, uint32_t at, uint16_t parent, uint8_t depth, uint32_t hash)
{
    struct grammar_frame f = st->to->frames[parent];
    if (!set_use_other(st->g, &f, hash))
        return;
    uint16_t frame = put_frame(st, f);
    if (frame != NO_FRAME)
        run_on(st, st->g->nodes[at].next, frame, depth);
}

static void run_return(struct step *st, uint16_t parent)
{
    if (parent == NO_FRAME) {
        st->to->may_end = true;
        return;
    }
    struct grammar_frame f = st->to->frames[parent];
    if (f.sub == SUB_IN_LOOP)
        run_loop(st, f.node, counted(&st->g->nodes[f.node], f.count), f.parent, f.depth);
    else if (f.sub == SUB_IN_SET)
        run_set(st, f, true);
    else
        run_on(st, f.node, f.parent, f.depth);
}

/* From a node without a byte to all that read one. Whoever enters a node has seen to it that its
 * height is left, and one of the ways out of it then passes the same test: not every way can be cut
 * off. For that the first way must not be cut off by the limits of a step either; it is walked
 * while none of them is near. */
static void run_on(struct step *st, uint32_t at, uint16_t parent, uint8_t depth)
{
    const struct node *node = &st->g->nodes[at];
    if (depth + node->height > DEPTH_TOP || ++st->visits > VISITS_MAX)
        return;
    switch (node->kind) {
    case NODE_RETURN:
        run_return(st, parent);
        break;
    case NODE_BYTES:
        put_head(st, (struct grammar_frame){.node = at, .parent = parent, .depth = depth});
        break;
    case NODE_STRING:
        put_head(st, (struct grammar_frame){
                         .node = at, .parent = parent, .sub = (uint8_t)node->n, .depth = depth});
        break;
    case NODE_SPACE:
        put_head(st, (struct grammar_frame){
                         .node = at, .parent = parent, .sub = SPACE_START, .depth = depth});
        run_on(st, node->next, parent, depth);
        break;
    case NODE_SPLIT:
        if (!seen(st, at, parent))
            for (uint32_t i = 0; i < node->n; i++)
                run_on(st, st->g->edges[node->edges + i].to, parent, depth);
        break;
    case NODE_CALL:
        if (node->next == NODE_OF_RETURN)
            run_on(st, node->body, parent, depth);
        else if (!seen(st, at, parent))
            run_above(st, node->body,
                      (struct grammar_frame){.node = node->next, .parent = parent, .depth = depth});
        break;
    case NODE_LOOP:
        run_loop(st, at, 0, parent, depth);
        break;
    case NODE_SET:
        run_set(
            st,
            (struct grammar_frame){.node = at, .parent = parent, .sub = SUB_IN_SET, .depth = depth},
            false);
        break;
    case NODE_WORD:
        run_word(st, at, parent, depth);
        break;
    case NODE_OTHER:
        run_other(st, at, parent, depth, 0);
        break;
    case NODE_WATCH:
        put_head(st, (struct grammar_frame){.node = at, .parent = parent, .depth = depth});
        st->to->may_end |= node->free;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static void read_string(struct step *st, struct grammar_frame f, uint8_t byte)
{
    const struct node *node = &st->g->nodes[f.node];
    if (f.sub == CHARS_WHOLE && byte == '"') {
        if (!node->hashed && f.count < node->min)
            return;
        if (!copy_frame(st, f.parent, &f.parent))
            return;
        if (node->hashed)
            run_other(st, node->next, f.parent, f.depth, f.count);
        else
            run_on(st, node->next, f.parent, f.depth);
        return;
    }
    if (string_next(node, &f.sub, &f.count, byte) && copy_frame(st, f.parent, &f.parent))
        put_head(st, f);
}

static void read_edges(struct step *st, struct grammar_frame f, uint8_t byte)
{
    const struct node *node = &st->g->nodes[f.node];
    const struct edge *e = &st->g->edges[node->edges];
    for (uint32_t i = 0; i < node->n; i++) {
        const struct node *to = &st->g->nodes[e[i].to];
        uint16_t parent;
        if (byte < e[i].lo || e[i].hi < byte || f.depth + to->height > DEPTH_TOP ||
            !copy_frame(st, f.parent, &parent))
            continue;
        if (node->hashed && to->kind == NODE_OTHER)
            run_other(st, e[i].to, parent, f.depth, f.count);
        else if (node->hashed)
            put_head(st, (struct grammar_frame){.node = e[i].to,
                                                .count = name_hash(f.count, byte),
                                                .parent = parent,
                                                .depth = f.depth});
        else
            run_on(st, e[i].to, parent, f.depth);
    }
}

static void read_watched(struct step *st, struct grammar_frame f, uint8_t byte)
{
    uint32_t to = watch_next(&st->g->nodes[f.node], st->g->edges, byte);
    if (f.depth + st->g->nodes[to].height <= DEPTH_TOP && copy_frame(st, f.parent, &f.parent))
        run_on(st, to, f.parent, f.depth);
}

static void read_word(struct step *st, struct grammar_frame f, uint8_t byte)
{
    struct set_room room = set_room(st->g, &st->from->frames[f.parent]);
    uint32_t to = word_next(st->g, &st->g->nodes[f.node], room, byte, &f.sub);
    if (to == NODE_OF_NOTHING || !copy_frame(st, f.parent, &f.parent))
        return;
    uint32_t hash = leaving_hash(f.node, byte);
    const struct node *node = &st->g->nodes[to];
    f.node = to;
    if (node->kind == NODE_STRING) {
        f.count = node->hashed ? hash : 0;
        put_head(st, f);
    } else if (node->kind == NODE_OTHER) {
        run_other(st, to, f.parent, f.depth, hash);
    } else {
        run_on(st, to, f.parent, f.depth);
    }
}

static void read_space(struct step *st, struct grammar_frame f, uint8_t byte)
{
    bool more = false;
    if (f.sub == SPACE_START && byte == '\n') {
        f.sub = SPACE_SPACES;
        more = true;
    } else if (f.sub == SPACE_SPACES && byte == ' ') {
        more = f.count++ < GRAMMAR_INDENT_MAX;
    } else if (byte == '\t' && (f.sub == SPACE_TABS || (f.sub == SPACE_SPACES && f.count == 0))) {
        f.sub = SPACE_TABS;
        more = f.count++ < GRAMMAR_TABS_MAX;
    } else if (f.sub != SPACE_START || byte != ' ') {
        return;
    }
    if (!more && f.sub != SPACE_START)
        return;
    if (!copy_frame(st, f.parent, &f.parent))
        return;
    if (more)
        put_head(st, f);
    run_on(st, st->g->nodes[f.node].next, f.parent, f.depth);
}

bool grammar_step(const struct grammar *g, const struct grammar_state *from, uint8_t byte,
                  struct grammar_state *to)
{
    struct step st;
    step_init(&st, g, from, to);
    for (int strings = 1; strings >= 0; strings--) {
        for (uint16_t i = 0; i < from->n_heads; i++) {
            struct grammar_frame f = from->frames[from->heads[i]];
            uint8_t kind = g->nodes[f.node].kind;
            bool stays = kind == NODE_STRING && !(f.sub == CHARS_WHOLE && byte == '"');
            if (stays != (strings == 1))
                continue;
            if (kind == NODE_STRING)
                read_string(&st, f, byte);
            else if (kind == NODE_SPACE)
                read_space(&st, f, byte);
            else if (kind == NODE_WORD)
                read_word(&st, f, byte);
            else if (kind == NODE_WATCH)
                read_watched(&st, f, byte);
            else
                read_edges(&st, f, byte);
        }
    }
    return to->n_heads > 0 || to->may_end;
}

void grammar_start(const struct grammar *g, struct grammar_state *s)
{
    struct step st;
    step_init(&st, g, NULL, s);
    run_on(&st, g->root, NO_FRAME, 0);
}

bool grammar_accept(const struct grammar *g, struct grammar_state *s, const void *bytes, size_t n)
{
    struct grammar_state two[2];
    const struct grammar_state *at = s;
    for (size_t i = 0; i < n; i++) {
        if (!grammar_step(g, at, ((const uint8_t *)bytes)[i], &two[i % 2]))
            return false;
        at = &two[i % 2];
    }
    if (n > 0)
        grammar_state_copy(s, at);
    return true;
}

/* ---- states ---------------------------------------------------------------------------------- */

/* Strings, white space, names of others and what is watched always leave a choice. */
int grammar_forced(const struct grammar *g, const struct grammar_state *s)
{
    int only = -1;
    for (uint16_t i = 0; i < s->n_heads; i++) {
        const struct grammar_frame *f = &s->frames[s->heads[i]];
        const struct node *node = &g->nodes[f->node];
        const struct edge *e = &g->edges[node->edges];
        struct set_room room = {0};
        uint8_t sub;
        if (node->kind == NODE_WORD)
            room = set_room(g, &s->frames[f->parent]);
        if ((node->kind != NODE_BYTES && node->kind != NODE_WORD) || room.others)
            return -1;
        for (uint32_t k = 0; k < node->n; k++) {
            if (node->kind == NODE_WORD &&
                word_next(g, node, room, e[k].lo, &sub) == NODE_OF_NOTHING)
                continue;
            if (e[k].lo != e[k].hi || (only >= 0 && only != e[k].lo))
                return -1;
            only = e[k].lo;
        }
    }
    return s->may_end ? -1 : only;
}

bool grammar_may_end(const struct grammar_state *s)
{
    return s->may_end;
}

bool grammar_is_over(const struct grammar_state *s)
{
    return s->may_end && s->n_heads == 0;
}

bool grammar_is_free(const struct grammar *g, const struct grammar_state *s)
{
    for (uint16_t i = 0; i < s->n_heads; i++) {
        const struct node *node = &g->nodes[s->frames[s->heads[i]].node];
        if (node->kind == NODE_WATCH && node->free)
            return true;
    }
    return false;
}

void grammar_state_copy(struct grammar_state *to, const struct grammar_state *from)
{
    to->n_heads = from->n_heads;
    to->n_frames = from->n_frames;
    to->may_end = from->may_end;
    memcpy(to->heads, from->heads, from->n_heads * sizeof from->heads[0]);
    memcpy(to->frames, from->frames, from->n_frames * sizeof from->frames[0]);
}

bool grammar_state_equal(const struct grammar_state *a, const struct grammar_state *b)
{
    return a->n_heads == b->n_heads && a->n_frames == b->n_frames && a->may_end == b->may_end &&
           memcmp(a->heads, b->heads, a->n_heads * sizeof a->heads[0]) == 0 &&
           memcmp(a->frames, b->frames, a->n_frames * sizeof a->frames[0]) == 0;
}

static uint64_t mixed(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

uint64_t grammar_state_hash(const struct grammar_state *s)
{
    uint64_t h = mixed(s->may_end, (uint64_t)s->n_heads << 32 | s->n_frames);
    for (uint16_t i = 0; i < s->n_heads; i++)
        h = mixed(h, s->heads[i]);
    for (uint16_t i = 0; i < s->n_frames; i++) {
        const struct grammar_frame *f = &s->frames[i];
        h = mixed(h, (uint64_t)f->node << 32 | f->count);
        h = mixed(h, frame_used(f));
        h = mixed(h, (uint64_t)f->parent << 16 | (uint64_t)f->sub << 8 | f->depth);
    }
    return h;
}
