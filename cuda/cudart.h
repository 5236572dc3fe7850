/*
 * cudart.h - the CUDA runtime's types and calls for host code in C or C++: NVIDIA's, or in a build
 * with SPECD_EMU those of tests/emu.
 */
#ifndef SPECD_CUDA_CUDART_H
#define SPECD_CUDA_CUDART_H

#ifdef SPECD_EMU
#include "emu_runtime.h"
#else
#include <cuda_runtime_api.h>
#endif

#endif
