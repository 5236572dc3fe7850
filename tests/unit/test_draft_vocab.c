/*
 * Which ids a draft model drafts: the rule for a pair of files, lists beside a model, and what a
 * prompt adds.
 *
 * links: specd_engine specd_text specd_model specd_base
 */
#include "draft_vocab.h"

#include "specd/engine.h"
#include "unit/vocab_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BIG 70000 /* ids */

/* Sizes alone are looked at: a model whose layers are `ratio` times its output matrix. */
static struct model model_of(uint32_t n_vocab, double ratio)
{
    struct model m = {.n_vocab = n_vocab, .n_embd = 64, .n_layers = 4};
    m.embed.data = m.output.data = &m; /* tied */
    m.n_params = (uint64_t)((1 + ratio) * n_vocab * 64);
    return m;
}

/* n ordinary tokens, but for a control token and padding at the end. */
static struct vocab vocab_of(enum vocab_kind kind, uint32_t n)
{
    struct vocab v = vocab_new(kind, PRE_GPT2);
    for (uint32_t i = 0; i + 2 < n; i++)
        vocab_put(&v, "x", TOKEN_NORMAL);
    v.tokens[n / 2].type = TOKEN_USER_DEFINED;
    vocab_put(&v, "<|end|>", TOKEN_CONTROL);
    vocab_put(&v, "[PAD]", TOKEN_UNUSED);
    return v;
}

static bool has(const uint32_t *ids, int32_t id)
{
    return ids[id / 32] >> id % 32 & 1;
}

struct rig {
    struct vocab vocab;
    struct model target, draft;
    struct draft_vocab_source from;
    struct draft_vocab d;
    char err[300];
};

static int open_of(struct rig *r, int32_t wish)
{
    draft_vocab_free(&r->d);
    r->from.vocab = &r->vocab;
    r->from.target = &r->target;
    r->from.draft = &r->draft;
    r->from.n_draft_layers = r->from.n_draft_layers ? r->from.n_draft_layers : 4;
    r->from.path = r->from.path ? r->from.path : "no-such-model";
    return draft_vocab_open(&r->d, &r->from, wish, r->err, sizeof r->err);
}

static struct rig *rig_of(enum vocab_kind kind, uint32_t n, uint32_t n_draft, double ratio)
{
    struct rig *r = xcalloc(1, sizeof *r);
    r->vocab = vocab_of(kind, n);
    r->target = model_of(n, 20);
    r->draft = model_of(n_draft, ratio);
    return r;
}

static void rig_drop(struct rig *r)
{
    draft_vocab_free(&r->d);
    vocab_free(&r->vocab);
    free(r);
}

/* The lowest n ids and the special ones. */
static void check_base(const struct rig *r, int32_t n)
{
    int32_t v = (int32_t)r->vocab.n_tokens;
    assert_int_equal(r->d.n_base, n + (n <= v / 2) + 1);
    for (int32_t id = 0; id < v; id++)
        assert_int_equal(has(r->d.base, id), id < n || id == v / 2 || id == v - 2);
}

