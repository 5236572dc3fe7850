/*
 * What the real thing ignores, forbids or leaves undefined ends the process in the emulator, with a
 * message that names it.
 */
#include "child.h"
#include "common.cuh"
#include "device_array.h"
#include "sanitizer.h"
#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

enum misuse {
    FINE,
    BARRIER_LEFT_OUT, /* by a thread that exits */
    BARRIERS_DIFFER,  /* two lines */
    LANE_ABSENT,      /* in the mask, in another branch for good */
    LANE_THAT_IS_NOT, /* past the end of the block */
    LANE_EXITED,
    CALLER_NOT_IN_MASK,
    MASKS_DIFFER,
    SOURCE_NOT_IN_MASK,
    DISTANCE_OF_A_WARP,
    WIDTH_OF_TWELVE,
    PEER_NOT_STARTED,
    PEER_BEYOND,
    PEER_OF_GLOBAL,
    DIGIT_OF_FOUR_BITS, /* prmt has it, __byte_perm has not */
    FIFTH_DIGIT,
    COPY_MISALIGNED,
    COPY_FROM_MISALIGNED,
    COPY_OF_17,
    COPY_TO_GLOBAL,
    COPY_OUT_OF_SHARED,
    WAIT_FOR_ALL_BUT_7,
    ROW_MISALIGNED,
    ROW_IN_GLOBAL,
    SHARED_OF_49_KB,
};

static const struct {
    enum misuse how;
    const char *said; /* on the way out */
} misuses[] = {
    {BARRIER_LEFT_OUT, "exit"},
    {BARRIERS_DIFFER, "wait at different barriers"},
    {LANE_ABSENT, "deadlock"},
    {LANE_THAT_IS_NOT, "a lane that does not exist"},
    {LANE_EXITED, "a lane that has exited"},
    {CALLER_NOT_IN_MASK, "leaves out the lane that calls"},
    {MASKS_DIFFER, "mask"},
    {SOURCE_NOT_IN_MASK, "takes from a lane that the mask leaves out"},
    {DISTANCE_OF_A_WARP, "five bits of its distance"},
    {WIDTH_OF_TWELVE, "the width of a shuffle"},
    {PEER_NOT_STARTED, "may not have started"},
    {PEER_BEYOND, "no block of that rank"},
    {PEER_OF_GLOBAL, "not shared memory"},
    {DIGIT_OF_FOUR_BITS, "digits up to 7"},
    {FIFTH_DIGIT, "four digits"},
    {COPY_MISALIGNED, "copy is not aligned"},
    {COPY_FROM_MISALIGNED, "copy is not aligned"},
    {COPY_OF_17, "reads more than it writes"},
    {COPY_TO_GLOBAL, "not this block's shared memory"},
    {COPY_OUT_OF_SHARED, "out of shared memory"},
    {WAIT_FOR_ALL_BUT_7, "0 to 6 groups"},
    {ROW_MISALIGNED, "row is not aligned"},
    {ROW_IN_GLOBAL, "not in this block's shared memory"},
    {SHARED_OF_49_KB, "more shared memory than there is"},
};

/* Of 32 lanes, those that take part wrongly.  global: 64 bytes */
static __global__ void misuse_warp_kernel(enum misuse how, int *global)
{
    grid_wait();
    int i = (int)threadIdx.x, got = 0;

    switch (how) {
    case BARRIER_LEFT_OUT:
        if (i != 3)
            __syncthreads();
        break;
    case BARRIERS_DIFFER:
        if (i < 16)
            __syncthreads();
        else
            __syncthreads();
        break;
    case LANE_ABSENT:
        if (i != 3)
            __syncwarp();
        __syncthreads();
        break;
    case LANE_THAT_IS_NOT:
        __syncwarp(); /* the block has 24 threads */
        break;
    case LANE_EXITED:
        if (i != 3)
            (void)__ballot_sync(ALL_LANES, true);
        break;
    case CALLER_NOT_IN_MASK:
        (void)__ballot_sync(0xfffffffeu, true);
        break;
    case MASKS_DIFFER:
        (void)__ballot_sync(i < 16 ? ALL_LANES : 0xffff0000u, true);
        break;
    case SOURCE_NOT_IN_MASK:
        if (i < 16)
            got = __shfl_sync(0xffffu, i, 20);
        break;
    case DISTANCE_OF_A_WARP:
        got = __shfl_down_sync(ALL_LANES, i, 32);
        break;
    case WIDTH_OF_TWELVE:
        got = __shfl_xor_sync(ALL_LANES, i, 1, 12);
        break;
    default:
        __syncthreads();
    }
    global[i % 16] = got;
}

