/*
 * token_trie.h - a vocabulary's tokens by their bytes, for masks. Immutable: any thread may use it.
 *
 * The nodes lie in preorder, each with the index behind its subtree, so a walk that fails at a node
 * skips what lies below it. Control and unknown tokens and those without bytes are not in it,
 * unused ones in a tree of their own. *Plain* tokens consist of whole characters that a JSON string
 * may hold as they are: inside a string all of them are allowed, or all up to a length, without a
 * walk; the others have a tree of their own for that case.
 */
#ifndef SPECD_TOKEN_TRIE_H
#define SPECD_TOKEN_TRIE_H

#include "specd/device.h"
#include "text/tokenizer.h"

struct trie_node {
    uint32_t skip;         /* the index behind the node's subtree */
    uint32_t first, n_ids; /* tokens that end here: ids[first..] */
    uint16_t depth;        /* bytes before this one */
    uint8_t byte;
    uint8_t below; /* bytes that the longest token below adds, up to TOKEN_TRIE_BELOW_MAX */
};

#define TOKEN_TRIE_BELOW_MAX UINT8_MAX
struct token_tree {
    struct trie_node *nodes;
    int32_t *ids;
    uint32_t n_nodes, n_ids;
};

struct token_trie {
    struct token_tree all, others; /* others: without the plain ones */
    struct token_tree unused;      /* may come where all may */
    uint32_t *spelled;             /* bits of those in `all` */
    uint32_t n_vocab, longest;     /* longest: bytes of a token */
    uint32_t *plain;               /* bits of the plain ones */
    int32_t *plain_ids;            /* by their characters: fewest first */
    uint32_t *plain_upto; /* (plain_longest + 1) how many have at most so many characters */
    uint32_t plain_longest;
    int32_t *ends; /* end tokens */
    uint32_t n_ends;
    struct token_bytes *too_long; /* in no tree, their bytes borrowed */
    uint32_t n_too_long;
};

/* A token's bytes; len 0: not to be used. */
struct token_bytes {
    const char *data;
    size_t len;
    int32_t id;
    bool unused; /* by its tokenizer, which decodes it all the same */
};

/* n_vocab bits a mask; ends are allowed exactly where the text may end, and never as bytes. Tokens
 * longer than TOKEN_TRIE_LEN_MAX bytes are too_long. */
#define TOKEN_TRIE_LEN_MAX 1024
void token_trie_init(struct token_trie *t, const struct token_bytes *tokens, size_t n,
                     uint32_t n_vocab, const int32_t *ends, size_t n_ends);
/* Of a tokenizer, with the ends of its vocabulary. n_vocab: ids that the model has. */
void token_trie_of(struct token_trie *t, const struct tokenizer *tokenizer, uint32_t n_vocab);
void token_trie_fini(struct token_trie *t);

/* The longest token that a text begins with, its bytes in *len; -1: none. */
int32_t token_trie_longest(const struct token_trie *t, const void *text, size_t n, size_t *len);

#endif
