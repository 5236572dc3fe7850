/*
 * The functions of cuda/ptx.cuh by themselves: matrix fragments, asynchronous copies, words of
 * narrow numbers, clusters, launches that overlap. On the emulator this shows the twins, on a GPU
 * the instructions; what is expected comes from neither.
 *
 * links: emu_ptx emu_rig
 */
#include "ptx_kernels.h"

#include "forward_rig.h"
#include "overlap.h"
#include "rig.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t random_word(void)
{
    return (uint32_t)rand() << 16 ^ (uint32_t)rand();
}

static uint32_t *random_words(int n)
{
    uint32_t *words = xmalloc((size_t)n * sizeof(*words));

    for (int i = 0; i < n; i++)
        words[i] = random_word();
    return words;
}

/* Fails the test unless word i of device memory is want[i], for n words. */
static void assert_words(const uint32_t *device, const uint32_t *want, int n)
{
    uint32_t *got = xmalloc((size_t)n * sizeof(*got));

    device_read(got, device, (size_t)n * sizeof(*got));
    for (int i = 0; i < n; i++) {
        if (got[i] != want[i])
            fail_msg("word %d is %08x, not %08x", i, got[i], want[i]);
    }
    free(got);
}

/* ---- the matrix unit ------------------------------------------------------------------------- */

/* Small integers, whose products are exact in any order; bf16 is the upper half of a float. */
static void test_matrix_product(void **state)
{
    uint16_t a[16 * 16], b[16 * 8];
    float got[16 * 8];

    (void)state;
    for (int turn = 0; turn < 8; turn++) {
        for (int i = 0; i < 256; i++)
            a[i] = bf16_from_f32((float)(rand() % 17 - 8));
        for (int i = 0; i < 128; i++)
            b[i] = bf16_from_f32((float)(rand() % 17 - 8));
        float *y = device_take(sizeof(got));
        launch_matrix(device_copy(a, sizeof(a)), device_copy(b, sizeof(b)), y);
        device_read(got, y, sizeof(got));
        for (int i = 0; i < 128; i++) {
            float want = 0;
            for (int k = 0; k < 16; k++)
                want += bf16_number(a[16 * (i / 8) + k]) * bf16_number(b[8 * k + i % 8]);
            assert_true(got[i] >= want && got[i] <= want);
        }
        device_free_all();
    }
}

static void test_matrix_loads(void **state)
{
    enum { LANES = 32 };
    uint16_t in[LANES * 8];
    uint32_t plain[LANES * 4], transposed[LANES * 4];

    (void)state;
    for (int i = 0; i < LANES * 8; i++)
        in[i] = (uint16_t)random_word();
    for (int i = 0; i < LANES * 4; i++) {
        int g = i / 4 / 4, t = i / 4 % 4;
        const uint16_t *matrix = in + i % 4 * 64;
        plain[i] = (uint32_t)matrix[8 * g + 2 * t + 1] << 16 | matrix[8 * g + 2 * t];
        transposed[i] = (uint32_t)matrix[8 * (2 * t + 1) + g] << 16 | matrix[8 * 2 * t + g];
    }
    uint32_t *got_plain = device_take(sizeof(plain));
    uint32_t *got_transposed = device_take(sizeof(transposed));
    launch_load(device_copy(in, sizeof(in)), got_plain, got_transposed);
    assert_words(got_plain, plain, LANES * 4);
    assert_words(got_transposed, transposed, LANES * 4);
    device_free_all();
}

/* ---- asynchronous copies --------------------------------------------------------------------- */

#define CHUNK 4 /* words */
#define CHUNKS 23

static void test_copies(void **state)
{
    static const int tails[] = {0, 2, 8, 14, 16};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(tails); i++) {
        uint32_t *want = random_words(CHUNKS * CHUNK);
        size_t bytes = CHUNKS * CHUNK * sizeof(*want), last = bytes - 16 + (size_t)tails[i];
        uint32_t *from = device_copy(want, bytes), *to = device_take(bytes);
        memset((char *)want + last, 0, bytes - last);
        launch_copy(from, to, CHUNKS, tails[i]);
        assert_words(to, want, CHUNKS * CHUNK);
        device_free_all();
        free(want);
    }
}

