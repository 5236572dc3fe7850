/*
 * A vocabulary that any text can be written in: the 256 bytes, the special tokens of ChatML, and
 * words of letters up to the size asked for, so that tokens have realistic lengths. A size too
 * small for the bytes gives that many single printable characters instead, without special
 * tokens (but one of them may end a text): for statistics over a few symbols, where prompts are
 * token ids.
 */
#include "synth.h"

#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

#define N_BYTES 256
static const char letters[] = "etaoinshrdlcumwfgypbvkjxqz"; /* frequent ones first */
#define N_LETTERS ((uint32_t)sizeof letters - 1)
#define N_STEMS (1 + N_LETTERS)
#define BPE_MARK "\xc4\xa0"     /* U+0120, the byte letter of a space */
#define SPM_MARK "\xe2\x96\x81" /* U+2581 */

static const char chatml[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/* GPT-2's printable stand-in for a byte, as UTF-8: printable Latin-1 stands for itself, the others
 * follow from U+0100 in order. */
static size_t byte_letter(int byte, char out[2])
{
    int shift = 0;
    if (byte < 0x21)
        shift = byte;
    else if (byte > 0x7e && byte < 0xa1)
        shift = byte - 0x7f + 0x21;
    else if (byte == 0xad)
        shift = 0x21 + 0x22;
    else
        shift = -1;
    int code = shift < 0 ? byte : 0x100 + shift;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

/*
 * Words are numbered: items 0..26 are the mark of a word's start and the letters, item 27 + j is
 * item j / 26 followed by letter j % 26. So every word is made by one merge of an earlier item and
 * a letter, and a smaller vocabulary is the beginning of a larger one.
 */
static void add_item(struct buf *out, uint32_t item, const char *mark)
{
    if (item == 0) {
        buf_puts(out, mark);
    } else if (item <= N_LETTERS) {
        buf_add(out, &letters[item - 1], 1);
    } else {
        uint32_t word = item - N_STEMS;
        add_item(out, word / N_LETTERS, mark);
        buf_add(out, &letters[word % N_LETTERS], 1);
    }
}

/* Columns of the metadata arrays. Texts share one buffer, so they are offsets until the end. */
struct columns {
    struct buf texts;
    size_t *ends;
    float *scores;
    int32_t *types;
    uint32_t n, limit;
};

static void end_token(struct columns *c, enum token_type type, float score)
{
    ASSERT(c->n < c->limit);
    c->ends[c->n] = c->texts.len;
    c->types[c->n] = (int32_t)type;
    c->scores[c->n] = score;
    c->n++;
}

static void add_token(struct columns *c, const char *text, enum token_type type)
{
    buf_puts(&c->texts, text);
    end_token(c, type, 0);
}

static void add_bytes(struct columns *c, const struct synth_spec *s)
{
    for (int i = 0; i < N_BYTES; i++) {
        char letter[2];
        if (s->tokenizer == SYNTH_SPM)
            buf_printf(&c->texts, "<0x%02X>", (unsigned)i);
        else
            buf_add(&c->texts, letter, byte_letter(i, letter));
        end_token(c, s->tokenizer == SYNTH_SPM ? TOKEN_BYTE : TOKEN_NORMAL, 0);
    }
}

/* SentencePiece joins the pair whose token has the highest score, so scores fall. */
static void add_items(struct columns *c, uint32_t first, const char *mark)
{
    for (uint32_t item = first; c->n < c->limit; item++) {
        add_item(&c->texts, item, mark);
        end_token(c, TOKEN_NORMAL, -(float)(item + 1));
    }
}

static void put_texts(struct gguf_writer *w, const char *key, const struct buf *texts,
                      const size_t *ends, uint32_t n)
{
    struct gguf_text *list = xcalloc(n, sizeof *list);
    for (uint32_t i = 0; i < n; i++) {
        size_t start = i > 0 ? ends[i - 1] : 0;
        list[i] = (struct gguf_text){texts->data + start, ends[i] - start};
    }
    gguf_put_strings(w, key, list, n);
    free(list);
}

static void put_merges(struct gguf_writer *w, uint32_t n)
{
    struct buf texts = {0};
    size_t *ends = xcalloc(n, sizeof *ends);
    for (uint32_t i = 0; i < n; i++) {
        add_item(&texts, i / N_LETTERS, BPE_MARK);
        buf_printf(&texts, " %c", letters[i % N_LETTERS]);
        ends[i] = texts.len;
    }
    put_texts(w, "tokenizer.ggml.merges", &texts, ends, n);
    buf_free(&texts);
    free(ends);
}

static void fill_bpe(struct gguf_writer *w, struct columns *c, const struct synth_spec *s)
{
    gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(w, "tokenizer.ggml.pre", "gpt-2");
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    if (s->vocab <= SYNTH_SMALL_VOCAB) {
        for (uint32_t i = 0; i < s->vocab; i++) {
            char letter[2];
            buf_add(&c->texts, letter, byte_letter((int)('a' + i) % N_BYTES, letter));
            end_token(c, TOKEN_NORMAL, 0);
        }
        put_merges(w, 0);
        if (s->eos != SYNTH_NO_EOS)
            gguf_put_u32(w, "tokenizer.ggml.eos_token_id", s->eos);
        return;
    }
    add_token(c, "<|endoftext|>", TOKEN_CONTROL);
    add_token(c, "<|im_start|>", TOKEN_CONTROL);
    add_token(c, "<|im_end|>", TOKEN_CONTROL);
    add_bytes(c, s);
    put_merges(w, c->limit - c->n);
    add_items(c, N_STEMS, BPE_MARK);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 0);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_u32(w, "tokenizer.ggml.padding_token_id", 0);
    gguf_put_string(w, "tokenizer.chat_template", chatml);
}

static void fill_spm(struct gguf_writer *w, struct columns *c, const struct synth_spec *s)
{
    gguf_put_string(w, "tokenizer.ggml.model", "llama");
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    add_token(c, "<unk>", TOKEN_UNKNOWN);
    add_token(c, "<s>", TOKEN_CONTROL);
    add_token(c, "</s>", TOKEN_CONTROL);
    add_token(c, "<|im_start|>", TOKEN_CONTROL);
    add_token(c, "<|im_end|>", TOKEN_CONTROL);
    add_bytes(c, s);
    add_items(c, 0, SPM_MARK);
    gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_string(w, "tokenizer.chat_template", chatml);
    gguf_put_array(w, "tokenizer.ggml.scores", GGUF_F32, c->scores, c->n);
}

void synth_put_vocab(struct gguf_writer *w, const struct synth_spec *s)
{
    struct columns c = {.limit = s->vocab};
    c.ends = xcalloc(s->vocab, sizeof *c.ends);
    c.scores = xcalloc(s->vocab, sizeof *c.scores);
    c.types = xcalloc(s->vocab, sizeof *c.types);
    if (s->tokenizer == SYNTH_SPM)
        fill_spm(w, &c, s);
    else
        fill_bpe(w, &c, s);
    put_texts(w, "tokenizer.ggml.tokens", &c.texts, c.ends, c.n);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, c.types, c.n);
    buf_free(&c.texts);
    free(c.ends);
    free(c.scores);
    free(c.types);
}
