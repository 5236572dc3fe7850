/*
 * metrics.c - GET /metrics: the engine's counters as Prometheus text (exposition format 0.0.4).
 *
 * Meanings are vLLM's where vLLM has the metric; those appear a second time under its prefix, so
 * that dashboards and routers made for vLLM work. A snapshot without locks: cheap to scrape often.
 */
#include "specd/json_write.h"
#include "http.h"

struct writer {
    struct buf *out;
    bool vllm; /* also under vLLM's prefix */
};

enum owner { SPECD_ONLY, VLLM_TOO };

static const char *const prefixes[] = {"specd_", "vllm:"};

static int n_prefixes(const struct writer *w, enum owner owner)
{
    return owner == VLLM_TOO && w->vllm ? 2 : 1;
}

static void number(struct buf *out, double v)
{
    buf_printf(out, " %.17g\n", v);
}

static void head(struct buf *out, const char *prefix, const char *name, const char *type,
                 const char *help)
{
    buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, type);
}

static void metric(const struct writer *w, enum owner owner, const char *name, const char *type,
                   double v, const char *help)
{
    for (int i = 0; i < n_prefixes(w, owner); i++) {
        head(w->out, prefixes[i], name, type, help);
        buf_printf(w->out, "%s%s", prefixes[i], name);
        number(w->out, v);
    }
}

struct labelled {
    const char *value;
    double v;
};

static void labelled_metric(const struct writer *w, enum owner owner, const char *name,
                            const char *type, const char *label, const struct labelled *rows,
                            size_t n, const char *help)
{
    for (int i = 0; i < n_prefixes(w, owner); i++) {
        head(w->out, prefixes[i], name, type, help);
        for (size_t r = 0; r < n; r++) {
            buf_printf(w->out, "%s%s{%s=\"%s\"}", prefixes[i], name, label, rows[r].value);
            number(w->out, rows[r].v);
        }
    }
}

static void per_position(const struct writer *w, const struct engine_stats *s)
{
    static const char name[] = "spec_decode_num_accepted_tokens_per_pos_total";
    for (int i = 0; i < n_prefixes(w, VLLM_TOO); i++) {
        head(w->out, prefixes[i], name, "counter", "Drafted tokens accepted, by position from 0.");
        for (int k = 0; k < SPECD_K_MAX; k++) {
            buf_printf(w->out, "%s%s{position=\"%d\"}", prefixes[i], name, k);
            number(w->out, (double)s->accepted_by_pos[k]);
        }
    }
}

static void histogram(const struct writer *w, const char *name, const struct engine_histogram *h,
                      const char *help)
{
    for (int i = 0; i < n_prefixes(w, VLLM_TOO); i++) {
        const char *prefix = prefixes[i];
        uint64_t total = 0;
        head(w->out, prefix, name, "histogram", help);
        for (int b = 0; b < ENGINE_BUCKETS; b++) {
            total += h->counts[b];
            if (b + 1 < ENGINE_BUCKETS)
                buf_printf(w->out, "%s%s_bucket{le=\"%g\"}", prefix, name, engine_bucket_s[b]);
            else
                buf_printf(w->out, "%s%s_bucket{le=\"+Inf\"}", prefix, name);
            number(w->out, (double)total);
        }
        buf_printf(w->out, "%s%s_sum", prefix, name);
        number(w->out, h->sum_s);
        buf_printf(w->out, "%s%s_count", prefix, name);
        number(w->out, (double)total);
    }
}

