/* --help and --print-config: the table of options as text. */
#include "config.h"

#include "specd/json_write.h"
#include "options.h"

#include <stdio.h>
#include <string.h>

#define COLUMN 40 /* of the comments */

void config_help(struct buf *out)
{
    buf_puts(out, "usage: specd [options]\n\nServes a language model over HTTP, decoding by "
                  "speculative sampling.\nEach option is also a variable SPECD_NAME and a key of "
                  "the file given by --config.\n\n");
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        char left[64];
        if (o->flags & NOT_IN_ARGS)
            continue;
        snprintf(left, sizeof left, "%s%s%s--%s %s", o->letter ? "-" : "",
                 o->letter ? o->letter : "", o->letter ? ", " : "", o->name,
                 o->value ? o->value : "");
        buf_printf(out, "  %-28s %s", left, o->help);
        if (o->fallback && o->kind != OPTION_FLAG)
            buf_printf(out, " (default: %s)", o->fallback);
        buf_puts(out, "\n");
    }
}

/* As read, so that what a value was taken for is seen; texts without a number are themselves. */
static void print_value(const struct config *c, const struct option *o, const char *text,
                        struct buf *out)
{
    const void *at = (const char *)c + o->offset;
    if (!text)
        json_lit(out, "null");
    else if (o->kind == OPTION_FLAG)
        buf_puts(out, *(const bool *)at ? "true" : "false");
    else if (o->kind == OPTION_INT)
        buf_printf(out, "%d", *(const int32_t *)at);
    else if (o->kind == OPTION_SECONDS)
        buf_printf(out, "%g", *(const int32_t *)at / 1000.0);
    else
        json_cstr(out, text);
}

static void print_origin(const struct config *c, const struct setting *s, struct buf *out)
{
    switch (s->text ? s->from : FROM_DEFAULT) {
    case FROM_DEFAULT:
        buf_puts(out, "default");
        break;
    case FROM_ARGS:
        buf_puts(out, "command line");
        break;
    case FROM_ENV:
        buf_printf(out, "environment %s", s->where);
        break;
    case FROM_FILE:
        buf_printf(out, "file %s", c->config_file);
        break;
    }
}

static bool is_shown(const struct option *o, const struct setting *s)
{
    if (!(o->flags & NOT_IN_FILE))
        return true;
    return s->text && o->kind != OPTION_FLAG; /* --print-config itself is no news */
}

static void print_option(const struct config *c, size_t i, bool more, struct buf *out)
{
    const struct option *o = &options[i];
    const struct setting *s = &c->settings[i];
    bool as_comment = o->flags & NOT_IN_FILE, secret = o->flags & NOT_IN_ARGS;
    struct buf line = {0};
    buf_printf(&line, "%s\"%s\": ", as_comment ? "// " : "", o->name);
    if (secret)
        buf_puts(&line, "not shown");
    else
        print_value(c, o, s->text ? s->text : o->fallback, &line);
    if (more && !as_comment)
        buf_puts(&line, ",");
    buf_printf(out, "  %-*s // ", COLUMN, line.data);
    print_origin(c, s, out);
    buf_puts(out, "\n");
    buf_free(&line);
}

void config_print(const struct config *c, struct buf *out)
{
    size_t last = 0;
    for (size_t i = 0; i < n_options; i++)
        if (!(options[i].flags & NOT_IN_FILE))
            last = i;
    buf_puts(out, "{\n");
    for (size_t i = 0; i < n_options; i++)
        if (is_shown(&options[i], &c->settings[i]))
            print_option(c, i, i < last, out);
    buf_puts(out, "}\n");
}
