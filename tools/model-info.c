/*
 * model-info - prints what specd reads out of a model file: sizes, rope, tensors, vocabulary.
 *
 *   model-info PATH             sizes and ids
 *   model-info PATH --tensors   a line per tensor: name, type, rows, columns, Adler-32 of its bytes
 *   model-info PATH --tokens    a line per token and per merge, texts as JSON strings
 *   model-info PATH --rope      a line per rotated pair
 */
#include "model/model_file.h"
#include "model/pre.h"
#include "specd/model_check.h"
#include "specd/util.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_string(const char *s, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ' || c == 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

/* What each layer has, by how far from its start: one number, or a list where they differ. */
static void print_by_layer(const char *name, const struct model *m, size_t at)
{
    uint32_t sizes[MODEL_LAYERS_MAX];
    bool differ = false;
    for (uint32_t i = 0; i < m->n_layers; i++) {
        memcpy(&sizes[i], (const char *)&m->layers[i] + at, sizeof sizes[i]);
        differ = differ || sizes[i] != sizes[0];
    }
    printf("%s: %s", name, differ ? "[" : "");
    for (uint32_t i = 0; i < (differ ? m->n_layers : 1); i++)
        printf("%s%u", i > 0 ? ", " : "", sizes[i]);
    puts(differ ? "]" : "");
}

static void print_sizes(const struct model_file *mf)
{
    const struct model *m = &mf->model;
    printf("name: ");
    print_string(mf->name, strlen(mf->name));
    printf("\narch: %s\nlayers: %u\nhead_dim: %u\nembd: %u\n", m->arch, m->n_layers, m->head_dim,
           m->n_embd);
    print_by_layer("heads", m, offsetof(struct model_layer, n_heads));
    print_by_layer("kv_heads", m, offsetof(struct model_layer, n_kv_heads));
    print_by_layer("ff", m, offsetof(struct model_layer, n_ff));
    printf("vocab: %u\nctx: %u\nrms_eps: %.9g\nrope: %s %u\nparams: %llu\n", m->n_vocab, m->n_ctx,
           (double)m->rms_eps, m->rope == ROPE_PAIRS ? "pairs" : "halves", m->rope_dim,
           (unsigned long long)m->n_params);
    printf("tied: %s\nfile_bytes: %llu\nfingerprint: %016llx\n",
           m->output.data == m->embed.data ? "yes" : "no", (unsigned long long)mf->file_bytes,
           (unsigned long long)mf->fingerprint);
}

static void print_vocab(const struct vocab *v)
{
    printf("tokenizer: %s\n", v->kind == VOCAB_SPM ? "spm" : pre_families[v->pre].name);
    printf("tokens: %u\nmerges: %u\nbos: %d\neos: %d\nunk: %d\npad: %d\n", v->n_tokens, v->n_merges,
           v->bos, v->eos, v->unk, v->pad);
    printf("add_bos: %d\nadd_eos: %d\nadd_space_prefix: %d\nignore_merges: %d\neog:", v->add_bos,
           v->add_eos, v->add_space_prefix, v->ignore_merges);
    for (int32_t i = 0; i < v->n_eog; i++)
        printf(" %d", v->eog[i]);
    printf("\nchat_template: %zu bytes\n", v->chat_template ? strlen(v->chat_template) : 0);
}

/* RFC 1950: weak, but every scripting language has it. */
static uint32_t adler32(const uint8_t *data, size_t n)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static void print_tensor(const char *prefix, const char *name, const struct tensor *t)
{
    if (!t->data)
        return;
    size_t bytes = dtype_row_bytes(t->type, t->cols) * t->rows;
    void *room = t->source ? xmalloc(bytes) : NULL;
    printf("tensor: %s%s %s %u %u %08x\n", prefix, name, dtype_name(t->type), t->rows, t->cols,
           adler32(tensor_rows(t, 0, t->rows, room), bytes));
    free(room);
}

static void print_tensors(const struct model *m)
{
    for (int i = 0; i < MODEL_TENSORS; i++)
        print_tensor("", model_tensors[i].names[NAMES_FIELD], &m->tensors[i]);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "%u.", i);
        for (int k = 0; k < LAYER_TENSORS; k++)
            print_tensor(prefix, layer_tensors[k].names[NAMES_FIELD], &m->layers[i].tensors[k]);
    }
}

static void print_tokens(const struct vocab *v)
{
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        printf("token: %u %d %.9g ", i, (int)v->tokens[i].type, (double)v->tokens[i].score);
        print_string(v->tokens[i].text, v->tokens[i].len);
        putchar('\n');
    }
    for (uint32_t i = 0; i < v->n_merges; i++) {
        printf("merge: %u ", i);
        print_string(v->merges[i].left, v->merges[i].left_len);
        putchar(' ');
        print_string(v->merges[i].right, v->merges[i].right_len);
        putchar('\n');
    }
}

int main(int argc, char **argv)
{
    struct model_file *mf;
    char err[512];
    const char *what = argc > 2 ? argv[2] : "";
    if (argc < 2 || argc > 3) {
        fputs("usage: model-info PATH [--tensors | --tokens | --rope]\n", stderr);
        return 2;
    }
    if (model_file_open(&mf, argv[1], err, sizeof err) != 0) {
        fprintf(stderr, "model-info: %s\n", err);
        return 1;
    }
    print_sizes(mf);
    print_vocab(&mf->vocab);
    if (strcmp(what, "--tensors") == 0)
        print_tensors(&mf->model);
    if (strcmp(what, "--tokens") == 0)
        print_tokens(&mf->vocab);
    for (uint32_t i = 0; strcmp(what, "--rope") == 0 && i < mf->model.rope_dim / 2; i++)
        printf("inv_freq: %u %.9g\n", i, (double)mf->model.ropes[0].inv_freq[i]);
    model_file_close(mf);
    return 0;
}
