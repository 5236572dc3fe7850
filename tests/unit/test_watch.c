/*
 * Watched text: values behind heads in a text that is free otherwise, against a reader that looks
 * for heads the slow way; its masks against brute force, over vocabularies whose tokens hold heads
 * and more; and what is refused or left out.
 *
 * links: specd_grammar specd_text specd_model specd_json specd_base
 */
#include "chat_json.h"
#include "grammar/mask.h"
#include "specd/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t random_state = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % n;
}

static struct grammar *compile(const char *document)
{
    struct chat_json j;
    struct grammar *g = NULL;
    char err[512] = "not JSON";
    if (!chat_json_read(&j, document) || grammar_compile(&g, j.values, err, sizeof err) != 0)
        fail_msg("%s: %s", document, err);
    chat_json_free(&j);
    return g;
}

static void expect_refused(const char *document, const char *message)
{
    struct chat_json j;
    struct grammar *g = NULL;
    char err[512] = "";
    assert_true(chat_json_read(&j, document));
    assert_int_equal(grammar_compile(&g, j.values, err, sizeof err), SPECD_EINVAL);
    assert_null(g);
    assert_string_equal(err, message);
    chat_json_free(&j);
}

/* How many bytes of a text can be read; negative, less 1: the text may not end there. */
static int readable(const struct grammar *g, const char *text, size_t len)
{
    struct grammar_state s;
    int n = 0;
    grammar_start(g, &s);
    while ((size_t)n < len && grammar_accept(g, &s, text + n, 1))
        n++;
    return grammar_may_end(&s) ? n : -n - 1;
}

static void expect_end(const struct grammar *g, const char *good, const char *bad)
{
    struct buf text = {0};
    buf_printf(&text, "%s%s", good, bad);
    int n = readable(g, text.data, text.len);
    if (*bad ? n != -(int)strlen(good) - 1 : n != (int)text.len)
        fail_msg("%s: %d", text.data, n);
    buf_free(&text);
}

/* ---- by hand --------------------------------------------------------------------------------- */

static const char weather[] =
    "[{\"behind\":[\"\\\"name\\\"\",\":\",\"\\\"get_weather\\\"\",\",\",\"\\\"arguments\\\"\",\":"
    "\"]"
    ",\"schema\":{\"$id\":\"tool:get_weather\",\"type\":\"object\",\"properties\":{\"city\":{"
    "\"type\":\"string\"},\"next\":{\"$ref\":\"#\"}},\"required\":[\"city\"],"
    "\"additionalProperties\":false}},"
    "{\"behind\":[\"get_weather{\"],\"schema\":{\"$ref\":\"tool:get_weather\"}},"
    "{\"behind\":[\"get_weather_too{\"],\"schema\":{\"const\":{\"a\":[1]}}},"
    "{\"behind\":[\"<n>\"],\"schema\":{\"enum\":[\"x\",\"xy\",[]]}}]";

static void test_heads(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",
        "free \xff\xc3 text\n",
        "\"name\" : \"get_weathe",
        "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"\\u00e9\"}} and {",
        "{\"name\"\n:\r\n\t\"get_weather\"  ,\"arguments\":\n  {\"city\":\"\",\"next\":{\"city\":"
        "\"x\"}}\n",
        "{\"name\": \"get_weather\", \"parameters\": {\"town\": 1",
        "{\"name\": \"get_weather_too\", \"arguments\": {\"town\": 1",
        "{\"name\": \"name\": \"get_weather\", \"arguments\": {\"city\":\"\"}",
        "get_weather {\"town",
        "get_weather{\"city\":\"\"}get_weather{ \"city\":\"\"}{",
        "get_weather_too{\"a\": [1]}<n>\"x\"<n> [ ]",
        "<n<n>\"xy\"",
        "< n>1",
    };
    static const struct {
        const char *good, *bad;
    } ends[] = {
        {"{\"name\": \"get_weather\", \"arguments\": {\"", "town"},
        {"{\"name\": \"get_weather\", \"arguments\": ", " "},
        {"{\"name\": \"get_weather\", \"arguments\": ", "null"},
        {"\"name\": \"get_weather\", \"arguments\":{\"city\":\"\"}{\"name\":\"get_weather\","
         "\"arguments\":{",
         "}"},
        {"a get_weather{", "}"},
        {"get_weather_too{\"a\": [", "2"},
        {"<n>", "1"},
        {"<n>\"x\"<n>\"", "z"},
    };
    struct grammar *g = compile(weather);
    for (size_t i = 0; i < COUNT_OF(good); i++)
        expect_end(g, good[i], "");
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        expect_end(g, ends[i].good, ends[i].bad);
    struct grammar_state s;
    grammar_start(g, &s);
    assert_true(grammar_accept(g, &s, "get_weather{", 12));
    assert_int_equal(grammar_forced(g, &s), -1); /* white space may come */
    assert_true(grammar_accept(g, &s, "\"c", 2));
    assert_int_equal(grammar_forced(g, &s), 'i');
    assert_false(grammar_is_free(g, &s));
    assert_true(grammar_accept(g, &s, "ity\":\"\"}", 8));
    assert_true(grammar_is_free(g, &s));
    assert_int_equal(grammar_forced(g, &s), -1);
    assert_false(grammar_is_over(&s));
    grammar_unref(g);
}

