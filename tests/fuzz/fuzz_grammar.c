/*
 * A schema as JSON text, compiled; texts of it by way of masks, which end and which it accepts.
 * What stands behind the first NUL is read as a text.
 *
 * links: specd_grammar specd_text specd_model specd_json specd_base
 */
#include "fuzz.h"

#include "chat_json.h"
#include "grammar_walk.h"
#include "specd/error.h"

#include <stdlib.h>
#include <string.h>

static struct walker *walker(void)
{
    static struct walker w;
    if (w.n_tokens == 0)
        walker_init(&w, 400, 1 << 20);
    return &w;
}

/* Steps never lead to a place without a way on, and masks are what trying each token says. */
static void walk(const struct grammar *g, uint64_t seed)
{
    struct walker *w = walker();
    struct grammar_state s;
    w->random = seed * 2 + 1;
    grammar_start(g, &s);
    for (int i = 0; i < 40; i++) {
        ASSERT(walker_mask(w, g, &s, i % 16 == 3));
        uint32_t id = walker_pick(w, i > 20);
        if (id + 1 == w->n_tokens)
            break;
        ASSERT(grammar_accept(g, &s, w->tokens[id].data, w->tokens[id].len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chat_json j;
    struct grammar *g;
    struct grammar_state s;
    char err[512] = "";
    char *text = xstrndup((const char *)data, size);
    size_t n = strlen(text);
    if (chat_json_read(&j, text)) {
        int rc = grammar_compile(&g, j.values, err, sizeof err);
        ASSERT(rc == 0 || (rc == SPECD_EINVAL && strncmp(err, "schema", 6) == 0));
        if (rc == 0) {
            walk(g, size);
            grammar_start(g, &s);
            for (size_t i = n + 1; i < size && grammar_accept(g, &s, data + i, 1); i++)
                ASSERT(grammar_may_end(&s) || s.n_heads > 0);
            grammar_unref(g);
        }
    }
    chat_json_free(&j);
    free(text);
    return 0;
}

static const char *const seeds[] = {
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":"
    "9},"
    "\"ab\":{\"type\":[\"integer\",\"null\"],\"minimum\":-7,\"maximum\":123}},\"required\":[\"ab\"]"
    "}",
    "{\"type\":\"array\",\"prefixItems\":[true,{\"type\":\"number\",\"minimum\":0}],\"items\":"
    "{\"format\":\"date\"},\"minItems\":1,\"maxItems\":5}",
    "{\"pattern\":\"^(?:[a-z\\\\d]{2,3}|\\\\w+\\\\.x?|[^\\\"\\\\u00e9-\\\\uffff])*$\"}",
    "{\"pattern\":\"^([]x|y[^]{2})$\"}", /* an empty class before any other */
    "{\"pattern\":\"a.b|^[\\\\s-]+?(c|d*)\"}",
    "{\"$defs\":{\"n\":{\"properties\":{\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},"
    "{\"type\":\"null\"}]}},\"required\":[\"next\"],\"additionalProperties\":false}},"
    "\"$ref\":\"#/$defs/n\"}",
    "{\"enum\":[\"a\",\"ab\",12,1.5,null,{\"k\":[1,{}]}]}",
    "{\"oneOf\":[{\"const\":\"x\\\"\"},{\"type\":\"boolean\",\"title\":\"t\"},"
    "{\"additionalProperties\":{\"type\":\"integer\",\"exclusiveMinimum\":4}}]}",
    "{\"allOf\":[{\"items\":{\"$ref\":\"#/allOf/0\"}}],\"description\":\"d\"}",
    "{\"format\":\"date-time\"}",
    "{\"$id\":\"http://a/"
    "b\",\"$defs\":{\"n\":{\"$anchor\":\"n\",\"type\":\"integer\",\"multipleOf\":6,"
    "\"minimum\":-9007199254740993}},\"properties\":{\"x-a\":{\"$ref\":\"b#n\"},\"x-ab\":{\"type\":"
    "\"number\",\"exclusiveMinimum\":0.5,\"maximum\":7.25e1}},\"patternProperties\":{\"^x-\":{"
    "\"maximum\":"
    "70}},\"propertyNames\":{\"maxLength\":9},\"minProperties\":1,\"maxProperties\":3}",
    "{\"allOf\":[{\"pattern\":\"^[a-z]\"},{\"pattern\":\"\\\\P{N}$\",\"minLength\":2,\"maxLength\":"
    "5}],"
    "\"type\":[\"string\",\"array\"],\"items\":{\"enum\":[1,12,\"a\",true]},\"uniqueItems\":true,"
    "\"minItems\":2,\"nullable\":true}",
    "{\"additionalProperties\":{\"items\":[true,{\"const\":1e2}],\"additionalItems\":false},"
    "\"minProperties\":2,\"required\":[\"\",\"b\"],\"anyOf\":[{\"required\":[\"c\"]},{"
    "\"properties\":"
    "{\"d\":false}}]}",
    "[{\"behind\":[\"\\\"name\\\"\",\":\",\"\\\"a\\\"\"],\"schema\":{\"type\":\"object\"}},{"
    "\"behind\":"
    "[\"a{\"],\"schema\":{\"properties\":{\"id\":{\"not\":1}}},\"optional\":true}]",
    "[{\"behind\":[\"name\"],\"parameters\":true,\"schema\":{\"properties\":{\"a\":{\"type\":["
    "\"string\","
    "\"null\"]},\"id\":{\"enum\":[\"x y\",1]},\"kind\":{\"items\":{\"type\":\"string\"},\"type\":"
    "\"array\"}},\"required\":[\"id\"]}}]",
    "{}",
};

bool fuzz_seed(int i, struct buf *out)
{
    static const char text[] = "\0{\"a\": [1, -2.5e3, \"\\ud83d\\ude00\", {}]}";
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_puts(out, seeds[i]);
    if (i + 1 == (int)COUNT_OF(seeds))
        buf_add(out, text, sizeof text - 1);
    return true;
}
