/*
 * The parser's ground: failure, memory, names, the tokens; and jinja_compile.
 */
#include "text/jinja_parse.h"
#include "text/jinja_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the parser's ground --------------------------------------------------------------------- */

_Noreturn void parse_fail_at(struct parser *p, uint32_t line, const char *fmt, ...)
{
    char reason[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    fail(0, p->err, p->errlen, "line %u: %s", (unsigned)line, reason);
    longjmp(p->trap, 1);
}

void *parse_alloc(struct parser *p, size_t n, size_t size)
{
    size_t bytes;
    void *mem = size_mul(n, size, &bytes)
                    ? jinja_arena_alloc(&p->arena, bytes, size == 1 ? 1 : _Alignof(max_align_t))
                    : NULL;
    if (!mem)
        parse_fail_at(p, p->line, "too large");
    return mem;
}

void *parse_grow(struct parser *p, void *array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 16;
    void *larger = parse_alloc(p, *cap, size);
    if (n > 0)
        memcpy(larger, array, n * size);
    return larger;
}

struct node *parse_node(struct parser *p, enum node_kind kind)
{
    struct node *n = parse_alloc(p, 1, sizeof *n);
    *n = (struct node){.kind = (uint8_t)kind, .line = tok_peek(p)->line};
    return n;
}

void node_append(struct node_list *l, struct node *n)
{
    if (l->last)
        l->last->next = n;
    else
        l->first = n;
    l->last = n;
}

static bool same_text(struct jv a, struct jv b)
{
    return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

uint32_t parse_symbol(struct parser *p, struct jv name)
{
    for (size_t i = 0; i < p->n_names; i++) {
        if (same_text(p->names[i], name))
            return (uint32_t)i;
    }
    if (p->n_names == PARSE_NAMES_MAX)
        parse_fail_at(p, tok_peek(p)->line, "more than %d names", PARSE_NAMES_MAX);
    p->names = parse_grow(p, p->names, p->n_names, &p->cap_names, sizeof *p->names);
    p->names[p->n_names] = name;
    return (uint32_t)p->n_names++;
}

void parse_enter(struct parser *p)
{
    if (++p->depth > PARSE_DEPTH_MAX)
        parse_fail_at(p, tok_peek(p)->line, "nested too deeply");
}

void parse_leave(struct parser *p)
{
    p->depth--;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

const struct token *tok_peek(const struct parser *p)
{
    return &p->tokens[p->at];
}

const struct token *tok_next(struct parser *p)
{
    const struct token *t = tok_peek(p);
    if (t->kind != T_EOF)
        p->at++;
    return t;
}

bool tok_is(const struct parser *p, enum tok kind)
{
    return tok_peek(p)->kind == kind;
}

bool tok_is_name(const struct parser *p, const char *name)
{
    return tok_is(p, T_NAME) && jv_is_str(tok_peek(p)->value, name);
}

bool tok_skip(struct parser *p, enum tok kind)
{
    return tok_is(p, kind) && tok_next(p);
}

bool tok_skip_name(struct parser *p, const char *name)
{
    return tok_is_name(p, name) && tok_next(p);
}

_Noreturn void tok_unexpected(struct parser *p, const char *wanted)
{
    const struct token *t = tok_peek(p);
    if (t->kind == T_EOF)
        parse_fail_at(p, t->line, "unexpected end of template, expected %s", wanted);
    if (t->kind == T_VAR_END || t->kind == T_BLOCK_END)
        parse_fail_at(p, t->line, "unexpected end of tag, expected %s", wanted);
    if (t->kind == T_INT || t->kind == T_FLOAT)
        parse_fail_at(p, t->line, "unexpected number, expected %s", wanted);
    parse_fail_at(p, t->line, "unexpected '%.*s', expected %s", (int)MIN(t->value.len, 60),
                  t->value.s, wanted);
}

const struct token *tok_expect(struct parser *p, enum tok kind, const char *what)
{
    if (!tok_is(p, kind))
        tok_unexpected(p, what);
    return tok_next(p);
}

/* ---- compilation ----------------------------------------------------------------------------- */

/* Newlines of every kind become \n, and one at the very end goes away. */
static void set_source(struct parser *p, const char *source, size_t len)
{
    char *copy = parse_alloc(p, MAX(len, 1), 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        bool pair = source[i] == '\r' && i + 1 < len && source[i + 1] == '\n';
        if (!pair)
            copy[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    p->src = copy;
    p->len = n > 0 && copy[n - 1] == '\n' ? n - 1 : n;
}

static bool parse_all(struct parser *p, const char *source, size_t len, struct jinja *t)
{
    if (setjmp(p->trap) != 0)
        return false;
    set_source(p, source, len);
    parse_tokenize(p);
    t->body = parse_body(p, NULL);
    return true;
}

int jinja_compile(struct jinja **out, const char *source, size_t len, char *err, size_t errlen)
{
    if (len > JINJA_SOURCE_MAX)
        return fail(SPECD_EINVAL, err, errlen, "longer than %zu KiB", JINJA_SOURCE_MAX >> 10);
    struct jinja *t = xcalloc(1, sizeof *t);
    struct parser *p = xcalloc(1, sizeof *p);
    *p = (struct parser){.line = 1, .err = err, .errlen = errlen};
    p->arena.limit = JINJA_MEMORY_MAX;
    bool ok = parse_all(p, source, len, t);
    t->arena = p->arena;
    t->names = p->names;
    t->n_names = p->n_names;
    free(p);
    if (!ok) {
        jinja_free(t);
        return SPECD_EINVAL;
    }
    *out = t;
    return 0;
}

void jinja_free(struct jinja *t)
{
    if (!t)
        return;
    jinja_arena_free(&t->arena);
    free(t);
}