/* What a value in <parameter=p> may be: ends with its end tag, or one of them is refused. */
#define IN(schema) \
    "{\"properties\":{\"p\":" schema ",\"q\":{\"type\":\"integer\"}},\"required\":[\"p\"]}"

static void test_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *good, *bad;
    } cases[] = {
        {"{\"type\":\"string\"}", "\nany \xff\n\n text </paramete\n", ""},
        {"{\"type\":\"string\"}", "", ""},
        {"{\"type\":\"string\",\"format\":\"uri\"}", "{\"a", ""},
        {"{\"type\":[\"string\",\"null\"]}", "null", ""},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", "x<", ""},
        {"{\"type\":[\"boolean\",\"string\"]}", "\nNone", ""},
        {"{\"type\":\"integer\",\"maximum\":7}", "\n7\n", ""},
        {"{\"type\":\"integer\",\"maximum\":7}", "7", "0"},
        {"{\"type\":\"integer\"}", "", "\""},
        {"{\"enum\":[\"a b\",\"a\",\"12\"]}", "\na b\n", ""},
        {"{\"enum\":[\"a b\",\"a\",\"12\"]}", "12", ""},
        {"{\"enum\":[\"a b\",\"a\",\"12\"]}", "a ", "\n"},
        {"{\"enum\":[\"a b\",\"a\",\"12\"]}", "", "\"a\""},
        {"{\"enum\":[\"a b\",\"a\",null,3]}", "null\n", ""},
        {"{\"enum\":[\"a b\",\"a\",null,3]}", "a b", ""},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}",
         " [\"\\u00e9</parameter\",\"</\"]\n", ""},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", "[\"</parameter", ">"},
        {"{\"type\":\"object\"}", "{\"a\":\"\",\"b\":[\"<</parameter", ">"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}}}", "{\"</parameter", ">"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}}}", "{\"a\":1,\"</parameter\":2}", ""},
    };
    /* Said in JSON alone. */
    static const char *const json[] = {
        "{}",
        "true",
        "{\"type\":\"string\",\"minLength\":1}",
        "{\"type\":\"string\",\"pattern\":\"a\"}",
        "{\"type\":\"string\",\"format\":\"date\"}",
        "{\"type\":[\"string\",\"number\"]}",
        "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\"}]}",
        "{\"allOf\":[{\"type\":\"string\"}]}",
        "{\"enum\":[\"12\",1]}",
        "{\"enum\":[\"a\",\"b\\n\"]}",
        "{\"enum\":[\"a</parameter>\"]}",
        "{\"enum\":[\"None\",true]}",
        "{\"type\":\"array\",\"items\":{\"const\":\"</parameter>\"}}",
    };
    struct buf text = {0}, head = {0};
    for (size_t i = 0; i < COUNT_OF(cases) + COUNT_OF(json); i++) {
        bool is_json = i >= COUNT_OF(cases);
        buf_clear(&text);
        buf_printf(&text,
                   "[{\"behind\":[\"<function=f>\"],\"parameters\":true,\"schema\":" IN("%s") "}]",
                   is_json ? json[i - COUNT_OF(cases)] : cases[i].schema);
        struct grammar *g = compile(text.data);
        expect_end(g, "<function=f>", is_json ? "<" : "x");
        buf_clear(&head);
        buf_printf(&head, "<function=f>\n<parameter=q>1</parameter>\n<parameter=p>%s",
                   is_json ? "" : cases[i].good);
        if (!is_json && *cases[i].bad) {
            expect_end(g, head.data, cases[i].bad);
        } else if (!is_json) {
            buf_puts(&head, "</parameter>\n</function>\n free");
            expect_end(g, head.data, "");
        }
        grammar_unref(g);
    }
    struct grammar *g =
        compile("[{\"behind\":[\"<function=f>\"],\"parameters\":true,\"schema\":" IN(
            "{\"type\":\"null\"}") "},{\"behind\":[\"<function=g>\"],\"parameters\":"
                                   "true,\"schema\":{\"type\":\"object\"}}]");
    expect_end(g, "<function=f>{\"q\":1,\"p\":null}", "");
    expect_end(g, "<function=f><parameter=", "r");
    expect_end(g, "<function=f><parameter=q>1</parameter><", "/f");
    expect_end(g, "<function=f><parameter=q>1</parameter><parameter=", "q");
    expect_end(g, "<function=g></function><function=g>\n</function><function=g>{}", "");
    grammar_unref(g);
    buf_free(&text);
    buf_free(&head);
}

