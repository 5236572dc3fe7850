#include "jinja/chat_turns.h"

#include "specd/error.h"
#include "specd/json.h"

#include <stdlib.h>
#include <string.h>

#define ARGUMENT_VALUES_MAX 100000 /* of all calls of a request; further arguments stay text */
#define PAIRED_CALLS_MAX 128       /* of a message; one with more is left as it is */

struct maker {
    const struct chat_forms *forms;
    const struct chat_options *options;
    struct chat_turns *turns;
    size_t n_values; /* of arguments that were read */
    bool short_of_memory;
};

/* ---- memory */

static void *own(struct chat_turns *t, void *p)
{
    if (t->n_owned == t->cap_owned) {
        t->cap_owned = MAX(16, 2 * t->cap_owned);
        t->owned = xrealloc(t->owned, t->cap_owned * sizeof *t->owned);
    }
    return t->owned[t->n_owned++] = p;
}

static const char *own_text(struct chat_turns *t, struct buf *b)
{
    return own(t, b->data ? buf_take(b) : xstrdup(""));
}

static struct chat_turn *add_turn(struct chat_turns *t, struct chat_turn turn)
{
    if (t->n == t->cap) {
        t->cap = MAX(8, 2 * t->cap);
        t->items = xrealloc(t->items, t->cap * sizeof *t->items);
    }
    t->items[t->n] = turn;
    return &t->items[t->n++];
}

/* The turns so far, which the caller makes others of, and frees. */
static struct chat_turn *take_turns(struct maker *m, size_t *n)
{
    struct chat_turn *items = m->turns->items;
    *n = m->turns->n;
    m->turns->items = NULL;
    m->turns->n = m->turns->cap = 0;
    return items;
}

void chat_turns_free(struct chat_turns *t)
{
    for (size_t i = 0; i < t->n_owned; i++)
        free(t->owned[i]);
    for (size_t i = 0; i < t->n_docs; i++)
        json_free(t->docs[i]);
    free(t->owned);
    free(t->docs);
    free(t->items);
    *t = (struct chat_turns){0};
}

/* ---- ids: templates of Mistral's take 9 letters and digits alone */

static bool is_nine_letters(const char *id)
{
    size_t n = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return n == 9 && id[n] == '\0';
}

/* The same id always becomes the same one: without the prefix that servers put before their own
 * (call_, toolu_, fc_), or of a hash. */
static const char *nine_letters(struct chat_turns *t, const char *id)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *bare = strrchr(id, '_');
    bare = bare ? bare + 1 : id;
    if (is_nine_letters(bare))
        return bare;
    uint64_t hash = fnv1a(id, strlen(id));
    char *made = own(t, xcalloc(1, 10));
    for (int i = 0; i < 9; i++, hash /= sizeof letters - 1)
        made[i] = letters[hash % (sizeof letters - 1)];
    return made;
}

/* ---- what a message says */

static bool is_blank(const char *text)
{
    return !text || text[strspn(text, " \t\r\n")] == '\0';
}

static const char *string_of(const struct json *object, const char *key)
{
    return json_string(json_get(object, key));
}

/* Parts become one text where they have to, joined by line ends. */
static void read_content(struct maker *m, struct chat_turn *turn)
{
    const struct json *content = json_get(turn->message, "content");
    struct buf text = {0};
    turn->text = json_string(content);
    if (json_type(content) != JSON_ARRAY)
        return;
    bool plain = true;
    for (const struct json *part = json_first(content); part; part = json_next(part)) {
        const char *s = string_of(part, "text"), *refusal = string_of(part, "refusal");
        plain = plain && s;
        buf_puts(&text, s ? s : refusal ? refusal : "");
        buf_puts(&text, json_next(part) ? "\n" : "");
    }
    turn->text = own_text(m->turns, &text);
    turn->parts = plain && m->forms->parts[turn->role] ? content : NULL;
}

