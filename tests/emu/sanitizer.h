/*
 * sanitizer.h - the interface of AddressSanitizer where it watches: EMU_ASAN, from CMake, since
 * some of the emulator's own files are compiled without.
 */
#ifndef SPECD_EMU_SANITIZER_H
#define SPECD_EMU_SANITIZER_H

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#endif
