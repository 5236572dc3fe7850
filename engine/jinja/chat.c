/*
 * The variables of a chat template, as Hugging Face's apply_chat_template passes them.
 */
#include "jinja/chat.h"

#include "jinja/jinja.h"
#include "specd/json.h"

#include <stdlib.h>
#include <string.h>

#define CONTINUE_TAIL_MAX 4096 /* bytes that a template prints after the last message */

struct chat_template {
    struct jinja *jinja;
    bool takes_tools;
};

int chat_template_create(struct chat_template **out, const char *source, char *err, size_t errlen)
{
    struct jinja *jinja;
    int rc = jinja_compile(&jinja, source, strlen(source), err, errlen);
    if (rc)
        return rc;
    *out = xmalloc(sizeof **out);
    (*out)->jinja = jinja;
    (*out)->takes_tools = strstr(source, "tools") != NULL;
    return 0;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    jinja_free(t->jinja);
    free(t);
}

/* A message's content, where it is none: null beside calls, else an empty text. */
static struct jv content_value(const struct json *m)
{
    const char *text = json_string(json_get(m, "content"));
    if (!text && json_first(json_get(m, "tool_calls")))
        return jv_none();
    return jv_cstr(text ? text : "");
}

/* null says nothing, and templates take an empty list of calls for calls. */
static bool says_something(const struct json *v)
{
    return json_type(v) != JSON_NULL && (json_type(v) != JSON_ARRAY || json_first(v));
}

static struct jv message_value(struct jinja_run *r, const struct json *m)
{
    struct jv dict = jv_dict_new(r);
    /* One of a few words, as whoever took the messages has checked: templates make tokens of it. */
    jv_dict_set(r, dict, jv_cstr("role"), jv_own(jv_json(r, json_get(m, "role"))));
    jv_dict_set(r, dict, jv_cstr("content"), content_value(m));
    for (const struct json *v = json_first(m); v; v = json_next(v))
        if (says_something(v) && strcmp(json_key(v), "role") != 0 &&
            strcmp(json_key(v), "content") != 0)
            jv_dict_set(r, dict, jv_cstr(json_key(v)), jv_json(r, v));
    return dict;
}

/* A token that the model lacks stays undefined, as it does in transformers. */
static void set_token(struct jinja_run *r, const char *name, const char *text)
{
    if (text && *text)
        jinja_set(r, name, jv_own(jv_cstr(text)));
}

static void fill(struct jinja_run *r, void *arg)
{
    const struct chat_vars *vars = arg;
    const struct chat_options *o = &vars->options;
    struct jv_vec messages = {0};
    for (const struct json *m = json_first(o->messages); m; m = json_next(m))
        jv_push(r, &messages, message_value(r, m));
    jinja_set(r, "documents", jv_none());
    for (const struct json *v = json_first(o->kwargs); v; v = json_next(v))
        jinja_set(r, json_key(v), jv_json(r, v));
    jinja_set(r, "messages", jv_list(&messages));
    jinja_set(r, "tools", jv_json(r, o->tools));
    jinja_set(r, "add_generation_prompt", jv_bool(o->add_generation_prompt));
    set_token(r, "bos_token", vars->bos_token);
    set_token(r, "eos_token", vars->eos_token);
}

/* Of what may follow the word only so much is looked at, which bounds the work. */
static const char *last_match(const char *text, size_t len, const char *word, size_t n)
{
    for (size_t behind = 0; behind + n <= len && behind <= CONTINUE_TAIL_MAX; behind++)
        if (memcmp(text + len - n - behind, word, n) == 0)
            return text + len - n - behind;
    return NULL;
}

/* Cuts the prompt where the content of the last message ends, as transformers does: templates may
 * trim it, and what it ends with is kept if it was printed. */
static int cut_after(const char *content, struct buf *out, size_t from, char *err, size_t errlen)
{
    static const char blanks[] = " \t\r\n";
    const char *word = content ? content + strspn(content, blanks) : "";
    size_t whole = strlen(word), n = whole;
    while (n > 0 && strchr(blanks, word[n - 1]))
        n--;
    const char *at = n ? last_match(out->data + from, out->len - from, word, n) : NULL;
    if (!at)
        return fail(SPECD_EINVAL, err, errlen,
                    "continue_final_message: the chat template does not print the last message");
    size_t end = (size_t)(at - out->data);
    bool kept = out->len - end >= whole && memcmp(at, word, whole) == 0;
    out->len = end + (kept ? whole : n);
    out->data[out->len] = '\0';
    return 0;
}

int chat_render(const struct chat_template *t, const struct chat_vars *vars, struct buf *out,
                struct text_spans *client, char *err, size_t errlen)
{
    size_t from = out->len;
    if (vars->options.tools && !t->takes_tools)
        return fail(SPECD_EINVAL, err, errlen,
                    "tools: this model's chat template has no place for them");
    int rc = jinja_render(t->jinja, fill, (void *)vars, out, client, err, errlen);
    if (rc < 0 || !vars->options.continue_final)
        return rc;
    const struct json *last = json_first(vars->options.messages);
    while (json_next(last))
        last = json_next(last);
    rc = cut_after(json_string(json_get(last, "content")), out, from, err, errlen);
    if (rc < 0)
        out->len = from;
    if (client)
        text_spans_cut(client, out->len);
    return rc;
}
