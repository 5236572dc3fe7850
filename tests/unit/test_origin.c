/*
 * Whose the bytes of a prompt are: through everything that a template can do with text, a client's
 * stay a client's and the template's own stay its own.
 *
 * links: specd_jinja specd_json specd_base
 */
#include "jinja/chat.h"
#include "rnd.h"
#include "specd/error.h"
#include "specd/json.h"
#include "specd/json_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct json *read_json(const char *text, size_t len)
{
    struct json *doc;
    char err[128];
    if (json_loads(&doc, text, len, err, sizeof err) < 0)
        fail_msg("%s: %s", text, err);
    return doc;
}

/* The client's parts of the prompt stand in angle quotes. */
static struct buf marked(const char *source, const struct chat_vars *vars)
{
    struct chat_template *t;
    struct buf text = {0}, out = {0};
    struct text_spans client = {0};
    char err[600];
    buf_puts(&text, "before");
    if (chat_template_create(&t, source, false, err, sizeof err) != 0 ||
        chat_render(t, vars, &text, &client, err, sizeof err) != 0)
        fail_msg("%s\n%s", source, err);
    size_t at = 6;
    for (size_t i = 0; i < client.n; i++) {
        struct text_span s = client.items[i];
        assert_true(s.begin >= at + (i > 0) && s.begin < s.end && s.end <= text.len);
        buf_add(&out, text.data + at, s.begin - at);
        buf_puts(&out, "\xc2\xab");
        buf_add(&out, text.data + s.begin, s.end - s.begin);
        buf_puts(&out, "\xc2\xbb");
        at = s.end;
    }
    buf_add(&out, text.data + at, text.len - at);
    chat_template_free(t);
    text_spans_free(&client);
    buf_free(&text);
    return out;
}

static void expect(const char *source, const struct chat_vars *vars, const char *expected)
{
    struct buf got = marked(source, vars);
    if (strcmp(got.data, expected) != 0)
        fail_msg("%s\nprinted  %s\nexpected %s", source, got.data, expected);
    buf_free(&got);
}

#define CONTENT "c" /* one<|end|>two */
#define MIXED "('<' ~ " CONTENT " ~ '>')"

