/*
 * specd-schema - the request fields of the server, told from the table that it parses them with.
 *
 *   specd-schema reference             tables in Markdown, for docs/api.md
 *   specd-schema openapi SCHEMAS       OpenAPI 3.1, with the answers' schemas of the file SCHEMAS
 *
 * In SCHEMAS (tools/specd-schema/schemas.json), {"$fields": NAME} stands for a table of fields and
 * {"$errors": "types" or "codes"} for what errors carry. scripts/schema.sh writes the files.
 */
#include "call.h"
#include "fields_doc.h"
#include "specd/json_write.h"
#include "http.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HAS_KEY = 1, GENERATES = 2, IS_PAGE = 4, ITS_ERRORS = 8 }; /* ITS_ERRORS: Anthropic's */

static const struct path {
    const char *path, *summary, *request, *answer, *chunk; /* schemas; NULL: none */
    unsigned flags;
} paths[] = {
    {"/", "The page to try it in a browser", NULL, NULL, NULL, IS_PAGE},
    {"/health", "Is the process alive and its device well?", NULL, "Status", NULL, 0},
    {"/ready", "Will a request be served?", NULL, "Status", NULL, 0},
    {"/v1/models", "The model and its draft", NULL, "ModelList", NULL, HAS_KEY},
    {"/v1/models/{model}", "The same, by its name", NULL, "Model", NULL, HAS_KEY},
    {"/v1/completions", "OpenAI's text completion", "CompletionRequest", "Completion",
     "CompletionChunk", HAS_KEY | GENERATES},
    {"/v1/chat/completions", "OpenAI's chat", "ChatRequest", "ChatCompletion",
     "ChatCompletionChunk", HAS_KEY | GENERATES},
    {"/v1/responses", "OpenAI's Responses, stateless", "ResponseRequest", "Response",
     "ResponseEvent", HAS_KEY | GENERATES},
    {"/v1/responses/input_tokens", "Tokens of a prompt of Responses", "ResponseRequest",
     "InputTokens", NULL, HAS_KEY},
    {"/v1/messages", "Anthropic's Messages", "BlockRequest", "BlockAnswer", "BlockEvent",
     HAS_KEY | GENERATES | ITS_ERRORS},
    {"/v1/messages/count_tokens", "Tokens of a prompt of Messages", "BlockRequest", "TokenCount",
     NULL, HAS_KEY | ITS_ERRORS},
    {"/completion", "llama.cpp's completion", "NativeRequest", "NativeAnswers", "NativeChunk",
     HAS_KEY | GENERATES},
    {"/tokenize", "Text to token ids", "TokenizeRequest", "Tokens", NULL, HAS_KEY},
    {"/detokenize", "Token ids to text", "DetokenizeRequest", "Content", NULL, HAS_KEY},
    {"/apply-template", "The prompt that a chat request gives", "ChatRequest", "Prompt", NULL,
     HAS_KEY},
    {"/props", "Defaults, chat template, slots", NULL, "Props", NULL, HAS_KEY},
    {"/slots", "Which slots are in use", NULL, "Slots", NULL, HAS_KEY},
    {"/metrics", "Prometheus text", NULL, NULL, NULL, HAS_KEY},
};

static const struct engine_info no_info = {.n_vocab = SPECD_VOCAB_MAX};

/* ---- reference */

static const char *route_names(unsigned routes)
{
    switch (routes) {
    case CALL_CHAT:
        return "`/v1/chat/completions`";
    case CALL_CHATS:
        return "chat";
    case CALL_MESSAGES:
        return "`/v1/messages`";
    case CALL_RESPONSES:
        return "`/v1/responses`";
    case CALL_CHAT | CALL_RESPONSES:
        return "OpenAI's chats";
    case CALL_PLAIN:
        return "not `/v1/responses`, not `/v1/messages`";
    case CALL_NATIVE:
        return "`/completion`";
    case CALL_COMPLETION:
        return "`/v1/completions`";
    case CALL_COMPLETION | CALL_CHAT:
        return "not `/completion`";
    default:
        return "not chat";
    }
}

static void table_head(struct buf *out)
{
    buf_puts(out, "| field | default | range | meaning |\n|---|---|---|---|\n");
}

static void print_reference(void)
{
    struct call call;
    struct buf out = {0};
    size_t n;
    const struct field *table = call_table(&n);
    call_init(&call, CALL_CHAT, &no_info);
    table_head(&out);
    fields_reference(table, n, "", &call, route_names, &out);
    for (const struct field *f = table; f < table + n; f++) {
        char prefix[64];
        if (f->kind != FIELD_OBJECT)
            continue;
        snprintf(prefix, sizeof prefix, "%s.", f->name);
        buf_puts(&out, "\n");
        table_head(&out);
        fields_reference(f->members, f->n_members, prefix, &call, route_names, &out);
    }
    buf_puts(&out, "\n| refused | taken, as off | |\n|---|---|---|\n");
    fields_refused(table, n, "", route_names, &out);
    fputs(out.data, stdout);
    buf_free(&out);
}

