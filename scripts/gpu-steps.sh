# shellcheck shell=bash
# What is done on a machine with a GPU, in steps; scripts/gpu-short.sh and scripts/gpu-check.sh source
# this after lib.sh and say which, in which order and for how long. No step needs one before it to
# have gone well. What a program prints is in a file of OUT as it comes, and the report is written
# anew after each step: a visit that is cut short has lost nothing.
#
# Set before a step runs: OUT, the folder of results, at most 8 files; ROWS, one for what the report
# is made of; NAME, of the machine; BIN, the programs; END, by SECONDS, when all must be over; LIMIT,
# seconds of each step. DRY=1: the emulator's programs, in small.

: "${DRY:=0}"
CARRY=$ROOT/build-carry/specd-gpu.tar.xz # scripts/gpu-carry.sh
RESULTS=(machine.txt tests.txt kernels.md bench.md variants.md more.md tools.txt) # and the report
LT=libcublasLt.so.13 # what the carried programs were built with
PARTLY=75 # the exit status of a bench that had no time for all
FILE_MAX=$((15 << 20))
STEPS=(machine programs ptx tests kernels bench variants ncu more daemon sanitize peers)
declare -A LIMIT
[ -d /usr/local/cuda/bin ] && PATH=$PATH:/usr/local/cuda/bin
export SPECD_TEST_DEVICE=cuda SPECD_EMU_SEED=1 # the seed is that of tests' random numbers
# A test uses few kernels of many.
LAZY=(env CUDA_MODULE_LOADING=LAZY)

# What gpu-check.sh has more of, and --dry less.
AT_ONCE=5
KERNELS=(-a)
PAIR=(-c 1024 -l 1024 -n 16)
MORE=(-r 30)
SANITIZE=("memcheck gpu-tests-checked/test_graph_eager 2" "racecheck gpu-tests/test_sampling_verify 2")
PEERS=(--eager)

dry_sizes() {
    export SPECD_TEST_QUICK=1 SPECD_TEST_ROUNDS=2
    KERNELS=(-s tiny -q)
    PAIR=(-s tiny -r 3 -n 1 -c 60 -l 128)
    MORE=("${PAIR[@]}")
    PEERS+=(--tiny)
    AT_ONCE=$JOBS
}

# dry_programs: those of the test build, over the emulator
dry_programs() {
    build "$ROOT/build-test/release" gpu-dry -- -DSPECD_WERROR=ON
    BIN=$ROOT/build-test/release/gpu-dry
}

clear_results() { (cd "$OUT" && rm -f "${RESULTS[@]}" gpu-*.md); }

# ---- running -------------------------------------------------------------------------------------

# row NAME RESULT SECONDS: of the report's table
row() { echo "| $1 | $2 | $3 |" >>"$ROWS/$STEP"; }

# time_left SECONDS: of these, what the step's end and that of all leave
time_left() {
    local end=$((STEP_END < END ? STEP_END : END))
    echo $(($1 < end - SECONDS ? $1 : end - SECONDS))
}

# try NAME SECONDS FILE COMMAND...: appends its lines to OUT/FILE; fails if it does.
try() {
    local name=$1 file=$OUT/$3 start=$SECONDS word=ok rc=0 limit
    limit=$(time_left "$2")
    shift 3
    [ "$limit" -ge 2 ] || { row "$name" "skipped: no time left" 0 && return 1; }
    timeout --kill-after=2 "$limit" "$@" >>"$file" 2>&1 || rc=$?
    case $rc in
    0) ;;
    "$PARTLY") word="ok, but for what there was no time for" ;;
    124 | 137) word="FAILED: more than $limit s" ;;
    *) word="FAILED with $rc" ;;
    esac
    row "$name" "$word" $((SECONDS - start))
    [ $rc = 0 ] || [ $rc = "$PARTLY" ]
}

# try_marked NAME SECONDS COMMAND...: the same into tests.txt, the name before every line: several
# write at once.
try_marked() {
    local name=$1 limit=$2
    shift 2
    # shellcheck disable=SC2016
    try "$name" "$limit" tests.txt bash -c \
        'set -o pipefail; "$@" 2>&1 | sed -u "s|^|$0: |"' "$name" "$@"
}

