/*
 * grammar.h - the texts that a JSON schema allows, as an automaton over bytes.
 *
 * A compiled grammar is a recursive transition network: nodes that read bytes, call other nodes and
 * return (Woods 1970). A state is the set of stacks the network can be in after the bytes read so
 * far. Two promises hold for every state that grammar_accept leaves behind: each of its stacks can
 * still be completed (each node knows the stack height it needs to reach its end, Knuth's 1977
 * generalisation of Dijkstra's algorithm, and is entered only where that much is left), and every
 * text that ends where grammar_may_end holds is JSON (RFC 8259) that satisfies the schema.
 *
 * The schema is JSON Schema 2020-12 in this subset. What is not in it, and no keyword of another
 * meaning, is an annotation (Core 6.5), as are formats unknown here. not, if, contains,
 * dependent..., unevaluated... and $dynamicRef are refused by name and place (a JSON pointer).
 *
 *   true, false, {}        anything; nothing
 *   type                   one or a list. Without it the keywords say which types are meant.
 *                          nullable: true beside it adds null (OpenAPI 3.0)
 *   enum, const            numbers as the schema spells them; values that other keywords refuse are
 *                          left out
 *   anyOf, oneOf           oneOf is read as anyOf: that no second schema fits is not enforced
 *   allOf                  what holds together is joined, with what stands beside it
 *   $ref                   within the document: by JSON pointer or $anchor from the innermost
 *                          schema with an $id or the root, or by $id; may be recursive
 *   properties, required, additionalProperties, patternProperties, minProperties, maxProperties
 *   propertyNames          enum, pattern, minLength, maxLength
 *   items, prefixItems, minItems, maxItems; a list in items with additionalItems (draft 7)
 *   uniqueItems            of items with at most SET_WORDS_MAX values
 *   minLength, maxLength   in characters
 *   pattern                grammar/pattern.h
 *   format                 date, time, date-time, uuid, ipv4, email
 *   minimum, maximum, exclusiveMinimum, exclusiveMaximum (true beside a limit: draft 4), multipleOf
 *                          exactly, as they are written
 *
 * The texts are narrower than JSON where that keeps a model from running on for ever or from
 * evading the schema:
 *
 * - Declared properties come in any order, each at most once; where there are more than 64, in
 *   groups of 63 one behind the other, in the schema's order. Additional ones come once all
 * required ones have, may repeat, and never begin with a declared name that has come: who writes
 * that name means it. A key that is not declared begins as no declared one does with an escape, so
 * that none is spelled in two ways; where several are needed for minProperties it has none, nor a
 * hash that another has.
 * - Where an anyOf or oneOf has more than GRAMMAR_UNORDERED_MAX alternatives, all of them objects
 *   without additional properties whose first declared one is required and a constant text, that
 * one comes first, and tells them apart: there may be any number of them.
 * - White space: one space or line feed, or none, before the value; one space or none behind a
 *   colon; behind an opening bracket or a comma and before a closing bracket nothing, one space, or
 *   a line feed and up to GRAMMAR_INDENT_MAX spaces or GRAMMAR_TABS_MAX tabs. None elsewhere.
 * - Integers have at most 18 digits unless the schema's own limits ask for more, numbers 18 before
 *   and 18 behind the point, exponents 2; numbers within limits have no exponent and, where the
 *   limits leave it, 15 digits in all, which doubles tell apart. Long multiples are left out where
 *   there are too many remainders.
 * - Free strings may use every escape; surrogates only in pairs. Declared names, enum, const,
 *   pattern and format are spelled one way: raw UTF-8, and \" \\ \b \f \n \r \t \u00xx (lower case)
 *   for what must be escaped.
 * - Values nest about GRAMMAR_STACK_MAX deep, half as deep where each is an object with declared
 *   properties behind a $ref. Where more than GRAMMAR_HEADS_MAX alternatives are open at once, the
 *   last of them are given up.
 *
 * A list of texts in place of a schema, none of them empty: one of them comes, as it is, and no
 * white space before it.
 *
 * A list of objects is *watched text*: any text, in which values stand.
 *
 *   behind                 texts, none of them empty. Where they have come one after another,
 *                          with any white space (space, tab, CR, LF) or none between two of
 *                          them, a value follows, and behind it the text is free again. White
 *                          space may come before the value as behind an opening bracket. Of
 *                          several that could have come the one that is complete first counts,
 *                          of those complete at once the first of the list. A last text that
 *                          ends in { holds the value's first byte: no white space before it
 *   schema                 of the value. A reference that begins with # stays within it; what
 *                          has an $id may be named by other schemas of the list
 *   parameters             true: or an object as Qwen3-Coder spells it, if its schema can be
 *                          followed so: below
 *   optional               true: where no value can be had by this schema, it is left out
 *
 * Where the text is free it may end, and any byte and any token may come, those without bytes too,
 * that does not lead into a value otherwise than its schema says. Nothing makes a value come. So a
 * text in which none comes has the law that it has without a grammar.
 *
 * With `parameters` an object may also come as <parameter=name>, its value and </parameter> for
 * each of its declared properties, in any order, and </function>, white space between them as
 * behind an opening bracket. Others do not come. server/tool_function.c reads it, and what comes is
 * read as an object of the schema: a string that may be any (or null, or true and false, which it
 * is then read as) is any text without the end tag; strings of enum and const stand as they are, a
 * line feed or none around them; all else is JSON in which no string holds the end tag. Where the
 * schema is no plain list of properties, or says something else of a value that may be a string,
 * there is JSON alone.
 *
 * A grammar is immutable but for its count of references: any thread may use it. A state is a plain
 * value that belongs to its holder; nothing here allocates but grammar_compile.
 */
