/*
 * Source to tokens, with jinja2's rules for white space around tags: "-" eats it, a block's or
 * comment's end eats one newline (trim_blocks), and blanks between a line's start and a block or
 * comment go away (lstrip_blocks); "+" keeps both.
 */
#include "specd/unicode.h"
#include "specd/utf8.h"
#include "jinja/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool looking_at(const struct parser *p, size_t at, const char *text)
{
    size_t n = strlen(text);
    return p->len - at >= n && memcmp(p->src + at, text, n) == 0;
}

static void advance(struct parser *p, size_t to)
{
    for (; p->pos < to; p->pos++)
        p->line += p->src[p->pos] == '\n';
}

static void skip_space(struct parser *p)
{
    advance(p, space_end(p->src, p->len, p->pos, true));
}

static void push(struct parser *p, enum tok kind, uint32_t line, struct jv value)
{
    p->tokens = parse_grow(p, p->tokens, p->n_tokens, &p->cap_tokens, sizeof *p->tokens);
    p->tokens[p->n_tokens++] = (struct token){kind, line, value};
}

/* ---- text between tags ----------------------------------------------------------------------- */

/* The text s[0..n) stands before a tag that began with `sign`; what of it remains. */
static size_t strip_before(const struct parser *p, const char *s, size_t n, char sign,
                           bool is_variable)
{
    if (sign == '-')
        return space_begin(s, n, true);
    if (sign == '+' || is_variable)
        return n;
    const char *newline = n > 0 ? memrchr(s, '\n', n) : NULL;
    bool line_start = s == p->src || s[-1] == '\n';
    if (!newline && !line_start)
        return n;
    size_t line = newline ? (size_t)(newline - s) + 1 : 0;
    return space_begin(s, n, true) <= line ? line : n;
}

static void push_data(struct parser *p, const char *s, size_t n, uint32_t line)
{
    if (n > 0)
        push(p, T_DATA, line, jv_own(jv_str(s, n)));
}

static char sign_at(const struct parser *p, size_t at)
{
    char c = at < p->len ? p->src[at] : '\0';
    return c == '-' || c == '+' ? c : '\0';
}

/* What the end of a tag eats behind it. */
static void strip_after(struct parser *p, char sign, bool is_variable)
{
    if (sign == '-')
        skip_space(p);
    else if (sign == '\0' && !is_variable && looking_at(p, p->pos, "\n"))
        advance(p, p->pos + 1);
}

/* Consumes a tag's end if it is here. A variable's knows no "+". */
static bool close_tag(struct parser *p, const char *end, bool is_variable)
{
    char sign = sign_at(p, p->pos);
    size_t at = p->pos + (sign != '\0');
    if ((sign == '+' && is_variable) || !looking_at(p, at, end))
        return false;
    advance(p, at + 2);
    strip_after(p, sign, is_variable);
    return true;
}

static void lex_comment(struct parser *p, uint32_t line)
{
    const char *from = p->src + p->pos;
    const char *end = memmem(from, p->len - p->pos, "#}", 2);
    if (!end)
        parse_fail_at(p, line, "missing end of comment tag");
    char sign = end > from ? sign_at(p, (size_t)(end - p->src) - 1) : '\0';
    advance(p, (size_t)(end - p->src) + 2);
    strip_after(p, sign, false);
}

/* With "{%" at `at`: where the end of a tag of nothing but `word` would have to be, or 0. */
static size_t after_word(const struct parser *p, size_t at, const char *word)
{
    at = space_end(p->src, p->len, at + 2 + (sign_at(p, at + 2) != '\0'), true);
    return looking_at(p, at, word) ? space_end(p->src, p->len, at + strlen(word), true) : 0;
}

/* At "{% raw": true when it is one, and then everything through the endraw tag is consumed. */
static bool lex_raw(struct parser *p, size_t open, uint32_t line)
{
    size_t end = after_word(p, open, "raw");
    bool strip = sign_at(p, end) == '-';
    if (end == 0 || !looking_at(p, end + strip, "%}"))
        return false;
    advance(p, end + strip + 2); /* the newline behind stays, unlike behind other blocks */
    if (strip)
        skip_space(p);
    const char *text = p->src + p->pos;
    for (const char *tag = text; (tag = memmem(tag, p->len - (size_t)(tag - p->src), "{%", 2));
         tag++) {
        size_t at = (size_t)(tag - p->src);
        end = after_word(p, at, "endraw");
        if (end == 0)
            continue;
        uint32_t text_line = p->line;
        advance(p, end);
        if (!close_tag(p, "%}", false))
            break;
        push_data(p, text, strip_before(p, text, (size_t)(tag - text), sign_at(p, at + 2), false),
                  text_line);
        return true;
    }
    parse_fail_at(p, line, "missing end of raw directive");
}

