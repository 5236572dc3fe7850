/*
 * call_fields.c - THE table of request fields. What the engine can't do yet is refused by its
 * reader, and is marked nowhere else.
 */
#include "call_values.h"

#include <math.h>

#define AT(member) offsetof(struct call, member)
#define BOOLEAN(text, member) .name = text, .kind = FIELD_BOOL, .offset = AT(member)
#define INTEGER(text, member) .name = text, .kind = FIELD_INT, .offset = AT(member)
#define REAL(text, member) .name = text, .kind = FIELD_FLOAT, .offset = AT(member)
#define CUSTOM(text, function) .name = text, .kind = FIELD_CUSTOM, .parse = function
#define OBJECT(text, table) \
    .name = text, .kind = FIELD_OBJECT, .members = table, .n_members = COUNT_OF(table)

#define REFUSED(text) .name = text, .kind = FIELD_REFUSED

#define STRING_SCHEMA "\"type\":\"string\""
#define OBJECT_SCHEMA "\"type\":\"object\""
#define REF_SCHEMA(name) "\"$ref\":\"#/components/schemas/" name "\""
#define IDS_SCHEMA "\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0}"

static const struct field stream_fields[] = {
    {BOOLEAN("include_usage", include_usage), .about = "a last chunk with `usage` and no choices"},
    {BOOLEAN("continuous_usage_stats", continuous_usage), .about = "`usage` so far in each chunk"},
};

#define GUIDED_JSON_RANGE "a JSON Schema, an object or its text"
#define GUIDED_JSON_SCHEMA "\"anyOf\":[{" STRING_SCHEMA "},{" OBJECT_SCHEMA "}]"
#define CHOICE_RANGE "up to 1000 strings, each of 1 … 1024 bytes"
#define CHOICE_SCHEMA                                                                      \
    "\"type\":\"array\",\"maxItems\":1000,\"items\":{\"type\":\"string\",\"minLength\":1," \
    "\"maxLength\":1024}"

static const struct field structured_fields[] = {
    {CUSTOM("json", parse_guided_json), .fallback = "none", .range = GUIDED_JSON_RANGE,
     .about = "as `guided_json`", .schema = GUIDED_JSON_SCHEMA},
    {CUSTOM("json_object", parse_json_object), .fallback = "false", .range = "true or false",
     .about = "true: the answer is a JSON object", .schema = "\"type\":\"boolean\""},
    {CUSTOM("choice", parse_choice), .fallback = "none", .range = CHOICE_RANGE,
     .about = "as `guided_choice`", .schema = CHOICE_SCHEMA},
    {REFUSED("regex"), .about = "'json' and 'choice' are"},
    {REFUSED("grammar"), .about = "'json' and 'choice' are"},
    {REFUSED("structural_tag"), .about = "'tools' with 'tool_choice' force calls"},
    {REFUSED("whitespace_pattern"), .about = "white space of JSON is the server's"},
    {REFUSED("disable_any_whitespace"), .about = "white space of JSON is the server's"},
    {REFUSED("disable_additional_properties"),
     .about = "'additionalProperties' of the schema says it"},
};

static const struct field text_fields[] = {
    {CUSTOM("format", parse_format), .fallback = "text",
     .range = "`{\"type\":\"text\"}`, `{\"type\":\"json_object\"}` or "
              "`{\"type\":\"json_schema\",\"name\",\"schema\"}`",
     .about = "what the answer must be: any text, or [JSON](#json-output)",
     .schema = REF_SCHEMA("TextFormat")},
};

static const struct field reasoning_fields[] = {
    {CUSTOM("effort", parse_effort), .fallback = "the chat template's", .range = "any string",
     .about = "the chat template's `reasoning_effort`; its `enable_thinking` is false with `none`, "
              "else true",
     .schema = STRING_SCHEMA},
};

static const struct field output_fields[] = {
    {CUSTOM("format", parse_format), .fallback = "text",
     .range = "`{\"type\":\"json_schema\",\"schema\"}`",
     .about = "what the answer must be: any text, or [JSON](#json-output)",
     .schema = REF_SCHEMA("TextFormat")},
    {CUSTOM("effort", parse_effort), .fallback = "the chat template's", .range = "any string",
     .about = "the chat template's `reasoning_effort`", .schema = STRING_SCHEMA},
};

