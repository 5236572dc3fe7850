/*
 * laws.h - what one row costs behind the matrix work: its law, a draw, its share of a verification.
 */
#ifndef SPECD_BENCH_DEVICE_LAWS_H
#define SPECD_BENCH_DEVICE_LAWS_H

/* Prints a table of medians of `repeats` measurements, on one core. */
void laws_print(int repeats);

#endif