static const char *const cases[][2] = {
    {"<s>{{ " CONTENT " }}</s>", "<s>«one<|end|>two»</s>"},
    {"{{ '<|' + messages[0].role + '|>' }}", "<|user|>"},
    {"{{ bos_token }}{{ eos_token ~ s }}", "<s></s>«Ab»"},
    {"{{ '<' + " CONTENT " + '>' + s + '.' }}", "<«one<|end|>two»>«Ab»."},
    {"{{ " CONTENT " + '<' }}|{{ " CONTENT " + s }}", "«one<|end|>two»<|«one<|end|>twoAb»"},
    /* parts of strings */
    {"{{ " MIXED "[1:4] }}{{ " MIXED "[0] }}{{ " MIXED "[-1] }}{{ " MIXED "[1] }}", "«one»<>«o»"},
    {"{{ " MIXED "[::-1] }}", ">«owt>|dne|<eno»<"},
    {"{{ " MIXED "|first }}{{ " MIXED "|last }}{{ " MIXED "|reverse }}", "<>>«owt>|dne|<eno»<"},
    {"{% for c in '<' ~ s %}{{ c }}.{% endfor %}", "<.«A».«b»."},
    {"{% for c in ('<' ~ s)|list %}{{ c }}{% endfor %}", "<«Ab»"},
    {"{{ " MIXED ".split('<') }}", "«['', 'one', '|end|>two»>«']»"},
    {"{{ " MIXED ".split('|')|join('|') }}", "<«one<»|«end»|«>two»>"},
    {"{{ " CONTENT ".partition('<|end|>')[1] }}", "<|end|>"},
    {"{{ " CONTENT ".split('|end|')|join }}", "«one<>two»"},
    {"{{ (' <' ~ blank ~ '> ')|trim }}|{{ blank|trim }}|{{ blank.strip(' x') }}", "<« x »>|«x»|"},
    {"{{ " MIXED ".removeprefix('<one') }}{{ " MIXED ".removesuffix('>') }}",
     "«<|end|>two»><«one<|end|>two»"},
    {"{% for x in ('a' ~ lines).splitlines() %}{{ x }};{% endfor %}", "a«l1»;«l2»;"},
    /* what makes new text */
    {"{{ " CONTENT "|replace('one', '<') }}{{ 'x-y'|replace('-', s) }}", "<«<|end|>two»x«Ab»y"},
    {"{{ " CONTENT ".replace('|end|', '') }}{{ s.replace('', '.') }}", "«one<>two».«A».«b»."},
    {"{{ " CONTENT ".replace('no', 'x') }}", "«one<|end|>two»"},
    {"{{ ('<' ~ s ~ 'e')|upper }}{{ ('<' ~ s ~ 'E').lower() }}{{ ('x' ~ s)|title }}",
     "<«AB»E<«ab»eX«ab»"},
    {"{{ (s ~ ' end')|capitalize }}{{ ('x' ~ s).swapcase() }}", "«Ab» endX«aB»"},
    {"{{ [s, '<', s]|join('-') }}{{ '-'.join([s, 'x']) }}", "«Ab»-<-«AbAb»-x"},
    {"{{ ['<', s]|sum(start='') }}{{ s * 2 }}{{ '<' * 3 }}{{ ('<' ~ s) * 2 }}",
     "<«AbAbAb»<<<<«Ab»<«Ab»"},
    {"{{ '%s|%5s|%-4s.' % (s, '<', s) }}", "«Ab»|«    »<|«Ab  »."},
    {"{{ '<%s>' % s }}{{ s % () }}{{ '<{}{x}>'.format('a', x=s) }}{{ '{:>4}'.format(s) }}",
     "<«Ab»>«Ab»<a«Ab»>«  Ab»"},
    {"{{ '{{' ~ s }}{{ '{{}}{0}'.format(s) }}", "{{«Ab»{}«Ab»"},
    {"{{ ('<\n' ~ lines)|indent(2) }}", "<«\n  l1\n  l2»"},
    {"{{ s|center(6) }}{{ s.ljust(4, '<') }}{{ '7'.zfill(2) }}", "«  Ab  Ab»<<«0»7"},
    /* values as text */
    {"{{ tool|tojson }}", "«{\"name\": \"<|x|>\", \"n\": 5, \"t\": true}»"},
    {"{{ {'a<': s}|tojson }}", "«{\"»a<«\": \"Ab\"}»"},
    {"{{ '<\"' ~ quote|string }}{{ ('<\"' ~ quote)|tojson }}", "<\"«\"\"»<\\\"«\\\"\"»"},
    {"{{ ('<' ~ quote)|e }}{{ '<'|e ~ s }}", "&lt;«&#34;»&lt;«Ab»"},
    {"{{ s|tojson(ensure_ascii=true) }}{{ accent|tojson(ensure_ascii=true) }}",
     "«\"Ab\"\"\\u00e9<|\"»"},
    {"{{ [s, '<'] }}{{ [s]|string }}{{ ('x', '\\n') }}", "«['Ab', '»<«']['Ab']('»x«', '»\\n«')»"},
    {"<|{{ 5 }}|><|{{ loop_n }}|>{{ true }}{{ none }}{{ 2.5 ~ '' }}{{ loop_n + 1 }}",
     "<|5|><|«7»|>TrueNone2.58"},
    {"{{ '<|%d|>' % 3 }}{{ '{:02d}'.format(3) }}", "<|3|>«0»3"},
    /* places where text is kept */
    {"{% set x = '<' ~ s %}{{ x }}{% set ns = namespace(t='') %}{% for i in [1, 2] %}"
     "{% set ns.t = ns.t + '<' + s %}{% endfor %}{{ ns.t }}",
     "<«Ab»<«Ab»<«Ab»"},
    {"{% set x %}<{{ s }}>{% endset %}{{ x }}{{ x[1:] }}", "<«Ab»>«Ab»>"},
    {"{% set x | upper %}<a{{ s }}>{% endset %}{{ x }}", "<A«AB»>"},
    {"{% macro m(a) %}<{{ a }}>{{ caller() }}{% endmacro %}"
     "{% call m(s) %}({{ s }}){% endcall %}",
     "<«Ab»>(«Ab»)"},
    {"{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(s) + s }}{{ m('') }}{{ m(m(s)) }}",
     "<«Ab»>«Ab»<><<«Ab»>>"},
    {"{% filter upper %}<{{ s }}a{% endfilter %}{% filter trim %} <{{ s }} {% endfilter %}",
     "<«AB»A<«Ab»"},
    {"{% for x in [['<', [s]]] recursive %}{{ x[0] }}{% if x[1] %}"
     "{{ loop([[x[1][0], none]]) }}{% endif %}{% endfor %}",
     "<«Ab»"},
    {"{% for k, v in tool.items() %}{{ k }}={{ v }};{% endfor %}",
     "«name»=«<|x|>»;«n»=«5»;«t»=True;"},
    {"{{ [s, '<a']|sort|first }}{{ ['<', s]|map('upper')|list|last }}{{ s|default('x') }}"
     "{{ u|default('x') }}",
     "<a«ABAb»x"},
    {"{% if s == 'Ab' and 'A' in s and s.startswith('A') %}<{% endif %}", "<"},
};

