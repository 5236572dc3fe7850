/*
 * Expressions: names and literals, subscripts, calls, filters and tests, and around them the
 * operators, with Jinja's precedence, loosest first:
 *   a if b else c · or · and · not · comparisons, in · + - · ~ · * / // % · ** · unary + -
 */
#include "jinja/parse.h"
#include "jinja/run.h"

#include <string.h>

static struct node *parse_or(struct parser *p); /* an expression without `a if b else c` */

static struct node *parse_pair(struct parser *p, enum node_kind kind, const struct node *left,
                               const struct node *right)
{
    struct node *n = parse_node(p, kind);
    n->line = left->line;
    n->pair.left = left;
    n->pair.right = right;
    return n;
}

static struct node *const_node(struct parser *p, struct jv value)
{
    struct node *n = parse_node(p, NODE_CONST);
    n->value = value;
    return n;
}

/* ---- primaries ------------------------------------------------------------------------------- */

/* Remembers that the macro around mentions a name that macros provide only then. */
static void note_special_name(struct parser *p, struct jv name)
{
    if (!p->macro)
        return;
    p->macro->uses_caller |= jv_is_str(name, "caller");
    p->macro->uses_kwargs |= jv_is_str(name, "kwargs");
    p->macro->uses_varargs |= jv_is_str(name, "varargs");
}

/* true, True, none ...: names that are constants. */
static bool named_constant(struct jv name, struct jv *value)
{
    bool yes = jv_is_str(name, "true") || jv_is_str(name, "True");
    bool none = jv_is_str(name, "none") || jv_is_str(name, "None");
    *value = none ? jv_none() : jv_bool(yes);
    return yes || none || jv_is_str(name, "false") || jv_is_str(name, "False");
}

static struct node *parse_name(struct parser *p)
{
    struct jv name = tok_peek(p)->value, value;
    struct node *n;
    if (named_constant(name, &value)) {
        n = const_node(p, value);
    } else {
        n = parse_node(p, NODE_NAME);
        n->symbol = parse_symbol(p, name);
        note_special_name(p, name);
    }
    tok_next(p);
    return n;
}

static struct node *parse_string(struct parser *p)
{
    struct node *n = const_node(p, tok_next(p)->value);
    while (tok_is(p, T_STRING)) { /* 'a' 'b' is one string */
        struct jv a = n->value, b = tok_next(p)->value;
        char *joined = parse_alloc(p, MAX(a.len + b.len, 1), 1);
        memcpy(joined, a.s, a.len);
        memcpy(joined + a.len, b.s, b.len);
        n->value = jv_own(jv_str(joined, a.len + b.len));
    }
    return n;
}

static struct node *parse_list(struct parser *p)
{
    struct node *n = parse_node(p, NODE_LIST);
    struct node_list items = {0};
    tok_next(p);
    while (!tok_is(p, T_RBRACKET)) {
        if (items.first) {
            tok_expect(p, T_COMMA, "',' or ']'");
            if (tok_is(p, T_RBRACKET))
                break;
        }
        node_append(&items, parse_expression(p));
    }
    tok_next(p);
    n->items = items.first;
    return n;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = parse_node(p, NODE_DICT);
    struct node_list items = {0};
    tok_next(p);
    while (!tok_is(p, T_RBRACE)) {
        if (items.first) {
            tok_expect(p, T_COMMA, "',' or '}'");
            if (tok_is(p, T_RBRACE))
                break;
        }
        node_append(&items, parse_expression(p));
        tok_expect(p, T_COLON, "':'");
        node_append(&items, parse_expression(p));
    }
    tok_next(p);
    n->items = items.first;
    return n;
}

static bool at_tuple_end(const struct parser *p, const char *stop)
{
    return tok_is(p, T_VAR_END) || tok_is(p, T_BLOCK_END) || tok_is(p, T_RPAREN) ||
           (stop && tok_is_name(p, stop));
}

static struct node *parse_tuple_items(struct parser *p, bool with_cond, const char *stop,
                                      bool in_brackets)
{
    struct node *n = parse_node(p, NODE_TUPLE);
    struct node_list items = {0};
    bool is_tuple = false;
    while (!at_tuple_end(p, stop)) {
        node_append(&items, with_cond ? parse_expression(p) : parse_or(p));
        if (!tok_skip(p, T_COMMA))
            break;
        is_tuple = true;
    }
    if (!is_tuple && items.first)
        return items.last;
    if (!items.first && !in_brackets)
        tok_unexpected(p, "an expression");
    n->items = items.first;
    return n;
}

struct node *parse_tuple(struct parser *p, bool with_cond, const char *stop)
{
    return parse_tuple_items(p, with_cond, stop, false);
}

