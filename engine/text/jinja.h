/*
 * jinja.h - an interpreter for the Jinja of published chat templates.
 *
 * The language and its results are those of jinja2's immutable sandbox as Hugging Face sets it up
 * (trim_blocks, lstrip_blocks, loop controls, its own tojson, raise_exception, strftime_now and the
 * generation tag). Left out: include, import, extends, block, autoescape; the filters attr,
 * filesizeformat, forceescape, groupby, pprint, random, striptags, truncate, urlencode, urlize,
 * wordcount, wordwrap and xmlattr; integers beyond 64 bits; the letters jinja_utf8.h names; and
 * that a name which a body assigns is undefined, not the caller's variable, when a macro or an
 * inner loop reads it earlier than that.
 *
 * There is no input or output: a template sees the variables it is given and the clock. Work is
 * bounded: source, steps, recursion, memory and output have the limits below, and passing one ends
 * the rendering with an error. A compiled template is immutable: any thread may render it, and a
 * rendering belongs to the thread that called jinja_render.
 */
#ifndef SPECD_JINJA_H
#define SPECD_JINJA_H

#include "specd/util.h"
#include "text/jinja_value.h"

#include <time.h>

#define JINJA_SOURCE_MAX ((size_t)256 << 10) /* bytes of a template */
#define JINJA_STEPS_MAX 20000000             /* nodes evaluated, or 64 bytes of text looked at */
#define JINJA_DEPTH_MAX 1000                 /* nodes inside one another, macro calls included */
#define JINJA_MEMORY_MAX ((size_t)128 << 20) /* bytes of values */
#define JINJA_OUTPUT_MAX ((size_t)64 << 20)  /* bytes of text */

struct jinja;     /* a compiled template */
struct jinja_run; /* one rendering */

/* Copies source. SPECD_EINVAL with line and reason. */
int jinja_compile(struct jinja **out, const char *source, size_t len, char *err, size_t errlen);
void jinja_free(struct jinja *t);

/* Sets the variables of a rendering. May build values and call the functions below, which do not
 * return when a limit is hit, so it must hold no resource of its own. */
typedef void jinja_fill(struct jinja_run *r, void *arg);

/* Appends the text to out; on failure out is as it was. SPECD_EINVAL with line and reason, or with
 * the template's own words when it called raise_exception. */
int jinja_render(const struct jinja *t, jinja_fill *fill, void *arg, struct buf *out, char *err,
                 size_t errlen);

void jinja_set(struct jinja_run *r, const char *name, struct jv value);
void jinja_set_time(struct jinja_run *r, time_t now); /* what strftime_now tells; default: now */

#endif