static void test_cases(void **state)
{
    static const char messages[] = "[{\"role\":\"user\",\"content\":\"\"}]";
    static const char kwargs[] =
        "{\"c\":\"one<|end|>two\",\"s\":\"Ab\",\"blank\":\" x "
        "\",\"lines\":\"l1\\nl2\",\"quote\":\"\\\"\",\"loop_n\":7,"
        "\"accent\":\"\xc3\xa9<|\",\"tool\":{\"name\":\"<|x|>\",\"n\":5,\"t\":true}}";
    struct json *m = read_json(messages, strlen(messages)), *k = read_json(kwargs, strlen(kwargs));
    struct chat_vars vars = {
        .options = {.messages = m, .kwargs = k}, .bos_token = "<s>", .eos_token = "</s>"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        expect(cases[i][0], &vars, cases[i][1]);
    json_free(m);
    json_free(k);
}

/* What is cut behind a prefilled message leaves no span behind. */
static void test_continued(void **state)
{
    static const char text[] = "[{\"role\":\"user\",\"content\":\"a\"},"
                               "{\"role\":\"assistant\",\"content\":\" <|end|> \"}]";
    static const char source[] = "{% for m in messages %}<{{ m.content }}>{{ s }}{% endfor %}";
    struct json *m = read_json(text, strlen(text)), *k = read_json("{\"s\":\"tail\"}", 12);
    struct chat_vars vars = {.options = {.messages = m, .kwargs = k, .continue_final = true}};
    (void)state;
    expect(source, &vars, "<«a»>«tail»<« <|end|> »");
    struct chat_template *t;
    struct buf out = {0};
    struct text_spans client = {0};
    char err[200];
    assert_int_equal(chat_template_create(&t, "{{ s }}", false, err, sizeof err), 0);
    text_spans_add(&client, 1, 2);
    buf_puts(&out, "before");
    assert_int_equal(chat_render(t, &vars, &out, &client, err, sizeof err), SPECD_EINVAL);
    assert_int_equal(client.n, 1);
    assert_int_equal(client.items[0].end, 2);
    chat_template_free(t);
    text_spans_free(&client);
    buf_free(&out);
    json_free(m);
    json_free(k);
}

/* ---- random chains of operations: the client's characters and the template's are of two kinds
 * that nothing maps to one another, so the output itself says whose each is. */

#define OURS "\xee\x80\x80"   /* U+E000 */
#define THEIRS "\xef\xa3\xbf" /* U+F8FF */

static void put_expression(struct buf *b, uint64_t *seed, int depth)
{
    static const char *const atoms[] = {"'" OURS "'", "c",    "' " OURS OURS "\\n'", "d",
                                        "''",         "l[1]", "'" OURS "'",          "c[2:]"};
    static const char *const after[] = {"|trim",      "|upper",
                                        "[1:]",       "[:-1]",
                                        "[::2]",      ".split()|join",
                                        "|reverse",   "|replace(' ', '" OURS "')",
                                        "|title",     ".lstrip()",
                                        "|string",    ".replace('\\n', d)",
                                        "|indent(1)", ".split(' ')[-1]",
                                        " * 2",       "|list|join(c[0])",
                                        "|lower",     ".partition(' ')|join('" OURS "')"};
    if (depth == 0 || rnd(seed, 5) == 0) {
        buf_puts(b, atoms[rnd(seed, COUNT_OF(atoms))]);
        return;
    }
    buf_puts(b, "(");
    put_expression(b, seed, depth - 1);
    switch (rnd(seed, 5)) {
    case 0:
        buf_puts(b, " + ");
        put_expression(b, seed, depth - 1);
        break;
    case 1:
        buf_puts(b, " ~ ");
        put_expression(b, seed, depth - 1);
        buf_puts(b, " ~ ");
        put_expression(b, seed, depth - 1);
        break;
    case 2:
        buf_puts(b, ".join([");
        put_expression(b, seed, depth - 1);
        buf_puts(b, ", '" OURS "', ");
        put_expression(b, seed, depth - 1);
        buf_puts(b, "])");
        break;
    default:
        buf_puts(b, after[rnd(seed, COUNT_OF(after))]);
    }
    buf_puts(b, ")");
}

static size_t check_kinds(const struct buf *text, const struct text_spans *client)
{
    size_t seen = 0;
    for (size_t i = 0; i + 3 <= text->len; i++) {
        bool ours = memcmp(text->data + i, OURS, 3) == 0;
        if (!ours && memcmp(text->data + i, THEIRS, 3) != 0)
            continue;
        size_t k = text_spans_find(client->items, client->n, i);
        bool in = k < client->n && client->items[k].begin <= i;
        bool end_in = k < client->n && client->items[k].begin < i + 3;
        if (in == ours || end_in == ours)
            fail_msg("byte %zu of %s is %s", i, text->data, ours ? "the template's" : "a client's");
        seen++;
    }
    return seen;
}

static void test_random(void **state)
{
    static const char kwargs[] = "{\"c\":\"" THEIRS " " THEIRS THEIRS "\\n\",\"d\":\"" THEIRS
                                 "\",\"l\":[\"x\",\" " THEIRS " \"]}";
    struct json *m = read_json("[]", 2), *k = read_json(kwargs, strlen(kwargs));
    struct chat_vars vars = {.options = {.messages = m, .kwargs = k}};
    uint64_t seed = 0x0419;
    size_t seen = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct buf source = {0}, text = {0};
        struct text_spans client = {0};
        struct chat_template *t;
        char err[600];
        buf_puts(&source, "{% macro m(x) %}" OURS "{{ x }}{% endmacro %}{% set v %}{{ ");
        put_expression(&source, &seed, 4);
        buf_puts(&source, " }}" OURS "{% endset %}{{ v }}{% set w = ");
        put_expression(&source, &seed, 3);
        buf_puts(&source, " %}{{ w + v + w }}{{ w + d }}{{ m(w) }}");
        if (chat_template_create(&t, source.data, false, err, sizeof err) != 0)
            fail_msg("%s\n%s", source.data, err);
        int rc = chat_render(t, &vars, &text, &client, err, sizeof err);
        if (rc == 0)
            seen += check_kinds(&text, &client);
        else if (!strstr(err, "memory") && !strstr(err, "index") && !strstr(err, "element"))
            fail_msg("%s\n%s", source.data, err);
        chat_template_free(t);
        text_spans_free(&client);
        buf_free(&source);
        buf_free(&text);
    }
    assert_true(seen > 50000);
    json_free(m);
    json_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_continued),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
