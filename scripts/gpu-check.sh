#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can tell, in one command: builds specd-gpu, runs
# the tests, the sanitizers and the benchmarks on the GPU, and writes bench/results/gpu-NAME.md, a
# section for each stage. Needs the CUDA toolkit, a C++ compiler and CMake; no package, no network.
#
# usage: scripts/gpu-check.sh [--only STAGE]... [--name NAME] [--out DIR] [--device cuda|cpu]
#   build     devices, kernels for this GPU, tests, benches; the daemon where its libraries are
#             installed or carried here (scripts/gpu-carry.sh)
#   tests     kernels and devices against references, bit for bit where that is promised
#   sanitize  compute-sanitizer's memcheck, racecheck and initcheck on a tiny pair and the sampling
#   bench     the table of docs/performance.md
#   peers     Hugging Face transformers on the same machine, where torch and transformers are
#   --name    of the machine; by default made from the GPU's
#   --out     a folder that gets a copy of the result
#   --device  cpu: tries the script out where there is no GPU
# Each stage takes at most 9 minutes; each builds first what it needs. A stage that fails does not
# stop the next; the exit status says whether any did. Sections of stages that did not run this time
# stay as they were in build-gpu/.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

STAGES=(build tests sanitize bench peers)
LIMIT=520 # seconds of a stage
ONLY=() NAME="" OUT_DIR="" DEVICE=cuda
while [ $# -gt 0 ]; do
    case $1 in
    --only) [[ " ${STAGES[*]} " == *" ${2:-} "* ]] || die "--only ${2:-}" "one of: ${STAGES[*]}"
        ONLY+=("$2") && shift ;;
    --name) NAME=${2:?--name NAME} && shift ;;
    --out) OUT_DIR=${2:?--out DIR} && shift ;;
    --device) DEVICE=${2:?--device cuda|cpu} && shift ;;
    *) die "unknown argument: $1" "head -n 23 scripts/gpu-check.sh" ;;
    esac
    shift
done
[ ${#ONLY[@]} -gt 0 ] || ONLY=("${STAGES[@]}")
[ -d /usr/local/cuda/bin ] && PATH=$PATH:/usr/local/cuda/bin

B=$ROOT/build-gpu
CHECKED=$ROOT/build-gpu-checked # every tensor an allocation of its own
CARRY=$ROOT/build-carry
PARTS=$B/stages
mkdir -p "$PARTS"
export SPECD_TEST_DEVICE=$DEVICE

# ---- the machine ---------------------------------------------------------------------------------

if [ "$DEVICE" = cuda ]; then
    command -v nvcc >/dev/null || die "nvcc was not found" "put the CUDA toolkit's bin into PATH"
    query() { nvidia-smi --query-gpu="$1" --format=csv,noheader | head -n1; }
    GPU=$(query name) || die "nvidia-smi finds no GPU" "--device cpu only tries the script out"
    ARCH=$(query compute_cap | tr -d .)
    DRIVER=$(query driver_version)
    OPTIONS=(-DSPECD_CUDA=ON "-DSPECD_CUDA_ARCHS=$ARCH")
else
    GPU=cpu ARCH=none DRIVER=none
    OPTIONS=(-DSPECD_CUDA=OFF)
fi
[ -n "$NAME" ] || NAME=$(tr 'A-Z ' 'a-z-' <<<"${GPU#NVIDIA }" | tr -cd 'a-z0-9-')
GENERATOR=(-G "Unix Makefiles")
command -v ninja >/dev/null && GENERATOR=(-G Ninja)

# The daemon's libraries: the system's, else those carried here.
LIBRARIES=none
if pkg-config --exists libmicrohttpd gnutls libuv libcjson libpcre2-8 2>/dev/null; then
    LIBRARIES=installed
elif [ -d "$CARRY/lib" ]; then
    LIBRARIES=carried
    export PKG_CONFIG_LIBDIR=$CARRY/lib/pkgconfig PKG_CONFIG=$CARRY/bin/pkg-config
    export LD_LIBRARY_PATH=$CARRY/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# compile DIR TARGET CMAKE_OPTION...
compile() {
    local dir=$1 target=$2 log=$PARTS/make-$(basename "$1").log
    shift 2
    { cmake -S "$ROOT" -B "$dir" "${GENERATOR[@]}" "$@" &&
        cmake --build "$dir" --target "$target" -j "$JOBS"; } >"$log" 2>&1 || {
        grep -E -A3 "error|undefined|FAILED|CMake Error" "$log" | tail -n 40 >&2
        return 1
    }
}
compile_gpu() { compile "$B" specd-gpu -DSPECD_GPU_ONLY=ON "${OPTIONS[@]}"; }

# ---- stages: each prints its section to stdout, and fails if anything in it did -------------------

seconds_since() { echo $((SECONDS - $1)); }

stage_build() {
    local start=$SECONDS
    echo "| what | result | seconds |"
    echo "|---|---|---:|"
    compile_gpu || { echo "| specd-gpu | FAILED | $(seconds_since $start) |" && return 1; }
    echo "| specd-gpu | ok | $(seconds_since $start) |"
    build_daemon
}

build_daemon() {
    local start=$SECONDS target
    [ $LIBRARIES != none ] ||
        { echo "| specd | skipped: its libraries are not here (scripts/gpu-carry.sh) | 0 |" && return 0; }
    for target in specd synth-model; do
        compile "$B-daemon" $target -DSPECD_TESTS=OFF "${OPTIONS[@]}" ||
            { echo "| $target | FAILED | $(seconds_since $start) |" && return 1; }
    done
    echo "| specd, $LIBRARIES libraries | ok | $(seconds_since $start) |"
}

# row NAME SECONDS COMMAND...: runs it, a line of a table says how it went; RESULT lines of its
# output are kept for below the table.
row() {
    local name=$1 limit=$2 start=$SECONDS rc=0 log=$PARTS/$1.log word left=$((stage_end - SECONDS))
    shift 2
    [ $left -ge 5 ] || { echo "| $name | FAILED: no time left | 0 |" && return 1; }
    [ $left -ge "$limit" ] || limit=$left
    timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1 || rc=$?
    case $rc in
    0) word=ok ;;
    124 | 137) word="FAILED: more than $limit s" ;;
    *) word="FAILED with $rc" && tail -n 15 "$log" >&2 ;;
    esac
    grep -q ": skipped$" "$log" && word="$word, $(grep -c ": skipped$" "$log") skipped"
    echo "| $name | $word | $(seconds_since $start) |"
    grep "^RESULT " "$log" >>"$PARTS/results.log" || true
    [ $rc = 0 ]
}
rows_head() {
    : >"$PARTS/results.log"
    echo "| $1 | result | seconds |"
    echo "|---|---|---:|"
}
rows_end() {
    [ -s "$PARTS/results.log" ] || return 0
    echo
    echo '```'
    sed 's/^RESULT //' "$PARTS/results.log"
    echo '```'
}

