#!/usr/bin/env bash
# Measures this machine with bench/ and writes bench/results/NAME/PART.md, with machine and commit on
# top of each.
#
# usage: scripts/bench.sh NAME [PART...]     NAME: a short name for the machine: "epyc-2core"
#   matmul      matrix work alone, in units of merely reading the weights
#   device      whole passes, draw and verify
#   experts     whole passes of Qwen3-30B-A3B's widths, with 6 layers and a vocabulary of 32768
#   activations what rows of 8 bits change in the default model's answers, and in those of the model
#               that SPECD_BENCH_MODEL names
#   http        the server over an engine that answers at once
#   tiny        a tiny synthetic model
#   serve       the default model with 1, 4, 16 and 64 clients, speculation on and off
#   json        masks of a schema, and the default model under one
#   acceptance  tokens per round of each mode of verification
#   load        thousands of connections, vanishing and hostile clients, bodies (tests/load)
# What speculation is worth by task and beside peers is scripts/spec-bench.sh's.
# All parts take half an hour on two cores. Nothing else should run meanwhile.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
NAME=${1:?usage: scripts/bench.sh NAME [PART...]}
shift
PARTS=(matmul device experts activations http tiny serve json acceptance load)
[ $# -eq 0 ] || PARTS=("$@")
PORT=${SPECD_PORT:-8123}

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $TEST_PACKAGES $MODEL_PACKAGES curl
build "$ROOT/build-bench" specd specd-fake synth-model bench-matmul bench-device bench-serve \
    bench-acceptance bench-activations bench-parse bench-grammar test-models --
MODEL=$("$ROOT/scripts/get-model.sh")
B=$ROOT/build-bench
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

title() { # title PART TEXT
    echo "# $2: $NAME"
    echo
    echo "- machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(nproc) cores," \
        "$(free -g | awk '/^Mem/{print $2}') GiB"
    echo "- commit: $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- || echo ' (modified)')," \
        "$(date -u +%F)"
    echo "- command: scripts/bench.sh $NAME $1"
    echo
}

part_matmul() {
    title matmul "Matrix work alone"
    echo '```'
    "$B/bench-matmul"
    echo '```'
}

part_device() {
    title device "Whole passes, draw and verify"
    "$B/bench-device"
}

part_experts() {
    title experts "Whole passes with experts: Qwen3-30B-A3B's widths, 6 layers, a vocabulary of 32768"
    "$B/synth-model" --arch qwen3moe --embd 2048 --heads 32 --kv-heads 4 --head-dim 128 --ff 6144 \
        --experts 128 --experts-used 8 --expert-ff 768 --vocab 32768 --ctx 4096 --layers 6 \
        --type q4_k "$work/experts.gguf"
    "$B/bench-device" -m "$work/experts.gguf" -n 30
}

part_activations() {
    local model
    title activations "Rows of 8 bits against float activations, the same weights, bf16 KV"
    for model in "$MODEL" ${SPECD_BENCH_MODEL:+"$SPECD_BENCH_MODEL"}; do
        "$B/bench-activations" -m "$model" README.md docs/architecture.md docs/api.md engine/round.c |
            if [ "$model" = "$MODEL" ]; then cat; else tail -n 1; fi
    done
}

part_http() {
    title http "HTTP alone: the server over an engine that answers at once"
    start specd-fake -m fake
    serve --clients 1,16 --requests 20000 --max-tokens 8 --prompt-tokens 8 --vocab 300
    stop
}

part_tiny() {
    title tiny "Serving a tiny synthetic model"
    "$B/synth-model" --layers 1 --embd 64 --heads 2 --ff 64 --vocab 320 --ctx 512 "$work/tiny.gguf"
    start specd -m "$work/tiny.gguf" -c 256
    serve --clients 1,16 --requests 4000 --max-tokens 8 --prompt-tokens 8 --vocab 300
    stop
}

part_serve() {
    title serve "Serving the default model, 64 tokens of a summary, speculation on and off"
    start specd -m "$MODEL" -md lookup -c 1024
    serve --clients 1,4,16,64 --requests 32 --max-tokens 64 --route chat \
        --prompt-file "$ROOT/bench/prompt.txt" --speculative on,off
    stop
}

part_json() {
    local format
    format="\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":$(cat bench/schema.json)}}"
    title json "Answers under a JSON schema"
    echo "## Masks, on one core: the default model's vocabulary, and one as large as today's"
    echo
    echo '```'
    "$B/bench-grammar" "$MODEL"
    "$B/bench-grammar"
    echo '```'
    start specd -m "$MODEL" -md lookup -c 1024
    echo
    echo "## The default model, a list of people out of a text (bench/schema.json)"
    echo
    serve --clients 1,4 --requests 32 --max-tokens 256 --route chat --stop-at-eos \
        --prompt-file "$ROOT/bench/prompt-json.txt" --speculative on,off --fields "$format"
    echo
    echo "## The same without a schema"
    echo
    serve --clients 1,4 --requests 32 --max-tokens 256 --route chat --stop-at-eos \
        --prompt-file "$ROOT/bench/prompt-json.txt" --speculative on,off
    stop
}

# Two pairs of one draft, close and less close, and the default model with two of its own layers
# left out: a draft that is no faster, but real.
part_acceptance() {
    local shape="--embd 64 --heads 4 --kv-heads 2 --ff 128 --vocab 512 --ctx 1024 --seed 7" eps
    title acceptance "Tokens per round by mode of verification"
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

# load_table BINARY ARGUMENTS: what tests/load reports in its full size
load_table() {
    local rows=$work/rows
    : >"$rows"
    TEST_BIN=$1 TEST_ARGS=$2 TEST_FAKE=0 TEST_SLOW=4 LOAD_FULL=1 LOAD_REPORT=$rows \
        PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/load/test_load.py" >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        die "tests/load with $1" "its messages are above"
    }
    echo "| what | result |"
    echo "|:--|:--|"
    cat "$rows"
    echo
}

part_load() {
    local models=$B/tests/models
    title load "Load: connections, streams, vanishing and hostile clients"
    echo "Load average before: $(cut -d' ' -f1-3 /proc/loadavg). The longest times tell what else ran."
    echo
    echo "## The daemon with a synthetic pair of models, 16 slots"
    echo
    load_table "$B/specd" "-m $models/target.gguf -md $models/draft.gguf,lookup -t 2"
    echo "## HTTP alone: tokens every 5 ms from an engine without slots"
    echo
    load_table "$B/specd-fake" "-m fake"
    echo "## Reading bodies"
    echo
    "$B/bench-parse"
}

mkdir -p "$ROOT/bench/results/$NAME"
for part in "${PARTS[@]}"; do
    declare -F "part_$part" >/dev/null || die "no part $part" "head -n 14 scripts/bench.sh lists them"
    say "$part"
    "part_$part" >"$work/$part.md"
    mv "$work/$part.md" "$ROOT/bench/results/$NAME/$part.md"
done
