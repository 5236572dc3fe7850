/*
 * config.json and generation_config.json: sizes and their defaults, the rope in every spelling,
 * and what is refused by name.
 *
 * links: specd_model
 */
#include "model/hf_config.h"

#include "specd/error.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_folder.h"

#define SIZES                                                                                  \
    "\"num_hidden_layers\":2,\"hidden_size\":64,\"intermediate_size\":128,\"vocab_size\":100," \
    "\"num_attention_heads\":4,\"max_position_embeddings\":4096"
#define LLAMA "\"model_type\":\"llama\"," SIZES
#define GRANITE "\"model_type\":\"granite\"," SIZES

static struct model_layer *layers; /* of the model loaded last */

static int load(struct hf_config *c, struct model *m, const char *text, char err[400])
{
    *m = (struct model){0};
    snprintf(err, 400, "no message");
    save_text("config.json", text);
    int rc = hf_config_load(c, m, folder, err, 400);
    free(layers);
    layers = m->layers;
    return rc;
}

static struct model good(const char *text, struct hf_config *c)
{
    struct model m;
    struct hf_config unused;
    char err[400];
    if (load(c ? c : &unused, &m, text, err) != 0)
        fail_msg("%s: %s", text, err);
    return m;
}

static void assert_refused(const char *text, const char *field, const char *reason)
{
    struct model m;
    struct hf_config c;
    char err[400];
    if (load(&c, &m, text, err) == 0)
        fail_msg("accepted: %s", text);
    if (!strstr(err, "/config.json: ") || !strstr(err, field) || !strstr(err, reason))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, field, reason);
}

static void test_sizes_and_defaults(void **state)
{
    (void)state;
    struct hf_config c;
    struct model m = good("{" LLAMA "}", &c);
    assert_string_equal(m.arch, "llama");
    assert_int_equal(m.n_layers, 2);
    assert_int_equal(m.n_embd, 64);
    assert_int_equal(m.layers[1].n_ff, 128);
    assert_int_equal(m.n_vocab, 100);
    assert_int_equal(m.layers[0].n_heads, 4);
    assert_int_equal(m.layers[0].n_kv_heads, 4);
    assert_int_equal(m.head_dim, 16);
    assert_int_equal(m.rope_dim, 16);
    assert_int_equal(m.n_ctx, 4096);
    assert_int_equal(m.rope, ROPE_HALVES);
    assert_true(m.rms_eps == 1e-6f);
    assert_false(c.tied);
    assert_int_equal(c.n_eog, 0);
    for (int i = 0; i < 8; i++)
        assert_true(m.ropes[0].inv_freq[i] == (float)pow(10000, -i / 8.0));

    m = good("{" LLAMA ",\"num_key_value_heads\":2,\"head_dim\":32,\"rms_norm_eps\":1e-5,"
             "\"rope_theta\":5e5,\"tie_word_embeddings\":true,\"rope_scaling\":null}",
             &c);
    assert_int_equal(m.layers[0].n_kv_heads, 2);
    assert_int_equal(m.head_dim, 32);
    assert_true(m.rms_eps == 1e-5f);
    assert_true(c.tied);
    assert_true(m.ropes[0].inv_freq[8] == (float)pow(5e5, -0.5));
    m = good("{" LLAMA ",\"partial_rotary_factor\":0.5}", NULL);
    assert_int_equal(m.rope_dim, 8);
}

#define FOUR_LAYERS                                                                            \
    "\"num_hidden_layers\":4,\"hidden_size\":64,\"intermediate_size\":128,\"vocab_size\":100," \
    "\"num_attention_heads\":4,\"max_position_embeddings\":4096"

