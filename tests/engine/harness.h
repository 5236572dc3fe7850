/*
 * harness.h - the real engine on the CPU device, driven through engine.h as the server drives it.
 * With SPECD_TEST_DEVICE=deferred the CPU device takes two rounds in flight (deferred_device.h).
 *
 * Models are synthetic pairs that the build makes (tests/engine/CMakeLists.txt); their folder comes
 * in the environment as SPECD_TEST_MODELS. Failures are cmocka failures.
 */
#ifndef SPECD_TEST_HARNESS_H
#define SPECD_TEST_HARNESS_H

#include "specd/engine.h"

/* Bytes of a KV pool that holds little more than one sequence of the pair "target" and "draft". */
#ifdef SPECD_HOSTILE
#define SMALL_POOL (200u * 1024u) /* 16 blocks of 4 tokens */
#else
#define SMALL_POOL (150u * 1024u)
#endif

/* Path of a synthetic model, in static storage (a few alternate). */
const char *model_path(const char *name);

/* A small configuration: the device to test, 2 threads, target model, no drafter. */
struct engine_config test_config(const char *model);

struct engine *engine_start(const struct engine_config *config); /* waits for READY */

/* A request with a pseudo-random prompt of n tokens, greedy, with max_tokens. Same seed, same
 * prompt. `stream`: on_output at every round. */
struct request *prompt_request(uint32_t seed, int32_t n, int32_t max_tokens, bool stream);

void request_submit(struct engine *e, struct request *req); /* must be accepted */
void request_wait(struct request *req);                     /* until it has finished */
void request_wait_tokens(struct request *req, size_t n);    /* until n tokens, or finished */

/* While outputs are held the engine stands still at the next one it delivers, so that what is
 * submitted meanwhile runs together, however slow the machine is. */
void hold_outputs(bool hold);

/* Submits, waits, and returns the generated ids in a static-size array. */
#define TOKENS_MAX 512
struct tokens {
    int32_t id[TOKENS_MAX];
    size_t n;
    enum finish_reason finish;
    struct request_stats stats;
};
void request_tokens(struct request *req, struct tokens *out); /* of a finished request; unrefs */
void generate(struct engine *e, struct request *req, struct tokens *out);
void assert_same_tokens(const struct tokens *a, const struct tokens *b, const char *what);

#endif
