/*
 * Laws and draws of cuda/law.cu and cuda/draw.cu on the emulator against cpu/law.c, bit for bit:
 * random rows with ties, holes, infinities and NaN, every parameter, several numbers of threads and
 * blocks, random schedules.
 *
 * links: emu_rig
 */
#include "exact/oracle.h"
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define ROWS 5

static float *logits_make(int32_t n)
{
    float *row = xcalloc((size_t)n, sizeof(float));

    row_make(row, n, (enum row_shape)(rand() % ROW_SHAPES));
    if (rand() % 12 == 0)
        row[rand() % n] = rand() % 2 ? NAN : INFINITY;
    if (rand() % 8 == 0)
        row[rand() % n] = -0.0f; /* ties with zero */
    return row;
}

static void check_draws(const struct device_law *laws, const struct rig_row *rows,
                        const struct rig_slot *slots, int n, struct sampling_shape shape)
{
    int32_t tokens[ROWS], *on_device = device_take(sizeof(tokens));
    struct device_law copy[ROWS];

    device_read(copy, laws, (size_t)n * sizeof(*laws));
    assert_int_equal(launch_draws(laws, on_device, n, slots[0].n_vocab, shape, NULL), 0);
    device_read(tokens, on_device, (size_t)n * sizeof(int32_t));
    for (int i = 0; i < n; i++) {
        struct noise noise = noise_proposal(slots[i].params.seed, slots[i].params.mode,
                                            copy[i].position, copy[i].round);

        assert_int_equal(tokens[i], law_draw(&rows[i].cpu, &noise));
    }
}

/* Rows of one launch, each with a slot of its own; the draft's vocabulary may be smaller. */
static void check_rows(int32_t n_vocab, int n)
{
    struct sampling_shape shape = shape_random();
    struct rig_slot slots[ROWS];
    struct rig_row rows[ROWS];
    struct device_law laws[ROWS + 1] = {0}, *on_device;

    for (int i = 0; i < n; i++) {
        int32_t v = rand() % 3 ? n_vocab : 1 + rand() % n_vocab;

        rig_slot_make(&slots[i], n_vocab);
        rig_row_make(&rows[i], &laws[i], &slots[i],
                     rand() % 2 ? &slots[i].params.target : &slots[i].params.draft, logits_make(v),
                     v, rand() % 1000, (uint32_t)rand());
    }
    on_device = device_copy(laws, (size_t)(n + 1) * sizeof(*laws)); /* the last is padding */
    assert_int_equal(launch_laws(on_device, n + 1, n_vocab, shape, NULL), 0);
    device_read(laws, on_device, (size_t)n * sizeof(*laws));
    for (int i = 0; i < n; i++)
        assert_laws_equal(&laws[i], &rows[i].cpu);
    check_draws(on_device, rows, slots, n, shape);
    for (int i = 0; i < n; i++) {
        rig_slot_free(&slots[i]);
        rig_row_free(&rows[i]);
    }
    device_free_all();
}

static void check_size(int32_t n_vocab, int n)
{
    for (int i = 0; i < n; i++)
        check_rows(n_vocab, ROWS);
}

static void test_small(void **state)
{
    static const int32_t sizes[] = {1, 2, 31, 33};

    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        check_size(sizes[s], 24);
}

static void test_middle(void **state)
{
    static const int32_t sizes[] = {512, 1000, 1531};

    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        check_size(sizes[s], 24);
}

static void test_large(void **state)
{
    (void)state;
    check_rows(49152, 4);
}

/* The largest vocabulary there may be, one block to the row: the most shared memory. */
static void test_largest(void **state)
{
    const int32_t n = SPECD_VOCAB_MAX;
    struct rig_slot slot;
    struct rig_row row;
    struct device_law law, *on_device;
    float *logits = xcalloc((size_t)n, sizeof(float));

    (void)state;
    row_make(logits, n, ROW_SMOOTH);
    rig_slot_make(&slot, n);
    slot.params.target.top_p = slot.device->target.top_p = 0.9f;
    rig_row_make(&row, &law, &slot, &slot.params.target, logits, n, 5, 0);
    on_device = device_copy(&law, sizeof(law));
    assert_int_equal(launch_laws(on_device, 1, n, (struct sampling_shape){64, 1}, NULL), 0);
    device_read(&law, on_device, sizeof(law));
    assert_laws_equal(&law, &row.cpu);
    rig_slot_free(&slot);
    rig_row_free(&row);
    device_free_all();
}

