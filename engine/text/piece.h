/*
 * piece.h - the bytes that a token of a vocabulary stands for.
 *
 * Byte-level BPE writes each byte as one printable character (GPT-2's alphabet: the printable
 * Latin-1 bytes as themselves, the other 68 as U+0100 and up); SentencePiece writes U+2581 for a
 * space and <0xNN> for a byte. Texts of control and user-defined tokens are plain. Any thread.
 */
#ifndef SPECD_PIECE_H
#define SPECD_PIECE_H

#include "model/vocab.h"
#include "specd/util.h"

#define PIECE_SPACE "\xE2\x96\x81" /* U+2581 */

/* Appends the bytes of a text in GPT-2's alphabet. false, and nothing appended, if some character
 * is not of it. */
bool piece_from_alphabet(const char *text, size_t len, struct buf *out);
/* The value of "<0xNN>", or -1. */
int piece_byte(const char *text, size_t len);
/* Appends the bytes of a token of v. */
void piece_append(const struct vocab *v, uint32_t id, struct buf *out);
/* Appends text with every U+2581 as a space. */
void piece_append_spaced(const char *text, size_t len, struct buf *out);

#endif
