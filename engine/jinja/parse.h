/*
 * parse.h - the compiler's state, shared by lexer and parser.
 *
 * The whole source is cut into tokens first; the parser, a recursive descent with the structure of
 * Jinja's grammar, then walks them. Errors leave by longjmp to jinja_compile; the arena is all
 * there is to free.
 */
#ifndef SPECD_JINJA_PARSE_H
#define SPECD_JINJA_PARSE_H

#include "specd/arena.h"
#include "jinja/ast.h"

#include <setjmp.h>

#define PARSE_DEPTH_MAX 400  /* brackets, operators and blocks inside one another */
#define PARSE_NAMES_MAX 4096 /* different names in a template */

enum tok {
    T_EOF,
    T_DATA,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_ASSIGN,
    T_DOT,
    T_COMMA,
    T_COLON,
    T_PIPE,
    T_SEMICOLON,
    T_LPAREN,
    T_RPAREN,
    T_LBRACKET,
    T_RBRACKET,
    T_LBRACE,
    T_RBRACE
};

struct token {
    enum tok kind;
    uint32_t line;
    struct jv value; /* T_DATA, T_NAME, T_STRING: text; T_INT, T_FLOAT: number */
};

struct parser {
    struct arena arena;
    const char *src; /* newlines are \n */
    size_t len, pos;
    uint32_t line;
    char brackets[PARSE_DEPTH_MAX]; /* that the lexer still expects to close */
    size_t n_brackets;
    struct token *tokens;
    size_t n_tokens, cap_tokens, at;
    struct jv *names;
    size_t n_names, cap_names;
    int depth;
    int loops;                  /* for loops around, within the innermost macro */
    bool soft;                  /* inside an if */
    const struct node *unknown; /* filter or test that does not exist, outside any if so far */
    size_t unknown_at;          /* its token */
    struct macro *macro;        /* being parsed, or NULL */
    jmp_buf trap;
    char *err;
    size_t errlen;
};

_Noreturn void parse_fail_at(struct parser *p, uint32_t line, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void *parse_alloc(struct parser *p, size_t n, size_t size);
/* Doubles an array in the arena when it is full. */
void *parse_grow(struct parser *p, void *array, size_t n, size_t *cap, size_t size);

/* lexer.c */
void parse_tokenize(struct parser *p);

/* parser.c */
struct node *parse_node(struct parser *p, enum node_kind kind);
uint32_t parse_symbol(struct parser *p, struct jv name);
void parse_enter(struct parser *p);
void parse_leave(struct parser *p);

const struct token *tok_peek(const struct parser *p);
const struct token *tok_next(struct parser *p);
bool tok_is(const struct parser *p, enum tok kind);
bool tok_is_name(const struct parser *p, const char *name);
bool tok_skip(struct parser *p, enum tok kind);
bool tok_skip_name(struct parser *p, const char *name);
const struct token *tok_expect(struct parser *p, enum tok kind, const char *what);
_Noreturn void tok_unexpected(struct parser *p, const char *wanted); /* at the current token */

/* A chain of nodes under construction. */
struct node_list {
    const struct node *first;
    struct node *last;
};
void node_append(struct node_list *l, struct node *n);

/* expression.c */
struct node *parse_expression(struct parser *p);
/* An expression, or a tuple without brackets. stop: a name that ends it, or NULL. */
struct node *parse_tuple(struct parser *p, bool with_cond, const char *stop);
/* Filters on input; NULL: on a block's text. */
struct node *parse_filters(struct parser *p, struct node *input, bool first_pipe_read);
struct node *parse_target(struct parser *p, bool with_namespace);
struct node *parse_name_target(struct parser *p);

#endif
