#include "isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdatomic.h>

static atomic_int limit = ISA_COUNT;

const char *isa_name(enum isa i)
{
    static const char *const names[ISA_COUNT] = {
        [ISA_PORTABLE] = "portable", [ISA_AVX2] = "AVX2",          [ISA_AVX_VNNI] = "AVX-VNNI",
        [ISA_VNNI_256] = "VNNI-256", [ISA_AVX512] = "AVX512-VNNI",
    };
    return names[i];
}

/* Bit i: this machine can run set i. */
static unsigned detect(void)
{
    unsigned found = 1u << ISA_PORTABLE;
#if defined(__x86_64__)
    /* f16c and avxvnni have no name in every compiler's __builtin_cpu_supports */
    unsigned eax, ebx, ecx, edx;
    bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
    bool avx_vnni = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !f16c)
        return found;
    found |= 1u << ISA_AVX2;
    if (avx_vnni)
        found |= 1u << ISA_AVX_VNNI;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        found |= 1u << ISA_VNNI_256 | 1u << ISA_AVX512;
#endif
    return found;
}

enum isa cpu_isa(void)
{
    static atomic_uint known; /* 0: not yet; cpuid costs 10 us in a virtual machine */
    unsigned found = atomic_load_explicit(&known, memory_order_relaxed);
    if (found == 0) {
        found = detect();
        atomic_store_explicit(&known, found, memory_order_relaxed);
    }
    int i = ISA_COUNT - 1, most = atomic_load_explicit(&limit, memory_order_relaxed);
    while (i > most || !(found >> i & 1))
        i--;
    return (enum isa)i;
}

void cpu_limit(enum isa most)
{
    atomic_store(&limit, (int)most);
}

bool cpu_has_avx2(void)
{
    return cpu_isa() >= ISA_AVX2;
}

bool cpu_has_avx512(void)
{
    return cpu_isa() >= ISA_AVX512;
}
