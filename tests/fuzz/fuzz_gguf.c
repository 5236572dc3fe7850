/*
 * A GGUF file from anywhere: parser, vocabulary and model on top of it.
 *
 * links: specd_model specd_write
 */
#include "fuzz.h"

#include "model/gguf_model.h"
#include "model/gguf_vocab.h"
#include "specd/quant.h"
#include "unit/gguf_maker.h"

/* The bytes a model points to must be there, and any bytes decode. */
static void touch(const struct tensor *t)
{
    if (!t->data)
        return;
    size_t row = dtype_row_bytes(t->type, t->cols);
    float *values = xmalloc(t->cols * sizeof *values);
    quant_decode(t->type, t->data, t->cols, values);
    quant_decode(t->type, (const uint8_t *)t->data + row * (t->rows - 1), t->cols, values);
    free(values);
}

static void touch_model(const struct model *m)
{
    touch(&m->embed);
    touch(&m->out_norm);
    touch(&m->output);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        for (int t = 0; t < LAYER_TENSORS; t++)
            touch(&m->layers[i].tensors[t]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf g;
    struct model m = {0};
    struct vocab v = {0};
    float *made = NULL;
    char err[300];
    log_set(LOG_ERROR, false);
    if (gguf_parse(&g, data, size, "fuzz.gguf", err, sizeof err) != 0)
        return 0;
    if (gguf_model(&m, &g, &made, err, sizeof err) == 0)
        touch_model(&m);
    gguf_vocab(&v, &g, err, sizeof err);
    free(m.layers);
    free(made);
    vocab_free(&v);
    gguf_fini(&g);
    return 0;
}

static struct image scaled_model(void)
{
    const struct shape s = {"llama", 1, 4, 2, 1, 2, 8, 4, false, false, false};
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    put_shape(&w, &s);
    gguf_put_string(&w, "llama.rope.scaling.type", "linear");
    gguf_put_f32(&w, "llama.rope.scaling.factor", 2);
    gguf_put_u32(&w, "general.alignment", 32);
    gguf_put_string(&w, "tokenizer.chat_template", "{{ messages }}");
    put_vocab(&w);
    put_weights(&w, &s);
    return image_of(&w);
}

/* Little data, so that changes hit the header. */
bool fuzz_seed(int i, struct buf *out)
{
    static const struct shape shapes[] = {
        {"llama", 2, 4, 1, 1, 4, 4, 4, false, false, false},
        {"qwen2", 1, 4, 2, 1, 2, 8, 4, true, false, true},
        {"qwen3", 1, 4, 1, 1, 4, 4, 4, false, true, false},
    };
    if (i > (int)COUNT_OF(shapes))
        return false;
    struct image image = i < (int)COUNT_OF(shapes) ? make_model(&shapes[i]) : scaled_model();
    buf_add(out, image.data, image.size);
    free(image.data);
    return true;
}