/* ---- tokens inside a tag --------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* End of the digits at `at`, single underscores between them included. */
static size_t digits_end(const struct parser *p, size_t at)
{
    while (at < p->len && (is_digit(p->src[at]) ||
                           (p->src[at] == '_' && at + 1 < p->len && is_digit(p->src[at + 1]))))
        at++;
    return at;
}

/* End of the float at pos, or 0 when the number there is an integer. */
static size_t float_end(const struct parser *p)
{
    size_t whole = digits_end(p, p->pos), end = whole;
    if (p->pos > 0 && p->src[p->pos - 1] == '.') /* x.0.1 are two subscripts */
        return 0;
    if (end + 1 < p->len && p->src[end] == '.' && is_digit(p->src[end + 1]))
        end = digits_end(p, end + 1);
    if (end < p->len && (p->src[end] | 32) == 'e') {
        size_t exponent = end + 1 + (sign_at(p, end + 1) != '\0');
        if (exponent < p->len && is_digit(p->src[exponent]))
            end = digits_end(p, exponent);
    }
    return end > whole ? end : 0;
}

static size_t int_end(const struct parser *p, int *base)
{
    char kind =
        p->src[p->pos] == '0' && p->pos + 1 < p->len ? (char)(p->src[p->pos + 1] | 32) : '\0';
    *base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (*base == 10)
        return digits_end(p, p->pos);
    size_t end = p->pos + 2;
    while (end < p->len &&
           (is_digit(p->src[end]) || p->src[end] == '_' ||
            (*base == 16 && (p->src[end] | 32) >= 'a' && (p->src[end] | 32) <= 'f')))
        end++;
    return end;
}

static void lex_number(struct parser *p)
{
    char text[64], *rest;
    size_t n = 0, end = float_end(p);
    bool is_float = end != 0;
    int base = 10;
    if (!is_float)
        end = int_end(p, &base);
    for (size_t i = p->pos + (base == 10 ? 0 : 2); i < end && n < sizeof text - 1; i++) {
        if (p->src[i] != '_')
            text[n++] = p->src[i];
    }
    text[n] = '\0';
    errno = 0;
    struct jv value = is_float ? jv_float(strtod(text, &rest)) : jv_int(strtoll(text, &rest, base));
    bool padded = !is_float && base == 10 && n > 1 && text[0] == '0' && value.i != 0;
    if (n == 0 || *rest || padded || n == sizeof text - 1 || (!is_float && errno == ERANGE))
        parse_fail_at(p, p->line, "bad or too large number '%s'", text);
    push(p, is_float ? T_FLOAT : T_INT, p->line, value);
    advance(p, end);
}

static void lex_name(struct parser *p)
{
    size_t end = p->pos;
    while (end < p->len && is_name_char(p->src[end]))
        end++;
    push(p, T_NAME, p->line, jv_str(p->src + p->pos, end - p->pos));
    advance(p, end);
}

/* \xhh, \uhhhh, \Uhhhhhhhh (n digits at s) or \ooo. Returns the bytes read. */
static size_t unescape_code(struct parser *p, const char *s, size_t left, size_t n, char *out,
                            size_t *out_len)
{
    uint32_t cp = 0;
    size_t i = 0;
    bool octal = n == 3;
    for (; i < n && i < left; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0 || (octal && digit > 7))
            break;
        cp = cp * (octal ? 8 : 16) + (uint32_t)digit;
    }
    if ((i < n && !octal) || cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        parse_fail_at(p, p->line, "bad character code in a string");
    *out_len += utf8_write(cp, out);
    return i;
}

static struct jv unescape(struct parser *p, const char *s, size_t n)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    if (n == 0 || !memchr(s, '\\', n))
        return jv_own(jv_str(s, n));
    char *out = parse_alloc(p, n, 1); /* no escape is shorter than what it stands for */
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        char c = s[i++];
        if (c != '\\') {
            out[len++] = c;
            continue;
        }
        c = s[i++]; /* lex_string: a backslash is never last */
        const char *simple = c ? strchr(from, c) : NULL;
        size_t code = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        if (simple) {
            out[len++] = to[simple - from];
        } else if (code) {
            i += unescape_code(p, s + i, n - i, code, out + len, &len);
        } else if (c >= '0' && c <= '7') {
            i--;
            i += unescape_code(p, s + i, n - i, 3, out + len, &len);
        } else if (c == 'N') {
            parse_fail_at(p, p->line, "\\N in a string is not supported");
        } else if (c != '\n') {
            out[len++] = '\\';
            out[len++] = c;
        }
    }
    return jv_own(jv_str(out, len));
}

