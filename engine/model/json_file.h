/*
 * json_file.h - JSON files of a model folder: parsed strictly (specd/json.h), read by key, one
 * error for a run. Any thread.
 */
#ifndef SPECD_MODEL_JSON_FILE_H
#define SPECD_MODEL_JSON_FILE_H

#include "model/field.h"
#include "specd/json.h"

/* The value must be an object; the caller frees it with json_free. `what` names it in messages.
 * SPECD_EFILE. */
int json_file_parse(struct json **out, const char *text, size_t len, const char *what, char *err,
                    size_t errlen);
/* The same for a whole file of at most `limit` bytes. */
int json_file_load(struct json **out, const char *path, size_t limit, char *err, size_t errlen);

/* Looks up fields of one object. The first field that is missing, of the wrong type or out of range
 * writes the message and sets rc; later look-ups return their fallback. null counts as absent. */
struct json_reader {
    const struct json *object; /* may be NULL: then every field is absent */
    const char *file;          /* for messages */
    const char *path;          /* of the object in the file: "" or "rope_scaling." */
    char *err;
    size_t errlen;
    int rc;
};

/* NULL when absent. */
const struct json *json_file_field(struct json_reader *r, const char *key, enum need need);
uint32_t json_file_u32(struct json_reader *r, const char *key, enum need need, uint32_t fallback,
                       uint32_t lo, uint32_t hi);
double json_file_f64(struct json_reader *r, const char *key, enum need need, double fallback);
bool json_file_bool(struct json_reader *r, const char *key, bool fallback);
/* Belongs to the object; NULL when absent. */
const char *json_file_string(struct json_reader *r, const char *key, enum need need);
/* Records an error about key, unless there is one already. */
void json_file_bad(struct json_reader *r, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* true if n is a whole number from 0 to hi. */
bool json_file_whole(const struct json *n, double hi, uint64_t *out);

#endif