/* Arguments that come as text: what it says, where the template wants that and it is an object. */
static void read_arguments(struct maker *m, struct chat_call *call)
{
    struct json *object;
    char why[8];
    struct chat_turns *t = m->turns;
    if (m->forms->arguments_text)
        return;
    int rc = json_loads(&object, call->text, strlen(call->text), why, sizeof why);
    if (rc == SPECD_ENOMEM)
        m->short_of_memory = true;
    if (rc < 0)
        return;
    m->n_values += json_size(object);
    if (json_type(object) != JSON_OBJECT || m->n_values > ARGUMENT_VALUES_MAX) {
        json_free(object);
        return;
    }
    if (t->n_docs == t->cap_docs) {
        t->cap_docs = MAX(8, 2 * t->cap_docs);
        t->docs = xrealloc(t->docs, t->cap_docs * sizeof(struct json *));
    }
    call->object = t->docs[t->n_docs++] = object;
}

static void read_call(struct maker *m, const struct json *source, struct chat_call *call)
{
    const struct json *arguments = json_get(json_get(source, "function"), "arguments");
    *call = (struct chat_call){.source = source, .text = json_string(arguments)};
    if (json_type(arguments) == JSON_OBJECT)
        call->object = arguments;
    else if (!call->text || call->text[strspn(call->text, " \t\r\n")] == '\0')
        call->text = json_get(source, "function") ? "{}" : NULL;
    if (call->text && !call->object)
        read_arguments(m, call);
    call->id = string_of(source, "id");
    if (call->id && m->forms->nine_letters)
        call->id = nine_letters(m->turns, call->id);
}

static void read_calls(struct maker *m, struct chat_turn *turn)
{
    const struct json *calls = json_get(turn->message, "tool_calls");
    turn->n_calls = json_type(calls) == JSON_ARRAY ? json_count(calls) : 0;
    if (turn->n_calls == 0)
        return;
    turn->calls = own(m->turns, xcalloc(turn->n_calls, sizeof *turn->calls));
    struct chat_call *to = turn->calls;
    for (const struct json *v = json_first(calls); v; v = json_next(v))
        read_call(m, v, to++);
}

static enum chat_role role_of(const struct json *message)
{
    static const char *const names[] = {CHAT_ROLE_NAMES};
    const char *role = string_of(message, "role");
    for (size_t i = 0; i < COUNT_OF(names) && role; i++)
        if (strcmp(role, names[i]) == 0)
            return (enum chat_role)i;
    return CHAT_USER;
}

static void read_message(struct maker *m, const struct json *message, size_t at)
{
    static const char *const reasons[] = {"reasoning_content", "reasoning", "thinking"};
    struct chat_turn turn = {.message = message, .at = at, .role = role_of(message)};
    read_content(m, &turn);
    if (turn.role == CHAT_ASSISTANT)
        read_calls(m, &turn);
    for (size_t i = 0; i < COUNT_OF(reasons) && turn.role == CHAT_ASSISTANT && !turn.reasoning; i++)
        turn.reasoning = string_of(message, reasons[i]);
    if (turn.role == CHAT_TOOL) {
        turn.call_id = string_of(message, "tool_call_id");
        if (turn.call_id && m->forms->nine_letters)
            turn.call_id = nine_letters(m->turns, turn.call_id);
    }
    if (turn.n_calls > 0 && is_blank(turn.text)) {
        turn.text = NULL;
        turn.parts = NULL;
    }
    add_turn(m->turns, turn);
}

static const struct chat_call *called(const struct chat_turn *caller, const char *id)
{
    for (size_t i = 0; i < caller->n_calls; i++)
        if (caller->calls[i].id && strcmp(caller->calls[i].id, id) == 0)
            return &caller->calls[i];
    return NULL;
}

