/*
 * attention_bench.h - what attention alone costs in a pass: all layers of SmolLM2-135M's shape.
 */
#ifndef SPECD_BENCH_DEVICE_ATTENTION_BENCH_H
#define SPECD_BENCH_DEVICE_ATTENTION_BENCH_H

/* Prints a table of medians of `repeats` passes over bf16 KV, on `threads` threads. */
void attention_print(int threads, int repeats);

#endif
