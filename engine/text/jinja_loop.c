/*
 * for loops and the `loop` variable. Items are fetched one by one, and one ahead only when the
 * template asks for what is next, so that a loop's own `if` sees the variables as they are then.
 */
#include "text/jinja_run.h"

/* The next item that passes the loop's `if`, if it has one. */
static bool fetch(struct jinja_run *r, struct jinja_loop *l, struct jv *out)
{
    while (jv_next(r, &l->cursor, out)) {
        if (!l->filtered)
            return true;
        l->filter->n = 0;
        jinja_assign(r, l->filter, l->node->loop.target, *out);
        if (jv_truth(r, jinja_eval(r, l->filter, l->node->loop.test)))
            return true;
    }
    return false;
}

static bool peek(struct jinja_run *r, struct jinja_loop *l)
{
    struct jv v;
    if (l->after.kind == JV_MISSING && fetch(r, l, &v))
        l->after = v;
    return l->after.kind != JV_MISSING;
}

static bool advance(struct jinja_run *r, struct jinja_loop *l)
{
    if (!peek(r, l))
        return false;
    l->before = l->current;
    l->current = l->after;
    l->after = (struct jv){0};
    l->index0++;
    return true;
}

/* Without a length to ask for, what is left is fetched now. */
size_t jinja_loop_length(struct jinja_run *r, struct jinja_loop *l)
{
    if (l->length_known || (!l->filtered && jv_length(r, l->seq, &l->length)))
        return l->length;
    struct jv_vec rest = {0};
    for (struct jv v; fetch(r, l, &v);)
        jv_push(r, &rest, v);
    l->cursor = (struct jv_cursor){.seq = jv_list(&rest)};
    l->filtered = false;
    l->length = rest.n + (size_t)l->index0 + 1 + (l->after.kind != JV_MISSING);
    l->length_known = true;
    return l->length;
}

static struct jv item_or_hint(struct jv v, bool there, const char *hint)
{
    return there ? v : jv_hint(hint);
}

static struct jv loop_cycle(struct jinja_run *r, const struct call *c)
{
    if (c->n == 0)
        jinja_raise(r, "no items for cycling given");
    return c->args[(size_t)c->self.loop->index0 % c->n];
}

static struct jv loop_changed(struct jinja_run *r, const struct call *c)
{
    struct jinja_loop *l = c->self.loop;
    struct jv now = jv_items(JV_TUPLE, c->args, c->n);
    bool changed = !jv_equal(r, now, l->changed);
    l->changed = now;
    return jv_bool(changed);
}

static struct jv loop_method(struct jinja_run *r, struct jv loop, bool cycle)
{
    static const struct jinja_func methods[] = {
        {.name = "cycle", .fn = loop_cycle, .variadic = true},
        {.name = "changed", .fn = loop_changed, .variadic = true},
    };
    struct jinja_method *m = jinja_alloc(r, sizeof *m);
    *m = (struct jinja_method){loop, &methods[cycle ? 0 : 1]};
    return (struct jv){.kind = JV_METHOD, .method = m};
}

/* The template's `loop.name`. */
struct jv jinja_loop_attr(struct jinja_run *r, struct jv loop, struct jv name)
{
    struct jinja_loop *l = loop.loop;
    if (jv_is_str(name, "index") || jv_is_str(name, "index0"))
        return jv_int(l->index0 + (name.len == 5));
    if (jv_is_str(name, "first"))
        return jv_bool(l->index0 == 0);
    if (jv_is_str(name, "last"))
        return jv_bool(!peek(r, l));
    if (jv_is_str(name, "length"))
        return jv_int((int64_t)jinja_loop_length(r, l));
    if (jv_is_str(name, "revindex") || jv_is_str(name, "revindex0"))
        return jv_int((int64_t)jinja_loop_length(r, l) - l->index0 - (name.len == 9));
    if (jv_is_str(name, "previtem"))
        return item_or_hint(l->before, l->index0 > 0, "there is no previous item");
    if (jv_is_str(name, "nextitem"))
        return item_or_hint(l->after, peek(r, l), "there is no next item");
    if (jv_is_str(name, "depth") || jv_is_str(name, "depth0"))
        return jv_int(l->depth0 + (name.len == 5));
    if (jv_is_str(name, "cycle") || jv_is_str(name, "changed"))
        return loop_method(r, loop, name.len == 5);
    return (struct jv){.kind = JV_UNDEFINED,
                       .flag = UNDEFINED_ATTRIBUTE,
                       .owner = JV_LOOP,
                       .s = name.s,
                       .len = name.len};
}

static enum flow run_loop(struct jinja_run *r, struct jinja_loop *l)
{
    const struct node *n = l->node;
    struct jv self = {.kind = JV_LOOP, .loop = l};
    struct scope *body = jinja_scope_new(r, l->scope);
    enum flow flow = FLOW_ON;
    bool completed = false; /* a turn ran to its end: what jinja2 takes for "not empty" */
    while (flow != FLOW_BREAK && advance(r, l)) {
        body->n = 0; /* every turn starts from the variables around the loop */
        jinja_bind(r, body, n->loop.loop, self);
        jinja_assign(r, body, n->loop.target, l->current);
        flow = jinja_exec(r, body, n->loop.body);
        completed |= flow == FLOW_ON;
    }
    return completed ? FLOW_ON : jinja_exec(r, jinja_scope_new(r, l->scope), n->loop.otherwise);
}

static enum flow loop_over(struct jinja_run *r, struct scope *s, const struct node *n,
                           struct jv seq, int64_t depth0)
{
    struct jinja_loop *l = jinja_alloc(r, sizeof *l);
    *l = (struct jinja_loop){
        .node = n,
        .scope = s,
        .filter = n->loop.test ? jinja_scope_new(r, s) : NULL,
        .seq = seq,
        .cursor = jv_iterate(r, seq),
        .filtered = n->loop.test != NULL,
        .index0 = -1,
        .depth0 = depth0,
    };
    return run_loop(r, l);
}

enum flow jinja_exec_for(struct jinja_run *r, struct scope *s, const struct node *n)
{
    return loop_over(r, s, n, jinja_eval(r, s, n->loop.seq), 0);
}

struct jv jinja_loop_recurse(struct jinja_run *r, struct jinja_loop *l, struct jv seq)
{
    if (!l->node->loop.recursive)
        jinja_raise(r, "the loop must have the 'recursive' marker to be called recursively");
    size_t start = r->out->len;
    jinja_enter(r);
    loop_over(r, l->scope, l->node, seq, l->depth0 + 1);
    jinja_leave(r);
    return jinja_cut_output(r, start);
}
