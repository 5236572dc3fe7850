/*
 * The variables of a chat template, as Hugging Face's apply_chat_template passes them.
 */
#include "text/chat.h"

#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

struct chat_template {
    struct jinja *jinja;
};

int chat_template_create(struct chat_template **out, const char *source, char *err, size_t errlen)
{
    struct jinja *jinja;
    int rc = jinja_compile(&jinja, source, strlen(source), err, errlen);
    if (rc)
        return rc;
    *out = xmalloc(sizeof **out);
    (*out)->jinja = jinja;
    return 0;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    jinja_free(t->jinja);
    free(t);
}

static struct jv message_value(struct jinja_run *r, const struct chat_message *m)
{
    struct jv dict = jv_dict_new(r);
    jv_dict_set(r, dict, jv_cstr("role"), jv_cstr(m->role));
    jv_dict_set(r, dict, jv_cstr("content"), jv_cstr(m->content));
    return dict;
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
    struct jv_vec messages = {0};
    for (size_t i = 0; i < vars->n_messages; i++)
        jv_push(r, &messages, message_value(r, &vars->messages[i]));
    jinja_set(r, "messages", jv_list(&messages));
    jinja_set(r, "tools", jv_none());
    jinja_set(r, "documents", jv_none());
    jinja_set(r, "add_generation_prompt", jv_bool(vars->add_generation_prompt));
    set_token(r, "bos_token", vars->bos_token);
    set_token(r, "eos_token", vars->eos_token);
}

int chat_render(const struct chat_template *t, const struct chat_vars *vars, struct buf *out,
                char *err, size_t errlen)
{
    return jinja_render(t->jinja, fill, (void *)vars, out, err, errlen);
}
