/*
 * bench-grammar: how long the masks of a grammar take.
 *
 * Writes one pretty-printed document of a schema with objects, arrays, limited and free strings, a
 * pattern and an enum, one token after the other (the longest that fits), and
 * times the mask before each, with masks kept and without; and likewise an answer in which calls of
 * tools are watched for, in free text and in a call. Usage: bench-grammar [MODEL.gguf]; with
 * no model the vocabulary is a made-up one of 128,000 tokens.
 */
#include "grammar/mask.h"
#include "model/gguf.h"
#include "model/gguf_vocab.h"
#include "model/mapping.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MADE_UP 128000
#define TIMES_MAX 65536

/* As {"type": "object", "properties": {...}, "required": [...]} would arrive in a request. */
/* clang-format off */
#define S(key_, text) {.kind = CHAT_STRING, .key = (key_), .s = (text)}
#define I(key_, value) {.kind = CHAT_INT, .key = (key_), .text = #value, .i = (value)}
#define D(key_, members) {.kind = CHAT_DICT, .key = (key_), .n = (members)}
#define L(key_, items) {.kind = CHAT_LIST, .key = (key_), .n = (items)}

static const struct chat_value schema[] = {
    D(NULL, 3), S("type", "object"),
    D("properties", 6),
        D("title", 2), S("type", "string"), I("maxLength", 200),
        D("text", 1), S("type", "string"),
        D("year", 3), S("type", "integer"), I("minimum", 1000), I("maximum", 2100),
        D("code", 2), S("type", "string"), S("pattern", "^[A-Za-z ]+-[0-9]{4}$"),
        D("kind", 1), L("enum", 3), S(NULL, "novel"), S(NULL, "poem"), S(NULL, "play"),
        D("tags", 3), S("type", "array"), D("items", 1), S("type", "string"), I("maxItems", 100),
    L("required", 2), S(NULL, "title"), S(NULL, "year"),
};
/* clang-format on */

static const char document[] =
    "{\n  \"title\": \"The history of a small town, and of those who left it\",\n"
    "  \"text\": \"When the first snow fell, nobody had thought of the bridge. \\\"It will "
    "hold\\\", "
    "they said; it had held for ninety years.\\nBut caf\xc3\xa9s closed early that evening, and "
    "the "
    "river rose \xe2\x80\x94 slowly, as it does.\",\n  \"year\": 1974,\n"
    "  \"code\": \"Green Shelf upper Row-0042\",\n  \"kind\": \"novel\",\n"
    "  \"tags\": [\"river\", \"winter\", \"bridges and roads\", \"memory\"],\n"
    "  \"more\": {\"pages\": [1, 2.5, true, null], \"note\": \"an additional property\"}\n}";

static const char prose[] =
    "The river rose slowly that evening, as it does (\"it will hold\", they said):\n\n- nobody had "
    "thought of the bridge,\n- caf\xc3\xa9s closed early.\n\n```c\nif (a < b && name == \"x\")\n   "
    " "
    "return f(a, \"name\");\n```\nWhat else should I look at? Say \"name\" for the names.";
static const char called[] =
    "<tool_call>\n{\"name\": \"get_weather_7\", \"arguments\": {\"city\": \"New York\", \"days\": "
    "3}}\n"
    "</tool_call>\n<tool_call>\n<function=get_weather_3>\n<parameter=city>\nNew York, by the "
    "river\n</parameter>\n<parameter=tags>\n[\"rain\", "
    "\"wind\"]\n</parameter>\n</function>\n</tool_call>";

