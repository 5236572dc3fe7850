/*
 * network.h - the nodes of a grammar and how they are put together.
 *
 * Built backwards: what makes a node takes the node that follows, so that parts which end alike
 * share their ends. Beyond GRAMMAR_NODES_MAX the builder marks itself full and hands out the return
 * node; who asked for nodes checks `full` once at the end, and in loops over the schema.
 */
#ifndef SPECD_GRAMMAR_NETWORK_H
#define SPECD_GRAMMAR_NETWORK_H

#include "grammar/chars.h"
#include "grammar/grammar.h"

#include <stdatomic.h>

enum node_kind {
    NODE_RETURN, /* back to the frame below; without one the text is whole */
    NODE_BYTES,  /* reads a byte along an edge; nothing if it has no edges */
    NODE_SPLIT,  /* goes on at each edge's end */
    NODE_CALL,   /* runs `body` in a frame of its own, then `next` */
    NODE_LOOP,   /* runs `body` min to max times, then `next` */
    NODE_STRING, /* min to max characters of a JSON string, from state n on, and its quote */
    NODE_SPACE,  /* white space between tokens, or none, then `next` */
    NODE_SET,    /* members of a set in any order, in a frame that knows which have come */
    NODE_WORD,   /* a place in the tree of a set's words */
    NODE_OTHER,  /* behind the name of a member that is none of the words: counts it, then `next` */
    NODE_WATCH,  /* reads any byte: along an edge, else to the node `body` */
};

struct node {
    uint8_t kind;
    uint8_t height; /* frames above its own that it takes to get to the return, at least */
    uint16_t n;     /* BYTES, SPLIT, WORD, WATCH: edges; SET: words; STRING: the state of
                     * grammar/chars.h it starts in */
    union {
        uint32_t edges; /* BYTES, SPLIT, WORD, WATCH: the first; SET: of those to what follows each
                         * word */
        uint32_t next;
    };
    union {
        uint32_t body; /* LOOP, WATCH: a node; CALL: a node, while compiling a procedure's number;
                        * SET and WORD: in arrays of their own */
        bool hashed;   /* BYTES, STRING: of a name that is hashed in `count` on its way to OTHER */
    };
    union {
        uint32_t min;
        uint32_t left; /* WATCH: bytes it takes, at least, to a node of another kind */
    };
    union {
        uint32_t max;
        bool free; /* WATCH: of the whole text, which may end there */
    };
};
#define NODE_NO_MAX UINT32_MAX
#define HEIGHT_NEVER 255 /* no text leads from there to the return */

struct edge {
    uint8_t lo, hi;
    uint32_t to;
};

/*
 * Members that may come in any order, each of its words once: the properties of an object, the
 * items of a list without repetition. The frame of a set has a bit for each word that has come.
 * What is named otherwise ("other") is counted, and where at least `min` different ones are asked
 * for, its name is hashed into the bits that the words leave: a new bit is a new name.
 */
#define SET_WORDS_MAX 64
struct word_set {
    uint64_t required, usable; /* words that must come; those that can be completed */
    uint32_t min, max;         /* different members, members */
    uint32_t word[2];  /* nodes before a word: of the first member; of another, with its comma */
    uint32_t other[2]; /* likewise, where others have an automaton of their own; or nothing */
    uint32_t close[2]; /* the end, if nothing has come; behind a member */
    uint32_t off[CHARS_N]; /* where others are any string: nodes that read it on from a state */
    uint32_t named;        /* what follows the closing quote of such a string */
    uint32_t later;        /* a set whose words follow all of these; 0: none */
    uint8_t highest;       /* of the nodes behind usable words */
    uint8_t other_height;  /* HEIGHT_NEVER: no others */
    bool one_other;        /* others are not told apart: all of them are one towards `min` */
};
/* A place in the tree: where a word ends, `next` is what follows it. */
struct word_place {
    uint64_t below; /* words whose text goes on or ends here */
    uint64_t above; /* names that the text begins with, the empty one excepted */
    uint32_t set, next;
    int8_t bit;  /* of the word that ends here, or -1 */
    uint8_t sub; /* state of grammar/chars.h */
};