static void test_rings(void **state)
{
    (void)state;
    for (int stages = 1; stages <= 7; stages++) {
        uint32_t *want = random_words(CHUNKS * CHUNK);
        size_t bytes = CHUNKS * CHUNK * sizeof(*want);
        uint32_t *to = device_take(bytes);
        launch_ring(device_copy(want, bytes), to, CHUNKS, stages);
        assert_words(to, want, CHUNKS * CHUNK);
        device_free_all();
        free(want);
    }
}

/* ---- L2, the clock --------------------------------------------------------------------------- */

static void test_loads_from_l2(void **state)
{
    uint32_t *want = random_words(CHUNKS * CHUNK);
    size_t bytes = CHUNKS * CHUNK * sizeof(*want);
    uint32_t *to = device_take(bytes);

    (void)state;
    launch_l2(device_copy(want, bytes), to, CHUNKS);
    assert_words(to, want, CHUNKS * CHUNK);
    device_free_all();
    free(want);
}

/* It does not go back. */
static void test_clock(void **state)
{
    uint64_t first, second, *to = device_take(sizeof(*to));

    (void)state;
    launch_clock(to);
    device_read(&first, to, sizeof(first));
    launch_clock(to);
    device_read(&second, to, sizeof(second));
    assert_true(first > 0 && second >= first);
    device_free_all();
}

/* ---- words of narrow numbers ----------------------------------------------------------------- */

