#include "reference.h"

#include "specd/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- file types ------------------------------------------------------------------------------ */

static double half_at(const uint8_t *p)
{
    unsigned h = p[0] | (unsigned)p[1] << 8, e = h >> 10 & 31, f = h & 1023;
    double m = e == 0 ? ldexp(f, -24) : ldexp(1024 + f, (int)e - 25);
    return h >> 15 ? -m : m;
}

static double bf16_at(const uint8_t *p)
{
    uint32_t bits = (uint32_t)(p[0] | p[1] << 8) << 16;
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static int nibble(const uint8_t *q, int i, int half) /* of 2 * half values: low halves first */
{
    return i < half ? q[i] & 15 : q[i - half] >> 4;
}

/* 6-bit scale and minimum of sub-block s of eight, packed in 12 bytes. */
static void scale_min_k(const uint8_t *p, int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = p[s] & 63;
        *min = p[s + 4] & 63;
    } else {
        *scale = (p[s + 4] & 15) | (p[s - 4] >> 6) << 4;
        *min = (p[s + 4] >> 4) | (p[s] >> 6) << 4;
    }
}

static double value_k(enum dtype type, const uint8_t *b, int i)
{
    int scale, min, s = i / 32, q = b[dtype_bytes(type) - 128 + s / 2 * 32 + i % 32];
    q = s % 2 ? q >> 4 : q & 15;
    if (type == DT_Q5_K)
        q |= (b[16 + i % 32] >> s & 1) << 4;
    scale_min_k(b + 4, s, &scale, &min);
    return half_at(b) * scale * q - half_at(b + 2) * min;
}

static double value_q6_k(const uint8_t *b, int i)
{
    int part = i / 128, j = i % 128, l = j % 32, quarter = j / 32;
    int low = b[part * 64 + (quarter % 2) * 32 + l];
    low = quarter < 2 ? low & 15 : low >> 4;
    int high = b[128 + part * 32 + l] >> (2 * quarter) & 3;
    return half_at(b + 208) * (int8_t)b[192 + i / 16] * ((low | high << 4) - 32);
}

