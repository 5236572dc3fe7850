/*
 * Statements, executed in order. break and continue travel up as a return value to the loop.
 */
#include "text/jinja_run.h"

#include <string.h>

static void print_value(struct jinja_run *r, struct jv v)
{
    struct jv s = jv_to_str(r, v);
    jinja_emit(r, s.s, s.len);
}

struct jv jinja_cut_output(struct jinja_run *r, size_t start)
{
    struct buf *out = r->out;
    struct jv_text t = {.run = r};
    if (out->len > start) {
        jv_text_add(&t, out->data + start, out->len - start);
        out->len = start;
        out->data[start] = '\0';
    }
    return jv_text_done(&t);
}

struct jv jinja_capture(struct jinja_run *r, struct scope *s, const struct node *body,
                        enum flow *flow)
{
    size_t start = r->out->len;
    *flow = jinja_exec(r, s, body);
    return jinja_cut_output(r, start);
}

static enum flow exec_if(struct jinja_run *r, struct scope *s, const struct node *n)
{
    for (;;) {
        if (jv_truth(r, jinja_eval(r, s, n->cond.test)))
            return jinja_exec(r, s, n->cond.body);
        const struct node *otherwise = n->cond.otherwise;
        bool elif = otherwise && otherwise->kind == NODE_IF && !otherwise->next;
        if (!elif)
            return jinja_exec(r, s, otherwise);
        n = otherwise; /* a loop, because a chain of elifs may be long */
        r->line = n->line;
    }
}

static enum flow exec_set_block(struct jinja_run *r, struct scope *s, const struct node *n)
{
    enum flow flow;
    struct scope *inner = jinja_scope_new(r, s);
    struct jv text = jinja_capture(r, inner, n->set.body, &flow);
    if (flow != FLOW_ON)
        return flow;
    if (n->set.value)
        text = jinja_eval_filters(r, inner, n->set.value, text);
    jinja_assign(r, s, n->set.target, text);
    return FLOW_ON;
}

static enum flow exec_with(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct scope *inner = jinja_scope_new(r, s);
    const struct node *value = n->set.value;
    for (const struct node *target = n->set.target; target; target = target->next) {
        jinja_assign(r, inner, target, jinja_eval(r, s, value));
        value = value->next;
    }
    return jinja_exec(r, inner, n->set.body);
}

static struct jv new_macro(struct jinja_run *r, struct scope *s, const struct macro *m)
{
    struct jinja_macro_ref *ref = jinja_alloc(r, sizeof *ref);
    *ref = (struct jinja_macro_ref){m, s};
    return (struct jv){.kind = JV_MACRO, .macro = ref};
}

static enum flow exec_filter_block(struct jinja_run *r, struct scope *s, const struct node *n)
{
    enum flow flow;
    struct scope *inner = jinja_scope_new(r, s);
    struct jv text = jinja_capture(r, inner, n->filter_block.body, &flow);
    if (flow == FLOW_ON)
        print_value(r, jinja_eval_filters(r, inner, n->filter_block.filter, text));
    return flow;
}

static enum flow exec_one(struct jinja_run *r, struct scope *s, const struct node *n)
{
    switch (n->kind) {
    case NODE_TEXT:
        jinja_emit(r, n->value.s, n->value.len);
        return FLOW_ON;
    case NODE_OUTPUT:
        for (const struct node *item = n->items; item; item = item->next)
            print_value(r, jinja_eval(r, s, item));
        return FLOW_ON;
    case NODE_IF:
        return exec_if(r, s, n);
    case NODE_FOR:
        return jinja_exec_for(r, s, n);
    case NODE_SET:
        jinja_assign(r, s, n->set.target, jinja_eval(r, s, n->set.value));
        return FLOW_ON;
    case NODE_SET_BLOCK:
        return exec_set_block(r, s, n);
    case NODE_WITH:
        return exec_with(r, s, n);
    case NODE_MACRO:
        jinja_bind(r, s, n->macro->symbol, new_macro(r, s, n->macro));
        return FLOW_ON;
    case NODE_CALL_BLOCK:
        print_value(
            r, jinja_eval_call(r, s, n->call_block.call, new_macro(r, s, n->call_block.macro)));
        return FLOW_ON;
    case NODE_FILTER_BLOCK:
        return exec_filter_block(r, s, n);
    case NODE_SCOPE:
        return jinja_exec(r, jinja_scope_new(r, s), n->items);
    default:
        return n->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
    }
}

enum flow jinja_exec(struct jinja_run *r, struct scope *s, const struct node *body)
{
    enum flow flow = FLOW_ON;
    jinja_enter(r);
    for (const struct node *n = body; n && flow == FLOW_ON; n = n->next) {
        r->line = n->line;
        jinja_charge(r, 0);
        flow = exec_one(r, s, n);
    }
    jinja_leave(r);
    return flow;
}
