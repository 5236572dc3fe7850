/*
 * The variables of a chat template, as Hugging Face's apply_chat_template passes them.
 */
#include "jinja/chat.h"

#include "jinja/chat_turns.h"
#include "jinja/run.h"
#include "jinja/value.h"
#include "specd/error.h"
#include "specd/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTINUE_TAIL_MAX 4096 /* bytes that a template prints after the last message */

struct chat_template {
    struct jinja *jinja;
    struct chat_forms forms;
    const struct think_tags *think; /* or NULL */
};

static const struct think_tags think_tags[] = {
    {"<think>", "</think>"},                                 /* most */
    {"[THINK]", "[/THINK]"},                                 /* Magistral */
    {"Here is my thought process:", "Here is my response:"}, /* granite 3.2 */
};

/* Templates spell one of the tags at least: in the prompt's end, or to take old thoughts out. */
static const struct think_tags *find_tags(const char *source)
{
    for (size_t i = 0; i < COUNT_OF(think_tags); i++)
        if (strstr(source, think_tags[i].open) || strstr(source, think_tags[i].close))
            return &think_tags[i];
    return NULL;
}

int chat_template_create(struct chat_template **out, const char *source, bool for_tools, char *err,
                         size_t errlen)
{
    struct jinja *jinja;
    int rc = jinja_compile(&jinja, source, strlen(source), err, errlen);
    if (rc)
        return rc;
    *out = xmalloc(sizeof **out);
    (*out)->jinja = jinja;
    (*out)->think = find_tags(source);
    chat_forms_find(jinja, for_tools, &(*out)->forms);
    return 0;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    jinja_free(t->jinja);
    free(t);
}

void chat_template_describe(const struct chat_template *t, struct buf *out)
{
    const struct chat_forms *f = &t->forms;
    const struct {
        bool said;
        const char *words;
    } rows[] = {
        {!f->tools, "no place for tools: they are told in the system text, and calls and results "
                    "as <tool_call> and <tool_response>"},
        {f->tools && !f->calls, "no place for calls: they are told as <tool_call>, and their "
                                "results as <tool_response>"},
        {!chat_has_place(f, CHAT_SYSTEM) && !chat_has_place(f, CHAT_DEVELOPER),
         "no system message: a user's instead"},
        {f->calls && !f->many_calls, "one call a message"},
        {f->calls && f->arguments_text && !f->arguments_object, "arguments of calls are text"},
        {f->nine_letters, "ids of calls have 9 letters"},
        {!f->text[CHAT_USER], "contents are lists of parts"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].said)
            buf_printf(out, "%s%s", out->len > 0 ? "; " : "", rows[i].words);
}

/* ---- values */

/* null says nothing, and templates take an empty list of calls for calls. */
static bool says_something(const struct json *v)
{
    return json_type(v) != JSON_NULL && (json_type(v) != JSON_ARRAY || json_first(v));
}

static void set(struct jinja_run *r, struct jv dict, const char *key, struct jv value)
{
    jv_dict_set(r, dict, jv_cstr(key), value);
}

static struct jv part_value(struct jinja_run *r, const char *text)
{
    struct jv_vec parts = {0};
    struct jv part = jv_dict_new(r);
    set(r, part, "type", jv_cstr("text"));
    set(r, part, "text", jv_cstr(text));
    jv_push(r, &parts, part);
    return jv_list(&parts);
}

static bool wants_part(const struct chat_forms *f, enum chat_role role)
{
    return !f->text[role] && chat_has_place(f, role);
}

static void set_content(struct jinja_run *r, const struct chat_forms *f, const struct chat_turn *t,
                        struct jv dict)
{
    const char *text = t->text ? t->text : "";
    bool empty = !t->text && t->n_calls > 0;
    if (t->parts)
        set(r, dict, "content", jv_json(r, t->parts));
    else if (empty && f->empty == CHAT_EMPTY_NONE)
        set(r, dict, "content", jv_none());
    else if (wants_part(f, t->role))
        set(r, dict, "content", part_value(r, text));
    else if (!empty || f->empty == CHAT_EMPTY_TEXT)
        set(r, dict, "content", jv_cstr(text));
}

