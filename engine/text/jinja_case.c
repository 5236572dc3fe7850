/*
 * The methods of strings that look at single characters: case, kinds of characters, padding.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"
#include "text/utf8.h"

#include <string.h>

/* ---- case ------------------------------------------------------------------------------------ */

#define SHARP_S 0xDF /* its upper case is two letters */

enum mapping { MAP_UPPER, MAP_LOWER, MAP_SWAP, MAP_TITLE, MAP_CAPITALIZE };

static bool is_upper(uint32_t cp)
{
    return jinja_cp_lower(cp) != cp;
}

static bool is_lower(uint32_t cp)
{
    return jinja_cp_upper(cp) != cp || cp == SHARP_S;
}

/* Writes the mapped character and returns its bytes, at most 4. */
static size_t map_char(uint32_t cp, enum mapping mapping, bool first, bool after_letter, char *out)
{
    bool upper = mapping == MAP_UPPER || (mapping == MAP_SWAP && is_lower(cp)) ||
                 (mapping == MAP_TITLE && !after_letter) || (mapping == MAP_CAPITALIZE && first);
    if (upper && cp == SHARP_S) {
        bool both = mapping == MAP_UPPER || mapping == MAP_SWAP;
        memcpy(out, both ? "SS" : "Ss", 2);
        return 2;
    }
    return utf8_write(upper ? jinja_cp_upper(cp) : jinja_cp_lower(cp), out);
}

static struct jv map_string(struct jinja_run *r, struct jv s, enum mapping mapping)
{
    struct jv_text t = {.run = r};
    char chunk[256];
    size_t filled = 0;
    bool after_letter = false;
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        if (filled + 4 > sizeof chunk || cp == UTF8_INVALID) {
            jv_text_add(&t, chunk, filled);
            filled = 0;
        }
        if (cp == UTF8_INVALID)
            jv_text_add(&t, s.s + at, n);
        else
            filled += map_char(cp, mapping, at == 0, after_letter, chunk + filled);
        after_letter = is_upper(cp) || is_lower(cp);
    }
    jv_text_add(&t, chunk, filled);
    return jv_markup(jv_text_done(&t), s.flag);
}

struct jv jinja_map_case(struct jinja_run *r, struct jv s, bool upper)
{
    return map_string(r, s, upper ? MAP_UPPER : MAP_LOWER);
}

struct jv jinja_capitalize(struct jinja_run *r, struct jv s)
{
    return map_string(r, s, MAP_CAPITALIZE);
}

static struct jv str_upper(struct jinja_run *r, const struct call *c)
{
    return map_string(r, c->self, MAP_UPPER);
}

static struct jv str_lower(struct jinja_run *r, const struct call *c)
{
    return map_string(r, c->self, MAP_LOWER);
}

static struct jv str_swapcase(struct jinja_run *r, const struct call *c)
{
    return map_string(r, c->self, MAP_SWAP);
}

static struct jv str_title(struct jinja_run *r, const struct call *c)
{
    return map_string(r, c->self, MAP_TITLE);
}

static struct jv str_capitalize(struct jinja_run *r, const struct call *c)
{
    return map_string(r, c->self, MAP_CAPITALIZE);
}

/* ---- kinds of characters --------------------------------------------------------------------- */

static bool is_digit(uint32_t cp)
{
    return cp >= '0' && cp <= '9';
}

static bool is_alnum(uint32_t cp)
{
    return is_digit(cp) || jinja_cp_is_alpha(cp);
}

/* Not empty, and every character is of the kind. */
static struct jv all_are(struct jinja_run *r, struct jv s, bool (*is_kind)(uint32_t cp))
{
    bool all = s.len > 0;
    jinja_charge(r, s.len);
    for (size_t at = 0, n; at < s.len && all; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        all = is_kind(cp);
    }
    return jv_bool(all);
}

bool jinja_is_cased(struct jinja_run *r, struct jv s, bool upper)
{
    bool some = false;
    jinja_charge(r, s.len);
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        if (upper ? is_lower(cp) : is_upper(cp))
            return false;
        some |= upper ? is_upper(cp) : is_lower(cp);
    }
    return some;
}

static struct jv str_isdigit(struct jinja_run *r, const struct call *c)
{
    return all_are(r, c->self, is_digit);
}