# run_steps STEP...: time that one leaves is the later ones'.
run_steps() {
    local planned=$SECONDS
    for STEP in "$@"; do
        planned=$((planned + LIMIT[$STEP]))
        STEP_END=$((SECONDS + LIMIT[$STEP] > planned ? SECONDS + LIMIT[$STEP] : planned))
        : >"$ROWS/$STEP"
        say "$STEP"
        if [ "$(time_left 3)" -lt 3 ]; then
            row "$STEP" "skipped: no time left" 0
        else
            "step_$STEP" || true
        fi
        report
    done
}

# ---- the machine and the programs ----------------------------------------------------------------

query() { timeout 10 nvidia-smi --query-gpu="$1" --format=csv,noheader | head -n1; }

# machine_name: as files are called; needs a GPU, or DRY
machine_name() {
    [ "$DRY" = 0 ] || { echo dry && return; }
    query name | sed 's/^NVIDIA //' | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-'
}

# The folder of cuBLASLt, for the loader: the toolkit's, Python's packages', or wherever it lies.
cublaslt_folder() {
    local folder file
    for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib \
        $(timeout 10 python3 -c 'import glob, sys
for p in sys.path: print(*glob.glob(p + "/nvidia/*/lib"), sep="\n")' 2>/dev/null); do
        [ -e "$folder/$LT" ] && echo "$folder" && return
    done
    file=$(timeout 10 find /usr /opt /home /root -name $LT 2>/dev/null | head -n1)
    [ -n "$file" ] && dirname "$file"
}

facts() {
    local tool
    nvidia-smi -L
    nvidia-smi -q -d CLOCK,MEMORY,PERFORMANCE,POWER
    for tool in nvcc cmake ninja ncu compute-sanitizer python3; do
        echo "== $tool: $(command -v $tool || echo not here)"
        ! command -v $tool >/dev/null || $tool --version 2>&1 | tail -n 2
    done
    ldd --version | head -n1
    nproc
    free -m
    uname -r
}

step_machine() {
    local folder start=$SECONDS
    export -f facts
    try machine 20 machine.txt bash -c facts || true # nvidia-smi is not there when dry
    folder=$(cublaslt_folder) || true
    row "$LT: ${folder:-not found}" "$([ -n "$folder" ] && echo ok || echo FAILED)" \
        $((SECONDS - start))
    [ -z "$folder" ] || export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# gpu_build DIR ARCHS: specd-gpu, and the daemon where its libraries are installed
gpu_build() {
    local targets=(specd-gpu) options=(-DSPECD_CUDA=ON "-DSPECD_CUDA_ARCHS=$2" -DSPECD_TESTS=OFF)
    if pkg-config --exists libmicrohttpd gnutls libuv libcjson libpcre2-8 2>/dev/null; then
        targets+=(specd synth-model)
    else
        options+=(-DSPECD_GPU_ONLY=ON)
    fi
    ! command -v ninja >/dev/null || options+=(-G Ninja)
    cmake -S "$ROOT" -B "$1" "${options[@]}" &&
        cmake --build "$1" -j "$JOBS" --target "${targets[@]}"
}

# Whether BIN's programs find their libraries and the GPU.
programs_start() {
    local missing
    missing=$(ldd "$BIN"/gpu-tests/* "$BIN"/bench-* 2>&1 | grep "not found" | sort -u | head -n 3)
    [ -z "$missing" ] || { row "the programs' libraries" "FAILED: ${missing//$'\n'/ }" 0 && return 1; }
    try "first launches" 30 machine.txt "$BIN/bench-kernels" "${KERNELS[@]}" small
}

# Those given, else those carried here, else built here.
step_programs() {
    local carried=$ROOT/build-gpu/carried
    if [ -n "$BIN" ]; then
        programs_start
        return
    fi
    if [ -f "$CARRY" ]; then
        rm -rf "$carried"
        mkdir -p "$carried"
        BIN=$carried
        try "unpack the carried programs" 30 machine.txt tar -C "$carried" -xJf "$CARRY" &&
            programs_start && return
    fi
    BIN=$ROOT/build-gpu
    STEP_END=$((SECONDS + (LIMIT[programs] > 120 ? LIMIT[programs] : 120)))
    export -f gpu_build
    export ROOT JOBS
    # shellcheck disable=SC2016
    try "build here" 600 machine.txt bash -c 'gpu_build "$@"' build "$BIN" "$(query compute_cap |
        tr -d .)" && programs_start
}

# ---- tests ---------------------------------------------------------------------------------------

# The layer below every kernel. If it is wrong, or not there, no launch may overlap from here on.
step_ptx() {
    try_marked test_ptx 30 "${LAZY[@]}" "$BIN/gpu-tests/test_ptx" && return
    export SPECD_NO_OVERLAP=1
    row "from here on" "launches do not overlap" 0
}

# What fails runs again, launches in order and one at a time: that says what kind of failure it is.
test_one() {
    local name
    name=$(basename "$1")
    try_marked "$name" "${TEST_LIMIT:-60}" "${LAZY[@]}" "$1" && return
    CUDA_LAUNCH_BLOCKING=1 SPECD_NO_OVERLAP=1 try_marked "$name, launches in order" 20 \
        "${LAZY[@]}" "$1"
}

step_tests() {
    local test
    for test in "$BIN"/gpu-tests/*; do
        if [ "$(basename "$test")" = test_ptx ]; then
            continue
        fi
        while [ "$(jobs -rp | wc -l)" -ge "$AT_ONCE" ]; do
            wait -n || true
        done
        test_one "$test" &
    done
    wait
}

step_daemon() {
    [ -x "$BIN/specd" ] || { row daemon "skipped: not built" 0 && return; }
    LD_LIBRARY_PATH=$BIN/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} try_marked daemon 60 \
        "$ROOT/scripts/gpu-daemon.sh" "$BIN" cuda
}

step_sanitize() {
    local line tool test rounds with
    for line in "${SANITIZE[@]}"; do
        read -r tool test rounds <<<"$line"
        with=(compute-sanitizer --tool "$tool" --error-exitcode 9)
        if ! command -v compute-sanitizer >/dev/null; then
            [ "$DRY" = 1 ] || { row "$tool" "skipped: compute-sanitizer is not here" 0 && continue; }
            with=(env)
        fi
        echo "== $tool $test" >>"$OUT/tools.txt"
        SPECD_TEST_ROUNDS=$rounds try "$tool $(basename "$test")" "${TEST_LIMIT:-60}" tools.txt \
            "${with[@]}" "$BIN/$test" || true
    done
}

# ---- measurements --------------------------------------------------------------------------------

# The seconds that a program with a limit of its own is told.
told() { echo $(($(time_left 3600) > 6 ? $(time_left 3600) - 4 : 2)); }

step_kernels() {
    : >"$OUT/kernels.md"
    try bench-kernels 600 kernels.md "$BIN/bench-kernels" "${KERNELS[@]}" -t "$(told)"
}

# measure NAME FILE ARGUMENT...: bench-gpu, below a heading
measure() {
    local name=$1 file=$2
    shift 2
    printf '\n# %s\n\n' "$name" >>"$OUT/$file"
    try "bench-gpu: $name" 600 "$file" "$BIN/bench-gpu" -b "$(told)" "$@"
}

step_bench() {
    : >"$OUT/bench.md"
    measure "One slot" bench.md "${PAIR[@]}" draft decode rows gap sampling speedup
}

step_variants() {
    : >"$OUT/variants.md"
    measure "Launches in order" variants.md "${PAIR[@]}" -O draft decode || true
    measure "Reproducible: attention on the matrix units" variants.md "${PAIR[@]}" -R decode rows ||
        true
    measure "One round in flight" variants.md "${PAIR[@]}" -1 decode
}

# Counters of some layers of the small model, launched one by one: the large one's graph would be
# replayed with 15 GB of weights for every counter.
step_ncu() {
    local ncu
    ncu=$(command -v ncu || compgen -G "/opt/nvidia/nsight-compute/*/ncu" | tail -n1) ||
        { row ncu "skipped: not here" 0 && return; }
    echo "== ncu" >>"$OUT/tools.txt"
    try ncu 600 tools.txt "$ncu" --clock-control none --launch-skip 700 --launch-count 24 \
        --section SpeedOfLight --section MemoryWorkloadAnalysis --section Occupancy \
        --section WarpStateStats "$BIN/bench-gpu" "${PAIR[@]}" -n 1 -r 5 -e draft
}

step_more() {
    : >"$OUT/more.md"
    measure "Slots, prompts, contexts, types" more.md "${MORE[@]}" slots prompts contexts types
}

step_peers() {
    printf '\n# Against transformers\n\n' >>"$OUT/more.md"
    try "peers" 600 more.md python3 "$ROOT/bench/gpu/peer_transformers.py" --ours "$OUT/bench.md" \
        --seconds "$(told)" "${PEERS[@]}"
}

# ---- the report ----------------------------------------------------------------------------------

commit() {
    git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || { echo unknown && return; }
    git -C "$ROOT" diff --quiet HEAD -- 2>/dev/null || echo "(modified)"
}

# Passes as they are launched beside other ways to launch them.
variants_table() {
    local files=()
    for file in bench.md variants.md; do
        [ ! -s "$OUT/$file" ] || files+=("$OUT/$file")
    done
    [ ${#files[@]} -gt 0 ] || return 0
    awk -F ' *[|] *' '
        /^# / { name = substr($0, 3); names[++n] = name }
        /^## / { section = $0 }
        section ~ /Plain decode/ && $2 ~ /^[0-9.]+$/ { decode[name] = $4; paper[name] = $5 }
        section ~ /alone: one draft step/ && $2 == "graphs" { draft[name] = $3; small[name] = $4 }
        section ~ /Verify passes/ && $2 == 5 { five[name] = $5 }
        END {
            print "\n## Ways to launch\n"
            print "| | target pass ms | predicted | draft pass ms | predicted | 5 rows over 1 |"
            print "|---|---:|---:|---:|---:|---:|"
            for (i = 1; i <= n; i++)
                printf "| %s | %s | %s | %s | %s | %s |\n", names[i], decode[names[i]], \
                    paper[names[i]], draft[names[i]], small[names[i]], five[names[i]]
        }' "${files[@]}"
}

test_results() {
    local lines
    lines=$(grep -h -o "RESULT .*" "$OUT/tests.txt" 2>/dev/null) || return 0
    printf '\n## What tests say\n\n```\n%s\n```\n' "$lines"
}

# The tables of a result; every tiling stays in its file.
tables() {
    [ -s "$OUT/$1" ] || return 0
    awk '/^#/ { skip = /Every tiling/ } !skip && !/^bench-/' "$OUT/$1"
}

report() {
    local file
    for file in "${RESULTS[@]}"; do
        [ "$(stat -c %s "$OUT/$file" 2>/dev/null || echo 0)" -le $FILE_MAX ] ||
            truncate -s $FILE_MAX "$OUT/$file"
    done
    {
        echo "# On a GPU: $NAME"
        echo
        # shellcheck disable=SC2046
        echo "- $(date -u +%F), commit" $(commit)
        [ "$DRY" = 1 ] || echo "- machine: $(query name,driver_version,compute_cap); $(nproc) cores"
        echo
        echo "| what | result | seconds |"
        echo "|---|---|---:|"
        for file in "${STEPS[@]}"; do
            [ ! -f "$ROWS/$file" ] || cat "$ROWS/$file"
        done
        variants_table
        test_results
        for file in kernels.md bench.md variants.md more.md; do
            tables $file
        done
    } >"$ROWS/report.new"
    mv "$ROWS/report.new" "$OUT/gpu-$NAME.md"
}

# failures: the report's lines that say so, each with its file's place
failures() { grep -h "| FAILED" "$ROWS"/* 2>/dev/null || true; }
