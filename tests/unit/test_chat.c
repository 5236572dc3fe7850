/*
 * Chat templates: the conversation as it reaches a template, the language in small, what is refused
 * and in which words, and templates that try to take more than they may. The language at large is
 * compared with jinja2 in tests/oracle/check_chat.py.
 *
 * links: specd_jinja specd_json specd_base
 */
#include "jinja/chat_forms.h"
#include "jinja/jinja.h"
#include "specd/error.h"
#include "specd/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

static struct json *docs[16]; /* freed at the end */

/* Single quotes stand for double ones. */
static const struct json *json_of(const char *text)
{
    static size_t n;
    char err[128], *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_true(n < COUNT_OF(docs));
    if (json_loads(&docs[n], copy, strlen(copy), err, sizeof err) < 0)
        fail_msg("%s: %s", text, err);
    free(copy);
    return docs[n++];
}

static struct chat_vars default_vars = {
    .options = {.add_generation_prompt = true},
    .bos_token = "<s>",
    .eos_token = "</s>",
    .field = "messages",
};

static int set_conversation(void **state)
{
    (void)state;
    default_vars.options.messages = json_of("[{'role':'system','content':'Be brief.'},"
                                            "{'role':'user','content':'Hi <b>\\n'},"
                                            "{'role':'assistant','content':'H\xc3\xa9llo'},"
                                            "{'role':'user','content':'Why?'}]");
    return 0;
}

static int free_docs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(docs); i++)
        json_free(docs[i]);
    return 0;
}

/* Renders into out, or leaves the reason in err. */
static int render_vars(const char *source, const struct chat_vars *vars, struct buf *out, char *err,
                       size_t errlen)
{
    struct chat_template *t;
    int rc = chat_template_create(&t, source, false, err, errlen);
    if (rc != 0)
        return rc;
    rc = chat_render(t, vars, out, NULL, err, errlen);
    chat_template_free(t);
    return rc;
}

/* The same without a look at what the template makes of messages. */
static int render_as_is(const char *source, struct buf *out, char *err, size_t errlen)
{
    struct jinja *t;
    int rc = jinja_compile(&t, source, strlen(source), err, errlen);
    if (rc != 0)
        return rc;
    rc = chat_render_as_is(t, NULL, &default_vars, out, err, errlen);
    jinja_free(t);
    return rc;
}

static void expect_vars(const char *source, const struct chat_vars *vars, const char *expected)
{
    struct buf out = {0};
    char err[600] = "";
    if (render_vars(source, vars, &out, err, sizeof err) != 0)
        fail_msg("%s\n%s", source, err);
    assert_string_equal(out.data, expected);
    buf_free(&out);
}

static void expect(const char *source, const char *expected)
{
    struct buf out = {0};
    char err[600] = "";
    if (render_as_is(source, &out, err, sizeof err) != 0)
        fail_msg("%s\n%s", source, err);
    buf_reserve(&out, 0);
    out.data[out.len] = '\0';
    assert_string_equal(out.data, expected);
    buf_free(&out);
}

/* The template fails, at creation or later, with `reason` among its words, and prints nothing. */
static void expect_error(const char *source, const char *reason)
{
    struct buf out = {0};
    char err[600] = "";
    buf_puts(&out, "before");
    int rc = render_as_is(source, &out, err, sizeof err);
    if (rc == 0)
        fail_msg("%s\nshould have failed, printed %s", source, out.data);
    assert_int_equal(rc, SPECD_EINVAL);
    assert_string_equal(out.data, "before");
    if (!strstr(err, reason))
        fail_msg("%s\nfailed with '%s', not '%s'", source, err, reason);
    buf_free(&out);
}

/* ---- conversations --------------------------------------------------------------------------- */

