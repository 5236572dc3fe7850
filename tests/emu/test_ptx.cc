/*
 * The twins of cuda/ptx.cuh: matrix fragments, asynchronous copies, bf16.
 *
 * links: emu_ptx
 */
#include "ptx_kernels.h"
#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <vector>

extern "C" {
#include <cmocka.h>
}

template <class T> static T *to_device(const std::vector<T> &h)
{
    T *p;

    assert_int_equal(cudaMalloc(&p, h.size() * sizeof(T)), cudaSuccess);
    assert_int_equal(cudaMemcpy(p, h.data(), h.size() * sizeof(T), cudaMemcpyHostToDevice),
                     cudaSuccess);
    return p;
}

template <class T> static std::vector<T> from_device(T *p, size_t n)
{
    std::vector<T> h(n);

    assert_int_equal(cudaMemcpy(h.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    cudaFree(p);
    return h;
}

static void test_matrix_product(void **)
{
    std::vector<bf16> a(256), b(128);

    for (auto &x : a)
        x = bf16_of_float((float)(rand() % 17 - 8));
    for (auto &x : b)
        x = bf16_of_float((float)(rand() % 17 - 8));
    bf16 *da = to_device(a), *db = to_device(b);
    float *y = to_device(std::vector<float>(128));
    launch_matrix(da, db, y);
    std::vector<float> got = from_device(y, 128);
    for (size_t r = 0; r < 16; r++) {
        for (size_t c = 0; c < 8; c++) {
            float want = 0;
            for (size_t k = 0; k < 16; k++)
                want += bf16_to_float(a[16 * r + k]) * bf16_to_float(b[8 * k + c]);
            assert_true(got[8 * r + c] == want); /* small integers: exact in any order */
        }
    }
    cudaFree(da);
    cudaFree(db);
}

static bool copies(bool wait)
{
    const int n = 7, tail = 8;
    std::vector<uint4> in(n);
    bool right = true;

    for (unsigned i = 0; i < n; i++)
        in[i] = {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3};
    uint4 *from = to_device(in), *to = to_device(std::vector<uint4>(n));
    launch_copy(from, to, n, tail, wait);
    in[n - 1].z = in[n - 1].w = 0; /* past the tail */
    std::vector<uint4> out = from_device(to, n);
    for (size_t i = 0; i < n; i++)
        right = right && memcmp(&out[i], &in[i], sizeof(uint4)) == 0;
    cudaFree(from);
    return right;
}

static void test_copies_are_late(void **)
{
    assert_true(copies(true));
    assert_false(copies(false));
}

static void test_bf16_rounds(void **)
{
    const struct {
        uint32_t in;
        uint16_t out;
    } table[] = {
        {0x3f800000, 0x3f80}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81},
        {0x3f818000, 0x3f82}, {0xbf818000, 0xbf82}, {0x00000001, 0x0000}, {0x7f7fffff, 0x7f80},
        {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0x80000000, 0x8000},
    };
    std::vector<float> in;

    for (auto &t : table)
        in.push_back(__uint_as_float(t.in));
    float *from = to_device(in);
    bf16 *to = to_device(std::vector<bf16>(in.size()));
    launch_round(from, to, (int)in.size());
    std::vector<bf16> out = from_device(to, in.size());
    for (size_t i = 0; i < in.size(); i++)
        assert_int_equal(out[i].bits, table[i].out);
    cudaFree(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix_product),
        cmocka_unit_test(test_copies_are_late),
        cmocka_unit_test(test_bf16_rounds),
    };

    return seeded_result(cmocka_run_group_tests(tests, NULL, NULL));
}
