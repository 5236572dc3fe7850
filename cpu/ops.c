#include "ops.h"

#include "isa.h"

int ops_tables(const struct ops *tables[OPS_TABLES])
{
    int n = 0;
    tables[n++] = &ops_portable;
#if defined(__x86_64__)
    if (cpu_has_avx2())
        tables[n++] = &ops_avx2;
    if (cpu_has_avx512())
        tables[n++] = &ops_avx512;
#endif
    return n;
}

const struct ops *ops_get(void)
{
    const struct ops *tables[OPS_TABLES];
    return tables[ops_tables(tables) - 1];
}
