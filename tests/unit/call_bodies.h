/*
 * call_bodies.h - requests made from the body of a call, and what they hold, for tests.
 */
#ifndef SPECD_TEST_CALL_BODIES_H
#define SPECD_TEST_CALL_BODIES_H

#include "call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct engine_info body_info = {.n_vocab = 1000, .n_ctx = 4096};

static inline struct call parsed(enum call_route route, const char *body)
{
    struct call c;
    struct api_error e;
    if (call_parse(&c, route, &body_info, body, strlen(body), &e) != 0)
        fail_msg("%s: %s", body, e.message);
    return c;
}

/* The request of prompt i after its call is gone. */
static inline struct request *only_request(enum call_route route, const char *body, size_t i)
{
    struct call c = parsed(route, body);
    struct request *req = call_request(&c, i, 0);
    call_drop_document(&c);
    call_free(&c);
    return req;
}

static inline void refuse(enum call_route route, const char *body, const char *param)
{
    struct call c;
    struct api_error e;
    assert_true(call_parse(&c, route, &body_info, body, strlen(body), &e) < 0);
    assert_string_equal(e.param, param);
    call_free(&c);
}

/* A flat tree, in the words of JSON. Returns what is behind it. */
static inline const struct chat_value *print_value(const struct chat_value *v, struct buf *out)
{
    const struct chat_value *at = v + 1;
    static const char *const words[] = {[CHAT_NULL] = "null", [CHAT_LIST] = "[", [CHAT_DICT] = "{"};
    if (v->key)
        buf_printf(out, "%s:", v->key);
    if (v->kind == CHAT_BOOL)
        buf_puts(out, v->b ? "true" : "false");
    else if (v->text)
        buf_puts(out, v->text);
    else if (v->kind == CHAT_STRING)
        buf_printf(out, "'%s'", v->s);
    else
        buf_puts(out, words[v->kind]);
    bool nested = v->kind == CHAT_LIST || v->kind == CHAT_DICT;
    for (uint32_t i = 0; nested && i < v->n; i++) {
        buf_puts(out, i ? "," : "");
        at = print_value(at, out);
    }
    buf_puts(out, v->kind == CHAT_LIST ? "]" : v->kind == CHAT_DICT ? "}" : "");
    return at;
}

/* A value of a body. */
static inline void expect_json(const struct json *v, const char *expected)
{
    struct buf out = {0};
    json_print(v, &out);
    for (size_t i = 0; i < out.len; i++)
        out.data[i] = out.data[i] == '"' ? '\'' : out.data[i];
    assert_string_equal(out.data, expected);
    buf_free(&out);
}

static inline void expect_tree(const struct chat_value *v, const char *expected)
{
    struct buf out = {0};
    assert_non_null(v);
    print_value(v, &out);
    assert_string_equal(out.data, expected);
    buf_free(&out);
}

#endif
