/*
 * network.h - the nodes of a grammar and how they are put together.
 *
 * Built backwards: what makes a node takes the node that follows, so that parts which end alike
 * share their ends. Beyond GRAMMAR_NODES_MAX the builder marks itself full and hands out the return
 * node; who asked for nodes checks `full` once at the end, and in loops over the schema.
 */
#ifndef SPECD_GRAMMAR_NETWORK_H
#define SPECD_GRAMMAR_NETWORK_H

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
};

struct node {
    uint8_t kind;
    uint8_t height; /* frames above its own that it takes to get to the return, at least */
    uint16_t n;     /* BYTES, SPLIT: edges; STRING: the state of grammar/chars.h it starts in */
    union {
        uint32_t edges; /* BYTES, SPLIT: the first */
        uint32_t next;
    };
    uint32_t body; /* LOOP: a node; CALL: a node, while compiling a procedure's number */
    uint32_t min, max;
};
#define NODE_NO_MAX UINT32_MAX
#define HEIGHT_NEVER 255 /* no text leads from there to the return */

struct edge {
    uint8_t lo, hi;
    uint32_t to;
};

struct grammar {
    struct node *nodes;
    struct edge *edges;
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
    const uint32_t *chain; /* nodes of the text from each offset on, or NULL: made when needed */
};
/* One of the words, each read from offset on: a tree of their common beginnings. Sorts them. */
uint32_t network_words(struct network *w, struct word *words, size_t n, size_t offset);

/* Puts procedures' first nodes into the calls and finds every node's height. SPECD_EINVAL if the
 * network is full, if nodes lead to themselves without a byte, or if the root leads nowhere. */
int network_finish(struct network *w, uint32_t root, char *err, size_t errlen);

#endif
