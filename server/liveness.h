/*
 * liveness.h - does the engine hang? One judgement for /health, /ready, the log and systemd's
 * watchdog.
 *
 * It hangs when a round has been on the device, or the loop has not turned, for longer than
 * --hang-timeout and than twenty times the slowest of the latest rounds: a prompt chunk on a slow
 * CPU is slow, not stuck. Pure; any thread.
 */
#ifndef SPECD_SERVER_LIVENESS_H
#define SPECD_SERVER_LIVENESS_H

#include "specd/engine.h"

/* Since how many milliseconds it has hung in what must be "a round" or "the loop" (*what); 0 when
 * all is well. */
int64_t liveness_hangs(const struct engine_liveness *p, uint64_t now_ns, int patience_ms,
                       const char **what);

#endif
