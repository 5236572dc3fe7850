#!/usr/bin/env bash
# Makes the Python environment of the tests (oracles and clients) in the cache folder and prints the
# path of its python. Made anew when the list of packages changes.
#
# usage: scripts/venv.sh [LIST]     LIST: tests/requirements.txt, or another list of packages
. "$(dirname "$0")/lib.sh"

list=${1:-tests/requirements.txt}
want=$(sha256sum "$ROOT/$list" | cut -c1-16)
venv=$CACHE/venv-$want
if [ ! -f "$venv/.complete" ]; then
    say "making a Python environment in $venv"
    rm -rf "$venv"
    mkdir -p "$CACHE"
    python3 -m venv "$venv" || die "python3 -m venv $venv" "apt-get install python3-venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$ROOT/$list" \
        >&2 || die "pip install -r $list" "check the network and try again"
    touch "$venv/.complete"
fi
echo "$venv/bin/python"
