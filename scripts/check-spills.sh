#!/usr/bin/env bash
# check-spills.sh NVCC ARCHS [-o DIR] [FILE...]: compiles every kernel of cuda/ and of
# tests/emu/ptx_kernels.cu (or the files given) for each architecture ("80;90") and prints registers
# and shared memory of each; fails if one spills registers or keeps an array in local memory, which
# the kernels here must not. -o: leaves in DIR/sm_NN what was printed (report) and each file's PTX,
# for check-kernels.py.
. "$(dirname "$0")/lib.sh"
[ $# -ge 2 ] || die "usage: check-spills.sh NVCC ARCHS [-o DIR] [FILE...]"
NVCC=$1
ARCHS=${2//;/ }
shift 2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
out=$tmp/kept
if [ "${1:-}" = -o ]; then
    out=$2
    shift 2
fi
[ $# -gt 0 ] || set -- "$ROOT"/cuda/*.cu "$ROOT"/tests/emu/ptx_kernels.cu

# Reads ptxas' report: one line a kernel, and the exit status.
report() {
    awk '
        /Compiling entry function/ { split($0, part, "\047"); name = part[2] }
        /bytes stack frame/ {
            frame = stores = loads = 0
            for (i = 2; i <= NF; i++) {
                if ($i == "bytes" && $(i + 1) == "stack") frame = $(i - 1)
                if ($i == "bytes" && $(i + 2) ~ /^stores/) stores = $(i - 1)
                if ($i == "bytes" && $(i + 2) ~ /^loads/) loads = $(i - 1)
            }
        }
        /Used [0-9]+ registers/ {
            n++
            sub(/.*: Used /, "")
            wrong = frame + stores + loads > 0
            bad += wrong
            printf "  %s %s: %s%s\n", wrong ? "BAD" : "ok ", name, $0, \
                wrong ? ", local memory " frame ", spills " stores " + " loads : ""
        }
        END { exit bad > 0 || n == 0 }'
}

bad=0
for arch in $ARCHS; do
    kept=$out/sm_$arch
    mkdir -p "$kept"
    rm -f "$kept"/*.ptx "$kept/report"
    for file in "$@"; do
        ptx=$kept/$(basename "$file" .cu).ptx
        echo "sm_$arch $(basename "$file")" | tee -a "$kept/report"
        { "$NVCC" -std=c++17 "-arch=sm_$arch" -fmad=false -ftz=false -prec-div=true \
            -I "$ROOT/include" -I "$ROOT/cuda" -ptx -o "$ptx" "$file" &&
            "$NVCC" "-arch=sm_$arch" -Xptxas -v -cubin -o "$tmp/out.cubin" "$ptx"; } \
            >"$tmp/log" 2>&1 || { cat "$tmp/log" && die "nvcc on $file for sm_$arch"; }
        report <"$tmp/log" | tee -a "$kept/report" || bad=1
    done
done
[ "$bad" = 0 ] || die "a kernel spills or uses local memory" "the lines marked BAD above say which"
