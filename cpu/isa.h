/*
 * isa.h - which of its kernels the device uses: instruction sets, chosen at run time.
 *
 * Kernels of every set give the same bits, so the choice shows in time alone. Any thread.
 */
#ifndef SPECD_CPU_ISA_H
#define SPECD_CPU_ISA_H

#include <stdbool.h>

/* Each can do what those before it do. */
enum isa {
    ISA_PORTABLE,
    ISA_AVX2,     /* with FMA and F16C */
    ISA_AVX_VNNI, /* AVX2 with dot products of bytes; compiled and reviewed, but not yet run */
    ISA_VNNI_256, /* the same loops as AVX-512VL has them, which is how they are tested */
    ISA_AVX512,   /* F, BW, VL and VNNI, in registers of 512 bits */
    ISA_COUNT,
};

/* The best there is on this machine, up to the limit. */
enum isa cpu_isa(void);
/* Tests: nothing above `most`. ISA_COUNT: no limit. Not while kernels run. */
void cpu_limit(enum isa most);
const char *isa_name(enum isa i);

bool cpu_has_avx2(void);   /* AVX2, FMA and F16C */
bool cpu_has_avx512(void); /* F, BW, VL and VNNI */

#endif