/* What is watched for where n tools may be called, in three spellings each. */
static struct chat_value *make_tools(unsigned n, char (*names)[2][40])
{
    struct chat_value *all = xcalloc(1 + n * 3 * 32, sizeof *all), *v = all;
    *v++ = (struct chat_value)L(NULL, n * 3);
    for (unsigned i = 0; i < 3 * n; i++) {
        const char *arguments = i % 3 == 0 ? "\"arguments\"" : "\"parameters\"";
        snprintf(names[i / 3][0], sizeof names[0][0], "\"get_weather_%u\"", i / 3);
        snprintf(names[i / 3][1], sizeof names[0][1], "<function=get_weather_%u>", i / 3);
        const struct chat_value json[] = {S(NULL, "\"name\""),      S(NULL, ":"),
                                          S(NULL, names[i / 3][0]), S(NULL, ","),
                                          S(NULL, arguments),       S(NULL, ":")};
        const struct chat_value object[] = {D("schema", 4),
                                            S("type", "object"),
                                            {.kind = CHAT_BOOL, .key = "additionalProperties"},
                                            L("required", 1),
                                            S(NULL, "city"),
                                            D("properties", 3),
                                            D("city", 1),
                                            S("type", "string"),
                                            D("days", 1),
                                            S("type", "integer"),
                                            D("tags", 2),
                                            S("type", "array"),
                                            D("items", 1),
                                            S("type", "string")};
        bool tags = i % 3 == 2;
        *v++ = (struct chat_value)D(NULL, 3);
        *v++ = (struct chat_value)L("behind", tags ? 1 : COUNT_OF(json));
        if (tags)
            *v++ = (struct chat_value)S(NULL, names[i / 3][1]);
        for (size_t k = 0; k < COUNT_OF(json) && !tags; k++)
            *v++ = json[k];
        *v++ = (struct chat_value){.kind = CHAT_BOOL, .key = "parameters", .b = tags};
        memcpy(v, object, sizeof object);
        v += COUNT_OF(object);
    }
    return all;
}

/* ---- vocabularies ---------------------------------------------------------------------------- */

static int load(struct tokenizer **t, const char *path, char *err, size_t errlen)
{
    struct mapping map;
    struct gguf g;
    struct vocab v = {0};
    int rc = mapping_open(&map, path, err, errlen);
    if (rc)
        return rc;
    rc = gguf_parse(&g, map.data, map.size, map.path, err, errlen);
    if (rc == 0) {
        rc = gguf_vocab(&v, &g, err, errlen);
        gguf_fini(&g);
    }
    if (rc == 0)
        rc = tokenizer_create(t, &v, err, errlen);
    vocab_free(&v);
    mapping_close(&map);
    return rc;
}

/* Bytes, and words of letters with or without a space before them; some end in punctuation, some
 * are pieces of other scripts, about as in vocabularies of this size. */
static void make_up(struct token_trie *trie, struct buf *bytes)
{
    struct token_bytes *tokens = xcalloc(MADE_UP, sizeof *tokens);
    size_t *at = xcalloc(MADE_UP + 1, sizeof *at);
    uint64_t r = 1;
    for (int32_t id = 0; id < MADE_UP; id++) {
        at[id] = bytes->len;
        if (id < 256) {
            buf_add(bytes, (char[]){(char)id}, 1);
            continue;
        }
        r = r * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t bits = r >> 11;
        if (bits % 2)
            buf_puts(bytes, " ");
        for (uint64_t n = 1 + bits / 2 % 9; n > 0; n--, bits = bits * 31 + 7)
            if (id % 5 == 0)
                buf_add(bytes, (char[]){(char)(0xC3 + bits % 20), (char)(0x80 + bits / 64 % 64)},
                        2);
            else
                buf_add(bytes, &"etaoinshrdlucmfwypvbgkqjxz"[bits / 64 % (n > 3 ? 9 : 26)], 1);
        if (id % 16 == 0)
            buf_add(bytes, &"\"\"\"\\,:}]{[\n.;()=\xe2"[id / 16 % 17], 1);
    }
    at[MADE_UP] = bytes->len;
    for (int32_t id = 0; id < MADE_UP; id++)
        tokens[id] = (struct token_bytes){bytes->data + at[id], at[id + 1] - at[id], id, false};
    token_trie_init(trie, tokens, MADE_UP, MADE_UP, (int32_t[]){MADE_UP - 1}, 1);
    free(tokens);
    free(at);
}

