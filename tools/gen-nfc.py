#!/usr/bin/env python3
"""Writes engine/text/nfc_data.h from Python's own copy of the Unicode character database.

usage: tools/gen-nfc.py > engine/text/nfc_data.h
"""
import sys
import unicodedata as ud

HANGUL = range(0xAC00, 0xAC00 + 11172)  # decomposed by arithmetic, not by table


def pairs():
    for cp in range(0x110000):
        text = ud.decomposition(chr(cp))
        if not text or text.startswith("<") or cp in HANGUL:
            continue
        parts = [int(p, 16) for p in text.split()]
        assert len(parts) <= 2
        if len(parts) == 2:  # nfc.c expands the first character only
            assert ud.normalize("NFD", chr(parts[1])) == chr(parts[1])
        yield cp, parts[0], parts[1] if len(parts) == 2 else 0


def classes():
    start, last = 0, 0
    for cp in range(0x110001):
        ccc = ud.combining(chr(cp)) if cp < 0x110000 else 0
        if ccc != last:
            if last:
                yield start, cp - 1, last
            start, last = cp, ccc


def table(declaration, rows):
    print(f"\nstatic const {declaration}[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 100:
            print(line)
            line = "   "
        line += f" {row},"
    print(line)
    print("};")


def main():
    rows = list(pairs())
    primary = [i for i, (cp, _, b) in enumerate(rows) if b and ud.normalize("NFC", chr(cp)) == chr(cp)]
    primary.sort(key=lambda i: rows[i][1:])
    print(f"""/*
 * nfc_data.h - canonical decompositions and combining classes of Unicode {ud.unidata_version}.
 *
 * Written by tools/gen-nfc.py; included by nfc.c alone. Hangul syllables are left out.
 */
#ifndef SPECD_NFC_DATA_H
#define SPECD_NFC_DATA_H

#include <stdint.h>

struct nfc_pair {{
    uint32_t cp, first, second; /* second 0: one character */
}};
struct nfc_class {{
    uint32_t from, to;
    uint8_t ccc;
}};

/* clang-format off */
/* by cp */""", end="")
    table("struct nfc_pair nfc_pairs", (f"{{0x{c:X},0x{a:X},0x{b:X}}}" for c, a, b in rows))
    print("\n/* Indices into nfc_pairs by (first, second): the pairs that NFC composes again. */", end="")
    table("uint16_t nfc_compositions", map(str, primary))
    print("\n/* Characters whose combining class is not 0, in ascending order. */", end="")
    table("struct nfc_class nfc_classes", (f"{{0x{a:X},0x{b:X},{c}}}" for a, b, c in classes()))
    print("/* clang-format on */\n\n#endif")


sys.exit(main())