#define NOT_FOLLOWED "{\"properties\":{\"a\":{\"pattern\":\"x\"},\"b\":{\"not\":{}}}}"

static void test_left_out(void **state)
{
    (void)state;
    expect_refused(
        "[{\"behind\":[\"a\"],\"schema\":true},{\"behind\":[\"b\"],\"schema\":" NOT_FOLLOWED "}]",
        "schema /1/schema/properties/b: the keyword \"not\" is not supported");
    expect_refused("[{\"behind\":[\"a\"],\"schema\":false}]",
                   "schema /0/schema: no value satisfies it");
    expect_refused("[{\"behind\":[\"a{\"],\"schema\":{\"type\":\"array\"}}]",
                   "schema /0/schema: no value satisfies it");
    expect_refused("[{\"behind\":[],\"schema\":true}]",
                   "schema /0: must have a schema and texts that it is behind, none of them empty");
    expect_refused("[{\"behind\":[\"a\",\"\"],\"schema\":true,\"optional\":true}]",
                   "schema /0: must have a schema and texts that it is behind, none of them empty");
    expect_refused("[{\"behind\":[\"a\"],\"schema\":true,\"optional\":1}]",
                   "schema /0/optional: must be true or false");
    expect_refused("[{\"behind\":[\"a\"],\"schema\":{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{"
                   "\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}}}}]",
                   "schema /0/schema: $ref leads back to itself without a value between, or more "
                   "than 100 alternatives lie within each other");
    /* Each leaves things behind that the ones after it must not find. */
    static const char *const others[] = {
        NOT_FOLLOWED, "false", "{\"pattern\":\"(\"}",
        "{\"items\":{\"$ref\":\"#/$defs/a\"},\"type\":\"array\",\"$defs\":{\"a\":{\"anyOf\":[{"
        "\"type\":\"integer\"},{\"not\":1}]}}}",
        "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":"
        "\"#/$defs/a\"}}}"};
    struct buf document = {0};
    buf_puts(&document, "[");
    for (size_t i = 0; i < COUNT_OF(others); i++)
        buf_printf(&document, "{\"behind\":[\"<%zu>\"],\"optional\":true,\"schema\":%s},", i,
                   others[i]);
    struct buf alone = {0};
    buf_printf(&alone, "%.*s]", (int)document.len - 1, document.data);
    struct grammar *g = compile(alone.data);
    assert_int_equal(readable(g, "<0><1>x<2>y<3>z", 15), 15);
    grammar_unref(g);
    buf_puts(&document,
             "{\"behind\":[\"<x>\"],\"schema\":{\"properties\":{\"a\":{\"pattern\":\"x\"},"
             "\"b\":{\"pattern\":\"\\\\(\"},\"c\":{\"type\":\"integer\"},\"d\":{}},"
             "\"type\":\"object\"}}]");
    g = compile(document.data);
    static const char text[] = "<0>1<x>{\"a\":\"x\",\"b\":\"(\",\"c\":12,\"d\":{\"e\":[1.5]}}<x>{";
    assert_int_equal(readable(g, text, sizeof text - 1), -(int)sizeof text);
    assert_int_equal(readable(g, "<x>{\"b\":\"x\"", 11), -11);
    grammar_unref(g);
    buf_free(&document);
    buf_free(&alone);
}

/* ---- against a slow reader ------------------------------------------------------------------- */

/* Pieces that overlap in many ways. */
static const char *const pieces[] = {"a", "ab", "ba", "aab", "<a>",  "\"a\"",
                                     ":", "b:", "a ", "bb{", "<a>{", "{"};
