/*
 * How an engine starts, or says why not: a device that can't be opened, types that a device lacks,
 * memory that is the host's or the device's own.
 *
 * labels: hostile
 */
#include "deferred_device.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

static void assert_refused(const struct engine_config *c, const char *const words[], int n)
{
    struct engine *e;
    char err[512];
    int exit_code = 0;
    assert_int_equal(engine_open(&e, c, err, sizeof err), 0);
    while (engine_state(e) == ENGINE_LOADING)
        usleep(1000);
    assert_int_equal(engine_state(e), ENGINE_FAILED);
    const char *why = engine_failure(e, &exit_code);
    assert_int_equal(exit_code, 1);
    for (int i = 0; i < n; i++) {
        if (!strstr(why, words[i]))
            fail_msg("'%s' is not in '%s'", words[i], why);
    }
    engine_close(e);
}

static void test_no_device(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    struct tokens got;
    c.device = &deferred_device_ops;
    c.device_index = 3;
    deferred_depth(2);
    deferred_break(FAULT_OPEN, 0);
    assert_refused(&c, (const char *[]){"device 3"}, 1);

    c.fallback = &cpu_device_ops;
    struct engine *e = engine_start(&c);
    generate(e, prompt_request(1, 5, 5, false), &got);
    assert_int_equal(got.n, 5);
    engine_close(e);
    deferred_depth(2);
}

static void test_types_of_other_devices(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    c.device = &cpu_device_ops;
    c.weights = WEIGHT_FP8;
    assert_refused(&c, (const char *[]){"target", "fp8", "native, f32, bf16, q8_0"}, 3);
    c.weights = WEIGHT_NATIVE;
    c.drafters[0] = DRAFT_MODEL;
    c.n_drafters = 1;
    c.draft_path = model_path("draft");
    c.draft_weights = WEIGHT_INT4;
    assert_refused(&c, (const char *[]){"draft", "int4"}, 2);
    c.draft_weights = WEIGHT_NATIVE;
    c.kv = KV_FP8;
    assert_refused(&c, (const char *[]){"CPU", "fp8"}, 2);
}

static struct engine_config big(void)
{
    struct engine_config c = test_config("target");
    c.device = &deferred_device_ops;
    c.n_slots = 64;
    return c;
}

/* A device's own memory is taken but for a margin, of 512 MiB or 2 %. */
static void test_own_memory_is_taken(void **state)
{
    static const struct {
        uint64_t total, margin;
    } devices[] = {{1024, 512}, {80 * 1024, 80 * 1024 / 50}};
    (void)state;
    int32_t blocks[2][2];
    for (int d = 0; d < 2; d++) {
        for (int more = 0; more < 2; more++) {
            struct engine_config c = big();
            uint64_t free_mib = devices[d].margin + 40 + 4 * (uint64_t)more;
            deferred_memory(devices[d].total * MIB, free_mib * MIB + MIB / 2);
            struct engine *e = engine_start(&c);
            blocks[d][more] = engine_info(e)->n_blocks;
            engine_close(e);
        }
    }
    deferred_memory(0, 0);
#ifdef SPECD_HOSTILE /* pools have 16 blocks at most */
    for (int d = 0; d < 2; d++)
        assert_int_equal(blocks[d][1] - blocks[d][0], 0);
#else
    int32_t in_4_mib = blocks[0][1] - blocks[0][0];
    assert_true(in_4_mib > 0);
    assert_in_range(blocks[1][1] - blocks[1][0], in_4_mib - 1, in_4_mib + 1);
    assert_in_range(blocks[1][0], blocks[0][0] - in_4_mib / 4, blocks[0][0] + in_4_mib / 4);
#endif
}

static void test_not_enough_memory(void **state)
{
    (void)state;
    struct engine_config c = big();
    deferred_memory(1024u * MIB, 513u * MIB); /* one MiB beyond the margin */
    assert_refused(&c, (const char *[]){"not enough memory", "513.0 MiB free", "64 tokens"}, 3);
    c.kv_bytes = 4096u * (uint64_t)MIB;
    deferred_memory(1024u * MIB, 2u * MIB);
    assert_refused(&c, (const char *[]){"not enough memory", "2.0 MiB are free"}, 2);
    deferred_memory(0, 0);
    c.kv_bytes = 1;
    assert_refused(&c, (const char *[]){"not enough memory", "may take 0.0 MiB"}, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_types_of_other_devices),
        cmocka_unit_test(test_own_memory_is_taken),
        cmocka_unit_test(test_not_enough_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
