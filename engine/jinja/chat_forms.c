#include "jinja/chat_forms.h"

#include "specd/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct trial {
    const struct jinja *template;
    const struct chat_forms *forms; /* as far as they are known */
    const char *tools;              /* of every conversation but those about tools; or NULL */
    struct buf text;                /* that the last one became */
    bool failed;                    /* it raised an error */
};

/* ---- what is rendered. JSON with ' for ", as in all conversations here. */

#define MESSAGE(role, content) "{'role':'" role "','content':" content "}"
#define SYSTEM MESSAGE("system", "'zqsystem'")
#define SYSTEM_2 MESSAGE("system", "'zqsecond'")
#define DEVELOPER MESSAGE("developer", "'zqfirst'")
#define DEVELOPER_2 MESSAGE("developer", "'zqsecond'")
#define USER MESSAGE("user", "'zquser'")
#define USER_2 MESSAGE("user", "'zqother'")
#define ASSISTANT MESSAGE("assistant", "'zqanswer'")
#define ASSISTANT_2 MESSAGE("assistant", "'zqfurther'")

#define TOOL(more) "[{'type':'function','function':{'name':'zqtool'" more "}}]"
#define TOOL_PARAMETERS                                                                            \
    ",'parameters':{'type':'object','properties':{'zqkey':{'type':'string','description':'zqp'}}," \
    "'required':['zqkey']}"
#define TOOLS TOOL(",'description':'zqabout'" TOOL_PARAMETERS)
#define NO_PARAMETERS ",'description':'','parameters':{'type':'object','properties':{}}"

