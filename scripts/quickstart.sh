#!/usr/bin/env bash
# From nothing to a chat answer: installs what is missing, builds, gets the default model, starts
# the server, asks it one question and leaves it running. --once: stop after the answer.
. "$(dirname "$0")/lib.sh"

ONCE=0
PORT=${SPECD_PORT:-8080}
while [ $# -gt 0 ]; do
    case $1 in
    --once) ONCE=1 ;;
    --port) PORT=${2:?--port needs a number} && shift ;;
    *) die "unknown argument: $1" "usage: scripts/quickstart.sh [--once] [--port N]" ;;
    esac
    shift
done
URL=http://127.0.0.1:$PORT

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES curl $MODEL_PACKAGES
say "building into build/"
build "$ROOT/build" specd -- -DSPECD_TESTS=OFF
"$ROOT/scripts/get-model.sh" >/dev/null

say "starting build/specd"
log=$(mktemp)
"$ROOT/build/specd" --host 127.0.0.1 --port "$PORT" 2> >(tee "$log" >&2) &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -f "$log"' EXIT

for _ in $(seq 600); do
    kill -0 "$server" 2>/dev/null ||
        die "the server ended while starting" "its log is above; is port $PORT taken? try --port N"
    curl -sf "$URL/ready" >/dev/null && break
    sleep 0.1
done
curl -sf "$URL/ready" >/dev/null || die "no /ready within 60 s" "its log is above"

say "asking for a summary (POST $URL/v1/chat/completions, streaming)"
python3 "$ROOT/scripts/ask.py" "$URL" || die "the chat request" "the server's log is above"

if [ "$ONCE" = 1 ]; then
    kill "$server"
    wait "$server" || die "the server did not end cleanly" "its log is above"
    trap - EXIT
    rm -f "$log"
    exit 0
fi
cat >&2 <<EOF

specd is running at $URL (Ctrl-C stops it). Try:

curl -N $URL/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{"messages":[{"role":"user","content":"Name three rivers."}],"stream":true}'

EOF
wait "$server"
