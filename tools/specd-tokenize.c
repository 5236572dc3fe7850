/*
 * specd-tokenize - encodes the lines of standard input with a model's tokenizer.
 *
 * Reads the vocabulary alone, so a GGUF file without tensors will do. tests/oracle compares what it
 * prints with other tokenizers.
 */
#include "model/gguf.h"
#include "model/gguf_vocab.h"
#include "model/hf_vocab.h"
#include "model/mapping.h"
#include "text/tokenizer.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char usage[] =
    "usage: specd-tokenize [--bos] [--plain] [--client] [--hex] [--decode] MODEL\n"
    "  MODEL     a GGUF file or a Hugging Face folder\n"
    "  --bos     apply the model's rules for BOS and EOS\n"
    "  --plain   texts of control tokens are ordinary text\n"
    "  --client  bytes 2 and 3 begin and end parts in which no control token is, and are left out\n"
    "  --hex     lines are hexadecimal bytes\n"
    "  --decode  print a tab and the decoded text after the ids, as the input is written\n";

struct options {
    unsigned flags;
    bool client, hex, decode;
    const char *model;
};

static int load_gguf(struct vocab *v, const char *path, char *err, size_t errlen)
{
    struct mapping map;
    struct gguf g;
    int rc = mapping_open(&map, path, err, errlen);
    if (rc)
        return rc;
    rc = gguf_parse(&g, map.data, map.size, map.path, err, errlen);
    if (rc == 0) {
        rc = gguf_vocab(v, &g, err, errlen);
        gguf_fini(&g);
    }
    mapping_close(&map);
    return rc;
}

static int load_tokenizer(struct tokenizer **t, const char *path, char *err, size_t errlen)
{
    struct stat st;
    struct vocab v = {0};
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    int rc = folder ? hf_vocab_load(&v, path, err, errlen) : load_gguf(&v, path, err, errlen);
    if (rc == 0)
        rc = tokenizer_create(t, &v, err, errlen);
    vocab_free(&v);
    return rc;
}

/* In place; false if the line is no whole number of hexadecimal bytes. */
static bool unhex(char *line, size_t *len)
{
    if (*len % 2)
        return false;
    for (size_t i = 0; i < *len; i += 2) {
        unsigned byte;
        if (sscanf(line + i, "%2x", &byte) != 1)
            return false;
        line[i / 2] = (char)byte;
    }
    *len /= 2;
    return true;
}

/* In place. A part without an end goes to the line's. */
static void take_marks(char *line, size_t *len, struct text_spans *client)
{
    size_t n = 0, begin = 0;
    bool in = false;
    for (size_t i = 0; i < *len; i++) {
        if (line[i] != 2 && line[i] != 3) {
            line[n++] = line[i];
            continue;
        }
        if (in)
            text_spans_add(client, begin, n);
        in = line[i] == 2;
        begin = n;
    }
    if (in)
        text_spans_add(client, begin, n);
    *len = n;
}

static void print_decoded(const struct tokenizer *t, const int32_t *ids, size_t n, bool hex)
{
    struct decoder d = {0};
    struct buf text = {0};
    for (size_t i = 0; i < n; i++)
        decoder_feed(&d, t, ids[i], true, &text);
    decoder_finish(&d, &text);
    putchar('\t');
    for (size_t i = 0; i < text.len; i++)
        printf(hex ? "%02x" : "%c", (unsigned char)text.data[i]);
    buf_free(&text);
}

static int encode_line(const struct tokenizer *t, const struct options *o, char *line, size_t len)
{
    int32_t *ids;
    size_t n;
    if (o->hex && !unhex(line, &len)) {
        fprintf(stderr, "specd-tokenize: not hexadecimal: %s\n", line);
        return 1;
    }
    struct text_spans client = {0};
    if (o->client)
        take_marks(line, &len, &client);
    int rc =
        tokenizer_encode(t, line, len, o->flags,
                         &(struct encode_options){.client = o->client ? &client : NULL}, &ids, &n);
    text_spans_free(&client);
    if (rc) {
        fprintf(stderr, "specd-tokenize: error %d on a line of %zu bytes\n", rc, len);
        return 1;
    }
    for (size_t i = 0; i < n; i++)
        printf(i ? " %d" : "%d", (int)ids[i]);
    if (o->decode)
        print_decoded(t, ids, n, o->hex);
    putchar('\n');
    free(ids);
    return 0;
}

static int parse_options(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"bos", no_argument, NULL, 'b'},    {"plain", no_argument, NULL, 'p'},
        {"client", no_argument, NULL, 'c'}, {"hex", no_argument, NULL, 'x'},
        {"decode", no_argument, NULL, 'd'}, {0}};
    *o = (struct options){.flags = ENCODE_SPECIAL};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (c == 'b')
            o->flags |= ENCODE_BOS;
        else if (c == 'p')
            o->flags &= ~(unsigned)ENCODE_SPECIAL;
        else if (c == 'c')
            o->client = true;
        else if (c == 'x')
            o->hex = true;
        else if (c == 'd')
            o->decode = true;
        else
            return 2;
    }
    o->model = argv[optind];
    return optind + 1 == argc ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct options o;
    if (parse_options(&o, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    char err[512];
    struct tokenizer *t;
    uint64_t start = clock_ns();
    if (load_tokenizer(&t, o.model, err, sizeof err)) {
        fprintf(stderr, "specd-tokenize: %s\n", err);
        return 1;
    }
    fprintf(stderr, "specd-tokenize: %u tokens, loaded in %.0f ms\n", tokenizer_n_vocab(t),
            (double)(clock_ns() - start) / 1e6);
    char *line = NULL;
    size_t cap = 0;
    int rc = 0;
    for (ssize_t n; rc == 0 && (n = getline(&line, &cap, stdin)) >= 0;)
        rc = encode_line(t, &o, line, n > 0 && line[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n);
    free(line);
    tokenizer_free(t);
    return rc;
}