/* ---- OpenAPI */

/* "completion" and so on; "native values": what generation_settings tells. */
static void write_fields(const char *what, struct buf *out)
{
    static const struct {
        const char *name;
        enum call_route route;
    } routes[] = {{"completion", CALL_COMPLETION},
                  {"chat", CALL_CHAT},
                  {"native", CALL_NATIVE},
                  {"responses", CALL_RESPONSES},
                  {"messages", CALL_MESSAGES}};
    struct call call;
    size_t n;
    const struct field *table = call_table(&n);
    json_lit(out, "{");
    if (strcmp(what, "tokenize") == 0) {
        table = tokenize_table(&n);
        fields_schema(table, n, 0, tokenize_defaults(), out);
    } else if (strcmp(what, "native values") == 0) {
        call_init(&call, CALL_NATIVE, &no_info);
        fields_values_schema(table, n, CALL_NATIVE, out);
    }
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (strcmp(what, routes[i].name) == 0) {
            call_init(&call, routes[i].route, &no_info);
            fields_schema(table, n, routes[i].route, &call, out);
        }
    }
    json_lit(out, "}");
}

static cJSON *fields_object(const char *what)
{
    struct buf out = {0};
    write_fields(what, &out);
    cJSON *object = cJSON_Parse(out.data);
    buf_free(&out);
    return object;
}

static void add_new(cJSON *list, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (strcmp(item->valuestring, text) == 0)
            return;
    }
    cJSON_AddItemToArray(list, cJSON_CreateString(text));
}

static cJSON *errors_object(const char *what)
{
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "enum");
    bool types = strcmp(what, "types") == 0;
#define X(name, code, status, type, ocode, text) add_new(list, types ? (type) : (ocode));
    SPECD_ERROR_MAP(X)
#undef X
    return object;
}

/* Puts what the placeholders stand for in their place, and large numbers as they are: cJSON writes
 * 15 digits of them. */
static void expand(cJSON *value)
{
    for (cJSON *v = value->child, *next; v; v = next) {
        next = v->next;
        const cJSON *fields = cJSON_GetObjectItem(v, "$fields");
        const cJSON *errors = cJSON_GetObjectItem(v, "$errors");
        cJSON *made;
        if (fields) {
            made = fields_object(fields->valuestring);
        } else if (errors) {
            made = errors_object(errors->valuestring);
        } else if (cJSON_IsNumber(v) && v->valuedouble >= 1e15) {
            char digits[32];
            snprintf(digits, sizeof digits, "%.0f", v->valuedouble);
            made = cJSON_CreateRaw(digits);
        } else {
            expand(v);
            continue;
        }
        char *name = xstrdup(v->string); /* v goes, with its name */
        cJSON_ReplaceItemInObjectCaseSensitive(value, name, made);
        free(name);
    }
}

static void write_content(const char *type, const char *schema, struct buf *out)
{
    buf_printf(out, "\"%s\":{\"schema\":", type);
    if (schema)
        buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"}}", schema);
    else
        buf_puts(out, "{\"type\":\"string\"}}");
}

static void write_answer(const struct path *p, struct buf *out)
{
    buf_puts(out, "\"200\":{\"description\":\"the answer\",\"headers\":{\"X-Request-Id\":"
                  "{\"$ref\":\"#/components/headers/RequestId\"},\"Traceparent\":"
                  "{\"$ref\":\"#/components/headers/Traceparent\"}},\"content\":{");
    write_content(p->flags & IS_PAGE ? "text/html"
                  : p->answer        ? "application/json"
                                     : "text/plain",
                  p->answer, out);
    if (p->chunk) {
        buf_puts(out, ",");
        write_content("text/event-stream", p->chunk, out);
    }
    buf_puts(out, "}}");
}

/* The statuses of a path, with one description each. */
static void write_errors(const struct path *p, struct buf *out)
{
    bool its = p->flags & ITS_ERRORS;
    const struct {
        int status;
        bool applies;
        const char *about;
    } rows[] = {
        {400, true,
         its ? "a malformed header or body, or a field out of range, which the message names"
             : "a malformed header or body, or a field out of range, which `param` names"},
        {401, p->flags & HAS_KEY, "no key, or a wrong one"},
        {404, strchr(p->path, '{') != NULL, "no such model"},
        {413, p->request != NULL, "the body is beyond `--max-body`"},
        {415, p->request != NULL,
         "the body is not `application/json`, or it has a `Content-Encoding`"},
        {429, p->request != NULL, "the queue is full; try again after `Retry-After`"},
        {500, !(p->flags & IS_PAGE), "the device failed, or the model made no numbers"},
        {its ? 529 : 503, !(p->flags & IS_PAGE),
         "loading, draining, or short of memory or descriptors; try again after `Retry-After`"},
        {504, p->flags & GENERATES, "`--request-timeout`"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!rows[i].applies)
            continue;
        bool again = rows[i].status == 429 || rows[i].status == 503 || rows[i].status == 529;
        buf_printf(out,
                   ",\"%d\":{\"description\":\"%s\",\"headers\":{%s\"X-Request-Id\":{\"$ref\":"
                   "\"#/components/headers/RequestId\"}},\"content\":{",
                   rows[i].status, rows[i].about,
                   again ? "\"Retry-After\":{\"schema\":{\"type\":\"integer\"}}," : "");
        write_content("application/json", its ? "BlockError" : "Error", out);
        buf_puts(out, "}}");
    }
}

