#include "grammar/token_trie.h"

#include "grammar/chars.h"

#include <stdlib.h>
#include <string.h>

static int by_bytes(const void *a, const void *b)
{
    const struct token_bytes *x = a, *y = b;
    int order = memcmp(x->data, y->data, MIN(x->len, y->len));
    if (order != 0)
        return order;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static size_t common(const struct token_bytes *a, const struct token_bytes *b)
{
    size_t n = 0;
    while (n < a->len && n < b->len && a->data[n] == b->data[n])
        n++;
    return n;
}

/* tokens: sorted. Each token adds the nodes of the bytes it does not share with the one before; a
 * node is closed, and knows where to skip to, when a token leaves it. */
static void tree_make(struct token_tree *t, const struct token_bytes *tokens, size_t n,
                      uint32_t longest)
{
    uint32_t *open = xmalloc((longest + 1) * sizeof *open), depth = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += tokens[i].len - (i > 0 ? common(&tokens[i - 1], &tokens[i]) : 0);
    t->nodes = xmalloc((bytes + 1) * sizeof *t->nodes);
    t->ids = xmalloc((n + 1) * sizeof *t->ids);
    for (size_t i = 0; i < n; i++) {
        size_t shared = i > 0 ? common(&tokens[i - 1], &tokens[i]) : 0;
        while (depth > shared)
            t->nodes[open[--depth]].skip = t->n_nodes;
        for (; depth < tokens[i].len; depth++) {
            open[depth] = t->n_nodes;
            t->nodes[t->n_nodes++] = (struct trie_node){.first = t->n_ids,
                                                        .depth = (uint16_t)depth,
                                                        .byte = (uint8_t)tokens[i].data[depth]};
        }
        t->nodes[open[depth - 1]].n_ids++;
        t->ids[t->n_ids++] = tokens[i].id;
    }
    while (depth > 0)
        t->nodes[open[--depth]].skip = t->n_nodes;
    for (uint32_t i = t->n_nodes; i-- > 0;) /* children stand behind their parents */
        for (uint32_t k = i + 1; k < t->nodes[i].skip; k = t->nodes[k].skip) {
            unsigned below = MIN(t->nodes[k].below + 1u, TOKEN_TRIE_BELOW_MAX);
            t->nodes[i].below = (uint8_t)MAX(t->nodes[i].below, below);
        }
    free(open);
}

/* The characters of a plain token; 0 if it is none. */
static uint32_t plain_characters(const struct token_bytes *token)
{
    uint8_t state = CHARS_WHOLE;
    uint32_t n = 0;
    for (size_t i = 0; i < token->len; i++) {
        if (token->data[i] == '\\')
            return 0;
        state = chars_next(state, (uint8_t)token->data[i]);
        if (state == CHARS_DEAD)
            return 0;
        n += state == CHARS_WHOLE;
    }
    return state == CHARS_WHOLE ? n : 0;
}

/* Counts tokens by their characters, then puts each behind those with fewer. */
static void list_plain(struct token_trie *t, const struct token_bytes *tokens, size_t n)
{
    uint32_t total = 0;
    t->plain = xcalloc((size_t)mask_words((int32_t)t->n_vocab) + 1, sizeof *t->plain);
    for (size_t i = 0; i < n; i++)
        t->plain_longest = MAX(t->plain_longest, plain_characters(&tokens[i]));
    t->plain_upto = xcalloc(t->plain_longest + 2, sizeof *t->plain_upto);
    for (size_t i = 0; i < n; i++) {
        uint32_t chars = plain_characters(&tokens[i]);
        total += chars > 0;
        if (chars > 0)
            t->plain_upto[chars + 1]++;
    }
    for (uint32_t k = 1; k <= t->plain_longest + 1; k++)
        t->plain_upto[k] += t->plain_upto[k - 1];
    t->plain_ids = xmalloc((total + 1) * sizeof *t->plain_ids);
    for (size_t i = 0; i < n; i++) {
        uint32_t chars = plain_characters(&tokens[i]);
        if (chars == 0)
            continue;
        t->plain_ids[t->plain_upto[chars]++] = tokens[i].id;
        t->plain[tokens[i].id / 32] |= 1u << tokens[i].id % 32;
    }
}

static bool is_end(const struct token_trie *t, int32_t id)
{
    for (uint32_t i = 0; i < t->n_ends; i++)
        if (t->ends[i] == id)
            return true;
    return false;
}

void token_trie_init(struct token_trie *t, const struct token_bytes *tokens, size_t n,
                     uint32_t n_vocab, const int32_t *ends, size_t n_ends)
{
    struct token_bytes *kept = xmalloc((n + 1) * sizeof *kept);
    struct token_bytes *unused = xmalloc((n + 1) * sizeof *unused);
    size_t n_kept = 0, n_unused = 0, n_others = 0;
    *t = (struct token_trie){.n_vocab = n_vocab, .n_ends = (uint32_t)n_ends};
    t->ends = xmalloc((n_ends + 1) * sizeof *ends);
    memcpy(t->ends, ends, n_ends * sizeof *ends);
    t->spelled = xcalloc((size_t)mask_words((int32_t)n_vocab) + 1, sizeof *t->spelled);
    for (size_t i = 0; i < n; i++) {
        const struct token_bytes *token = &tokens[i];
        if (is_end(t, token->id) || token->len == 0 || token->id < 0 ||
            (uint32_t)token->id >= n_vocab)
            continue;
        if (token->len > TOKEN_TRIE_LEN_MAX) {
            t->too_long = xrealloc(t->too_long, (t->n_too_long + 1) * sizeof *t->too_long);
            t->too_long[t->n_too_long++] = *token;
            continue;
        }
        t->longest = MAX(t->longest, (uint32_t)token->len);
        if (token->unused) {
            unused[n_unused++] = *token;
            continue;
        }
        kept[n_kept++] = *token;
        t->spelled[token->id / 32] |= 1u << token->id % 32;
    }
    qsort(kept, n_kept, sizeof *kept, by_bytes);
    qsort(unused, n_unused, sizeof *unused, by_bytes);
    tree_make(&t->all, kept, n_kept, t->longest);
    tree_make(&t->unused, unused, n_unused, t->longest);
    list_plain(t, kept, n_kept);
    for (size_t i = 0; i < n_kept; i++)
        if (plain_characters(&kept[i]) == 0)
            kept[n_others++] = kept[i];
    tree_make(&t->others, kept, n_others, t->longest);
    free(unused);
    free(kept);
}

void token_trie_of(struct token_trie *t, const struct tokenizer *tokenizer, uint32_t n_vocab)
{
    const struct vocab *v = tokenizer_vocab(tokenizer);
    uint32_t n = tokenizer_n_vocab(tokenizer);
    struct token_bytes *tokens = xcalloc(n, sizeof *tokens);
    for (uint32_t id = 0; id < n; id++) {
        tokens[id].id = (int32_t)id;
        tokens[id].data = tokenizer_piece(tokenizer, (int32_t)id, false, &tokens[id].len);
        tokens[id].unused = v->tokens[id].type == TOKEN_UNUSED;
    }
    token_trie_init(t, tokens, n, n_vocab, v->eog, (size_t)v->n_eog);
    free(tokens);
}

void token_trie_fini(struct token_trie *t)
{
    free(t->all.nodes);
    free(t->all.ids);
    free(t->others.nodes);
    free(t->others.ids);
    free(t->unused.nodes);
    free(t->unused.ids);
    free(t->spelled);
    free(t->too_long);
    free(t->plain);
    free(t->plain_ids);
    free(t->plain_upto);
    free(t->ends);
    *t = (struct token_trie){0};
}

int32_t token_trie_longest(const struct token_trie *t, const void *text, size_t n, size_t *len)
{
    const uint8_t *bytes = text;
    uint32_t i = 0, end = t->all.n_nodes;
    int32_t found = -1;
    for (size_t depth = 0; depth < n && i < end;) {
        const struct trie_node *node = &t->all.nodes[i];
        if (node->byte != bytes[depth]) {
            i = node->skip; /* its next sibling */
            continue;
        }
        depth++;
        if (node->n_ids > 0) {
            found = t->all.ids[node->first];
            *len = depth;
        }
        end = node->skip;
        i++;
    }
    return found;
}