static float float_of(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* A float, what bf16_of_float makes of it, and what bf16_pair_of does. */
static const struct {
    uint32_t in;
    uint16_t one, of_pair;
} roundings[] = {
    {0x3f800000, 0x3f80, 0x3f80}, {0x3f807fff, 0x3f80, 0x3f80}, {0x3f808000, 0x3f80, 0x3f80},
    {0x3f808001, 0x3f81, 0x3f81}, {0x3f818000, 0x3f82, 0x3f82}, {0xbf818000, 0xbf82, 0xbf82},
    {0x00000001, 0x0000, 0x0000}, {0x00008000, 0x0000, 0x0000}, {0x00018000, 0x0002, 0x0002},
    {0x807f8000, 0x8080, 0x8080}, {0x7f7fffff, 0x7f80, 0x7f80}, {0x7f800000, 0x7f80, 0x7f80},
    {0xff800000, 0xff80, 0xff80}, {0x80000000, 0x8000, 0x8000}, {0x7f800001, 0x7fc0, 0x7fff},
    {0xffc00000, 0xffc0, 0x7fff}, {0x7fffffff, 0x7fff, 0x7fff},
};

static void test_bf16_rounds(void **state)
{
    enum { N = COUNT_OF(roundings) };
    float in[N];
    uint16_t out[N];
    uint16_t *to = device_take(sizeof(out));

    (void)state;
    for (int i = 0; i < N; i++)
        in[i] = float_of(roundings[i].in);
    launch_round(device_copy(in, sizeof(in)), to, N);
    device_read(out, to, sizeof(out));
    for (int i = 0; i < N; i++)
        assert_int_equal(out[i], roundings[i].one);
    device_free_all();
}

/* Each with each, so that the halves cannot be changed about. */
static void test_bf16_pairs(void **state)
{
    enum { ONE = COUNT_OF(roundings), N = ONE * ONE };
    float low[N], high[N];
    uint32_t want[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        low[i] = float_of(roundings[i % ONE].in);
        high[i] = float_of(roundings[i / ONE].in);
        want[i] = (uint32_t)roundings[i / ONE].of_pair << 16 | roundings[i % ONE].of_pair;
    }
    uint32_t *to = device_take(sizeof(want));
    launch_pair(device_copy(low, sizeof(low)), device_copy(high, sizeof(high)), to, N);
    assert_words(to, want, N);
    device_free_all();
}

/* All codes, and what stands above them in the word counts for nothing. */
static void test_f16(void **state)
{
    enum { N = 0x10000 };
    float *got = xmalloc(N * sizeof(*got)), *to = device_take(N * sizeof(*got));

    (void)state;
    launch_f16(0xabcd0000u, to, N);
    device_read(got, to, N * sizeof(*got));
    for (int code = 0; code < N; code++) {
        int e = code >> 10 & 31, m = code & 0x3ff;
        double size = e == 0   ? ldexp(m, -24)
                      : e < 31 ? ldexp(1024 + m, e - 25)
                      : m == 0 ? (double)INFINITY
                               : (double)NAN;
        if (isnan(size))
            assert_true(isnan(got[code]));
        else
            assert_true(fabs((double)got[code]) >= size && fabs((double)got[code]) <= size &&
                        !signbit(got[code]) == (code < 0x8000));
    }
    free(got);
    device_free_all();
}

#define ANY_NAN 0xffff

/* One bf16 each. Each row but those of NaN tells rounding once from rounding twice, subnormals from
 * zeros, or the signs of zeros. */
static const struct {
    uint16_t a, b, c, want;
} fmas[] = {
    {0x3f80, 0x3f80, 0x8000, 0x3f80}, /* 1 */
    {0x0010, 0x7b80, 0x8000, 0x3b00}, /* 2^-129 2^120 */
    {0x8001, 0x7b80, 0x8000, 0xb900}, /* the smallest */
    {0x0080, 0x3f00, 0x8000, 0x0040}, /* 2^-126 / 2 */
    {0x0001, 0x3f00, 0x0001, 0x0002}, /* 1.5 of the smallest: to even */
    {0x0001, 0x3f80, 0x007f, 0x0080},  {0x8000, 0x3f80, 0x8000, 0x8000},
    {0x0000, 0x3f80, 0x8000, 0x0000},  {0x7f7f, 0x4000, 0x0000, 0x7f80},
    {0x3fe0, 0x3f14, 0x0000, 0x3f82}, /* 259/256, in the middle: to even */
    {0x3fe0, 0x3f14, 0xab80, 0x3f81}, /* less 2^-40, which a float forgets */
    {0x3fe0, 0x3f14, 0x8001, 0x3f81}, /* less the smallest, which a double forgets */
    {0x7fc0, 0x3f80, 0x0000, ANY_NAN}, {0x0000, 0x7f80, 0x3f80, ANY_NAN},
    {0x7f80, 0x3f80, 0xff80, ANY_NAN}, {0x3f80, 0x3f80, 0xff81, ANY_NAN},
};

static void test_fma(void **state)
{
    enum { ONE = COUNT_OF(fmas), N = ONE * ONE };
    uint32_t in[N][3], out[N], *to = device_take(sizeof(out));

    (void)state;
    for (int i = 0; i < N; i++) {
        int low = i % ONE, high = i / ONE;
        in[i][0] = (uint32_t)fmas[high].a << 16 | fmas[low].a;
        in[i][1] = (uint32_t)fmas[high].b << 16 | fmas[low].b;
        in[i][2] = (uint32_t)fmas[high].c << 16 | fmas[low].c;
    }
    launch_fma(device_copy(in, sizeof(in)), to, N);
    device_read(out, to, sizeof(out));
    for (int i = 0; i < 2 * N; i++) {
        uint32_t got = i % 2 ? out[i / 2] >> 16 : out[i / 2] & 0xffff;
        uint32_t want = fmas[i % 2 ? i / 2 / ONE : i / 2 % ONE].want;
        if (want == ANY_NAN ? (got & 0x7fff) <= 0x7f80 : got != want)
            fail_msg("half %d of %08x %08x + %08x is %04x, not %04x", i % 2, in[i / 2][0],
                     in[i / 2][1], in[i / 2][2], got, want);
    }
    device_free_all();
}

static uint32_t picked(uint32_t a, uint32_t b, uint32_t which)
{
    uint8_t bytes[8];
    uint32_t out = 0;

    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(a >> (8 * i));
        bytes[4 + i] = (uint8_t)(b >> (8 * i));
    }
    for (int i = 3; i >= 0; i--) {
        uint32_t digit = which >> (4 * i) & 15;
        uint32_t byte = bytes[digit % 8];
        out = out << 8 | (digit < 8 ? byte : byte >= 0x80 ? 0xff : 0);
    }
    return out;
}

