/*
 * messages_read.c - the body of a request to Anthropic's Messages becomes that of a chat.
 *
 * Content comes in blocks there: text, calls of tools among an assistant's, their results among a
 * user's. Shapes and names are those of the API's reference, version 2023-06-01. Fields that mean
 * what they mean in a chat are left to the table of fields.
 */
#include "call.h"

#include "specd/json_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reader {
    struct json *doc, *messages; /* messages: of the chat */
    struct api_error *e;
    size_t *tool_at; /* of the call */
    bool ok;         /* false: memory ran short */
};

/* Reads a part of the body: 0, or the error. */
typedef int read_part(struct reader *r);

/* The way to a value, as the client's own library writes it: messages.2.content.0 */
struct place {
    const struct place *outer; /* NULL: the body */
    const char *list;
    long at; /* -1: the list itself */
};

static void put_place(const struct place *p, struct buf *out)
{
    if (p->outer) {
        put_place(p->outer, out);
        buf_puts(out, ".");
    }
    buf_puts(out, p->list);
    if (p->at >= 0)
        buf_printf(out, ".%ld", p->at);
}

PRINTF_LIKE(3, 4)
static int refuse(const struct reader *r, const struct place *p, const char *fmt, ...)
{
    struct buf where = {0};
    char what[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    put_place(p, &where);
    api_fail(r->e, SPECD_EINVAL, where.data, "%s%s", where.data, what);
    buf_free(&where);
    return SPECD_EINVAL;
}

static const struct json *member(const struct json *v, const char *key)
{
    return json_type(v) == JSON_OBJECT ? json_get(v, key) : NULL;
}

/* NULL: it is not there, or no string. */
static const char *text_of(const struct json *v, const char *key)
{
    return json_string(member(v, key));
}

static void set(struct reader *r, struct json *object, const char *key, struct json *v)
{
    r->ok &= json_set(object, key, v);
}

/* The member, which is there, goes from one object to another. */
static void move(struct reader *r, struct json *from, const char *key, struct json *to,
                 const char *to_key)
{
    set(r, to, to_key, json_detach(from, json_get(from, key)));
}

static void append(struct reader *r, struct json *list, struct json *v)
{
    r->ok &= json_append(list, v);
}

static struct json *new_message(struct reader *r, const char *role, struct json *content)
{
    struct json *m = json_new_object(r->doc);
    set(r, m, "role", json_new_string(r->doc, role));
    set(r, m, "content", content);
    return m;
}

/* ---- blocks of a content. What a message's blocks come to: */

struct turn {
    struct json *texts, *calls; /* calls: NULL when there are none */
    struct buf thinking;
};

typedef int take_block(struct reader *r, struct json *block, const struct place *p, struct turn *t);

static int take_text(struct reader *r, struct json *block, const struct place *p, struct turn *t)
{
    if (!text_of(block, "text"))
        return refuse(r, p, ".text: must be a string");
    append(r, t->texts, block);
    return 0;
}

/* An assistant's, of a turn before: whoever signed it. */
static int take_thinking(struct reader *r, struct json *block, const struct place *p,
                         struct turn *t)
{
    const char *text = text_of(block, "thinking");
    if (!text)
        return refuse(r, p, ".thinking: must be a string");
    buf_puts(&t->thinking, t->thinking.len > 0 ? "\n" : "");
    buf_puts(&t->thinking, text);
    return 0;
}

static int take_call(struct reader *r, struct json *block, const struct place *p, struct turn *t)
{
    const struct json *input = json_get(block, "input");
    if (!text_of(block, "id"))
        return refuse(r, p, ".id: must be a string");
    if (!text_of(block, "name"))
        return refuse(r, p, ".name: must be a string");
    if (is_given(input) && json_type(input) != JSON_OBJECT)
        return refuse(r, p, ".input: must be an object");
    struct json *call = json_new_object(r->doc), *function = json_new_object(r->doc);
    move(r, block, "id", call, "id");
    set(r, call, "type", json_new_string(r->doc, "function"));
    move(r, block, "name", function, "name");
    set(r, function, "arguments",
        is_given(input) ? json_detach(block, input) : json_new_object(r->doc));
    set(r, call, "function", function);
    if (!t->calls)
        t->calls = json_new_array(r->doc);
    append(r, t->calls, call);
    return 0;
}

static struct json *text_part(struct reader *r, struct json *text)
{
    struct json *part = json_new_object(r->doc);
    set(r, part, "type", json_new_string(r->doc, "text"));
    set(r, part, "text", text);
    return part;
}

static int read_content(struct reader *r, struct json *content, unsigned role, struct place p,
                        struct turn *t);

/* A message of its own, which comes before the text of the user's. That it is an error is said in
 * its text: chat templates know no other place. */
static int take_result(struct reader *r, struct json *block, const struct place *p, struct turn *t)
{
    struct turn inner = {0};
    const struct json *failed = json_get(block, "is_error");
    (void)t;
    if (!text_of(block, "tool_use_id"))
        return refuse(r, p, ".tool_use_id: must be a string");
    if (is_given(failed) && json_type(failed) != JSON_BOOL)
        return refuse(r, p, ".is_error: must be true or false");
    inner.texts = json_new_array(r->doc);
    if (json_bool(failed))
        append(r, inner.texts, text_part(r, json_new_string(r->doc, "Error:")));
    struct json *content = json_detach(block, json_get(block, "content"));
    const struct place list = {p, "content", -1};
    int rc = is_given(content) ? read_content(r, content, 0, list, &inner) : 0;
    struct json *m = new_message(r, "tool", inner.texts);
    move(r, block, "tool_use_id", m, "tool_call_id");
    append(r, r->messages, m);
    return rc;
}

enum role { ROLE_USER = 1, ROLE_ASSISTANT = 2, ROLE_SYSTEM = 4 };

/* roles 0: anywhere, in results of tools, too. take NULL: left out; nobody but its author can read
 * redacted thinking. */
static const struct block_kind {
    const char *type;
    unsigned roles;
    take_block *take;
} block_kinds[] = {
    {"text", 0, take_text},
    {"tool_use", ROLE_ASSISTANT, take_call},
    {"tool_result", ROLE_USER, take_result},
    {"thinking", ROLE_ASSISTANT, take_thinking},
    {"redacted_thinking", ROLE_ASSISTANT, NULL},
};

static int read_block(struct reader *r, struct json *block, unsigned role, const struct place *p,
                      struct turn *t)
{
    const char *type = text_of(block, "type");
    if (!type)
        return refuse(r, p, ".type: must be a string");
    for (const struct block_kind *k = block_kinds; k < block_kinds + COUNT_OF(block_kinds); k++)
        if (strcmp(k->type, type) == 0 && (k->roles == 0 || k->roles & role))
            return k->take ? k->take(r, block, p, t) : 0;
    return refuse(r, p, ".type: a block '%.40s' is not supported here", type);
}

/* A string, or a list of blocks; takes it apart. */
static int read_content(struct reader *r, struct json *content, unsigned role, struct place p,
                        struct turn *t)
{
    if (json_type(content) == JSON_STRING) {
        append(r, t->texts, text_part(r, content));
        return 0;
    }
    if (json_type(content) != JSON_ARRAY)
        return refuse(r, &p, ": must be a string or a list of blocks");
    int rc = 0;
    while (rc == 0 && json_first(content)) {
        p.at++;
        rc = read_block(r, json_detach(content, json_first(content)), role, &p, t);
    }
    return rc;
}

/* ---- messages */

static int read_message(struct reader *r, const struct json *m, const struct place *p)
{
    static const char *const names[] = {"user", "assistant", "system"};
    struct turn t = {.texts = json_new_array(r->doc)};
    const char *role = text_of(m, "role");
    size_t i = 0;
    while (i < COUNT_OF(names) && !(role && strcmp(role, names[i]) == 0))
        i++;
    if (i == COUNT_OF(names))
        return refuse(r, p, ".role: must be one of user, assistant and system");
    size_t before = json_count(r->messages);
    struct json *content = json_detach((struct json *)m, json_get(m, "content"));
    int rc = read_content(r, content, 1u << i, (struct place){p, "content", -1}, &t);
    bool results_only = json_count(r->messages) > before && !json_first(t.texts);
    if (rc == 0 && !results_only) {
        struct json *message = new_message(r, names[i], t.texts);
        if (t.calls)
            set(r, message, "tool_calls", t.calls);
        if (t.thinking.len > 0)
            set(r, message, "reasoning_content", json_new_string(r->doc, t.thinking.data));
        append(r, r->messages, message);
    }
    buf_free(&t.thinking);
    return rc;
}

static bool has_text(const struct json *parts)
{
    for (const struct json *part = json_first(parts); part; part = json_next(part)) {
        const char *text = json_string(json_get(part, "text"));
        if (text[strspn(text, " \t\r\n")] != '\0')
            return true;
    }
    return false;
}

/* The beginning of an answer, which it continues; one without text begins nothing. */
static void continue_last(struct reader *r)
{
    const struct json *last = NULL;
    for (const struct json *m = json_first(r->messages); m; m = json_next(m))
        last = m;
    const char *role = text_of(last, "role");
    if (!role || strcmp(role, "assistant") != 0 || json_get(last, "tool_calls"))
        return;
    if (has_text(json_get(last, "content")))
        set(r, r->doc, "continue_final_message", json_new_bool(r->doc, true));
    else
        json_detach(r->messages, last);
}

static int read_messages(struct reader *r)
{
    struct place p = {NULL, "messages", -1};
    struct json *list = json_detach(r->doc, json_get(r->doc, "messages"));
    if (json_type(list) != JSON_ARRAY || !json_first(list))
        return refuse(r, &p, ": must be a list of at least one message");
    int rc = 0;
    while (rc == 0 && json_first(list)) {
        p.at++;
        rc = read_message(r, json_detach(list, json_first(list)), &p);
    }
    if (rc == 0 && r->ok)
        continue_last(r);
    set(r, r->doc, "messages", r->messages);
    return rc;
}

/* ---- system */

/*
 * Claude Code's first block says who pays, with digits that change in each request:
 *   x-anthropic-billing-header: cc_version=2.1.4; cc_entrypoint=cli; cch=a1b2c;
 * Prompts that begin with it have no beginning in common, so none would be found in the cache.
 * Returns its length with the line's end, 0 where the text does not begin with that.
 */
static size_t billing_len(const char *text)
{
    static const char name[] = "x-anthropic-billing-header:";
    size_t at = sizeof name - 1, pairs = 0, n;
    if (strncmp(text, name, at) != 0)
        return 0;
    for (; text[at] == ' '; pairs++) {
        at++;
        n = strspn(text + at, "abcdefghijklmnopqrstuvwxyz_");
        if (n == 0 || text[at + n] != '=')
            break;
        at += n + 1;
        n = strcspn(text + at, "; \n");
        if (n == 0 || text[at + n] != ';')
            return 0;
        at += n + 1;
    }
    if (pairs == 0 || (text[at] != '\0' && text[at] != '\n'))
        return 0;
    return at + (text[at] == '\n');
}

static int read_system(struct reader *r)
{
    const struct place p = {NULL, "system", -1};
    struct json *system = json_detach(r->doc, json_get(r->doc, "system"));
    struct turn t = {.texts = json_new_array(r->doc)};
    if (!is_given(system))
        return 0;
    int rc = read_content(r, system, 0, p, &t);
    if (rc < 0 || !r->ok || !json_first(t.texts))
        return rc;
    const struct json *first = json_first(t.texts), *text = json_get(first, "text");
    size_t skip = billing_len(json_string(text));
    if (skip > 0 && json_string(text)[skip] == '\0')
        json_detach(t.texts, first);
    else if (skip > 0)
        r->ok &= json_replace_string(r->doc, text, json_string(text) + skip);
    if (json_first(t.texts))
        append(r, r->messages, new_message(r, "system", t.texts));
    return 0;
}

/* ---- tools */

/* Tools that run on Anthropic's side, or that its models know by heart, have a dated type and no
 * schema. */
static bool is_foreign(const struct json *tool)
{
    const char *type = text_of(tool, "type");
    return type && strcmp(type, "custom") != 0 && !is_given(member(tool, "input_schema"));
}

static int read_tool(struct reader *r, struct json *tool, const struct place *p, struct json *list)
{
    static const char *const same[] = {"name", "description", "strict"};
    struct json *to = json_new_object(r->doc), *function = json_new_object(r->doc);
    if (json_type(member(tool, "input_schema")) != JSON_OBJECT)
        return refuse(r, p, ".input_schema: must be an object");
    for (size_t i = 0; i < COUNT_OF(same); i++)
        if (is_given(json_get(tool, same[i])))
            move(r, tool, same[i], function, same[i]);
    move(r, tool, "input_schema", function, "parameters");
    set(r, to, "type", json_new_string(r->doc, "function"));
    set(r, to, "function", function);
    append(r, list, to);
    return !r->ok || is_tool(to)
               ? 0
               : refuse(r, p,
                        ": must have a name of 1..%d letters, digits, _, - or ., and may have a "
                        "description, a string, and strict, true or false",
                        CALL_TOOL_NAME_MAX);
}

static int read_tools(struct reader *r)
{
    struct place p = {NULL, "tools", -1};
    struct json *tools = json_detach(r->doc, json_get(r->doc, "tools"));
    struct json *list = json_new_array(r->doc);
    if (!is_given(tools))
        return 0;
    if (json_type(tools) != JSON_ARRAY)
        return refuse(r, &p, ": must be a list");
    size_t n = 0;
    int rc = 0;
    while (rc == 0 && json_first(tools)) {
        struct json *tool = json_detach(tools, json_first(tools));
        p.at++;
        if (is_foreign(tool)) {
            log_debug("tools.%ld: a tool of type '%.40s' is left out", p.at, text_of(tool, "type"));
            continue;
        }
        if (n < CALL_TOOLS_MAX)
            r->tool_at[n++] = (size_t)p.at;
        rc = read_tool(r, tool, &p, list);
    }
    set(r, r->doc, "tools", list);
    return rc;
}

static int read_tool_choice(struct reader *r)
{
    static const char types[] = "auto|any|none|tool";
    static const char *const words[] = {"auto", "required", "none"};
    const struct place p = {NULL, "tool_choice", -1};
    struct json *choice = json_detach(r->doc, json_get(r->doc, "tool_choice"));
    if (!is_given(choice))
        return 0;
    const char *type = text_of(choice, "type");
    int i = type ? enum_index(types, type) : -1;
    if (i < 0)
        return refuse(r, &p, ".type: must be one of %s", types);
    const struct json *one = json_get(choice, "disable_parallel_tool_use");
    if (is_given(one) && json_type(one) != JSON_BOOL)
        return refuse(r, &p, ".disable_parallel_tool_use: must be true or false");
    if (is_given(one))
        set(r, r->doc, "parallel_tool_calls", json_new_bool(r->doc, !json_bool(one)));
    if (i < (int)COUNT_OF(words)) {
        set(r, r->doc, "tool_choice", json_new_string(r->doc, words[i]));
        return 0;
    }
    if (!text_of(choice, "name"))
        return refuse(r, &p, ".name: must be a string");
    set(r, choice, "type", json_new_string(r->doc, "function"));
    set(r, r->doc, "tool_choice", choice);
    return 0;
}

/* ---- thinking */

static int read_thinking(struct reader *r)
{
    const struct place p = {NULL, "thinking", -1};
    const struct json *thinking = json_get(r->doc, "thinking");
    const char *type = text_of(thinking, "type");
    if (!is_given(thinking))
        return 0;
    if (!type)
        return refuse(r, &p, ".type: must be a string");
    const struct json *given = json_get(r->doc, "chat_template_kwargs");
    if (is_given(given) && json_type(given) != JSON_OBJECT)
        return 0; /* said when it is read */
    struct json *kwargs = json_detach(r->doc, given);
    if (!is_given(kwargs))
        kwargs = json_new_object(r->doc);
    if (kwargs && !json_get(kwargs, "enable_thinking"))
        set(r, kwargs, "enable_thinking", json_new_bool(r->doc, strcmp(type, "disabled") != 0));
    set(r, r->doc, "chat_template_kwargs", kwargs);
    return 0;
}

/* Where clients of 2025 put output_config's format. */
static int read_output_format(struct reader *r)
{
    const struct json *format = json_get(r->doc, "output_format");
    if (!is_given(format) || is_given(json_get(r->doc, "output_config")))
        return 0;
    struct json *config = json_new_object(r->doc);
    move(r, r->doc, "output_format", config, "format");
    set(r, r->doc, "output_config", config);
    return 0;
}

int messages_read(struct call *c, struct api_error *e)
{
    static read_part *const parts[] = {read_system,      read_messages, read_tools,
                                       read_tool_choice, read_thinking, read_output_format};
    struct reader r = {.doc = c->doc,
                       .messages = json_new_array(c->doc),
                       .e = e,
                       .tool_at = c->tool_at,
                       .ok = true};
    const char *model = text_of(c->doc, "model");
    json_cstr(&c->repeats, model ? model : c->info->model_id);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < COUNT_OF(parts); i++)
        rc = parts[i](&r);
    return rc < 0 || r.ok ? rc
                          : api_fail(e, SPECD_ENOMEM, NULL, "%s", specd_error_text(SPECD_ENOMEM));
}
