/*
 * bench-lookup - what drafters of the host would have had accepted of recorded answers, and what
 * they cost.
 *
 *   bench-lookup TEXTS [-K 4,8,15]
 *
 * TEXTS is what scripts/record-texts.py wrote: a JSON object a line with `name`, and the token ids
 * of `prompt`, `answer` and perhaps `prediction`. For each text, drafter and K: tokens per round
 * (1 + accepted / rounds) when every round drafts what is proposed, and the share of drafted tokens
 * that was accepted. This is greedy decoding exactly, and no model runs.
 *
 * Then what it costs in a context of 32768 tokens, made of all texts in turns: taking in the
 * prompt, a round (observe what it brought, propose the next), and memory where the drafter tells
 * it.
 */
#include "drafters/drafter.h"
#include "drafters/prediction.h"
#include "drafters/suffix.h"
#include "specd/util.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONG 32768
#define ROUNDS 4096 /* timed in the long context */
#define LIST_MAX 8

struct ids {
    int32_t *at, n;
};

struct text {
    char *name;
    struct ids prompt, answer, prediction;
};

static struct text *texts;
static int n_texts;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-lookup: %s: %s\n", what, why);
    exit(1);
}

static struct ids read_ids(const cJSON *line, const char *name)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(line, name), *v;
    struct ids out = {NULL, 0};
    out.at = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *out.at);
    cJSON_ArrayForEach(v, list) out.at[out.n++] = v->valueint;
    return out;
}

static void read_texts(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    if (!f)
        die(path, "can't be opened");
    while (getline(&line, &cap, f) > 0) {
        cJSON *v = cJSON_Parse(line);
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "name"));
        if (!name)
            die(path, "a line is not what record-texts.py writes");
        texts = xrealloc(texts, (size_t)(n_texts + 1) * sizeof *texts);
        texts[n_texts++] = (struct text){xstrdup(name), read_ids(v, "prompt"),
                                         read_ids(v, "answer"), read_ids(v, "prediction")};
        cJSON_Delete(v);
    }
    free(line);
    fclose(f);
}

/* ---- acceptance ------------------------------------------------------------------------------ */

struct tally {
    int rounds, drafted, accepted;
};

static void *begin(const struct drafter *d, const struct text *t, struct prediction *p)
{
    struct draft_text about = {
        .n_ctx = t->prompt.n + t->answer.n, .n_prompt = t->prompt.n, .prediction = p};
    void *state = d->begin(&about);
    d->observe(state, t->prompt.at, t->prompt.n);
    return state;
}

/* The first of the list that proposes drafts, as with a fixed K. */
static struct tally run(const struct drafter *const *list, const struct text *t,
                        struct prediction *p, int32_t k)
{
    struct tally y = {0};
    const int32_t *a = t->answer.at;
    int32_t out[SPECD_K_MAX], match, at = 0;
    void *states[2] = {NULL};
    for (int i = 0; i < 2 && list[i]; i++)
        states[i] = begin(list[i], t, p);
    while (at < t->answer.n) {
        int32_t n = 0, agreed = 0;
        for (int i = 0; i < 2 && list[i] && n == 0; i++)
            n = list[i]->propose(states[i], MIN(k, t->answer.n - at - 1), out, &match);
        while (agreed < n && out[agreed] == a[at + agreed])
            agreed++;
        for (int i = 0; i < 2 && list[i]; i++)
            list[i]->observe(states[i], a + at, agreed + 1);
        at += agreed + 1;
        y.rounds++;
        y.drafted += n;
        y.accepted += agreed;
    }
    for (int i = 0; i < 2 && list[i]; i++)
        list[i]->forget(states[i]);
    return y;
}

static void print_acceptance(const struct drafter *const *list, const struct text *t, const int *ks,
                             int n)
{
    struct prediction *p = prediction_create(t->prediction.at, t->prediction.n);
    printf("| %s | %d | %s%s%s |", t->name, t->answer.n, drafter_name(list[0]->type),
           list[1] ? ", " : "", list[1] ? drafter_name(list[1]->type) : "");
    for (int i = 0; i < n; i++) {
        struct tally y = run(list, t, p, ks[i]);
        printf(" %.3f (%.2f) |", 1 + (double)y.accepted / y.rounds,
               (double)y.accepted / MAX(y.drafted, 1));
    }
    printf("\n");
    prediction_unref(p);
}

