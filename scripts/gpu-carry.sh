#!/usr/bin/env bash
# Collects what the daemon is built and run with into build-carry/: headers, shared libraries and
# what these need, pkg-config and its files. Copied beside the sources to a machine of the same
# architecture with a newer libc, they let scripts/gpu-check.sh build the daemon where nothing can
# be installed. The folder is git-ignored.
#
# usage: scripts/gpu-carry.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
TO=$ROOT/build-carry
MODULES="libmicrohttpd gnutls libuv libcjson libpcre2-8"
LIMIT_MB=64

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES
rm -rf "$TO"
mkdir -p "$TO/lib/pkgconfig" "$TO/include" "$TO/bin"

# The C library is the other machine's own.
is_system() { case $1 in libc.so* | libm.so* | libpthread* | libdl* | librt* | ld-linux* | linux-vdso*) ;; *) false ;; esac }

# take FILE: a library under the name by which it is looked for
take() { cp -L "$1" "$TO/lib/$(basename "$1")"; }

take_needs() {
    local name path
    ldd "$1" | awk '$3 ~ /^\// { print $1, $3 }' | while read -r name path; do
        is_system "$name" || cp -L "$path" "$TO/lib/$name"
    done
}

for module in $MODULES; do
    pkg-config --exists "$module" || die "pkg-config does not know $module" "install its -dev package"
    dir=$(pkg-config --variable=libdir "$module")
    include=$(pkg-config --variable=includedir "$module")
    for name in $(pkg-config --libs-only-l "$module"); do
        file=$dir/lib${name#-l}.so
        [ -e "$file" ] || continue
        is_system "$(basename "$file")" && continue
        take "$file"
        soname=$(objdump -p "$file" | awk '$1 == "SONAME" { print $2 }')
        cp -L "$file" "$TO/lib/$soname"
        take_needs "$file"
    done
    # Only the modules' own headers: the other machine's libc has its own.
    case $module in
    libmicrohttpd) cp "$include/microhttpd.h" "$TO/include/" ;;
    gnutls) cp -r "$include/gnutls" "$TO/include/" ;;
    libuv) cp -r "$include/uv" "$include/uv.h" "$TO/include/" ;;
    libcjson) cp -r "$include/cjson" "$TO/include/" ;;
    libpcre2-8) cp "$include/pcre2.h" "$TO/include/" ;;
    esac
    # Relative to the file, so that the folder can lie anywhere.
    {
        echo "prefix=\${pcfiledir}/../.."
        echo "Name: $module"
        echo "Description: carried"
        echo "Version: $(pkg-config --modversion "$module")"
        echo "Cflags: -I\${prefix}/include$([ "$module" = libcjson ] && echo " -I\${prefix}/include/cjson")"
        echo "Libs: -L\${prefix}/lib -Wl,-rpath-link,\${prefix}/lib $(pkg-config --libs-only-l "$module")"
    } >"$TO/lib/pkgconfig/$module.pc"
done
tool=$(readlink -f "$(command -v pkg-config)")
cp -L "$tool" "$TO/bin/pkg-config"
take_needs "$tool"

mb=$(du -sm "$TO" | cut -f1)
[ "$mb" -lt $LIMIT_MB ] || die "$TO has $mb MB, more than $LIMIT_MB" "see which library grew"
say "$TO: $mb MB, $(find "$TO/lib" -name '*.so*' | wc -l) libraries"