static void test_windows(void **state)
{
    (void)state;
    static const struct {
        const char *model_type, *text;
        uint32_t positions;
        const char *windowed; /* by layer; NULL: whichever */
    } cases[] = {
        {"mistral", "\"sliding_window\":1000", 1000, "1111"},
        {"mistral", "\"sliding_window\":9000", 9000, "1111"},
        {"mistral", "\"rope_theta\":1e6", 4096, "1111"},
        {"mistral", "\"sliding_window\":null", 0, NULL},
        {"phi3", "\"sliding_window\":2047", 2047, "1111"},
        {"phi3", "\"rope_theta\":1e4", 0, NULL},
        {"llama", "\"sliding_window\":1000", 0, NULL},
        {"qwen2", "\"sliding_window\":1000", 0, NULL},
        {"qwen2", "\"sliding_window\":1000,\"use_sliding_window\":false", 0, NULL},
        {"qwen2", "\"sliding_window\":1000,\"use_sliding_window\":true", 1000, "0000"},
        {"qwen2", "\"use_sliding_window\":true,\"max_window_layers\":1", 4096, "0111"},
        {"qwen3", "\"use_sliding_window\":true,\"max_window_layers\":0", 4096, "1111"},
        {"qwen3",
         "\"sliding_window\":1000,\"layer_types\":[\"full_attention\",\"sliding_attention\","
         "\"sliding_attention\",\"full_attention\"]",
         1000, "0110"},
        {"smollm3", "\"use_sliding_window\":true,\"sliding_window\":7", 7, "0001"},
        {"smollm3", "\"sliding_window\":7", 0, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[600];
        struct hf_config c;
        snprintf(text, sizeof text, "{\"model_type\":\"%s\",%s," FOUR_LAYERS "}",
                 cases[i].model_type, cases[i].text);
        struct model m = good(text, &c);
        assert_int_equal(m.n_ctx, 4096);
        assert_int_equal(c.windows.positions, cases[i].positions);
        for (int l = 0; cases[i].windowed && l < 4; l++)
            assert_int_equal(c.windows.windowed[l], cases[i].windowed[l] == '1');
    }
    assert_refused("{" LLAMA ",\"layer_types\":[\"linear_attention\"]}", "layer_types", "kind");
}

/* Llama 3.1's numbers; expected values computed by Hugging Face transformers 5.23. */
#define LLAMA3_SIZES                                                           \
    "\"model_type\":\"llama\",\"num_hidden_layers\":2,\"hidden_size\":4096,"   \
    "\"intermediate_size\":128,\"vocab_size\":100,\"num_attention_heads\":32," \
    "\"max_position_embeddings\":131072"
#define LLAMA3_FACTORS                                                 \
    "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0," \
    "\"original_max_position_embeddings\":8192"

static void assert_llama3(const char *text)
{
    static const struct {
        int i;
        double freq;
    } expected[] = {
        {0, 1},
        {1, 0.814617217},
        {20, 0.0165604409},
        {28, 0.00321144611},
        {30, 0.00137189368},
        {32, 0.000524846022},
        {35, 9.55621217e-05},
        {36, 7.78465546e-05},
        {40, 3.42810235e-05},
        {63, 3.06892588e-07},
    };
    struct model m = good(text, NULL);
    for (size_t k = 0; k < COUNT_OF(expected); k++) {
        double got = (double)m.ropes[0].inv_freq[expected[k].i], want = expected[k].freq;
        if (fabs(got - want) > 1e-6 * want)
            fail_msg("pair %d: %.9g, expected %.9g", expected[k].i, got, want);
    }
}

static void test_rope_scaling(void **state)
{
    (void)state;
    assert_llama3("{" LLAMA3_SIZES ",\"rope_theta\":500000.0,\"rope_scaling\":{"
                  "\"rope_type\":\"llama3\"," LLAMA3_FACTORS "}}");
    assert_llama3("{" LLAMA3_SIZES ",\"rope_theta\":500000.0,\"rope_scaling\":{"
                  "\"type\":\"llama3\"," LLAMA3_FACTORS "}}");
    assert_llama3("{" LLAMA3_SIZES ",\"rope_parameters\":{\"rope_theta\":500000.0,"
                  "\"rope_type\":\"llama3\"," LLAMA3_FACTORS "}}");
    struct model m =
        good("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}", NULL);
    for (int i = 0; i < 8; i++)
        assert_true(m.ropes[0].inv_freq[i] == (float)(pow(10000, -i / 8.0) / 2.5));
    m = good("{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":100}}",
             NULL);
    assert_true(m.ropes[0].inv_freq[4] == (float)pow(100, -0.5));
}