static void write_path(const struct path *p, struct buf *out)
{
    buf_printf(out, "\"%s\":{\"%s\":{\"summary\":\"%s\",\"operationId\":\"", p->path,
               p->request ? "post" : "get", p->summary);
    if (p->flags & IS_PAGE)
        buf_puts(out, "page");
    for (const char *c = p->path + 1; *c; c++)
        if (!strchr("{}", *c))
            buf_printf(out, "%c", strchr("/-", *c) ? '_' : *c);
    buf_puts(out, p->flags & HAS_KEY ? "\",\"security\":[{},{\"bearer\":[]},{\"header\":[]}],"
                                     : "\",\"security\":[],");
    buf_puts(out, "\"parameters\":[{\"$ref\":\"#/components/parameters/RequestId\"},"
                  "{\"$ref\":\"#/components/parameters/Traceparent\"}");
    if (strcmp(p->path, "/slots") == 0)
        buf_puts(out,
                 ",{\"name\":\"fail_on_no_slot\",\"in\":\"query\",\"description\":\"1: 503 when "
                 "no slot is free\",\"schema\":{\"type\":\"string\"}}");
    if (strchr(p->path, '{'))
        buf_puts(out, ",{\"name\":\"model\",\"in\":\"path\",\"required\":true,\"schema\":{"
                      "\"type\":\"string\"}}");
    buf_puts(out, "],");
    if (p->request) {
        buf_puts(out, "\"requestBody\":{\"required\":true,\"content\":{");
        write_content("application/json", p->request, out);
        buf_puts(out, "}},");
    }
    buf_puts(out, "\"responses\":{");
    write_answer(p, out);
    write_errors(p, out);
    buf_puts(out, "}}}");
}

static cJSON *document(void)
{
    struct buf out = {0};
    buf_puts(&out,
             "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"specd\",\"version\":\"" SPECD_VERSION
             "\",\"description\":\"LLM inference by speculative sampling. Every field is "
             "explained in docs/api.md.\"},\"servers\":[{\"url\":\"http://127.0.0.1:8080\"}],"
             "\"paths\":{");
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        buf_puts(&out, i ? "," : "");
        write_path(&paths[i], &out);
    }
    buf_puts(
        &out,
        "},\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":"
        "\"bearer\"},\"header\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-Api-Key\"}},"
        "\"parameters\":{\"RequestId\":{\"name\":\"X-Request-Id\",\"in\":\"header\","
        "\"description\":\"sent back; else one is drawn\",\"schema\":{\"type\":\"string\"}},"
        "\"Traceparent\":{\"name\":\"Traceparent\",\"in\":\"header\",\"description\":\"W3C Trace "
        "Context, sent back\",\"schema\":{\"type\":\"string\"}}},"
        "\"headers\":{\"RequestId\":{\"required\":true,\"schema\":{\"type\":\"string\"}},"
        "\"Traceparent\":{\"description\":\"when the request had a valid one\",\"schema\":"
        "{\"type\":\"string\"}}}}}");
    cJSON *doc = cJSON_Parse(out.data);
    buf_free(&out);
    return doc;
}

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct buf text = {0};
    char chunk[4096];
    if (!f)
        return NULL;
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(&text, chunk, n);
    fclose(f);
    return buf_take(&text);
}

static int print_openapi(const char *path)
{
    char *text = read_text(path);
    cJSON *schemas = text ? cJSON_Parse(text) : NULL;
    free(text);
    if (!schemas) {
        fprintf(stderr, "specd-schema: %s is no JSON file\n", path);
        return 1;
    }
    expand(schemas);
    cJSON *doc = document();
    ASSERT(doc);
    cJSON_AddItemToObject(cJSON_GetObjectItem(doc, "components"), "schemas", schemas);
    char *out = cJSON_Print(doc);
    puts(out);
    cJSON_free(out);
    cJSON_Delete(doc);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "reference") == 0) {
        print_reference();
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "openapi") == 0)
        return print_openapi(argv[2]);
    fputs("usage: specd-schema reference | openapi SCHEMAS\n", stderr);
    return 2;
}
