/*
 * machine.h - what the passes of a round take in truth, on machines that were measured (the CPU) or
 * added up on paper (GPUs: docs/performance.md).
 *
 * The curves are those of engine/pass_cost.h, so that a policy's table and the truth read alike.
 */
#ifndef SPECD_BENCH_POLICY_MACHINE_H
#define SPECD_BENCH_POLICY_MACHINE_H

#include "pass_cost.h"

struct machine {
    const char *name;
    struct pass_cost truth; /* no steps and fills: there is no draft model */
    double slot_ns;         /* of a verify pass, for each slot in it: its keys and values */
    double noise;           /* standard deviation of a pass's log time */
};

/* Qwen2.5-Coder-1.5B with its 0.5B, and SmolLM2-135M alone, on two cores; Llama-3.1-8B with
 * Llama-3.2-1B on GPUs. */
#define MACHINES 4
enum machine_id { MACHINE_CPU_PAIR, MACHINE_CPU_SMALL, MACHINE_H200, MACHINE_B200 };
void machine_init(struct machine *m, enum machine_id id);

#endif