/* Expected values computed by Hugging Face transformers 5.23: heads of 128, theta 1e6. */
#define YARN_SIZES                                                                          \
    "\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"hidden_size\":256,"                 \
    "\"intermediate_size\":128,\"vocab_size\":100,\"num_attention_heads\":2,"               \
    "\"max_position_embeddings\":32768,\"rope_theta\":1e6,\"rope_scaling\":{\"rope_type\":" \
    "\"yarn\","

static void test_yarn(void **state)
{
    enum { N = 8 };
    static const int pairs[N] = {1, 10, 17, 20, 24, 30, 36, 63};
    static const struct {
        const char *text;
        double magnitude, freq[N];
        uint32_t n_ctx;
    } cases[] = {
        {"{" YARN_SIZES "\"factor\":4.0,\"original_max_position_embeddings\":32768}}",
         1.138629436,
         {0.805842221, 0.115478203, 0.0254829675, 0.0133352149, 0.00537532149, 0.00106436096,
          0.000179841154, 3.10234441e-07},
         131072},
        {"{" YARN_SIZES "\"factor\":8.0,\"original_max_position_embeddings\":4096,\"beta_fast\":16,"
         "\"beta_slow\":2,\"truncate\":false,\"mscale\":1.0,\"mscale_all_dim\":0.5}}",
         1.094179988,
         {0.805842221, 0.115478203, 0.0254829675, 0.00991207827, 0.00213670055, 0.000192490814,
          5.2712061e-05, 1.5511722e-07},
         32768},
        {"{" YARN_SIZES "\"original_max_position_embeddings\":4096,\"attention_factor\":0.75}}",
         0.75,
         {0.805842221, 0.115478203, 0.0205279477, 0.00879753754, 0.00261644926, 0.000267348369,
          5.2712061e-05, 1.5511722e-07},
         32768},
    };
    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct model m = good(cases[c].text, NULL);
        assert_int_equal(m.n_ctx, cases[c].n_ctx);
        assert_true(fabs((double)m.ropes[0].magnitude - cases[c].magnitude) < 1e-6);
        for (int i = 0; i < N; i++) {
            double got = (double)m.ropes[0].inv_freq[pairs[i]], want = cases[c].freq[i];
            if (fabs(got - want) > 1e-6 * want)
                fail_msg("case %zu, pair %d: %.9g, expected %.9g", c, pairs[i], got, want);
        }
    }
}

#define LONGROPE(original)                                                                    \
    "{\"model_type\":\"phi3\",\"num_hidden_layers\":2,\"hidden_size\":16,"                    \
    "\"intermediate_size\":128,\"vocab_size\":100,\"num_attention_heads\":2,"                 \
    "\"max_position_embeddings\":131072," original "\"rope_scaling\":{\"type\":\"longrope\"," \
    "\"long_factor\":[2,3,4,5],"

/* Two tables, one of which is chosen by what is served. */
static void test_longrope(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LONGROPE("\"original_max_position_embeddings\":4096,") "\"short_factor\":[1,1,1,1.5]}}",
        LONGROPE("") "\"original_max_position_embeddings\":4096,\"short_factor\":[1,1,1,1.5]}}"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct model m = good(texts[i], NULL);
        double magnitude = sqrt(1 + log(32) / log(4096));
        assert_int_equal(m.long_after, 4096);
        assert_int_equal(m.n_ctx, 131072);
        assert_true(!model_set_context(&m, 4096));
        assert_true(m.ropes[0].inv_freq[3] == (float)(pow(10000, -6 / 8.0) / 1.5));
        assert_true(model_set_context(&m, 4097));
        assert_true(m.ropes[0].inv_freq[3] == (float)(pow(10000, -6 / 8.0) / 5));
        assert_true(fabs((double)m.ropes[0].magnitude - magnitude) < 1e-6);
    }
    assert_refused(LONGROPE("") "\"short_factor\":[1,1,1]}}", "rope_scaling.short_factor",
                   "a list of 4 numbers");
    assert_refused(LONGROPE("") "\"short_factor\":[1,1,1,0]}}", "rope_scaling.short_factor",
                   "element 3");
    assert_refused(
        LONGROPE("\"original_max_position_embeddings\":1,") "\"short_factor\":[1,1,1,1]}}",
        "original_max_position_embeddings", "1 is out of range");
    assert_refused(LONGROPE("") "\"attention_factor\":-1,\"short_factor\":[1,1,1,1]}}",
                   "attention_factor", "-1 is out of range");
}

