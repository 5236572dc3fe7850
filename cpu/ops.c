#include "ops.h"

#include "isa.h"

const struct ops *ops_get(void)
{
#if defined(__x86_64__)
    if (cpu_has_avx2())
        return &ops_avx2;
#endif
    return &ops_portable;
}
