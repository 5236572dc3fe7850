/* POST /v1/completions: OpenAI's text completion. */
#include "json_write.h"
#include "openai.h"
#include "server.h"

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

static void write_message(const struct choice *c, struct buf *out)
{
    const struct buf *text = whole_text(c);
    write_text(text->data, text->len, out);
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
    .usage = openai_usage,
    .body = openai_body,
    .delta = write_delta,
    .logprobs = logprobs_text,
    .message = write_message,
};

enum MHD_Result api_completion(struct exchange *ex)
{
    return answer_start(ex, &format);
}