/* As the 4B's folder has it, which leaves out what is the family's default. */
static void test_gemma3_with_pictures(void **state)
{
    (void)state;
    struct hf_config c;
    struct model m = good("{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"vision_config\":{"
                          "\"hidden_size\":1152},\"text_config\":{\"hidden_size\":2560,"
                          "\"intermediate_size\":10240,\"model_type\":\"gemma3_text\","
                          "\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,"
                          "\"rope_type\":\"linear\"},\"sliding_window\":1024}}",
                          &c);
    assert_true(c.wrapped && c.tied);
    assert_int_equal(m.n_vocab, 262208);
    assert_int_equal(m.layers[0].n_heads, 8);
    assert_int_equal(m.layers[0].n_kv_heads, 4);
    assert_int_equal(m.head_dim, 256);
    assert_int_equal(m.n_ctx, 131072);
    assert_int_equal(c.n_eog, 2);
    assert_int_equal(c.windows.positions, 1024);
    assert_true(c.windows.windowed[4] && !c.windows.windowed[5]);
    assert_true(m.ropes[0].inv_freq[1] == (float)(pow(1e6, -2 / 256.0) / 8));
    assert_true(m.ropes[1].inv_freq[1] == (float)pow(1e4, -2 / 256.0));
    assert_refused("{\"model_type\":\"gemma3\"}", "text_config", "missing");
    assert_refused("{\"model_type\":\"gemma3\",\"text_config\":[]}", "text_config", "an object");
    assert_refused("{\"model_type\":\"gemma3\",\"text_config\":{}}",
                   "text_config.num_hidden_layers", "missing");
}

#define SMOLLM3                                                                                 \
    "\"model_type\":\"smollm3\",\"num_hidden_layers\":5,\"hidden_size\":64,\"vocab_size\":100," \
    "\"intermediate_size\":128,\"num_attention_heads\":4,\"max_position_embeddings\":4096"

static void test_layers_without_rope(void **state)
{
    struct hf_config c;
    (void)state;
    good("{" SMOLLM3 "}", &c);
    assert_true(!c.no_rope[0] && !c.no_rope[2] && c.no_rope[3] && !c.no_rope[4]);
    good("{" SMOLLM3 ",\"no_rope_layer_interval\":2}", &c);
    assert_true(!c.no_rope[0] && c.no_rope[1] && c.no_rope[3] && !c.no_rope[4]);
    good("{" SMOLLM3 ",\"no_rope_layers\":[0,1,1,1,0]}", &c);
    assert_true(c.no_rope[0] && !c.no_rope[1] && !c.no_rope[3] && c.no_rope[4]);
    good("{" LLAMA ",\"no_rope_layers\":[0,0]}", &c); /* not a word of that family */
    assert_true(!c.no_rope[0]);
    assert_refused("{" SMOLLM3 ",\"no_rope_layers\":[1,1,1,1]}", "no_rope_layers", "list of 5");
    assert_refused("{" SMOLLM3 ",\"no_rope_layers\":[1,1,2,1,1]}", "no_rope_layers", "layer 2");
    assert_refused("{" SMOLLM3 ",\"no_rope_layers\":7}", "no_rope_layers", "list of 5");
    assert_refused("{" SMOLLM3 ",\"no_rope_layer_interval\":0}", "no_rope_layer_interval",
                   "from 1");
}

#define GEMMA3                                                                                  \
    "\"model_type\":\"gemma3_text\",\"num_hidden_layers\":7,\"hidden_size\":64,\"vocab_size\":" \
    "100,"                                                                                      \
    "\"intermediate_size\":128,\"num_attention_heads\":4,\"max_position_embeddings\":4096"
#define GEMMA3_SHORT GEMMA3 ",\"sliding_window\":16,\"head_dim\":32,\"query_pre_attn_scalar\":64"

