/*
 * hostdevice.h - SPECD_HD, the prefix of inline functions that the host and the GPU share.
 *
 * The headers that use it compile as C11, as C++ and under nvcc, and must give the same bits in all
 * three. Files that include them are compiled with -ffp-contract=off, under nvcc with -fmad=false
 * -ftz=false -prec-div=true: then only what is spelled fmaf is fused.
 */
#ifndef SPECD_HOSTDEVICE_H
#define SPECD_HOSTDEVICE_H

#ifdef __CUDACC__
#define SPECD_HD static __host__ __device__ inline
#else
#define SPECD_HD static inline
#endif

#endif