static void test_conversation(void **state)
{
    (void)state;
    static const char chatml[] =
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nHelp.<|im_end|>\\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    struct chat_vars vars = default_vars;
    expect(chatml, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b>\n<|im_end|>\n"
                   "<|im_start|>assistant\nH\xc3\xa9llo<|im_end|>\n"
                   "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    vars.options.messages = json_of("[{'role':'user','content':'Hi <b>\\n'}]");
    vars.options.add_generation_prompt = false;
    expect_vars(chatml, &vars,
                "<|im_start|>system\nHelp.<|im_end|>\n"
                "<|im_start|>user\nHi <b>\n<|im_end|>\n");
}

/* Tools, more variables, and members of messages. */
static void test_tools(void **state)
{
    struct chat_vars vars = {
        .options = {.messages =
                        json_of("[{'role':'assistant','tool_calls':[{'id':'x'}],'refusal':null},"
                                "{'tool_call_id':'abc','content':'3','audio':[],'role':'tool'},"
                                "{'role':'assistant','content':null}]"),
                    .tools = json_of("[{'name':'f','p':[null,-7,0.5]},true]"),
                    .kwargs = json_of("{'enable_thinking':false,'documents':[],'messages':1}")}};
    (void)state;
    expect_vars("{{ tools|tojson }} {{ enable_thinking }} {{ documents }} {{ messages|tojson }}",
                &vars,
                "[{\"name\": \"f\", \"p\": [null, -7, 0.5]}, true] False [] "
                "[{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"x\"}]}, "
                "{\"role\": \"tool\", \"content\": \"3\", \"tool_call_id\": \"abc\"}, "
                "{\"role\": \"assistant\", \"content\": \"\"}]");
}

/* What only passes through is printed as it came; what a template computes with is a number. */
static void test_numbers(void **state)
{
    struct chat_vars vars = {
        .options = {
            .kwargs = json_of("{'n':[12345678901234567890,-7,1.10,1E2,9007199254740993,0.1,NaN],"
                              "'large':123456789012345678901,'other':123456789012345678902,'twice':"
                              "{'a':1,'b':2,'a':3}}")}};
    (void)state;
    expect_vars(
        "{{ n|tojson }} {{ n[1:3]|tojson(indent=0) }}", &vars,
        "[12345678901234567890, -7, 1.10, 1E2, 9007199254740993, 0.1, NaN] [\n-7,\n1.10\n]");
    expect_vars("{{ n }}", &vars,
                "[12345678901234567890, -7, 1.1, 100.0, 9007199254740993, 0.1, nan]");
    expect_vars("{{ n[1] + 1 }} {{ (n[2] * 2)|tojson }} {{ n[4] - 1 }} {{ n[1]|abs|tojson }} "
                "{{ -n[2] }} {{ (n[5] + 0)|tojson }}",
                &vars, "-6 2.2 9007199254740992 7 -1.1 0.1");
    expect_vars(
        "{{ large }} {{ large ~ '' }} {{ large is integer }} {{ large is float }} "
        "{{ n[2] is float }} {{ large == other }} {{ large == large }} {{ large is number }} "
        "{{ n[3] is integer }} {{ large|tojson }}",
        &vars,
        "123456789012345678901 123456789012345678901 True False True False True True False "
        "123456789012345678901");
    expect_vars("{{ twice }} {{ twice|tojson }}", &vars, "{'a': 3, 'b': 2} {\"a\": 3, \"b\": 2}");
}

static void test_continue(void **state)
{
    static const char keeps[] = "{% for m in messages %}[{{ m.content }}]\n{% endfor %}";
    static const char trims[] = "{% for m in messages %}[{{ m.content|trim }}]\n{% endfor %}";
    struct chat_vars vars = {
        .options = {.messages = json_of("[{'role':'user','content':'So it'},"
                                        "{'role':'assistant','content':' So it \\n'}]"),
                    .continue_final = true}};
    struct buf out = {0};
    char err[256];
    (void)state;
    expect_vars(keeps, &vars, "[So it]\n[ So it \n");
    expect_vars(trims, &vars, "[So it]\n[So it");
    vars.options.messages = json_of("[{'role':'user','content':'So it'},"
                                    "{'role':'assistant','content':'not printed'}]");
    buf_puts(&out, "before");
    assert_int_equal(render_vars("{{ messages[0].content }}", &vars, &out, err, sizeof err),
                     SPECD_EINVAL);
    assert_string_equal(err, "continue_final_message: the chat template does not print the last "
                             "message");
    assert_int_equal(out.len, 6);
    vars.options.messages =
        json_of("[{'role':'user','content':'x'},{'role':'assistant','content':' '}]");
    assert_int_equal(render_vars(keeps, &vars, &out, err, sizeof err), SPECD_EINVAL);
    buf_free(&out);
}

static void test_variables(void **state)
{
    (void)state;
    struct chat_vars vars = {.bos_token = "", .eos_token = NULL};
    expect("{{ bos_token }}|{{ eos_token }}", "<s>|</s>");
    expect_vars("{{ bos_token is defined }} {{ eos_token is defined }} {{ messages|length }}",
                &vars, "False False 0");
    expect("{{ tools is none }} {{ documents is none }} {{ nothing is defined }}",
           "True True False");
    expect("{{ messages|tojson }}", "[{\"role\": \"system\", \"content\": \"Be brief.\"}, "
                                    "{\"role\": \"user\", \"content\": \"Hi <b>\\n\"}, "
                                    "{\"role\": \"assistant\", \"content\": \"H\xc3\xa9llo\"}, "
                                    "{\"role\": \"user\", \"content\": \"Why?\"}]");
}

static void test_appends(void **state)
{
    (void)state;
    struct chat_template *t;
    struct buf out = {0};
    char err[200];
    struct chat_vars vars = {.bos_token = "<s>"};
    assert_int_equal(chat_template_create(&t, "{{ bos_token }}x", false, err, sizeof err), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(chat_render(t, &vars, &out, NULL, err, sizeof err), 0);
    assert_string_equal(out.data, "<s>x<s>x<s>x");
    chat_template_free(t);
    chat_template_free(NULL);
    buf_free(&out);
}

/* ---- values from outside --------------------------------------------------------------------- */

#define MANY 3000

static void fill_values(struct jinja_run *r, void *arg)
{
    (void)arg;
    struct jv_vec items = {0};
    struct jv big = jv_dict_new(r), tool = jv_dict_new(r);
    for (int64_t i = 0; i < MANY; i++)
        jv_dict_set(r, big, jv_int(i), jv_int(i * i));
    for (int64_t i = 0; i < MANY; i++) /* once more: in place, not anew */
        jv_dict_set(r, big, jv_float((double)i), jv_int(i * i + 1));
    jv_dict_set(r, tool, jv_cstr("name"), jv_cstr("f"));
    jv_dict_set(r, tool, jv_cstr("strict"), jv_bool(true));
    jv_push(r, &items, tool);
    jv_push(r, &items, jv_float(0.5));
    jinja_set(r, "tools", jv_list(&items));
    jinja_set(r, "big", big);
    jinja_set(r, "unused", jv_none());
    jinja_set_time(r, (time_t)1722470400 + 12 * 3600);
}

static void test_values(void **state)
{
    (void)state;
    static const char source[] =
        "{{ tools[0].name }} {{ tools[0]['strict'] }} {{ tools[1] }} {{ big|length }}"
        " {{ big[2999] }} {{ big[true] }} {{ 3000 in big }} {{ (big|list)[:3] }} {{ tools|tojson }}"
        " {{ big[-0.0] }} {{ [1, 2, 3]|reject('odd')|list }}"
        " {{ strftime_now('%Y-%m') }}";
    struct jinja *t;
    struct buf out = {0};
    char err[200];
    assert_int_equal(jinja_compile(&t, source, strlen(source), err, sizeof err), 0);
    assert_int_equal(jinja_render(t, fill_values, NULL, &out, NULL, err, sizeof err), 0);
    assert_string_equal(out.data, "f True 0.5 3000 8994002 2 False [0, 1, 2] "
                                  "[{\"name\": \"f\", \"strict\": true}, 0.5] 1 [2] 2024-08");
    buf_free(&out);
    jinja_free(t);
}

/* ---- the language ---------------------------------------------------------------------------- */

static void test_white_space(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"a\nb\n", "a\nb"},
        {"a\r\nb\rc\n\n", "a\nb\nc\n"},
        {"  {% if 1 %}\n  x\n  {% endif %}\ny", "  x\ny"},
        {"a  {% if 1 %} b {% endif %}\n c", "a   b  c"},
        {"a \n {%- if 1 -%} \n b {%- endif %} c", "ab c"},
        {"  {%+ if 1 +%}\nx{% endif %}", "  \nx"},
        {"a\n  {# note #}\nb {#- x -#} c", "a\nbc"},
        {"a\n {{ 1 }}\n {{- 2 -}} \n b", "a\n 12b"},
        {"{% raw %}{{ x }}{% endraw %}\ny", "{{ x }}y"},
        {"a\xc2\xa0{%- if 1 %}\xe3\x80\x80{% endif -%}\n\xe2\x80\x83 b", "a\xe3\x80\x80"
                                                                         "b"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        expect(table[i][0], table[i][1]);
}

static void test_expressions(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1e16 }}"
         " {{ 0.1 + 0.2 }}",
         "3 -4 2 3.5 1024 1e+16 0.30000000000000004"},
        {"{{ 1 < 2 < 3 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ 'x' not in 'abc' }}",
         "True True True True"},
        {"{{ 0 or 'x' }} {{ 1 and '' or 2 }} {{ not none }} {{ 'y' if 0 else 'n' }}{{ 'y' if 0 }}",
         "x 2 True n"},
        {"{{ 'abc'[-1] }} {{ 'abc'[::-1] }} {{ [1, 2, 3][1:] }} {{ (1, 2)[0] }} "
         "{{ 'a' 'b' ~ 1 ~ none }}",
         "c cba [2, 3] 1 ab1None"},
        {"{{ ['a', \"it's\", 1.0, none, true, (1,), {'k': []}] }}",
         "['a', \"it's\", 1.0, None, True, (1,), {'k': []}]"},
        {"{{ x is defined }} {{ x }}{{ x|default('d') }} {{ messages[0].nope|default('m') }}",
         "False d m"},
        {"{{ 'H\xc3\xa9llo'|length }} {{ 'h\xc3\xa9'|upper }} {{ '\xf0\x9f\x98\x80 a'[0] }}",
         "5 H\xc3\x89 \xf0\x9f\x98\x80"},
        {"{{ '<b>'|safe + '<i>' }} {{ '<'|e }}", "<b>&lt;i&gt; &lt;"},
        {"{{ messages|map(attribute='role')|unique|list|tojson }}",
         "[\"system\", \"user\", \"assistant\"]"},
        {"{{ messages|selectattr('role', 'eq', 'user')|map(attribute='content')|join('|') }}",
         "Hi <b>\n|Why?"},
        {"{{ '%s-%03d' % ('a', 7) }} {{ '{:>4}{x}'.format('b', x=1) }} {{ ' a '.strip() }}",
         "a-007    b1 a"},
        {"{{ {'a': [1, {}], 'b': none}|tojson(indent=1) }}",
         "{\n \"a\": [\n  1,\n  {}\n ],\n \"b\": null\n}"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        expect(table[i][0], table[i][1]);
}

