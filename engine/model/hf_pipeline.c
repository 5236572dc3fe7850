#include "model/hf_pipeline.h"

#include "model/json_file.h"
#include "model/pre.h"
#include "specd/util.h"

#include <string.h>

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

/* What the steps said, before it is decided what they amount to. */
struct steps {
    struct vocab *v;
    bool marks_spaces; /* some step writes U+2581 for a space */
    bool digits;       /* every digit is a piece */
    bool split;        /* by the pattern of v->pre */
    bool byte_level;   /* the byte alphabet; always the last step */
    bool byte_regex;   /* with GPT-2's pattern */
};

/* The reader of one object below `parent`. */
static struct json_reader below(const struct json_reader *parent, const struct json *object,
                                const char *path)
{
    struct json_reader r = *parent;
    r.object = object;
    r.path = path;
    return r;
}

static bool is_text(const char *s, const char *expected)
{
    return s && strcmp(s, expected) == 0;
}

static void unsupported(struct json_reader *r, const char *key, const char *value)
{
    char text[200];
    json_file_bad(r, key, "%s is not supported",
                  value ? printable(text, sizeof text, value, strlen(value)) : "this form");
}

typedef void read_step(struct steps *s, struct json_reader *r, const char *type);

/* A step, or a Sequence of them in a member named `list`. null is no step. */
static void read_steps(struct steps *s, struct json_reader *parent, const struct json *step,
                       const char *path, const char *list, read_step *read)
{
    if (!step || json_type(step) == JSON_NULL || parent->rc)
        return;
    struct json_reader r = below(parent, step, path);
    const char *type = json_file_string(&r, "type", REQUIRED);
    if (is_text(type, "Sequence")) {
        const struct json *parts = json_file_field(&r, list, REQUIRED), *child;
        for (child = json_first(parts); child; child = json_next(child)) {
            struct json_reader part = below(&r, child, path);
            type = json_file_string(&part, "type", REQUIRED);
            if (type)
                read(s, &part, type);
            r.rc = part.rc;
        }
    } else if (type) {
        read(s, &r, type);
    }
    parent->rc = r.rc;
}

/* The pattern of a Replace or Split: {"String": ...} or {"Regex": ...}; NULL if it is of the other
 * kind. */
static const char *pattern_of(struct json_reader *r, const char *kind)
{
    struct json_reader p = below(r, json_file_field(r, "pattern", REQUIRED), "pattern.");
    const char *text = json_file_string(&p, kind, OPTIONAL);
    r->rc = p.rc;
    return text;
}

static void read_normalizer(struct steps *s, struct json_reader *r, const char *type)
{
    if (strcmp(type, "NFC") == 0) {
        s->v->nfc = true;
    } else if (strcmp(type, "Prepend") == 0) {
        if (!is_text(json_file_string(r, "prepend", REQUIRED), SPACE_MARK))
            unsupported(r, "prepend", json_file_string(r, "prepend", OPTIONAL));
        s->v->add_space_prefix = true;
        s->v->space_prefix = PREFIX_STRETCH;
    } else if (strcmp(type, "Replace") == 0) {
        if (!is_text(pattern_of(r, "String"), " ") ||
            !is_text(json_file_string(r, "content", REQUIRED), SPACE_MARK))
            unsupported(r, "pattern", pattern_of(r, "String"));
        s->marks_spaces = true;
    } else {
        unsupported(r, "type", type);
    }
}

static void read_metaspace(struct steps *s, struct json_reader *r)
{
    if (!is_text(json_file_string(r, "replacement", REQUIRED), SPACE_MARK))
        unsupported(r, "replacement", json_file_string(r, "replacement", OPTIONAL));
    if (s->v->add_space_prefix)
        json_file_bad(r, "type", "Metaspace after Prepend is not supported");
    if (json_file_bool(r, "split", true))
        json_file_bad(r, "split", "splitting at spaces is not supported");
    s->marks_spaces = true;
    const char *scheme = json_file_string(r, "prepend_scheme", OPTIONAL);
    if (!scheme)
        scheme = json_file_bool(r, "add_prefix_space", true) ? "always" : "never";
    s->v->add_space_prefix = strcmp(scheme, "never") != 0;
    s->v->space_prefix = strcmp(scheme, "first") == 0 ? PREFIX_FIRST : PREFIX_MISSING;
    if (s->v->add_space_prefix && strcmp(scheme, "first") != 0 && strcmp(scheme, "always") != 0)
        unsupported(r, "prepend_scheme", scheme);
}