/* The text that json.dumps would make of an object. */
static struct jv dumped(struct jinja_run *r, struct jv object)
{
    struct jv args[JINJA_PARAMS_MAX] = {0}; /* JV_MISSING */
    struct call c = {.self = object, .args = args};
    return jinja_tojson(r, &c);
}

static struct jv arguments_value(struct jinja_run *r, const struct chat_forms *f,
                                 const struct chat_call *c)
{
    if (!c->object)
        return strcmp(c->text, "{}") == 0 && !f->arguments_text ? jv_dict_new(r) : jv_cstr(c->text);
    struct jv object = jv_json(r, c->object);
    return f->arguments_object ? object : dumped(r, object);
}

static struct jv call_value(struct jinja_run *r, const struct chat_forms *f,
                            const struct chat_call *c)
{
    const struct json *function = json_get(c->source, "function");
    struct jv call = jv_json(r, c->source);
    if (call.kind != JV_DICT || json_type(function) != JSON_OBJECT)
        return call;
    struct jv inner = jv_json(r, function);
    if (c->name)
        set(r, inner, "name", jv_cstr(c->name));
    if (c->text || c->object)
        set(r, inner, "arguments", arguments_value(r, f, c));
    set(r, call, "function", inner);
    if (c->id)
        set(r, call, "id", jv_cstr(c->id));
    return call;
}

/* Members of a message that are made anew. */
static bool is_made(const char *key, const struct chat_forms *f)
{
    static const char *const made[] = {"role",     "content",   "tool_calls",
                                       "thinking", "reasoning", "reasoning_content"};
    for (size_t i = 0; i < COUNT_OF(made) - (f->reasoning ? 0 : 3); i++)
        if (strcmp(key, made[i]) == 0)
            return true;
    return false;
}

static struct jv turn_value(struct jinja_run *r, const struct chat_forms *f,
                            const struct chat_turn *t)
{
    static const char *const roles[] = {CHAT_ROLE_NAMES};
    struct jv dict = jv_dict_new(r);
    set(r, dict, "role", jv_own(jv_cstr(roles[t->role]))); /* of which templates make tokens */
    set_content(r, f, t, dict);
    for (const struct json *v = json_first(t->message); v; v = json_next(v))
        if (says_something(v) && !is_made(json_key(v), f))
            set(r, dict, json_key(v), jv_json(r, v));
    if (t->n_calls > 0) {
        struct jv_vec calls = {0};
        for (size_t i = 0; i < t->n_calls; i++)
            jv_push(r, &calls, call_value(r, f, &t->calls[i]));
        set(r, dict, "tool_calls", jv_list(&calls));
    }
    if (t->call_id)
        set(r, dict, "tool_call_id", jv_cstr(t->call_id));
    if (t->name)
        set(r, dict, "name", jv_cstr(t->name));
    if (t->reasoning && f->reasoning)
        set(r, dict, f->reasoning, jv_cstr(t->reasoning));
    return dict;
}

/* As it is. */
static struct jv message_value(struct jinja_run *r, const struct chat_forms *f,
                               const struct json *m)
{
    static const char *const roles[] = {CHAT_ROLE_NAMES};
    struct jv dict = jv_json(r, m);
    const char *text = json_string(json_get(m, "content")),
               *role = json_string(json_get(m, "role"));
    for (size_t i = 0; i < COUNT_OF(roles) && f && text && role; i++)
        if (strcmp(role, roles[i]) == 0 && wants_part(f, (enum chat_role)i))
            set(r, dict, "content", part_value(r, text));
    return dict;
}