static const char *const values[] = {
    "{\"enum\":[\"a\",\"ab\",[1,2]]}",
    "{\"properties\":{\"a\":{\"enum\":[\"a\",\"ab\"]},\"b\":{\"const\":1}},\"required\":[\"a\"],"
    "\"additionalProperties\":false,\"type\":\"object\"}",
    "{\"anyOf\":[{\"const\":{}},{\"const\":{\"a\":[]}},{\"type\":\"array\",\"items\":{\"const\":"
    "null}}]}",
};
#define ENTRIES_MAX 4
#define PIECES_MAX 3

struct entry {
    const char *pieces[PIECES_MAX];
    int n_pieces;
    struct grammar *value;
    bool open;
};
struct setup {
    struct entry entries[ENTRIES_MAX];
    int n;
    struct grammar *watched;
    struct buf document;
};

static void make_setup(struct setup *s)
{
    *s = (struct setup){.n = 1 + (int)below(ENTRIES_MAX)};
    struct buf *b = &s->document;
    for (int i = 0; i < s->n; i++) {
        struct entry *e = &s->entries[i];
        e->n_pieces = 1 + (int)below(PIECES_MAX);
        buf_puts(b, i ? ",{\"behind\":[" : "[{\"behind\":[");
        for (int k = 0; k < e->n_pieces; k++) {
            e->pieces[k] = pieces[below(COUNT_OF(pieces))];
            buf_puts(b, k ? ",\"" : "\"");
            for (const char *c = e->pieces[k]; *c; c++)
                buf_printf(b, *c == '"' ? "\\%c" : "%c", *c);
            buf_puts(b, "\"");
        }
        const char *last = e->pieces[e->n_pieces - 1];
        e->open = last[strlen(last) - 1] == '{';
        const char *value = values[e->open ? 1 + below(2) : below(COUNT_OF(values))];
        buf_printf(b, "],\"schema\":%s}", value);
        e->value = compile(value);
    }
    buf_puts(b, "]");
    s->watched = compile(b->data);
}

