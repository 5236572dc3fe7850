#!/usr/bin/env bash
# The first stage of an image: installs the tools, builds, and puts into OUT what the second stage is
# made of, with the names of the packages that the program's libraries come from.
# usage: docker/build.sh OUT      $SPECD_CUDA: ON or OFF (default)
. "$(dirname "$0")/../scripts/lib.sh"
OUT=${1:?usage: docker/build.sh OUT}
LIB=$OUT/usr/local/lib/specd

# The package that owns each shared library a program needs. The loader may have found a library in
# /lib, where /lib is a link to the /usr/lib that packages know.
library_packages() {
    ldd "$1" | awk '$3 ~ /^\// { print $3 }' | while read -r path; do
        dpkg-query -S "$path" 2>/dev/null || dpkg-query -S "/usr$path" 2>/dev/null ||
            dpkg-query -S "$(realpath "$path")" || die "no package owns $path" "install it by apt-get"
    done | cut -d: -f1 | sort -u
}

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES
say "building"
work=$(mktemp -d)
build "$work" specd -- -DCMAKE_BUILD_TYPE=Release -DSPECD_TESTS=OFF "-DSPECD_CUDA=${SPECD_CUDA:-OFF}" \
    -DCMAKE_INSTALL_PREFIX=/usr/local
DESTDIR=$OUT cmake --install "$work" --strip >/dev/null
install -D -m 755 -t "$LIB" "$ROOT/docker/install.sh" "$ROOT/docker/health.sh"
library_packages "$OUT/usr/local/bin/specd" >"$LIB/packages"
rm -rf "$work"
say "in $OUT: specd, which needs $(tr '\n' ' ' <"$LIB/packages")"
