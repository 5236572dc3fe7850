#!/usr/bin/env bash
# Real vocabularies and chat templates for the oracle tests, read out of a Python source package
# that carries them as test data. Prints the folder; fails, and the tests that want it are skipped,
# where it cannot be had.
. "$(dirname "$0")/lib.sh"

PACKAGE=llama-cpp-python==0.3.36
dir=$CACHE/vocabs-0.3.36
if [ ! -f "$dir/.complete" ]; then
    # shellcheck disable=SC2086
    install_packages $MODEL_PACKAGES
    mkdir -p "$CACHE"
    work=$(mktemp -d "$CACHE/download.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "downloading the source package $PACKAGE"
    timeout 300 python3 -m pip download --quiet --disable-pip-version-check --no-deps \
        --no-binary llama-cpp-python --dest "$work" "$PACKAGE" >&2 ||
        die "pip could not download $PACKAGE" "tests of real vocabularies are skipped"
    rm -rf "$dir"
    mkdir -p "$dir/templates"
    tar -xzf "$work"/*.tar.gz -C "$work"
    cp "$work"/*/vendor/llama.cpp/models/ggml-vocab-*.gguf "$dir"
    cp "$work"/*/vendor/llama.cpp/models/templates/*.jinja "$dir/templates"
    touch "$dir/.complete"
fi
echo "$dir"
