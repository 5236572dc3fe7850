#include "report.h"

#include "specd/json_write.h"

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

void stats_add_usage(struct request_stats *sum, const struct request_stats *s, bool with_prompt)
{
    if (with_prompt) {
        sum->n_prompt += s->n_prompt;
        sum->n_cached += s->n_cached;
    }
    sum->n_generated += s->n_generated;
    sum->n_drafted += s->n_drafted;
    sum->n_accepted += s->n_accepted;
    sum->prediction_drafted += s->prediction_drafted;
    sum->prediction_accepted += s->prediction_accepted;
}

void report_usage(struct buf *out, const struct request_stats *s)
{
    buf_printf(out,
               "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d},"
               "\"completion_tokens_details\":{\"accepted_prediction_tokens\":%d,"
               "\"rejected_prediction_tokens\":%d}}",
               s->n_prompt, s->n_generated, s->n_prompt + s->n_generated, s->n_cached,
               s->prediction_accepted, s->prediction_drafted - s->prediction_accepted);
}

/* ms in all, ms per token, tokens per second, each with its own name. */
static void part(struct buf *out, const char *name, int32_t n, uint64_t ns)
{
    double ms = (double)ns / 1e6;
    buf_printf(out, "\"%s_n\":%d,\"%s_ms\":%.3f,\"%s_per_token_ms\":%.3f,\"%s_per_second\":%.3f",
               name, n, name, ms, name, ratio(ms, n), name, ratio(1000.0 * n, ms));
}

void report_timings(struct buf *out, const struct request_stats *s)
{
    buf_printf(out, "{\"cache_n\":%d,", s->n_cached);
    part(out, "prompt", s->n_prompt - s->n_cached, s->prompt_ns);
    json_lit(out, ",");
    part(out, "predicted", s->n_generated, s->predicted_ns);
    buf_printf(out, ",\"draft_n\":%d,\"draft_n_accepted\":%d}", s->n_drafted, s->n_accepted);
}

const char *verify_mode_name(enum verify_mode mode)
{
    static const char *const names[] = {"ratio", "block", "coupled"};
    return names[mode];
}

void report_speculative(struct buf *out, const struct request_stats *s)
{
    double length = s->rounds > 0 ? 1 + ratio(s->n_accepted, s->rounds) : 0;
    buf_printf(out,
               "{\"mode\":\"%s\",\"drafter\":\"%s\",\"rounds\":%d,\"draft_tokens\":%d,"
               "\"accepted_tokens\":%d,\"mean_accepted_length\":%.4g,"
               "\"acceptance_by_position\":[",
               verify_mode_name(s->mode), s->drafter ? s->drafter : "none", s->rounds, s->n_drafted,
               s->n_accepted, length);
    for (int i = 0; i < SPECD_K_MAX && s->verified_by_pos[i] > 0; i++)
        buf_printf(out, "%s%.4g", i ? "," : "",
                   ratio(s->accepted_by_pos[i], s->verified_by_pos[i]));
    json_lit(out, "],\"seed\":");
    json_uint(out, s->seed);
    if (s->disabled_because) {
        json_lit(out, ",\"disabled_because\":");
        json_cstr(out, s->disabled_because);
    }
    json_lit(out, "}");
}