struct grammar {
    struct node *nodes;
    struct edge *edges;
    struct word_set *sets;
    struct word_place *places;
    atomic_int refs;
    uint32_t n_nodes, root;
    uint64_t id;
};

#define NODE_OF_RETURN 0u /* ids of the nodes that every network has */
#define NODE_OF_NOTHING 1u

struct network {
    struct node *nodes;
    struct edge *edges;
    uint32_t n_nodes, cap_nodes, n_edges, cap_edges;
    struct word_set *sets;
    struct word_place *places;
    uint32_t n_sets, cap_sets, n_places, cap_places;
    uint32_t *starts; /* of the procedures */
    uint32_t n_starts, cap_starts;
    bool full;
    uint64_t work; /* done so far */
};
/* Steps of making patterns' automata and of following pointers, in the whole schema: about 100 ms,
 * where short schemas could ask for hours. */
#define NETWORK_WORK_MAX 20000000

void network_init(struct network *w);
void network_free(struct network *w);

uint32_t network_edges(struct network *w, enum node_kind kind, const struct edge *e, size_t n);
uint32_t network_byte(struct network *w, uint8_t lo, uint8_t hi, uint32_t next);
uint32_t network_text(struct network *w, const char *text, size_t len, uint32_t next);
uint32_t network_split(struct network *w, uint32_t a, uint32_t b);
uint32_t network_call(struct network *w, uint32_t procedure, uint32_t next);
uint32_t network_loop(struct network *w, uint32_t body, uint32_t min, uint32_t max, uint32_t next);
uint32_t network_string(struct network *w, uint8_t sub, uint32_t min, uint32_t max, uint32_t next);
uint32_t network_space(struct network *w, uint32_t next);
/* A node that is made before its edges are known: a split without any. */
uint32_t network_later(struct network *w);
void network_set(struct network *w, uint32_t later, enum node_kind kind, const struct edge *e,
                 size_t n);

/* A procedure is known by its number before its first node exists. */
uint32_t network_procedure(struct network *w);
void network_define(struct network *w, uint32_t procedure, uint32_t start);

/* A text that leads to a node. */
struct word {
    const char *text;
    size_t len;
    uint32_t next;
    uint8_t bit; /* in a set */
};
/* One of the words, each read from offset on: a tree of their common beginnings. Of equal ones each
 * may have its own next. Sorts them. */
uint32_t network_words(struct network *w, struct word *words, size_t n, size_t offset);

/* A node of a set whose words and nodes are set later; network_set_words gives it n words, each
 * with what follows it, and returns the root of their tree. A word's bit is its index. Sorts them.
 * `foreign` more behind them, of bit SET_WORDS_MAX - 1, never come: no other may begin with one. */
uint32_t network_word_set(struct network *w);
struct word_set *network_set_of(struct network *w, uint32_t set);
uint32_t network_set_words(struct network *w, uint32_t set, struct word *words, size_t n,
                           size_t foreign, bool quoted);
uint32_t network_other(struct network *w, uint32_t next);

/* Puts procedures' first nodes into the calls of the nodes from `from` on. SPECD_EINVAL with the
 * reason if the network is full, or if some of them lead to themselves without a byte. */
int network_link(struct network *w, uint32_t from, char *err, size_t errlen);
/* Every node's height, once all are linked. */
void network_find_heights(struct network *w);
/* What a linked node goes on with behind a byte that it may begin with, through splits, calls and
 * single bytes; NODE_OF_NOTHING. */
uint32_t network_behind(struct network *w, uint32_t at, uint8_t byte);

/* ---- texts that are watched for (watch.c) ---------------------------------------------------- */

