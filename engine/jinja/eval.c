/*
 * Expressions to values, and calls: of functions of the language, and of macros.
 */
#include "jinja/run.h"

#include <string.h>

/* ---- arguments ------------------------------------------------------------------------------- */

static void add_keyword(struct jinja_run *r, struct call *c, size_t *cap, struct jv name,
                        struct jv value)
{
    if (name.kind != JV_STR)
        jinja_raise(r, "keywords must be strings");
    for (size_t i = 0; i < c->n_kwargs; i++) {
        if (jv_equal(r, c->kwargs[i].key, name))
            jinja_raise(r, "got multiple values for argument '%.*s'", JV_QUOTE(name));
    }
    if (c->n_kwargs == *cap) {
        *cap = *cap ? *cap * 2 : 4;
        struct jv_pair *more = jinja_alloc(r, *cap, sizeof *more);
        if (c->n_kwargs > 0)
            memcpy(more, c->kwargs, c->n_kwargs * sizeof *more);
        c->kwargs = more;
    }
    c->kwargs[c->n_kwargs++] = (struct jv_pair){name, value};
}

static void spread_dict(struct jinja_run *r, struct call *c, size_t *cap, struct jv v)
{
    if (v.kind != JV_DICT)
        jinja_raise(r, "argument after ** must be a mapping, not %s", jv_type_name(v));
    for (uint32_t i = 0; i < v.dict->n; i++)
        add_keyword(r, c, cap, v.dict->pairs[i].key, v.dict->pairs[i].value);
}

static void spread_items(struct jinja_run *r, struct jv_vec *args, struct jv v)
{
    struct jv_vec items = jv_collect(r, v);
    for (size_t i = 0; i < items.n; i++)
        jv_push(r, args, items.items[i]);
}

/* Evaluates a call's arguments into c. */
static void eval_args(struct jinja_run *r, struct scope *s, const struct node *args, struct call *c)
{
    struct jv_vec positional = {0};
    size_t cap = 0;
    for (const struct node *n = args; n; n = n->next) {
        if (n->kind == NODE_KEYWORD)
            add_keyword(r, c, &cap, n->attr.name, jinja_eval(r, s, n->attr.object));
        else if (n->kind == NODE_STAR)
            spread_items(r, &positional, jinja_eval(r, s, n->pair.left));
        else if (n->kind == NODE_STAR_STAR)
            spread_dict(r, c, &cap, jinja_eval(r, s, n->pair.left));
        else
            jv_push(r, &positional, jinja_eval(r, s, n));
    }
    c->args = positional.items;
    c->n = positional.n;
}

int64_t jinja_arg_int(struct jinja_run *r, const struct call *c, size_t i, int64_t otherwise)
{
    struct jv v = c->args[i];
    if (!jv_is_given(v))
        return otherwise;
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_int(v))
        jinja_raise(r, "'%s' object can't be used as an integer", jv_type_name(v));
    return jv_to_int(v);
}

bool jinja_arg_bool(struct jinja_run *r, const struct call *c, size_t i, bool otherwise)
{
    return c->args[i].kind == JV_MISSING ? otherwise : jv_truth(r, c->args[i]);
}

struct jv jinja_arg_str(struct jinja_run *r, const struct call *c, size_t i)
{
    struct jv v = c->args[i];
    if (v.kind != JV_STR)
        jinja_raise(r, "expected a string, not '%s'", jv_type_name(v));
    return v;
}

/* ---- functions of the language --------------------------------------------------------------- */

const struct jinja_func *jinja_func_find(const struct jinja_func *table, struct jv name)
{
    for (; table->name; table++) {
        if (jv_is_str(name, table->name))
            return table;
    }
    return NULL;
}

static size_t param_index(struct jinja_run *r, const struct jinja_func *f, struct jv name)
{
    for (size_t i = 0; i < JINJA_PARAMS_MAX && f->params[i]; i++) {
        if (jv_is_str(name, f->params[i]))
            return i;
    }
    jinja_raise(r, "%s() got an unexpected keyword argument '%.*s'", f->name, JV_QUOTE(name));
}

/* Sorts what was passed by the parameters of f. */
static void bind_params(struct jinja_run *r, const struct jinja_func *f, const struct call *c,
                        struct jv bound[JINJA_PARAMS_MAX])
{
    size_t n = 0;
    while (n < JINJA_PARAMS_MAX && f->params[n])
        n++;
    if (c->n > n)
        jinja_raise(r, "%s() takes at most %zu arguments, got %zu", f->name, n, c->n);
    for (size_t i = 0; i < JINJA_PARAMS_MAX; i++)
        bound[i] = i < c->n ? c->args[i] : (struct jv){0};
    for (size_t i = 0; i < c->n_kwargs; i++) {
        size_t at = param_index(r, f, c->kwargs[i].key);
        if (bound[at].kind != JV_MISSING)
            jinja_raise(r, "%s() got multiple values for argument '%s'", f->name, f->params[at]);
        bound[at] = c->kwargs[i].value;
    }
    for (size_t i = 0; i < f->required; i++) {
        if (bound[i].kind == JV_MISSING)
            jinja_raise(r, "%s() is missing its argument '%s'", f->name, f->params[i]);
    }
}

