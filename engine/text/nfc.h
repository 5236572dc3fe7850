/*
 * nfc.h - Unicode normalisation form C (UAX #15), which the Qwen family applies before it splits.
 *
 * Linear in the text, whatever it holds: long runs of combining marks are sorted by counting. Pure
 * functions; any thread.
 */
#ifndef SPECD_NFC_H
#define SPECD_NFC_H

#include "specd/util.h"

/* true when the text is certainly in form C: it has no character from U+0300 on. */
bool nfc_is_trivial(const char *text, size_t len);
/* Appends the form C of text, which must be valid UTF-8. */
void nfc_append(const char *text, size_t len, struct buf *out);

#endif
