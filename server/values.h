/*
 * values.h - the flat values of request.h (chat_value), written from JSON or one by one.
 *
 * Everything is written twice: first into zeroed struct values, which only counts what there will
 * be, then, after values_alloc, for good. Both arrays belong to whoever takes them from the struct,
 * in practice a request. A dict or list is written as its head, which says how many children there
 * are, and then the children. No thread, no errors: sizes are checked before.
 */
#ifndef SPECD_SERVER_VALUES_H
#define SPECD_SERVER_VALUES_H

#include "fields.h"

#include "specd/request.h"

#define CALL_VALUES_MAX 50000 /* of each field that holds any JSON */

struct values {
    struct chat_value *values;
    char *text;
    size_t n, len;
};

/* Makes room for what was counted, and begins again. */
void values_alloc(struct values *t);

/* key is NULL but for members of a dict; keys and strings are copied. */
void values_dict(struct values *t, const char *key, size_t n_members);
void values_list(struct values *t, const char *key, size_t n_items);
void values_string(struct values *t, const char *key, const char *s);
void values_int(struct values *t, const char *key, int64_t i);
void values_bool(struct values *t, const char *key, bool b);
void values_json(struct values *t, const char *key, const struct json *v); /* and all within */
/* A string that no value holds. While counting its address is NULL. */
char *values_text(struct values *t, const char *s);

/* All values within v and itself, as far as there are no more than CALL_VALUES_MAX. */
size_t values_count(const struct json *v);
/* SPECD_EINVAL by the field's name if n is more than CALL_VALUES_MAX. */
int values_check(const char *name, size_t n, struct api_error *e);

#endif
