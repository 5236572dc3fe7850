/*
 * Answers test_grammar.py, a line each:
 *
 *   schema JSON    "ok", or the reason it was refused
 *   walk SEED N    a text of about N tokens as hexadecimal bytes, or "failed" (grammar_walk.h)
 *   accept HEX     "yes" or "no"
 */
#include "chat_json.h"
#include "grammar_walk.h"

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

int main(void)
{
    struct walker w;
    struct grammar *g = NULL;
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
        fflush(stdout);
    }
    free(line);
    grammar_unref(g);
    walker_free(&w);
    return 0;
}
