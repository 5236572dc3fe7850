/*
 * Answers test_grammar.py, a line each:
 *
 *   schema JSON    "ok", or the reason it was refused
 *   walk SEED N    a text of about N tokens as hexadecimal bytes, or "failed" (grammar_walk.h)
 *   accept HEX     "yes" or "no"
 *   tool JSON      as schema, of the parameters of a tool that is called as Qwen3-Coder does
 *   call SEED N    the arguments, as hexadecimal bytes, that the server reads in such a call of
 *                  about N tokens; "json" if it can only be made in JSON; or "failed"
 */
#include "chat_json.h"
#include "grammar_walk.h"
#include "specd/utf8.h"
#include "tool_schema.h"

#include <stdio.h>

static void read_schema(struct grammar **g, const char *text)
{
    struct chat_json j;
    char err[512] = "not JSON";
    grammar_unref(*g);
    *g = NULL;
    if (chat_json_read(&j, text) && grammar_compile(g, j.values, err, sizeof err) == 0)
        puts("ok");
    else
        printf("%s\n", err);
    chat_json_free(&j);
}

static void print_walk(struct walker *w, const struct grammar *g, const char *args)
{
    unsigned long long seed = 0, length = 0;
    struct buf text = {0};
    sscanf(args, "%llu %llu", &seed, &length);
    if (!g || !walker_text(w, g, seed, (uint32_t)length, 16, &text))
        printf("failed ");
    for (size_t i = 0; i < text.len; i++)
        printf("%02x", (unsigned char)text.data[i]);
    putchar('\n');
    buf_free(&text);
}

static void print_accept(struct walker *w, const struct grammar *g, const char *hex)
{
    struct buf text = {0};
    unsigned byte;
    buf_reserve(&text, 1);
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        buf_add(&text, (char[]){(char)byte}, 1);
    puts(g && walker_accepts(w, g, text.data, text.len) ? "yes" : "no");
    buf_free(&text);
}

#define HEAD "<function=f>"

/* parameters: an object that is not empty; it gets the $id that the server gives it. */
static void read_tool(struct grammar **g, struct tool_offer *offer, const char *parameters)
{
    struct buf text = {0};
    struct json *tool;
    char why[64];
    buf_printf(&text,
               "[{\"behind\":[\"" HEAD
               "\"],\"parameters\":true,\"schema\":{\"$id\":\"tool:f\",%s}]",
               parameters + 1);
    read_schema(g, text.data);
    buf_clear(&text);
    buf_printf(&text, "{\"function\":{\"name\":\"f\",\"parameters\":%s}}", parameters);
    buf_free(&offer->bytes);
    if (json_parse_lax(&tool, text.data, text.len, why, sizeof why) == 0)
        tool_offer_add(offer, tool, TOOL_FREE);
    json_free(tool);
    buf_free(&text);
}

/* A text of the grammar from behind the head to the end of the value. */
static bool walk_call(struct walker *w, const struct grammar *g, uint32_t length, struct buf *text)
{
    static const char *const closers[] = {
        "</parameter>", "</function>", "\n</parameter>", "null", "]", "}", "\"", "0"};
    struct grammar_state s;
    grammar_start(g, &s);
    buf_puts(text, HEAD "<");
    if (!grammar_accept(g, &s, text->data, text->len))
        return false;
    for (uint32_t i = 0; !grammar_is_free(g, &s) && i < length + 20000; i++) {
        const char *word = closers[walker_below(w, COUNT_OF(closers))];
        size_t n = strlen(word);
        if (walker_below(w, i < length ? 12 : 2) || !grammar_accept(g, &s, word, n)) {
            if (!walker_mask(w, g, &s, walker_below(w, 16) == 0))
                return false;
            const struct token_bytes *t = &w->tokens[walker_pick(w, i >= length)];
            word = t->data;
            n = t->len;
            if (!grammar_accept(g, &s, word, n))
                return false;
        }
        buf_add(text, word, n);
    }
    return grammar_is_free(g, &s);
}

static void print_call(struct walker *w, const struct grammar *g, const struct tool_offer *offer,
                       const char *args)
{
    unsigned long long seed = 0, length = 0;
    struct buf bytes = {0}, text = {0};
    struct utf8_tail tail = {0};
    struct tool_output out = {0};
    struct grammar_state s;
    sscanf(args, "%llu %llu", &seed, &length);
    w->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    grammar_start(g, &s);
    if (!grammar_accept(g, &s, HEAD "<", strlen(HEAD "<"))) {
        puts("json");
        return;
    }
    if (!walk_call(w, g, (uint32_t)length, &bytes))
        printf("failed ");
    utf8_feed(&tail, bytes.data, bytes.len, &text); /* as an answer's */
    utf8_finish(&tail, &text);
    struct tool_parser *parser = tool_parser_new(offer, false);
    tool_parser_feed(parser, text.data, text.len, true, &out);
    for (int i = 0; i < out.n_events; i++)
        for (size_t k = 0; k < out.events[i].len && out.events[i].kind == TOOL_ARGUMENTS; k++)
            printf("%02x", (unsigned char)out.bytes.data[out.events[i].at + k]);
    putchar(' ');
    for (size_t i = 0; i < text.len; i++)
        printf(text.data[i] < ' ' && text.data[i] >= 0 ? "\\x%02x" : "%c", text.data[i]);
    putchar('\n');
    tool_parser_free(parser);
    buf_free(&bytes);
    tool_output_free(&out);
    buf_free(&text);
}

int main(void)
{
    struct walker w;
    struct grammar *g = NULL;
    struct tool_offer offer = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    walker_init(&w, 1200, 4 << 20);
    while ((n = getline(&line, &cap, stdin)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        if (strncmp(line, "schema ", 7) == 0)
            read_schema(&g, line + 7);
        else if (strncmp(line, "walk ", 5) == 0)
            print_walk(&w, g, line + 5);
        else if (strncmp(line, "accept ", 7) == 0)
            print_accept(&w, g, line + 7);
        else if (strncmp(line, "tool ", 5) == 0)
            read_tool(&g, &offer, line + 5);
        else if (strncmp(line, "call ", 5) == 0)
            print_call(&w, g, &offer, line + 5);
        fflush(stdout);
    }
    free(line);
    buf_free(&offer.bytes);
    grammar_unref(g);
    walker_free(&w);
    return 0;
}
