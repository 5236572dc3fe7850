/*
 * philox.h - Philox4x32-10, the counter-based generator behind every random decision.
 *
 * From Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11). Four output words are
 * a pure function of a 128-bit counter and a 64-bit key: there is no state to keep, so a draw
 * cannot depend on the batch, the slot or what was drawn before it. include/specd/law.h says what
 * goes into the counter.
 */
#ifndef SPECD_PHILOX_H
#define SPECD_PHILOX_H

#include "specd/hostdevice.h"

#include <stdint.h>

#define PHILOX_ROUNDS 10
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

struct philox {
    uint32_t w[4];
};

SPECD_HD struct philox philox4x32(struct philox ctr, uint64_t key)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        uint64_t a = (uint64_t)PHILOX_M0 * ctr.w[0];
        uint64_t b = (uint64_t)PHILOX_M1 * ctr.w[2];
        uint32_t c1 = ctr.w[1], c3 = ctr.w[3];

        ctr.w[0] = (uint32_t)(b >> 32) ^ c1 ^ k0;
        ctr.w[1] = (uint32_t)b;
        ctr.w[2] = (uint32_t)(a >> 32) ^ c3 ^ k1;
        ctr.w[3] = (uint32_t)a;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    return ctr;
}

#endif
