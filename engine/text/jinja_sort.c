/*
 * A stable merge sort of keys, by position, comparing as Python does.
 */
#include "text/jinja_run.h"

static void merge(struct jinja_run *r, const struct jv *keys, const size_t *from, size_t *to,
                  size_t lo, size_t mid, size_t hi, bool reverse)
{
    size_t a = lo, b = mid;
    for (size_t i = lo; i < hi; i++) {
        bool right = a == mid;
        if (a < mid && b < hi) {
            struct jv x = keys[from[a]], y = keys[from[b]];
            right = reverse ? jv_compare(r, x, y, "<") == -1 : jv_compare(r, y, x, "<") == -1;
        }
        to[i] = from[right ? b++ : a++];
    }
}

const size_t *jinja_sort_order(struct jinja_run *r, const struct jv *keys, size_t n, bool reverse)
{
    size_t *from = jinja_alloc_array(r, n, sizeof *from);
    size_t *to = jinja_alloc_array(r, n, sizeof *to);
    for (size_t i = 0; i < n; i++)
        from[i] = i;
    for (size_t width = 1; width < n; width *= 2) {
        jinja_charge(r, n * sizeof *keys);
        for (size_t lo = 0; lo < n; lo += 2 * width)
            merge(r, keys, from, to, lo, MIN(lo + width, n), MIN(lo + 2 * width, n), reverse);
        size_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}
