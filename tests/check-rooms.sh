#!/usr/bin/env bash
# The walls between rooms, as docs/architecture.md draws them: greps the includes.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
# forbid PATTERN WHERE... : no include line in WHERE may match PATTERN
forbid() {
    local pattern=$1
    shift
    local hits
    hits=$(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)" \
        --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh' "$@" 2>/dev/null)
    if [ -n "$hits" ]; then
        printf 'not allowed here (%s):\n%s\n' "$pattern" "$hits"
        bad=1
    fi
}
forbid 'cuda|cublas' engine server include cpu base
forbid 'cjson|cJSON' include cpu cuda engine server $(find base -name '*.[ch]' ! -name json.c)
forbid 'microhttpd' include base cpu cuda engine
forbid 'gnutls|seccomp' include base cpu cuda engine
forbid 'uv\.h' include base cpu cuda server engine/model engine/text engine/jinja engine/drafters
forbid 'specd/(engine|request)\.h|engine|model/|text/' cpu cuda
forbid 'model/|text/|grammar/|drafters/' engine/jinja
forbid 'jinja/[^c]' engine/*.c engine/*.h engine/model engine/text engine/grammar server
forbid 'specd/device\.h' engine/model
forbid 'cpu/|matmul\.h|pool\.h|law\.h"' engine server
[ "$bad" = 0 ] && echo "rooms: ok"
exit "$bad"
