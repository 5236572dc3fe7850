#!/bin/sh
# The second stage of an image: the libraries of the program, and the user it runs as.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
xargs apt-get install -y -qq --no-install-recommends <"$(dirname "$0")/packages" >/dev/null
rm -rf /var/lib/apt/lists/*

echo "specd:x:10001:" >>/etc/group
echo "specd:x:10001:10001:specd:/nonexistent:/usr/sbin/nologin" >>/etc/passwd
install -d -m 755 /models
install -d -m 750 -o 10001 -g 10001 /var/cache/specd
