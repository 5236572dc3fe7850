/*
 * ast.h - a template's syntax tree: what the parser makes and the evaluator walks.
 *
 * Nodes lie in the template's arena and never change after compilation. Lists of nodes are chained
 * by `next`.
 */
#ifndef SPECD_JINJA_AST_H
#define SPECD_JINJA_AST_H

#include "jinja/value.h"

enum node_kind {
    /* expressions */
    NODE_CONST,
    NODE_NAME,
    NODE_TUPLE,
    NODE_LIST,
    NODE_DICT, /* items: key, value, key, value ... */
    NODE_NEG,
    NODE_POS,
    NODE_NOT,
    NODE_AND,
    NODE_OR,
    NODE_BINARY,
    NODE_CONCAT,
    NODE_COMPARE,
    NODE_OPERAND, /* of a comparison: op and pair.left */
    NODE_COND,
    NODE_ATTR,
    NODE_ITEM,
    NODE_SLICE,
    NODE_CALL,
    NODE_FILTER,
    NODE_TEST,
    /* arguments of a call; a positional one is any expression */
    NODE_KEYWORD,
    NODE_STAR,
    NODE_STAR_STAR,
    /* targets of an assignment; also NODE_NAME, NODE_TUPLE */
    NODE_NS_REF,
    /* statements */
    NODE_TEXT,
    NODE_OUTPUT,
    NODE_IF,
    NODE_FOR,
    NODE_SET,
    NODE_SET_BLOCK,
    NODE_WITH,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_SCOPE, /* a body with variables of its own */
    NODE_BREAK,
    NODE_CONTINUE
};

enum binary_op { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW };
enum compare_op { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

struct param {
    uint32_t name;
    const struct node *otherwise; /* or NULL */
};

struct macro {
    struct jv name;
    uint32_t symbol;
    struct param *params;
    size_t n_params;
    const struct node *body;
    /* Names the body mentions: they exist in a macro only then, as jinja2 has it. */
    bool uses_caller, uses_kwargs, uses_varargs;
    uint32_t caller, kwargs, varargs; /* their symbols */
};

struct node {
    uint8_t kind;
    uint8_t op;
    uint32_t line;
    const struct node *next;
    union {
        struct jv value;          /* NODE_CONST, NODE_TEXT */
        uint32_t symbol;          /* NODE_NAME */
        const struct node *items; /* NODE_TUPLE, _LIST, _DICT, _CONCAT, _OUTPUT, _SCOPE */
        struct {
            const struct node *left, *right; /* _ITEM: object and key; _COMPARE: operands right */
        } pair;
        struct {
            const struct node *test, *body, *otherwise; /* NODE_IF: otherwise may be one NODE_IF */
        } cond;
        struct {
            const struct node *object;
            struct jv name;
        } attr; /* NODE_ATTR; NODE_KEYWORD: name and its value */
        struct {
            uint32_t symbol;
            struct jv name;
        } ns;
        struct {
            const struct node *lo, *hi, *step;
        } slice;
        struct {
            const struct node *callee, *args;
        } call;
        struct {
            const struct node *input;      /* NULL: the block's text */
            const struct jinja_func *func; /* NULL: unknown, an error when reached */
            struct jv name;
            const struct node *args;
        } apply; /* NODE_FILTER, NODE_TEST */
        struct {
            const struct node *target, *seq, *test, *body, *otherwise;
            uint32_t loop; /* symbol of `loop` */
            bool recursive;
        } loop;
        struct {
            const struct node *target, *value; /* _SET_BLOCK: filters or NULL; _WITH: lists */
            const struct node *body;
        } set;
        struct macro *macro; /* NODE_MACRO */
        struct {
            struct macro *macro; /* the block, as its caller */
            const struct node *call;
        } call_block;
        struct {
            const struct node *filter, *body;
        } filter_block;
    };
};

#endif