static void gauges(const struct writer *w, const struct engine_stats *s,
                   const struct engine_info *info)
{
    double usage = s->blocks_total > 0 ? (double)s->blocks_used / (double)s->blocks_total : 0;
    metric(w, VLLM_TOO, "num_requests_running", "gauge", (double)s->running, "Requests in slots.");
    metric(w, VLLM_TOO, "num_requests_waiting", "gauge", (double)s->waiting,
           "Requests waiting for a slot.");
    const struct labelled reasons[] = {{"prompt", (double)s->waiting_prompt},
                                       {"slot", (double)s->waiting_slot},
                                       {"blocks", (double)s->waiting_blocks}};
    labelled_metric(w, SPECD_ONLY, "num_requests_waiting_by_reason", "gauge", "reason", reasons,
                    COUNT_OF(reasons), "The same, by what they wait for.");
    metric(w, SPECD_ONLY, "num_requests_paused", "gauge", (double)s->stalled,
           "Requests set aside until their readers have read more.");
    metric(w, VLLM_TOO, "kv_cache_usage_perc", "gauge", usage, "Used share of KV blocks, 0 to 1.");
    metric(w, SPECD_ONLY, "kv_blocks_used", "gauge", (double)s->blocks_used, "KV blocks in use.");
    metric(w, SPECD_ONLY, "kv_blocks", "gauge", (double)s->blocks_total, "KV blocks there are.");
    metric(w, SPECD_ONLY, "kv_window_blocks_used", "gauge", (double)s->window_blocks_used,
           "KV blocks of layers with a window in use: of the last tokens alone.");
    metric(w, SPECD_ONLY, "kv_window_blocks", "gauge", (double)s->window_blocks_total,
           "KV blocks of layers with a window there are; 0 where no layer has one.");
    for (int i = 0; i < n_prefixes(w, VLLM_TOO); i++) {
        head(w->out, prefixes[i], "cache_config_info", "gauge", "The KV cache's shape, as labels.");
        buf_printf(w->out, "%scache_config_info{block_size=\"%d\",num_gpu_blocks=\"%d\"} 1\n",
                   prefixes[i], info->block_tokens, info->n_blocks);
    }
    metric(w, SPECD_ONLY, "draft_length", "gauge",
           s->drafts > 0 ? (double)s->draft_tokens / (double)s->drafts : 0,
           "Mean number of tokens drafted in rounds that drafted, since the start.");
}

/* What drafting cost and gave, and why it did not take place. */
static void drafting(const struct writer *w, const struct engine_stats *s)
{
    const struct {
        const char *name;
        double v;
        const char *help;
    } seconds[] = {
        {"spec_busy_seconds_total", s->busy_s, "Time of rounds in which requests decoded."},
        {"spec_spent_seconds_total", s->draft_spent_s,
         "Time that drafting, probes and rows of the draft model added to rounds."},
        {"spec_earned_seconds_total", s->draft_earned_s, "Time that accepted tokens saved."},
        {"spec_regret_seconds_total", s->draft_regret_s,
         "Spent beyond what was earned, over stretches of rounds that lost."},
    };
    struct labelled reasons[DRAFT_WHYS - 1];
    for (size_t i = 0; i < COUNT_OF(seconds); i++)
        metric(w, SPECD_ONLY, seconds[i].name, "counter", seconds[i].v, seconds[i].help);
    for (int why = DRAFT_WHY_NONE + 1; why < DRAFT_WHYS; why++)
        reasons[why - 1] =
            (struct labelled){draft_why_name((enum draft_why)why), (double)s->not_drafted[why]};
    labelled_metric(w, SPECD_ONLY, "spec_not_drafted_total", "counter", "reason", reasons,
                    COUNT_OF(reasons), "A request's rounds without a draft, by reason.");
}

