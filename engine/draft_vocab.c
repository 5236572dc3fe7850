#include "draft_vocab.h"

#include "specd/engine.h"
#include "specd/model_check.h"
#include "specd/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_BYTES_MAX (4 << 20)
#define AUTO_LARGE 65536 /* ids; vocabularies up to here stay whole */
#define AUTO_IDS 32768
#define AUTO_SPARED 0.1 /* of a draft step, at least */

static bool has(const uint32_t *ids, int32_t id)
{
    return ids[id / 32] >> id % 32 & 1;
}

static void add(uint32_t *ids, int32_t id)
{
    ids[id / 32] |= 1u << id % 32;
}

static void add_lowest(struct draft_vocab *d, int32_t n)
{
    for (int32_t id = 0; id < n; id++)
        add(d->base, id);
}

static void add_special(struct draft_vocab *d, const struct vocab *v, int32_t n_drafted)
{
    int32_t n = MIN(n_drafted, (int32_t)v->n_tokens);
    for (int32_t id = 0; id < n; id++) {
        enum token_type type = v->tokens[id].type;
        if (type != TOKEN_NORMAL && type != TOKEN_UNUSED)
            add(d->base, id);
    }
    for (int32_t i = 0; i < v->n_eog; i++) {
        if (v->eog[i] < n)
            add(d->base, v->eog[i]);
    }
}

/* ---- a list beside the model ----------------------------------------------------------------- */

static void list_path(const char *model, struct buf *out)
{
    struct stat s;
    bool folder = stat(model, &s) == 0 && S_ISDIR(s.st_mode);
    buf_printf(out, "%s%s", model, folder ? "/draft-vocab" : ".draft-vocab");
}

/* One line without its comment; blank ones are none. */
static int read_line(struct draft_vocab *d, char *line, int32_t n_drafted, char *err, size_t errlen)
{
    char *end;
    line[strcspn(line, "#\r")] = '\0';
    line += strspn(line, " \t");
    if (*line == '\0')
        return 0;
    errno = 0;
    long id = strtol(line, &end, 10);
    end += strspn(end, " \t");
    if (*line < '0' || *line > '9' || *end || errno || id >= n_drafted)
        return fail(SPECD_EFILE, err, errlen, "'%.20s' is no id: 0 to %d are", line, n_drafted - 1);
    add(d->base, (int32_t)id);
    return 0;
}

static int read_lines(struct draft_vocab *d, const char *path, int32_t n_drafted, char *err,
                      size_t errlen)
{
    struct buf text = {0};
    char why[128];
    int rc = file_read(path, LIST_BYTES_MAX, &text, err, errlen);
    char *rest = text.data, *line;
    for (int at = 1; rc == 0 && (line = strsep(&rest, "\n")) != NULL; at++) {
        rc = read_line(d, line, n_drafted, why, sizeof why);
        if (rc != 0)
            fail(rc, err, errlen, "%s, line %d: %s", path, at, why);
    }
    buf_free(&text);
    return rc;
}

/* 1: there is such a file, 0: there is none. */
static int read_list(struct draft_vocab *d, const char *model, int32_t n_drafted, char *err,
                     size_t errlen)
{
    struct buf path = {0};
    int rc = 0;
    list_path(model, &path);
    if (access(path.data, F_OK) == 0) {
        rc = read_lines(d, path.data, n_drafted, err, errlen);
        rc = rc == 0 ? 1 : rc;
    }
    buf_free(&path);
    return rc;
}

/* ---- the base -------------------------------------------------------------------------------- */

/* Part of a draft step's weights that are the output matrix. */
static double output_share(const struct draft_vocab_source *from)
{
    const struct model *m = from->draft;
    double output = (double)m->n_vocab * m->n_embd;
    double layers = (double)m->n_params - output * (model_is_tied(m) ? 1 : 2);
    for (uint32_t i = 0; m->n_experts > 0 && i < m->n_layers; i++) { /* a row is for few of them */
        for (int j = 0; j < LAYER_TENSORS; j++) {
            const struct tensor *t = &m->layers[i].tensors[j];
            layers -= (double)t->slices * t->rows * t->cols * (1.0 - tensor_part_read(m, t, 1));
        }
    }
    return output / (output + layers / m->n_layers * from->n_draft_layers);
}

/* How many of the lowest ids, n_drafted for all. */
static int32_t lowest_of(const struct draft_vocab_source *from, int32_t wish, int32_t n_drafted)
{
    if (wish > 0)
        return MIN(wish, n_drafted);
    double spared = output_share(from) * (1.0 - (double)AUTO_IDS / n_drafted);
    bool pays = from->vocab->kind == VOCAB_BPE && n_drafted > AUTO_LARGE && spared >= AUTO_SPARED;
    return pays ? AUTO_IDS : n_drafted;
}

static int fill(struct draft_vocab *d, const struct draft_vocab_source *from, int32_t wish,
                int32_t n_drafted, char *err, size_t errlen)
{
    int rc = wish == DRAFT_VOCAB_AUTO ? read_list(d, from->path, n_drafted, err, errlen) : 0;
    if (rc < 0)
        return rc;
    if (rc == 0)
        add_lowest(d, lowest_of(from, wish, n_drafted));
    add_special(d, from->vocab, n_drafted);
    for (int32_t id = 0; id < n_drafted; id++)
        d->n_base += has(d->base, id);
    return 0;
}

int draft_vocab_open(struct draft_vocab *d, const struct draft_vocab_source *from, int32_t wish,
                     char *err, size_t errlen)
{
    int32_t n_drafted = (int32_t)MIN(from->target->n_vocab, from->draft->n_vocab);
    if (wish == DRAFT_VOCAB_ALL)
        return 0;
    d->n_vocab = (int32_t)from->target->n_vocab;
    size_t words = (size_t)mask_words(d->n_vocab);
    d->base = xcalloc(words, sizeof *d->base);
    d->ids = xcalloc(words, sizeof *d->ids);
    int rc = fill(d, from, wish, n_drafted, err, errlen);
    if (rc != 0 || d->n_base == n_drafted)
        draft_vocab_free(d);
    return rc;
}

void draft_vocab_free(struct draft_vocab *d)
{
    free(d->base);
    free(d->ids);
    *d = (struct draft_vocab){0};
}

/* ---- a request's ----------------------------------------------------------------------------- */

const uint32_t *draft_vocab_of(struct draft_vocab *d, const int32_t *prompt, int32_t n)
{
    int32_t n_extra = 0;
    if (!d->base)
        return NULL;
    memcpy(d->ids, d->base, (size_t)mask_words(d->n_vocab) * sizeof *d->ids);
    for (int32_t i = 0; i < n && n_extra < DRAFT_VOCAB_EXTRA_MAX; i++) {
        if (has(d->ids, prompt[i]))
            continue;
        add(d->ids, prompt[i]);
        n_extra++;
    }
    return d->ids;
}