/* Of q2_K: the two bits of weight i. */
static int two_bits(const uint8_t *q, int i)
{
    return q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

static double value_q2_k(const uint8_t *b, int i)
{
    int scale = b[i / 16];
    return half_at(b + 80) * (scale & 15) * two_bits(b + 16, i) - half_at(b + 82) * (scale >> 4);
}

static double value_q3_k(const uint8_t *b, int i)
{
    int j = i / 16, low = b[96 + j % 8], high = b[104 + j % 4] >> j / 4 * 2 & 3;
    low = j < 8 ? low & 15 : low >> 4;
    int q = two_bits(b + 32, i) - (b[i % 32] >> i / 32 & 1 ? 0 : 4);
    return half_at(b + 108) * ((low | high << 4) - 32) * q;
}

static double iq4(int code)
{
    static const int v[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                            1,    13,   25,  38,  53,  69,  89,  113};
    return v[code];
}

static double value_iq4_xs(const uint8_t *b, int i)
{
    int g = i / 32, low = b[4 + g / 2], high = (b[2] | b[3] << 8) >> 2 * g & 3;
    low = g % 2 ? low >> 4 : low & 15;
    return half_at(b) * ((low | high << 4) - 32) * iq4(nibble(b + 8 + 16 * g, i % 32, 16));
}

/* A sign, two bits of exponent and one of fraction. */
static double value_e2m1(int code)
{
    int e = code >> 1 & 3, f = code & 1;
    double v = e == 0 ? f * 0.5 : ldexp(1 + f * 0.5, e - 1);
    return code & 8 ? -v : v;
}

/* A sign, four bits of exponent, three of fraction. */
static double value_e4m3(int code)
{
    int e = code >> 3 & 15, f = code & 7;
    double v = e == 0 ? ldexp(f, -9) : ldexp(8 + f, e - 10);
    return code & 0x80 ? -v : v;
}

/* Four scales, then eight bytes for each 16; a scale's sign says nothing. */
static double value_nvfp4(const uint8_t *b, int i)
{
    int s = i / 16, scale = b[s] == 0x7f ? 0 : b[s] & 0x7f;
    return value_e4m3(scale) * value_e2m1(nibble(b + 4 + 8 * s, i % 16, 8));
}

/* Value i of a block. */
static double value_of(enum dtype type, const uint8_t *b, int i)
{
    float f;
    switch (type) {
    case DT_F32:
        memcpy(&f, b, sizeof(f));
        return f;
    case DT_F16:
        return half_at(b);
    case DT_BF16:
        return bf16_at(b);
    case DT_Q4_0:
        return half_at(b) * (nibble(b + 2, i, 16) - 8);
    case DT_Q4_1:
        return half_at(b) * nibble(b + 4, i, 16) + half_at(b + 2);
    case DT_Q5_0:
        return half_at(b) * ((nibble(b + 6, i, 16) | (b[2 + i / 8] >> i % 8 & 1) << 4) - 16);
    case DT_Q5_1:
        return half_at(b) * (nibble(b + 8, i, 16) | (b[4 + i / 8] >> i % 8 & 1) << 4) +
               half_at(b + 2);
    case DT_Q8_0:
        return half_at(b) * (int8_t)b[2 + i];
    case DT_Q2_K:
        return value_q2_k(b, i);
    case DT_Q3_K:
        return value_q3_k(b, i);
    case DT_IQ4_NL:
        return half_at(b) * iq4(nibble(b + 2, i, 16));
    case DT_IQ4_XS:
        return value_iq4_xs(b, i);
    case DT_MXFP4:
        return ldexp(value_e2m1(nibble(b + 1, i, 16)), b[0] - 127);
    case DT_NVFP4:
        return value_nvfp4(b, i);
    case DT_F8:
    case DT_F8_ROW:
        memcpy(&f, b, sizeof(f));
        return f * value_e4m3(b[4 + i]);
    case DT_Q4_K:
    case DT_Q5_K:
        return value_k(type, b, i);
    case DT_Q6_K:
        return value_q6_k(b, i);
    default:
        return NAN;
    }
}

void reference_row(const struct tensor *t, uint32_t row, double *out)
{
    const uint8_t *bytes = (const uint8_t *)t->data + row * dtype_row_bytes(t->type, t->cols);
    uint32_t block = (uint32_t)dtype_block(t->type), step = (uint32_t)dtype_bytes(t->type);
    for (uint32_t i = 0; i < t->cols; i++)
        out[i] = value_of(t->type, bytes + i / block * step, (int)(i % block)) *
                 (t->scale ? (double)*t->scale : 1.0);
}

/* ---- the model: n positions side by side ----------------------------------------------------- */

/* Y = X W^T + b. x: (n, cols), y: (n, rows) */
static void multiply(const struct tensor *w, const struct tensor *b, const double *x, int n,
                     double *y)
{
    double *row = xmalloc(w->cols * sizeof(*row));
    for (uint32_t r = 0; r < w->rows; r++) {
        reference_row(w, r, row);
        for (int t = 0; t < n; t++) {
            double sum = b && b->data ? ((const float *)b->data)[r] : 0.0;
            for (uint32_t c = 0; c < w->cols; c++)
                sum += row[c] * x[(size_t)t * w->cols + c];
            y[(size_t)t * w->rows + r] = sum;
        }
    }
    free(row);
}

/* Each of n rows. */
static void rms_norm(const double *x, const struct tensor *w, size_t n, double eps, double *y)
{
    for (size_t t = 0; t < n; t++, x += w->cols, y += w->cols) {
        double sum = 0.0;
        for (uint32_t i = 0; i < w->cols; i++)
            sum += x[i] * x[i];
        double scale = 1.0 / sqrt(sum / w->cols + eps);
        for (uint32_t i = 0; i < w->cols; i++)
            y[i] = x[i] * scale * (double)((const float *)w->data)[i];
    }
}

static void rotate(const struct model *m, const struct rope_angles *rope, double *head, int pos)
{
    for (uint32_t i = 0; i < m->rope_dim / 2; i++) {
        uint32_t a = m->rope == ROPE_PAIRS ? 2 * i : i;
        uint32_t b = m->rope == ROPE_PAIRS ? a + 1 : i + m->rope_dim / 2;
        double t = (double)rope->inv_freq[i] * pos, u = head[a], v = head[b];
        u *= (double)rope->magnitude;
        v *= (double)rope->magnitude;
        head[a] = u * cos(t) - v * sin(t);
        head[b] = u * sin(t) + v * cos(t);
    }
}

static void heads_prepare(const struct model *m, const struct model_layer *l, double *x,
                          uint32_t n_heads, const struct tensor *norm, int n)
{
    if (norm->data) /* of each head, or of all in one */
        rms_norm(x, norm, (size_t)n * n_heads * m->head_dim / norm->cols, m->rms_eps, x);
    for (int t = 0; !l->no_rope && t < n; t++) {
        for (uint32_t h = 0; h < n_heads; h++, x += m->head_dim)
            rotate(m, &m->ropes[l->rope], x, t);
    }
}

static void bf16_round(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = (float)x[i];
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&f, &bits, sizeof(f));
        x[i] = f;
    }
}

