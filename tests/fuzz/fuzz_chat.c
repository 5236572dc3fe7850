/*
 * A chat template: compiled and rendered. What stands behind the first NUL is a message's content.
 * Characters of the template that no message holds stay its own, and the other way round.
 *
 * links: specd_jinja specd_json specd_base
 */
#include "fuzz.h"

#include "jinja/chat.h"
#include "specd/error.h"
#include "specd/json.h"
#include "specd/json_write.h"
#include "specd/utf8.h"

#include <stdlib.h>
#include <string.h>

#define OURS "\xee\x80\x80"   /* U+E000: nothing maps to it, and no escape stands for it */
#define THEIRS "\xef\xa3\xbf" /* U+F8FF */

/* Wherever c stands in the text, it is a client's, or never is. */
static void check_origin(const struct buf *text, const struct text_spans *client, const char *c,
                         bool theirs)
{
    const char *at = text->data + 6, *end = text->data + text->len;
    while ((at = memmem(at, (size_t)(end - at), c, 3))) {
        size_t begin = (size_t)(at - text->data);
        size_t k = text_spans_find(client->items, client->n, begin);
        bool in = k < client->n && client->items[k].begin < begin + 3;
        ASSERT(in == theirs &&
               (!in || (client->items[k].begin <= begin && client->items[k].end >= begin + 3)));
        at += 3;
    }
}

