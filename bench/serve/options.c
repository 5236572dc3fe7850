#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char usage[] =
    "usage: bench-serve [options]\n"
    "  --url URL            http://IPV4:PORT or unix:PATH (http://127.0.0.1:8080)\n"
    "  --clients LIST       clients at once, a row each (1,4,16,64)\n"
    "  --requests N         per row (8 per client, at least 32)\n"
    "  --warmup N           requests before the first row (2)\n"
    "  --max-tokens N       tokens to generate (64)\n"
    "  --prompt-tokens N    length of synthetic prompts (128)\n"
    "  --vocab N            synthetic token ids are below this (1000)\n"
    "  --words              synthetic prompts are words rather than token ids\n"
    "  --prompt-file FILE   a prompt; repeat for several, taken in turn\n"
    "  --same-prompt        one synthetic prompt for all: finds the prefix cache\n"
    "  --route ROUTE        completions or chat (completions)\n"
    "  --stream on|off      (on)\n"
    "  --temperature T      (0)\n"
    "  --speculative LIST   on, off or both: a row each (as the server is set)\n"
    "  --stop-at-eos        do not send ignore_eos\n"
    "  --fields JSON        further members of the body, such as '\"top_p\":0.9'\n"
    "  --seed N             of synthetic prompts (0)\n"
    "  --timeout S          per row (600)\n"
    "SPECD_API_KEY in the environment is sent as a bearer token.\n";

static const struct option long_options[] = {
    {"url", required_argument, NULL, 'u'},
    {"clients", required_argument, NULL, 'c'},
    {"requests", required_argument, NULL, 'n'},
    {"warmup", required_argument, NULL, 'w'},
    {"max-tokens", required_argument, NULL, 'm'},
    {"prompt-tokens", required_argument, NULL, 'p'},
    {"vocab", required_argument, NULL, 'v'},
    {"words", no_argument, NULL, 't'},
    {"prompt-file", required_argument, NULL, 'f'},
    {"same-prompt", no_argument, NULL, 'e'},
    {"route", required_argument, NULL, 'r'},
    {"stream", required_argument, NULL, 's'},
    {"temperature", required_argument, NULL, 'T'},
    {"speculative", required_argument, NULL, 'x'},
    {"stop-at-eos", no_argument, NULL, 'o'},
    {"fields", required_argument, NULL, 'F'},
    {"seed", required_argument, NULL, 'S'},
    {"timeout", required_argument, NULL, 'O'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

_Noreturn static void die(const char *option, const char *value)
{
    fprintf(stderr, "bench-serve: %s: bad value '%s'\n", option, value);
    exit(2);
}

static int parse_int(const char *option, const char *s, long min, long max)
{
    char *end;
    long v = strtol(s, &end, 10);
    if (end == s || *end || v < min || v > max)
        die(option, s);
    return (int)v;
}

/* True for the first of two words, false for the second; nothing else will do. */
static bool parse_word(const char *option, const char *s, const char *yes, const char *no)
{
    if (strcmp(s, yes) != 0 && strcmp(s, no) != 0)
        die(option, s);
    return strcmp(s, yes) == 0;
}

static double parse_temperature(const char *s)
{
    char *end;
    double v = strtod(s, &end);
    if (end == s || *end || !(v >= 0 && v <= 2))
        die("--temperature", s);
    return v;
}

static void parse_url(struct options *o, const char *url)
{
    const char *s = strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    if (strncmp(s, "unix:", 5) == 0) {
        snprintf(o->host, sizeof o->host, "%s", s + 5);
        o->port = 0;
        return;
    }
    const char *colon = strchr(s, ':');
    if (!colon || (size_t)(colon - s) >= sizeof o->host)
        die("--url", url);
    snprintf(o->host, sizeof o->host, "%.*s", (int)(colon - s), s);
    if (strcmp(o->host, "localhost") == 0)
        snprintf(o->host, sizeof o->host, "127.0.0.1");
    char port[8];
    snprintf(port, sizeof port, "%.*s", (int)strcspn(colon + 1, "/"), colon + 1);
    o->port = parse_int("--url", port, 1, 65535);
    struct sockaddr_in unused;
    if (uv_ip4_addr(o->host, o->port, &unused) != 0)
        die("--url", url);
}

static void add_clients(struct options *o, const char *s)
{
    if (o->n_clients == LIST_MAX)
        die("--clients", s);
    o->clients[o->n_clients++] = parse_int("--clients", s, 1, 4096);
}

static void add_spec(struct options *o, const char *s)
{
    if (o->n_spec == LIST_MAX)
        die("--speculative", s);
    bool on = parse_word("--speculative", s, "on", "off");
    o->spec[o->n_spec++] = on ? SPEC_ON : SPEC_OFF;
}

static void parse_list(struct options *o, const char *s,
                       void (*add)(struct options *o, const char *item))
{
    char *copy = xstrdup(s), *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save))
        add(o, item);
    free(copy);
}

static void add_prompt(struct options *o, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f || o->n_prompts == PROMPTS_MAX)
        die("--prompt-file", path);
    struct buf *b = &o->prompts[o->n_prompts++];
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_add(b, piece, n);
    fclose(f);
    if (b->len == 0)
        die("--prompt-file", path);
}

static void parse_option(struct options *o, int letter, const char *arg)
{
    switch (letter) {
    case 'u':
        parse_url(o, arg);
        break;
    case 'c':
        parse_list(o, arg, add_clients);
        break;
    case 'n':
        o->requests = parse_int("--requests", arg, 1, 100000000);
        break;
    case 'w':
        o->warmup = parse_int("--warmup", arg, 0, 1000000);
        break;
    case 'm':
        o->max_tokens = parse_int("--max-tokens", arg, 1, 1 << 20);
        break;
    case 'p':
        o->prompt_tokens = parse_int("--prompt-tokens", arg, 1, 1 << 20);
        break;
    case 'v':
        o->vocab = parse_int("--vocab", arg, 1, 3 << 17);
        break;
    case 't':
        o->words = true;
        break;
    case 'f':
        add_prompt(o, arg);
        break;
    case 'e':
        o->same_prompt = true;
        break;
    case 'r':
        o->chat = parse_word("--route", arg, "chat", "completions");
        break;
    case 's':
        o->stream = parse_word("--stream", arg, "on", "off");
        break;
    case 'T':
        o->temperature = parse_temperature(arg);
        break;
    case 'x':
        parse_list(o, arg, add_spec);
        break;
    case 'o':
        o->ignore_eos = false;
        break;
    case 'F':
        o->fields = arg;
        break;
    case 'S':
        o->seed = (uint64_t)parse_int("--seed", arg, 0, INT32_MAX);
        break;
    case 'O':
        o->timeout_s = parse_int("--timeout", arg, 1, 1000000);
        break;
    case 'h':
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

void options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){
        .host = "127.0.0.1",
        .port = 8080,
        .warmup = 2,
        .max_tokens = 64,
        .prompt_tokens = 128,
        .vocab = 1000,
        .stream = true,
        .ignore_eos = true,
        .timeout_s = 600,
    };
    for (int letter; (letter = getopt_long(argc, argv, "h", long_options, NULL)) != -1;)
        parse_option(o, letter, optarg);
    if (optind < argc)
        die("unexpected argument", argv[optind]);
    if (o->n_clients == 0)
        parse_list(o, "1,4,16,64", add_clients);
    if (o->n_spec == 0)
        o->spec[o->n_spec++] = SPEC_SERVER;
}

void options_free(struct options *o)
{
    for (int i = 0; i < o->n_prompts; i++)
        buf_free(&o->prompts[i]);
}
