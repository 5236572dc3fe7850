#!/usr/bin/env bash
# The most that under eight minutes on a machine with a GPU can tell, in one command: tests,
# measurements beside their predictions, a sanitizer, peers, in the order of what they tell. Needs the
# driver and the programs that scripts/gpu-carry.sh packs, or the CUDA toolkit, a C++ compiler and
# CMake to build them there; no network. scripts/gpu-check.sh is the same without the hurry.
#
# usage: scripts/gpu-short.sh [--out DIR] [--seconds N] [--dry] [--programs DIR]
#   --out       gets at most 8 files, written as results come; by default build-gpu/short
#   --seconds   of the whole, 460 by default; steps' limits shrink with it
#   --dry       no GPU: the same steps with the emulator's programs, in small
#   --programs  a folder with the programs, instead of those carried or built here
# The report is DIR/gpu-NAME.md. The exit status says whether any step failed.
. "$(dirname "$0")/lib.sh"
. "$ROOT/scripts/gpu-steps.sh"

ARGUMENTS=("$@")
TOTAL=460 OUT=$ROOT/build-gpu/short BIN=
while [ $# -gt 0 ]; do
    case $1 in
    --out) OUT=${2:?--out DIR} && shift ;;
    --seconds) TOTAL=${2:?--seconds N} && shift ;;
    --dry) DRY=1 ;;
    --programs) BIN=${2:?--programs DIR} && shift ;;
    *) die "unknown argument: $1" "head -n 14 scripts/gpu-short.sh" ;;
    esac
    shift
done
[[ $TOTAL =~ ^[1-9][0-9]+$ ]] || die "--seconds $TOTAL" "a number from 20 on"

# Whatever hangs, and however: this ends in time. Building for a dry run is not part of it.
if [ -z "${SPECD_GPU_SHORT:-}" ]; then
    [ "$DRY" = 0 ] || [ -n "$BIN" ] || { dry_programs && ARGUMENTS+=(--programs "$BIN"); }
    SPECD_GPU_SHORT=1 exec timeout --kill-after=2 "$TOTAL" "$0" "${ARGUMENTS[@]}"
fi
END=$((TOTAL - 6))
LIMIT=([machine]=8 [programs]=14 [ptx]=12 [tests]=55 [kernels]=32 [bench]=50 [variants]=45
    [ncu]=35 [more]=95 [daemon]=14 [sanitize]=60 [peers]=40)
for step in "${STEPS[@]}"; do
    LIMIT[$step]=$((LIMIT[$step] * TOTAL / 460 + 2))
done
[ "$DRY" = 0 ] || dry_sizes

mkdir -p "$OUT"
clear_results
ROWS=$(mktemp -d)
trap 'rm -rf "$ROWS"' EXIT
NAME=$(machine_name)
[ -n "$NAME" ] || die "nvidia-smi finds no GPU" "--dry tries the script out without one"
run_steps "${STEPS[@]}"
cat "$OUT/gpu-$NAME.md"
say "wrote $OUT/gpu-$NAME.md"
[ -z "$(failures)" ] || die "some of it: $(failures | wc -l) lines of the report say FAILED"
