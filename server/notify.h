/*
 * notify.h - tells systemd how the service is doing (sd_notify(3): one datagram to the unix socket
 * named by NOTIFY_SOCKET). Without that variable nothing happens; nothing fails.
 */
#ifndef SPECD_SERVER_NOTIFY_H
#define SPECD_SERVER_NOTIFY_H

void notify_supervisor(const char *state); /* "READY=1", "STOPPING=1" */

#endif
