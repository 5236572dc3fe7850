#!/usr/bin/env bash
# Measures this machine with bench/ and writes bench/results/NAME.md and acceptance-NAME.md, machine
# and commit on top.
#
# usage: scripts/bench.sh NAME        (a short name for the machine, such as "epyc-2core")
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
NAME=${1:?usage: scripts/bench.sh NAME}
PORT=${SPECD_PORT:-8123}

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $TEST_PACKAGES $MODEL_PACKAGES curl
build "$ROOT/build-bench" specd specd-fake synth-model bench-matmul bench-device bench-serve \
    bench-acceptance --
MODEL=$("$ROOT/scripts/get-model.sh")
B=$ROOT/build-bench
OUT=$ROOT/bench/results/$NAME.md
ACCEPTANCE=$ROOT/bench/results/acceptance-$NAME.md
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

start() { # start PROGRAM ARGUMENT...: a server, ready
    local program=$1
    shift
    "$B/$program" --port "$PORT" --log-level warn "$@" &
    server=$!
    for _ in $(seq 600); do
        curl -sf "http://127.0.0.1:$PORT/ready" >/dev/null && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    die "$program $* did not get ready" "run it by hand"
}
stop() { kill "$server" && wait "$server" || true; server=; }
serve() { "$B/bench-serve" --url "http://127.0.0.1:$PORT" "$@"; }

title() { # title TEXT
    echo "# $1"
    echo
    echo "- machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(nproc) cores," \
        "$(free -g | awk '/^Mem/{print $2}') GiB"
    echo "- commit: $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- || echo ' (modified)')," \
        "$(date -u +%F)"
    echo "- command: scripts/bench.sh $NAME"
    echo
}

# Two pairs of one draft, close and less close, and the default model with two of its own layers
# left out: a draft that is no faster, but real.
acceptance() {
    local shape="--embd 64 --heads 4 --kv-heads 2 --ff 128 --vocab 512 --ctx 1024 --seed 7" eps
    # shellcheck disable=SC2086
    "$B/synth-model" $shape --layers 1 "$work/draft.gguf"
    for eps in 0.2 0.5; do
        # shellcheck disable=SC2086
        "$B/synth-model" $shape --layers 3 --keep 1 --eps $eps "$work/target-$eps.gguf"
        "$B/bench-acceptance" -m "$work/target-$eps.gguf" -d "$work/draft.gguf" -n synthetic-$eps
        echo
    done
    "$B/bench-acceptance" -m "$MODEL" -d self:0-9+11-19+21-29 -n smollm2-self -K 4,8 -T 0.7,1 \
        -p "$ROOT/bench/prompts.txt" -t 768 -r 16
}

{
    title "$NAME"
    echo "## Matrix work alone (bench-matmul)"
    echo
    echo '```'
    "$B/bench-matmul"
    echo '```'
    echo
    echo "## Whole passes, draw and verify (bench-device)"
    echo
    "$B/bench-device"
    echo
    echo "## HTTP alone: the server over an engine that answers at once (bench-serve, specd-fake)"
    echo
    start specd-fake -m fake
    serve --clients 1,16 --requests 20000 --max-tokens 8 --prompt-tokens 8 --vocab 300
    stop
    echo
    echo "## Serving a tiny synthetic model (bench-serve)"
    echo
    "$B/synth-model" --layers 1 --embd 64 --heads 2 --ff 64 --vocab 320 --ctx 512 "$work/tiny.gguf"
    start specd -m "$work/tiny.gguf" -c 256
    serve --clients 1,16 --requests 4000 --max-tokens 8 --prompt-tokens 8 --vocab 300
    stop
    echo
    echo "## Serving the default model (bench-serve): 64 tokens of a summary, speculation on and off"
    echo
    start specd -m "$MODEL" -md lookup -c 1024
    serve --clients 1,4,16,64 --requests 32 --max-tokens 64 --route chat \
        --prompt-file "$ROOT/bench/prompt.txt" --speculative on,off
    stop
} >"$OUT.part"
mv "$OUT.part" "$OUT"
{
    title "Tokens per round by mode of verification: $NAME"
    acceptance
} >"$ACCEPTANCE.part"
mv "$ACCEPTANCE.part" "$ACCEPTANCE"
say "wrote $OUT and $ACCEPTANCE"
