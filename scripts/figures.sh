#!/usr/bin/env bash
# Figures to steer the shape of the code by: facts that should be stated once, files that a job
# touches, lines. Counted by grep, so each is a sign and no proof; the files are named, to be looked at.
#   scripts/figures.sh [FOLDER]     another checkout than this one
set -eu
cd "${1:-$(dirname "$0")/..}"

product() { # GREP-ARGUMENT...: over the product's sources
    grep -rE "$@" --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh' \
        include base engine server cpu cuda || true
}
row() { printf '%-58s %6s   %s\n' "$1" "$2" "${3:-}"; }
count() { # WHAT GREP-ARGUMENT...: matching lines, and where they are
    local what=$1 hits
    shift
    hits=$(product -o "$@")
    row "$what" "$(printf '%s' "$hits" | grep -c '' || true)" \
        "$(printf '%s\n' "$hits" | cut -d: -f1 | sort -u | tr '\n' ' ')"
}
files() { # WHAT GREP-ARGUMENT...: files with a match
    local what=$1 hits
    shift
    hits=$(product -l "$@" | sort)
    row "$what" "$(printf '%s' "$hits" | grep -c '' || true)" "$(printf '%s' "$hits" | tr '\n' ' ')"
}

# w_down stands for a layer's tensors, lookup for a host's drafter, qwen3 for an architecture.
count 'declarations of a layer by hand' '^ *struct [a-z_]+ [a-z_, ]*\bw_down;'
count 'tables of a layer'"'"'s tensors' '^ *(\[[A-Z_]+\] = |[A-Z_]*\(|\{")[^>]*\bw_down\b'
count 'clamps of K' '^[a-zA-Z].*\b(clamp_k|round_k)\('
count 'enums of drafters' '^enum [a-z_]*drafter[a-z_]* \{'
files 'files that name the drafter lookup' \
    '[A-Z]_LOOKUP\b|\bLOOKUP, lookup\b|\blookup_(drafter|create|append|draft|free)\b|"lookup"|\|lookup"'
files 'files that name the tensor w_down' '\b(w_down|(LAYER_)?W_DOWN)\b'
files 'files that name the architecture qwen3' '"qwen3|\bQWEN3\b'
for folder in include base engine server cpu cuda; do
    row "lines of $folder/" \
        "$(find "$folder" '(' -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' ')' -exec cat {} + | wc -l)"
done
row 'lines of the product' "$(product --no-filename '' | wc -l)"
