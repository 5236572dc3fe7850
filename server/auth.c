#include "auth.h"

#include "specd/error.h"
#include "specd/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void add_key(struct auth *a, const char *s, size_t len)
{
    a->keys = xrealloc(a->keys, (a->n_keys + 1) * sizeof *a->keys);
    a->keys[a->n_keys++] = xstrndup(s, len);
}

static int read_file(struct auth *a, const char *path, char *err, size_t errlen)
{
    static const char blanks[] = " \t\r\n";
    FILE *f = fopen(path, "re");
    if (!f)
        return fail(SPECD_EFILE, err, errlen, "api-key-file: %s: %s", path, strerror(errno));
    char *line = NULL;
    size_t cap = 0, before = a->n_keys;
    while (getline(&line, &cap, f) >= 0) {
        char *s = line + strspn(line, blanks);
        size_t len = strcspn(s, blanks);
        if (len > 0 && *s != '#')
            add_key(a, s, len);
    }
    free(line);
    fclose(f);
    if (a->n_keys == before)
        return fail(SPECD_EFILE, err, errlen, "api-key-file: %s holds no key", path);
    return 0;
}

int auth_load(struct auth *a, const char *path, const char *key, char *err, size_t errlen)
{
    *a = (struct auth){0};
    if (key && *key)
        add_key(a, key, strlen(key));
    return path ? read_file(a, path, err, errlen) : 0;
}

void auth_free(struct auth *a)
{
    for (size_t i = 0; i < a->n_keys; i++)
        free(a->keys[i]);
    free(a->keys);
    *a = (struct auth){0};
}

/* Takes as long whatever `given` holds: every byte of the key is looked at. */
static bool equals(const char *key, const char *given, size_t given_len)
{
    size_t len = strlen(key);
    volatile unsigned char diff = len != given_len;
    for (size_t i = 0; i < len; i++)
        diff |= (unsigned char)(key[i] ^ given[given_len ? i % given_len : 0]);
    return diff == 0;
}

bool auth_check(const struct auth *a, const char *authorization, const char *x_api_key)
{
    const char *given = x_api_key ? x_api_key : "";
    if (a->n_keys == 0)
        return true;
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        given = authorization + 7 + strspn(authorization + 7, " ");
    bool ok = false;
    size_t len = strlen(given);
    for (size_t i = 0; i < a->n_keys; i++)
        ok |= equals(a->keys[i], given, len);
    return ok;
}
