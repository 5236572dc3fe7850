/*
 * The variables of a chat template, as Hugging Face's apply_chat_template passes them.
 */
#include "jinja/chat.h"

#include "jinja/jinja.h"

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

/* Returns what follows v and all that belongs to it. */
static const struct chat_value *to_value(struct jinja_run *r, const struct chat_value *v,
                                         struct jv *out)
{
    const struct chat_value *at = v + 1;
    struct jv_vec items = {0};
    struct jv item;
    switch (v->kind) {
    case CHAT_NULL:
        *out = jv_none();
        break;
    case CHAT_BOOL:
        *out = jv_bool(v->b);
        break;
    case CHAT_INT:
        *out = jv_int(v->i);
        break;
    case CHAT_FLOAT:
        *out = jv_float(v->d);
        break;
    case CHAT_STRING:
        *out = jv_cstr(v->s);
        break;
    case CHAT_LIST:
        for (uint32_t i = 0; i < v->n; i++) {
            at = to_value(r, at, &item);
            jv_push(r, &items, item);
        }
        *out = jv_list(&items);
        break;
    case CHAT_DICT:
        *out = jv_dict_new(r);
        for (uint32_t i = 0; i < v->n; i++) {
            const char *key = at->key;
            at = to_value(r, at, &item);
            jv_dict_set(r, *out, jv_cstr(key), item);
        }
        break;
    }
    return at;
}

static struct jv message_value(struct jinja_run *r, const struct chat_message *m)
{
    struct jv dict = jv_dict_new(r), value;
    jv_dict_set(r, dict, jv_cstr("role"), jv_cstr(m->role));
    jv_dict_set(r, dict, jv_cstr("content"), m->content ? jv_cstr(m->content) : jv_none());
    const struct chat_value *at = m->members ? m->members + 1 : NULL;
    for (uint32_t i = 0; at && i < m->members->n; i++) {
        const char *key = at->key;
        at = to_value(r, at, &value);
        jv_dict_set(r, dict, jv_cstr(key), value);
    }
    return dict;
}

static void set_variables(struct jinja_run *r, const struct chat_value *dict)
{
    const struct chat_value *at = dict + 1;
    struct jv value;
    for (uint32_t i = 0; i < dict->n; i++) {
        const char *key = at->key;
        at = to_value(r, at, &value);
        jinja_set(r, key, value);
    }
}

/* A token that the model lacks stays undefined, as it does in transformers. */
static void set_token(struct jinja_run *r, const char *name, const char *text)
{
    if (text && *text)
        jinja_set(r, name, jv_cstr(text));
}

static void fill(struct jinja_run *r, void *arg)
{
    const struct chat_vars *vars = arg;
    const struct chat_options *o = &vars->options;
    struct jv_vec messages = {0};
    struct jv tools = jv_none();
    for (size_t i = 0; i < vars->n_messages; i++)
        jv_push(r, &messages, message_value(r, &vars->messages[i]));
    if (o->tools)
        to_value(r, o->tools, &tools);
    jinja_set(r, "documents", jv_none());
    if (o->kwargs)
        set_variables(r, o->kwargs);
    jinja_set(r, "messages", jv_list(&messages));
    jinja_set(r, "tools", tools);
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
                char *err, size_t errlen)
{
    size_t from = out->len;
    if (vars->options.tools && !t->takes_tools)
        return fail(SPECD_EINVAL, err, errlen,
                    "tools: this model's chat template has no place for them");
    int rc = jinja_render(t->jinja, fill, (void *)vars, out, err, errlen);
    if (rc < 0 || !vars->options.continue_final)
        return rc;
    rc = cut_after(vars->messages[vars->n_messages - 1].content, out, from, err, errlen);
    if (rc < 0)
        out->len = from;
    return rc;
}