/* Results without an id are of the calls before them, one by one; and of each the name is known. */
static void link_results(struct maker *m)
{
    const struct chat_turn *caller = NULL;
    size_t next = 0;
    for (size_t i = 0; i < m->turns->n; i++) {
        struct chat_turn *turn = &m->turns->items[i];
        if (turn->n_calls > 0) {
            caller = turn;
            next = 0;
        }
        if (turn->role != CHAT_TOOL || !caller || caller->n_calls > PAIRED_CALLS_MAX)
            continue;
        if (!turn->call_id && next < caller->n_calls)
            turn->call_id = caller->calls[next].id;
        next++;
        const struct chat_call *call = turn->call_id ? called(caller, turn->call_id) : NULL;
        if (call && m->forms->named_results && !string_of(turn->message, "name"))
            turn->name = string_of(json_get(call->source, "function"), "name");
    }
}

/* ---- joining */

/* Of n turns; NULL: none has a text. */
static const char *join(struct maker *m, const struct chat_turn *turns, size_t n, const char *by)
{
    struct buf text = {0};
    if (n == 1)
        return turns->text;
    for (size_t i = 0; i < n; i++) {
        if (is_blank(turns[i].text))
            continue;
        buf_puts(&text, text.len > 0 ? by : "");
        buf_puts(&text, turns[i].text);
    }
    return text.len > 0 ? own_text(m->turns, &text) : NULL;
}

static struct chat_turn joined(struct maker *m, const struct chat_turn *turns, size_t n)
{
    struct chat_turn turn = turns[0];
    if (n > 1) {
        turn.text = join(m, turns, n, "\n\n");
        turn.parts = NULL;
    }
    return turn;
}

/* ---- system and developer */

static bool is_system(const struct chat_turn *turn)
{
    return turn->role == CHAT_SYSTEM || turn->role == CHAT_DEVELOPER;
}

/* What the template has a place for at the beginning. */
static void set_first_role(struct maker *m, struct chat_turn *turn)
{
    enum chat_role other = turn->role == CHAT_SYSTEM ? CHAT_DEVELOPER : CHAT_SYSTEM;
    if (chat_has_place(m->forms, turn->role))
        return;
    bool found = chat_has_place(m->forms, other);
    turn->role = found ? other : CHAT_USER;
    turn->message = found ? turn->message : NULL;
    turn->parts = turn->parts && m->forms->parts[turn->role] ? turn->parts : NULL;
}

static void set_later_role(struct maker *m, struct chat_turn *turn)
{
    const struct chat_forms *f = m->forms;
    if (turn->role == CHAT_DEVELOPER && f->later_developer && chat_has_place(f, CHAT_DEVELOPER))
        return;
    bool found = f->later_system && chat_has_place(f, CHAT_SYSTEM);
    turn->role = found ? CHAT_SYSTEM : CHAT_USER;
    turn->message = found ? turn->message : NULL;
    turn->parts = turn->parts && f->parts[turn->role] ? turn->parts : NULL;
}

/* May they stay apart? */
static bool are_taken(const struct chat_forms *f, const struct chat_turn *turns, size_t n)
{
    enum chat_role first = turns[0].role, last = turns[n - 1].role;
    size_t same = 1;
    while (same < n && turns[same].role == first)
        same++;
    if (same == n)
        return first == CHAT_USER || f->two_systems;
    return n == 2 && first == CHAT_SYSTEM && last == CHAT_DEVELOPER && f->system_developer;
}

/* Those before the first other turn; words, or NULL, come behind them. Returns how many. */
static size_t put_first(struct maker *m, struct chat_turn *turns, size_t n, const char *words)
{
    size_t n_first = 0;
    while (n_first < n && is_system(&turns[n_first]))
        set_first_role(m, &turns[n_first++]);
    bool apart = n_first == 0 || are_taken(m->forms, turns, n_first);
    if (words) {
        struct chat_turn more = {.role = CHAT_SYSTEM, .text = words};
        struct chat_turn both[] = {n_first ? turns[n_first - 1] : more, more};
        if (n_first == 0) {
            set_first_role(m, &more);
            add_turn(m->turns, more);
        } else {
            turns[n_first - 1] = joined(m, both, 2);
        }
    }
    if (n_first > 0 && !apart)
        add_turn(m->turns, joined(m, turns, n_first));
    for (size_t i = 0; i < n_first && apart; i++)
        add_turn(m->turns, turns[i]);
    return n_first;
}

