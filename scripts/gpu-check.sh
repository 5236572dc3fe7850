#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can tell, without the hurry of
# scripts/gpu-short.sh, whose steps these are: builds specd-gpu there, runs the tests, the sanitizers
# and the benchmarks on the GPU, and writes bench/results/gpu-NAME.md as it goes. Needs the CUDA
# toolkit, a C++ compiler and CMake; no package, no network.
#
# usage: scripts/gpu-check.sh [--only STAGE]... [--name NAME] [--out DIR] [--dry]
#   build     devices, kernels for this GPU, tests, benches; the daemon where its libraries are
#   tests     kernels and devices against references, bit for bit where that is promised; the daemon
#   sanitize  compute-sanitizer's memcheck, racecheck and initcheck on a tiny pair and the sampling
#   bench     kernels, passes, rounds: what docs/performance.md predicts
#   peers     Hugging Face transformers on the same machine, where torch and transformers are
#   --name    of the machine; by default made from the GPU's
#   --out     a folder that gets a copy of the result
#   --dry     tries the script out where there is no GPU, with the emulator's programs
# Each step takes at most 9 minutes, a stage is one to five of them. One that fails does not stop the
# next; the exit status says whether any did. What stages gave that do not run this time stays as it
# was in build-gpu/results.
. "$(dirname "$0")/lib.sh"
. "$ROOT/scripts/gpu-steps.sh"
cd "$ROOT"

declare -A STAGE=([build]="machine programs" [tests]="ptx tests daemon" [sanitize]=sanitize
    [bench]="kernels bench variants ncu more" [peers]=peers)
WANTED=() NAME="" COPY=""
while [ $# -gt 0 ]; do
    case $1 in
    --only) [ -n "${STAGE[${2:-none}]:-}" ] || die "--only ${2:-}" "one of: ${!STAGE[*]}"
        WANTED+=("$2") && shift ;;
    --name) NAME=${2:?--name NAME} && shift ;;
    --out) COPY=${2:?--out DIR} && shift ;;
    --dry) DRY=1 ;;
    *) die "unknown argument: $1" "head -n 20 scripts/gpu-check.sh" ;;
    esac
    shift
done
[ ${#WANTED[@]} -gt 0 ] || WANTED=(build tests sanitize bench peers)

OUT=$ROOT/build-gpu/results
ROWS=$ROOT/build-gpu/rows
END=$((SECONDS + 100000))
mkdir -p "$OUT" "$ROWS"
for step in "${STEPS[@]}"; do
    LIMIT[$step]=540
done
TEST_LIMIT=240
AT_ONCE=1
MORE=()
PEERS=()
SANITIZE=()
for tool in memcheck racecheck initcheck; do
    SANITIZE+=("$tool gpu-tests-checked/test_graph_eager 6")
    # The sampling tests' memory is the host's, which initcheck does not watch.
    [ $tool = initcheck ] || SANITIZE+=("$tool gpu-tests/test_sampling_laws 6"
        "$tool gpu-tests/test_sampling_verify 6")
done
BIN=$ROOT/build-gpu
if [ "$DRY" = 1 ]; then
    dry_programs
    dry_sizes
fi
[ -n "$NAME" ] || NAME=$(machine_name)
[ -n "$NAME" ] || die "nvidia-smi finds no GPU" "--dry only tries the script out"

# Built anew by whatever stage runs; what did not change takes no time.
if [ "$DRY" = 0 ]; then
    command -v nvcc >/dev/null || die "nvcc was not found" "put the CUDA toolkit's bin into PATH"
    gpu_build "$BIN" "$(query compute_cap | tr -d .)" >"$OUT/build.txt" 2>&1 || {
        grep -E -A3 "error|undefined|FAILED|CMake Error" "$OUT/build.txt" | tail -n 40 >&2
        die "the build" "its log is $OUT/build.txt"
    }
fi
for stage in "${WANTED[@]}"; do
    for step in ${STAGE[$stage]}; do
        [ "$step" = ptx ] && rm -f "$OUT/tests.txt"
        [ "$step" = sanitize ] && rm -f "$OUT/tools.txt"
        run_steps "$step"
    done
done

RESULT=$OUT/gpu-$NAME.md
if [ "$DRY" = 0 ]; then # a dry run's is not worth keeping
    cp "$RESULT" "$ROOT/bench/results/"
    [ -z "$COPY" ] || cp "$RESULT" "$COPY/"
fi
cat "$RESULT"
[ -z "$(failures)" ] || die "some of it: $(failures | wc -l) lines of the report say FAILED"
