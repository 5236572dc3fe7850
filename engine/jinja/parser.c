/*
 * Templates to syntax trees: the parser's ground, statements and the text between them, and
 * jinja_compile.
 */
#include "jinja/parse.h"
#include "jinja/run.h"
#include "specd/error.h"

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
                    ? arena_alloc(&p->arena, bytes, size == 1 ? 1 : _Alignof(max_align_t))
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

uint32_t parse_symbol(struct parser *p, struct jv name)
{
    for (size_t i = 0; i < p->n_names; i++) {
        if (p->names[i].len == name.len && memcmp(p->names[i].s, name.s, name.len) == 0)
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
    parse_fail_at(p, t->line, "unexpected '%.*s', expected %s", JV_QUOTE(t->value), wanted);
}

const struct token *tok_expect(struct parser *p, enum tok kind, const char *what)
{
    if (!tok_is(p, kind))
        tok_unexpected(p, what);
    return tok_next(p);
}

/* ---- statements ------------------------------------------------------------------------------ */

/* Up to a tag named by one of `ends` (NULL-terminated, or NULL), or to the end. */
static const struct node *parse_body(struct parser *p, const char *const *ends);

/* A body that follows a tag's head: up to one of `ends` (NULL-terminated), which is not read. */
static const struct node *parse_block(struct parser *p, const char *const *ends)
{
    uint32_t line = tok_peek(p)->line;
    tok_skip(p, T_COLON);
    tok_expect(p, T_BLOCK_END, "end of tag");
    parse_enter(p);
    const struct node *body = parse_body(p, ends);
    parse_leave(p);
    if (tok_is(p, T_EOF))
        parse_fail_at(p, line, "tag is never closed: expected '%s'", ends[0]);
    return body;
}

static const struct node *parse_block_until(struct parser *p, const char *end)
{
    const char *ends[] = {end, NULL};
    const struct node *body = parse_block(p, ends);
    tok_next(p);
    return body;
}

/* The same for a body that jinja2 compiles to a frame of its own. */
static const struct node *parse_frame_until(struct parser *p, const char *end)
{
    bool soft = p->soft;
    p->soft = false;
    const struct node *body = parse_block_until(p, end);
    p->soft = soft;
    return body;
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    struct node *first = parse_node(p, NODE_IF), *n = first;
    bool soft = p->soft;
    p->soft = true;
    tok_next(p);
    for (;;) {
        n->cond.test = parse_tuple(p, false, NULL);
        n->cond.body = parse_block(p, ends);
        if (!tok_skip_name(p, "elif"))
            break;
        struct node *elif = parse_node(p, NODE_IF);
        n->cond.otherwise = elif;
        n = elif;
    }
    if (tok_skip_name(p, "else"))
        n->cond.otherwise = parse_block_until(p, "endif");
    else
        tok_next(p);
    p->soft = soft;
    return first;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct node *n = parse_node(p, NODE_FOR);
    tok_next(p);
    n->loop.loop = parse_symbol(p, jv_cstr("loop"));
    n->loop.target = parse_target(p, false);
    if (!tok_skip_name(p, "in"))
        tok_unexpected(p, "'in'");
    n->loop.seq = parse_tuple(p, false, "recursive");
    bool soft = p->soft;
    p->soft = false;
    if (tok_skip_name(p, "if"))
        n->loop.test = parse_expression(p);
    n->loop.recursive = tok_skip_name(p, "recursive");
    p->loops++;
    n->loop.body = parse_block(p, ends);
    p->loops--;
    if (tok_skip_name(p, "else"))
        n->loop.otherwise = parse_block_until(p, "endfor");
    else
        tok_next(p);
    p->soft = soft;
    return n;
}

static struct node *parse_set(struct parser *p)
{
    struct node *n = parse_node(p, NODE_SET);
    tok_next(p);
    n->set.target = parse_target(p, true);
    if (tok_skip(p, T_ASSIGN)) {
        n->set.value = parse_tuple(p, true, NULL);
        return n;
    }
    n->kind = NODE_SET_BLOCK;
    if (tok_is(p, T_PIPE))
        n->set.value = parse_filters(p, NULL, false);
    n->set.body = parse_frame_until(p, "endset");
    return n;
}

static struct node *parse_with(struct parser *p)
{
    struct node *n = parse_node(p, NODE_WITH);
    struct node_list targets = {0}, values = {0};
    tok_next(p);
    while (!tok_is(p, T_BLOCK_END)) {
        if (targets.first)
            tok_expect(p, T_COMMA, "','");
        node_append(&targets, parse_target(p, false));
        tok_expect(p, T_ASSIGN, "'='");
        node_append(&values, parse_expression(p));
    }
    n->set.target = targets.first;
    n->set.value = values.first;
    n->set.body = parse_frame_until(p, "endwith");
    return n;
}

static void parse_params(struct parser *p, struct macro *m)
{
    size_t cap = 0;
    bool defaults = false;
    tok_expect(p, T_LPAREN, "'('");
    while (!tok_is(p, T_RPAREN)) {
        if (m->n_params > 0)
            tok_expect(p, T_COMMA, "','");
        m->params = parse_grow(p, m->params, m->n_params, &cap, sizeof *m->params);
        struct param *param = &m->params[m->n_params++];
        *param = (struct param){.name = parse_name_target(p)->symbol};
        if (tok_skip(p, T_ASSIGN))
            param->otherwise = parse_expression(p);
        else if (defaults)
            parse_fail_at(p, tok_peek(p)->line, "non-default argument follows default argument");
        defaults = param->otherwise != NULL;
    }
    tok_next(p);
}

static struct macro *new_macro(struct parser *p)
{
    struct macro *m = parse_alloc(p, 1, sizeof *m);
    *m = (struct macro){
        .name = jv_cstr("caller"),
        .caller = parse_symbol(p, jv_cstr("caller")),
        .kwargs = parse_symbol(p, jv_cstr("kwargs")),
        .varargs = parse_symbol(p, jv_cstr("varargs")),
    };
    return m;
}

/* A macro's body is a function: no loop around it can be left from inside. What it mentions
 * counts for the macros around it as well. */
static void parse_macro_body(struct parser *p, struct macro *m, const char *end)
{
    struct macro *outer = p->macro;
    int loops = p->loops;
    p->macro = m;
    p->loops = 0;
    m->body = parse_frame_until(p, end);
    p->macro = outer;
    p->loops = loops;
    if (outer) {
        outer->uses_caller |= m->uses_caller;
        outer->uses_kwargs |= m->uses_kwargs;
        outer->uses_varargs |= m->uses_varargs;
    }
}

static struct node *parse_macro(struct parser *p)
{
    struct node *n = parse_node(p, NODE_MACRO);
    tok_next(p);
    n->macro = new_macro(p);
    n->macro->name = tok_peek(p)->value;
    n->macro->symbol = parse_name_target(p)->symbol;
    parse_params(p, n->macro);
    parse_macro_body(p, n->macro, "endmacro");
    return n;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *n = parse_node(p, NODE_CALL_BLOCK);
    tok_next(p);
    n->call_block.macro = new_macro(p);
    if (tok_is(p, T_LPAREN))
        parse_params(p, n->call_block.macro);
    n->call_block.call = parse_expression(p);
    if (n->call_block.call->kind != NODE_CALL)
        parse_fail_at(p, n->line, "expected a call");
    parse_macro_body(p, n->call_block.macro, "endcall");
    return n;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *n = parse_node(p, NODE_FILTER_BLOCK);
    tok_next(p);
    n->filter_block.filter = parse_filters(p, NULL, true);
    n->filter_block.body = parse_frame_until(p, "endfilter");
    return n;
}

/* Hugging Face's tag around what the assistant says; training masks aside, it only prints it. */
static struct node *parse_generation(struct parser *p)
{
    struct node *n = parse_node(p, NODE_SCOPE);
    int loops = p->loops;
    p->loops = 0;
    tok_next(p);
    n->items = parse_frame_until(p, "endgeneration");
    p->loops = loops;
    return n;
}

static struct node *parse_print(struct parser *p)
{
    struct node *n = parse_node(p, NODE_OUTPUT);
    struct node_list values = {0};
    tok_next(p);
    while (!tok_is(p, T_BLOCK_END)) {
        if (values.first)
            tok_expect(p, T_COMMA, "','");
        node_append(&values, parse_expression(p));
    }
    n->items = values.first;
    return n;
}

static struct node *parse_loop_control(struct parser *p)
{
    struct node *n = parse_node(p, tok_is_name(p, "break") ? NODE_BREAK : NODE_CONTINUE);
    tok_next(p);
    if (p->loops == 0)
        parse_fail_at(p, n->line, "'%s' outside a loop",
                      n->kind == NODE_BREAK ? "break" : "continue");
    return n;
}

static const struct {
    const char *name;
    struct node *(*parse)(struct parser *p);
} tags[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"with", parse_with},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"generation", parse_generation},
    {"print", parse_print},
    {"break", parse_loop_control},
    {"continue", parse_loop_control},
};

