/*
 * The default model: greedy answers with speculation equal those without, token for token. Four
 * prompts with K = 4 in the short run; with SPECD_LONG=1 twenty prompts, every K and drafter.
 * Skipped where the model is not in the cache (SPECD_MODEL names it).
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const prompts[] = {
    "The quick brown fox jumps over the lazy dog. The quick brown fox",
    "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n",
    "<|im_start|>user\nName three rivers.<|im_end|>\n<|im_start|>assistant\n",
    "1, 2, 3, 4, 5, 6, 7, 8, 9,",
    "Once upon a time there was a small town by the sea.",
    "<|im_start|>user\nWhat is a prime number?<|im_end|>\n<|im_start|>assistant\n",
    "The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is",
    "#include <stdio.h>\n\nint main(void)\n{\n",
    "Water boils at",
    "<|im_start|>user\nRepeat: one, two, one, two.<|im_end|>\n<|im_start|>assistant\n",
    "To be, or not to be, that is the question:",
    "A list of colours:\n- red\n- green\n- blue\n-",
    "{\"name\": \"Ada\", \"age\": 36, \"languages\": [",
    "Il etait une fois",
    "In 1969, the first people landed on the Moon. In 1969,",
    "SELECT name, age FROM users WHERE",
    "<|im_start|>user\nWrite a haiku about rain.<|im_end|>\n<|im_start|>assistant\n",
    "Q: What is 2 + 2?\nA: 4\nQ: What is 3 + 3?\nA:",
    "The three laws of thermodynamics are",
    "yes yes yes no no no yes yes yes no no no yes",
};

static const uint32_t self_layers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 29};

static struct request *ask(size_t prompt, int32_t max_tokens)
{
    struct request *req = prompt_request(0, 1, max_tokens, false);
    req->kind = PROMPT_TEXT;
    req->prompt = xstrdup(prompts[prompt]);
    req->prompt_len = strlen(prompts[prompt]);
    req->params.ignore_eos = false;
    return req;
}

static struct engine *start(const char *model, enum drafter_type a, enum drafter_type b, int k)
{
    struct engine_config c = test_config("target");
    c.model_path = model;
    c.n_ctx = 512;
    c.drafters[0] = a;
    c.drafters[1] = b;
    c.n_drafters = a == DRAFT_NONE ? 0 : b == DRAFT_NONE ? 1 : 2;
    c.self_layers = self_layers;
    c.n_self_layers = COUNT_OF(self_layers);
    c.draft_fixed = k;
    return engine_start(&c);
}

/* All prompts at once, as many slots as the engine has. */
static void answer_all(struct engine *e, size_t n, int32_t max_tokens, struct tokens *out)
{
    struct request *reqs[COUNT_OF(prompts)];
    for (size_t i = 0; i < n; i++) {
        reqs[i] = ask(i, max_tokens);
        request_submit(e, reqs[i]);
    }
    for (size_t i = 0; i < n; i++) {
        request_wait(reqs[i]);
        request_tokens(reqs[i], &out[i]);
    }
}

static void compare(const char *model, size_t n, int32_t max_tokens, const struct tokens *plain,
                    enum drafter_type a, enum drafter_type b, int k)
{
    static struct tokens got[COUNT_OF(prompts)];
    struct engine *e = start(model, a, b, k);
    answer_all(e, n, max_tokens, got);
    engine_close(e);
    int32_t rounds = 0, accepted = 0;
    for (size_t i = 0; i < n; i++) {
        assert_same_tokens(&plain[i], &got[i], prompts[i]);
        rounds += got[i].stats.rounds;
        accepted += got[i].stats.n_accepted;
    }
    print_message("drafters %d,%d K %d: mean accepted length %.2f\n", (int)a, (int)b, k,
                  1.0 + (double)accepted / (double)rounds);
}

static void test_greedy_is_unchanged(void **state)
{
    (void)state;
    static struct tokens plain[COUNT_OF(prompts)];
    static const int ks[] = {1, 4, 8, -1};
    const char *model = getenv("SPECD_MODEL");
    bool full = getenv("SPECD_LONG") != NULL;
    if (!model) {
        print_message("skip: SPECD_MODEL is not set\n");
        skip();
    }
    size_t n = full ? COUNT_OF(prompts) : 4;
    int32_t max_tokens = full ? 64 : 24;
    struct engine *e = start(model, DRAFT_NONE, DRAFT_NONE, -1);
    answer_all(e, n, max_tokens, plain);
    engine_close(e);
    if (!full) {
        compare(model, n, max_tokens, plain, DRAFT_LOOKUP, DRAFT_SELF, 4);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(ks); i++) {
        compare(model, n, max_tokens, plain, DRAFT_LOOKUP, DRAFT_NONE, ks[i]);
        compare(model, n, max_tokens, plain, DRAFT_SELF, DRAFT_NONE, ks[i]);
        compare(model, n, max_tokens, plain, DRAFT_LOOKUP, DRAFT_SELF, ks[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_greedy_is_unchanged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
