/*
 * Thoughts apart from answers: at every cut and every pair of cuts, of random texts at random ones,
 * against a function that sees the whole text; how many tokens they took, how early they come out,
 * and that calls of tools are found behind them and not in them.
 *
 * links: specd_server specd_fake specd_base
 */
#include "parts.h"

#include "rnd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct think_tags words = {"<think>", "</think>"}, brackets = {"[THINK]", "[/THINK]"},
                               sentences = {"Here is my thought process:", "Here is my response:"};

#define OFFERED(strictness) strictness "add\0" /* and the NUL of the array */

static struct part_reader *reader(const struct thinking *t, const struct tool_offer *offer)
{
    struct part_reader *r = part_reader_new(offer, false);
    part_reader_think(r, t);
    return r;
}

/* What came: thoughts in {}, texts, calls in (). */
static void hear(struct buf *to, const struct tool_output *out)
{
    static const char *const before[] = {[TOOL_THOUGHT] = "{", [TOOL_BEGIN] = "("};
    static const char *const behind[] = {
        [TOOL_THOUGHT] = "}", [TOOL_BEGIN] = " ", [TOOL_END] = ")"};
    for (int i = 0; i < out->n_events; i++) {
        const struct tool_event *e = &out->events[i];
        bool begins = e->kind < COUNT_OF(before) && before[e->kind];
        assert_true(e->at + e->len <= out->bytes.len);
        assert_int_equal(e->call < 0, e->kind == TOOL_THOUGHT || e->kind == TOOL_TEXT);
        if (e->kind == TOOL_THOUGHT && to->len > 0 && to->data[to->len - 1] == '}')
            to->len--; /* it goes on */
        else
            buf_puts(to, begins ? before[e->kind] : "");
        buf_add(to, out->bytes.data + e->at, e->len);
        buf_puts(to, e->kind < COUNT_OF(behind) && behind[e->kind] ? behind[e->kind] : "");
    }
}

/* Feeds text in pieces that end at the cuts, which are in order, and its end. The tokens of its
 * thought. */
static int32_t take_apart(const struct thinking *t, const struct tool_offer *offer,
                          const char *text, const size_t *cuts, int n_cuts, struct buf *to)
{
    struct tool_output out = {0};
    struct part_reader *r = reader(t, offer);
    size_t at = 0, len = strlen(text);
    buf_clear(to);
    buf_puts(to, "");
    for (int i = 0; i <= n_cuts; i++) {
        size_t end = i < n_cuts ? cuts[i] : len;
        part_reader_feed(r, text + at, end - at, i == n_cuts, &out);
        hear(to, &out);
        tool_output_clear(&out);
        at = end;
    }
    int32_t n_thought = r->n_thought;
    assert_int_equal(r->n_tokens, n_cuts);
    assert_int_equal(r->n_bytes, len);
    part_reader_free(r);
    tool_output_free(&out);
    return n_thought;
}

