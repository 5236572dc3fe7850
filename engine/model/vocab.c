#include "model/vocab.h"

#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts that end a turn or a document in published models, whatever the file calls them. */
static const char *const end_texts[] = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<|return|>",
    "<EOT>",
    "_<EOT>",
    "</s>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
};

void vocab_add_eog(struct vocab *v, int32_t id)
{
    if (id < 0 || v->n_eog == VOCAB_EOG_MAX)
        return;
    for (int32_t i = 0; i < v->n_eog; i++) {
        if (v->eog[i] == id)
            return;
    }
    v->eog[v->n_eog++] = id;
}

static bool ends_generation(const struct vocab_token *t)
{
    if (t->type != TOKEN_CONTROL && t->type != TOKEN_USER_DEFINED)
        return false;
    /* Among the user-defined tokens of Gemma it is a tag of HTML. */
    if (t->type == TOKEN_USER_DEFINED && t->len == 4 && memcmp(t->text, "</s>", 4) == 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(end_texts); i++) {
        if (strlen(end_texts[i]) == t->len && memcmp(end_texts[i], t->text, t->len) == 0)
            return true;
    }
    return false;
}

void vocab_find_eog(struct vocab *v)
{
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        if (ends_generation(&v->tokens[i]))
            vocab_add_eog(v, (int32_t)i);
    }
}

void vocab_pad(struct vocab *v, uint32_t n)
{
    if (v->n_tokens >= n)
        return;
    v->tokens = xrealloc(v->tokens, n * sizeof *v->tokens);
    for (uint32_t i = v->n_tokens; i < n; i++) {
        char text[24];
        int len = snprintf(text, sizeof text, "[PAD%u]", i);
        v->tokens[i] = (struct vocab_token){
            .text = xstrndup(text, (size_t)len), .len = (uint32_t)len, .type = TOKEN_UNUSED};
    }
    v->n_tokens = n;
}

void vocab_free(struct vocab *v)
{
    for (uint32_t i = 0; i < v->n_tokens; i++)
        free(v->tokens[i].text);
    for (uint32_t i = 0; i < v->n_merges; i++) {
        free(v->merges[i].left);
        free(v->merges[i].right);
    }
    free(v->tokens);
    free(v->merges);
    free(v->chat_template);
    free(v->tools_template);
    *v = (struct vocab){0};
}
