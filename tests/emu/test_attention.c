/*
 * cuda/attention.cu on the emulator against the definition in double, and against itself: a row's
 * bits are the same whatever else is in the pass, wherever it lies, and however it is launched.
 *
 * links: emu_rig
 */
#include "attention_faulty.h"
#include "child.h"
#include "forward_rig.h"
#include "specd/error.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int32_t dims[] = {64, 80, 96, 128, 256};

static void check_close(const struct attention_case *c)
{
    size_t n = (size_t)(attention_case_rows(c) * c->n_kv_heads * c->group * c->dim);
    uint16_t *out = attention_case_run(c);
    double *expect = attention_case_expect(c);

    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)bf16_number(out[i]) - expect[i]);

        if (!(error <= fabs(expect[i]) * 0x1p-8 + 1e-5))
            fail_msg("element %zu of %zu: %g, not %g", i, n, (double)bf16_number(out[i]),
                     expect[i]);
    }
    free(out);
    free(expect);
}

static void on_matrix(struct attention_case *c)
{
    c->matrix = true;
    c->type = c->type == KV_FP8 ? KV_FP8 : KV_BF16;
    c->queries = ATTENTION_QUERIES_MATRIX;
}

/* On the matrix units the weights are rounded too, each by up to 2^-9 of itself. */
static void check_matrix_close(struct attention_case *c)
{
    size_t n = (size_t)(attention_case_rows(c) * c->n_kv_heads * c->group * c->dim);

    on_matrix(c);
    uint16_t *out = attention_case_run(c);
    double *expect = attention_case_expect(c);
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)bf16_number(out[i]) - expect[i]);

        if (!(error <= fabs(expect[i]) * 0x1p-8 + 0x1p-9))
            fail_msg("element %zu of %zu: %g, not %g", i, n, (double)bf16_number(out[i]),
                     expect[i]);
    }
    free(out);
    free(expect);
}

/* Of types that all tests run with: FP8, or one of the others. */
static int fp8 = 1;

/* Any number that a block's shared memory has room for. */
static int pieces_any(int32_t dim, enum kv_type type)
{
    return dim > 128 || type == KV_F32 ? 2 : 2 + rand() % (ATTENTION_PIECES_MAX - 1);
}

static struct attention_case case_make(void *const *state, int32_t dim, int32_t group)
{
    enum kv_type wide = rand() % 4 ? KV_BF16 : KV_F32, type = *state ? KV_FP8 : wide;

    return (struct attention_case){
        .n_kv_heads = 1 + rand() % 2,
        .group = group,
        .dim = dim,
        .window = rand() % 2 ? 0 : 1 + rand() % (rand() % 2 ? 40 : 400),
        .type = type,
        .queries = rand() % 2 ? ATTENTION_QUERIES_FEW : ATTENTION_QUERIES_MANY,
        .n_blocks = 1 + rand() % 5,
        .pieces_held = pieces_any(dim, type),
        .max_partials = rand() % 3 * 20,
        .spare_rows = rand() % 3,
    };
}

static void case_add(struct attention_case *c, int32_t pos, int32_t n)
{
    c->seqs[c->n_seqs++] = (struct attention_seq){(uint32_t)rand(), pos, n};
}

static void test_heads_and_groups(void **state)
{
    for (size_t i = 0; i < COUNT_OF(dims); i++) {
        for (int32_t group = 1; group <= 8; group++) {
            struct attention_case c = case_make(state, dims[i], group);

            case_add(&c, rand() % 100, 1 + rand() % 3);
            if (group % 4 == 0)
                case_add(&c, 200 + rand() % 100, 1 + rand() % 4);
            check_close(&c);
        }
    }
}

/* Every number of positions around the pieces and tiles. */
static void test_contexts(void **state)
{
    static const int32_t lens[] = {1,   2,   3,   4,   5,   15,  16,  17,  31,  32,  33,
                                   63,  64,  65,  127, 128, 129, 191, 193, 255, 256, 257,
                                   258, 320, 321, 511, 512, 513, 575, 577, 600};

    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        struct attention_case c = case_make(state, 64, 2);

        case_add(&c, lens[i] - 1, 1);
        check_close(&c);
    }
}

