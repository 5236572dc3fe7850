/*
 * notify.h - tells systemd how the service is doing (sd_notify(3): one datagram to the unix socket
 * named by NOTIFY_SOCKET). Without that variable nothing happens; nothing fails.
 */
#ifndef SPECD_SERVER_NOTIFY_H
#define SPECD_SERVER_NOTIFY_H

void notify_supervisor(const char *state); /* "READY=1", "STOPPING=1", "WATCHDOG=1" */

/* How often to look whether all is well, so that systemd's watchdog (WatchdogSec=) hears of it in
 * time: a quarter of its patience. -1: there is no watchdog. */
int notify_watchdog_ms(void);

#endif