static void free_setup(struct setup *s)
{
    for (int i = 0; i < s->n; i++)
        grammar_unref(s->entries[i].value);
    grammar_unref(s->watched);
    buf_free(&s->document);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Whether text[from..to) ends with the pieces up to k, no white space behind the last. */
static bool ends_with(const struct entry *e, int k, const char *text, size_t from, size_t to)
{
    size_t n = strlen(e->pieces[k]);
    if (to - from < n || memcmp(text + to - n, e->pieces[k], n) != 0)
        return false;
    if (k == 0)
        return true;
    for (to -= n;; to--) {
        if (ends_with(e, k - 1, text, from, to))
            return true;
        if (to == from || !is_blank(text[to - 1]))
            return false;
    }
}

/* As readable(). White space before a value is nothing, a space, or a line feed and some. */
static int read_slowly(const struct setup *s, const char *text, size_t len)
{
    size_t from = 0, at = 0;
    while (at < len) {
        const struct entry *found = NULL;
        at++;
        for (int i = 0; i < s->n && !found; i++)
            if (ends_with(&s->entries[i], s->entries[i].n_pieces - 1, text, from, at))
                found = &s->entries[i];
        if (!found)
            continue;
        struct grammar_state v;
        grammar_start(found->value, &v);
        if (found->open)
            at--;
        else if (at < len && text[at] == ' ')
            at++;
        else if (at < len && text[at] == '\n')
            for (at++; at < len && (text[at] == ' ' || text[at] == '\t'); at++)
                if (text[at] != text[at - 1] && text[at - 1] != '\n')
                    return -(int)at - 1;
        bool begun = false; /* its grammar lets white space come before it, too */
        while (at < len && !grammar_is_over(&v)) {
            if ((!begun && is_blank(text[at])) || !grammar_accept(found->value, &v, text + at, 1))
                return -(int)at - 1;
            begun = true;
            at++;
        }
        if (!grammar_is_over(&v))
            return -(int)at - 1;
        from = at;
    }
    return (int)at;
}

/* Of pieces, white space and what values are made of; half of them go the grammar's way, so that
 * values come to their ends. */
static void make_text(const struct setup *s, struct buf *text)
{
    static const char *const words[] = {"a",  "b",      "\"a\"",  ":", "{",     "}",   "[",
                                        "]",  "null",   ",",      " ", "\n",    "\t",  "\r",
                                        "{}", "{\"a\"", "\"ab\"", "1", "[1,2]", "\"a", "  "};
    struct grammar_state g;
    bool follows = below(2);
    grammar_start(s->watched, &g);
    for (uint32_t n = 1 + below(20); n > 0; n--) {
        const struct entry *e = &s->entries[below((uint32_t)s->n)];
        const char *word = words[below(COUNT_OF(words))];
        if (below(3) == 0)
            word = e->pieces[below((uint32_t)e->n_pieces)];
        if (!follows || grammar_accept(s->watched, &g, word, strlen(word)))
            buf_puts(text, word);
    }
}

static void test_slow_reader(void **state)
{
    (void)state;
    int n_values = 0, n_refused = 0;
    for (int i = 0; i < 400; i++) {
        struct setup s;
        make_setup(&s);
        for (int k = 0; k < 60; k++) {
            struct buf text = {0};
            buf_puts(&text, "");
            make_text(&s, &text);
            int fast = readable(s.watched, text.data, text.len);
            int slow = read_slowly(&s, text.data, text.len);
            if (fast != slow)
                fail_msg("%s\n%.*s|: %d, not %d", s.document.data, (int)text.len, text.data, fast,
                         slow);
            n_refused += fast < 0 && -fast - 1 < (int)text.len;
            n_values += fast < 0;
            buf_free(&text);
        }
        free_setup(&s);
    }
    assert_true(n_refused > 100 && n_values > n_refused + 100);
}

/* ---- masks ----------------------------------------------------------------------------------- */

#define N_TOKENS 700
#define N_VOCAB (N_TOKENS + 37) /* the model has ids that the tokenizer has not */

struct vocabulary {
    struct token_bytes tokens[N_TOKENS];
    struct buf bytes;
    struct token_trie trie;
    struct grammar_masks *masks;
};

/* Bytes, control tokens, unused ones, an end, two too long ones, and random runs of texts. */
static void make_vocabulary(struct vocabulary *v, const struct setup *s)
{
    size_t at[N_TOKENS + 1];
    *v = (struct vocabulary){0};
    for (uint32_t id = 0; id < N_TOKENS; id++) {
        at[id] = v->bytes.len;
        if (id < 256)
            buf_add(&v->bytes, (char[]){(char)id}, 1);
        else if (id >= 270)
            for (uint32_t n = 1 + below(3); n > 0; n--)
                make_text(s, &v->bytes);
        while (id >= 270 && id < 272 && v->bytes.len - at[id] <= TOKEN_TRIE_LEN_MAX)
            make_text(s, &v->bytes);
    }
    at[N_TOKENS] = v->bytes.len;
    for (uint32_t id = 0; id < N_TOKENS; id++)
        v->tokens[id] = (struct token_bytes){v->bytes.data + at[id], at[id + 1] - at[id],
                                             (int32_t)id, id >= 272 && id < 300};
    token_trie_init(&v->trie, v->tokens, N_TOKENS, N_VOCAB, (int32_t[]){256}, 1);
    v->masks = grammar_masks_create(&v->trie, below(2) * 100000);
}

static void check_mask(struct vocabulary *v, const struct setup *s, const struct grammar_state *at)
{
    uint32_t allowed[(N_VOCAB + 31) / 32];
    uint32_t n = grammar_mask(v->masks, s->watched, at, allowed), tried = 0;
    bool is_free = grammar_is_free(s->watched, at);
    for (uint32_t id = 0; id < COUNT_OF(allowed) * 32; id++) {
        bool may = id < N_VOCAB && is_free;
        if (id < N_TOKENS && v->tokens[id].len > 0 && (is_free || (id < 270 || id >= 300))) {
            struct grammar_state copy;
            grammar_state_copy(&copy, at);
            may = grammar_accept(s->watched, &copy, v->tokens[id].data, v->tokens[id].len);
        }
        if (may != (allowed[id / 32] >> id % 32 & 1))
            fail_msg("%s: token %u, %s: %d", s->document.data, id,
                     id < N_TOKENS ? v->tokens[id].data : "", may);
        tried += may;
    }
    assert_int_equal(n, tried);
}

static void test_masks(void **state)
{
    (void)state;
    for (int i = 0; i < 120; i++) {
        struct setup s;
        struct vocabulary v;
        make_setup(&s);
        make_vocabulary(&v, &s);
        for (int k = 0; k < 12; k++) {
            struct buf text = {0};
            struct grammar_state at;
            make_text(&s, &text);
            grammar_start(s.watched, &at);
            for (size_t b = 0; b < text.len && grammar_accept(s.watched, &at, text.data + b, 1);
                 b++)
                if (below(4) == 0)
                    check_mask(&v, &s, &at);
            check_mask(&v, &s, &at);
            buf_free(&text);
        }
        grammar_masks_free(v.masks);
        token_trie_fini(&v.trie);
        buf_free(&v.bytes);
        free_setup(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),    cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_left_out), cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
