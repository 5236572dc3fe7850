/*
 * pattern.h - regular expressions of schemas (JSON Schema 2020-12, Core 6.4: ECMA-262's,
 * unanchored) as automata over the bytes of a JSON string.
 *
 * Supported: characters, `.`, classes, \d \w \s \p{..} and their complements, \t \n \v \f \r \0
 * \xHH \uHHHH and escaped punctuation, groups (plain, ?: and named), alternatives, * + ? {n} {n,}
 * {n,m} (lazy ones, too: the language is the same), ^ at the beginning and $ at the end of the
 * pattern or of one of its outermost alternatives. Look-around, back references, \b, flags and
 * anchors elsewhere are refused.
 *
 * A syntax tree becomes a Thompson automaton over bytes, in which each character is UTF-8, or its
 * one escape if JSON demands one; subsets make it deterministic. Several of them, and a number of
 * characters, are read at once by their product.
 */
#ifndef SPECD_GRAMMAR_PATTERN_H
#define SPECD_GRAMMAR_PATTERN_H

#include "grammar/network.h"

#define PATTERN_LEN_MAX 1000
#define PATTERN_REPEAT_MAX 10000
#define PATTERN_SPOTS_MAX (1 << 17)  /* nodes of the Thompson automaton */
#define PATTERN_STATES_MAX (1 << 16) /* of the deterministic one, and of a product */
#define PATTERN_SETS_MAX (1 << 22)   /* nodes in all states' sets together */
#define PATTERN_CODE_MAX 0x10FFFF

enum part_kind { PART_EMPTY, PART_CLASS, PART_CAT, PART_ALT, PART_REPEAT };

struct part {
    enum part_kind kind;
    uint32_t a, b;     /* parts; CLASS: first range and number of them */
    uint32_t min, max; /* REPEAT; NODE_NO_MAX: without end */
};
struct code_range {
    uint32_t lo, hi;
};

struct pattern {
    struct part *parts;
    struct code_range *ranges; /* of each class: sorted, apart, no surrogates */
    uint32_t n_parts, cap_parts, n_ranges, cap_ranges;
    uint32_t root;
};

/* pattern_free is due after an error, too. */
int pattern_parse(struct pattern *p, const char *text, char *err, size_t errlen);
void pattern_free(struct pattern *p);

/* A deterministic automaton over what stands between a string's quotes. State 0 is the first; a
 * state's edges are edges[first[state]..first[state + 1]). */
struct dfa {
    uint32_t n, n_edges, cap_edges, cap;
    struct edge *edges;
    uint32_t *first;
    bool *accepts;
};
#define DFA_DEAD UINT32_MAX

/* dfa_free is due after an error, too. Work is added to *work, up to NETWORK_WORK_MAX. */
int pattern_dfa(const struct pattern *p, struct dfa *d, uint64_t *work, char *err, size_t errlen);
/* Exactly these words, as they are spelled, without their quotes; sorted, each once. */
void dfa_of_words(struct dfa *d, const struct word *words, size_t n);
/* All texts in which a word does not come, which begins with a byte that it has once. */
void dfa_without(struct dfa *d, const char *word);
uint32_t dfa_next(const struct dfa *d, uint32_t state, uint8_t byte); /* or DFA_DEAD */
bool dfa_accepts(const struct dfa *d, const char *text, size_t n);
void dfa_free(struct dfa *d);

#define PRODUCT_MAX 32
struct product {
    const struct dfa *dfa[PRODUCT_MAX];
    uint32_t n, n_must; /* the first n_must of them have to accept */
    uint32_t min, max;  /* characters; NODE_NO_MAX */
    /* What follows the closing quote of a text that the automata of these bits accept. */
    uint32_t (*behind)(void *arg, uint32_t accepting);
    void *arg;
    bool hashed; /* of its nodes */
};
/* The node that reads a text behind its opening quote, and the closing one. */
int product_network(const struct product *p, struct network *w, uint32_t *start, char *err,
                    size_t errlen);

#endif