/* Whole, byte by byte, at each cut and each pair of them. n_thought: bytes up to its end. */
static void expect(const struct thinking *t, const struct tool_offer *offer, const char *text,
                   const char *expected, int32_t n_thought)
{
    static struct buf got;
    size_t len = strlen(text), *all = calloc(len + 1, sizeof *all);
    for (size_t i = 0; i < len; i++)
        all[i] = i + 1;
    take_apart(t, offer, text, NULL, 0, &got);
    assert_string_equal(got.data, expected);
    assert_int_equal(take_apart(t, offer, text, all, (int)len, &got), n_thought);
    assert_string_equal(got.data, expected);
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            take_apart(t, offer, text, (size_t[]){a, b}, 2, &got);
            if (strcmp(got.data, expected) != 0)
                fail_msg("%s\ncut at %zu and %zu: %s\nnot: %s", text, a, b, got.data, expected);
        }
    }
    free(all);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct thinking none = {NULL, false}, may = {&words, false}, in = {&words, true};
    static const struct {
        const struct thinking *t;
        const char *text, *expected;
        int32_t n_thought;
    } cases[] = {
        {&none, "<think>a</think>b", "<think>a</think>b", 0},
        {&may, "<think>\n\nI see.\n</think>\n\nYes. ", "{I see.}Yes. ", 24},
        {&may, " \n<think>a</think>b", "{a}b", 18},
        {&may, "<think>a</think>", "{a}", 16},
        {&may, "<think>\n\n</think>\n\nYes.", "Yes.", 17},
        {&may, "<think></think>", "", 15},
        {&may, "<think>a < b </b> <</think> <think>c</think>", "{a < b </b> <}<think>c</think>",
         27},
        {&may, "<think>a </thin k></think></think>b", "{a </thin k>}</think>b", 26},
        {&may, "<think>", "", 7},
        {&may, "<think> \n", "", 9},
        {&may, "<think>a </thi", "{a </thi}", 14},
        {&may, "<think> </thi", "{</thi}", 13},
        {&may, "<think>a\n ", "{a}", 10},
        {&may, " \n <thin", " \n <thin", 0},
        {&may, "<thinking>a</think>", "<thinking>a</think>", 0},
        {&may, " <<think>a", " <<think>a", 0},
        {&may, "So: <think>a</think>", "So: <think>a</think>", 0},
        {&may, "</think>a", "</think>a", 0},
        {&may, "", "", 0},
        {&may, " \n", " \n", 0},
        {&in, "\nI see.\n</think>\n\nYes.", "{I see.}Yes.", 16},
        {&in, "I see", "{I see}", 5},
        {&in, "</think>\n\nYes.", "Yes.", 8},
        {&in, "<think>a</think>b", "{<think>a}b", 16},
        {&in, "", "", 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        expect(cases[i].t, NULL, cases[i].text, cases[i].expected, cases[i].n_thought);
    expect(&(struct thinking){&brackets, false}, NULL, "[THINK]a[/b] [[/THINK]b", "{a[/b] [}b", 22);
    expect(&(struct thinking){&sentences, false}, NULL,
           "Here is my thought process: a. Here I am. Here is my response: b", "{a. Here I am.}b",
           62);
}

/* Calls in a thought are none; what is behind it is searched from its own beginning. */
static void test_calls(void **state)
{
    (void)state;
    struct tool_offer offer = {0};
    static const struct thinking may = {&words, false}, in = {&words, true};
    buf_add(&offer.bytes, OFFERED("\0"), sizeof OFFERED("\0"));
#define CALL "{\"name\":\"add\",\"arguments\":{}}"
    expect(&may, &offer, "<think>" CALL "</think>" CALL, "{" CALL "}(add {})", 44);
    expect(&in, &offer, "<tool_call>x</think> a<tool_call>" CALL "</tool_call>",
           "{<tool_call>x}a(add {})", 20);
    expect(&may, &offer, " " CALL, "(add {})", 0);
    expect(&may, &offer, " <th<tool_call>" CALL, " <th(add {})", 0);
    expect(&in, &offer, "<tool_call>" CALL, "{<tool_call>" CALL "}", 40);
#undef CALL
    buf_free(&offer.bytes);
}

/* A call of a strict tool begins where the grammar, which reads thoughts too, lets it: not within
 * the arguments of one that a thought began. */
static void test_strict(void **state)
{
    (void)state;
    struct tool_offer offer = {.strict = true};
    static const struct thinking in = {&words, true};
    buf_add(&offer.bytes, OFFERED("\2"), sizeof OFFERED("\2"));
#define HEAD "\"name\":\"add\",\"arguments\":"
#define FUNCTION "<function=add>{}"
    expect(&in, &offer, "x</think>" FUNCTION, "{x}(add {})", 9);
    expect(&in, &offer, HEAD "{}</think>" FUNCTION, "{" HEAD "{}}(add {})", 35);
    expect(&in, &offer, HEAD "{\"a\":\"</think>" FUNCTION, "{" HEAD "{\"a\":\"}" FUNCTION, 39);
#undef HEAD
#undef FUNCTION
    buf_free(&offer.bytes);
}

/* What the reader finds, of a text that is there as a whole. */
static void judge(const struct thinking *t, const char *text, struct buf *to)
{
    static const char blanks[] = " \t\r\n";
    const char *from = text + strspn(text, blanks);
    size_t open = strlen(t->tags->open);
    buf_clear(to);
    if (t->begun || strncmp(from, t->tags->open, open) == 0) {
        from = t->begun ? text : from + open;
        const char *end = strstr(from, t->tags->close);
        text = end ? end + strlen(t->tags->close) : from + strlen(from);
        text += strspn(text, blanks);
        size_t n = (size_t)((end ? end : text) - from);
        text_trim(&from, &n);
        buf_puts(to, n > 0 ? "{" : "");
        buf_add(to, from, n);
        buf_puts(to, n > 0 ? "}" : "");
    }
    buf_puts(to, text);
}

static void test_random(void **state)
{
    (void)state;
    static const char *const pieces[] = {"<think>", "</think>", " ", "\n",       "<", "</",
                                         "thi",     "nk>",      "a", "\xc3\xa9", ">", "/"};
    struct buf text = {0}, expected = {0}, got = {0};
    uint64_t s = 20261130;
    int n_thoughts = 0;
    for (int round = 0; round < 20000; round++) {
        struct thinking t = {&words, rnd(&s, 2)};
        size_t cuts[8];
        int n_cuts = (int)rnd(&s, COUNT_OF(cuts));
        buf_clear(&text);
        buf_puts(&text, rnd(&s, 2) ? "<think>" : "");
        for (uint32_t n = rnd(&s, 12); n > 0; n--)
            buf_puts(&text, pieces[rnd(&s, COUNT_OF(pieces))]);
        for (int i = 0; i < n_cuts; i++) {
            size_t cut = rnd(&s, (uint32_t)text.len + 1);
            int at = i;
            for (; at > 0 && cuts[at - 1] > cut; at--)
                cuts[at] = cuts[at - 1];
            cuts[at] = cut;
        }
        judge(&t, text.data, &expected);
        take_apart(&t, NULL, text.data, cuts, n_cuts, &got);
        if (strcmp(got.data, expected.data) != 0)
            fail_msg("begun %d: %s\ngave %s\nnot  %s", t.begun, text.data, got.data, expected.data);
        n_thoughts += expected.data[0] == '{';
    }
    assert_in_range(n_thoughts, 5000, 15000);
    buf_free(&text);
    buf_free(&expected);
    buf_free(&got);
}

/* What can't be a tag any more is there at once; a token without text within a thought counts. */
static void test_early(void **state)
{
    (void)state;
    struct tool_output out = {0};
    struct buf heard = {0};
    struct part_reader *r = reader(&(struct thinking){&words, false}, NULL);
    static const char *const steps[][2] = {
        {" ", ""},
        {"<think", ""},
        {">", ""},
        {"\nI", "{I}"},
        {"", "{I}"},
        {" see", "{I see}"},
        {" <", "{I see}"},
        {"b", "{I see <b}"},
        {"\n</think", "{I see <b}"},
        {">", "{I see <b}"},
        {"\n", "{I see <b}"},
        {"Y", "{I see <b}Y"},
        {" ", "{I see <b}Y "},
    };
    buf_puts(&heard, "");
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        part_reader_feed(r, steps[i][0], strlen(steps[i][0]), false, &out);
        hear(&heard, &out);
        tool_output_clear(&out);
        assert_string_equal(heard.data, steps[i][1]);
        assert_int_equal(part_reader_thinks(r), i >= 2 && i <= 10);
        assert_int_equal(r->n_thought, i < 2 ? 0 : MIN((int)i + 1, 10));
    }
    part_reader_free(r);
    tool_output_free(&out);
    buf_free(&heard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),  cmocka_unit_test(test_calls), cmocka_unit_test(test_strict),
        cmocka_unit_test(test_random), cmocka_unit_test(test_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
