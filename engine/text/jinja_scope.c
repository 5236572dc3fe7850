/*
 * Variables. A scope belongs to a loop's body, a macro's call or a block; the outermost variables
 * are an array by symbol. Reading looks outwards, writing stays in the innermost scope, and an if
 * has none of its own: Jinja's rules. Macros keep the scope they were defined in.
 */
#include "text/jinja_run.h"

#include <string.h>

struct scope *jinja_scope_new(struct jinja_run *r, struct scope *parent)
{
    struct scope *s = jinja_alloc(r, sizeof *s);
    *s = (struct scope){.parent = parent};
    return s;
}

static struct jv *find(const struct scope *s, uint32_t name)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->vars[i].name == name)
            return &s->vars[i].value;
    }
    return NULL;
}

void jinja_bind(struct jinja_run *r, struct scope *s, uint32_t name, struct jv value)
{
    if (!s) {
        r->globals[name] = value;
        return;
    }
    struct jv *old = find(s, name);
    if (old) {
        *old = value;
        return;
    }
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 4;
        struct binding *vars = jinja_alloc_array(r, cap, sizeof *vars);
        if (s->n > 0)
            memcpy(vars, s->vars, s->n * sizeof *vars);
        s->vars = vars;
        s->cap = cap;
    }
    s->vars[s->n++] = (struct binding){name, value};
}

struct jv jinja_lookup(struct jinja_run *r, const struct scope *s, uint32_t name)
{
    struct jv v = {0};
    const struct jv *found = NULL;
    for (; s && !found; s = s->parent)
        found = find(s, name);
    v = found ? *found : r->globals[name];
    if (v.kind != JV_MISSING)
        return v;
    struct jv text = r->t->names[name];
    return (struct jv){.kind = JV_UNDEFINED, .flag = UNDEFINED_NAME, .s = text.s, .len = text.len};
}

static void assign_ns(struct jinja_run *r, struct scope *s, const struct node *n, struct jv value)
{
    struct jv ns = jinja_lookup(r, s, n->ns.symbol);
    if (ns.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, ns);
    if (ns.kind != JV_NAMESPACE)
        jinja_raise(r, "cannot assign attribute on non-namespace object");
    if (n->ns.name.s[0] == '_')
        jinja_raise(r, "names of a namespace may not start with an underscore");
    jv_dict_set(r, ns, n->ns.name, value);
}

static void assign_tuple(struct jinja_run *r, struct scope *s, const struct node *n,
                         struct jv value)
{
    if (value.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, value);
    struct jv_cursor c = jv_iterate(r, value);
    struct jv item;
    for (const struct node *target = n->items; target; target = target->next) {
        if (!jv_next(r, &c, &item))
            jinja_raise(r, "not enough values to unpack");
        jinja_assign(r, s, target, item);
    }
    if (jv_next(r, &c, &item))
        jinja_raise(r, "too many values to unpack");
}

void jinja_assign(struct jinja_run *r, struct scope *s, const struct node *target, struct jv value)
{
    if (target->kind == NODE_NS_REF)
        assign_ns(r, s, target, value);
    else if (target->kind == NODE_TUPLE)
        assign_tuple(r, s, target, value);
    else
        jinja_bind(r, s, target->symbol, value);
}
