#include "measures.h"

#include "specd/util.h"

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
    printf("\n## What it must reach\n\n| measure | reach | predicted | measured | reached |\n"
           "|---|---:|---:|---:|---|\n");
    for (int i = 0; i < n_verdicts; i++) {
        const struct verdict *v = &verdicts[i];
        bool good = v->at_least ? v->measured >= v->reach : v->measured <= v->reach;
        printf("| %s | %s %.4g | %s | %.4g | %s |\n", v->what, v->at_least ? ">=" : "<=", v->reach,
               v->predicted, v->measured, good ? "yes" : "no");
    }
}
