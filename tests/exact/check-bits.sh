#!/usr/bin/env bash
# The same bits from every compiler and option: builds tests/exact/bits.c over the sources of laws
# with gcc and clang, without and with optimisation, with fused multiply-add as a call and as an
# instruction, and compares what the programs print. A compiler that is missing is left out, but
# fewer than two builds are a failure. One build that lets the compiler fuse what it likes must
# print something else, or the check could not see anything. SPECD_EXACT_FULL=1: more options.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sources=(tests/exact/bits.c cpu/law.c cpu/law_cut.c cpu/law_verify.c cpu/law_portable.c)
options=(-O0 "-O3 -march=native")
[ -z "${SPECD_EXACT_FULL:-}" ] || options+=(-O2 -O3 "-O0 -march=native")
arguments=()
fma=no
if [ "$(uname -m)" = x86_64 ]; then
    sources+=(cpu/law_avx2.c cpu/law_avx512.c)
    if grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo; then
        fma=yes
        arguments=(avx2) # and compare these kernels with the portable ones
        if grep -qw avx512vl /proc/cpuinfo && grep -qw avx512bw /proc/cpuinfo; then
            arguments+=(avx512)
        fi
        options+=("-O3 -mfma")
    fi
fi

# checksums COMPILER OPTION...: what a build prints
checksums() {
    "$@" -std=gnu11 -D_GNU_SOURCE -fno-strict-aliasing -Iinclude -Icpu "${sources[@]}" \
        -o "$work/bits" -lm -lpthread
    "$work/bits" "${arguments[@]}"
}

want="" n=0 bad=0
for compiler in gcc clang; do
    if ! command -v $compiler >/dev/null; then
        echo "skip: $compiler is not installed"
        continue
    fi
    version=$($compiler -dumpfullversion 2>/dev/null || $compiler -dumpversion)
    for option in "${options[@]}"; do
        # shellcheck disable=SC2086
        got=$(checksums $compiler -ffp-contract=off $option)
        echo "RESULT bits compiler=${compiler}_$version options=${option// /_} $got"
        want=${want:-$got}
        [ "$got" = "$want" ] || bad=1
        n=$((n + 1))
    done
    if [ $fma = yes ] && [ $compiler = gcc ]; then
        got=$(checksums gcc -ffp-contract=fast -O3 -mfma)
        echo "RESULT bits compiler=${compiler}_$version" \
            "options=-O3_-mfma_-ffp-contract=fast_(control,_must_differ) $got"
        [ "$got" != "$want" ] || bad=1
    fi
done
[ $n -ge 2 ] || { echo "failed: $n builds are nothing to compare" && exit 1; }
[ $bad = 0 ] || { echo "failed: the checksums differ, or the control's does not" && exit 1; }
echo "bits: $n builds agree"