static void read_split(struct steps *s, struct json_reader *r)
{
    const char *behavior = json_file_string(r, "behavior", REQUIRED);
    bool invert = json_file_bool(r, "invert", false);
    if (s->marks_spaces && is_text(pattern_of(r, "String"), " "))
        return; /* no space is left by now */
    const char *regex = pattern_of(r, "Regex");
    enum vocab_pre pre;
    if (!regex || !pre_find_hf(regex, false, &pre))
        unsupported(r, "pattern", regex);
    else if (!is_text(behavior, "Isolated") || invert)
        unsupported(r, "behavior", behavior);
    else if (s->split || s->digits)
        json_file_bad(r, "type", "a Split after another step is not supported");
    else
        s->v->pre = pre;
    s->split = true;
}

static void read_pre_tokenizer(struct steps *s, struct json_reader *r, const char *type)
{
    if (s->byte_level) {
        json_file_bad(r, "type", "a step after ByteLevel is not supported");
    } else if (strcmp(type, "ByteLevel") == 0) {
        if (json_file_bool(r, "add_prefix_space", true))
            json_file_bad(r, "add_prefix_space", "is not supported");
        s->byte_level = true;
        s->byte_regex = json_file_bool(r, "use_regex", true);
    } else if (strcmp(type, "Digits") == 0) {
        if (!json_file_bool(r, "individual_digits", false) || s->split)
            json_file_bad(r, "individual_digits", "only as true in the first step");
        s->digits = true;
    } else if (strcmp(type, "Split") == 0) {
        read_split(s, r);
    } else if (strcmp(type, "Metaspace") == 0) {
        read_metaspace(s, r);
    } else {
        unsupported(r, "type", type);
    }
}

/* The steps together: SentencePiece, or byte-level BPE with the split of a family. */
static void decide(struct steps *s, struct json_reader *r)
{
    if (r->rc)
        return;
    if (s->marks_spaces && !s->byte_level && !s->split && !s->digits && !s->v->nfc) {
        s->v->kind = VOCAB_SPM;
        return;
    }
    s->v->kind = VOCAB_BPE;
    if (s->marks_spaces || s->v->add_space_prefix)
        json_file_bad(r, "normalizer", "U+2581 with a splitting pre-tokenizer is not supported");
    else if (!s->byte_level)
        json_file_bad(r, "pre_tokenizer",
                      "neither ByteLevel nor U+2581 for a space: not supported");
    else if (s->split == s->byte_regex)
        json_file_bad(r, "pre_tokenizer", "ByteLevel needs one pattern, its own or a Split's");
    else if (!s->split)
        pre_find_hf(pre_families[PRE_GPT2].hf_regex, s->digits, &s->v->pre);
}

/* The one id that a special token of a template stands for, or -1. */
static int32_t template_id(struct json_reader *r, const char *name)
{
    const struct json *tokens = json_file_field(r, "special_tokens", REQUIRED);
    const struct json *token = json_get(tokens, name);
    const struct json *ids = json_get(token, "ids");
    uint64_t id;
    if (json_type(ids) != JSON_ARRAY || !json_first(ids) || json_next(json_first(ids)) ||
        !json_file_whole(json_first(ids), INT32_MAX, &id)) {
        json_file_bad(r, "special_tokens", "expected one id for each token of the template");
        return -1;
    }
    return (int32_t)id;
}

/* "single": at most one special token on either side of the text. */
static void read_template(struct steps *s, struct json_reader *r)
{
    const struct json *single = json_file_field(r, "single", REQUIRED), *part;
    bool text = false;
    for (part = json_first(single); part; part = json_next(part)) {
        const struct json *special = json_get(part, "SpecialToken");
        const char *name = json_string(json_get(special, "id"));
        bool *add = text ? &s->v->add_eos : &s->v->add_bos;
        if (!name && !text && json_get(part, "Sequence")) {
            text = true;
        } else if (name && !*add) {
            *(text ? &s->v->eos : &s->v->bos) = template_id(r, name);
            *add = true;
        } else {
            json_file_bad(r, "single", "expected the text with at most one token on either side");
        }
    }
}

static void read_post_processor(struct steps *s, struct json_reader *r, const char *type)
{
    if (strcmp(type, "TemplateProcessing") == 0)
        read_template(s, r);
    else if (strcmp(type, "ByteLevel") != 0) /* which only moves offsets */
        unsupported(r, "type", type);
}

int hf_pipeline_read(struct vocab *v, const struct json *root, const char *file, char *err,
                     size_t errlen)
{
    struct steps s = {.v = v};
    struct json_reader r = {.object = root, .file = file, .path = "", .err = err, .errlen = errlen};
    read_steps(&s, &r, json_file_field(&r, "normalizer", OPTIONAL), "normalizer.", "normalizers",
               read_normalizer);
    read_steps(&s, &r, json_file_field(&r, "pre_tokenizer", OPTIONAL), "pre_tokenizer.",
               "pretokenizers", read_pre_tokenizer);
    decide(&s, &r);
    read_steps(&s, &r, json_file_field(&r, "post_processor", OPTIONAL), "post_processor.",
               "processors", read_post_processor);
    return r.rc;
}