stage_tests() {
    local bad=0 test
    compile_gpu || return 1
    rows_head program
    for test in "$B"/gpu-tests/*; do
        [ -x "$test" ] && { row "$(basename "$test")" 240 "$test" || bad=1; }
    done
    if [ -x "$B-daemon/specd" ]; then
        row daemon 120 "$ROOT/scripts/gpu-daemon.sh" "$B-daemon" "$DEVICE" || bad=1
    else
        echo "| daemon | skipped: not built | 0 |"
    fi
    rows_end
    return $bad
}

# Few rounds: a sanitizer makes a kernel ten to a hundred times slower.
stage_sanitize() {
    local bad=0 tool test
    [ "$DEVICE" = cuda ] || { echo "skipped: no GPU" && return 0; }
    command -v compute-sanitizer >/dev/null ||
        { echo "skipped: compute-sanitizer is not here" && return 0; }
    compile "$CHECKED" specd-gpu -DSPECD_GPU_ONLY=ON -DCMAKE_C_FLAGS=-DSPECD_CHECKS \
        "${OPTIONS[@]}" || return 1
    rows_head "tool and program"
    for tool in memcheck racecheck initcheck; do
        for test in test_graph_eager test_sampling_laws test_sampling_verify; do
            # The sampling tests' memory is the host's, which initcheck does not watch.
            [ $tool-$test = initcheck-test_graph_eager ] || [ $tool != initcheck ] || continue
            SPECD_TEST_ROUNDS=6 row "$tool-$test" 110 compute-sanitizer --tool $tool \
                --error-exitcode 9 "$CHECKED/gpu-tests/$test" || bad=1
        done
    done
    rows_end
    return $bad
}

stage_bench() {
    compile_gpu || return 1
    if [ "$DEVICE" = cuda ]; then
        timeout --kill-after=5 $LIMIT "$B/bench-gpu" -b 400
    else
        "$B/bench-gpu" -d cpu -s small -r 5 -n 4 -c 64 -l 1024
    fi
}

stage_peers() {
    [ "$DEVICE" = cuda ] || { echo "skipped: no GPU" && return 0; }
    timeout --kill-after=5 $LIMIT python3 "$ROOT/bench/gpu/peer_transformers.py" \
        --ours "$PARTS/bench.md"
}

# ---- run -----------------------------------------------------------------------------------------

commit() {
    git rev-parse --short HEAD 2>/dev/null || { echo unknown && return; }
    git diff --quiet HEAD -- 2>/dev/null || echo "(modified)"
}

# report: the sections there are, whenever they were made
report() {
    local stage
    echo "# On a GPU: $NAME"
    echo
    echo "- machine: $GPU, driver $DRIVER, compute capability $ARCH; $(nproc) cores"
    [ "$DEVICE" != cuda ] || echo "- toolkit: $(nvcc --version | sed -n 's/.*release //p')"
    echo "- made by scripts/gpu-check.sh"
    for stage in "${STAGES[@]}"; do
        [ -s "$PARTS/$stage.md" ] || continue
        echo
        cat "$PARTS/$stage.md"
    done
}

failed=""
for stage in "${ONLY[@]}"; do
    say "$stage"
    start=$SECONDS stage_end=$((SECONDS + LIMIT)) word=ok
    "stage_$stage" >"$PARTS/$stage.body" || { word=FAILED && failed="$failed $stage"; }
    {
        echo "# Stage $stage: $word"
        echo
        # shellcheck disable=SC2046
        echo "$(date -u +%F), commit" $(commit)", $(seconds_since $start) s"
        echo
        cat "$PARTS/$stage.body"
    } >"$PARTS/$stage.md"
    rm -f "$PARTS/$stage.body"
done

RESULT=$ROOT/bench/results/gpu-$NAME.md
[ "$DEVICE" = cuda ] || RESULT=$B/gpu-$NAME.md # not a result worth keeping
report >"$RESULT"
[ -z "$OUT_DIR" ] || cp "$RESULT" "$OUT_DIR/"
cat "$RESULT"
say "wrote $RESULT"
[ -z "$failed" ] || die "these stages:$failed" "their logs are in build-gpu/stages"
