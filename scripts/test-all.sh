#!/usr/bin/env bash
# Everything scripts/test.sh runs and what it leaves out: long statistics, every prompt, every test
# under every sanitizer, clang, the fuzz targets for a while, nvcc where there is one. At most 85
# minutes on two cores.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

"$ROOT/scripts/test.sh"

. "$ROOT/scripts/test-env.sh"
"$ROOT/scripts/test-exact.sh" --full --out "$ROOT/build-test/exactness.md"
SPECD_LONG=1 run release -L engine -LE exact -- # every prompt
# Not the real model: a hundred times slower, and threads do there what they do with small ones.
run thread -L "unit|device|engine|http" -LE "oracle" -E smollm2 -- -DSPECD_SANITIZE=thread
CC=clang run clang -L "unit|device|engine|fuzz" -- "-DSPECD_SANITIZE=address;undefined"

say "fuzz: build"
CC=clang build "$ROOT/build-test/fuzz" all -- -DSPECD_FUZZ=ON "-DSPECD_SANITIZE=address;undefined"
for target in "$ROOT"/build-test/fuzz/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    say "fuzz: $(basename "$target")"
    (cd "$(mktemp -d)" && "$target" -max_total_time=60 -rss_limit_mb=2048 -print_final_stats=0 \
        >fuzz.log 2>&1) || die "$(basename "$target") found something" "run it again by hand"
done
say "all passed"
