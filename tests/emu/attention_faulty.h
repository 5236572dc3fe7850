/*
 * attention_faulty.h - cuda/attention.cu with a fault planted, to see that the tests would tell.
 */
#ifndef SPECD_EMU_ATTENTION_FAULTY_H
#define SPECD_EMU_ATTENTION_FAULTY_H

#include "attention.h"

#ifdef __cplusplus
extern "C" {
#endif

enum attention_fault {
    FAULT_NONE,
    FAULT_NO_WAIT,    /* copies are not waited for */
    FAULT_NO_BARRIER, /* threads do not wait for one another */
    FAULT_OTHER_SUMS  /* a launch of several blocks rounds products before it adds them */
};

extern enum attention_fault attention_fault;

int launch_attention_faulty(const struct device_state *state, const struct pass *pass,
                            const struct attention_input *in, int queries, int n_blocks,
                            cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
