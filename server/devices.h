/*
 * devices.h - which devices this daemon was built with, and the choice among them.
 *
 * Part of the daemon, not of the server's library: it is what pulls a device into the link. The
 * engine opens what is chosen here.
 */
#ifndef SPECD_SERVER_DEVICES_H
#define SPECD_SERVER_DEVICES_H

#include "config.h"

/* Sets engine.device and engine.fallback from the option. SPECD_EINVAL, with a line that says what
 * the build lacks, for a device that it has not. */
int devices_choose(struct config *config, char *err, size_t errlen);

#endif