static void test_long(void **state)
{
    struct attention_case c = case_make(state, 64, 2);

    c.n_kv_heads = 1;
    case_add(&c, 4300, 2);
    for (int split = 0; split < 2; split++) {
        c.max_partials = split * 2 * 17;
        check_close(&c);
    }
}

/* Positions past 2^15, both ways of merging tiles, both kernels. */
static void test_past_32768(void **state)
{
    struct attention_case c = case_make(state, 64, 1);

    c.n_kv_heads = 1;
    case_add(&c, 33000, 1);
    c.max_partials = 130;
    check_close(&c);
    c.max_partials = 0;
    check_matrix_close(&c);
}

/* Multiples of 8 without a kernel on the matrix units; FP8 wants 16. */
static void test_other_dims(void **state)
{
    static const int32_t others[] = {8, 16, 48, 72, 112, 144, 200, 240};

    for (size_t i = 0; i < COUNT_OF(others); i++) {
        struct attention_case c = case_make(state, others[i], 2);
        struct kv_layer kv = {.type = c.type, .n_kv_heads = 1, .head_dim = others[i]};
        bool fits = c.type != KV_FP8 || others[i] % 16 == 0;

        assert_int_equal(kv_layer_is_supported(&kv), fits);
        assert_int_equal(kv_layer_block_bytes(&kv), 2 * 16 * others[i] *
                                                        (c.type == KV_F32    ? 4
                                                         : c.type == KV_BF16 ? 2
                                                                             : 1));
        case_add(&c, 60 + rand() % 300, 1 + rand() % 3);
        if (fits) {
            check_close(&c);
            continue;
        }
        struct attention_input in = {.kv = kv, .group = 2};
        struct device_state none = {0};
        struct pass pass = {0};
        assert_int_equal(launch_attention(&none, &pass, &in, c.queries, 1, NULL), SPECD_EINVAL);
        assert_int_equal(launch_attention_matrix(&none, &pass, &in, 1, NULL), SPECD_EINVAL);
    }
}

/* Row 0's value is its result: every code is read as the number it is. */
static void test_all_codes(void **state)
{
    (void)state;
    for (int matrix = 0; matrix < 2; matrix++) {
        struct attention_case c = {.n_kv_heads = 1,
                                   .group = 1,
                                   .dim = 256,
                                   .type = KV_FP8,
                                   .queries = ATTENTION_QUERIES_FEW,
                                   .n_blocks = 1,
                                   .all_codes = true};
        case_add(&c, 0, 1);
        if (matrix)
            on_matrix(&c);
        uint16_t *out = attention_case_run(&c);
        for (int code = 0; code < 256; code++) {
            double got = (double)bf16_number(out[code]), want = e4m3_number((uint8_t)code);

            if (isnan(want) ? !isnan(got) : got != want)
                fail_msg("code %d: %g, not %g", code, got, want);
        }
        free(out);
    }
}

/* More heads to a kv head than an item has queries. */
static void test_wide_group(void **state)
{
    struct attention_case c = case_make(state, 64, 37);

    case_add(&c, 250, 9);
    check_close(&c);
}

static void test_matrix(void **state)
{
    for (int32_t group = 1; group <= 8; group++) {
        struct attention_case c = case_make(state, dims[group % 5], group);

        c.n_kv_heads = 1 + group % 2;
        case_add(&c, rand() % 130, 1 + rand() % (160 / group));
        case_add(&c, 0, 1 + rand() % 20);
        check_matrix_close(&c);
    }
    for (int32_t len = 60; len <= 70; len++) {
        struct attention_case c = case_make(state, 64, 1);

        case_add(&c, 0, len);
        check_matrix_close(&c);
    }
    for (int split = 0; split < 2; split++) {
        struct attention_case c = case_make(state, 128, 4);

        c.n_kv_heads = 1;
        c.max_partials = split * 5 * 6;
        case_add(&c, 1400, 5);
        check_matrix_close(&c);
    }
}

/* ---- one row, one result --------------------------------------------------------------------- */

static struct attention_case relaunch(const struct attention_case *c, int n_others)
{
    struct attention_case other = *c;

