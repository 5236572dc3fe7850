/*
 * One rendering from start to end: its limits and its failure, variables and output, and the
 * statements, executed in order. break and continue travel up as a return value to the loop.
 *
 * A scope belongs to a loop's body, a macro's call or a block; the outermost variables are an array
 * by symbol. Reading looks outwards, writing stays in the innermost scope, and an if has none of
 * its own: Jinja's rules. Macros keep the scope they were defined in.
 */
#include "jinja/run.h"

#include "specd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- failure --------------------------------------------------------------------------------- */

_Noreturn void jinja_raise(struct jinja_run *r, const char *fmt, ...)
{
    char reason[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    fail(0, r->err, r->errlen, "chat template, line %u: %s", (unsigned)r->line, reason);
    longjmp(r->trap, 1);
}

_Noreturn void jinja_raise_words(struct jinja_run *r, struct jv words)
{
    fail(0, r->err, r->errlen, "%.*s", (int)MIN(words.len, 4096), words.s);
    longjmp(r->trap, 1);
}

_Noreturn void jinja_raise_undefined(struct jinja_run *r, struct jv v)
{
    static const char *const objects[] = {
        [JV_NONE] = "None",          [JV_BOOL] = "bool object", [JV_INT] = "int object",
        [JV_FLOAT] = "float object", [JV_STR] = "str object",   [JV_LIST] = "list object",
        [JV_TUPLE] = "tuple object", [JV_DICT] = "dict object",
    };
    int len = (int)MIN(v.len, 200);
    if (v.flag == UNDEFINED_HINT)
        jinja_raise(r, "%.*s", len, v.s);
    if (v.flag == UNDEFINED_NAME)
        jinja_raise(r, "'%.*s' is undefined", len, v.s);
    const char *object = v.owner < COUNT_OF(objects) ? objects[v.owner] : NULL;
    jinja_raise(r, "'%s' has no attribute '%.*s'",
                object ? object : jv_type_name((struct jv){.kind = v.owner}), len, v.s);
}

/* ---- limits ---------------------------------------------------------------------------------- */

void jinja_charge(struct jinja_run *r, size_t bytes)
{
    uint64_t steps = 1 + bytes / 64;
    if (steps > r->steps_left)
        jinja_raise(r, "takes more than %d steps", JINJA_STEPS_MAX);
    r->steps_left -= steps;
}

void jinja_enter(struct jinja_run *r)
{
    jinja_charge(r, 0);
    if (++r->depth > JINJA_DEPTH_MAX)
        jinja_raise(r, "nested or recursing too deeply");
}

void jinja_leave(struct jinja_run *r)
{
    r->depth--;
}

void *jinja_alloc(struct jinja_run *r, size_t n, size_t size)
{
    size_t bytes;
    void *mem =
        size_mul(n, size, &bytes) ? arena_alloc(&r->arena, bytes, _Alignof(max_align_t)) : NULL;
    if (!mem)
        jinja_raise(r, "needs more than %zu MiB of memory", JINJA_MEMORY_MAX >> 20);
    return mem;
}

/* ---- variables ------------------------------------------------------------------------------- */

struct scope *jinja_scope_new(struct jinja_run *r, struct scope *parent)
{
    struct scope *s = jinja_alloc(r, 1, sizeof *s);
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
        struct binding *vars = jinja_alloc(r, cap, sizeof *vars);
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
    return jv_undefined(UNDEFINED_NAME, r->t->names[name]);
}

static void assign(struct jinja_run *r, struct scope *s, const struct node *target,
                   struct jv value);

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
        assign(r, s, target, item);
    }
    if (jv_next(r, &c, &item))
        jinja_raise(r, "too many values to unpack");
}

static void assign(struct jinja_run *r, struct scope *s, const struct node *target, struct jv value)
{
    if (target->kind == NODE_NS_REF)
        assign_ns(r, s, target, value);
    else if (target->kind == NODE_TUPLE)
        assign_tuple(r, s, target, value);
    else
        jinja_bind(r, s, target->symbol, value);
}

/* ---- output ---------------------------------------------------------------------------------- */

static enum flow exec_body(struct jinja_run *r, struct scope *s, const struct node *body);

static void print_value(struct jinja_run *r, struct jv v)
{
    struct jv s = jv_to_str(r, v);
    if (s.len == 0)
        return;
    jinja_charge(r, s.len);
    if (r->out->len - r->out_start > JINJA_OUTPUT_MAX - MIN(s.len, JINJA_OUTPUT_MAX))
        jinja_raise(r, "prints more than %zu MiB", JINJA_OUTPUT_MAX >> 20);
    origin_put(r, &r->client, r->out->len, s);
    buf_add(r->out, s.s, s.len);
}

/* What was printed since out had `start` bytes, taken back, as a string. */
static struct jv cut_output(struct jinja_run *r, size_t start)
{
    struct buf *out = r->out;
    struct jv_text t = {.run = r, .origin = ORIGIN_TEMPLATE}; /* but for what is copied below */
    if (out->len > start) {
        jv_text_add(&t, out->data + start, out->len - start);
        origin_copy(r, &t.client, 0, &r->client, start, out->len);
        origin_cut(&r->client, start);
        out->len = start;
        out->data[start] = '\0';
    }
    return jv_text_done(&t);
}

struct jv jinja_capture(struct jinja_run *r, struct scope *s, const struct node *body,
                        enum flow *flow)
{
    size_t start = r->out->len;
    *flow = exec_body(r, s, body);
    return cut_output(r, start);
}

/* ---- loops. Items are fetched one by one, and one ahead only when the template asks for what is
 * next, so that a loop's own `if` sees the variables as they are then. */