#define DRAFTER_VALUE(id, name) "|" #name /* at the index that enum drafter_type gives it */

static const struct field spec_fields[] = {
    {BOOLEAN("enabled", params.spec.enabled), .about = "false: plain decoding"},
    {.name = "mode",
     .kind = FIELD_ENUM,
     .offset = AT(params.spec.mode),
     .values = "auto|ratio|block|coupled",
     .about = "rule of verification; `auto` is `coupled` when the request has a seed, else the "
              "server's `--default-mode`"},
    {INTEGER("max", params.spec.max), .max = SPECD_K_MAX, .fallback = "the server's",
     .about = "upper bound on K, the tokens drafted in a round"},
    {INTEGER("min", params.spec.min), .max = SPECD_K_MAX, .fallback = "the server's",
     .about = "lower bound on K"},
    {INTEGER("fixed", params.spec.fixed), .max = SPECD_K_MAX, .fallback = "off",
     .about = "K is this in every round; a draft model begins after the first token"},
    {REAL("temperature", params.spec.temperature), .max = 2, .fallback = "the request's",
     .about = "of the law that drafts are drawn from; the answer's law stays what it is"},
    {REAL("top_p", params.spec.top_p), .max = 1, .flags = FIELD_MIN_OPEN,
     .fallback = "the request's", .about = "likewise"},
    {INTEGER("top_k", params.spec.top_k), .max = SPECD_VOCAB_MAX, .fallback = "the request's",
     .about = "likewise"},
    {REAL("min_p", params.spec.min_p), .max = 1, .flags = FIELD_MAX_OPEN,
     .fallback = "the request's", .about = "likewise"},
    {.name = "drafter",
     .kind = FIELD_ENUM,
     .offset = AT(params.spec.drafter),
     .values = "default" SPECD_DRAFTERS_DEVICE(DRAFTER_VALUE) SPECD_DRAFTERS_HOST(DRAFTER_VALUE)
         SPECD_DRAFTERS_REQUEST(DRAFTER_VALUE),
     .about = "one of the server's drafters alone, or the request's `prediction`; `default` is the "
              "prediction, then the server's list"},
    {BOOLEAN("trace", params.spec.trace),
     .about =
         "each chunk says `\"speculative\":{\"drafted\":…,\"k\":…}`: was the token drafted, and "
         "K of its round"},
};