    other.n_blocks = 1 + rand() % 9;
    other.pieces_held = pieces_any(c->dim, c->type);
    other.spare_rows = rand() % 9;
    if (!c->matrix)
        other.queries = rand() % 2 ? ATTENTION_QUERIES_FEW : ATTENTION_QUERIES_MANY;
    other.max_partials = rand() % 3 * 30;
    for (int i = 0; i < n_others; i++)
        case_add(&other, rand() % 40 ? rand() % 60 : rand() % 700, 1 + rand() % 4);
    return other;
}

/* The first sequence of `c` is a pass of its own; in every other pass it gives the same bits. */
static void check_same(const struct attention_case *c, int n_passes, int max_others)
{
    size_t n = (size_t)(c->seqs[0].n * c->n_kv_heads * c->group * c->dim);
    uint16_t *alone = attention_case_run(c);

    for (int i = 0; i < n_passes; i++) {
        struct attention_case other = relaunch(c, rand() % (max_others + 1));
        uint16_t *out = attention_case_run(&other);

        assert_memory_equal(alone, out, n * sizeof(*out));
        free(out);
    }
    free(alone);
}

static void test_bits_in_any_pass(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct attention_case c = case_make(state, 64 + 32 * (i % 3 == 0), 1 + rand() % 4);

        if (i >= 4)
            on_matrix(&c);
        c.on_edge = true;
        case_add(&c, 301 + rand() % 150 * 2, 1 + rand() % 5);
        check_same(&c, 5, c.matrix ? 12 : 63);
    }
}

/* A row in the middle of a chunk is the row that a verify pass feeds, or another chunking. */
static void check_chunks(struct attention_case chunk)
{
    chunk.on_edge = true;
    case_add(&chunk, 471, 60);
    chunk.max_partials = 0;
    size_t row = (size_t)(chunk.n_kv_heads * chunk.group * chunk.dim);
    uint16_t *all = attention_case_run(&chunk);
    for (int32_t i = 0; i < 60; i += 8) {
        struct attention_case one = relaunch(&chunk, 0);

        one.seqs[0].pos += i;
        one.seqs[0].n = 1 + rand() % 3;
        one.seqs[0].n = MIN(one.seqs[0].n, 60 - i);
        uint16_t *out = attention_case_run(&one);
        assert_memory_equal(all + (size_t)i * row, out, (size_t)one.seqs[0].n * row * sizeof(*out));
        free(out);
    }
    free(all);
}

static void test_bits_in_any_chunk(void **state)
{
    struct attention_case c = case_make(state, 80, 3);

    check_chunks(c);
    on_matrix(&c);
    check_chunks(c);
}

static void test_bits_in_any_schedule(void **state)
{
    struct attention_case c = case_make(state, 64, 4);
    size_t n;
    uint16_t *first;

    c.on_edge = true;
    case_add(&c, 303, 5);
    case_add(&c, 15, 1);
    c.max_partials = 10;
    n = (size_t)(attention_case_rows(&c) * c.n_kv_heads * c.group * c.dim);
    first = attention_case_run(&c);
    for (int i = 0; i < 12; i++) {
        uint16_t *out = attention_case_run(&c);

        assert_memory_equal(first, out, n * sizeof(*out));
        free(out);
    }
    free(first);
}

/* ---- faults in later rows -------------------------------------------------------------------- */

/* A fault in one element at position `at` of a pass reaches the rows from there on, in a value that
 * element of theirs, and changes no bit of another. */
static void check_fault(const struct attention_case *sound, float fault, bool in_value, int32_t at)
{
    struct attention_case c = *sound;
    int32_t heads = c.n_kv_heads * c.group, row = heads * c.dim;

    c.fault = fault;
    c.fault_in_value = in_value;
    c.fault_pos = at;
    c.fault_element = rand() % (c.n_kv_heads * c.dim);
    uint16_t *right = attention_case_run(sound), *out = attention_case_run(&c);
    for (int32_t i = 0; i < attention_case_rows(&c) * row; i++) {
        int32_t kv_head = i / c.dim % heads / c.group, e = c.fault_element;
        int32_t pos = c.seqs[0].pos + i / row;
        bool seen = pos >= at && (c.window == 0 || pos - at < c.window);
        bool hit = i / row < c.seqs[0].n && seen && kv_head == e / c.dim;

        if (in_value)
            hit = hit && i % c.dim == e % c.dim;
        if (!hit && out[i] != right[i])
            fail_msg("row %d: %#x, not %#x", i / row, out[i], right[i]);
        if (hit && isfinite(bf16_number(out[i])))
            fail_msg("row %d: a number, %g", i / row, (double)bf16_number(out[i]));
    }
    free(right);
    free(out);
}