/* The same for memory and words. */
static __global__ void misuse_memory_kernel(enum misuse how, int *global)
{
    grid_wait();
    SHARED_ARRAY(uint4, room, 4);
    SHARED(int, word);
    char *bytes = (char *)room;
    uint32_t out[4] = {0, 0, 0, 0};

    word = 0;
    switch (how) {
    case PEER_NOT_STARTED:
        *cluster_peer(&word, 1 - cluster_rank()) = 1;
        cluster_barrier();
        break;
    case PEER_BEYOND:
        cluster_barrier();
        *cluster_peer(&word, cluster_size()) = 1;
        break;
    case PEER_OF_GLOBAL:
        cluster_barrier();
        *cluster_peer(global, 0) = 1;
        break;
    case DIGIT_OF_FOUR_BITS:
        out[0] = __byte_perm(threadIdx.x, 0, 0x9988);
        break;
    case FIFTH_DIGIT:
        out[0] = bytes_pick(threadIdx.x, 0, 0x13210);
        break;
    case COPY_MISALIGNED:
        copy_async(bytes + 8, global, 16);
        break;
    case COPY_FROM_MISALIGNED:
        copy_async(bytes, global + 1, 16);
        break;
    case COPY_OF_17:
        copy_async(bytes, global, 17);
        break;
    case COPY_TO_GLOBAL:
        copy_async(global + 4, global, 16);
        break;
    case COPY_OUT_OF_SHARED:
        copy_async(bytes, bytes + 16, 16);
        break;
    case WAIT_FOR_ALL_BUT_7:
        copy_wait_but(7);
        break;
    case ROW_MISALIGNED:
        matrix_load4(out, bytes + 8);
        break;
    case ROW_IN_GLOBAL:
        matrix_load4(out, global);
        break;
    case SHARED_OF_49_KB: {
        SHARED_ARRAY(char, large, 49 << 10);
        large[threadIdx.x] = 1;
        break;
    }
    default:
        __syncthreads();
    }
    word = (int)out[0];
}

static bool misuse_run(unsigned long how)
{
    unsigned threads = how == LANE_THAT_IS_NOT ? 24 : 32;
    device_array<int> global(16);

    if (how < PEER_NOT_STARTED)
        LAUNCH_TEAMS(misuse_warp_kernel, 2, 2, threads, 0, NULL, (enum misuse)how, global.p);
    if (how == FINE || how >= PEER_NOT_STARTED)
        LAUNCH_TEAMS(misuse_memory_kernel, 2, 2, threads, 0, NULL, (enum misuse)how, global.p);
    return cudaDeviceSynchronize() == cudaSuccess;
}

static void test_misuse_ends_the_process(void **)
{
    char said[1024];

    assert_int_equal(child_run(misuse_run, FINE), CHILD_RIGHT);
    for (auto &m : misuses) {
        assert_int_equal(child_run_said(misuse_run, m.how, said, sizeof(said)), CHILD_DIED);
        if (!strstr(said, m.said))
            fail_msg("misuse %d said: %s", m.how, said);
    }
}

/* Alignment that the declaration does not promise is not there by luck either: what reads wider
 * than it may is seen by the sanitizer of undefined behaviour. */
static __global__ void unaligned_kernel(int *odd)
{
    grid_wait();
    SHARED_ARRAY(float, narrow, 8);
    DYNAMIC_SHARED(char, dynamic);

    odd[0] = (uintptr_t)narrow % 8 != 0;
    odd[1] = (uintptr_t)dynamic % 32 != 0;
}

static void test_no_alignment_by_luck(void **)
{
    device_array<int> odd(2);

    LAUNCH(unaligned_kernel, 1, 1, 64, NULL, odd.p);
    assert_true(odd.host()[0] && odd.host()[1]);
    assert_true((uintptr_t)odd.p % 512 != 0);
}

#ifdef EMU_ASAN /* comes with the sanitizer of undefined behaviour */
template <int FIRST> static __global__ void wide_kernel(float *out)
{
    grid_wait();
    SHARED_ARRAY(float4, all, 3);
    const float *narrow = (const float *)all;

    all[0] = all[1] = all[2] = {1, 1, 1, 1};
    out[0] = ((const float4 *)(narrow + FIRST))->w;
}

template <int FIRST> static bool reads_wide(unsigned long)
{
    device_array<float> out(1);

    LAUNCH(wide_kernel<FIRST>, 1, 1, 0, NULL, out.p);
    return out.host()[0] == 1.0f;
}

static void test_misaligned_vectors(void **)
{
    assert_int_equal(child_run(reads_wide<4>, 1), CHILD_RIGHT);
    assert_int_equal(child_run(reads_wide<2>, 1), CHILD_DIED);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_misuse_ends_the_process),
        cmocka_unit_test(test_no_alignment_by_luck),
#ifdef EMU_ASAN
        cmocka_unit_test(test_misaligned_vectors),
#endif
    };

    return seeded_result(cmocka_run_group_tests(tests, NULL, NULL));
}