/* Of a tool that a template without bare tools would fail at. */
static struct jv tool_value(struct jinja_run *r, const struct json *tool)
{
    const struct json *function = json_get(tool, "function");
    struct jv value = jv_json(r, tool);
    if (json_type(function) != JSON_OBJECT)
        return value;
    struct jv inner = jv_json(r, function);
    if (json_type(json_get(function, "description")) == JSON_NULL)
        set(r, inner, "description", jv_cstr(""));
    if (!json_first(json_get(function, "parameters"))) {
        struct jv parameters = jv_dict_new(r);
        set(r, parameters, "type", jv_cstr("object"));
        set(r, parameters, "properties", jv_dict_new(r));
        set(r, inner, "parameters", parameters);
    }
    set(r, value, "function", inner);
    return value;
}

static struct jv tools_value(struct jinja_run *r, const struct chat_forms *f,
                             const struct json *tools)
{
    struct jv_vec values = {0};
    if (f->bare_tools || json_type(tools) != JSON_ARRAY)
        return jv_json(r, tools);
    for (const struct json *v = json_first(tools); v; v = json_next(v))
        jv_push(r, &values, tool_value(r, v));
    return jv_list(&values);
}

/* ---- variables */

struct chat_input {
    const struct chat_vars *vars;
    const struct chat_forms *forms;
    const struct chat_turns *turns; /* NULL: the messages as they are */
};

/* A token that the model lacks stays undefined, as it does in transformers. */
static void set_token(struct jinja_run *r, const char *name, const char *text)
{
    if (text && *text)
        jinja_set(r, name, jv_own(jv_cstr(text)));
}

static void fill(struct jinja_run *r, void *arg)
{
    const struct chat_input *in = arg;
    const struct chat_options *o = &in->vars->options;
    struct jv_vec messages = {0};
    for (size_t i = 0; in->turns && i < in->turns->n; i++)
        jv_push(r, &messages, turn_value(r, in->forms, &in->turns->items[i]));
    for (const struct json *m = in->turns ? NULL : json_first(o->messages); m; m = json_next(m))
        jv_push(r, &messages, message_value(r, in->forms, m));
    jinja_set(r, "documents", jv_none());
    for (const struct json *v = json_first(o->kwargs); v; v = json_next(v))
        jinja_set(r, json_key(v), jv_json(r, v));
    jinja_set(r, "messages", jv_list(&messages));
    if (!in->turns)
        jinja_set(r, "tools", jv_json(r, o->tools));
    else
        jinja_set(r, "tools",
                  in->turns->tools_told ? jv_none() : tools_value(r, in->forms, o->tools));
    jinja_set(r, "add_generation_prompt", jv_bool(o->add_generation_prompt));
    set_token(r, "bos_token", in->vars->bos_token);
    set_token(r, "eos_token", in->vars->eos_token);
}

int chat_render_as_is(const struct jinja *t, const struct chat_forms *forms,
                      const struct chat_vars *vars, struct buf *out, char *err, size_t errlen)
{
    struct chat_input in = {.vars = vars, .forms = forms};
    return jinja_render(t, fill, &in, out, NULL, err, errlen);
}

/* ---- a prompt that ends within the last message */

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

/* ---- texts that the prompt lacks */

#define WRAPS_MAX 64 /* searches from the prompt's beginning: texts come in order in most */

/* What a prompt must hold of a turn: its text, but for reasoning in it, which templates drop once
 * it is old, and for blanks around it. */
static void visible(const struct chat_turn *t, const char **text, size_t *len)
{
    static const char end[] = "</think>";
    *text = t->text ? t->text : "";
    for (const char *at = *text; t->role == CHAT_ASSISTANT && (at = strstr(at, end));)
        *text = at += strlen(end);
    *len = strlen(*text);
    text_trim(text, len);
}

/* Where in the prompt, from *at on or, for a few, anywhere; *at moves behind it. */
struct finder {
    const char *prompt;
    size_t len, at;
    int wraps;
};

