#include "measures.h"

#include "specd/util.h"

#include <math.h>
#include <stdio.h>

static struct verdict verdicts[16];
static int n_verdicts;

void verdict_add(const struct verdict *v)
{
    ASSERT(n_verdicts < (int)COUNT_OF(verdicts));
    verdicts[n_verdicts++] = *v;
}

void verdicts_print(void)
{
    if (n_verdicts == 0)
        return;
    printf(
        "\n## Measured and predicted\n\n| measure | predicted | measured | to reach | reached |\n"
        "|---|---:|---:|---:|---|\n");
    for (int i = 0; i < n_verdicts; i++) {
        const struct verdict *v = &verdicts[i];
        bool good = v->at_least ? v->measured >= v->reach : v->measured <= v->reach;
        printf("| %s | %.3g | %.4g |", v->what, v->predicted, v->measured);
        if (isnan(v->reach))
            printf(" | |\n");
        else
            printf(" %s %.4g | %s |\n", v->at_least ? ">=" : "<=", v->reach, good ? "yes" : "no");
    }
}