/* The next item that passes the loop's `if`, if it has one. */
static bool fetch(struct jinja_run *r, struct jinja_loop *l, struct jv *out)
{
    while (jv_next(r, &l->cursor, out)) {
        if (!l->filtered)
            return true;
        l->filter->n = 0;
        assign(r, l->filter, l->node->loop.target, *out);
        if (jv_truth(r, jinja_eval(r, l->filter, l->node->loop.test)))
            return true;
    }
    return false;
}

bool jinja_loop_peek(struct jinja_run *r, struct jinja_loop *l)
{
    struct jv v;
    if (l->after.kind == JV_MISSING && fetch(r, l, &v))
        l->after = v;
    return l->after.kind != JV_MISSING;
}

static bool advance(struct jinja_run *r, struct jinja_loop *l)
{
    if (!jinja_loop_peek(r, l))
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
        assign(r, body, n->loop.target, l->current);
        flow = exec_body(r, body, n->loop.body);
        completed |= flow == FLOW_ON;
    }
    return completed ? FLOW_ON : exec_body(r, jinja_scope_new(r, l->scope), n->loop.otherwise);
}

static enum flow loop_over(struct jinja_run *r, struct scope *s, const struct node *n,
                           struct jv seq, int64_t depth0)
{
    struct jinja_loop *l = jinja_alloc(r, 1, sizeof *l);
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

struct jv jinja_loop_recurse(struct jinja_run *r, struct jinja_loop *l, struct jv seq)
{
    if (!l->node->loop.recursive)
        jinja_raise(r, "the loop must have the 'recursive' marker to be called recursively");
    size_t start = r->out->len;
    jinja_enter(r);
    loop_over(r, l->scope, l->node, seq, l->depth0 + 1);
    jinja_leave(r);
    return cut_output(r, start);
}

/* ---- statements ------------------------------------------------------------------------------ */

static enum flow exec_if(struct jinja_run *r, struct scope *s, const struct node *n)
{
    for (;;) {
        if (jv_truth(r, jinja_eval(r, s, n->cond.test)))
            return exec_body(r, s, n->cond.body);
        const struct node *otherwise = n->cond.otherwise;
        bool elif = otherwise && otherwise->kind == NODE_IF && !otherwise->next;
        if (!elif)
            return exec_body(r, s, otherwise);
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
    assign(r, s, n->set.target, text);
    return FLOW_ON;
}

static enum flow exec_with(struct jinja_run *r, struct scope *s, const struct node *n)
{
    struct scope *inner = jinja_scope_new(r, s);
    const struct node *value = n->set.value;
    for (const struct node *target = n->set.target; target; target = target->next) {
        assign(r, inner, target, jinja_eval(r, s, value));
        value = value->next;
    }
    return exec_body(r, inner, n->set.body);
}

static struct jv new_macro(struct jinja_run *r, struct scope *s, const struct macro *m)
{
    struct jinja_macro_ref *ref = jinja_alloc(r, 1, sizeof *ref);
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
        print_value(r, n->value);
        return FLOW_ON;
    case NODE_OUTPUT:
        for (const struct node *item = n->items; item; item = item->next)
            print_value(r, jinja_eval(r, s, item));
        return FLOW_ON;
    case NODE_IF:
        return exec_if(r, s, n);
    case NODE_FOR:
        return loop_over(r, s, n, jinja_eval(r, s, n->loop.seq), 0);
    case NODE_SET:
        assign(r, s, n->set.target, jinja_eval(r, s, n->set.value));
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
        return exec_body(r, jinja_scope_new(r, s), n->items);
    default:
        return n->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
    }
}

static enum flow exec_body(struct jinja_run *r, struct scope *s, const struct node *body)
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

/* ---- the rendering --------------------------------------------------------------------------- */

void jinja_set(struct jinja_run *r, const char *name, struct jv value)
{
    for (size_t i = 0; i < r->t->n_names; i++) { /* a name the template lacks needs no place */
        if (jv_is_str(r->t->names[i], name))
            r->globals[i] = value;
    }
}

void jinja_set_time(struct jinja_run *r, time_t now)
{
    r->now = now;
}

static bool run(struct jinja_run *r, jinja_fill *fill, void *arg)
{
    if (setjmp(r->trap) != 0)
        return false;
    r->globals = jinja_alloc(r, MAX(r->t->n_names, 1), sizeof *r->globals);
    memset(r->globals, 0, MAX(r->t->n_names, 1) * sizeof *r->globals); /* JV_MISSING */
    jinja_set_globals(r);
    if (fill)
        fill(r, arg);
    exec_body(r, NULL, r->t->body);
    return true;
}

int jinja_render(const struct jinja *t, jinja_fill *fill, void *arg, struct buf *out,
                 struct text_spans *client, char *err, size_t errlen)
{
    struct jinja_run *r = xcalloc(1, sizeof *r);
    *r = (struct jinja_run){
        .t = t,
        .out = out,
        .out_start = out->len,
        .steps_left = JINJA_STEPS_MAX,
        .now = time(NULL),
        .err = err,
        .errlen = errlen,
    };
    r->arena.limit = JINJA_MEMORY_MAX;
    r->marks.limit = JINJA_MARKS_MAX;
    bool ok = run(r, fill, arg);
    if (!ok && out->data) {
        out->len = r->out_start;
        out->data[out->len] = '\0';
    }
    for (size_t i = 0; ok && client && i < r->client.n; i++)
        text_spans_add(client, r->client.items[i].begin, r->client.items[i].end);
    if (ok && client)
        text_spans_add(client, r->client.last.begin, r->client.last.end);
    arena_free(&r->marks);
    arena_free(&r->arena);
    free(r);
    return ok ? 0 : SPECD_EINVAL;
}