/* Windows and tables of angles in both spellings. */
static void test_gemma3(void **state)
{
    static const char *const texts[] = {
        "{" GEMMA3_SHORT ",\"rope_theta\":1e6,\"rope_local_base_freq\":500,"
        "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}",
        "{" GEMMA3_SHORT ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\","
        "\"rope_theta\":1e6,\"factor\":8},\"sliding_attention\":{\"rope_theta\":500}}}"};
    struct hf_config c;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct model m = good(texts[i], &c);
        assert_int_equal(m.n_ctx, 4096);
        assert_int_equal(m.gate, GATE_GELU_TANH);
        assert_true(m.attn_scale == 0.125f && c.tied);
        assert_int_equal(c.windows.positions, 16);
        for (int l = 0; l < 7; l++)
            assert_int_equal(c.windows.windowed[l], l != 5);
        assert_int_equal(m.n_ropes, 2);
        assert_true(m.ropes[0].inv_freq[3] == (float)(pow(1e6, -3 / 16.0) / 8));
        assert_true(m.ropes[1].inv_freq[3] == (float)pow(500, -3 / 16.0));
        assert_true(m.ropes[0].magnitude == 1.0f && m.ropes[1].magnitude == 1.0f);
    }
    struct model m = good("{" GEMMA3 ",\"sliding_window_pattern\":3,\"rope_theta\":1e6}", &c);
    assert_int_equal(m.head_dim, 256);
    assert_true(m.attn_scale == 0.0625f);
    assert_true(m.ropes[1].inv_freq[1] == (float)pow(1e4, -1 / 128.0));
    for (int l = 0; l < 7; l++)
        assert_int_equal(c.windows.windowed[l], l % 3 != 2);
    good("{" GEMMA3 ",\"sliding_window\":null}", &c);
    assert_int_equal(c.windows.positions, 0);
    good("{" GEMMA3 ",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\","
         "\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]}",
         &c);
    assert_true(c.windows.windowed[1] && c.windows.windowed[6] && !c.windows.windowed[0] &&
                !c.windows.windowed[5]);
    assert_refused("{" GEMMA3 ",\"layer_types\":[\"full_attention\"]}", "layer_types", "1 layers");
    assert_refused("{" GEMMA3 ",\"query_pre_attn_scalar\":0}", "query_pre_attn_scalar", "range");
    assert_refused("{" GEMMA3 ",\"rope_local_base_freq\":-1}", "rope_theta", "out of range");
    assert_refused("{" GEMMA3 ",\"hidden_activation\":\"silu\"}", "hidden_activation",
                   "gelu_pytorch_tanh is");
    assert_refused("{" GEMMA3 ",\"final_logit_softcapping\":30}", "final_logit_softcapping",
                   "not supported");
    assert_refused("{" GEMMA3 ",\"use_bidirectional_attention\":true}",
                   "use_bidirectional_attention", "not supported");
}

#define QWEN3MOE \
    "\"model_type\":\"qwen3_moe\",\"num_experts_per_tok\":2,\"moe_intermediate_size\":48," SIZES