/* Renders messages, a list. */
static void render(struct trial *t, const char *messages, const char *tools, bool prompt)
{
    struct buf text = {0};
    struct json *doc;
    char err[64];
    buf_printf(&text, "[%s,%s]", messages, tools ? tools : "null");
    for (char *c = text.data; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    buf_clear(&t->text);
    t->failed = true;
    if (json_parse(&doc, text.data, text.len, err, sizeof err) == 0) {
        const struct json *second = json_next(json_first(doc));
        struct chat_vars vars = {.options = {.messages = json_first(doc),
                                             .tools = tools ? second : NULL,
                                             .add_generation_prompt = prompt},
                                 .bos_token = "<s>",
                                 .eos_token = "</s>"};
        t->failed = chat_render_as_is(t->template, t->forms, &vars, &t->text, err, sizeof err) < 0;
        json_free(doc);
    }
    buf_reserve(&t->text, 0);
    t->text.data[t->text.len] = '\0';
    buf_free(&text);
}

static bool shows(const struct trial *t, const char *word)
{
    return !t->failed && strstr(t->text.data, word);
}

/* words: separated by blanks */
static bool shows_all(const struct trial *t, const char *words)
{
    char word[32];
    bool all = !t->failed;
    for (size_t n; *words && all; words += n + (words[n] == ' ')) {
        n = strcspn(words, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, words);
        all = shows(t, word);
    }
    return all;
}

static bool takes(struct trial *t, const char *messages, const char *words)
{
    render(t, messages, t->tools, true);
    return shows_all(t, words);
}

static int count(const struct trial *t, const char *word)
{
    int n = 0;
    for (const char *at = t->text.data; (at = strstr(at, word)); at += strlen(word))
        n++;
    return n;
}

/* ---- roles */

static bool shows_list(const struct trial *t)
{
    return shows(t, "'text'") || shows(t, "\"text\"") || shows(t, "\\\"text");
}

/* Parts have a place where their texts are printed, not the list. */
static void try_role(struct trial *t, struct chat_forms *f, enum chat_role role, const char *before,
                     const char *behind)
{
    static const char one[] = "{'type':'text','text':'zqone'}",
                      two[] = "{'type':'text','text':'zqtwo'}";
    struct buf messages = {0};
    buf_printf(&messages, "%s'zqone'%s", before, behind);
    bool text = takes(t, messages.data, "zqone");
    buf_clear(&messages);
    buf_printf(&messages, "%s[%s]%s", before, one, behind);
    bool part = takes(t, messages.data, "zqone") && !shows_list(t);
    buf_clear(&messages);
    buf_printf(&messages, "%s[%s,%s]%s", before, one, two, behind);
    f->parts[role] = takes(t, messages.data, "zqone zqtwo") && !shows_list(t);
    f->text[role] = text;
    f->part[role] = part;
    buf_free(&messages);
}

static void render_named(struct trial *t, const char *role, const char *content)
{
    struct buf messages = {0};
    buf_printf(&messages, "[{'role':'%s','content':%s}," USER "]", role, content);
    render(t, messages.data, t->tools, true);
    buf_free(&messages);
}

/* A template that prints any role's name has no branch for this one. */
static bool is_mere_name(struct trial *t, bool text)
{
    struct buf other = {0};
    static const char made_up[] = "zqrole", name[] = "developer";
    static const char part[] = "[{'type':'text','text':'zqone'}]";
    render_named(t, name, text ? "'zqone'" : part);
    char *first = xstrndup(t->text.data, t->text.len);
    render_named(t, made_up, text ? "'zqone'" : part);
    for (const char *from = t->text.data, *at; !t->failed; from = at + strlen(made_up)) {
        at = strstr(from, made_up);
        buf_add(&other, from, at ? (size_t)(at - from) : strlen(from));
        if (!at)
            break;
        buf_puts(&other, name);
    }
    bool same = !t->failed && other.data && strcmp(other.data, first) == 0;
    buf_free(&other);
    free(first);
    return same;
}

static void try_systems(struct trial *t, struct chat_forms *f)
{
    static const char first[] = "zqsystem zqsecond zquser", later[] = "zqsystem zqsecond zqother";
    f->two_systems = takes(t, "[" SYSTEM "," SYSTEM_2 "," USER "]", first);
    f->system_developer = takes(t, "[" SYSTEM "," DEVELOPER_2 "," USER "]", first);
    f->later_system =
        takes(t, "[" SYSTEM "," USER "," ASSISTANT "," SYSTEM_2 "," USER_2 "]", later);
    f->later_developer =
        takes(t, "[" SYSTEM "," USER "," ASSISTANT "," DEVELOPER_2 "," USER_2 "]", later);
}

static void try_developers(struct trial *t, struct chat_forms *f)
{
    f->two_systems = takes(t, "[" DEVELOPER "," DEVELOPER_2 "," USER "]", "zqfirst zqsecond");
    f->later_developer =
        takes(t, "[" USER "," ASSISTANT "," DEVELOPER_2 "," USER_2 "]", "zquser zqsecond zqother");
}

static void try_roles(struct trial *t, struct chat_forms *f)
{
    try_role(t, f, CHAT_USER, "[{'role':'user','content':", "}]");
    try_role(t, f, CHAT_ASSISTANT, "[" USER ",{'role':'assistant','content':", "}," USER_2 "]");
    try_role(t, f, CHAT_SYSTEM, "[{'role':'system','content':", "}," USER "]");
    try_role(t, f, CHAT_DEVELOPER, "[{'role':'developer','content':", "}," USER "]");
    bool text = f->text[CHAT_DEVELOPER], parts = f->parts[CHAT_DEVELOPER];
    bool part = f->part[CHAT_DEVELOPER];
    f->text[CHAT_DEVELOPER] = f->parts[CHAT_DEVELOPER] = f->part[CHAT_DEVELOPER] = false;
    if ((text || parts || part) && !is_mere_name(t, text)) {
        f->text[CHAT_DEVELOPER] = text;
        f->parts[CHAT_DEVELOPER] = parts;
        f->part[CHAT_DEVELOPER] = part;
    }
    if (chat_has_place(f, CHAT_SYSTEM))
        try_systems(t, f);
    else if (chat_has_place(f, CHAT_DEVELOPER))
        try_developers(t, f);
    f->two_users = takes(t, "[" USER "," USER_2 "]", "zquser zqother");
    f->two_assistants = takes(t, "[" USER "," ASSISTANT "," ASSISTANT_2 "," USER_2 "]",
                              "zqanswer zqfurther zqother");
}

/* ---- tools and calls */

static bool takes_tools(struct trial *t, const char *tools, const char *words)
{
    render(t, "[" USER "]", tools, true);
    return shows_all(t, words);
}

#define LONG_ID "call_zq1"
#define NINE_ID "zqabcdef1"

/* A conversation with one call. */
struct call_form {
    const char *content; /* with its comma, or "" */
    const char *arguments, *id, *more, *name;
};

static void put_call(struct buf *out, const char *id, const char *name, const char *arguments)
{
    buf_printf(out, "{'id':'%s','type':'function','function':{'name':'%s','arguments':%s}}", id,
               name, arguments);
}

static void put_result(struct buf *out, const char *id, const char *content, const char *name)
{
    buf_printf(out, "{'role':'tool','tool_call_id':'%s'%s,'content':'%s'}", id, name, content);
}

static void put_caller(struct buf *out, const struct call_form *c)
{
    buf_printf(out, "{'role':'assistant',%s%s'tool_calls':[", c->content, c->more);
    put_call(out, c->id, "zqtool", c->arguments);
}

static void render_call(struct trial *t, const struct call_form *c, const char *before,
                        const char *behind)
{
    struct buf text = {0};
    buf_printf(&text, "[" USER ",%s", before);
    put_caller(&text, c);
    buf_puts(&text, "]},");
    put_result(&text, c->id, "zqresult", c->name);
    buf_printf(&text, "%s]", behind);
    render(t, text.data, t->tools, true);
    buf_free(&text);
}

#define ARGUMENTS_OBJECT "{'zqkey':'zqvalue'}"
#define ARGUMENTS_TEXT "'{\\'zqkey\\': \\'zqvalue\\'}'"

/* As JSON or in the template's own way, but not as Python would print the object, nor escaped. */
static bool shows_call(struct trial *t, bool text)
{
    if (!shows_all(t, "zqtool zqkey zqvalue zqresult"))
        return false;
    return text ? shows(t, "\"zqkey\": \"zqvalue\"") : !shows(t, "'zqkey': 'zqvalue'");
}

/* None and nothing may be printed as such. */
static bool is_clean(struct trial *t, int nones)
{
    return count(t, "None") <= nones;
}

static bool try_call(struct trial *t, struct chat_forms *f, struct call_form *c, int nones)
{
    static const char *const empty[] = {"'content':null,", "'content':'',", ""};
    for (int i = 0; i < 3; i++) {
        c->content = empty[i];
        c->arguments = ARGUMENTS_TEXT;
        render_call(t, c, "", "");
        f->arguments_text = shows_call(t, true) && is_clean(t, nones);
        c->arguments = ARGUMENTS_OBJECT;
        render_call(t, c, "", "");
        f->arguments_object = shows_call(t, false) && is_clean(t, nones);
        f->empty = (enum chat_empty)i;
        if (f->arguments_text)
            c->arguments = ARGUMENTS_TEXT;
        if (f->arguments_text || f->arguments_object)
            return true;
    }
    return false;
}

/* The first form that the template takes; false: none. */
static bool find_call(struct trial *t, struct chat_forms *f, struct call_form *c)
{
    render(t, "[" USER "]", t->tools, true);
    int nones = t->failed ? 0 : count(t, "None");
    for (int i = 0; i < 4; i++) {
        f->nine_letters = i & 1;
        f->named_results = i & 2;
        c->id = f->nine_letters ? NINE_ID : LONG_ID;
        c->name = f->named_results ? ",'name':'zqtool'" : "";
        if (try_call(t, f, c, nones))
            return true;
    }
    f->nine_letters = f->named_results = false;
    return false;
}

static void try_many_calls(struct trial *t, struct chat_forms *f, const struct call_form *c)
{
    const char *second = f->nine_letters ? "zqabcdef2" : "call_zq2";
    struct buf text = {0};
    buf_puts(&text, "[" USER ",");
    put_caller(&text, c);
    buf_puts(&text, ",");
    put_call(&text, second, "zqnext", c->arguments);
    buf_puts(&text, "]},");
    put_result(&text, c->id, "zqresult", c->name);
    buf_puts(&text, ",");
    put_result(&text, second, "zqending", f->named_results ? ",'name':'zqnext'" : "");
    buf_puts(&text, "," ASSISTANT "," USER_2 "]");
    f->many_calls = takes(t, text.data, "zqnext zqresult zqending zqanswer");
    buf_free(&text);
}

static void try_results(struct trial *t, struct chat_forms *f, const struct call_form *c)
{
    struct buf text = {0};
    buf_puts(&text, "[" USER ",");
    put_caller(&text, c);
    buf_printf(&text, "]},{'role':'tool','tool_call_id':'%s'%s,'content':", c->id, c->name);
    try_role(t, f, CHAT_TOOL, text.data, "}]");
    buf_free(&text);
}

static void try_calls(struct trial *t, struct chat_forms *f)
{
    struct call_form c = {.more = ""};
    f->calls = find_call(t, f, &c);
    if (!f->calls)
        return;
    try_results(t, f, &c);
    try_many_calls(t, f, &c);
    render_call(t, &c, "", "," USER_2);
    f->user_after_result = shows_all(t, "zqresult zqother");
    render_call(t, &c, ASSISTANT ",", "," ASSISTANT_2 "," USER_2);
    f->text_before_calls = shows_all(t, "zqanswer zqtool zqfurther");
    c.content = "'content':'zqbeside',";
    render_call(t, &c, "", "," ASSISTANT "," USER_2);
    f->text_beside_calls = shows_all(t, "zqbeside zqvalue");
}

/* ---- reasoning */

static void try_reasoning(struct trial *t, struct chat_forms *f)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    struct call_form c = {.content = f->empty == CHAT_EMPTY_TEXT ? "'content':''," : "",
                          .arguments = f->arguments_text ? ARGUMENTS_TEXT : ARGUMENTS_OBJECT,
                          .id = f->nine_letters ? NINE_ID : LONG_ID,
                          .name = f->named_results ? ",'name':'zqtool'" : ""};
    char more[64], messages[192];
    if (f->empty == CHAT_EMPTY_NONE)
        c.content = "'content':null,";
    for (size_t i = 0; i < COUNT_OF(names) && !f->reasoning; i++) {
        snprintf(more, sizeof more, "'%s':'zqreason',", names[i]);
        snprintf(messages, sizeof messages,
                 "[" USER ",{'role':'assistant',%s'content':'zqanswer'}]", more);
        render(t, messages, t->tools, false);
        bool found = shows(t, "zqreason");
        c.more = more;
        if (f->calls && !found) {
            render_call(t, &c, "", "");
            found = shows(t, "zqreason");
        }
        if (found)
            f->reasoning = names[i];
    }
    if (!f->calls || !f->reasoning)
        return;
    c.content = "'content':'zqbeside',";
    render_call(t, &c, "", "");
    f->reasoning_beside_text = !t->failed;
}

