/*
 * Operators, with Jinja's precedence, loosest first:
 *   a if b else c · or · and · not · comparisons, in · + - · ~ · * / // % · ** · unary + -
 */
#include "text/jinja_parse.h"

struct node *parse_pair(struct parser *p, enum node_kind kind, const struct node *left,
                        const struct node *right)
{
    struct node *n = parse_node(p, kind);
    n->line = left->line;
    n->pair.left = left;
    n->pair.right = right;
    return n;
}

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

struct node *parse_or(struct parser *p)
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
