#!/usr/bin/env bash
# The proof that the output law is exact: builds a release and runs every test with the label
# `exact`. The quick set takes a minute or two.
#
# usage: scripts/test-exact.sh [--full [--out FILE]]
#   --full   10^6 tokens of each law, every float of exp and log, more of everything: about 40
#            minutes of one core; then writes what came out to FILE (docs/exactness.md)
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

FULL=0
OUT=$ROOT/docs/exactness.md
while [ $# -gt 0 ]; do
    case $1 in
    --full) FULL=1 ;;
    --out) OUT=${2:?--out FILE} && shift ;;
    *) die "unknown argument: $1" "usage: scripts/test-exact.sh [--full]" ;;
    esac
    shift
done

. "$ROOT/scripts/test-env.sh"
DIR=$ROOT/build-test/release
LOG=$DIR/exact.log
say "release: build"
build "$DIR" all -- -DSPECD_WERROR=ON

[ $FULL = 0 ] || export SPECD_EXACT_FULL=1 SPECD_LONG=1
say "tests with the label exact; the log is $LOG"
ctest --test-dir "$DIR" -L exact -V -j "$JOBS" >"$LOG" 2>&1 || {
    grep -E "\(Failed\)|\(Timeout\)|^[0-9]+: (\[  ERROR|\[   LINE|failed:)" "$LOG" >&2 || tail "$LOG" >&2
    die "the tests above" "run one again: ctest --test-dir build-test/release -R NAME -V"
}
grep -E "tests passed" "$LOG" >&2
if [ $FULL = 1 ]; then
    "$ROOT/scripts/exactness.sh" "$LOG" >"$LOG.md"
    mv "$LOG.md" "$OUT"
    say "wrote $OUT"
fi
say "all passed"