static void move_turns(struct chat_turns *from, struct chat_turns *to)
{
    for (size_t i = 0; i < from->n; i++)
        add_turn(to, from->items[i]);
    from->n = 0;
}

/* What becomes a user's does not stand between calls and their results, but behind these. */
static void put_systems(struct maker *m, const char *words)
{
    size_t n;
    struct chat_turn *turns = take_turns(m, &n);
    struct chat_turns held = {0};
    bool calling = false;
    for (size_t i = put_first(m, turns, n, words); i < n; i++) {
        if (is_system(&turns[i])) {
            set_later_role(m, &turns[i]);
            if (calling && turns[i].role == CHAT_USER) {
                add_turn(&held, turns[i]);
                continue;
            }
        } else {
            calling = turns[i].role == CHAT_TOOL || turns[i].n_calls > 0;
        }
        if (turns[i].role != CHAT_TOOL)
            move_turns(&held, m->turns);
        add_turn(m->turns, turns[i]);
    }
    move_turns(&held, m->turns);
    free(held.items);
    free(turns);
}

/* ---- two of one role, one behind the other */

/* An assistant's texts, of which the last may also call. */
static void join_assistants(struct maker *m)
{
    size_t n, end;
    if (m->forms->two_assistants)
        return;
    struct chat_turn *turns = take_turns(m, &n);
    for (size_t i = 0; i < n; i = end) {
        end = i + 1;
        while (turns[i].role == CHAT_ASSISTANT && turns[end - 1].n_calls == 0 && end < n &&
               turns[end].role == CHAT_ASSISTANT)
            end++;
        struct chat_turn turn = joined(m, &turns[i], end - i);
        turn.calls = turns[end - 1].calls;
        turn.n_calls = turns[end - 1].n_calls;
        turn.message = turns[end - 1].message;
        if (!turn.reasoning)
            turn.reasoning = turns[end - 1].reasoning;
        add_turn(m->turns, turn);
    }
    free(turns);
}

static void join_users(struct maker *m)
{
    size_t n, end;
    const struct chat_forms *f = m->forms;
    if (f->two_users && (f->user_after_result || !f->calls))
        return;
    struct chat_turn *turns = take_turns(m, &n);
    for (size_t i = 0; i < n; i = end) {
        end = i + 1;
        bool takes = turns[i].role == CHAT_USER
                         ? !f->two_users
                         : turns[i].role == CHAT_TOOL && f->calls && !f->user_after_result;
        while (takes && end < n && turns[end].role == CHAT_USER)
            end++;
        add_turn(m->turns, joined(m, &turns[i], end - i));
    }
    free(turns);
}

/* ---- calls and results */

/* As words: an assistant's text and, of all results, a user's. */
static void put_told(struct maker *m, const struct chat_turn *caller,
                     const struct chat_turn *results, size_t n)
{
    struct buf text = {0};
    if (caller) {
        struct chat_turn turn = *caller;
        buf_puts(&text, is_blank(turn.text) ? "" : turn.text);
        tell_calls(turn.calls, turn.n_calls, &text);
        turn.text = own_text(m->turns, &text);
        turn.parts = NULL;
        turn.calls = NULL;
        turn.n_calls = 0;
        add_turn(m->turns, turn);
    }
    for (size_t i = 0; i < n; i++)
        tell_result(results[i].text ? results[i].text : "", &text);
    if (n > 0)
        add_turn(m->turns, (struct chat_turn){.at = results[0].at,
                                              .role = CHAT_USER,
                                              .text = own_text(m->turns, &text)});
}

