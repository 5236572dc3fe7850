/* POST /v1/chat/completions: OpenAI's chat. */
#include "json_write.h"
#include "openai.h"
#include "server.h"

/* The role comes with the first token, so that a chunk is a token. text is NULL in the last. */
static void write_delta(const char *text, size_t len, bool first, struct buf *out)
{
    json_lit(out, "\"delta\":{");
    if (first)
        json_lit(out, "\"role\":\"assistant\"");
    if (first && text)
        json_lit(out, ",");
    if (text) {
        json_lit(out, "\"content\":");
        json_str(out, text, len);
    }
    json_lit(out, "}");
}

static void write_message(const char *text, size_t len, struct buf *out)
{
    json_lit(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    json_str(out, text, len);
    json_lit(out, "}");
}

static const struct api_format format = {
    .route = CALL_CHAT,
    .id_prefix = "chatcmpl-",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .done = true,
    .token = openai_token,
    .echo = openai_echo,
    .finish = openai_finish,
    .usage = openai_usage,
    .body = openai_body,
    .delta = write_delta,
    .logprobs = logprobs_chat,
    .message = write_message,
};

enum MHD_Result api_chat(struct exchange *ex)
{
    return answer_start(ex, &format);
}
