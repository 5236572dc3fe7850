/*
 * The races of cuda/law.cuh where scores are equal, which random words all but never make them: the
 * lowest id wins, whichever thread of whichever block brings it, and nobody wins an empty race.
 */
#include "law.cuh"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <vector>

extern "C" {
#include <cmocka.h>
}

static __global__ void race_kernel(const struct race *races, int32_t *winners)
{
    grid_wait();
    struct team t = team_start();
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;

    winners[i] = team_race(t, races[i]);
}

static void check(const std::vector<race> &races, int32_t winner)
{
    size_t n = races.size();
    std::vector<int32_t> got(n);
    race *in;
    int32_t *out;

    assert_int_equal(cudaMalloc(&in, n * sizeof(race)), cudaSuccess);
    assert_int_equal(cudaMalloc(&out, n * sizeof(int32_t)), cudaSuccess);
    cudaMemcpy(in, races.data(), n * sizeof(race), cudaMemcpyHostToDevice);
    LAUNCH_TEAMS(race_kernel, 2, 2, (unsigned)n / 2, 0, NULL, in, out);
    cudaMemcpy(got.data(), out, n * sizeof(int32_t), cudaMemcpyDeviceToHost);
    for (int32_t w : got)
        assert_int_equal(w, winner);
    cudaFree(in);
    cudaFree(out);
}

static void test_equal_scores(void **)
{
    std::vector<race> races(128, race_start());

    check(races, -1);
    for (int n = 0; n < 20; n++) {
        int32_t lowest = INT32_MAX;
        for (auto &r : races) {
            r = race_start();
            if (rand() % 2)
                r = {0.5, rand()};
            else if (rand() % 2)
                r = {3.25, rand()};
            if (r.score == 3.25)
                lowest = MIN(lowest, r.id);
        }
        check(races, lowest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal_scores)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