static void test_statements(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"{% for m in messages %}{{ loop.index }}{{ loop.last }} {% endfor %}",
         "1False 2False 3False 4True "},
        {"{% for i in range(9) if i is odd %}{% if i == 7 %}{% break %}{% endif %}{{ i }}"
         "{{ loop.previtem }}{{ loop.nextitem }},{% else %}-{% endfor %}",
         "13,315,537,"},
        {"{% for i in [1, 2] %}{% for j in 'ab' %}{% if j %}{{ i }}{{ j }}{% endif %}{% endfor %}"
         "{{ loop.index }}{% endfor %}",
         "1a1b12a2b2"},
        {"{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
         "role=system;content=Be brief.;"},
        {"{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
         "231"},
        {"{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}"
         "{{ ns.n }}",
         "3"},
        {"{% macro m(a, b='d') %}({{ a }}{{ b }}{{ varargs }}){% endmacro %}{{ m(1) }}"
         "{{ m(1, 2, 3) }}{{ m(b=4, a=5) }}",
         "(1d())(12(3,))(54())"},
        {"{% macro w() %}<{{ caller('x') }}>{% endmacro %}{% call(a) w() %}{{ a }}{% endcall %}",
         "<x>"},
        {"{% set t %} a {% endset %}[{{ t|trim }}]{% filter upper %}b{% endfilter %}"
         "{% with c = 3 %}{{ c }}{% endwith %}{{ c }}",
         "[a]B3"},
        {"{% if 0 %}a{% elif messages %}b{% else %}c{% endif %}", "b"},
        {"{% generation %}g{% endgeneration %}{% for x in [[1, [2]]] recursive %}{{ x[0] if x[0] }}"
         "{{ loop([[x[1], 0]]) if loop.depth < 2 }}{% endfor %}",
         "g1[2]"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        expect(table[i][0], table[i][1]);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void test_errors(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"\n\n{% if 1 %}\n", "line 3: tag is never closed: expected 'endif'"},
        {"{{ 1 2 }}", "line 1: unexpected number, expected end of tag"},
        {"a\n{{ 'x }}", "line 2: string without an end"},
        {"{{ 1 | nope }}", "line 1: no filter named 'nope'"},
        {"{{ 1 is nope }}", "line 1: no test named 'nope'"},
        {"{% include 'x' %}", "line 1: unknown tag 'include'"},
        {"{{ (1 }}", "line 1: unexpected '}', expected ')'"},
        {"{% for x in y %}{% endif %}", "unknown tag 'endif'"},
        {"{{ 99999999999999999999 }}", "bad or too large number"},
        {"x\n{{ nothing.at.all }}", "line 2: 'nothing' is undefined"},
        {"{{ messages[0].x.y }}", "'dict object' has no attribute 'x'"},
        {"{{ messages[9].x }}", "list object has no element 9"},
        {"{{ 'a' + 1 }}", "unsupported operand types for +: 'str' and 'int'"},
        {"{{ 1 / 0 }}", "division by zero"},
        {"{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"},
        {"{{ 9223372036854775807 + 1 }}", "integer beyond 64 bits"},
        {"{{ 2 ** 64 }}", "integer beyond 64 bits"},
        {"{% set n = namespace() %}{% set n._x = 1 %}", "underscore"},
        {"{% break %}", "'break' outside a loop"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        expect_error(table[i][0], table[i][1]);
    expect("{% if 0 %}{{ 1|nope }}{% endif %}{{ 'ok' if 1 else 1|nope }}", "ok");
}

/* What the template says goes to the client as it is. */
static void test_raise(void **state)
{
    (void)state;
    struct buf out = {0};
    char err[600];
    assert_int_equal(render_vars("{{ raise_exception('roles ' ~ messages|length) }}", &default_vars,
                                 &out, err, sizeof err),
                     SPECD_EINVAL);
    assert_string_equal(err, "roles 4");
    assert_int_equal(render_vars("{{ raise_exception('too long') }}", &default_vars, &out, err, 4),
                     SPECD_EINVAL);
    assert_string_equal(err, "too");
    buf_free(&out);
}

/* ---- limits ---------------------------------------------------------------------------------- */

#define DOUBLE "{% set n.x = n.x + n.x %}"
#define LOOP "{% for i in range(100000) %}"
#define END "{% endfor %}"

static void test_bounded_work(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {LOOP LOOP "x" END END, "steps"},
        {LOOP LOOP END END, "steps"},
        {"{% set n = namespace(x='ab') %}" LOOP DOUBLE END, "memory"},
        {"{% set n = namespace(x=[1]) %}" LOOP DOUBLE END, "memory"},
        {"{% set n = namespace(x='0123456789') %}{% for i in range(20) %}" DOUBLE END LOOP
         "{{ n.x }}" END,
         "prints more than"},
        {"{% set n = namespace(x='0123456789') %}{% for i in range(20) %}" DOUBLE END LOOP
         "{% if 'x' in n.x %}{% endif %}" END,
         "steps"},
        {"{{ 'x' * 1000000000000 }}", "memory"},
        {"{{ [1] * 1000000000000 }}", "memory"},
        {"{{ ([1] * 100000) * 100000000000000 }}", "memory"},
        {"{{ '%999999999d' % 1 }}", "too large"},
        {"{{ '{:>99999999}'.format(1) }}", "steps"},
        {"{{ 'x'.center(9000000000) }}", "steps"},
        {"{{ 'a\\nb'|indent(9000000000) }}", "steps"},
        {"{{ [1]|tojson(indent=9000000000) }}", "steps"},
        {"{{ range(100001) }}", "range too big"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deeply"},
        {"{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "too deeply"},
        {"{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) "
         "}}",
         "more than"},
        {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "too deeply"},
        {"{% set n = namespace(x=1) %}" LOOP "{% set n.x = [n.x] %}" END "{{ n.x }}", "too deeply"},
        {"{% set n = namespace(x=1) %}" LOOP "{% set n.x = [n.x] %}" END "{{ n.x|tojson }}",
         "too deeply"},
        {"{% set n = namespace(x=1) %}" LOOP "{% set n.x = (n.x,) %}" END "{{ {n.x: 1} }}",
         "too deeply"},
        {"{% set n = namespace(x=1) %}{% set m = namespace(x=1) %}" LOOP
         "{% set n.x = [n.x] %}{% set m.x = [m.x] %}" END "{{ n.x == m.x }}{{ n.x < m.x }}",
         "too deeply"},
        {"{% set n = namespace(x=(1,)) %}{% for i in range(64) %}{% set n.x = (n.x, n.x) %}" END
         "{{ {n.x: 1} }}",
         "steps"},
        {"{% set n = namespace(x=[1]) %}{% for i in range(64) %}{% set n.x = [n.x, n.x] %}" END
         "{{ n.x }}",
         "steps"},
        {"{% set n = namespace(x=[1]) %}" LOOP "{% set n.x = n.x|map('string') %}" END
         "{{ n.x|list }}",
         "too deeply"},
        {"{% set n = namespace() %}{{ dict(n=n, m=n) }}{% set n.n = n %}{{ n }}", "too deeply"},
        {"{{ ('a' * 30000000)|list|length }}", "memory"},
        {"{{ ('a ' * 10000000).split()|length }}", "memory"},
        {"{{ (('a' * 3000) * 3000).replace('', 'xxxxxxxxxxxxxxxx')|length }}", "memory"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        expect_error(table[i][0], table[i][1]);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    print_message("peak memory %ld MiB\n", usage.ru_maxrss >> 10);
}

/* source: head, n times the middle, tail. */
static char *repeated(const char *head, const char *middle, size_t n, const char *tail)
{
    struct buf b = {0};
    buf_puts(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, middle);
    buf_puts(&b, tail);
    return buf_take(&b);
}

static void expect_repeated(const char *head, const char *middle, size_t n, const char *tail,
                            const char *reason)
{
    char *source = repeated(head, middle, n, tail);
    if (reason)
        expect_error(source, reason);
    else
        expect(source, "x");
    free(source);
}

static void test_bounded_source(void **state)
{
    (void)state;
    expect_repeated("", "x", 300000, "", "longer than");
    expect_repeated("{{ ", "(", 5000, " }}", "nested too deeply");
    expect_repeated("{{ ", "[[", 150, " }}", "unexpected '}'");
    expect_repeated("{{ ", "not ", 60000, "1 }}", "nested too deeply");
    expect_repeated("{{ ", "-", 100000, "1 }}", "nested too deeply");
    expect_repeated("{{ 1", " if 1 else 1", 20000, " }}", "nested too deeply");
    expect_repeated("{{ 1", " + 1", 60000, " }}", "too deeply");
    expect_repeated("{{ 'x'", "|trim", 50000, " }}", "too deeply");
    expect_repeated("{{ messages", "[0]", 80000, " }}", "too deeply");
    expect_repeated("", "{% if 1 %}", 20000, "", "nested too deeply");
    expect_repeated("{% if 0 %}", "{% elif 0 %}", 20000, "{% else %}x{% endif %}", NULL);
    expect_repeated("{{ 'x'", " ~ ''", 40000, " }}", NULL);
    expect_repeated("{% set x = ", "''", 100000, " %}x", NULL);
    expect_repeated("{#", "{#", 100000, "#}x", NULL);
    expect_repeated("", "{% raw %}", 25000, "", "missing end of raw");
    struct buf names = {0};
    for (int i = 0; i < 5000; i++)
        buf_printf(&names, "{{ n%d }}", i);
    expect_error(names.data, "more than 4096 names");
    buf_free(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversation), cmocka_unit_test(test_tools),
        cmocka_unit_test(test_numbers),      cmocka_unit_test(test_continue),
        cmocka_unit_test(test_variables),    cmocka_unit_test(test_appends),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_expressions),  cmocka_unit_test(test_statements),
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_raise),
        cmocka_unit_test(test_bounded_work), cmocka_unit_test(test_bounded_source),
    };
    return cmocka_run_group_tests(tests, set_conversation, free_docs);
}