static bool find(struct finder *f, const char *text, size_t n)
{
    const char *hit = memmem(f->prompt + f->at, f->len - f->at, text, n);
    if (!hit && f->wraps++ < WRAPS_MAX)
        hit = memmem(f->prompt, f->len, text, n);
    if (hit)
        f->at = (size_t)(hit - f->prompt) + n;
    return hit;
}

static const char *name_of(const struct chat_call *call)
{
    const char *own = json_string(json_get(json_get(call->source, "function"), "name"));
    return call->name ? call->name : own ? own : "";
}

/* Are texts and names in the prompt as they came? That costs little more than one walk over it. */
static bool holds_all(const struct chat_turns *turns, const char *prompt, size_t len)
{
    const char *text;
    size_t n;
    struct finder f = {.prompt = prompt, .len = len};
    for (size_t i = 0; i < turns->n; i++) {
        const struct chat_turn *t = &turns->items[i];
        visible(t, &text, &n);
        if (n > 0 && !find(&f, text, n))
            return false;
        for (size_t k = 0; k < t->n_calls; k++)
            if (!find(&f, name_of(&t->calls[k]), strlen(name_of(&t->calls[k]))))
                return false;
    }
    return true;
}

struct marks { /* made-up texts: digits, which no filter changes, none within another */
    struct chat_turn *turns;
    struct chat_call *calls;
    char (*words)[24];
    size_t n_turns, n_calls, n_words;
};

static const char *mark(struct marks *m)
{
    char *word = m->words[m->n_words];
    snprintf(word, sizeof m->words[0], "7%010zu", m->n_words++);
    return word;
}

static void mark_turns(struct marks *m, const struct chat_turns *from)
{
    size_t n_calls = 0;
    for (size_t i = 0; i < from->n; i++)
        n_calls += from->items[i].n_calls;
    *m = (struct marks){.n_turns = from->n,
                        .turns = xcalloc(MAX(from->n, 1), sizeof *m->turns),
                        .calls = xcalloc(MAX(n_calls, 1), sizeof *m->calls),
                        .words = xcalloc(from->n + n_calls + 1, sizeof *m->words)};
    for (size_t i = 0; i < from->n; i++) {
        const char *text;
        size_t n;
        struct chat_turn *t = &m->turns[i];
        *t = from->items[i];
        visible(t, &text, &n);
        const char *word = mark(m);
        if (n > 0) {
            t->text = word;
            t->parts = NULL;
        }
        t->calls = m->calls + m->n_calls;
        for (size_t k = 0; k < t->n_calls; k++) {
            t->calls[k] = from->items[i].calls[k];
            t->calls[k].name = mark(m);
        }
        m->n_calls += t->n_calls;
    }
}

/* The first turn of which the prompt lacks a text or a call; NULL: none. */
static const struct chat_turn *lost_turn(const struct marks *m, const struct buf *prompt,
                                         bool *call)
{
    size_t word = 0;
    struct finder f = {.prompt = prompt->data, .len = prompt->len};
    for (size_t i = 0; i < m->n_turns; i++) {
        const struct chat_turn *t = &m->turns[i];
        bool found = t->text != m->words[word++] || find(&f, t->text, strlen(t->text));
        *call = found;
        for (size_t k = 0; k < t->n_calls && found; k++)
            found = find(&f, m->words[word + k], strlen(m->words[word + k]));
        word += t->n_calls;
        if (f.wraps > WRAPS_MAX) /* of a template that goes its own ways */
            return NULL;
        if (!found)
            return t;
    }
    return NULL;
}

/* A text that is not in the prompt as it came may have been changed. So the conversation is
 * rendered again with made-up texts: a message whose text is not there then has no place. */