#ifndef SPECD_GRAMMAR_H
#define SPECD_GRAMMAR_H

#include "specd/request.h"

#define GRAMMAR_STACK_MAX 64
#define GRAMMAR_HEADS_MAX 64
#define GRAMMAR_FRAMES_MAX 256
#define GRAMMAR_UNORDERED_MAX 16
#define GRAMMAR_INDENT_MAX 40
#define GRAMMAR_TABS_MAX 16

/* Limits of a schema. */
#define GRAMMAR_DEPTH_MAX 64        /* levels of its own nesting */
#define GRAMMAR_VALUES_MAX 200000   /* JSON values in it */
#define GRAMMAR_ENUM_MAX 10000      /* entries of one enum */
#define GRAMMAR_PROPERTIES_MAX 1000 /* names of one object */
#define GRAMMAR_REFS_MAX 4096       /* different places that $ref names */
#define GRAMMAR_NODES_MAX (1 << 18) /* of the network */

struct grammar;

/* schema NULL: any JSON object. *out is one reference. SPECD_EINVAL with the place in the schema
 * and the reason. */
int grammar_compile(struct grammar **out, const struct chat_value *schema, char *err,
                    size_t errlen);
struct grammar *grammar_ref(struct grammar *g); /* returns g */
void grammar_unref(struct grammar *g);          /* frees it with the last reference; NULL is fine */
uint64_t grammar_id(const struct grammar *g);   /* no other grammar of this process has it */

/* Stacks share their lower parts: a frame's parent is the frame below it. */
struct grammar_frame {
    uint32_t used[2]; /* of a set: bits of the members that have come, low half first */
    uint32_t node, count;
    uint16_t parent;
    uint8_t sub, depth;
};

/* Compare, hash and copy with the functions below: only the used parts are set. */
struct grammar_state {
    uint16_t n_heads, n_frames;
    bool may_end;
    uint16_t heads[GRAMMAR_HEADS_MAX]; /* tops of the stacks */
    struct grammar_frame frames[GRAMMAR_FRAMES_MAX];
};

void grammar_start(const struct grammar *g, struct grammar_state *s);
/* false, and *s unchanged, if no text of the grammar goes on with these bytes. */
bool grammar_accept(const struct grammar *g, struct grammar_state *s, const void *bytes, size_t n);
/* One byte from one state to another; to's content is lost if false. They must differ. */
bool grammar_step(const struct grammar *g, const struct grammar_state *from, uint8_t byte,
                  struct grammar_state *to);
bool grammar_may_end(const struct grammar_state *s); /* what was read is a whole text */
bool grammar_is_over(const struct grammar_state *s); /* ... and nothing may follow */
/* Any text may go on there, and tokens that have no bytes may stand in it. */
bool grammar_is_free(const struct grammar *g, const struct grammar_state *s);
void grammar_state_copy(struct grammar_state *to, const struct grammar_state *from);
/* The only byte that may come next, and the text may not end; -1: there are others, or it is not
 * plain that there are none. */
int grammar_forced(const struct grammar *g, const struct grammar_state *s);
/* Equal states go on alike; unequal ones may, too. */
bool grammar_state_equal(const struct grammar_state *a, const struct grammar_state *b);
uint64_t grammar_state_hash(const struct grammar_state *s);

#endif