static struct node *parse_primary(struct parser *p)
{
    struct node *n;
    switch (tok_peek(p)->kind) {
    case T_NAME:
        return parse_name(p);
    case T_STRING:
        return parse_string(p);
    case T_INT:
    case T_FLOAT:
        n = const_node(p, tok_peek(p)->value);
        tok_next(p);
        return n;
    case T_LPAREN:
        tok_next(p);
        n = parse_tuple_items(p, true, NULL, true);
        tok_expect(p, T_RPAREN, "')'");
        return n;
    case T_LBRACKET:
        return parse_list(p);
    case T_LBRACE:
        return parse_dict(p);
    default:
        tok_unexpected(p, "an expression");
    }
}

/* ---- subscripts, calls, filters, tests ------------------------------------------------------- */

static struct node *slice_part(struct parser *p)
{
    bool absent = tok_is(p, T_COLON) || tok_is(p, T_RBRACKET) || tok_is(p, T_COMMA);
    return absent ? NULL : parse_expression(p);
}

static struct node *parse_subscript(struct parser *p)
{
    struct node *lo = tok_is(p, T_COLON) ? NULL : parse_expression(p);
    if (!tok_skip(p, T_COLON))
        return lo;
    struct node *n = parse_node(p, NODE_SLICE);
    n->slice.lo = lo;
    n->slice.hi = slice_part(p);
    if (tok_skip(p, T_COLON))
        n->slice.step = slice_part(p);
    return n;
}

static struct node *parse_dot(struct parser *p, struct node *object)
{
    tok_next(p);
    if (tok_is(p, T_INT)) {
        struct node *index = const_node(p, tok_peek(p)->value);
        tok_next(p);
        return parse_pair(p, NODE_ITEM, object, index);
    }
    struct node *n = parse_node(p, NODE_ATTR);
    n->attr.object = object;
    n->attr.name = tok_expect(p, T_NAME, "a name or number")->value;
    return n;
}

static struct node *parse_brackets(struct parser *p, struct node *object)
{
    struct node_list keys = {0};
    tok_next(p);
    do
        node_append(&keys, parse_subscript(p));
    while (tok_skip(p, T_COMMA));
    tok_expect(p, T_RBRACKET, "']'");
    if (keys.first == keys.last)
        return parse_pair(p, NODE_ITEM, object, keys.first);
    struct node *tuple = parse_node(p, NODE_TUPLE);
    tuple->items = keys.first;
    return parse_pair(p, NODE_ITEM, object, tuple);
}

static struct node *parse_argument(struct parser *p)
{
    struct node *n;
    if (tok_is(p, T_MUL) || tok_is(p, T_POW)) {
        n = parse_node(p, tok_is(p, T_MUL) ? NODE_STAR : NODE_STAR_STAR);
        tok_next(p);
        n->pair.left = parse_expression(p);
    } else if (tok_is(p, T_NAME) && p->tokens[p->at + 1].kind == T_ASSIGN) {
        n = parse_node(p, NODE_KEYWORD);
        n->attr.name = tok_next(p)->value;
        tok_next(p);
        n->attr.object = parse_expression(p);
    } else {
        n = parse_expression(p);
    }
    return n;
}

/* Positional, then keywords, *args once, **kwargs last. */
static int argument_rank(const struct node *n)
{
    return n->kind == NODE_KEYWORD     ? 1
           : n->kind == NODE_STAR      ? 2
           : n->kind == NODE_STAR_STAR ? 3
                                       : 0;
}

static const struct node *parse_args(struct parser *p)
{
    struct node_list args = {0};
    int before = 0;
    uint32_t line = tok_expect(p, T_LPAREN, "'('")->line;
    while (!tok_is(p, T_RPAREN)) {
        if (args.first) {
            tok_expect(p, T_COMMA, "',' or ')'");
            if (tok_is(p, T_RPAREN))
                break;
        }
        struct node *arg = parse_argument(p);
        int rank = argument_rank(arg);
        bool starred = before >= 2;
        if ((rank == 0 && before > 0) || (rank >= 2 && rank <= before) ||
            (rank == 1 && before == 3))
            parse_fail_at(p, line, "invalid order of arguments in a call");
        before = starred ? MAX(before, rank) : rank;
        node_append(&args, arg);
    }
    tok_next(p);
    return args.first;
}