static int check_lost(const struct chat_template *t, const struct chat_vars *vars,
                      const struct chat_turns *turns, char *err, size_t errlen)
{
    struct marks m;
    struct buf prompt = {0};
    char why[64];
    bool call = false;
    mark_turns(&m, turns);
    struct chat_turns marked = {.items = m.turns, .n = turns->n, .tools_told = turns->tools_told};
    struct chat_input in = {vars, &t->forms, &marked};
    const struct chat_turn *lost = NULL;
    buf_reserve(&prompt, 1);
    if (jinja_render(t->jinja, fill, &in, &prompt, NULL, why, sizeof why) == 0)
        lost = lost_turn(&m, &prompt, &call);
    int rc = !lost ? 0
                   : fail(SPECD_EINVAL, err, errlen,
                          "%s: the chat template has no place for the %s of 'messages[%zu]'",
                          vars->field, call ? "calls" : "text", lost->at);
    buf_free(&prompt);
    free(m.turns);
    free(m.calls);
    free(m.words);
    return rc;
}

static int render_turns(const struct chat_template *t, const struct chat_vars *vars,
                        const struct chat_turns *turns, struct buf *out, struct text_spans *client,
                        char *err, size_t errlen)
{
    size_t from = out->len;
    struct chat_input in = {vars, &t->forms, turns};
    int rc = jinja_render(t->jinja, fill, &in, out, client, err, errlen);
    if (rc == 0 && vars->options.continue_final)
        rc = cut_after(turns->n ? turns->items[turns->n - 1].text : NULL, out, from, err, errlen);
    buf_reserve(out, 0);
    if (rc == 0 && !holds_all(turns, out->data + from, out->len - from))
        rc = check_lost(t, vars, turns, err, errlen);
    if (rc < 0) {
        out->len = from;
        out->data[from] = '\0';
    }
    if (client)
        text_spans_cut(client, out->len);
    return rc;
}

int chat_render(const struct chat_template *t, const struct chat_vars *vars, struct buf *out,
                struct text_spans *client, char *err, size_t errlen)
{
    struct chat_turns turns;
    int rc = chat_turns_make(&turns, &t->forms, &vars->options);
    if (rc < 0)
        fail(rc, err, errlen, "%s", specd_error_text(rc));
    else
        rc = render_turns(t, vars, &turns, out, client, err, errlen);
    chat_turns_free(&turns);
    return rc;
}

/* ---- thoughts */

static bool ends_in_thought(const struct think_tags *tags, const char *text, size_t len)
{
    bool within = false;
    for (const char *end = text + len, *at;; within = !within) {
        const char *tag = within ? tags->close : tags->open;
        at = memmem(text, (size_t)(end - text), tag, strlen(tag));
        if (!at)
            return within;
        text = at + strlen(tag);
    }
}

/* The template's own tag, not one that a message ends with. */
static bool ends_with_tag(const char *tag, const struct buf *prompt,
                          const struct text_spans *client)
{
    const char *text = prompt->data;
    size_t len = prompt->len, n = strlen(tag);
    size_t last = client->n > 0 ? client->items[client->n - 1].end : 0;
    text_trim(&text, &len);
    if (len < n)
        return false;
    const char *at = text + len - n;
    return memcmp(at, tag, n) == 0 && (size_t)(at - prompt->data) >= last;
}

struct thinking chat_thinking(const struct chat_template *t, const struct chat_options *o,
                              const struct buf *prompt, const struct text_spans *client)
{
    struct thinking thinking = {.tags = t->think};
    if (!t->think)
        return thinking;
    if (!o->continue_final) {
        thinking.begun = ends_with_tag(t->think->open, prompt, client);
    } else { /* the prompt ends with the client's beginning of the answer */
        const struct text_span *last = client->n > 0 ? &client->items[client->n - 1] : NULL;
        thinking.begun =
            last && ends_in_thought(t->think, prompt->data + last->begin, last->end - last->begin);
        thinking.tags = thinking.begun ? t->think : NULL;
    }
    return thinking;
}