/* Entries that tie at the cut, more of them than one digit of ids: the search goes down to ids, in
 * the end to those of the largest vocabulary. */
static void test_ties_at_the_cut(void **state)
{
    (void)state;
    for (int t = 0; t < 26; t++) {
        const int32_t n = t < 24 ? 3000 : SPECD_VOCAB_MAX;
        struct rig_slot slot;
        struct rig_row row;
        struct device_law law, *on_device;
        float *logits = xcalloc((size_t)n, sizeof(float));

        rig_slot_make(&slot, n);
        for (int32_t i = 0; i < n; i++)
            logits[i] = (float)(rand() % 2);
        slot.params.target = (struct law_params){.temperature = 1, .repetition = 1, .top_p = 1};
        if (t % 2)
            slot.params.target.top_k = t < 24 ? 1 + rand() % n : n / 2 - 1000;
        else
            slot.params.target.top_p = t < 24 ? (float)random_unit() : 0.999f;
        slot.params.n_bias = slot.params.n_ends = 0;
        slot.device->target = slot.params.target; /* device memory is the host's here */
        slot.device->n_bias = slot.device->n_ends = 0;
        rig_row_make(&row, &law, &slot, &slot.params.target, logits, n, 5, 0);
        on_device = device_copy(&law, sizeof(law));
        assert_int_equal(launch_laws(on_device, 1, n, shape_random(), NULL), 0);
        device_read(&law, on_device, sizeof(law));
        assert_laws_equal(&law, &row.cpu);
        rig_slot_free(&slot);
        rig_row_free(&row);
        device_free_all();
    }
}

/* One row, every number of threads and blocks, many schedules: one summary. */
static void test_shapes_agree(void **state)
{
    static const int threads[] = {32, 64, 160, 512};
    struct device_law laws[2], *on_device;
    struct rig_slot slot;
    struct rig_row row;

    (void)state;
    rig_slot_make(&slot, 1531);
    rig_row_make(&row, laws, &slot, &slot.params.target, logits_make(1531), 1531, 7, 3);
    on_device = device_copy(laws, sizeof(laws[0]));
    for (size_t t = 0; t < COUNT_OF(threads); t++) {
        for (int parts = 1; parts <= 8; parts++) {
            struct sampling_shape shape = {threads[t], parts};

            assert_int_equal(launch_laws(on_device, 1, 1531, shape, NULL), 0);
            device_read(&laws[1], on_device, sizeof(laws[1]));
            assert_laws_equal(&laws[1], &row.cpu);
        }
    }
    rig_slot_free(&slot);
    rig_row_free(&row);
    device_free_all();
}

static void test_shape_of(void **state)
{
    struct sampling_shape s = sampling_shape_of(1, 128256, 132, true);

    (void)state;
    assert_int_equal(s.threads, SAMPLING_THREADS_MAX);
    assert_int_equal(s.parts, 8);
    assert_int_equal(sampling_shape_of(1, 128256, 132, false).parts, 1);
    assert_int_equal(sampling_shape_of(320, 128256, 132, true).parts, 1);
    for (int32_t v = 1; v <= SPECD_VOCAB_MAX; v = v * 3 + 1) {
        s = sampling_shape_of(3, v, 8, true);
        assert_true(s.threads >= 32 && s.threads % 32 == 0 && s.threads <= SAMPLING_THREADS_MAX);
        assert_true(s.parts >= 1 && s.parts <= 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),           cmocka_unit_test(test_middle),
        cmocka_unit_test(test_large),           cmocka_unit_test(test_largest),
        cmocka_unit_test(test_ties_at_the_cut), cmocka_unit_test(test_shapes_agree),
        cmocka_unit_test(test_shape_of),
    };

    return seeded_run(tests);
}
