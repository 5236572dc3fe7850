/*
 * Expressions to values.
 */
#include "text/jinja_run.h"

static struct jv_vec eval_items(struct jinja_run *r, struct scope *s, const struct node *items)
{
    struct jv_vec v = {0};
    for (const struct node *n = items; n; n = n->next)
        jv_push(r, &v, jinja_eval(r, s, n));
    return v;
}

static struct jv eval_sequence(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv_vec v = eval_items(r, s, n->items);
    return n->kind == NODE_LIST ? jv_list(&v) : jv_tuple(&v);
}

static struct jv eval_dict(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv dict = jv_dict_new(r);
    for (const struct node *item = n->items; item; item = item->next->next) {
        struct jv key = jinja_eval(r, s, item);
        jv_dict_set(r, dict, key, jinja_eval(r, s, item->next));
    }
    return dict;
}

static struct jv eval_concat(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv text = jv_str(NULL, 0);
    for (const struct node *item = n->items; item; item = item->next)
        text = jinja_concat(r, text, jv_plain(r, jinja_eval(r, s, item)));
    return text;
}

static struct jv eval_compare(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv left = jinja_eval(r, s, n->pair.left);
    for (const struct node *operand = n->pair.right; operand; operand = operand->next) {
        struct jv right = jinja_eval(r, s, operand->pair.left);
        if (!jinja_compare(r, (enum compare_op)operand->op, left, right))
            return jv_bool(false);
        left = right;
    }
    return jv_bool(true);
}

static struct jv eval_logic(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv left = jinja_eval(r, s, n->pair.left);
    return jv_truth(r, left) == (n->kind == NODE_OR) ? left : jinja_eval(r, s, n->pair.right);
}

static struct jv eval_cond(struct jinja_run *r, struct scope *s, const struct node *n)
{
    if (jv_truth(r, jinja_eval(r, s, n->cond.test)))
        return jinja_eval(r, s, n->cond.body);
    if (n->cond.otherwise)
        return jinja_eval(r, s, n->cond.otherwise);
    return jv_hint("the inline if evaluated to false and no else section was defined");
}

static struct jv eval_bound(struct jinja_run *r, struct scope *s, const struct node *n)
{
    return n ? jinja_eval(r, s, n) : jv_none();
}

static struct jv eval_item(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv object = jinja_eval(r, s, n->pair.left);
    const struct node *key = n->pair.right;
    if (key->kind != NODE_SLICE)
        return jinja_item(r, object, jinja_eval(r, s, key));
    struct jv lo = eval_bound(r, s, key->slice.lo), hi = eval_bound(r, s, key->slice.hi);
    return jinja_slice(r, object, lo, hi, eval_bound(r, s, key->slice.step));
}

static struct jv apply_filter(struct jinja_run *r, struct scope *s, const struct node *n,
                              struct jv input)
{
    struct call c = {.self = input};
    if (!n->apply.func)
        jinja_raise(r, "no filter named '%.*s'", (int)MIN(n->apply.name.len, 60), n->apply.name.s);
    jinja_eval_args(r, s, n->apply.args, &c);
    return jinja_call_func(r, n->apply.func, &c);
}

struct jv jinja_eval_filters(struct jinja_run *r, struct scope *s, const struct node *n,
                             struct jv input)
{
    jinja_enter(r);
    if (n->apply.input)
        input = n->apply.input->kind == NODE_FILTER
                    ? jinja_eval_filters(r, s, n->apply.input, input)
                    : jinja_eval(r, s, n->apply.input);
    struct jv v = apply_filter(r, s, n, input);
    jinja_leave(r);
    return v;
}

static struct jv eval_test(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct call c = {.self = jinja_eval(r, s, n->apply.input)};
    if (!n->apply.func)
        jinja_raise(r, "no test named '%.*s'", (int)MIN(n->apply.name.len, 60), n->apply.name.s);
    jinja_eval_args(r, s, n->apply.args, &c);
    return jv_bool(jinja_run_test(r, n->apply.func, &c));
}

static struct jv eval_binary(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct jv left = jinja_eval(r, s, n->pair.left);
    return jinja_binary(r, (enum binary_op)n->op, left, jinja_eval(r, s, n->pair.right));
}

static struct jv eval_any(struct jinja_run *r, struct scope *s, const struct node *n)
{
    switch (n->kind) {
    case NODE_CONST:
        return n->value;
    case NODE_NAME:
        return jinja_lookup(r, s, n->symbol);
    case NODE_TUPLE:
    case NODE_LIST:
        return eval_sequence(r, s, n);
    case NODE_DICT:
        return eval_dict(r, s, n);
    case NODE_NEG:
    case NODE_POS:
        return jinja_negate(r, jinja_eval(r, s, n->pair.left), n->kind == NODE_NEG);
    case NODE_NOT:
        return jv_bool(!jv_truth(r, jinja_eval(r, s, n->pair.left)));
    case NODE_AND:
    case NODE_OR:
        return eval_logic(r, s, n);
    case NODE_BINARY:
        return eval_binary(r, s, n);
    case NODE_CONCAT:
        return eval_concat(r, s, n);
    case NODE_COMPARE:
        return eval_compare(r, s, n);
    case NODE_COND:
        return eval_cond(r, s, n);
    case NODE_ATTR:
        return jinja_attr(r, jinja_eval(r, s, n->attr.object), n->attr.name);
    case NODE_ITEM:
        return eval_item(r, s, n);
    case NODE_CALL:
        return jinja_eval_call(r, s, n, (struct jv){0});
    case NODE_FILTER:
        return apply_filter(r, s, n, jinja_eval(r, s, n->apply.input));
    case NODE_TEST:
        return eval_test(r, s, n);
    default:
        jinja_raise(r, "a slice can't stand here");
    }
}

struct jv jinja_eval(struct jinja_run *r, struct scope *s, const struct node *n)
{
    jinja_enter(r);
    r->line = n->line;
    struct jv v = eval_any(r, s, n);
    jinja_leave(r);
    return v;
}