/* Every digit at every place. */
static void test_pick(void **state)
{
    enum { N = 1024 };
    uint32_t *in = random_words(3 * N), want[N], *to = device_take(sizeof(want));

    (void)state;
    for (int i = 0; i < N; i++) {
        in[3 * i + 2] &= 0xffff;
        if (i < 64)
            in[3 * i + 2] = (uint32_t)(i % 16) << (4 * (i / 16));
        want[i] = picked(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
    }
    launch_pick(device_copy(in, 3 * sizeof(want)), to, N);
    assert_words(to, want, N);
    free(in);
    device_free_all();
}

static void test_put(void **state)
{
    enum { N = 256 };
    uint32_t *in = random_words(3 * N), want[N], *to = device_take(sizeof(want));

    (void)state;
    for (int i = 0; i < N; i++)
        want[i] = (in[3 * i] & in[3 * i + 1]) | in[3 * i + 2];
    launch_put(device_copy(in, 3 * sizeof(want)), to, N);
    assert_words(to, want, N);
    free(in);
    device_free_all();
}

static void test_constants(void **state)
{
    enum { N = 256, EACH = PICKED + 1 };
    static const uint32_t digits[PICKED] = PICKED_DIGITS;
    uint32_t *in = random_words(N), b = random_word();
    uint32_t want[N * EACH], *to = device_take(sizeof(want));

    (void)state;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < PICKED; j++)
            want[EACH * i + j] = picked(in[i], b, digits[j]);
        want[EACH * i + PICKED] = (in[i] & 0x000f000fu) | 0x43004300u;
    }
    launch_constants(device_copy(in, N * sizeof(*in)), b, to, N);
    assert_words(to, want, N * EACH);
    free(in);
    device_free_all();
}

/* Every code at every place of a word. */
static void test_fp8(void **state)
{
    enum { N = 256 };
    uint32_t in[N], out[N][2], *to = device_take(sizeof(out));

    (void)state;
    for (uint32_t i = 0; i < N; i++)
        in[i] = i | (i * 3 + 1) % 256 << 8 | (i * 5 + 7) % 256 << 16 | (255 - i) << 24;
    launch_fp8(device_copy(in, sizeof(in)), to, N);
    device_read(out, to, sizeof(out));
    for (int i = 0; i < 4 * N; i++) {
        uint8_t code = (uint8_t)(in[i / 4] >> (8 * (i % 4)));
        double want = e4m3_number(code);
        double got = (double)bf16_number((uint16_t)(out[i / 4][i % 4 / 2] >> (16 * (i % 2))));
        bool right =
            isnan(want) ? isnan(got) : got >= want && got <= want && !signbit(got) == (code < 128);
        if (!right)
            fail_msg("code %02x at place %d is %g, not %g", code, i % 4, got, want);
    }
    device_free_all();
}

/* ---- clusters -------------------------------------------------------------------------------- */

static void test_peers(void **state)
{
    enum { CLUSTERS = 5 };
    int major = 0;

    (void)state;
    assert_int_equal(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0),
                     cudaSuccess);
    for (int size = 1; size <= (major >= 9 ? 8 : 1); size++) {
        int n = CLUSTERS * size * size, *to = device_take((size_t)n * sizeof(int));
        int *got = xmalloc((size_t)n * sizeof(int));
        launch_peers(to, size, CLUSTERS);
        device_read(got, to, (size_t)n * sizeof(int));
        for (int i = 0; i < n; i++) {
            int reader = i / size, writer = reader / size * size + i % size;
            /* found[r] of a block is what the cluster's block r wrote there. */
            assert_int_equal(got[i], 100 * writer + reader % size);
        }
        free(got);
        device_free_all();
    }
}

/* ---- launches that overlap ------------------------------------------------------------------- */

#ifdef SPECD_EMU
#define CHAIN 700
#else
#define CHAIN 100000
#endif

static void test_chain(void **state)
{
    (void)state;
    assert_true(overlap_chain_is_right(CHAIN, false));
}

static void test_chain_in_a_graph(void **state)
{
    (void)state;
    assert_true(overlap_chain_is_right(CHAIN, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix_product),
        cmocka_unit_test(test_matrix_loads),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_rings),
        cmocka_unit_test(test_loads_from_l2),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_bf16_rounds),
        cmocka_unit_test(test_bf16_pairs),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_fma),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_chain_in_a_graph),
    };

    return seeded_run(tests);
}