/* Attention of one head at the last of n positions to those from `first` on. k, v: (n, D) with a
 * row stride. */
static void attend(const double *q, const double *k, const double *v, int first, int n, uint32_t D,
                   size_t stride, double scale, double *out)
{
    double *p = xcalloc((size_t)n, sizeof(*p)), max = -INFINITY, sum = 0.0;
    for (int j = first; j < n; j++) {
        for (uint32_t d = 0; d < D; d++)
            p[j] += q[d] * k[(size_t)j * stride + d];
        p[j] *= scale;
        max = fmax(max, p[j]);
    }
    for (int j = first; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (uint32_t d = 0; d < D; d++) {
        out[d] = 0.0;
        for (int j = first; j < n; j++)
            out[d] += p[j] / sum * v[(size_t)j * stride + d];
    }
    free(p);
}

/* (n, width) each */
struct work {
    double *x, *h, *q, *k, *v, *attn, *o, *gate, *up;
};

/* What a block reads: the residual stream, normed where the model has such norms. */
static void norm_input(const struct model *m, const struct tensor *norm, struct work *w, size_t n)
{
    if (norm->data)
        rms_norm(w->x, norm, n, m->rms_eps, w->h);
    else
        memcpy(w->h, w->x, n * m->n_embd * sizeof(*w->h));
}

/* norm: of y, where the model has one. y is used up. */
static void add_rows(const struct model *m, const struct tensor *norm, double *x, double *y,
                     size_t n)
{
    if (norm->data)
        rms_norm(y, norm, n, m->rms_eps, y);
    for (size_t i = 0; i < n * m->n_embd; i++)
        x[i] += y[i];
}

static void attention_block(const struct model *m, const struct model_layer *l, struct work *w,
                            int n, bool bf16_kv)
{
    uint32_t D = m->head_dim, group = l->n_heads / l->n_kv_heads;
    size_t stride = (size_t)l->n_kv_heads * D;
    double scale = m->attn_scale > 0 ? (double)m->attn_scale : 1 / sqrt(D);
    norm_input(m, &l->attn_norm, w, (size_t)n);
    multiply(&l->wq, &l->bq, w->h, n, w->q);
    multiply(&l->wk, &l->bk, w->h, n, w->k);
    multiply(&l->wv, &l->bv, w->h, n, w->v);
    heads_prepare(m, l, w->q, l->n_heads, l->q_norm.data ? &l->q_norm : &l->q_norm_wide, n);
    heads_prepare(m, l, w->k, l->n_kv_heads, l->k_norm.data ? &l->k_norm : &l->k_norm_wide, n);
    if (bf16_kv) {
        bf16_round(w->k, (size_t)n * stride);
        bf16_round(w->v, (size_t)n * stride);
    }
    for (int t = 0; t < n; t++) {
        for (uint32_t h = 0; h < l->n_heads; h++) {
            size_t at = ((size_t)t * l->n_heads + h) * D, kv = h / group * D;
            int first = l->window > 0 ? MAX(t + 1 - (int)l->window, 0) : 0;
            attend(w->q + at, w->k + kv, w->v + kv, first, t + 1, D, stride, scale, w->attn + at);
        }
    }
    multiply(&l->wo, &l->bo, w->attn, n, w->o);
    add_rows(m, &l->attn_post_norm, w->x, w->o, (size_t)n);
}

static double gated(const struct model *m, double x)
{
    if (m->gate == GATE_SILU)
        return x / (1.0 + exp(-x));
    return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static void ffn_block(const struct model *m, const struct model_layer *l, struct work *w, int n)
{
    norm_input(m, &l->ffn_norm, w, (size_t)n);
    multiply(&l->w_gate, &l->b_gate, w->h, n, w->gate);
    multiply(&l->w_up, &l->b_up, w->h, n, w->up);
    for (size_t i = 0; i < (size_t)n * l->n_ff; i++)
        w->gate[i] = gated(m, w->gate[i]) * w->up[i];
    multiply(&l->w_down, &l->b_down, w->gate, n, w->o);
    add_rows(m, &l->ffn_post_norm, w->x, w->o, (size_t)n);
}

/* down(gated(gate(x)) * up(x)) of one row. x: (gate->cols), y: (down->rows) */
static void gated_row(const struct model *m, const struct tensor *gate, const struct tensor *up,
                      const struct tensor *down, const double *x, double *y)
{
    double *g = xcalloc(2 * (size_t)gate->rows, sizeof(*g)), *u = g + gate->rows;
    multiply(gate, NULL, x, 1, g);
    multiply(up, NULL, x, 1, u);
    for (uint32_t i = 0; i < gate->rows; i++)
        g[i] = gated(m, g[i]) * u[i];
    multiply(down, NULL, g, 1, y);
    free(g);
}

/* Sums over the experts of a row, those with the k largest probabilities. h, y: (C) */
static void experts_row(const struct model *m, const struct model_layer *l, const double *h,
                        double *y)
{
    uint32_t E = m->n_experts, C = m->n_embd;
    double *p = xcalloc(E + (size_t)C, sizeof(*p)), *of_one = p + E, all = 0.0, chosen = 0.0, gate;
    bool *used = xcalloc(E, sizeof(*used));
    multiply(&l->w_router, NULL, h, 1, p);
    for (uint32_t e = 0; e < E; e++)
        all += p[e] = exp(p[e]);
    for (uint32_t i = 0; i < m->n_experts_used; i++) {
        uint32_t best = E;
        for (uint32_t e = 0; e < E; e++) {
            if (!used[e] && (best == E || p[e] > p[best]))
                best = e;
        }
        used[best] = true;
        chosen += p[best];
    }
    memset(y, 0, C * sizeof(*y));
    for (uint32_t e = 0; e < E; e++) {
        struct tensor w[] = {tensor_slice(&l->w_gate_experts, e), tensor_slice(&l->w_up_experts, e),
                             tensor_slice(&l->w_down_experts, e)};
        if (!used[e])
            continue;
        gated_row(m, &w[0], &w[1], &w[2], h, of_one);
        for (uint32_t i = 0; i < C; i++)
            y[i] += p[e] / (m->experts_normed ? chosen : all) * of_one[i];
    }
    if (l->w_shared.data) {
        multiply(&l->w_shared, NULL, h, 1, &gate);
        gated_row(m, &l->w_gate_shared, &l->w_up_shared, &l->w_down_shared, h, of_one);
        for (uint32_t i = 0; i < C; i++)
            y[i] += of_one[i] / (1 + exp(-gate));
    }
    free(used);
    free(p);
}

static void experts_block(const struct model *m, const struct model_layer *l, struct work *w, int n)
{
    norm_input(m, &l->ffn_norm, w, (size_t)n);
    for (size_t t = 0; t < (size_t)n; t++)
        experts_row(m, l, w->h + t * m->n_embd, w->o + t * m->n_embd);
    add_rows(m, &l->ffn_post_norm, w->x, w->o, (size_t)n);
}

void reference_forward(const struct model *m, const uint32_t *layers, uint32_t n_layers,
                       const int32_t *tokens, int n, bool bf16_kv, double *logits)
{
    size_t T = (size_t)n, C = m->n_embd, Q = 0, KV = 0, F = 0;
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const struct model_layer *l =
            &m->layers[i]; /* planted sizes may differ from the matrices' */
        Q = MAX(Q, MAX((size_t)l->n_heads * m->head_dim, l->wq.rows));
        KV = MAX(KV, MAX((size_t)l->n_kv_heads * m->head_dim, l->wk.rows));
        F = MAX(F, MAX(l->n_ff, l->w_gate.rows));
    }
    struct work w;
    double **all[] = {&w.x, &w.h, &w.o, &w.q, &w.attn, &w.k, &w.v, &w.gate, &w.up};
    size_t widths[] = {C, C, C, Q, Q, KV, KV, F, F};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        *all[i] = xcalloc(T * widths[i], sizeof(double));
    for (size_t t = 0; t < T; t++)
        reference_row(&m->embed, (uint32_t)tokens[t], w.x + t * C);
    for (size_t i = 0; m->embd_scale > 0 && i < T * C; i++)
        w.x[i] *= (double)m->embd_scale;
    for (uint32_t i = 0; i < (layers ? n_layers : m->n_layers); i++) {
        const struct model_layer *l = &m->layers[layers ? layers[i] : i];
        attention_block(m, l, &w, n, bf16_kv);
        if (l->w_router.data)
            experts_block(m, l, &w, n);
        else
            ffn_block(m, l, &w, n);
    }
    rms_norm(w.x, &m->out_norm, T, m->rms_eps, w.h);
    multiply(&m->output, NULL, w.h, n, logits);
    for (size_t i = 0; i < COUNT_OF(all); i++)
        free(*all[i]);
}
