/*
 * built.h - what this build can do, in the one place where options and request fields look it up.
 */
#ifndef SPECD_SERVER_BUILT_H
#define SPECD_SERVER_BUILT_H

#include "specd/request.h"

/* Verification modes that the devices implement; bit i is enum verify_mode i. */
#define VERIFY_MODES_BUILT (1u << VERIFY_RATIO | 1u << VERIFY_BLOCK | 1u << VERIFY_COUPLED)

/* The same for a request's choice of mode, which is one more: auto comes first. */
#define MODE_CHOICES_LATER (~(VERIFY_MODES_BUILT << 1 | 1u << MODE_AUTO))

_Static_assert(MODE_RATIO == VERIFY_RATIO + 1 && MODE_COUPLED == VERIFY_COUPLED + 1,
               "the two enums run in step");

#endif