struct jv jinja_call_func(struct jinja_run *r, const struct jinja_func *f, const struct call *c)
{
    struct jv bound[JINJA_PARAMS_MAX];
    struct call inner = *c;
    inner.func = f;
    if (!f->variadic) {
        bind_params(r, f, c, bound);
        inner.args = bound;
        inner.n_kwargs = 0;
    }
    return f->fn(r, &inner);
}

/* ---- macros ---------------------------------------------------------------------------------- */

/* Takes the keyword `name` out of the call; JV_MISSING when it is not there. */
static struct jv take_keyword(struct call *c, struct jv name)
{
    for (size_t i = 0; i < c->n_kwargs; i++) {
        struct jv_pair p = c->kwargs[i];
        if (p.key.len != name.len || memcmp(p.key.s, name.s, name.len) != 0)
            continue;
        c->n_kwargs--;
        memmove(c->kwargs + i, c->kwargs + i + 1, (c->n_kwargs - i) * sizeof *c->kwargs);
        return p.value;
    }
    return (struct jv){0};
}

static void bind_macro_params(struct jinja_run *r, struct scope *s, const struct macro *m,
                              struct call *c)
{
    for (size_t i = 0; i < m->n_params; i++) {
        uint32_t name = m->params[i].name;
        struct jv v = i < c->n ? c->args[i] : take_keyword(c, r->t->names[name]);
        if (v.kind == JV_MISSING && m->params[i].otherwise)
            v = jinja_eval(r, s, m->params[i].otherwise);
        if (v.kind == JV_MISSING)
            v = jv_hint("a parameter of the macro was not provided");
        jinja_bind(r, s, name, v);
    }
}

static void bind_macro_rest(struct jinja_run *r, struct scope *s, const struct macro *m,
                            struct call *c)
{
    if (m->uses_caller) {
        struct jv caller = take_keyword(c, jv_cstr("caller"));
        jinja_bind(r, s, m->caller,
                   caller.kind == JV_MISSING ? jv_hint("no caller defined") : caller);
    }
    if (m->uses_kwargs) {
        struct jv dict = jv_dict_new(r);
        for (size_t i = 0; i < c->n_kwargs; i++)
            jv_dict_set(r, dict, c->kwargs[i].key, c->kwargs[i].value);
        jinja_bind(r, s, m->kwargs, dict);
    } else if (c->n_kwargs > 0) {
        struct jv name = c->kwargs[0].key;
        jinja_raise(r, "macro '%.*s' takes no keyword argument '%.*s'", JV_QUOTE(m->name),
                    JV_QUOTE(name));
    }
    size_t extra = c->n > m->n_params ? c->n - m->n_params : 0;
    if (m->uses_varargs)
        jinja_bind(r, s, m->varargs,
                   jv_items(JV_TUPLE, c->args ? c->args + (c->n - extra) : NULL, extra));
    else if (extra > 0)
        jinja_raise(r, "macro '%.*s' takes not more than %zu arguments", JV_QUOTE(m->name),
                    m->n_params);
}

static struct jv call_macro(struct jinja_run *r, const struct jinja_macro_ref *ref, struct call *c)
{
    const struct macro *m = ref->macro;
    struct scope *s = jinja_scope_new(r, ref->scope);
    enum flow flow;
    bind_macro_params(r, s, m, c);
    bind_macro_rest(r, s, m, c);
    return jinja_capture(r, s, m->body, &flow);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct jv call_joiner(struct jinja_state *joiner)
{
    bool first = joiner->at == 0;
    joiner->at = 1;
    return first ? jv_str(NULL, 0) : joiner->items[0];
}

static struct jv call_value(struct jinja_run *r, struct jv callee, struct call *c)
{
    switch (callee.kind) {
    case JV_MACRO:
        return call_macro(r, callee.macro, c);
    case JV_FUNC:
        return jinja_call_func(r, callee.func, c);
    case JV_METHOD:
        c->self = callee.method->self;
        return jinja_call_func(r, callee.method->func, c);
    case JV_LOOP:
        if (c->n != 1)
            jinja_raise(r, "loop() takes one argument");
        return jinja_loop_recurse(r, callee.loop, c->args[0]);
    case JV_JOINER:
        return call_joiner(callee.state);
    case JV_UNDEFINED:
        jinja_raise_undefined(r, callee);
    default:
        jinja_raise(r, "'%s' object is not callable", jv_type_name(callee));
    }
}

struct jv jinja_eval_call(struct jinja_run *r, struct scope *s, const struct node *n,
                          struct jv caller)
{
    struct jv callee = jinja_eval(r, s, n->call.callee);
    struct call c = {0};
    eval_args(r, s, n->call.args, &c);
    if (caller.kind != JV_MISSING) {
        size_t full = c.n_kwargs;
        add_keyword(r, &c, &full, jv_cstr("caller"), caller);
    }
    r->line = n->line;
    return call_value(r, callee, &c);
}

/* ---- expressions ----------------------------------------------------------------------------- */

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
        jinja_raise(r, "no filter named '%.*s'", JV_QUOTE(n->apply.name));
    eval_args(r, s, n->apply.args, &c);
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
        jinja_raise(r, "no test named '%.*s'", JV_QUOTE(n->apply.name));
    eval_args(r, s, n->apply.args, &c);
    return jv_bool(jv_truth(r, jinja_call_func(r, n->apply.func, &c)));
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