static void lex_string(struct parser *p)
{
    char quote = p->src[p->pos];
    size_t start = p->pos + 1, end = start;
    while (end < p->len && p->src[end] != quote)
        end += p->src[end] == '\\' ? 2 : 1;
    if (end >= p->len)
        parse_fail_at(p, p->line, "string without an end");
    push(p, T_STRING, p->line, unescape(p, p->src + start, end - start));
    advance(p, end + 1);
}

static const struct {
    char text[3];
    enum tok kind;
} operators[] = {
    {"**", T_POW},      {"//", T_FLOORDIV}, {"==", T_EQ},      {"!=", T_NE},      {">=", T_GE},
    {"<=", T_LE},       {"+", T_ADD},       {"-", T_SUB},      {"/", T_DIV},      {"*", T_MUL},
    {"%", T_MOD},       {"~", T_TILDE},     {"[", T_LBRACKET}, {"]", T_RBRACKET}, {"(", T_LPAREN},
    {")", T_RPAREN},    {"{", T_LBRACE},    {"}", T_RBRACE},   {">", T_GT},       {"<", T_LT},
    {"=", T_ASSIGN},    {".", T_DOT},       {":", T_COLON},    {"|", T_PIPE},     {",", T_COMMA},
    {";", T_SEMICOLON},
};

static void balance(struct parser *p, enum tok kind)
{
    char c = p->src[p->pos];
    if (kind == T_LPAREN || kind == T_LBRACKET || kind == T_LBRACE) {
        if (p->n_brackets == sizeof p->brackets)
            parse_fail_at(p, p->line, "brackets nested too deeply");
        p->brackets[p->n_brackets++] = kind == T_LPAREN ? ')' : kind == T_LBRACKET ? ']' : '}';
    } else if (kind == T_RPAREN || kind == T_RBRACKET || kind == T_RBRACE) {
        if (p->n_brackets == 0)
            parse_fail_at(p, p->line, "unexpected '%c'", c);
        char expected = p->brackets[--p->n_brackets];
        if (expected != c)
            parse_fail_at(p, p->line, "unexpected '%c', expected '%c'", c, expected);
    }
}

static void lex_operator(struct parser *p)
{
    for (size_t i = 0; i < COUNT_OF(operators); i++) {
        if (!looking_at(p, p->pos, operators[i].text))
            continue;
        balance(p, operators[i].kind);
        push(p, operators[i].kind, p->line, jv_cstr(operators[i].text));
        advance(p, p->pos + strlen(operators[i].text));
        return;
    }
    parse_fail_at(p, p->line, "unexpected character '%c'", p->src[p->pos]);
}

static void lex_token(struct parser *p)
{
    char c = p->src[p->pos];
    if (is_digit(c))
        lex_number(p);
    else if (is_name_char(c))
        lex_name(p);
    else if (c == '"' || c == '\'')
        lex_string(p);
    else
        lex_operator(p);
}

static void lex_tag(struct parser *p, bool is_variable)
{
    uint32_t start = p->line;
    for (;;) {
        uint32_t line = p->line;
        size_t at = p->pos;
        if (p->n_brackets == 0 && close_tag(p, is_variable ? "}}" : "%}", is_variable)) {
            push(p, is_variable ? T_VAR_END : T_BLOCK_END, line, jv_none());
            return;
        }
        skip_space(p);
        if (p->pos == p->len)
            parse_fail_at(p, start, "tag without an end");
        if (p->pos == at)
            lex_token(p);
    }
}

static size_t find_tag(const struct parser *p)
{
    for (size_t i = p->pos; i + 1 < p->len; i++) {
        char c = p->src[i + 1];
        if (p->src[i] == '{' && (c == '%' || c == '{' || c == '#'))
            return i;
    }
    return p->len;
}

/* Text up to the next tag, and that tag. */
static void lex_piece(struct parser *p)
{
    size_t start = p->pos, open = find_tag(p);
    uint32_t line = p->line;
    char kind = open < p->len ? p->src[open + 1] : '\0', sign = sign_at(p, open + 2);
    size_t n = open - start;
    if (kind)
        n = strip_before(p, p->src + start, n, sign, kind == '{');
    push_data(p, p->src + start, n, line);
    advance(p, open);
    line = p->line;
    if (!kind || (kind == '%' && lex_raw(p, open, line)))
        return;
    advance(p, open + 2 + (sign != '\0'));
    if (kind == '#') {
        lex_comment(p, line);
        return;
    }
    push(p, kind == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN, line, jv_none());
    lex_tag(p, kind == '{');
}

void parse_tokenize(struct parser *p)
{
    while (p->pos < p->len)
        lex_piece(p);
    push(p, T_EOF, p->line, jv_none());
}
