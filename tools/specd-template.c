/*
 * specd-template - renders a chat template outside the server.
 *
 *   specd-template [--now SECONDS] TEMPLATE < variables.json
 *   specd-template [--now SECONDS] --batch < lines
 *
 * The variables are a JSON object (messages, tools, add_generation_prompt, bos_token, ...) or an
 * array, which is taken for the messages. Prints the prompt and nothing else; on failure one line
 * on stderr and exit 1. --now sets the time that strftime_now tells, in seconds since 1970.
 * With --batch each line of the standard input is {"template": text, "variables": object} and is
 * answered by a line {"text": prompt} or {"error": reason}. {"template", "chat": object} asks for
 * the prompt of a conversation in the form that the template takes, as the server makes it: the
 * object has messages, tools, chat_template_kwargs, add_generation_prompt, bos_token and eos_token;
 * with "for_tools" the template is one for requests with tools.
 */
#include "jinja/chat.h"
#include "jinja/jinja.h"
#include "specd/json.h"
#include "specd/json_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    const struct json *vars;
    time_t now; /* 0: now */
};

static int usage(FILE *to)
{
    fputs("usage: specd-template [--now SECONDS] (TEMPLATE | --batch) < variables.json\n", to);
    return to == stdout ? 0 : 2;
}

static bool read_all(FILE *f, struct buf *out)
{
    char chunk[1 << 16];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    buf_reserve(out, 0);
    return !ferror(f);
}

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    bool ok = read_all(f, out);
    fclose(f);
    return ok;
}

static void fill(struct jinja_run *r, void *arg)
{
    const struct input *in = arg;
    if (in->now)
        jinja_set_time(r, in->now);
    if (json_type(in->vars) == JSON_ARRAY)
        jinja_set(r, "messages", jv_json(r, in->vars));
    else
        for (const struct json *var = json_first(in->vars); var; var = json_next(var))
            jinja_set(r, json_key(var), jv_json(r, var));
}

/* Appends the prompt to out, or an explanation to err. */
static int render(const char *source, size_t len, const struct input *in, struct buf *out,
                  char *err, size_t errlen)
{
    struct jinja *t;
    int rc = jinja_compile(&t, source, len, err, errlen);
    if (rc)
        return rc;
    rc = jinja_render(t, fill, (void *)in, out, NULL, err, errlen);
    jinja_free(t);
    return rc;
}

/* The variables are what Python's json.loads would make of them. NULL: they are none. */
static struct json *read_json(const char *text, size_t len, char *err, size_t errlen)
{
    struct json *doc;
    return json_loads(&doc, text, len, err, errlen) == 0 ? doc : NULL;
}

static bool usable(const struct json *vars)
{
    return json_type(vars) == JSON_OBJECT || json_type(vars) == JSON_ARRAY;
}

static int render_file(const char *path, time_t now)
{
    struct buf source = {0}, json = {0}, out = {0};
    char err[4200] = "the standard input is no JSON object or array";
    int rc = -1;
    struct json *vars = NULL;
    if (!read_file(path, &source) || !read_all(stdin, &json)) {
        fprintf(stderr, "specd-template: can't read %s or the standard input\n", path);
        goto done;
    }
    vars = read_json(json.data, json.len, err, sizeof err);
    struct input in = {vars, now};
    if (usable(vars))
        rc = render(source.data, source.len, &in, &out, err, sizeof err);
    if (rc)
        fprintf(stderr, "%s\n", err);
    else
        fwrite(out.data, 1, out.len, stdout);
done:
    json_free(vars);
    buf_free(&source);
    buf_free(&json);
    buf_free(&out);
    return rc ? 1 : 0;
}

static int render_chat(const char *source, const struct json *ask, struct buf *out, char *err,
                       size_t errlen)
{
    struct chat_template *t;
    const struct json *chat = json_get(ask, "chat"), *tools = json_get(chat, "tools");
    int rc = chat_template_create(&t, source, json_bool(json_get(ask, "for_tools")), err, errlen);
    if (rc)
        return rc;
    struct chat_vars vars = {
        .options = {.messages = json_get(chat, "messages"),
                    .tools = json_type(tools) == JSON_NULL ? NULL : tools,
                    .kwargs = json_get(chat, "chat_template_kwargs"),
                    .add_generation_prompt = json_bool(json_get(chat, "add_generation_prompt"))},
        .bos_token = json_string(json_get(chat, "bos_token")),
        .eos_token = json_string(json_get(chat, "eos_token")),
        .field = "messages"};
    rc = chat_render(t, &vars, out, NULL, err, errlen);
    chat_template_free(t);
    return rc;
}

static void answer(const char *line, time_t now)
{
    struct buf out = {0}, reply = {0};
    char err[4200] = "not a line of template and variables", why[128];
    int rc = -1;
    struct json *ask = read_json(line, strlen(line), why, sizeof why);
    const char *source = json_string(json_get(ask, "template"));
    struct input in = {json_get(ask, "variables"), now};
    if (source && json_type(json_get(ask, "chat")) == JSON_OBJECT)
        rc = render_chat(source, ask, &out, err, sizeof err);
    else if (source && usable(in.vars))
        rc = render(source, strlen(source), &in, &out, err, sizeof err);
    json_lit(&reply, "{");
    json_cstr(&reply, rc ? "error" : "text");
    json_lit(&reply, ":");
    json_str(&reply, rc ? err : out.data, rc ? strlen(err) : out.len);
    json_lit(&reply, "}");
    puts(reply.data);
    fflush(stdout);
    json_free(ask);
    buf_free(&reply);
    buf_free(&out);
}

static int render_lines(time_t now)
{
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) >= 0)
        answer(line, now);
    free(line);
    return 0;
}

int main(int argc, char **argv)
{
    time_t now = 0;
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "--now") == 0) {
        now = (time_t)strtoll(argv[2], NULL, 10);
        at = 3;
    }
    if (at < argc && strcmp(argv[at], "--help") == 0)
        return usage(stdout);
    if (at + 1 != argc)
        return usage(stderr);
    return strcmp(argv[at], "--batch") == 0 ? render_lines(now) : render_file(argv[at], now);
}
