/*
 * report.h - the numbers of a finished request as JSON: usage, timings, speculative.
 *
 * `usage` is OpenAI's, `timings` llama.cpp's, `speculative` our own (docs/api.md). Pure functions
 * of the engine's statistics.
 */
#ifndef SPECD_SERVER_REPORT_H
#define SPECD_SERVER_REPORT_H

#include "specd/request.h"

void report_usage(struct buf *out, const struct request_stats *s);
void report_timings(struct buf *out, const struct request_stats *s);
void report_speculative(struct buf *out, const struct request_stats *s);
const char *verify_mode_name(enum verify_mode mode);

/* Adds what usage counts, for answers with several choices; a prompt that choices share counts
 * once. */
void stats_add_usage(struct request_stats *sum, const struct request_stats *s, bool with_prompt);

#endif
