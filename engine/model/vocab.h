/*
 * vocab.h - a vocabulary as the model file carries it, before a tokenizer is built from it.
 *
 * Filled from GGUF metadata (gguf_vocab.c) or from tokenizer.json (hf_vocab.c). Strings are
 * owned by the vocab and may hold any bytes. Token texts are as in the file: byte-level BPE writes
 * bytes in GPT-2's printable alphabet, SentencePiece writes U+2581 for a space.
 */
#ifndef SPECD_VOCAB_H
#define SPECD_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vocab_kind { VOCAB_BPE, VOCAB_SPM };
/* The pre-tokenizer of a BPE: a row of model/pre.h. */
enum vocab_pre { PRE_GPT2, PRE_SMOLLM, PRE_LLAMA3, PRE_DBRX, PRE_QWEN2, PRE_DEFAULT, PRE_COUNT };

/* GGUF's numbers. */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6
};

/* Where SentencePiece's space prefix goes. A stretch is the text between two added tokens. */
enum space_prefix {
    PREFIX_SENTENCE, /* start of the text and after control tokens: sentencepiece; GGUF */
    PREFIX_STRETCH,  /* every stretch: Hugging Face's normalizer Prepend */
    PREFIX_MISSING,  /* stretches that do not start with a space: Metaspace "always" */
    PREFIX_FIRST     /* the same, but only at the start of the text: Metaspace "first" */
};

struct vocab_token {
    char *text;
    uint32_t len;
    float score; /* SentencePiece */
    enum token_type type;
    /* Control and user-defined tokens, false unless a tokenizer.json says otherwise: */
    bool lstrip, rstrip; /* white space on that side goes with the token */
    bool normalized;     /* looked for after the text was normalised */
};

struct vocab_merge { /* rank is the index */
    char *left, *right;
    uint32_t left_len, right_len;
};

#define VOCAB_EOG_MAX 16

struct vocab {
    enum vocab_kind kind;
    enum vocab_pre pre;
    struct vocab_token *tokens;
    uint32_t n_tokens;
    struct vocab_merge *merges;
    uint32_t n_merges;
    int32_t bos, eos, unk, pad; /* -1: none */
    bool add_bos, add_eos, add_space_prefix;
    enum space_prefix space_prefix; /* used when add_space_prefix is set */
    bool nfc;                       /* text is normalised to NFC first: the Qwen family */
    bool ignore_merges; /* Llama-3: a whole pre-token that is in the vocabulary is one token */
    bool unk_bytes;     /* BPE: a byte without a token becomes unk; else it is left out */
    int32_t eog[VOCAB_EOG_MAX]; /* every id that ends a generation: eos, eot, eom, ... */
    int32_t n_eog;
    char *chat_template;  /* Jinja source or NULL */
    char *tools_template; /* the one for requests with tools, named tool_use; or NULL */
};

/* Adds id once; ignores -1 and a full list. */
void vocab_add_eog(struct vocab *v, int32_t id);
/* Marks the well-known end-of-turn texts (<|im_end|>, <|eot_id|>, <|eom_id|>, <|endoftext|>,
 * <end_of_turn>, </s>, ...) of control and user-defined tokens as eog. */
void vocab_find_eog(struct vocab *v);
/* Appends unused tokens [PADi] up to n: a model's embedding may have more rows than its tokenizer
 * has tokens. */
void vocab_pad(struct vocab *v, uint32_t n);
void vocab_free(struct vocab *v);

#endif
