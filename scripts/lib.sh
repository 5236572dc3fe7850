# Shared by the scripts here; source it. Sets ROOT (the checkout) and CACHE (outside it).
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/specd
JOBS=${JOBS:-$(nproc)}

BUILD_PACKAGES="build-essential cmake ninja-build pkg-config git ca-certificates
  libmicrohttpd-dev libgnutls28-dev libseccomp-dev libcjson-dev libuv1-dev libpcre2-dev"
MODEL_PACKAGES="python3 python3-pip"
TEST_PACKAGES="libcmocka-dev openssl clang python3 python3-venv python3-pip"

say() { printf '\033[1m== %3d:%02d %s\033[0m\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" >&2; }
die() {
    printf 'failed: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'what to do: %s\n' "$2" >&2
    exit 1
}

# install_packages NAME...: installs what is missing, quietly; needs root or sudo only then.
install_packages() {
    local missing="" p
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null ||
        die "these packages are missing:$missing" "install their equivalents; apt-get was not found"
    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "these packages are missing:$missing" "as root: apt-get install$missing"
        sudo=sudo
    fi
    say "installing:$missing"
    $sudo apt-get update -qq >&2 || die "apt-get update" "check the network and /etc/apt/sources.list"
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
        >/dev/null || die "apt-get install$missing" "run it by hand and read its messages"
}

# quietly WHAT COMMAND...: shows the end of its messages if it fails.
quietly() {
    local what=$1 log
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 || {
        tail -n 60 "$log" >&2
        die "$what" "its messages are above; the whole log is $log"
    }
    rm -f "$log"
}
# configure DIR CMAKE_OPTION...
configure() {
    local dir=$1
    shift
    quietly "cmake in $dir" cmake -S "$ROOT" -B "$dir" -G Ninja "$@"
}
# compile DIR TARGET...
compile() {
    local dir=$1
    shift
    quietly "the build in $dir" cmake --build "$dir" -j "$JOBS" ${1:+--target "$@"}
}
# build DIR TARGET... -- CMAKE_OPTION...: both.
build() {
    local dir=$1 targets=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do targets+=("$1") && shift; done
    [ $# -eq 0 ] || shift
    configure "$dir" "$@"
    compile "$dir" "${targets[@]}"
}