static struct node *parse_call(struct parser *p, struct node *callee)
{
    struct node *n = parse_node(p, NODE_CALL);
    n->call.callee = callee;
    n->call.args = parse_args(p);
    return n;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    for (;;) {
        if (tok_is(p, T_DOT))
            n = parse_dot(p, n);
        else if (tok_is(p, T_LBRACKET))
            n = parse_brackets(p, n);
        else if (tok_is(p, T_LPAREN))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* As jinja2 has it, a filter or test that does not exist matters at once, except in an if, where it
 * matters when it is reached. An expression may turn out to be an if only behind it. */
static void note_unknown(struct parser *p, const struct node *n)
{
    if (n->apply.func || p->soft || p->unknown)
        return;
    p->unknown = n;
    p->unknown_at = p->at;
}

struct node *parse_filters(struct parser *p, struct node *input, bool first_pipe_read)
{
    while (first_pipe_read || tok_skip(p, T_PIPE)) {
        first_pipe_read = false;
        struct node *n = parse_node(p, NODE_FILTER);
        n->apply.input = input;
        n->apply.name = tok_expect(p, T_NAME, "a filter's name")->value;
        n->apply.func = jinja_filter_find(n->apply.name);
        note_unknown(p, n);
        if (tok_is(p, T_LPAREN))
            n->apply.args = parse_args(p);
        input = n;
    }
    return input;
}

/* `is divisibleby 3`: one argument without brackets. */
static bool at_test_argument(const struct parser *p)
{
    switch (tok_peek(p)->kind) {
    case T_NAME:
        return !tok_is_name(p, "else") && !tok_is_name(p, "or") && !tok_is_name(p, "and");
    case T_STRING:
    case T_INT:
    case T_FLOAT:
    case T_LBRACKET:
    case T_LBRACE:
        return true;
    default:
        return false;
    }
}

static struct node *parse_test(struct parser *p, struct node *input)
{
    tok_next(p);
    bool negated = tok_skip_name(p, "not");
    struct node *n = parse_node(p, NODE_TEST);
    n->apply.input = input;
    n->apply.name = tok_expect(p, T_NAME, "a test's name")->value;
    n->apply.func = jinja_test_find(n->apply.name);
    note_unknown(p, n);
    if (tok_is(p, T_LPAREN)) {
        n->apply.args = parse_args(p);
    } else if (at_test_argument(p)) {
        if (tok_is_name(p, "is"))
            parse_fail_at(p, tok_peek(p)->line, "tests can't be chained with 'is'");
        n->apply.args = parse_postfix(p, parse_primary(p));
    }
    return negated ? parse_pair(p, NODE_NOT, n, NULL) : n;
}

static struct node *parse_filters_and_tests(struct parser *p, struct node *n)
{
    for (;;) {
        if (tok_is(p, T_PIPE))
            n = parse_filters(p, n, false);
        else if (tok_is_name(p, "is"))
            n = parse_test(p, n);
        else if (tok_is(p, T_LPAREN))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* ---- operators ------------------------------------------------------------------------------- */

static struct node *parse_unary(struct parser *p, bool with_filter)
{
    struct node *n;
    parse_enter(p);
    if (tok_is(p, T_SUB) || tok_is(p, T_ADD)) {
        enum node_kind kind = tok_is(p, T_SUB) ? NODE_NEG : NODE_POS;
        tok_next(p);
        n = parse_pair(p, kind, parse_unary(p, false), NULL);
    } else {
        n = parse_primary(p);
    }
    n = parse_postfix(p, n);
    if (with_filter)
        n = parse_filters_and_tests(p, n);
    parse_leave(p);
    return n;
}

static struct node *binary_node(struct parser *p, enum binary_op op, const struct node *left,
                                const struct node *right)
{
    struct node *n = parse_pair(p, NODE_BINARY, left, right);
    n->op = (uint8_t)op;
    return n;
}

static struct node *parse_power(struct parser *p)
{
    struct node *n = parse_unary(p, true);
    while (tok_skip(p, T_POW))
        n = binary_node(p, OP_POW, n, parse_unary(p, true));
    return n;
}

static struct node *parse_product(struct parser *p)
{
    struct node *n = parse_power(p);
    for (;;) {
        enum tok kind = tok_peek(p)->kind;
        enum binary_op op = kind == T_MUL        ? OP_MUL
                            : kind == T_DIV      ? OP_DIV
                            : kind == T_FLOORDIV ? OP_FLOORDIV
                                                 : OP_MOD;
        if (op == OP_MOD && kind != T_MOD)
            return n;
        tok_next(p);
        n = binary_node(p, op, n, parse_power(p));
    }
}

static struct node *parse_concat(struct parser *p)
{
    struct node *first = parse_product(p);
    if (!tok_is(p, T_TILDE))
        return first;
    struct node *n = parse_node(p, NODE_CONCAT);
    struct node_list items = {0};
    node_append(&items, first);
    while (tok_skip(p, T_TILDE))
        node_append(&items, parse_product(p));
    n->items = items.first;
    return n;
}

static struct node *parse_sum(struct parser *p)
{
    struct node *n = parse_concat(p);
    while (tok_is(p, T_ADD) || tok_is(p, T_SUB)) {
        enum binary_op op = tok_next(p)->kind == T_ADD ? OP_ADD : OP_SUB;
        n = binary_node(p, op, n, parse_concat(p));
    }
    return n;
}

static bool comparison(struct parser *p, enum compare_op *op)
{
    static const enum compare_op ops[] = {
        [T_EQ] = CMP_EQ, [T_NE] = CMP_NE, [T_LT] = CMP_LT,
        [T_LE] = CMP_LE, [T_GT] = CMP_GT, [T_GE] = CMP_GE,
    };
    enum tok kind = tok_peek(p)->kind;
    if (kind >= T_EQ && kind <= T_GE) {
        *op = ops[kind];
    } else if (tok_is_name(p, "in")) {
        *op = CMP_IN;
    } else if (tok_is_name(p, "not") && p->tokens[p->at + 1].kind == T_NAME &&
               jv_is_str(p->tokens[p->at + 1].value, "in")) {
        tok_next(p);
        *op = CMP_NOT_IN;
    } else {
        return false;
    }
    tok_next(p);
    return true;
}

static struct node *parse_comparison(struct parser *p)
{
    struct node *first = parse_sum(p);
    struct node_list operands = {0};
    for (enum compare_op op; comparison(p, &op);) {
        struct node *n = parse_pair(p, NODE_OPERAND, parse_sum(p), NULL);
        n->op = (uint8_t)op;
        node_append(&operands, n);
    }
    return operands.first ? parse_pair(p, NODE_COMPARE, first, operands.first) : first;
}

static struct node *parse_not(struct parser *p)
{
    if (!tok_skip_name(p, "not"))
        return parse_comparison(p);
    parse_enter(p);
    struct node *n = parse_pair(p, NODE_NOT, parse_not(p), NULL);
    parse_leave(p);
    return n;
}

static struct node *parse_and(struct parser *p)
{
    struct node *n = parse_not(p);
    while (tok_skip_name(p, "and"))
        n = parse_pair(p, NODE_AND, n, parse_not(p));
    return n;
}

static struct node *parse_or(struct parser *p)
{
    struct node *n = parse_and(p);
    while (tok_skip_name(p, "or"))
        n = parse_pair(p, NODE_OR, n, parse_and(p));
    return n;
}

struct node *parse_expression(struct parser *p)
{
    parse_enter(p);
    size_t start = p->at;
    struct node *n = parse_or(p);
    while (tok_skip_name(p, "if")) {
        struct node *cond = parse_node(p, NODE_COND);
        cond->cond.body = n;
        cond->cond.test = parse_or(p);
        if (tok_skip_name(p, "else"))
            cond->cond.otherwise = parse_expression(p);
        n = cond;
    }
    if (n->kind == NODE_COND && p->unknown && p->unknown_at >= start)
        p->unknown = NULL;
    parse_leave(p);
    return n;
}

/* ---- targets --------------------------------------------------------------------------------- */

struct node *parse_name_target(struct parser *p)
{
    struct jv name = tok_expect(p, T_NAME, "a name")->value, value;
    if (named_constant(name, &value))
        parse_fail_at(p, tok_peek(p)->line, "can't assign to '%.*s'", (int)name.len, name.s);
    struct node *n = parse_node(p, NODE_NAME);
    n->symbol = parse_symbol(p, name);
    return n;
}

static struct node *parse_target_item(struct parser *p, bool with_namespace)
{
    if (tok_skip(p, T_LPAREN)) {
        parse_enter(p);
        struct node *n = parse_target(p, with_namespace);
        parse_leave(p);
        tok_expect(p, T_RPAREN, "')'");
        return n;
    }
    struct node *n = parse_name_target(p);
    if (with_namespace && tok_skip(p, T_DOT)) {
        n->kind = NODE_NS_REF;
        n->ns.symbol = n->symbol;
        n->ns.name = tok_expect(p, T_NAME, "a name")->value;
    }
    return n;
}

struct node *parse_target(struct parser *p, bool with_namespace)
{
    struct node *tuple = parse_node(p, NODE_TUPLE);
    struct node_list items = {0};
    bool is_tuple = false;
    do {
        if (items.first && (at_tuple_end(p, "in") || tok_is(p, T_ASSIGN)))
            break;
        node_append(&items, parse_target_item(p, with_namespace));
        is_tuple |= tok_is(p, T_COMMA);
    } while (tok_skip(p, T_COMMA));
    if (!is_tuple)
        return items.last;
    tuple->items = items.first;
    return tuple;
}
