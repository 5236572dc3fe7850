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
 * answered by a line {"text": prompt} or {"error": reason}.
 */
#include "jinja/jinja.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    const cJSON *vars;
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

static struct jv to_value(struct jinja_run *r, const cJSON *j)
{
    if (cJSON_IsString(j))
        return jv_cstr(j->valuestring);
    if (cJSON_IsBool(j))
        return jv_bool(cJSON_IsTrue(j));
    if (cJSON_IsNumber(j)) {
        bool whole = fabs(j->valuedouble) < 9e15 && floor(j->valuedouble) == j->valuedouble;
        return whole ? jv_int((int64_t)j->valuedouble) : jv_float(j->valuedouble);
    }
    if (cJSON_IsArray(j)) {
        struct jv_vec items = {0};
        for (const cJSON *item = j->child; item; item = item->next)
            jv_push(r, &items, to_value(r, item));
        return jv_list(&items);
    }
    if (cJSON_IsObject(j)) {
        struct jv dict = jv_dict_new(r);
        for (const cJSON *item = j->child; item; item = item->next)
            jv_dict_set(r, dict, jv_cstr(item->string), to_value(r, item));
        return dict;
    }
    return jv_none();
}

static void fill(struct jinja_run *r, void *arg)
{
    const struct input *in = arg;
    if (in->now)
        jinja_set_time(r, in->now);
    if (cJSON_IsArray(in->vars))
        jinja_set(r, "messages", to_value(r, in->vars));
    else
        for (const cJSON *var = in->vars->child; var; var = var->next)
            jinja_set(r, var->string, to_value(r, var));
}

/* Appends the prompt to out, or an explanation to err. */
static int render(const char *source, size_t len, const struct input *in, struct buf *out,
                  char *err, size_t errlen)
{
    struct jinja *t;
    int rc = jinja_compile(&t, source, len, err, errlen);
    if (rc)
        return rc;
    rc = jinja_render(t, fill, (void *)in, out, err, errlen);
    jinja_free(t);
    return rc;
}

static bool usable(const cJSON *vars)
{
    return cJSON_IsObject(vars) || cJSON_IsArray(vars);
}

static int render_file(const char *path, time_t now)
{
    struct buf source = {0}, json = {0}, out = {0};
    char err[4200] = "the standard input is no JSON object or array";
    int rc = -1;
    cJSON *vars = NULL;
    if (!read_file(path, &source) || !read_all(stdin, &json)) {
        fprintf(stderr, "specd-template: can't read %s or the standard input\n", path);
        goto done;
    }
    vars = cJSON_ParseWithLengthOpts(json.data, json.len + 1, NULL, true);
    struct input in = {vars, now};
    if (usable(vars))
        rc = render(source.data, source.len, &in, &out, err, sizeof err);
    if (rc)
        fprintf(stderr, "%s\n", err);
    else
        fwrite(out.data, 1, out.len, stdout);
done:
    cJSON_Delete(vars);
    buf_free(&source);
    buf_free(&json);
    buf_free(&out);
    return rc ? 1 : 0;
}

static void answer(const char *line, time_t now)
{
    struct buf out = {0};
    char err[4200] = "not a line of template and variables";
    int rc = -1;
    cJSON *ask = cJSON_Parse(line), *reply = cJSON_CreateObject();
    const char *source = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(ask, "template"));
    struct input in = {cJSON_GetObjectItemCaseSensitive(ask, "variables"), now};
    if (source && usable(in.vars))
        rc = render(source, strlen(source), &in, &out, err, sizeof err);
    buf_reserve(&out, 0);
    out.data[out.len] = '\0';
    cJSON_AddStringToObject(reply, rc ? "error" : "text", rc ? err : out.data);
    char *text = cJSON_PrintUnformatted(reply);
    puts(text);
    fflush(stdout);
    free(text);
    cJSON_Delete(ask);
    cJSON_Delete(reply);
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
