#include "specd/utf8.h"
#include "text/tokenizer.h"

/* Held bytes are always the beginning of a character, so a byte either extends it, completes it, or
 * belongs to what follows. */
static bool extend_held(struct decoder *d, char byte, struct buf *out)
{
    char seen[sizeof d->held];
    for (uint8_t i = 0; i < d->n_held; i++)
        seen[i] = (char)d->held[i];
    seen[d->n_held] = byte;
    uint32_t cp;
    size_t n;
    switch (utf8_read(seen, d->n_held + 1u, &cp, &n)) {
    case UTF8_CUT:
        d->held[d->n_held++] = (unsigned char)byte;
        return true;
    case UTF8_OK:
        buf_add(out, seen, n);
        d->n_held = 0;
        return true;
    case UTF8_BAD:
        break;
    }
    decoder_finish(d, out);
    return false;
}

static void feed_bytes(struct decoder *d, const char *bytes, size_t len, struct buf *out)
{
    while (len > 0 && d->n_held > 0) {
        bool used = extend_held(d, *bytes, out);
        bytes += used;
        len -= used;
    }
    while (len > 0) {
        size_t n = utf8_valid_run(bytes, len);
        buf_add(out, bytes, n);
        bytes += n;
        len -= n;
        uint32_t cp;
        if (len == 0)
            return;
        if (utf8_read(bytes, len, &cp, &n) == UTF8_CUT) {
            for (; d->n_held < n; d->n_held++)
                d->held[d->n_held] = (unsigned char)bytes[d->n_held];
            return;
        }
        buf_puts(out, UTF8_REPLACEMENT);
        bytes += n;
        len -= n;
    }
}

void decoder_feed(struct decoder *d, const struct tokenizer *t, int32_t id, bool special,
                  struct buf *out)
{
    const struct vocab *v = tokenizer_vocab(t);
    size_t len;
    const char *bytes = tokenizer_piece(t, id, special, &len);
    if (len == 0)
        return;
    if (!d->started && v->kind == VOCAB_SPM && v->add_space_prefix && bytes[0] == ' ') {
        bytes++;
        len--;
    }
    d->started = true;
    feed_bytes(d, bytes, len, out);
}

void decoder_finish(struct decoder *d, struct buf *out)
{
    if (d->n_held > 0)
        buf_puts(out, UTF8_REPLACEMENT);
    d->n_held = 0;
}