static void test_fault_behind(void **state)
{
    for (int i = 0; i < 24; i++) {
        struct attention_case c = case_make(state, dims[i % 5], 1 + i % 6);
        int32_t n = 2 + rand() % 30;

        if (i % 4)
            on_matrix(&c);
        case_add(&c, rand() % 3 * 120 + rand() % 16, n);
        case_add(&c, rand() % 70, 1 + rand() % 3);
        check_fault(&c, i % 3 ? NAN : INFINITY, true, c.seqs[0].pos + rand() % n);
        check_fault(&c, NAN, false, c.seqs[0].pos + rand() % n);
    }
}

/* As one pass has an infinity among what some rows see and another does not: the same bits. */
static void check_fault_chunks(struct attention_case chunk)
{
    size_t row = (size_t)(chunk.n_kv_heads * chunk.group * chunk.dim);

    chunk.fault = INFINITY;
    chunk.fault_in_value = true;
    chunk.fault_pos = 130;
    case_add(&chunk, 115, 40);
    uint16_t *all = attention_case_run(&chunk);
    for (int32_t i = 0; i < 40; i += 3) {
        struct attention_case one = chunk;

        one.seqs[0].pos += i;
        one.seqs[0].n = 1;
        uint16_t *out = attention_case_run(&one);
        assert_memory_equal(all + (size_t)i * row, out, row * sizeof(*out));
        free(out);
    }
    free(all);
}

static void test_fault_in_any_chunk(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct attention_case c = case_make(state, dims[rand() % 5], 1 + rand() % 4);

        if (i)
            on_matrix(&c);
        check_fault_chunks(c);
    }
}

/* ---- that these tests can fail --------------------------------------------------------------- */

#ifdef SPECD_EMU /* what is wrong there every time may go well on a GPU */

/* One pass of two sequences, by one block as it should be, by three with the fault. */
static bool ends_alike(unsigned long seed)
{
    struct attention_case c = {.n_kv_heads = 2,
                               .group = 2,
                               .dim = 64,
                               .queries = ATTENTION_QUERIES_FEW,
                               .n_blocks = 1,
                               .on_edge = true};

    emu_seed_set(seed);
    srand((unsigned)seed);
    case_add(&c, 303, 4);
    case_add(&c, 143, 1);
    size_t n = (size_t)(attention_case_rows(&c) * c.n_kv_heads * c.group * c.dim) * 2;
    uint16_t *one = attention_case_run(&c);
    c.n_blocks = 3;
    c.launch = launch_attention_faulty;
    uint16_t *more = attention_case_run(&c);
    bool same = memcmp(one, more, n) == 0;
    free(one);
    free(more);
    return same;
}

static void test_faults(void **state)
{
    const int n = 4;

    (void)state;
    attention_fault = FAULT_NONE;
    assert_int_equal(child_rights(ends_alike, n), n);
    attention_fault = FAULT_NO_WAIT;
    assert_int_equal(child_rights(ends_alike, n), 0);
    attention_fault = FAULT_NO_BARRIER;
    assert_int_equal(child_rights(ends_alike, n), 0);
    attention_fault = FAULT_OTHER_SUMS;
    assert_int_equal(child_rights(ends_alike, n), 0);
    attention_fault = FAULT_NONE;
}

#endif

#define TWICE(test)                          \
    cmocka_unit_test(test),                  \
    {                                        \
#test "_fp8", test, NULL, NULL, &fp8 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWICE(test_heads_and_groups),
        TWICE(test_contexts),
        TWICE(test_long),
        TWICE(test_wide_group),
        TWICE(test_matrix),
        TWICE(test_bits_in_any_pass),
        TWICE(test_bits_in_any_chunk),
        TWICE(test_bits_in_any_schedule),
        TWICE(test_past_32768),
        TWICE(test_other_dims),
        TWICE(test_fault_behind),
        TWICE(test_fault_in_any_chunk),
        cmocka_unit_test(test_all_codes),
#ifdef SPECD_EMU
        cmocka_unit_test(test_faults),
#endif
    };
    return seeded_run(tests);
}
