/*
 * One rendering from start to end: its limits, its failure, its output.
 */
#include "text/jinja_run.h"

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

void *jinja_alloc_array(struct jinja_run *r, size_t n, size_t size)
{
    size_t bytes;
    void *mem = size_mul(n, size, &bytes)
                    ? jinja_arena_alloc(&r->arena, bytes, _Alignof(max_align_t))
                    : NULL;
    if (!mem)
        jinja_raise(r, "needs more than %zu MiB of memory", JINJA_MEMORY_MAX >> 20);
    return mem;
}

void *jinja_alloc(struct jinja_run *r, size_t size)
{
    return jinja_alloc_array(r, 1, size);
}

void jinja_emit(struct jinja_run *r, const char *s, size_t len)
{
    if (len == 0)
        return;
    jinja_charge(r, len);
    if (r->out->len - r->out_start > JINJA_OUTPUT_MAX - MIN(len, JINJA_OUTPUT_MAX))
        jinja_raise(r, "prints more than %zu MiB", JINJA_OUTPUT_MAX >> 20);
    buf_add(r->out, s, len);
}

struct jv jinja_printf(struct jinja_run *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct jv_text t = {.run = r};
    jv_text_puts(&t, text);
    return jv_text_done(&t);
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
    r->globals = jinja_alloc_array(r, MAX(r->t->n_names, 1), sizeof *r->globals);
    memset(r->globals, 0, MAX(r->t->n_names, 1) * sizeof *r->globals); /* JV_MISSING */
    jinja_set_globals(r);
    if (fill)
        fill(r, arg);
    jinja_exec(r, NULL, r->t->body);
    return true;
}

int jinja_render(const struct jinja *t, jinja_fill *fill, void *arg, struct buf *out, char *err,
                 size_t errlen)
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
    bool ok = run(r, fill, arg);
    if (!ok && out->data) {
        out->len = r->out_start;
        out->data[out->len] = '\0';
    }
    jinja_arena_free(&r->arena);
    free(r);
    return ok ? 0 : SPECD_EINVAL;
}
