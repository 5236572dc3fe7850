/*
 * sanitizer.h - EMU_ASAN where AddressSanitizer watches, and its interface.
 */
#ifndef SPECD_EMU_SANITIZER_H
#define SPECD_EMU_SANITIZER_H

#ifdef __SANITIZE_ADDRESS__
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#endif
