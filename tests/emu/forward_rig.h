/*
 * forward_rig.h - slots, rounds and passes in device memory, and attention over made-up keys and
 * values, for tests of the kernels of a forward pass. Uses rig.h's device memory.
 */
#ifndef SPECD_EMU_FORWARD_RIG_H
#define SPECD_EMU_FORWARD_RIG_H

#include "attention.h"
#include "rig.h"
#include "state.h"

/* State for so many slots, all never set, and an empty round. Arrays of slots are the device's;
 * device memory is the host's here, so tests set fields between launches. */
struct device_state state_make(int32_t n_slots, int32_t n_ctx, int32_t n_blocks, int32_t k_max,
                               int32_t n_vocab);
struct device_round *state_round(const struct device_state *s);
/* Random ids, each once in the whole state, for the slot's first n positions; -1 behind them. */
void slot_blocks_make(const struct device_state *s, int32_t slot, int32_t n);

/* Room for it; counts and arrays hold noise. */
struct pass pass_make(const struct device_state *s, int32_t max_rows, int32_t max_logits,
                      int32_t max_items, int32_t max_partials);

/* A number in (-1, 1) that bf16 holds, out of what identifies it. */
float made_up(uint32_t seed, int kind, int32_t pos, int32_t head, int32_t d);

/* Rows at pos..pos+n of a sequence whose q, k and v follow from its seed. */
struct attention_seq {
    uint32_t seed;
    int32_t pos, n;
};

#define ATTENTION_SEQS_MAX 64

typedef int attention_launch(const struct device_state *state, const struct pass *pass,
                             const struct attention_input *in, int queries, int n_blocks,
                             cudaStream_t stream);

struct attention_case {
    struct attention_seq seqs[ATTENTION_SEQS_MAX];
    int n_seqs;
    int32_t n_kv_heads, group, dim;
    int32_t window; /* 0: none. What no row sees is NaN */
    enum kv_type type;
    int queries, n_blocks; /* of the launch */
    int pieces_held;       /* 0: ATTENTION_PIECES */
    int32_t max_partials, spare_rows;
    bool matrix; /* launch_attention_matrix */
    /* Results of rows at odd positions lie between two numbers of bf16: which of them one is
     * rounded to shows any other order of sums, or rounding of a weight. */
    bool on_edge;
    /* Element e of the first sequence's key or value at a position is this, if it is not 0. */
    float fault;
    bool fault_in_value;
    int32_t fault_pos, fault_element; /* e: head * D + d */
    bool all_codes;                   /* values at position p are e4m3 numbers p + d */
    attention_launch *launch;         /* NULL: launch_attention */
};

/* (rows of all seqs in their order, H, D), on the host; the caller frees it. Slots, the order of
 * the pass, blocks and what is in unused ones are random. Checks that no other row was written. */
uint16_t *attention_case_run(const struct attention_case *c);
/* The same in double, as numbers, by the definition. */
double *attention_case_expect(const struct attention_case *c);
int32_t attention_case_rows(const struct attention_case *c);

float bf16_number(uint16_t bits);
/* e4m3 by its definition; the nearest code, of ties the even one, 448 at most. */
double e4m3_number(uint8_t code);
uint8_t e4m3_code(double x);

#endif
