# What test.sh and test-all.sh share; source it after lib.sh: packages, oracles, models, and run().
# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $TEST_PACKAGES $MODEL_PACKAGES
SPECD_PYTHON=$("$ROOT/scripts/venv.sh")
SPECD_MODEL=$("$ROOT/scripts/get-model.sh")
export SPECD_PYTHON SPECD_MODEL
SPECD_VOCABS=$("$ROOT/scripts/get-vocabs.sh") || SPECD_VOCABS=""
SPECD_TEMPLATES=${SPECD_VOCABS:+$SPECD_VOCABS/templates}
export SPECD_VOCABS SPECD_TEMPLATES
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1

# run NAME CTEST_ARGUMENT... -- CMAKE_OPTION...
# Builds what the chosen tests need, and the targets in the variable ALSO.
run() {
    local name=$1 args=() targets
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do args+=("$1") && shift; done
    shift
    say "$name: build"
    configure "$ROOT/build-test/$name" -DSPECD_WERROR=ON -DSPECD_DEBUG_INFO=-g1 "$@"
    targets=$("$ROOT/scripts/test-targets.py" "$ROOT/build-test/$name" "${args[@]}") ||
        die "the list of tests in the $name build" "its messages are above"
    # shellcheck disable=SC2086
    compile "$ROOT/build-test/$name" $targets ${ALSO-}
    say "$name: test"
    # One more than there are cores: many wait, for time limits above all.
    ctest --test-dir "$ROOT/build-test/$name" --output-on-failure -j "$((JOBS + 1))" "${args[@]}" ||
        die "tests of the $name build" "run one again: ctest --test-dir build-test/$name -R NAME -V"
}
