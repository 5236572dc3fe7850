/*
 * bench-parse - what is done with the body of a request before it is text for the tokenizer:
 * reading the JSON, rewriting dialects, checking every field, making the request; and, of an
 * agent's history, rendering the chat template: that of the file TEMPLATE, or a short one.
 *
 *   bench-parse [TEMPLATE]
 *
 * Prints a row of a Markdown table for each body: the shortest, the median and the longest of many
 * times.
 */
#include "call.h"
#include "jinja/chat.h"

#include "specd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMES_MAX = 1000, ROW_MS = 2000 };

static const struct engine_info info = {.n_vocab = 128256};

static void put_chat(struct buf *b, size_t bytes, const char *content)
{
    buf_puts(
        b, "{\"model\":\"x\",\"temperature\":0.7,\"top_p\":0.9,\"max_tokens\":100,\"stop\":[\"a\"],"
           "\"messages\":[{\"role\":\"system\",\"content\":\"You help.\"}");
    for (int i = 0; b->len + strlen(content) + 64 < bytes; i++)
        buf_printf(b, ",{\"role\":\"%s\",\"content\":\"%s\"}", i % 2 ? "assistant" : "user",
                   content);
    buf_puts(b, "]}");
}

static void put_ids(struct buf *b, size_t bytes)
{
    buf_puts(b, "{\"max_tokens\":100,\"prompt\":[1");
    for (unsigned i = 0; b->len + 16 < bytes; i++)
        buf_printf(b, ",%u", i * 7919 % info.n_vocab);
    buf_puts(b, "]}");
}

/* A member that is not ours, and so is only read. */
static void put_values(struct buf *b, size_t bytes)
{
    buf_puts(b, "{\"prompt\":\"x\",\"max_tokens\":100,\"unknown\":[1");
    for (int i = 0; b->len + 16 < bytes && i < 950000; i++)
        buf_puts(b, ",1");
    buf_puts(b, "]}");
}

/* ---- an agent's history: a long text of the system, tools, and turns of a call and its result.
 * ' stands for " until the end. */

#define DIALECT(b, route, chat, responses, messages)      \
    buf_puts(b, (route) == CALL_CHAT        ? (chat)      \
                : (route) == CALL_RESPONSES ? (responses) \
                                            : (messages))

static void put_tool(struct buf *b, enum call_route route, int i, const char *about, bool strict)
{
    DIALECT(b, route, "{'type':'function','function':{", "{'type':'function',", "{");
    buf_printf(b, "'name':'tool%d','description':'%s','strict':%s,", i, about,
               strict ? "true" : "false");
    DIALECT(b, route, "'parameters':", "'parameters':", "'input_schema':");
    buf_puts(b, "{'type':'object','properties':{'path':{'type':'string'},'limit':{'type':'integer'"
                ",'description':'lines at most'}},'required':['path']}");
    DIALECT(b, route, "}}", "}", "}");
}

static void put_turn(struct buf *b, enum call_route route, int i, const char *result)
{
    DIALECT(b, route, ",{'role':'assistant','content':'I look.','tool_calls':[{'type':'function',",
            ",{'role':'assistant','content':'I look.'},{'type':'function_call',",
            ",{'role':'assistant','content':[{'type':'text','text':'I look.'},{'type':'tool_use',");
    buf_printf(b, route == CALL_RESPONSES ? "'call_id':'call%05d'," : "'id':'call%05d',", i);
    DIALECT(b, route, "'function':{'name':'tool1','arguments':", "'name':'tool1','arguments':",
            "'name':'tool1','input':");
    DIALECT(
        b, route, "'{\\'path\\':\\'/src/a.c\\'}'}}]},{'role':'tool','tool_call_id':",
        "'{\\'path\\':\\'/src/a.c\\'}'},{'type':'function_call_output','call_id':",
        "{'path':'/src/a.c'}}]},{'role':'user','content':[{'type':'tool_result','tool_use_id':");
    buf_printf(b, "'call%05d',", i);
    DIALECT(b, route, "'content':'", "'output':'", "'content':[{'type':'text','text':'");
    buf_puts(b, result);
    DIALECT(b, route, "'}", "'}", "'}]}]}");
}

static void put_agent(struct buf *b, enum call_route route, size_t bytes, const char *text,
                      bool strict)
{
    DIALECT(b, route, "{'max_tokens':100,'messages':[{'role':'system','content':'",
            "{'max_output_tokens':100,'instructions':'",
            "{'max_tokens':100,'system':[{'type':'text','text':'x-anthropic-billing-header: "
            "cc_version=2.1.37.3e8; cc_entrypoint=cli; cch=a1b2c;'},{'type':'text','text':'");
    for (int i = 0; i < 16; i++)
        buf_puts(b, text);
    DIALECT(b, route, "'},{'role':'user','content':'Go on.'}",
            "','input':[{'role':'user','content':'Go on.'}",
            "'}],'messages':[{'role':'user','content':'Go on.'}");
    for (int i = 0; b->len + 40000 < bytes; i++)
        put_turn(b, route, i, text);
    buf_puts(b, "],'tools':[");
    for (int i = 0; i < 24; i++) {
        buf_puts(b, i > 0 ? "," : "");
        put_tool(b, route, i, text, strict);
    }
    buf_puts(b, "]}");
    for (size_t i = 0; i < b->len; i++)
        b->data[i] = b->data[i] == '\'' ? '"' : b->data[i];
}

static void render(const struct chat_template *t, const struct request *req)
{
    struct chat_vars vars = {req->chat, "", "", req->field};
    struct buf prompt = {0};
    struct text_spans client = {0};
    char err[256];
    if (chat_render(t, &vars, &prompt, &client, err, sizeof err) < 0) {
        fprintf(stderr, "bench-parse: %s\n", err);
        exit(1);
    }
    buf_free(&prompt);
    text_spans_free(&client);
}