/*
 * A tree of the texts. A gap is a place where white space may stand, or none: it lies behind the
 * place that it belongs to. Spot 0 is the beginning of them all.
 */
struct watch_spot {
    uint32_t parent, child, sibling, gap; /* 0: none */
    uint32_t end;  /* the node that a text leads to which ends here; NODE_OF_NOTHING */
    uint32_t left; /* bytes from here to the nearest end */
    uint8_t byte;  /* that leads here; of no gap */
    bool is_gap;
};
struct watch {
    struct watch_spot *spots;
    uint32_t n, cap;
};
void watch_init(struct watch *t);
void watch_free(struct watch *t);
uint32_t watch_text(struct watch *t, uint32_t at, const char *text, size_t len);
uint32_t watch_gap(struct watch *t, uint32_t at);
/* A text that ends at a spot leads to a node; of two that end there, the first one's counts. */
void watch_end(struct watch *t, uint32_t at, uint32_t node);
/* The nodes that read anything until one of the texts has come, the first of them `later`, made
 * with network_watch. */
uint32_t network_watch(struct network *w, bool free);
void network_set_watch(struct network *w, uint32_t later, struct watch *t);

/* ---- heads ----------------------------------------------------------------------------------- */

/* Where a byte leads from a WATCH. */
static inline uint32_t watch_next(const struct node *node, const struct edge *edges, uint8_t byte)
{
    for (uint32_t i = node->edges; i < node->edges + node->n; i++)
        if (edges[i].lo <= byte && byte <= edges[i].hi)
            return edges[i].to;
    return node->body;
}
static inline uint32_t name_hash(uint32_t hash, uint8_t byte)
{
    return (hash ^ byte) * 16777619u;
}
/* Of a name that leaves the tree of words with a byte: the place tells the letters before. */
static inline uint32_t leaving_hash(uint32_t place, uint8_t byte)
{
    return name_hash(place * 2654435761u, byte);
}
/* Of a loop or a string, once more: no count is kept that makes no difference. */
static inline uint32_t counted(const struct node *node, uint32_t count)
{
    return node->max == NODE_NO_MAX && count >= node->min ? count : count + 1;
}
/* A byte of a string, which is not its closing quote, on a head's sub and count; false: not this
 * one.
 */
static inline bool string_next(const struct node *node, uint8_t *sub, uint32_t *count, uint8_t byte)
{
    if (node->hashed) {
        *count = name_hash(*count, byte);
        *sub = byte == '\\' ? CHARS_DEAD : chars_next(*sub, byte);
        return *sub != CHARS_DEAD;
    }
    if (*sub == CHARS_WHOLE && *count >= node->max)
        return false;
    *sub = chars_next(*sub, byte);
    if (*sub == CHARS_WHOLE)
        *count = counted(node, *count);
    return *sub != CHARS_DEAD;
}

/* ---- sets while reading (word_set.c) --------------------------------------------------------- */

static inline uint64_t frame_used(const struct grammar_frame *f)
{
    return (uint64_t)f->used[1] << 32 | f->used[0];
}

/* What may come in the frame of a set. */
struct set_room {
    uint64_t words;
    bool others;
};
struct set_room set_room(const struct grammar *g, const struct grammar_frame *f);
bool set_may_close(const struct grammar *g, const struct grammar_frame *f);
/* The frame behind a word, or behind an other whose name has that hash; false: not this one. */
void set_use_word(const struct grammar *g, struct grammar_frame *f, int bit);
bool set_use_other(const struct grammar *g, struct grammar_frame *f, uint32_t hash);
/* Whether a name may leave the letters of the words there. */
bool word_may_leave(const struct grammar *g, const struct node *at, struct set_room room);
/* Where a byte leads from a place in the tree: a WORD, a STRING in state *sub, what is `named`, or
 * NODE_OF_NOTHING. */
uint32_t word_next(const struct grammar *g, const struct node *at, struct set_room room,
                   uint8_t byte, uint8_t *sub);

#endif
