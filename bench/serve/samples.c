#include "samples.h"

#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>

void samples_add(struct samples *s, double x)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 1024;
        s->v = xrealloc(s->v, s->cap * sizeof *s->v);
    }
    s->v[s->n++] = (float)x;
}

void samples_free(struct samples *s)
{
    free(s->v);
    *s = (struct samples){0};
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void samples_print(struct samples *s, const double *q, int n)
{
    if (s->n == 0) {
        printf(" - |");
        return;
    }
    qsort(s->v, s->n, sizeof *s->v, compare);
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)(q[i] * (double)s->n);
        double x = s->v[MIN(at, s->n - 1)];
        printf(" %s%.*f", i ? "/ " : "", x < 1 ? 3 : x < 10 ? 2 : x < 100 ? 1 : 0, x);
    }
    printf(" |");
}