/* t NULL: the prompt is not rendered. */
static double parse_once(enum call_route route, const struct chat_template *t,
                         const struct buf *body)
{
    struct call c;
    struct api_error e;
    uint64_t began = clock_ns();
    if (call_parse(&c, route, &info, body->data, body->len, &e) < 0) {
        fprintf(stderr, "bench-parse: %s\n", e.message);
        exit(1);
    }
    struct request *req = call_request(&c, 0, 0);
    call_drop_document(&c);
    if (t)
        render(t, req);
    uint64_t took = clock_ns() - began;
    request_unref(req);
    call_free(&c);
    return (double)took / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A row of the table. */
struct row {
    const char *what;
    enum call_route route;
    const struct chat_template *t;
    struct buf body;
    double ms[TIMES_MAX];
};

/* Rows that are compared with each other are measured in turns, up to n times each. */
static void measure(struct row *rows, size_t n_rows, int n)
{
    double total = 0;
    int most = n;
    for (struct row *r = rows; r < rows + n_rows; r++) {
        buf_add(&r->body, "", 1); /* json_parse wants a NUL behind it */
        r->body.len--;
    }
    for (n = 0; n < most && total < ROW_MS * (double)n_rows; n++)
        for (struct row *r = rows; r < rows + n_rows; r++)
            total += r->ms[n] = parse_once(r->route, r->t, &r->body);
    for (struct row *r = rows; r < rows + n_rows; r++) {
        qsort(r->ms, (size_t)n, sizeof r->ms[0], by_size);
        printf("| %s | %zu | %.3f | %.3f | %.3f |\n", r->what, r->body.len, r->ms[0], r->ms[n / 2],
               r->ms[n - 1]);
        buf_free(&r->body);
    }
}

static void row(const char *what, enum call_route route, struct buf *body, int n)
{
    static struct row r;
    r = (struct row){.what = what, .route = route, .body = *body};
    *body = (struct buf){0};
    measure(&r, 1, n);
}

/* What is done with a body, and that with the prompt made, in each dialect. */
static void agent_rows(const struct chat_template *t, size_t bytes, const char *text)
{
    static const struct {
        enum call_route route;
        const char *name, *rendered;
        bool strict;
    } kinds[] = {
        {CALL_CHAT, "an agent's history, chat", "the same, and its prompt", false},
        {CALL_RESPONSES, "an agent's history, Responses", "the same, and its prompt", false},
        {CALL_MESSAGES, "an agent's history, Messages", "the same, and its prompt", false},
        {CALL_CHAT, "an agent's history, chat, 24 strict tools", "the same, and its prompt", true},
    };
    static struct row rows[2 * COUNT_OF(kinds)];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool rendered = i % 2;
        rows[i] = (struct row){
            .what = rendered ? kinds[i / 2].rendered : kinds[i / 2].name,
            .route = kinds[i / 2].route,
            .t = rendered ? t : NULL,
        };
        put_agent(&rows[i].body, rows[i].route, bytes, text, kinds[i / 2].strict);
    }
    measure(rows, COUNT_OF(rows), bytes < 500000 ? TIMES_MAX : 100);
}

static struct chat_template *read_template(const char *path)
{
    struct chat_template *t;
    struct buf source = {0};
    char err[256];
    buf_puts(&source, "{% for t in tools %}{{ t|tojson }}\n{% endfor %}{% for m in messages %}"
                      "<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls %}"
                      "<tool_call>{{ c.function|tojson }}</tool_call>{% endfor %}<|im_end|>\n"
                      "{% endfor %}");
    if (path)
        buf_clear(&source);
    if ((path && file_read(path, 1 << 20, &source, err, sizeof err) < 0) ||
        chat_template_create(&t, source.data, false, err, sizeof err) < 0) {
        fprintf(stderr, "bench-parse: %s\n", err);
        exit(1);
    }
    buf_free(&source);
    return t;
}

int main(int argc, char **argv)
{
    struct chat_template *t = read_template(argc > 1 ? argv[1] : NULL);
    static const char words[] = "The quick brown fox \\\"jumps\\\" over the lazy dog.\\n";
    static const char accents[] = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\u00e9\\ud83d\\ude00 ";
    struct buf b = {0}, text = {0};
    printf("| body | bytes | shortest ms | median | longest |\n|:--|--:|--:|--:|--:|\n");
    while (text.len < 1000)
        buf_puts(&text, words);
    put_chat(&b, 100000, text.data);
    row("chat, messages of 1 kB", CALL_CHAT, &b, TIMES_MAX);
    put_chat(&b, 100000, "hi");
    row("chat, messages of 2 bytes", CALL_CHAT, &b, TIMES_MAX);
    buf_clear(&text);
    while (text.len < 99000)
        buf_puts(&text, accents);
    put_chat(&b, 100000, text.data);
    row("chat, one message, escapes and UTF-8", CALL_CHAT, &b, TIMES_MAX);
    put_ids(&b, 100000);
    row("prompt of token ids", CALL_COMPLETION, &b, TIMES_MAX);
    put_ids(&b, 4000000);
    row("the same, near the largest body", CALL_COMPLETION, &b, 20);
    put_values(&b, 4000000);
    row("values, near the most", CALL_COMPLETION, &b, 20);
    buf_clear(&text);
    while (text.len < 1000)
        buf_puts(&text, words);
    agent_rows(t, 100000, text.data);
    agent_rows(t, 1000000, text.data);
    chat_template_free(t);
    buf_free(&text);
    return 0;
}
