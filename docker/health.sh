#!/bin/bash
# Exit 0 when the server in this container answers /health with 200. No curl needed.
exec 3<>"/dev/tcp/127.0.0.1/${SPECD_PORT:-8080}" || exit 1
printf 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 4 _ status _ <&3
[ "$status" = 200 ]
