#!/usr/bin/env bash
# Puts the simulation of the policy of draft lengths (bench/bench-policy.c) into docs/performance.md,
# between its markers. Minutes on one core.
#
# usage: scripts/policy-table.sh [BENCH-POLICY]     a bench-policy that is built already
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
program=${1:-build-bench/bench-policy}
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2086
    install_packages $BUILD_PACKAGES
    build "$ROOT/build-bench" bench-policy --
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -q '^<!-- bench-policy -->$' docs/performance.md || die "docs/performance.md has no markers" "put them back"
"$program" >"$work/table"
awk -v table="$work/table" '
    /^<!-- bench-policy -->$/ { print; while ((getline line < table) > 0) print line; skip = 1 }
    /^<!-- end of bench-policy -->$/ { skip = 0 }
    !skip' docs/performance.md >"$work/new"
cat "$work/new" >docs/performance.md
