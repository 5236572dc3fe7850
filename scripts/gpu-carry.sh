#!/usr/bin/env bash
# Packs what scripts/gpu-short.sh runs, so that nothing has to be built on a machine with a GPU and
# nothing installed: the tests, also with every tensor an allocation of its own for the sanitizers,
# the benches, the daemon and its libraries. Kernels are sm_90's, and PTX for newer GPUs to compile.
# build-carry/specd-gpu.tar.xz is git-ignored and goes to that machine beside the sources; it needs
# the same architecture, a C library as new as this one's, and libcublasLt of the toolkit's version.
#
# usage: scripts/gpu-carry.sh
. "$(dirname "$0")/lib.sh"
. "$ROOT/scripts/gpu-steps.sh"
LIMIT_MB=50

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES xz-utils
log=$(mktemp)
say "build"
gpu_build "$ROOT/build-gpu" 90 >"$log" 2>&1 || { tail -n 40 "$log" >&2 && die "the build" "see above"; }
rm -f "$log"

FROM=$ROOT/build-gpu
TO=$(mktemp -d)
trap 'rm -rf "$TO"' EXIT
cp -r "$FROM/gpu-tests" "$FROM/gpu-tests-checked" "$FROM/bench-gpu" "$FROM/bench-kernels" \
    "$FROM/specd" "$FROM/synth-model" "$TO/"
mkdir "$TO/lib"
# The C and C++ libraries and cuBLASLt, half a gigabyte, are that machine's own.
ldd "$FROM/specd" | awk '$3 ~ /^\// { print $3 }' |
    grep -v -E '/(libc|libm|libpthread|libdl|librt|libstdc\+\+|libgcc_s|libcublasLt)\.so' |
    xargs -I{} cp -L {} "$TO/lib/"
# Names of the host's functions; kernels keep their lines.
find "$TO" -type f -exec strip --strip-debug {} +

say "pack"
mkdir -p "$(dirname "$CARRY")"
# The programs hold the same kernels: a dictionary as large as all of them finds that.
(cd "$TO" && tar -cf - --owner=0 --group=0 -- *) |
    xz -T1 --lzma2=preset=9e,dict=512MiB >"$CARRY"
mb=$(($(stat -c %s "$CARRY") / 1000000 + 1))
[ "$mb" -le $LIMIT_MB ] || die "$CARRY has $mb MB, more than $LIMIT_MB" "see what grew"
say "$CARRY: $mb MB of $(du -sm "$TO" | cut -f1), $(find "$TO" -type f | wc -l) files"