/* ---- cost ------------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* All texts in turns, until there are n tokens. */
static int32_t *long_text(int32_t n)
{
    int32_t *out = xcalloc((size_t)n, sizeof *out), at = 0;
    for (int i = 0; at < n; i = (i + 1) % n_texts) {
        const struct ids *parts[] = {&texts[i].prompt, &texts[i].answer};
        for (int j = 0; j < 2; j++)
            for (int32_t k = 0; k < parts[j]->n && at < n; k++)
                out[at++] = parts[j]->at[k];
    }
    return out;
}

static void print_cost(const struct drafter *d)
{
    static uint64_t ns[ROUNDS];
    struct text t = {.name = NULL, .prompt = {long_text(LONG + ROUNDS), LONG}};
    struct prediction *p = prediction_create(t.prompt.at, t.prompt.n);
    int32_t out[SPECD_K_MAX], match;
    uint64_t began = clock_ns();
    t.answer.n = ROUNDS;
    void *state = begin(d, &t, p);
    double prompt_ms = (double)(clock_ns() - began) / 1e6;
    for (int i = 0; i < ROUNDS; i++) {
        began = clock_ns();
        d->observe(state, t.prompt.at + LONG + i, 1);
        d->propose(state, SPECD_K_MAX, out, &match);
        ns[i] = clock_ns() - began;
    }
    qsort(ns, ROUNDS, sizeof ns[0], by_size);
    printf("| %s | %.2f | %.2f | %.2f |\n", drafter_name(d->type), prompt_ms,
           (double)ns[ROUNDS / 2] / 1e3, (double)ns[ROUNDS * 99 / 100] / 1e3);
    d->forget(state);
    prediction_unref(p);
    free(t.prompt.at);
}

int main(int argc, char **argv)
{
    int ks[LIST_MAX] = {4, 8, 15}, n_ks = 3, c;
    while ((c = getopt(argc, argv, "K:")) != -1) {
        if (c != 'K')
            die("usage", "bench-lookup TEXTS [-K 4,8,15]");
        n_ks = 0;
        for (char *k = strtok(optarg, ","); k && n_ks < LIST_MAX; k = strtok(NULL, ","))
            ks[n_ks++] = MIN(MAX(atoi(k), 1), SPECD_K_MAX);
    }
    if (optind + 1 != argc)
        die("usage", "bench-lookup TEXTS [-K 4,8,15]");
    read_texts(argv[optind]);
    if (n_texts == 0)
        die(argv[optind], "no texts");
    printf("| text | tokens | drafter |");
    for (int i = 0; i < n_ks; i++)
        printf(" K %d |", ks[i]);
    printf("\n|:--|--:|:--|");
    for (int i = 0; i < n_ks; i++)
        printf("--:|");
    printf("\n");
    static const struct drafter *const lists[][2] = {
        {&lookup_drafter},
        {&prediction_drafter},
        {&prediction_drafter, &lookup_drafter},
    };
    for (int i = 0; i < n_texts; i++) {
        int n_lists = texts[i].prediction.n > 0 ? COUNT_OF(lists) : 1;
        for (int l = 0; l < n_lists; l++)
            print_acceptance(lists[l], &texts[i], ks, n_ks);
    }
    printf(
        "\n| drafter | prompt of %d tokens, ms | round, median us | 99 %% |\n|:--|--:|--:|--:|\n",
        LONG);
    print_cost(&lookup_drafter);
    print_cost(&prediction_drafter);
    struct suffix *x = suffix_create();
    int32_t *text = long_text(LONG);
    suffix_append(x, text, LONG);
    printf("\nThe suffix automaton of these %d tokens takes %.1f bytes a token.\n", LONG,
           (double)suffix_bytes(x) / LONG);
    suffix_free(x);
    free(text);
    return 0;
}
