/*
 * bench-parse - what the HTTP thread does with the body of a request before the engine has it:
 * reading the JSON, checking every field, making the request. Of chats in other dialects also the
 * rewriting into one.
 *
 * Prints a row of a Markdown table for each body: the shortest, the median and the longest of many
 * times.
 */
#include "call.h"

#include "specd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMES_MAX = 1000 };

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

/* What an agent sends after hours: instructions, tools, and turns of reasoning, calls and results.
 */
static void put_history(struct buf *b, size_t bytes, const char *content)
{
    buf_printf(b, "{\"model\":\"x\",\"instructions\":\"%s\",\"tools\":[", content);
    for (int i = 0; i < 20; i++)
        buf_printf(b,
                   "%s{\"type\":\"function\",\"name\":\"tool_%d\",\"description\":\"%.900s\","
                   "\"strict\":false,\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{"
                   "\"type\":\"string\"},\"b\":{\"type\":\"integer\"}}}}",
                   i ? "," : "", i, "About this tool.");
    buf_puts(b, "],\"input\":[{\"role\":\"user\",\"content\":\"Do it.\"}");
    for (int i = 0; b->len + strlen(content) + 700 < bytes; i++)
        buf_printf(
            b,
            ",{\"type\":\"reasoning\",\"summary\":[],\"content\":null,"
            "\"encrypted_content\":\"abcdef\"},{\"type\":\"function_call\",\"name\":"
            "\"tool_%d\",\"call_id\":\"call_%d\",\"arguments\":\"{\\\"a\\\":\\\"ls -la "
            "%d\\\",\\\"b\\\":%d}\"},{\"type\":\"function_call_output\",\"call_id\":\"call_%d\","
            "\"output\":\"%s\"},{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{"
            "\"type\":"
            "\"output_text\",\"text\":\"Done, next.\",\"annotations\":[]}]}",
            i % 20, i, i, i, i, content);
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

static double parse_once(enum call_route route, const struct buf *body)
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

static void row(const char *what, enum call_route route, struct buf *body, int n)
{
    static double ms[TIMES_MAX];
    buf_add(body, "", 1); /* json_parse wants a NUL behind it */
    body->len--;
    for (int i = 0; i < n; i++)
        ms[i] = parse_once(route, body);
    qsort(ms, (size_t)n, sizeof ms[0], by_size);
    printf("| %s | %zu | %.3f | %.3f | %.3f |\n", what, body->len, ms[0], ms[n / 2], ms[n - 1]);
    buf_free(body);
}

int main(void)
{
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
    buf_clear(&text);
    while (text.len < 1000)
        buf_puts(&text, words);
    put_history(&b, 100000, text.data);
    row("Responses, a history of 100 kB", CALL_RESPONSES, &b, TIMES_MAX);
    put_history(&b, 1000000, text.data);
    row("the same of 1 MB", CALL_RESPONSES, &b, 200);
    put_history(&b, 1000000, "ok");
    row("the same of 1 MB, results of 2 bytes", CALL_RESPONSES, &b, 100);
    put_chat(&b, 1000000, text.data);
    row("chat of 1 MB", CALL_CHAT, &b, 200);
    put_ids(&b, 100000);
    row("prompt of token ids", CALL_COMPLETION, &b, TIMES_MAX);
    put_ids(&b, 4000000);
    row("the same, near the largest body", CALL_COMPLETION, &b, 20);
    put_values(&b, 4000000);
    row("values, near the most", CALL_COMPLETION, &b, 20);
    buf_free(&text);
    return 0;
}
