/*
 * auth.h - API keys: read once at start, compared without telling by time how much was right.
 *
 * Keys come from a file (one a line, # comments) and from SPECD_API_KEY, never from the command
 * line, which other users can see. Immutable after auth_load; any thread may check.
 */
#ifndef SPECD_SERVER_AUTH_H
#define SPECD_SERVER_AUTH_H

#include <stdbool.h>
#include <stddef.h>

struct auth {
    char **keys;
    size_t n_keys;
};

/* path and key may be NULL. SPECD_EFILE when the file can't be read or holds no key. */
int auth_load(struct auth *a, const char *path, const char *key, char *err, size_t errlen);
void auth_free(struct auth *a);

/* authorization is the header's value ("Bearer KEY"), x_api_key the other header's; NULL when not
 * sent. True when no keys are configured. */
bool auth_check(const struct auth *a, const char *authorization, const char *x_api_key);

#endif