/* Each call in a message of its own, its result behind it. */
static void put_pairs(struct maker *m, const struct chat_turn *caller,
                      const struct chat_turn *results, size_t n)
{
    bool *used = own(m->turns, xcalloc(MAX(n, 1), sizeof *used));
    struct chat_turn turn = *caller;
    turn.n_calls = 1;
    for (size_t i = 0; i < caller->n_calls; i++) {
        turn.calls = &caller->calls[i];
        add_turn(m->turns, turn);
        turn.text = turn.reasoning = NULL;
        turn.parts = NULL;
        for (size_t k = 0; k < n; k++) {
            const char *id = results[k].call_id;
            if (used[k] || !id || !turn.calls->id || strcmp(id, turn.calls->id) != 0)
                continue;
            add_turn(m->turns, results[k]);
            used[k] = true;
        }
    }
    for (size_t k = 0; k < n; k++)
        if (!used[k])
            add_turn(m->turns, results[k]);
}

static void put_called(struct maker *m, struct chat_turn caller, const struct chat_turn *results,
                       size_t n)
{
    const struct chat_forms *f = m->forms;
    if (caller.reasoning && !f->reasoning_beside_text && !is_blank(caller.text)) {
        struct chat_turn both[] = {{.text = caller.reasoning}, caller};
        caller.text = join(m, both, 2, "\n\n");
        caller.parts = NULL;
        caller.reasoning = NULL;
    }
    if (!is_blank(caller.text) && !f->text_beside_calls) {
        struct chat_turn before = caller;
        before.message = NULL;
        before.n_calls = 0;
        add_turn(m->turns, before);
        caller.text = caller.reasoning = NULL;
        caller.parts = NULL;
    }
    if (caller.n_calls > 1 && !f->many_calls && caller.n_calls <= PAIRED_CALLS_MAX) {
        put_pairs(m, &caller, results, n);
        return;
    }
    add_turn(m->turns, caller);
    for (size_t i = 0; i < n; i++)
        add_turn(m->turns, results[i]);
}

static void put_calls(struct maker *m)
{
    const struct chat_forms *f = m->forms;
    size_t n, end;
    struct chat_turn *turns = take_turns(m, &n);
    for (size_t i = 0; i < n; i = end) {
        bool calls = turns[i].n_calls > 0, is_result = turns[i].role == CHAT_TOOL;
        size_t from = i + !is_result;
        end = from;
        while ((calls || is_result) && end < n && turns[end].role == CHAT_TOOL)
            end++;
        bool told = m->turns->tools_told || !f->calls;
        if (calls && !is_blank(turns[i].text) && !f->text_beside_calls && !f->text_before_calls)
            told = true;
        if (!calls && !is_result)
            add_turn(m->turns, turns[i]);
        else if (told)
            put_told(m, calls ? &turns[i] : NULL, &turns[from], end - from);
        else if (calls)
            put_called(m, turns[i], &turns[from], end - from);
        else
            for (size_t k = from; k < end; k++)
                add_turn(m->turns, turns[k]);
    }
    free(turns);
}

int chat_turns_make(struct chat_turns *out, const struct chat_forms *f,
                    const struct chat_options *o)
{
    struct maker m = {.forms = f, .options = o, .turns = out};
    struct buf words = {0};
    size_t at = 0;
    *out = (struct chat_turns){.tools_told = json_first(o->tools) && !f->tools};
    for (const struct json *message = json_first(o->messages); message;
         message = json_next(message))
        read_message(&m, message, at++);
    link_results(&m);
    if (out->tools_told)
        tell_tools(o->tools, &words);
    put_systems(&m, words.len > 0 ? own_text(out, &words) : NULL);
    join_assistants(&m);
    put_calls(&m);
    join_users(&m);
    return m.short_of_memory ? SPECD_ENOMEM : 0;
}