/* The longest token the text goes on with. */
static size_t longest(const struct token_tree *tree, const char *text)
{
    size_t best = 1, n = strlen(text);
    for (uint32_t i = 0; i < tree->n_nodes;) {
        const struct trie_node *node = &tree->nodes[i];
        if (node->depth >= n || (uint8_t)text[node->depth] != node->byte) {
            i = node->skip;
            continue;
        }
        if (node->n_ids > 0)
            best = MAX(best, node->depth + 1u);
        i++;
    }
    return best;
}

/* ---- measures -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Writes the text `times` times. */
static void measure(const struct token_trie *trie, const struct grammar *g, size_t cache, int times,
                    const char *text, const char *name)
{
    struct grammar_masks *m = grammar_masks_create(trie, cache);
    uint32_t *allowed = xcalloc(mask_words(trie->n_vocab), sizeof *allowed);
    double *us = xcalloc(TIMES_MAX, sizeof *us), sum = 0;
    size_t n = 0;
    for (int turn = 0; turn < times; turn++) {
        struct grammar_state s;
        grammar_start(g, &s);
        for (const char *at = text; *at && n < TIMES_MAX; n++) {
            uint64_t start = clock_ns();
            grammar_mask(m, g, &s, allowed);
            us[n] = (double)(clock_ns() - start) / 1e3;
            sum += us[n];
            size_t len = longest(&trie->all, at);
            ASSERT(grammar_accept(g, &s, at, len));
            at += len;
        }
        ASSERT(grammar_may_end(&s));
    }
    qsort(us, n, sizeof *us, by_value);
    printf("%-26s %5zu masks: mean %7.1f us, p50 %7.1f, p99 %7.1f, max %7.1f; %.0f nodes a mask\n",
           name, n, sum / (double)n, us[n / 2], us[n * 99 / 100], us[n - 1],
           (double)grammar_masks_stats(m).n_nodes / (double)n);
    free(us);
    free(allowed);
    grammar_masks_free(m);
}

int main(int argc, char **argv)
{
    struct token_trie trie;
    struct tokenizer *t = NULL;
    struct grammar *g, *json;
    struct buf bytes = {0};
    char err[256];
    if (argc > 1 && load(&t, argv[1], err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    uint64_t start = clock_ns();
    if (t)
        token_trie_of(&trie, t, tokenizer_n_vocab(t));
    else
        make_up(&trie, &bytes);
    printf("%u tokens, %u nodes, %u without the plain ones; made in %.1f ms\n", trie.n_vocab,
           trie.all.n_nodes, trie.others.n_nodes, (double)(clock_ns() - start) / 1e6);
    start = clock_ns();
    if (grammar_compile(&g, schema, err, sizeof err) ||
        grammar_compile(&json, NULL, err, sizeof err)) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    printf("two grammars compiled in %.2f ms\n", (double)(clock_ns() - start) / 1e6);
    measure(&trie, g, 0, 3, document, "schema, none kept");
    measure(&trie, g, 32 << 20, 1, document, "schema, first document");
    measure(&trie, g, 32 << 20, 10, document, "schema, ten documents");
    measure(&trie, json, 0, 3, document, "any object, none kept");
    measure(&trie, json, 32 << 20, 1, document, "any object, first document");
    for (unsigned n = 20; n <= 128; n += 108) {
        char(*names)[2][40] = xcalloc(n, sizeof *names);
        struct chat_value *tools = make_tools(n, names);
        struct grammar *watched;
        start = clock_ns();
        if (grammar_compile(&watched, tools, err, sizeof err)) {
            fprintf(stderr, "%s\n", err);
            return 1;
        }
        printf("%u tools watched for: compiled in %.2f ms\n", n,
               (double)(clock_ns() - start) / 1e6);
        measure(&trie, watched, 0, 3, prose, "free text, none kept");
        measure(&trie, watched, 0, 3, called, "calls, none kept");
        measure(&trie, watched, 32 << 20, 10, called, "calls, ten times");
        grammar_unref(watched);
        free(tools);
        free(names);
    }
    grammar_unref(g);
    grammar_unref(json);
    token_trie_fini(&trie);
    tokenizer_free(t);
    buf_free(&bytes);
    return 0;
}