static void test_experts(void **state)
{
    (void)state;
    struct hf_config c;
    struct model m = good("{" QWEN3MOE ",\"num_local_experts\":8,\"norm_topk_prob\":true}", &c);
    assert_true(m.n_experts == 8 && m.n_experts_used == 2 && m.n_ff_expert == 48);
    assert_true(m.experts_normed && m.n_ff_shared == 0 && !c.dense[0] && !c.dense[1]);
    m = good("{" QWEN3MOE ",\"num_experts\":4,\"decoder_sparse_step\":2}", &c);
    assert_true(!m.experts_normed && c.dense[0] && !c.dense[1]);
    good("{" QWEN3MOE ",\"num_experts\":4,\"mlp_only_layers\":[1,99]}", &c);
    assert_true(!c.dense[0] && c.dense[1]);
    m = good("{\"model_type\":\"qwen2_moe\",\"num_experts\":60,\"num_experts_per_tok\":4,"
             "\"moe_intermediate_size\":48,\"shared_expert_intermediate_size\":96," SIZES "}",
             &c);
    assert_true(m.n_ff_shared == 96 && !m.experts_normed && m.n_ctx == 4096);
    /* Which layers of qwen2_moe have windows is not said without layer_types. */
    m = good("{\"model_type\":\"qwen2_moe\",\"num_experts\":60,\"num_experts_per_tok\":4,"
             "\"moe_intermediate_size\":48,\"shared_expert_intermediate_size\":96,"
             "\"use_sliding_window\":true,\"sliding_window\":1000," SIZES "}",
             &c);
    assert_int_equal(m.n_ctx, 1000);
    m = good("{" QWEN3MOE ",\"num_experts\":4,\"use_sliding_window\":true}", &c);
    assert_true(m.n_ctx == 4096 && c.windows.positions == 4096 && c.windows.windowed[1]);
    assert_refused("{" QWEN3MOE "}", "num_experts", "missing");
    assert_refused("{" QWEN3MOE ",\"num_experts\":1}", "num_experts_per_tok", "from 1 to 1");
    assert_refused("{" QWEN3MOE ",\"num_experts\":4097}", "num_experts", "from 1 to 4096");
    assert_refused("{" QWEN3MOE ",\"num_experts\":4,\"mlp_only_layers\":1}", "mlp_only_layers",
                   "a list");
    assert_refused("{" QWEN3MOE ",\"num_experts\":4,\"mlp_only_layers\":[-1]}", "mlp_only_layers",
                   "numbers of layers");
    assert_refused("{" QWEN3MOE ",\"num_experts\":4,\"decoder_sparse_step\":0}",
                   "decoder_sparse_step", "from 1");
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *field, *reason;
    } refused[] = {
        {"{" SIZES "}", "model_type", "missing"},
        {"{\"model_type\":\"gemma\"," SIZES "}", "model_type", "gemma is not supported"},
        {"{\"Model_Type\":\"llama\"," SIZES "}", "model_type", "missing"},
        {"{" LLAMA ",\"hidden_act\":\"gelu\"}", "hidden_act", "gelu is not supported"},
        {"{" LLAMA ",\"quantization_config\":1}", "quantization_config", "expected an object"},
        {"{" LLAMA ",\"quantization_config\":{}}", "quantization_config.quant_method", "missing"},
#define QUANT(method, more) \
    "{" LLAMA ",\"quantization_config\":{\"quant_method\":\"" method "\"" more "}}"
        {QUANT("bitsandbytes", ""), "quant_method", "bitsandbytes is not supported (fp8,"},
        {QUANT("fp8", ",\"fmt\":\"e5m2\""), "quantization_config.fmt", "e5m2 is not supported"},
        {QUANT("fp8", ",\"weight_block_size\":[128]"), "weight_block_size", "two whole numbers"},
        {QUANT("fp8", ",\"weight_block_size\":[128,16]"), "weight_block_size", "multiple of 32"},
        {QUANT("fp8", ",\"weight_block_size\":[0,128]"), "weight_block_size", "two whole numbers"},
        {QUANT("compressed-tensors", ",\"format\":\"pack-quantized\""), "format",
         "pack-quantized is not supported (float-quantized and nvfp4-pack-quantized)"},
        {QUANT("modelopt", ",\"quant_algo\":\"W4A8_AWQ\""), "quant_algo",
         "W4A8_AWQ is not supported (FP8 and NVFP4)"},
        {QUANT("gptq", ",\"bits\":8,\"group_size\":128"), "quantization_config.bits",
         "from 4 to 4"},
        {QUANT("gptq", ",\"bits\":4"), "group_size", "missing"},
        {QUANT("gptq", ",\"bits\":4,\"group_size\":48"), "group_size", "no multiple of 32"},
        {QUANT("gptq", ",\"bits\":4,\"group_size\":128,\"checkpoint_format\":\"marlin\""),
         "checkpoint_format", "marlin"},
        {QUANT("awq", ",\"bits\":4,\"group_size\":128,\"version\":\"gemv\""), "version", "gemv"},
        {"{" GRANITE ",\"residual_multiplier\":0}", "residual_multiplier", "0 is out of range"},
        {"{" GRANITE ",\"logits_scaling\":-8}", "logits_scaling", "-8 is out of range"},
        {"{" GRANITE ",\"attention_multiplier\":\"1\"}", "attention_multiplier", "number"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":4}}",
         "rope_scaling.short_factor", "missing"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}}",
         "rope_scaling.rope_type", "dynamic is not supported"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":0}}", "rope_scaling.rope_type",
         "its factor is out of range"},
        {"{" LLAMA ",\"rope_theta\":1,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}",
         "rope_scaling.rope_type", "its base is out of range"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_slow\":64}}",
         "rope_scaling.rope_type", "its beta_fast or beta_slow is out of range"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":-1}}",
         "rope_scaling.rope_type", "its attention factor is out of range"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}}",
         "rope_scaling.rope_type", "dynamic is not supported"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", "rope_scaling.factor", "missing"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", "rope_scaling.factor",
         "out of range"},
        {"{" LLAMA ",\"rope_scaling\":7}", "rope_scaling", "expected an object"},
        {"{" LLAMA ",\"rope_parameters\":{\"full_attention\":{}}}", "rope_parameters.rope_theta",
         "missing"},
        {"{" LLAMA ",\"rope_theta\":0}", "rope_theta", "out of range"},
        {"{" LLAMA ",\"rope_theta\":\"10000\"}", "rope_theta", "expected a number"},
        {"{" LLAMA ",\"rope_theta\":1e999}", "rope_theta", ""},
        {"{" LLAMA ",\"partial_rotary_factor\":0.05}", "rope dimension count 0", "even"},
        {"{" LLAMA ",\"partial_rotary_factor\":-1}", "partial_rotary_factor", "outside 0 to 1"},
        {"{" LLAMA ",\"num_key_value_heads\":3}", "head count 4", "no multiple"},
        {"{" LLAMA ",\"num_key_value_heads\":0}", "num_key_value_heads", "from 1 to"},
        {"{" LLAMA ",\"head_dim\":1.5}", "head_dim", "whole number"},
        {"{" LLAMA ",\"head_dim\":-16}", "head_dim", "whole number"},
        {"{" LLAMA ",\"head_dim\":100000}", "head_dim", "whole number from 1 to 256"},
        {"{" LLAMA ",\"eos_token_id\":100}", "eos_token_id", "token ids below 100"},
        {"{" LLAMA ",\"eos_token_id\":-2}", "eos_token_id", "token ids below 100"},
        {"{" LLAMA ",\"eos_token_id\":\"-1\"}", "eos_token_id", "token ids below 100"},
        {"{" LLAMA ",\"eos_token_id\":[1,\"2\"]}", "eos_token_id", "token ids"},
        {"{" LLAMA ",\"tie_word_embeddings\":1}", "tie_word_embeddings", "true or false"},
        {"{" LLAMA ",\"rms_norm_eps\":0}", "epsilon 0", "outside"},
        {"{" LLAMA ",\"model_type\":\"llama\"}", "config.json", "duplicate key 'model_type'"},
        {"{" LLAMA, "config.json", "invalid JSON at byte"},
        {"null", "config.json", "not an object"},
    };
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        assert_refused(refused[i].text, refused[i].field, refused[i].reason);
}

