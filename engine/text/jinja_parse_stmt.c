/*
 * Statements and the text between them.
 */
#include "text/jinja_parse.h"

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
    parse_fail_at(p, t->line, "unknown tag '%.*s'", (int)MIN(t->value.len, 60), t->value.s);
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
                      (int)MIN(n->apply.name.len, 60), n->apply.name.s);
}

const struct node *parse_body(struct parser *p, const char *const *ends)
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
