/*
 * options.h - the command line of bench-serve. Mistakes end the program with status 2.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "specd/util.h"

#define LIST_MAX 16
#define PROMPTS_MAX 64

/* SERVER: the request does not say. */
enum spec_choice { SPEC_SERVER, SPEC_ON, SPEC_OFF };

struct options {
    char host[256];
    int port; /* 0: host is a unix socket's path */
    int clients[LIST_MAX], n_clients;
    enum spec_choice spec[LIST_MAX];
    int n_spec;
    int requests; /* per row; 0: 8 per client, at least 32 */
    int warmup;
    int max_tokens, prompt_tokens, vocab;
    bool chat, stream, words, same_prompt, ignore_eos;
    double temperature;
    const char *fields; /* further members of the body, or NULL */
    struct buf prompts[PROMPTS_MAX];
    int n_prompts;
    int timeout_s;
    uint64_t seed;
};

void options_parse(struct options *o, int argc, char **argv);
void options_free(struct options *o);

#endif
