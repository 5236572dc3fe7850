#include "grammar/chars.h"
#include "grammar/schema.h"

uint32_t compile_any_string(struct compiler *c, uint32_t next)
{
    if (c->in_parameters)
        return compile_string(c, &(struct terms){.n = 0}, next);
    return network_byte(&c->net, '"', '"',
                        network_string(&c->net, CHARS_WHOLE, 0, NODE_NO_MAX, next));
}

/* Behind the opening bracket: nothing, or items parted by commas, and the closing one. *item is a
 * node to be set to an item, which goes on at the node returned in *more. */
static uint32_t make_list(struct network *w, char close, uint32_t *item, uint32_t *more,
                          uint32_t next)
{
    uint32_t shut = network_byte(w, (uint8_t)close, (uint8_t)close, next);
    *item = network_later(w);
    *more = network_split(w, network_byte(w, ',', ',', network_space(w, *item)),
                          network_space(w, shut));
    return network_space(w, network_split(w, *item, shut));
}

static uint32_t make_object(struct compiler *c, uint32_t next)
{
    struct network *w = &c->net;
    uint32_t item, more, inside = make_list(w, '}', &item, &more, next);
    uint32_t value = compile_common(c, COMMON_VALUE, more);
    uint32_t spaced = network_split(w, value, network_byte(w, ' ', ' ', value));
    uint32_t key = compile_any_string(c, network_byte(w, ':', ':', spaced));
    network_set(w, item, NODE_SPLIT, &(struct edge){.to = key}, 1);
    return network_byte(w, '{', '{', inside);
}

static uint32_t make_array(struct compiler *c, uint32_t next)
{
    struct network *w = &c->net;
    uint32_t item, more, inside = make_list(w, ']', &item, &more, next);
    uint32_t value = compile_common(c, COMMON_VALUE, more);
    network_set(w, item, NODE_SPLIT, &(struct edge){.to = value}, 1);
    return network_byte(w, '[', '[', inside);
}

static uint32_t make_value(struct compiler *c)
{
    struct network *w = &c->net;
    struct edge kinds[] = {
        {.to = compile_any_string(c, NODE_OF_RETURN)},
        {.to = compile_common(c, COMMON_OBJECT, NODE_OF_RETURN)},
        {.to = make_array(c, NODE_OF_RETURN)},
        {.to = compile_common(c, COMMON_NUMBER, NODE_OF_RETURN)},
        {.to = network_text(w, "true", 4, NODE_OF_RETURN)},
        {.to = network_text(w, "false", 5, NODE_OF_RETURN)},
        {.to = network_text(w, "null", 4, NODE_OF_RETURN)},
    };
    return network_edges(w, NODE_SPLIT, kinds, COUNT_OF(kinds));
}

uint32_t compile_common(struct compiler *c, enum common which, uint32_t next)
{
    uint32_t start = NODE_OF_NOTHING, *known = &c->common[c->in_parameters][which];
    if (*known == 0) {
        uint32_t procedure = network_procedure(&c->net);
        *known = procedure + 1; /* at once: values hold values */
        switch (which) {
        case COMMON_OBJECT:
            start = make_object(c, NODE_OF_RETURN);
            break;
        case COMMON_INTEGER:
            start = make_integer(c, NODE_OF_RETURN);
            break;
        case COMMON_NUMBER:
            start = make_number(c, true, NODE_OF_RETURN);
            break;
        default:
            start = make_value(c);
        }
        network_define(&c->net, procedure, start);
    }
    return network_call(&c->net, *known - 1, next);
}
