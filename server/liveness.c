#include "liveness.h"

#define SLOWER 20 /* than the slowest of late: that is no work any more */

static uint64_t age(uint64_t since_ns, uint64_t now_ns)
{
    return since_ns != 0 && now_ns > since_ns ? now_ns - since_ns : 0;
}

int64_t liveness_hangs(const struct engine_liveness *p, uint64_t now_ns, int patience_ms,
                       const char **what)
{
    uint64_t patience = MAX((uint64_t)patience_ms * 1000000, SLOWER * p->slowest_ns);
    uint64_t round = age(p->round_ns, now_ns), turn = age(p->iterated_ns, now_ns);
    *what = round > patience ? "a round" : "the loop";
    uint64_t longest = round > patience ? round : turn;
    return longest > patience ? (int64_t)(longest / 1000000) : 0;
}
