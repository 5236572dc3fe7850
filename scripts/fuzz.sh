#!/usr/bin/env bash
# fuzz.sh [RUNS] [NAME...]: the long runs of the fuzz targets (tests/fuzz), one after the other, and a
# row of docs/fuzzing.md's table for each. By default all of them, ten million runs of body, config,
# tokenizer and tools and one million of the others: about two hours. Corpora stay in the cache folder.
#
# The build leaves out the tracing of comparisons, which helps to find a first corpus and then only
# takes time: two to five times as much. FUZZ_TRACE=1 keeps it.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
runs=""
[[ ${1-} =~ ^[0-9]+$ ]] && runs=$1 && shift
[ $# -gt 0 ] || set -- tools body tokenizer config grammar chat gguf hf_config hf_quant hf_vocab safetensors

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $TEST_PACKAGES
flags=-fno-sanitize-coverage=trace-cmp
[ "${FUZZ_TRACE-0}" = 0 ] || flags=""
CC=clang build "$ROOT/build-test/fuzz-long" "${@/#/fuzz_}" "${@/#/replay_}" -- -DSPECD_CUDA=OFF \
    -DSPECD_FUZZ=ON "-DSPECD_SANITIZE=address;undefined" -DCMAKE_C_FLAGS="$flags"
programs=$ROOT/build-test/fuzz-long/tests/fuzz
export ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=3
for name in "$@"; do
    corpus=$CACHE/fuzz/$name log=$(mktemp)
    [ -d "$corpus" ] || { mkdir -p "$corpus" && "$programs/replay_$name" --write "$corpus"; }
    case $name in tools | body | tokenizer | config) n=10000000 ;; *) n=1000000 ;; esac
    "$programs/fuzz_$name" -runs="${runs:-$n}" -max_len=2048 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$CACHE/fuzz/$name-" "$corpus" >"$log" 2>&1 ||
        { tail -n 40 "$log" && die "fuzz_$name found something" "its log is $log"; }
    echo "| $name | $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") | $(git rev-parse --short HEAD) |"
    rm "$log"
done
