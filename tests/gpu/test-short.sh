#!/usr/bin/env bash
# scripts/gpu-short.sh where there is no GPU.
#
#   limits DRY  stand-ins for all programs, some of which fail or hang: the order of the steps, that
#               each runs whatever the others do, and that all ends in time
#   dry DRY     the emulator's programs (the folder DRY): every step goes well, and its numbers are in
#               the report
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PART=$1 DRY_PROGRAMS=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out

fail() {
    echo "FAILED: $*" >&2
    cat "$work/log" "$out/gpu-dry.md" >&2
    exit 1
}

# visit SECONDS PROGRAMS: its exit status is in `code`
visit() {
    code=0
    timeout --kill-after=5 $(($1 + 5)) "$ROOT/scripts/gpu-short.sh" --dry --seconds "$1" \
        --programs "$2" --out "$out" >"$work/log" 2>&1 || code=$?
    [ "$(find "$out" -type f | wc -l)" -le 8 ] || fail "more than 8 files: $(ls "$out")"
    [ -s "$out/gpu-dry.md" ] || { cat "$work/log" && fail "no report"; }
}

# has FILE TEXT...: lines that contain them, in this order
has() {
    local file=$out/$1 at=0 next text
    shift
    for text in "$@"; do
        next=$(awk -v from="$at" -v text="$text" \
            'NR > from && index($0, text) { print NR; exit }' "$file")
        [ -n "$next" ] || fail "$file has no \"$text\" below line $at"
        at=$next
    done
}

# stand_in NAME COMMAND: a program that notes that it was there
stand_in() {
    mkdir -p "$(dirname "$work/bin/$1")"
    printf '#!/bin/sh\necho "%s $*" >>"%s/order"\n%s\n' "$1" "$work" "$2" >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}

limits() {
    local seconds=45 start=$SECONDS
    stand_in bench-kernels "echo '## Small kernels'"
    stand_in gpu-tests/test_ptx "echo ptx is wrong; exit 1"
    # The order of launches shows in what a test is run with again.
    stand_in gpu-tests/test_fails "echo \"without overlap: \$SPECD_NO_OVERLAP\"; exit 3"
    stand_in gpu-tests/test_good "echo RESULT good=1"
    stand_in gpu-tests/test_hangs "trap '' TERM; echo hanging; while :; do sleep 1; done"
    stand_in bench-gpu 'echo "# half a line"; case "$*" in *speedup*) sleep 1000 ;; esac'
    stand_in gpu-tests-checked/test_graph_eager "echo checked"
    stand_in gpu-tests/test_sampling_verify ""
    visit $seconds "$work/bin"
    [ $((SECONDS - start)) -le $seconds ] || fail "it took $((SECONDS - start)) s of $seconds"
    [ $code = 1 ] || fail "it ended with $code"
    has gpu-dry.md "| first launches | ok" "| test_ptx | FAILED with 1" "launches do not overlap" \
        "| bench-kernels | ok" "| bench-gpu: One slot | FAILED: more than" \
        "| bench-gpu: Launches in order | ok" "| bench-gpu: Slots, prompts" "| daemon | skipped" \
        "| memcheck test_graph_eager | ok" "| racecheck test_sampling_verify | ok" "RESULT good=1"
    has gpu-dry.md "| test_fails | FAILED with 3"
    has gpu-dry.md "| test_hangs | FAILED: more than"
    has gpu-dry.md "| test_good | ok"
    has tests.txt "test_fails: without overlap: 1" "test_fails, launches in order: without overlap"
    has tests.txt "test_hangs: hanging"
    has bench.md "# half a line" # what came before it hung
    cp "$work/order" "$out/order"
    has order bench-kernels test_ptx test_good bench-kernels "speedup" "-O draft decode" \
        "-R decode rows" "slots prompts contexts types" gpu-tests-checked gpu-tests/test_sampling
    rm "$out/order"

    # The whole has a limit too, and what there was no time for says so.
    stand_in gpu-tests/test_hangs "exit 0"
    stand_in bench-gpu "sleep 1000"
    start=$SECONDS
    visit 20 "$work/bin"
    [ $((SECONDS - start)) -le 20 ] || fail "it took $((SECONDS - start)) s of 20"
    has gpu-dry.md "| test_good | ok" "skipped: no time left"
}

dry() {
    visit 460 "$DRY_PROGRAMS"
    has gpu-dry.md "| test_ptx | ok" "| test_graph_eager | ok" "| bench-kernels | ok" \
        "| bench-gpu: One slot | ok" "| bench-gpu: Launches in order | ok" "| daemon | ok" \
        "## Ways to launch" "| One slot | " "| Launches in order | " "RESULT daemon" \
        "## Attention, one slot" "## Matmuls" "## A pass of one row" "## Plain decode" \
        "## Weight types"
    ! grep -q "FAILED" "$out/gpu-dry.md" || fail "a step did"
    [ $code = 0 ] || fail "it ended with $code"
}

"$PART"