static struct jv str_isalpha(struct jinja_run *r, const struct call *c)
{
    return all_are(r, c->self, jinja_cp_is_alpha);
}

static struct jv str_isalnum(struct jinja_run *r, const struct call *c)
{
    return all_are(r, c->self, is_alnum);
}

static struct jv str_isspace(struct jinja_run *r, const struct call *c)
{
    return all_are(r, c->self, jinja_cp_is_space);
}

static struct jv str_isupper(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_is_cased(r, c->self, true));
}

static struct jv str_islower(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_is_cased(r, c->self, false));
}

/* ---- padding --------------------------------------------------------------------------------- */

/* `left` in 0..2: how many halves of the padding go before the text. */
static struct jv pad(struct jinja_run *r, const struct call *c, int left)
{
    struct jv fill = c->args[1].kind == JV_MISSING ? jv_cstr(" ") : jinja_arg_str(r, c, 1);
    struct jv_text t = {.run = r};
    size_t len = 0;
    jv_length(r, c->self, &len);
    int64_t room = jinja_arg_int(r, c, 0, 0) - (int64_t)len;
    if (jinja_utf8_length(fill.s, fill.len) != 1)
        jinja_raise(r, "the fill character must be exactly one character long");
    if (room <= 0)
        return c->self;
    /* str.center gives the odd blank to the left only when the width is odd as well */
    int64_t before = left == 0   ? 0
                     : left == 2 ? room
                                 : room / 2 + (room & (room + (int64_t)len) & 1);
    for (int64_t i = 0; i < before; i++)
        jv_text_add(&t, fill.s, fill.len);
    jv_text_add(&t, c->self.s, c->self.len);
    for (int64_t i = before; i < room; i++)
        jv_text_add(&t, fill.s, fill.len);
    return jv_markup(jv_text_done(&t), c->self.flag);
}

static struct jv str_ljust(struct jinja_run *r, const struct call *c)
{
    return pad(r, c, 0);
}

static struct jv str_rjust(struct jinja_run *r, const struct call *c)
{
    return pad(r, c, 2);
}

struct jv jinja_str_center(struct jinja_run *r, const struct call *c)
{
    return pad(r, c, 1);
}

static struct jv str_zfill(struct jinja_run *r, const struct call *c)
{
    struct jv s = c->self;
    struct jv_text t = {.run = r};
    size_t len = 0, sign = s.len > 0 && (s.s[0] == '-' || s.s[0] == '+');
    jv_length(r, s, &len);
    int64_t room = jinja_arg_int(r, c, 0, 0) - (int64_t)len;
    jv_text_add(&t, s.s, sign);
    jv_text_fill(&t, '0', room > 0 ? (size_t)room : 0);
    jv_text_add(&t, sign ? s.s + 1 : s.s, s.len - sign);
    return jv_markup(jv_text_done(&t), s.flag);
}

const struct jinja_func jinja_char_methods[] = {
    {.name = "upper", .fn = str_upper},
    {.name = "lower", .fn = str_lower},
    {.name = "casefold", .fn = str_lower},
    {.name = "swapcase", .fn = str_swapcase},
    {.name = "title", .fn = str_title},
    {.name = "capitalize", .fn = str_capitalize},
    {.name = "isdigit", .fn = str_isdigit},
    {.name = "isdecimal", .fn = str_isdigit},
    {.name = "isnumeric", .fn = str_isdigit},
    {.name = "isalpha", .fn = str_isalpha},
    {.name = "isalnum", .fn = str_isalnum},
    {.name = "isspace", .fn = str_isspace},
    {.name = "isupper", .fn = str_isupper},
    {.name = "islower", .fn = str_islower},
    {.name = "ljust", .fn = str_ljust, .params = {"width", "fillchar"}, .required = 1},
    {.name = "rjust", .fn = str_rjust, .params = {"width", "fillchar"}, .required = 1},
    {.name = "center", .fn = jinja_str_center, .params = {"width", "fillchar"}, .required = 1},
    {.name = "zfill", .fn = str_zfill, .params = {"width"}, .required = 1},
};
const size_t jinja_n_char_methods = COUNT_OF(jinja_char_methods);