static void render(const struct chat_template *t, const char *source, const char *content)
{
    struct json *messages;
    struct buf text = {0};
    char why[64];
    buf_puts(&text, "[{\"role\":\"system\",\"content\":\" Sp\xc3\xa9"
                    "ak\\n" THEIRS "\"},{\"role\":\"user\",\"content\":");
    json_cstr(&text, content);
    buf_puts(&text, "},{\"role\":\"assistant\",\"n\":[1.10,98765432109876543210]},"
                    "{\"role\":\"user\",\"content\":\"1,2\"}]");
    ASSERT(json_parse(&messages, text.data, text.len, why, sizeof why) == 0);
    buf_free(&text);
    struct chat_vars vars = {
        .options = {.messages = messages, .add_generation_prompt = true},
        .bos_token = "<s>",
        .eos_token = "",
        .field = "messages",
    };
    struct buf out = {0};
    struct text_spans client = {0};
    char err[512] = "";
    buf_puts(&out, "before");
    int rc = chat_render(t, &vars, &out, &client, err, sizeof err);
    ASSERT(rc == 0 || rc == SPECD_EINVAL);
    ASSERT(memcmp(out.data, "before", 6) == 0 && (rc == 0 || (out.len == 6 && client.n == 0)));
    for (size_t i = 0; i < client.n; i++)
        ASSERT(client.items[i].begin < client.items[i].end && client.items[i].end <= out.len &&
               client.items[i].begin >= (i > 0 ? client.items[i - 1].end + 1 : 6));
    if (rc == 0) {
        struct thinking thinking = chat_thinking(t, &vars.options, &out, &client);
        ASSERT(thinking.tags || !thinking.begun);
    }
    /* A template may spell either in escapes, and pick bytes of a broken character. */
    bool whole = !strchr(source, '\\') && utf8_valid_run(source, strlen(source)) == strlen(source);
    if (rc == 0 && whole && !strstr(content, OURS))
        check_origin(&out, &client, OURS, false);
    if (rc == 0 && whole && !strstr(source, THEIRS))
        check_origin(&out, &client, THEIRS, true);
    text_spans_free(&client);
    buf_free(&out);
    json_free(messages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chat_template *t;
    char err[512] = "";
    char *source = xstrndup((const char *)data, size);
    int rc = chat_template_create(&t, source, size & 1, err, sizeof err);
    ASSERT(rc == 0 || (rc == SPECD_EINVAL && err[0]));
    if (rc == 0) {
        size_t n = strlen(source);
        render(t, source, n < size ? source + n + 1 : "Hi <b>");
        chat_template_free(t);
    }
    free(source);
    return 0;
}

static const char *const seeds[] = {
    "{% for m in messages %}{{'<|' + m['role'] + '|>\\n' + m['content'] + eos_token ~ '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}\n",
    "{%- if messages[0]['role'] == 'system' -%}\n  {%- set sys = messages[0].content|trim %}\n"
    "{%- elif not tools %} {# note -#}\n{% else %}x{% endif +%} {{- sys|default('d') }}",
    "{% set ns = namespace(n=0, t='') %}{% for m in messages if m.role != 'system' %}"
    "{% set ns.n = ns.n + loop.index %}{% if loop.last %}{% break %}{% endif %}"
    "{{ loop.previtem.role }}{{ loop.length }}{% else %}none{% endfor %}{{ ns.n }}",
    "{% macro f(a, b=[1, 2], *c) %}{% endmacro %}",
    "{% macro f(a, b=2) %}[{{ a }}{{ b }}{{ varargs }}{{ kwargs }}]{% endmacro %}"
    "{{ f(1) }}{{ f(b=3, a='x') }}{{ f(1, 2, 3, k=none) }}{{ f(*[1], **{'q': 2}) }}",
    "{% macro t(n) %}{{ caller(n) }}{% if n > 0 %}{{ t(n - 1) }}{% endif %}{% endmacro %}"
    "{% call(x) t(3) %}<{{ x }}>{% endcall %}",
    "{{ messages|tojson(indent=2) }}{{ messages[1]|tojson(separators=(',', ':'), sort_keys=true) }}"
    "{{ {'a': [1, 2.5, none, true], 'b': {}}|tojson(ensure_ascii=true) }}",
    "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join(', ') }}"
    "{{ [3, 1, 2]|sort(reverse=true)|first }}{{ ['b', 'A']|unique|list|length }}",
    "{{ 'a,b c'.split(',')[1][::-1] }}{{ ' x '.strip() }}{{ 'ab'.replace('a', 'bb', 1) }}"
    "{{ '{} {x:>5} {0[1]}'.format('yz', x=3.5) if true }}{{ '%05.2f|%s' % (2.5, none) }}",
    "{{ 1 + 2 * 3 // 2 ** 2 % 5 - 1.5 / 2 }}{{ 1 < 2 <= 3 }}{{ 'a' in 'abc' and 2 not in [1] }}"
    "{{ not none is none or -1 is odd }}{{ 'u' ~ 1 ~ [1, (2,), {'k': 'v'}] }}",
    "{% for a, (b, c) in [[1, (2, 3)]] recursive %}{{ a + b + c }}{{ loop.depth }}{% endfor %}"
    "{% for k, v in messages[0].items() %}{{ k|upper }}={{ v|length }}{% continue %}{% endfor %}",
    "{% set x, y = 1, 'z' %}{% set t | upper | trim %} {{ y * 3 }} {% endset %}{{ t }}"
    "{% filter indent(2, true) %}a\n\nb{% endfilter %}{% with q = x %}{{ q }}{% endwith %}",
    "{% raw %}{{ x }}{% endraw %}{{ range(2, 9, 3)|list }}{{ dict(a=1).items() }}"
    "{{ strftime_now('%Y')|length }}{{ raise_exception('no ' ~ messages[1].role) }}",
    "{% set x = '" OURS "' + messages[0].content + ' " OURS
    "' %}{{ x|trim|upper }}{{ x[1:]|indent }}"
    "{% macro m(a) %}" OURS "{{ a }}{% endmacro %}{{ m(x)|replace(' ', '" OURS "') ~ x|tojson }}"
    "{{ '%s" OURS "{}'|format(x) }}{{ x.split('" OURS "')|join('" OURS "') }}{{ x * 2 }}",
    "{% generation %}{{ '<b>'|safe + '<' }}{{ '\\u00e9\\x41\\n'|e }}{% endgeneration %}"
    "{{ messages[1].content|title|capitalize|reverse|batch(2)|list }}",
};

bool fuzz_seed(int i, struct buf *out)
{
    if (i >= (int)COUNT_OF(seeds))
        return false;
    bool last = i + 1 == (int)COUNT_OF(seeds);
    buf_puts(out, seeds[i]);
    if (last)
        buf_add(out, "\0caf\xc3\xa9 \xff <&>", 12);
    return true;
}
