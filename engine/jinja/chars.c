#include "jinja/chars.h"

#include "specd/util.h"

bool cp_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1C && cp <= 0x1F);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool cp_is_line_break(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool cp_is_printable(uint32_t cp)
{
    if (cp < 0x7F)
        return cp >= 0x20;
    if (cp < 0xA1 || cp == 0xAD || cp_is_space(cp))
        return false;
    bool format = (cp >= 0x200B && cp <= 0x200F) || (cp >= 0x202A && cp <= 0x202E) ||
                  (cp >= 0x2060 && cp <= 0x206F) || cp == 0x61C || cp == 0x180E || cp == 0xFEFF ||
                  (cp >= 0xFFF0 && cp <= 0xFFFB) || (cp >= 0xE0000 && cp <= 0xE0FFF);
    bool private_use = (cp >= 0xE000 && cp <= 0xF8FF) || cp >= 0xF0000;
    return !format && !private_use && (cp & 0xFFFE) != 0xFFFE;
}

bool cp_is_alpha(uint32_t cp)
{
    if (cp < 0x80)
        return (cp | 32) >= 'a' && (cp | 32) <= 'z';
    if (cp < 0x100)
        return cp == 0xAA || cp == 0xB5 || cp == 0xBA || (cp >= 0xC0 && cp != 0xD7 && cp != 0xF7);
    bool symbols = (cp >= 0x2000 && cp <= 0x2BFF) || (cp >= 0x3000 && cp <= 0x3004) ||
                   (cp >= 0x3008 && cp <= 0x3020) || (cp >= 0xFE00 && cp <= 0xFE6F) ||
                   (cp >= 0xFF00 && cp <= 0xFF20) || (cp >= 0x1F000 && cp <= 0x1FBFF);
    return cp_is_printable(cp) && !symbols;
}

/* Letters first..last have the other case at +delta, or, with delta 0, come in pairs of an upper
 * and a lower letter, the upper one at the parity of `first`. */
struct case_run {
    uint32_t first, last, delta;
};
static const struct case_run uppers[] = {
    {'A', 'Z', 32},       {0xC0, 0xD6, 32},     {0xD8, 0xDE, 32},     {0x100, 0x12F, 0},
    {0x132, 0x137, 0},    {0x139, 0x148, 0},    {0x14A, 0x177, 0},    {0x179, 0x17E, 0},
    {0x1CD, 0x1DC, 0},    {0x1DE, 0x1EF, 0},    {0x1F8, 0x21F, 0},    {0x222, 0x233, 0},
    {0x386, 0x386, 38},   {0x388, 0x38A, 37},   {0x38C, 0x38C, 64},   {0x38E, 0x38F, 63},
    {0x391, 0x3A1, 32},   {0x3A3, 0x3AB, 32},   {0x3D8, 0x3EF, 0},    {0x400, 0x40F, 80},
    {0x410, 0x42F, 32},   {0x460, 0x481, 0},    {0x48A, 0x4BF, 0},    {0x4C1, 0x4CE, 0},
    {0x4D0, 0x52F, 0},    {0x531, 0x556, 48},   {0x1E00, 0x1E95, 0},  {0x1EA0, 0x1EFF, 0},
    {0x2160, 0x216F, 16}, {0x24B6, 0x24CF, 26}, {0xFF21, 0xFF3A, 32}, {0x10400, 0x10427, 40},
};

uint32_t cp_lower(uint32_t cp)
{
    if (cp == 0x178)
        return 0xFF;
    for (size_t i = 0; i < COUNT_OF(uppers) && cp >= uppers[i].first; i++) {
        const struct case_run *u = &uppers[i];
        if (cp <= u->last)
            return u->delta ? cp + u->delta : (cp - u->first) % 2 == 0 ? cp + 1 : cp;
    }
    return cp;
}

uint32_t cp_upper(uint32_t cp)
{
    switch (cp) {
    case 0xB5:
        return 0x39C;
    case 0xFF:
        return 0x178;
    case 0x131:
        return 'I';
    case 0x17F:
        return 'S';
    case 0x3C2:
        return 0x3A3;
    }
    for (size_t i = 0; i < COUNT_OF(uppers); i++) {
        const struct case_run *u = &uppers[i];
        if (u->delta && cp >= u->first + u->delta && cp <= u->last + u->delta)
            return cp - u->delta;
        if (!u->delta && cp >= u->first && cp <= u->last)
            return (cp - u->first) % 2 == 1 ? cp - 1 : cp;
    }
    return cp;
}

size_t space_end(const char *s, size_t n, size_t at, bool space)
{
    while (at < n) {
        uint32_t cp;
        size_t len = utf8_next(s + at, n - at, &cp);
        if (cp_is_space(cp) != space)
            break;
        at += len;
    }
    return at;
}

size_t space_begin(const char *s, size_t at, bool space)
{
    while (at > 0) {
        uint32_t cp;
        size_t len = utf8_prev(s, at, &cp);
        if (cp_is_space(cp) != space)
            break;
        at -= len;
    }
    return at;
}