static void test_auto(void **state)
{
    static const struct {
        enum vocab_kind kind;
        uint32_t n;
        double ratio;
        bool trims;
    } cases[] = {
        {VOCAB_BPE, BIG, 2, true},   {VOCAB_SPM, BIG, 2, false},   {VOCAB_BPE, 65536, 2, false},
        {VOCAB_BPE, BIG, 4.2, true}, {VOCAB_BPE, BIG, 4.5, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig *r = rig_of(cases[i].kind, cases[i].n, cases[i].n, cases[i].ratio);
        assert_int_equal(open_of(r, DRAFT_VOCAB_AUTO), 0);
        assert_int_equal(r->d.base != NULL, cases[i].trims);
        if (cases[i].trims)
            check_base(r, 32768);
        else
            assert_null(draft_vocab_of(&r->d, &(int32_t){3}, 1));
        rig_drop(r);
    }
    /* Of a draft that is a few of the target's layers the output is a larger part. */
    struct rig *r = rig_of(VOCAB_BPE, BIG, BIG, 8);
    r->from.n_draft_layers = 1;
    assert_int_equal(open_of(r, DRAFT_VOCAB_AUTO), 0);
    check_base(r, 32768);
    rig_drop(r);
}

static void test_numbers(void **state)
{
    struct rig *r = rig_of(VOCAB_SPM, 500, 500, 1);
    (void)state;
    assert_int_equal(open_of(r, DRAFT_VOCAB_ALL), 0);
    assert_null(r->d.base);
    assert_int_equal(open_of(r, 77), 0);
    check_base(r, 77);
    assert_int_equal(open_of(r, 1), 0);
    check_base(r, 1);
    assert_int_equal(open_of(r, 500), 0);
    assert_null(r->d.base);
    assert_int_equal(open_of(r, 1 << 18), 0);
    assert_null(r->d.base);
    rig_drop(r);
    r = rig_of(VOCAB_BPE, 500, 400, 1); /* a draft with fewer has no rows for the rest */
    assert_int_equal(open_of(r, 400), 0);
    assert_null(r->d.base);
    assert_int_equal(open_of(r, 40), 0);
    assert_int_equal(r->d.n_base, 41);
    assert_false(has(r->d.base, 498));
    rig_drop(r);
}

static void test_prompt(void **state)
{
    struct rig *r = rig_of(VOCAB_BPE, 9000, 9000, 1);
    static int32_t prompt[12000];
    (void)state;
    assert_int_equal(open_of(r, 100), 0);
    assert_memory_equal(draft_vocab_of(&r->d, prompt, 0), r->d.base, 9000 / 8);
    /* Every id from 200 on twice in a row, downwards, with some of the base between. */
    for (int i = 0; i < 12000; i++)
        prompt[i] = i % 3 == 2 ? i % 100 : 8999 - i / 3;
    const uint32_t *ids = draft_vocab_of(&r->d, prompt, 300);
    int n = 0;
    for (int32_t id = 0; id < 9000; id++)
        n += has(ids, id) != has(r->d.base, id);
    assert_int_equal(n, 99); /* 8998 is special */
    /* The first 4096 of them. */
    for (int i = 0; i < 12000; i++)
        prompt[i] = 200 + i % 8700;
    ids = draft_vocab_of(&r->d, prompt, 12000);
    for (int32_t id = 0; id < 9000; id++) {
        bool of_prompt = id >= 200 && id < 200 + DRAFT_VOCAB_EXTRA_MAX;
        assert_int_equal(has(ids, id), has(r->d.base, id) || of_prompt);
    }
    /* Nothing is left of one prompt for the next. */
    assert_memory_equal(draft_vocab_of(&r->d, prompt, 0), r->d.base, 9000 / 8);
    rig_drop(r);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void list_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_list(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"3\nx\n", "line 2: 'x' is no id: 0 to 499 are"},
        {"500\n", "line 1: '500'"},
        {"-1\n", "line 1: '-1'"},
        {"1 2\n", "line 1: '1 2'"},
        {"99999999999999999999\n", "line 1"},
    };
    char dir[] = "/tmp/draft-vocab-XXXXXX", file[64], path[64], folder_path[64];
    struct rig *r = rig_of(VOCAB_SPM, 500, 500, 1);
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/m.gguf", dir);
    snprintf(path, sizeof path, "%s/m.gguf.draft-vocab", dir);
    snprintf(folder_path, sizeof folder_path, "%s/draft-vocab", dir);
    r->from.path = file;
    list_write(path, "# the frequent ones\n 7\n\n499 # the last\r\n7\n31");
    assert_int_equal(open_of(r, DRAFT_VOCAB_AUTO), 0);
    assert_int_equal(r->d.n_base, 5); /* and two special ones */
    assert_true(has(r->d.base, 7) && has(r->d.base, 31) && has(r->d.base, 499));
    assert_true(has(r->d.base, 250) && has(r->d.base, 498));
    assert_int_equal(open_of(r, 40), 0); /* a number asks for that many */
    check_base(r, 40);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        list_write(path, bad[i].text);
        assert_int_equal(open_of(r, DRAFT_VOCAB_AUTO), SPECD_EFILE);
        assert_non_null(strstr(r->err, bad[i].why));
        assert_non_null(strstr(r->err, "m.gguf.draft-vocab"));
        assert_null(r->d.base);
    }
    list_write(folder_path, "9\n");
    r->from.path = dir;
    assert_int_equal(open_of(r, DRAFT_VOCAB_AUTO), 0);
    assert_int_equal(r->d.n_base, 3);
    unlink(path);
    unlink(folder_path);
    rmdir(dir);
    rig_drop(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