static void test_end_tokens(void **state)
{
    (void)state;
    struct hf_config c;
    good("{" LLAMA ",\"eos_token_id\":2}", &c);
    assert_int_equal(c.n_eog, 1);
    assert_int_equal(c.eog[0], 2);
    save_text("generation_config.json", "{\"eos_token_id\":[5,2,7]}");
    good("{" LLAMA ",\"eos_token_id\":2}", &c);
    assert_int_equal(c.n_eog, 3);
    assert_int_equal(c.eog[0], 2);
    assert_int_equal(c.eog[1], 5);
    assert_int_equal(c.eog[2], 7);
    save_text("generation_config.json", "{\"eos_token_id\":[-1,5]}");
    good("{" LLAMA ",\"eos_token_id\":[2,-1],\"pad_token_id\":-1,\"bos_token_id\":-1}", &c);
    assert_int_equal(c.n_eog, 2);
    assert_int_equal(c.eog[0], 2);
    assert_int_equal(c.eog[1], 5);
    save_text("generation_config.json", "{\"eos_token_id\":-1}");
    good("{" LLAMA ",\"eos_token_id\":-1.0}", &c);
    assert_int_equal(c.n_eog, 0);
    save_text("generation_config.json", "{\"eos_token_id\":null}");
    good("{" LLAMA "}", &c);
    assert_int_equal(c.n_eog, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_defaults),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test(test_gemma3_with_pictures),
        cmocka_unit_test(test_rope_scaling),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_layers_without_rope),
        cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_end_tokens),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
