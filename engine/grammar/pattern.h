/*
 * pattern.h - regular expressions of schemas (JSON Schema 2020-12, Core 6.4: ECMA-262's,
 * unanchored) as automata over the bytes of a JSON string.
 *
 * Supported: characters, `.`, classes, \d \w \s and their complements, \t \n \v \f \r \0 \xHH
 * \uHHHH and escaped punctuation, groups (plain, ?: and named), alternatives, * + ? {n} {n,} {n,m}
 * (lazy ones, too: the language is the same), ^ at the beginning and $ at the end of the pattern or
 * of one of its outermost alternatives. Look-around, back references, \b, \p and anchors elsewhere
 * are refused.
 *
 * A syntax tree becomes a Thompson automaton over bytes, in which each character is UTF-8, or its
 * one escape if JSON demands one; subsets make it deterministic. All of it is freed at once.
 */
#ifndef SPECD_GRAMMAR_PATTERN_H
#define SPECD_GRAMMAR_PATTERN_H

#include "grammar/network.h"

#define PATTERN_LEN_MAX 1000
#define PATTERN_REPEAT_MAX 1000
#define PATTERN_PARTS_MAX 8192  /* nodes of the Thompson automaton */
#define PATTERN_STATES_MAX 4096 /* of the deterministic one */
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

/* The node that reads, behind a string's opening quote, a text that matches and the closing quote.
 */
int pattern_network(const struct pattern *p, struct network *w, uint32_t next, uint32_t *start,
                    char *err, size_t errlen);

#endif
