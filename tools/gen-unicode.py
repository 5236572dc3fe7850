#!/usr/bin/env python3
"""Writes base/unicode_data.h: what Unicode's character database says, as Hugging Face's tokenizers
know it, so that tokens depend neither on a system's libraries nor on their age.

usage: PYTHON tools/gen-unicode.py > base/unicode_data.h
       PYTHON has the tokenizers of tests/requirements.txt and unicodedata2==16.0.0

Classes are those of the tokenizers' regular expressions: Unicode 16.0, compared here code point by
code point. Normalisation is their NFC, which is older: decompositions and combining classes that it
does not know are left out. Lower case is theirs, too; upper case is Python's, and for letters that
Python does not know yet the inverse of lower case.
"""
import sys

import unicodedata2 as ud
from tokenizers import Regex, normalizers
from tokenizers import pre_tokenizers as pre

HANGUL = range(0xAC00, 0xAC00 + 11172)  # decomposed by arithmetic, not by table
CODE_POINTS = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
CLASSES = "CLMNPSZ"  # enum cp_class
NFC = normalizers.NFC()
LOWER = normalizers.Lowercase()


def check_classes():
    assert ud.unidata_version == "16.0.0"
    for name in CLASSES[1:]:
        split = pre.Split(Regex(rf"\p{{{name}}}"), "removed")
        for i in range(0, len(CODE_POINTS), 4096):
            chunk = CODE_POINTS[i:i + 4096]
            others = {c for word, _ in split.pre_tokenize_str("".join(map(chr, chunk))) for c in word}
            for cp in chunk:
                assert (chr(cp) in others) == (ud.category(chr(cp))[0] != name), hex(cp)


def class_runs():
    last = None
    for cp in range(0x110000):
        name = ud.category(chr(cp))[0]
        if name != last:
            yield cp, CLASSES.index(name)
        last = name


def normalises(*texts):
    return all(NFC.normalize_str(t) == ud.normalize("NFC", t) for t in texts)


def pairs():
    for cp in range(0x110000):
        text = ud.decomposition(chr(cp))
        if not text or text.startswith("<") or cp in HANGUL:
            continue
        if not normalises(chr(cp), ud.normalize("NFD", chr(cp))):
            continue
        parts = [int(p, 16) for p in text.split()]
        assert len(parts) <= 2
        if len(parts) == 2:  # unicode.c expands the first character only
            assert ud.normalize("NFD", chr(parts[1])) == chr(parts[1])
        yield cp, parts[0], parts[1] if len(parts) == 2 else 0


def combining(cp):
    """The class of cp, or 0 where the tokenizers' NFC does not put it into order."""
    c = chr(cp)
    known = normalises("q\u0301" + c, "q" + c + "\u0301", "q" + c + "\u0327")
    return ud.combining(c) if known else 0


def combining_runs():
    start, last = 0, 0
    for cp in range(0x110001):
        ccc = combining(cp) if cp < 0x110000 and ud.combining(chr(cp)) else 0
        if ccc != last:
            if last:
                yield start, cp - 1, last
            start, last = cp, ccc


def case_maps():
    """(upper, lower, title): cp -> cp, of letters whose other case is one character; title has
    those alone that are not the upper case, and title case letters themselves."""
    upper, lower, title = {}, {}, {}
    for cp in CODE_POINTS:
        c = chr(cp)
        if ud.category(c) == "Cn":
            continue
        low, up = LOWER.normalize_str(c), c.upper()
        if len(low) == 1 and low != c:
            lower[cp] = ord(low)
        if len(up) == 1 and up != c:
            upper[cp] = ord(up)
        if len(c.title()) == 1 and (c.title() != up or ud.category(c) == "Lt"):
            title[cp] = ord(c.title())
    for cp, low in lower.items():
        if chr(cp).lower() == chr(cp):  # Python does not know the pair
            upper.setdefault(low, cp)
    return upper, lower, title


def case_runs(mapping):
    """Runs of letters every `step` code points whose other case is `delta` away."""
    runs = []
    for cp, other in sorted(mapping.items()):
        if runs and runs[-1][2] == other - cp:
            first, last, delta, step = runs[-1]
            if cp - last == step or (first == last and cp - last <= 2):
                runs[-1] = (first, cp, delta, cp - last)
                continue
        runs.append((cp, cp, other - cp, 1))
    return runs


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
    check_classes()
    rows = list(pairs())
    primary = [i for i, (cp, _, b) in enumerate(rows) if b and ud.normalize("NFC", chr(cp)) == chr(cp)]
    primary.sort(key=lambda i: rows[i][1:])
    upper, lower, title = case_maps()
    print("""/*
 * unicode_data.h - classes, cases and canonical decompositions of Unicode 16.0.
 *
 * Written by tools/gen-unicode.py, which says what of it is left out; included by unicode.c alone.
 */
#ifndef SPECD_UNICODE_DATA_H
#define SPECD_UNICODE_DATA_H

#include <stdint.h>

struct nfc_pair {
    uint32_t cp, first, second; /* second 0: one character */
};
struct nfc_class {
    uint32_t from, to;
    uint8_t ccc;
};
struct case_run { /* every step-th code point of first .. last has its other case at +delta */
    uint32_t first, last;
    int32_t delta;
    uint8_t step;
};

/* clang-format off */
/* Where each run of one class begins: the code point, times 8, and its enum cp_class. */""", end="")
    table("uint32_t class_runs", (f"0x{cp << 3 | c:X}" for cp, c in class_runs()))
    print("\n/* Without letters whose other case is more than one character. */", end="")
    for name, mapping in (("upper", upper), ("lower", lower), ("title", title)):
        table(f"struct case_run {name}_runs",
              (f"{{0x{a:X},0x{b:X},{d},{s}}}" for a, b, d, s in case_runs(mapping)))
    print("\n/* Canonical decompositions by cp, without Hangul syllables. */", end="")
    table("struct nfc_pair nfc_pairs", (f"{{0x{c:X},0x{a:X},0x{b:X}}}" for c, a, b in rows))
    print("\n/* Indices into nfc_pairs by (first, second): the pairs that NFC composes again. */", end="")
    table("uint16_t nfc_compositions", map(str, primary))
    print("\n/* Characters whose combining class is not 0, in ascending order. */", end="")
    table("struct nfc_class nfc_classes",
          (f"{{0x{a:X},0x{b:X},{c}}}" for a, b, c in combining_runs()))
    print("/* clang-format on */\n\n#endif")


sys.exit(main())