static const struct chat_forms as_it_comes = {
    .text = {true, true, true, true, true},
    .two_systems = true,
    .later_system = true,
    .later_developer = true,
    .two_users = true,
    .two_assistants = true,
    .user_after_result = true,
    .tools = true,
    .bare_tools = true,
    .calls = true,
    .arguments_object = true,
    .many_calls = true,
    .text_beside_calls = true,
    .reasoning_beside_text = true,
};

void chat_forms_find(const struct jinja *template, bool with_tools, struct chat_forms *out)
{
    struct trial t = {.template = template, .forms = out, .tools = with_tools ? TOOLS : NULL};
    *out = (struct chat_forms){.reasoning_beside_text = true};
    try_roles(&t, out);
    if (!chat_has_place(out, CHAT_USER)) { /* it wants what only a request has */
        *out = as_it_comes;
        buf_free(&t.text);
        return;
    }
    out->tools = takes_tools(&t, TOOLS, "zqtool zqabout");
    out->bare_tools =
        takes_tools(&t, TOOL(""), "zqtool") || !takes_tools(&t, TOOL(NO_PARAMETERS), "zqtool");
    if (out->tools) /* a call is then of one of them */
        t.tools = TOOLS;
    try_calls(&t, out);
    try_reasoning(&t, out);
    buf_free(&t.text);
}
