#!/usr/bin/env bash
# The test command: installs what the tests need, builds with warnings as errors, and runs them all
# through ctest. At most 25 minutes on two cores. scripts/test-all.sh has the rest.
#
#   release    everything but the emulator, whose tests run under sanitizers
#   sanitize   address + undefined: everything but the long statistics, the real model, and what
#              takes long there and is about numbers (label slow)
#   thread     mailbox, engine, server (test-all.sh: the device too, which takes ten minutes)
#   hostile    4-token blocks and a 16-block pool, under address + undefined
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

. "$ROOT/scripts/test-env.sh"

QUICK="unit|device|engine|exact|golden|http|fuzz|oracle|emu|nvcc"
run thread -L "thread" -LE "^device$" -- -DSPECD_SANITIZE=thread
run hostile -L "hostile" -- "-DSPECD_SANITIZE=address;undefined" -DSPECD_HOSTILE=ON
run sanitize -L "$QUICK" -LE "slow|long" -E smollm2 -- "-DSPECD_SANITIZE=address;undefined"
# Benches and tools have no tests of their own, but are to compile.
ALSO="bench/all tools/all specd-gpu" run release -L "$QUICK" -LE "long|emu" --
