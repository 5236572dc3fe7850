/*
 * jinja_format.h - one formatted field, as both of Python's ways of formatting make it.
 */
#ifndef SPECD_JINJA_FORMAT_H
#define SPECD_JINJA_FORMAT_H

#include "text/jinja_value.h"

struct spec {
    struct jv fill;
    char align; /* '<' '>' '^', '=' pads between sign and digits, 0: the type's own */
    char sign;  /* '+', ' ' or 0 */
    bool alternate, comma;
    int64_t width;
    int precision; /* -1: none */
    char type;     /* 0: none */
};

struct spec spec_default(void);
void spec_put_int(struct jv_text *t, const struct spec *spec, int64_t v);
void spec_put_float(struct jv_text *t, const struct spec *spec, double v);
void spec_put_str(struct jv_text *t, const struct spec *spec, struct jv s);
bool spec_is_float(char type);
bool spec_is_int(char type);

/* v as a number, or an error that says what it is instead. */
int64_t spec_integer(struct jinja_run *r, struct jv v);
double spec_number(struct jinja_run *r, struct jv v);

/* Reads digits at *at; -1 when there are none. Bounded. */
int64_t spec_read_width(struct jinja_run *r, struct jv s, size_t *at);
int spec_read_precision(struct jinja_run *r, struct jv s, size_t *at);

#endif