static struct node *parse_statement(struct parser *p)
{
    const struct token *t = tok_peek(p);
    if (t->kind != T_NAME)
        tok_unexpected(p, "a tag name");
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        if (tok_is_name(p, tags[i].name))
            return tags[i].parse(p);
    }
    parse_fail_at(p, t->line, "unknown tag '%.*s'", JV_QUOTE(t->value));
}

static struct node *parse_text(struct parser *p)
{
    struct node *n = parse_node(p, NODE_TEXT);
    n->value = tok_next(p)->value;
    return n;
}

static struct node *parse_output(struct parser *p)
{
    struct node *n = parse_node(p, NODE_OUTPUT);
    tok_next(p);
    n->items = parse_tuple(p, true, NULL);
    tok_expect(p, T_VAR_END, "end of tag");
    return n;
}

static bool at_any(const struct parser *p, const char *const *names)
{
    for (; names && *names; names++) {
        if (tok_is_name(p, *names))
            return true;
    }
    return false;
}

static void check_unknown(struct parser *p)
{
    const struct node *n = p->unknown;
    if (n)
        parse_fail_at(p, n->line, "no %s named '%.*s'", n->kind == NODE_FILTER ? "filter" : "test",
                      JV_QUOTE(n->apply.name));
}

static const struct node *parse_body(struct parser *p, const char *const *ends)
{
    struct node_list body = {0};
    for (; !tok_is(p, T_EOF); check_unknown(p)) {
        if (tok_is(p, T_DATA)) {
            node_append(&body, parse_text(p));
        } else if (tok_is(p, T_VAR_BEGIN)) {
            node_append(&body, parse_output(p));
        } else {
            tok_expect(p, T_BLOCK_BEGIN, "a tag");
            if (at_any(p, ends))
                break;
            node_append(&body, parse_statement(p));
            tok_expect(p, T_BLOCK_END, "end of tag");
        }
    }
    return body.first;
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
    arena_free(&t->arena);
    free(t);
}