static const struct field call_fields[] = {
    {CUSTOM("prompt", parse_nothing), .routes = CALL_COMPLETION | CALL_NATIVE,
     .flags = FIELD_REQUIRED, .fallback = "required",
     .range = "a string, a list of token ids, or a list of up to 64 of either",
     .about = "what to complete; a list of prompts gives one choice each (an array of answers on "
              "`/completion`)",
     .schema =
         "\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":"
         "{\"type\":\"integer\",\"minimum\":0}},{\"type\":\"array\",\"minItems\":1,\"maxItems\""
         ":64,\"items\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,"
         "\"items\":{\"type\":\"integer\",\"minimum\":0}}]}}]"},
    {CUSTOM("messages", parse_nothing), .routes = CALL_CHAT, .flags = FIELD_REQUIRED,
     .fallback = "required", .range = "1 … 65536 [messages](#messages)",
     .about = "the conversation, for the model's chat template",
     .schema = "\"type\":\"array\",\"minItems\":1,\"maxItems\":65536,"
               "\"items\":{" REF_SCHEMA("Message") "}"},
    {CUSTOM("messages", parse_nothing), .routes = CALL_MESSAGES, .flags = FIELD_REQUIRED,
     .fallback = "required", .range = "1 … 65536 [messages](#messages-api)",
     .about = "the conversation; a last one of the assistant's is the beginning of the answer",
     .schema = "\"type\":\"array\",\"minItems\":1,\"maxItems\":65536,"
               "\"items\":{" REF_SCHEMA("BlockMessage") "}"},
    {CUSTOM("system", parse_nothing), .routes = CALL_MESSAGES, .fallback = "none",
     .range = "a string, or a list of text blocks",
     .about = "a message of the system before all others", .schema = REF_SCHEMA("TextBlocks")},
    {CUSTOM("input", parse_nothing), .routes = CALL_RESPONSES, .flags = FIELD_REQUIRED,
     .fallback = "required", .range = "a string, or up to 65536 [items](#responses)",
     .about = "what the user says, or the conversation",
     .schema = "\"anyOf\":[{" STRING_SCHEMA "},{\"type\":\"array\",\"maxItems\":65536,"
               "\"items\":{" REF_SCHEMA("ResponseItem") "}}]"},
    {CUSTOM("instructions", parse_nothing), .routes = CALL_RESPONSES, .fallback = "none",
     .range = "any string", .about = "a message of the system before all others",
     .schema = STRING_SCHEMA},
    {CUSTOM("max_tokens", parse_max_tokens),
     .aliases = {"max_completion_tokens", "n_predict", "max_output_tokens"},
     .write = write_max_tokens,
     .fallback = "16 on `/v1/completions`, else the room left in the context",
     .range = "1 … 2147483647; 0 with `echo`; −1: the room left",
     .about = "tokens to generate at most",
     .schema = "\"type\":\"integer\",\"minimum\":-1,\"maximum\":2147483647"},
    {INTEGER("min_tokens", params.min_tokens), .max = INT32_MAX,
     .about = "so many tokens come before the end of generation, a stop id or a stop string"},
    {BOOLEAN("stream", stream), .about = "answer token by token"},
    {OBJECT("stream_options", stream_fields), .routes = CALL_PLAIN, .fallback = "none",
     .about = "see below"},
    {REAL("temperature", params.law.temperature), .max = 2, .about = "0 is greedy"},
    {REAL("top_p", params.law.top_p), .max = 1,
     .about = "the shortest list of the likeliest tokens with this much mass; 1 is off, 0 leaves "
              "the likeliest alone"},
    {INTEGER("top_k", params.law.top_k), .min = -1, .max = SPECD_VOCAB_MAX,
     .about = "that many likeliest tokens; 0 and -1 are off"},
    {REAL("min_p", params.law.min_p), .max = 1, .flags = FIELD_MAX_OPEN,
     .about = "tokens at least this likely, relative to the likeliest; 0 is off"},
    {REAL("presence_penalty", params.law.presence), .min = -2, .max = 2,
     .about = "subtracted once for an id that was generated"},
    {REAL("frequency_penalty", params.law.frequency), .min = -2, .max = 2,
     .about = "subtracted per occurrence of an id that was generated"},
    {REAL("repetition_penalty", params.law.repetition), .aliases = {"repeat_penalty"},
     .max = INFINITY, .flags = FIELD_MIN_OPEN | FIELD_MAX_OPEN,
     .about = "for ids in the prompt or generated: a positive logit is divided by it, another "
              "multiplied"},
    {CUSTOM("logit_bias", parse_bias), .fallback = "none",
     .range = "up to 1024 ids to a number in [−100, 100], or `false`, which bans",
     .about = "`{\"id\": bias}` or `[[id, bias], …]`",
     .schema = "\"anyOf\":[{\"type\":\"object\",\"maxProperties\":1024},{\"type\":\"array\","
               "\"maxItems\":1024,\"items\":{\"type\":\"array\",\"minItems\":2}}]"},
    {CUSTOM("allowed_token_ids", parse_allowed), .fallback = "all", .range = "token ids",
     .about = "only these may come", .schema = IDS_SCHEMA ",\"minItems\":1"},
    {CUSTOM("seed", parse_seed), .write = write_seed, .fallback = "drawn, and reported",
     .range = "−2⁶³ … 2⁶³ − 1; −1: drawn",
     .about = "modulo 2⁵³; with `n`, number i (from 0) is the one of `seed` + i, and each says its "
              "own",
     .schema = "\"type\":\"integer\",\"format\":\"int64\""},
    {INTEGER("n", n), .aliases = {"n_cmpl"}, .min = 1, .max = CALL_N_MAX, .routes = CALL_PLAIN,
     .about = "completions of each prompt, which is computed once"},
    {INTEGER("best_of", best_of), .min = 1, .max = CALL_N_MAX,
     .routes = CALL_COMPLETION | CALL_CHAT, .fallback = "`n`",
     .about = "1 or `n`: answers are not chosen among"},
    {CUSTOM("stop", parse_stop), .aliases = {"stop_sequences"}, .write = write_stop,
     .fallback = "none", .range = "a string or up to 64, each of 1 … 1024 bytes",
     .about = "ends the answer, and is no part of it",
     .schema = "\"anyOf\":[{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024},{\"type\":"
               "\"array\",\"maxItems\":64,\"items\":{\"type\":\"string\",\"minLength\":1,"
               "\"maxLength\":1024}}]"},
    {BOOLEAN("include_stop_str_in_output", params.include_stop),
     .about = "the string of `stop` that ended the answer is its end"},
    {CUSTOM("stop_token_ids", parse_stop_ids), .fallback = "none", .range = "up to 64 token ids",
     .about = "end the answer as the model's own ends do", .schema = IDS_SCHEMA ",\"maxItems\":64"},
    {BOOLEAN("ignore_eos", params.ignore_eos), .about = "the model's end tokens have no mass"},
    {INTEGER("logprobs", params.n_logprobs), .max = SPECD_LOGPROBS_MAX,
     .routes = CALL_COMPLETION | CALL_NATIVE, .fallback = "none",
     .about = "[log-probabilities](#log-probabilities), with so many alternatives"},
    {INTEGER("n_probs", n_probs), .max = SPECD_LOGPROBS_MAX, .routes = CALL_NATIVE,
     .about = "llama.cpp's name for it; 0 is off"},
    {BOOLEAN("logprobs", logprobs), .routes = CALL_CHAT,
     .about = "[log-probabilities](#log-probabilities)"},
    {INTEGER("top_logprobs", top_logprobs), .max = SPECD_LOGPROBS_MAX,
     .routes = CALL_CHAT | CALL_RESPONSES, .about = "alternatives; needs `logprobs`"},
    {BOOLEAN("echo", params.echo), .routes = CALL_PLAIN,
     .about = "the prompt, as the model read it, comes before the answer; with `logprobs` it is "
              "scored, too"},
    {BOOLEAN("return_tokens", return_tokens), .routes = CALL_PLAIN,
     .about = "token ids beside the text, in `tokens`"},
    {BOOLEAN("timings_per_token", timings_per_token), .routes = CALL_PLAIN,
     .about = "`timings` so far in each chunk"},
    {CUSTOM("cache_salt", parse_salt), .fallback = "none", .range = "1 … 256 bytes",
     .about = "only requests with the same salt share cached prompts",
     .schema = STRING_SCHEMA ",\"minLength\":1,\"maxLength\":256"},
    {CUSTOM("prediction", parse_prediction), .fallback = "none",
     .range = "`{\"type\":\"content\",\"content\":…}`, a string or a list of text parts",
     .about = "a text that the answer is expected to be, mostly: it is [drafted](#prediction), and "
              "changes nothing else",
     .schema = OBJECT_SCHEMA
     ",\"required\":[\"type\",\"content\"],\"properties\":{\"type\":{\"const\":\"content\"},"
     "\"content\":{\"anyOf\":[{" STRING_SCHEMA "},{\"type\":\"array\",\"items\":{" OBJECT_SCHEMA
     ",\"required\":[\"type\",\"text\"],\"properties\":{\"type\":{\"const\":\"text\"},\"text\":"
     "{" STRING_SCHEMA "}}}}]}}"},
    {INTEGER("priority", priority), .min = -10, .max = 10,
     .about = "higher goes [first](#priority), where the key may; else it is ignored"},
    {CUSTOM("model", parse_text), .fallback = "", .range = "any string", .about = "not used",
     .schema = STRING_SCHEMA},
    {CUSTOM("user", parse_text), .fallback = "", .range = "any string", .about = "not used",
     .schema = STRING_SCHEMA},
    {CUSTOM("tools", parse_tools), .routes = CALL_CHAT, .fallback = "none",
     .range = "up to 128 of `{\"type\":\"function\",\"function\":{\"name\",\"description\","
              "\"parameters\",\"strict\"}}`",
     .about = "[tools](#tools) that the model may call",
     .schema = "\"type\":\"array\",\"maxItems\":128,\"items\":{" REF_SCHEMA("Tool") "}"},
    {CUSTOM("tool_choice", parse_tool_choice), .routes = CALL_CHAT, .fallback = "auto",
     .range =
         "`auto`, `none`, `required`, `any`, `{\"type\":\"function\",\"function\":{\"name\"}}`, or "
         "[tools that alone may be called](#which-tools)",
     .about =
         "`none`: as if there were no tools; `required`, `any`, or a tool by name: the answer is "
         "[a call](#forced-calls)",
     .schema = REF_SCHEMA("ToolChoice")},
    {CUSTOM("tools", parse_tools), .routes = CALL_RESPONSES, .fallback = "none",
     .range = "up to 128 of `{\"type\":\"function\",\"name\",\"description\",\"parameters\","
              "\"strict\"}` or "
              "`{\"type\":\"custom\",\"name\",\"description\"}`",
     .about = "[tools](#tools) that the model may call; those of other types are left out",
     .schema = "\"type\":\"array\",\"maxItems\":128,\"items\":{" REF_SCHEMA("ResponseTool") "}"},
    {CUSTOM("tool_choice", parse_tool_choice), .routes = CALL_RESPONSES, .fallback = "auto",
     .range = "`auto`, `none`, `required`, `{\"type\":\"function\",\"name\"}`, or "
              "`{\"type\":\"allowed_tools\",\"mode\",\"tools\"}`",
     .about = "as in chat, flat", .schema = REF_SCHEMA("ResponseToolChoice")},
    {CUSTOM("tools", parse_tools), .routes = CALL_MESSAGES, .fallback = "none",
     .range = "up to 128 of `{\"name\",\"description\",\"input_schema\",\"strict\"}`",
     .about = "[tools](#tools) that the model may call; those of another `type` than `custom` and "
              "without a schema are left out",
     .schema = "\"type\":\"array\",\"maxItems\":128,\"items\":{" REF_SCHEMA("BlockTool") "}"},
    {CUSTOM("tool_choice", parse_tool_choice), .routes = CALL_MESSAGES, .fallback = "auto",
     .range = "`{\"type\"}` with `auto`, `any`, `none`, or `tool` and a `name`; with "
              "`disable_parallel_tool_use`",
     .about = "`any` is chat's `required`", .schema = REF_SCHEMA("BlockToolChoice")},
    {CUSTOM("thinking", parse_nothing), .routes = CALL_MESSAGES, .fallback = "the chat template's",
     .range = "`{\"type\"}`",
     .about = "the chat template's `enable_thinking`: false with `disabled`, "
              "else true",
     .schema =
         OBJECT_SCHEMA ",\"properties\":{\"type\":{" STRING_SCHEMA "}},\"required\":[\"type\"]"},
    {OBJECT("output_config", output_fields), .routes = CALL_MESSAGES, .fallback = "none",
     .about = "see below"},
    {BOOLEAN("parallel_tool_calls", parallel_tools), .routes = CALL_CHATS,
     .about = "false: only the first call of an answer counts, and `required` forces one alone"},
    {.name = "reasoning_format",
     .kind = FIELD_ENUM,
     .offset = AT(reasoning_format),
     .values = REASONING_FORMATS,
     .routes = CALL_CHATS,
     .about = "[thoughts](#thoughts): `none` leaves them in the text, `deepseek` tells them apart; "
              "`auto` is what `--reasoning-format` says"},
    {CUSTOM("reasoning_effort", parse_effort), .routes = CALL_CHAT,
     .fallback = "the chat template's", .range = "any string",
     .about = "a variable of the chat template, and its `enable_thinking`: false with `none`, else "
              "true",
     .schema = STRING_SCHEMA},
    {BOOLEAN("add_generation_prompt", add_generation), .routes = CALL_CHATS,
     .about = "the prompt ends with the beginning of an answer"},
    {BOOLEAN("continue_final_message", continue_final), .routes = CALL_CHATS,
     .about = "the prompt ends within the last message, which the answer continues; "
              "`add_generation_prompt` counts as false"},
    {CUSTOM("chat_template_kwargs", parse_kwargs), .routes = CALL_CHATS, .fallback = "none",
     .range = "an object", .about = "more variables for the chat template",
     .schema = OBJECT_SCHEMA},
    {OBJECT("text", text_fields), .routes = CALL_RESPONSES, .fallback = "none",
     .about = "see below"},
    {OBJECT("reasoning", reasoning_fields), .routes = CALL_RESPONSES, .fallback = "none",
     .about = "see below"},
    {CUSTOM("include", parse_include), .routes = CALL_RESPONSES, .fallback = "none",
     .range = "a list of strings",
     .about = "with `message.output_text.logprobs` the text has "
              "[log-probabilities](#log-probabilities); others add nothing",
     .schema = "\"type\":\"array\",\"items\":{" STRING_SCHEMA "}"},
    {CUSTOM("response_format", parse_format), .fallback = "text",
     .range = "`{\"type\":\"text\"}`, `{\"type\":\"json_object\"}` or "
              "`{\"type\":\"json_schema\",\"json_schema\":{\"name\",\"schema\"}}`",
     .about = "what the answer must be: any text, or [JSON](#json-output)",
     .schema = REF_SCHEMA("ResponseFormat")},
    {CUSTOM("json_schema", parse_schema), .fallback = "none", .range = "a JSON Schema, an object",
     .about = "llama.cpp's name for it: the answer is [JSON](#json-output) that follows the schema",
     .schema = OBJECT_SCHEMA},
    {CUSTOM("format", parse_format_word), .fallback = "none",
     .range = "`\"json\"`, or a JSON Schema, an object",
     .about = "Ollama's name for it: any object, or one that follows the schema",
     .schema = "\"anyOf\":[{\"enum\":[\"\",\"json\"]},{" OBJECT_SCHEMA "}]"},
    {CUSTOM("guided_json", parse_guided_json), .fallback = "none", .range = GUIDED_JSON_RANGE,
     .about = "vLLM's name for it", .schema = GUIDED_JSON_SCHEMA},
    {CUSTOM("guided_choice", parse_choice), .fallback = "none", .range = CHOICE_RANGE,
     .about = "the answer is [one of these texts](#json-output)", .schema = CHOICE_SCHEMA},
    {OBJECT("structured_outputs", structured_fields), .fallback = "none", .about = "see below"},
    {OBJECT("speculative", spec_fields), .fallback = "none", .about = "see below"},
    {REFUSED("grammar"), .about = "GBNF; 'json_schema' and 'response_format' take JSON Schema"},
    {REFUSED("guided_grammar"), .about = "'guided_json' and 'guided_choice' are"},
    {REFUSED("guided_regex"), .about = "'guided_json' and 'guided_choice' are"},
    {REFUSED("guided_whitespace_pattern"), .about = "white space of JSON is the server's"},
    {REFUSED("regex"), .about = "'json_schema' and 'guided_choice' are"},
    {REFUSED("ebnf"), .about = "'json_schema' and 'guided_choice' are"},
    {REFUSED("structural_tag"), .about = "'tools' with 'tool_choice' force calls"},
    {REFUSED("suffix"), .routes = CALL_COMPLETION | CALL_NATIVE,
     .about = "text behind a gap; put the model's own tokens for that into 'prompt'"},
    {REFUSED("functions"), .routes = CALL_CHAT, .about = "'tools' is its new name"},
    {REFUSED("function_call"), .routes = CALL_CHAT, .values = "none|auto",
     .about = "'tools' with 'tool_choice' are its new names"},
    {REFUSED("previous_response_id"), .routes = CALL_RESPONSES,
     .about = "answers are not kept; put the whole conversation into 'input'"},
    {REFUSED("conversation"), .routes = CALL_RESPONSES,
     .about = "answers are not kept; put the whole conversation into 'input'"},
    {REFUSED("background"), .routes = CALL_RESPONSES, .about = "answers are not kept"},
    {REFUSED("prompt"), .routes = CALL_RESPONSES,
     .about = "there are no stored prompts; put its text into 'instructions'"},
    {REFUSED("bad_words"), .about = "'logit_bias' bans token ids"},
    {REFUSED("logits_processors"),
     .about = "'logit_bias' and 'allowed_token_ids' change what may be drawn"},
    {REFUSED("custom_logit_processor"),
     .about = "'logit_bias' and 'allowed_token_ids' change what may be drawn"},
    {REFUSED("stop_regex"), .about = "'stop' takes up to 64 strings"},
    {REFUSED("no_stop_trim"), .about = "'include_stop_str_in_output' keeps stop strings"},
    {REFUSED("skip_special_tokens"), .flags = FIELD_OFF_TRUE,
     .about = "control tokens have no text; 'return_tokens' gives their ids"},
    {REFUSED("add_special_tokens"), .routes = CALL_COMPLETION, .flags = FIELD_OFF_TRUE,
     .about = "a list of token ids is read as it is"},
    {REFUSED("add_special_tokens"), .routes = CALL_CHAT,
     .about = "the chat template says which there are"},
    {REFUSED("chat_template"), .routes = CALL_CHAT,
     .about = "the server has one, 'chat_template_kwargs' are its variables"},
    {REFUSED("documents"), .routes = CALL_CHAT, .about = "put their text into 'messages'"},
    {REFUSED("prompt_embeds"), .about = "a prompt is text or token ids"},
    {REFUSED("image_data"), .routes = CALL_NATIVE, .about = "a prompt is text or token ids"},
    {REFUSED("truncate_prompt_tokens"), .min = -1, .max = -1, .about = "a prompt is read whole"},
    {REFUSED("prompt_logprobs"), .min = 1, .about = "'echo' with 'logprobs' scores the prompt"},
    {REFUSED("post_sampling_probs"), .routes = CALL_NATIVE,
     .about = "log-probabilities are the model's own"},
    {REFUSED("use_beam_search"), .about = "answers are drawn"},
    {REFUSED("typical_p"), .min = 1, .max = 1, .about = "'top_p', 'top_k' and 'min_p' are"},
    {REFUSED("top_n_sigma"), .min = -1, .max = 0, .about = "'top_p', 'top_k' and 'min_p' are"},
    {REFUSED("top_a"), .about = "'top_p', 'top_k' and 'min_p' are"},
    {REFUSED("tfs_z"), .min = 1, .max = 1, .about = "'top_p', 'top_k' and 'min_p' are"},
    {REFUSED("xtc_probability"), .about = "'top_p', 'top_k' and 'min_p' are"},
    {REFUSED("mirostat"), .about = "'temperature' is"},
    {REFUSED("mirostat_mode"), .about = "'temperature' is"},
    {REFUSED("dynatemp_range"), .about = "'temperature' is"},
    {REFUSED("smoothing_factor"), .about = "'temperature' is"},
    {REFUSED("adaptive_target"), .min = -1, .max = -1, .about = "'temperature' is"},
    {REFUSED("dry_multiplier"), .about = "'frequency_penalty' and 'repetition_penalty' are"},
    {REFUSED("no_repeat_ngram_size"), .about = "'frequency_penalty' and 'repetition_penalty' are"},
    {REFUSED("n_indent"), .routes = CALL_NATIVE, .about = "'stop' ends an answer"},
    {REFUSED("lora"), .about = "the server has one model"},
    {REFUSED("lora_path"), .about = "the server has one model"},
};

const struct field *call_table(size_t *n)
{
    *n = COUNT_OF(call_fields);
    return call_fields;
}

int call_read_fields(struct call *c, struct api_error *e)
{
    return fields_read(call_fields, COUNT_OF(call_fields), c->route, "", c->doc, c, e);
}
