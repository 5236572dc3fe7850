#!/usr/bin/env bash
# Writes what is told from the server's table of request fields: the reference in docs/api.md, between
# its markers, and docs/openapi.json. With --check it only compares.
#   scripts/schema.sh [--check] [SPECD_SCHEMA]      the program; default build/specd-schema
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

check=""
[ "${1:-}" != --check ] || { check=1; shift; }
program=${1:-build/specd-schema}
[ -x "$program" ] || die "there is no $program" "ninja -C build specd-schema"

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
"$program" openapi tools/specd-schema/schemas.json >"$new/openapi.json"
"$program" reference >"$new/reference"
sed -e "/<!-- fields -->/r $new/reference" -e '/<!-- fields -->/,/<!-- end of fields -->/{
    /<!-- /!d
}' docs/api.md >"$new/api.md"

for file in api.md openapi.json; do
    cmp -s "docs/$file" "$new/$file" && continue
    if [ -n "$check" ]; then
        diff -u "docs/$file" "$new/$file" | head -40 >&2 || true
        die "docs/$file is not what the table of fields says" "scripts/schema.sh"
    fi
    cp "$new/$file" "docs/$file"
done
