#include "grammar/chars.h"

#include "specd/json_write.h"

#define DIGITS(to) ['0' ... '9'] = (to), ['a' ... 'f'] = (to), ['A' ... 'F'] = (to)

const uint8_t chars_table[CHARS_N][256] = {
    [CHARS_WHOLE] = {[0x20 ... 0x21] = CHARS_WHOLE,
                     [0x23 ... 0x5B] = CHARS_WHOLE,
                     ['\\'] = CHARS_ESCAPE,
                     [0x5D ... 0x7F] = CHARS_WHOLE,
                     [0xC2 ... 0xDF] = CHARS_TAIL1,
                     [0xE0] = CHARS_E0,
                     [0xE1 ... 0xEC] = CHARS_TAIL2,
                     [0xED] = CHARS_ED,
                     [0xEE ... 0xEF] = CHARS_TAIL2,
                     [0xF0] = CHARS_F0,
                     [0xF1 ... 0xF3] = CHARS_TAIL3,
                     [0xF4] = CHARS_F4},
    [CHARS_TAIL1] = {[0x80 ... 0xBF] = CHARS_WHOLE},
    [CHARS_TAIL2] = {[0x80 ... 0xBF] = CHARS_TAIL1},
    [CHARS_TAIL3] = {[0x80 ... 0xBF] = CHARS_TAIL2},
    [CHARS_E0] = {[0xA0 ... 0xBF] = CHARS_TAIL1},
    [CHARS_ED] = {[0x80 ... 0x9F] = CHARS_TAIL1},
    [CHARS_F0] = {[0x90 ... 0xBF] = CHARS_TAIL2},
    [CHARS_F4] = {[0x80 ... 0x8F] = CHARS_TAIL2},
    [CHARS_ESCAPE] = {['"'] = CHARS_WHOLE,
                      ['\\'] = CHARS_WHOLE,
                      ['/'] = CHARS_WHOLE,
                      ['b'] = CHARS_WHOLE,
                      ['f'] = CHARS_WHOLE,
                      ['n'] = CHARS_WHOLE,
                      ['r'] = CHARS_WHOLE,
                      ['t'] = CHARS_WHOLE,
                      ['u'] = CHARS_HEX4},
    [CHARS_HEX4] = {['0' ... '9'] = CHARS_HEX3,
                    ['a' ... 'c'] = CHARS_HEX3,
                    ['A' ... 'C'] = CHARS_HEX3,
                    ['d'] = CHARS_HEX_D,
                    ['D'] = CHARS_HEX_D,
                    ['e' ... 'f'] = CHARS_HEX3,
                    ['E' ... 'F'] = CHARS_HEX3},
    [CHARS_HEX3] = {DIGITS(CHARS_HEX2)},
    [CHARS_HEX2] = {DIGITS(CHARS_HEX1)},
    [CHARS_HEX1] = {DIGITS(CHARS_WHOLE)},
    [CHARS_HEX_D] = {['0' ... '7'] = CHARS_HEX2,
                     ['8' ... '9'] = CHARS_HIGH2,
                     ['a' ... 'b'] = CHARS_HIGH2,
                     ['A' ... 'B'] = CHARS_HIGH2},
    [CHARS_HIGH2] = {DIGITS(CHARS_HIGH1)},
    [CHARS_HIGH1] = {DIGITS(CHARS_LOW_ESCAPE)},
    [CHARS_LOW_ESCAPE] = {['\\'] = CHARS_LOW_U},
    [CHARS_LOW_U] = {['u'] = CHARS_LOW_D},
    [CHARS_LOW_D] = {['d'] = CHARS_LOW_C, ['D'] = CHARS_LOW_C},
    [CHARS_LOW_C] = {['c' ... 'f'] = CHARS_HEX2, ['C' ... 'F'] = CHARS_HEX2},
};

char chars_escape(uint8_t byte)
{
    char escape[JSON_ESCAPE_MAX];
    return json_escape_byte(byte, escape) > 0 ? escape[1] : 0;
}

void chars_spell(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        char escape[JSON_ESCAPE_MAX];
        size_t n = json_escape_byte((unsigned char)text[i], escape);
        if (n > 0)
            buf_add(out, escape, n);
        else
            buf_add(out, &text[i], 1);
    }
}
