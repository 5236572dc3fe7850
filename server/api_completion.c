/* POST /v1/completions: OpenAI's text completion. */
#include "specd/json_write.h"
#include "openai.h"
#include "http.h"

static void write_text(const char *text, size_t len, struct buf *out)
{
    json_lit(out, "\"text\":");
    json_str(out, text, len);
}

static void write_delta(const struct choice *c, const char *text, size_t len, bool first,
                        struct buf *out)
{
    (void)c;
    (void)first;
    write_text(text ? text : "", len, out);
}

static bool write_message(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (at->i == 0)
        json_lit(out, "\"text\":");
    return whole_text(c, at, out);
}

static const struct api_format format = {
    .route = CALL_COMPLETION,
    .id_prefix = "cmpl-",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .done = true,
    .token = openai_token,
    .echo = openai_echo,
    .finish = openai_finish,
    .stop = openai_stop,
    .error = openai_error,
    .begin = openai_begin,
    .parts = openai_parts,
    .end = openai_end,
    .delta = write_delta,
    .logprobs = logprobs_text,
    .message = write_message,
};

enum MHD_Result api_completion(struct exchange *ex)
{
    return answer_start(ex, &format);
}
