/*
 * fuzz.h - what a fuzz target tests/fuzz/fuzz_x.c defines.
 *
 * With clang and -DSPECD_FUZZ=ON it becomes the libFuzzer program fuzz_x. In every build it becomes
 * replay_x, which runs files, or changes the target's own seeds at random (replay.c): that is what
 * ctest runs.
 */
#ifndef SPECD_TEST_FUZZ_H
#define SPECD_TEST_FUZZ_H

#include "specd/util.h"

/* One input; data is allocated to size. Must not crash, leak or take long. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Appends well-formed input number i to out; false when there is none. */
bool fuzz_seed(int i, struct buf *out);

#endif