static void counters(const struct writer *w, const struct engine_stats *s)
{
    const struct labelled finished[] = {{"stop", (double)s->finished_stop},
                                        {"length", (double)s->finished_length},
                                        {"error", (double)s->finished_error},
                                        {"abort", (double)s->finished_cancelled}};
    const struct labelled parts[] = {{"prompt", (double)s->prompt_ns / 1e9},
                                     {"draft", (double)s->draft_ns / 1e9},
                                     {"verify", (double)s->verify_ns / 1e9},
                                     {"sample", (double)s->sample_ns / 1e9},
                                     {"host", (double)s->host_ns / 1e9}};
    const struct {
        enum owner owner;
        const char *name;
        uint64_t v;
        const char *help;
    } plain[] = {
        {VLLM_TOO, "prompt_tokens_total", s->prompt_tokens,
         "Prompt tokens computed or found in the cache."},
        {VLLM_TOO, "generation_tokens_total", s->generation_tokens, "Tokens generated."},
        {VLLM_TOO, "prefix_cache_queries_total", s->cache_queries,
         "Prompt tokens looked up in the prefix cache."},
        {VLLM_TOO, "prefix_cache_hits_total", s->cache_hits,
         "Prompt tokens found in the prefix cache."},
        {VLLM_TOO, "num_preemptions_total", s->preemptions,
         "Requests that gave up their blocks to others."},
        {VLLM_TOO, "spec_decode_num_drafts_total", s->drafts,
         "Drafts: rounds of a request with K above 0."},
        {VLLM_TOO, "spec_decode_num_draft_tokens_total", s->draft_tokens, "Tokens drafted."},
        {VLLM_TOO, "spec_decode_num_accepted_tokens_total", s->accepted_tokens,
         "Drafted tokens accepted."},
        {SPECD_ONLY, "rounds_total", s->rounds, "Rounds of the engine."},
        {SPECD_ONLY, "residual_fallback_total", s->residual_fallbacks,
         "Residual laws without mass, replaced by the target's."},
        {SPECD_ONLY, "client_disconnects_total", s->disconnects, "Requests whose client hung up."},
    };
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        metric(w, plain[i].owner, plain[i].name, "counter", (double)plain[i].v, plain[i].help);
    const struct labelled preemptions[] = {
        {"blocks", (double)(s->preemptions - s->preemptions_share)},
        {"share", (double)s->preemptions_share}};
    labelled_metric(w, SPECD_ONLY, "preemptions_total", "counter", "reason", preemptions,
                    COUNT_OF(preemptions),
                    "Requests that gave up their slot: others needed the KV blocks, or another "
                    "client had less than its share.");
    labelled_metric(w, VLLM_TOO, "request_success_total", "counter", "finished_reason", finished,
                    COUNT_OF(finished), "Requests ended, by reason.");
    labelled_metric(w, SPECD_ONLY, "round_seconds_total", "counter", "part", parts, COUNT_OF(parts),
                    "Time spent in rounds, by part.");
    per_position(w, s);
    drafting(w, s);
}

enum MHD_Result api_metrics(struct exchange *ex)
{
    struct engine *engine = atomic_load(&ex->server->engine);
    const struct engine_info *info = engine ? engine_info(engine) : NULL;
    if (!info)
        return respond_code(ex, SPECD_ELOADING);
    struct engine_stats s;
    struct buf body = {0};
    struct writer w = {&body, !ex->server->config->no_vllm_metrics};
    engine_stats(engine, &s);
    gauges(&w, &s, info);
    counters(&w, &s);
    const struct labelled dropped[] = {
        {"log", (double)log_dropped()},
        {"access", (double)access_dropped(&ex->server->access)},
    };
    struct server *server = ex->server;
    metric(&w, SPECD_ONLY, "request_memory_bytes", "gauge", (double)server->clients.held,
           "Memory of requests and answers under way, as --request-memory counts it.");
    metric(&w, SPECD_ONLY, "request_memory_refused_total", "counter",
           (double)server->clients.refused, "Bodies and requests refused for --request-memory.");
    metric(&w, SPECD_ONLY, "client_queue_refused_total", "counter",
           (double)server->clients.queue_refused,
           "Completions refused for --max-queue-per-client.");
    metric(&w, SPECD_ONLY, "unread_answers_total", "counter",
           (double)atomic_load(&server->connections.n_unread),
           "Connections cut off because nothing of an answer was read.");
    labelled_metric(&w, SPECD_ONLY, "log_lines_dropped_total", "counter", "log", dropped,
                    COUNT_OF(dropped), "Lines that neither the log nor its buffer took.");
    histogram(&w, "time_to_first_token_seconds", &s.ttft,
              "From a request's arrival to its first token.");
    histogram(&w, "inter_token_latency_seconds", &s.itl, "Between two tokens of a request.");
    histogram(&w, "e2e_request_latency_seconds", &s.e2e, "From a request's arrival to its end.");
    histogram(&w, "request_queue_time_seconds", &s.queue, "From a request's arrival to its slot.");
    return respond_body(ex, 200, "text/plain; version=0.0.4", &body);
}
