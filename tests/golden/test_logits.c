/*
 * Logits of the default model against Hugging Face transformers on the same file, as recorded by
 * tools/record-logits.py: the 20 largest at every position of three prompts. Skipped where the
 * model is not in the cache (SPECD_MODEL names it).
 *
 * links: specd_model specd_cpu
 * labels: slow
 */
#include "device_impl.h"
#include "model/model_file.h"
#include "specd/util.h"

#include <math.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 4096
#define POSITIONS_MAX (SPECD_K_MAX + 1)

struct bench {
    struct model_file *file;
    struct device *dev;
    sem_t done;
    struct round round;
    struct round_result result;
};

static void on_done(void *arg)
{
    sem_post(&((struct bench *)arg)->done);
}

static void open_device(struct bench *b, enum weight_type weights, enum activations activations)
{
    const struct device_ops *ops = &cpu_device_ops;
    struct device_setup setup = {
        .models = {&b->file->model},
        .weights = {weights},
        .kv = KV_F32,
        .activations = activations,
        .n_slots = 1,
        .n_ctx = 64,
        .max_rows = 16,
        .k_max = SPECD_K_MAX,
        .threads = 2,
    };
    char err[256] = "";
    int32_t blocks[64];
    if (ops->open(&b->dev, -1, err, sizeof err) != 0 ||
        ops->model_load(b->dev, &setup, NULL, NULL, err, sizeof err) != 0 ||
        ops->pool_create(b->dev, 64, 0, on_done, b, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (int32_t i = 0; i < 64; i++)
        blocks[i] = 63 - i;
    assert_int_equal(ops->slot_blocks(b->dev, 0, 0, 64 / SPECD_BLOCK_TOKENS, blocks), 0);
}

/* The prompt as one round: its first token committed, the others as the host's draft. Every row's
 * logits are computed, whatever is accepted. */
static void run_prompt(struct bench *b, const int32_t *ids, int32_t n)
{
    const struct device_ops *ops = &cpu_device_ops;
    struct slot_config config = {
        .params = {.target = {.top_p = 1.0f, .repetition = 1.0f},
                   .draft = {.top_p = 1.0f, .repetition = 1.0f},
                   .n_logprobs = -1},
        .tokens = ids,
        .n_tokens = 1,
        .n_prompt = 1,
        .limit = 64,
    };
    b->round.n_seqs = 1;
    b->round.synthetic_acceptance = -1.0f;
    b->round.seqs[0] = (struct round_seq){.slot = 0, .k = n - 1, .source = DRAFT_FROM_HOST};
    memcpy(b->round.seqs[0].host_draft, ids + 1, (size_t)(n - 1) * sizeof *ids);
    assert_int_equal(ops->slot_set(b->dev, 0, &config), 0);
    assert_int_equal(ops->begin(b->dev, &b->round), 0);
    assert_int_equal(ops->forward(b->dev, MODEL_TARGET, ROWS_VERIFY, 0), 0);
    assert_int_equal(ops->verify(b->dev), 0);
    assert_int_equal(ops->end(b->dev), 0);
    sem_wait(&b->done);
    assert_int_equal(ops->poll(b->dev), 1);
    assert_int_equal(ops->collect(b->dev, &b->result), 0);
}

/* Largest difference between "id:value ..." and the row. */
static double compare_row(char *line, const float *row)
{
    double worst = 0.0;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        int id;
        double value;
        if (sscanf(word, "%d:%lf", &id, &value) == 2)
            worst = fmax(worst, fabs(value - (double)row[id]));
    }
    return worst;
}

static int32_t read_prompt(char *line, int32_t *ids)
{
    int32_t n = 0;
    strtok(line, " \n");
    for (char *word = strtok(NULL, " \n"); word; word = strtok(NULL, " \n")) {
        assert_true(n < POSITIONS_MAX);
        ids[n++] = atoi(word);
    }
    return n;
}

static void compare_all(enum weight_type weights, enum activations activations, double tolerance,
                        const char *what)
{
    struct bench *b = xcalloc(1, sizeof *b);
    char err[256], line[LINE_MAX_BYTES];
    double worst = 0.0;
    int position = 0, rows = 0;
    sem_init(&b->done, 0, 0);
    if (model_file_open(&b->file, getenv("SPECD_MODEL"), err, sizeof err) != 0)
        fail_msg("%s", err);
    open_device(b, weights, activations);
    FILE *f = fopen(getenv("SPECD_GOLDEN"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        int32_t ids[POSITIONS_MAX];
        if (strncmp(line, "prompt", 6) == 0) {
            run_prompt(b, ids, read_prompt(line, ids));
            position = 0;
        } else if (strncmp(line, "logits", 6) == 0) {
            const float *row = cpu_device_logits(b->dev, MODEL_TARGET, 0, position++);
            worst = fmax(worst, compare_row(line, row));
            rows++;
        }
    }
    fclose(f);
    print_message("%s: %d rows, largest difference %.5f\n", what, rows, worst);
    assert_int_equal(rows, 40);
    assert_true(worst <= tolerance);
    cpu_device_ops.close(b->dev);
    model_file_close(b->file);
    sem_destroy(&b->done);
    free(b);
}

static void test_logits(void **state)
{
    (void)state;
    if (!getenv("SPECD_MODEL") || SPECD_K_MAX < 16) {
        print_message("skip: SPECD_MODEL is not set\n");
        skip();
    }
    compare_all(WEIGHT_F32, ACTIVATIONS_INT8, 0.001, "f32");
    compare_all(WEIGHT_NATIVE, ACTIVATIONS_F32, 0.001, "native, float activations");
    compare_all(WEIGHT_NATIVE, ACTIVATIONS_INT8, 0.6, "native"); /* observed: 0.33 */
    compare_all(WEIGHT_Q8_0, ACTIVATIONS_INT8, 1.0, "q8_0");
    compare_all(WEIGHT_BF16, ACTIVATIONS_INT8, 1.0, "bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
