#include "specd/error.h"

#include "specd/util.h"

#include <stdio.h>

struct row {
    int code, status;
    const char *type, *openai_code, *text;
};

static const struct row rows[] = {
#define X(name, code, status, type, ocode, text) {SPECD_##name, status, type, ocode, text},
    SPECD_ERROR_MAP(X)
#undef X
};

static const struct row *find(int error)
{
    const struct row *internal = &rows[0];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].code == error)
            return &rows[i];
        if (rows[i].code == SPECD_EINTERNAL)
            internal = &rows[i];
    }
    return internal;
}

int specd_error_status(int error)
{
    return find(error)->status;
}

const char *specd_error_type(int error)
{
    return find(error)->type;
}

const char *specd_error_code(int error)
{
    return find(error)->openai_code;
}

const char *specd_error_text(int error)
{
    return find(error)->text;
}

int fail(int code, char *err, size_t errlen, const char *fmt, ...)
{
    if (errlen > 0) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err, errlen, fmt, ap);
        va_end(ap);
    }
    return code;
}
