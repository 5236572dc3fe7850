/*
 * draft_spec.h - the value of --model-draft.
 */
#ifndef SPECD_SERVER_DRAFT_SPEC_H
#define SPECD_SERVER_DRAFT_SPEC_H

#include "config.h"

/* "PATH", "self:0-9+29", "lookup", "none", or a comma list of them with at most one model. Fills
 * the drafters of c->engine and their storage in c. */
int draft_spec_parse(struct config *c, const char *text, char *err, size_t errlen);

#endif
