/*
 * Options: every source, their precedence, every kind of value, and what errors say.
 *
 * links: specd_server specd_base
 */
#include "config.h"

#include "specd/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 32

/* words is split at blanks. */
static int load(struct config *c, const char *words, char **environment, char *err, size_t errlen)
{
    static char *none[] = {NULL};
    char *copy = xstrdup(words), *rest = copy, *word, *argv[ARGS_MAX] = {"specd"};
    int argc = 1;
    while ((word = strsep(&rest, " ")) != NULL)
        if (*word && argc < ARGS_MAX)
            argv[argc++] = word;
    *c = (struct config){0};
    int rc = config_load(c, argc, argv, environment ? environment : none, err, errlen);
    free(copy);
    return rc;
}

static struct config good(const char *words)
{
    struct config c;
    char err[512] = "";
    if (load(&c, words, NULL, err, sizeof err) != 0)
        fail_msg("%s: %s", words, err);
    return c;
}

static void bad(const char *words, const char *why)
{
    struct config c;
    char err[512] = "";
    assert_int_equal(load(&c, words, NULL, err, sizeof err), SPECD_EINVAL);
    if (!strstr(err, why))
        fail_msg("%s: '%s' does not say '%s'", words, err, why);
    config_free(&c);
}

static void write_file(char *path, const char *text)
{
    strcpy(path, "/tmp/specd-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_defaults(void **state)
{
    struct config c = good("");
    (void)state;
    assert_string_equal(c.host, "127.0.0.1");
    assert_int_equal(c.port, 8080);
    assert_int_equal(c.engine.n_slots, 16);
    assert_int_equal(c.engine.max_rows, 512);
    assert_int_equal(c.engine.draft_max, MIN(8, SPECD_K_MAX));
    assert_int_equal(c.engine.draft_fixed, -1);
    assert_int_equal(c.engine.draft_vocab, DRAFT_VOCAB_AUTO);
    assert_int_equal(c.engine.max_queue, 256);
    assert_int_equal(c.engine.request_timeout_ms, 600000);
    assert_int_equal(c.drain_timeout_ms, 30000);
    assert_int_equal(c.max_body, 32 << 20);
    assert_int_equal(c.request_memory, 256 << 20);
    assert_int_equal(c.max_connections, 4096);
    assert_int_equal(c.engine.kv, KV_BF16);
    assert_int_equal(c.engine.weights, WEIGHT_NATIVE);
    assert_true(c.engine.synthetic_acceptance < 0);
    assert_int_equal(c.log_level, LOG_INFO);
    config_free(&c);
}

/* However an address is written, it is kept as the server writes those of connections. */
static void test_trusted_proxy(void **state)
{
    (void)state;
    struct config c = good("--trusted-proxy 10.0.0.1:80,[2001:DB8::0:1]:443,::ffff:10.0.0.2,unix");
    assert_string_equal(c.trusted_proxy, "10.0.0.1,2001:db8::1,10.0.0.2,unix");
    config_free(&c);
    bad("--trusted-proxy proxy.local", "'proxy.local' is no IP address");
    bad("--trusted-proxy 10.0.0.0/8", "is no IP address");
    bad("--trusted-proxy 10.0.0.1,", "'' is no IP address");
    bad("--trusted-proxy [::1", "is no IP address");
}

static void test_values(void **state)
{
    struct config c = good("-m a.gguf -c 4096 -np 4 --port=0 --kv-memory 2G --drain-timeout 1.5 "
                           "--weights q8_0 --log-format json --no-metrics -md lookup");
    (void)state;
    assert_string_equal(c.engine.model_path, "a.gguf");
    assert_int_equal(c.engine.n_ctx, 4096);
    assert_int_equal(c.engine.n_slots, 4);
    assert_int_equal(c.port, 0);
    assert_true(c.engine.kv_bytes == 2ull << 30);
    assert_int_equal(c.drain_timeout_ms, 1500);
    assert_int_equal(c.engine.weights, WEIGHT_Q8_0);
    assert_int_equal(c.log_format, LOG_JSON);
    assert_true(c.no_metrics);
    assert_int_equal(c.engine.n_drafters, 1);
    assert_int_equal(c.engine.drafters[0], DRAFT_LOOKUP);
    config_free(&c);
    c = good("--port 1 --port 2 --reproducible=false");
    assert_int_equal(c.port, 2);
    assert_false(c.engine.reproducible);
    config_free(&c);
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"65536", 65536},  {"64k", 65536},   {"64K", 65536},     {"1M", 1 << 20},
                {"1MiB", 1 << 20}, {"1MB", 1 << 20}, {"3G", 3ull << 30}, {"1T", 1ull << 40}};
    static const char *const wrong[] = {
        "1", "M", "1.5M", "-1M", "1X", "1Mx", "+1M", "16777216T", "18446744073709551616"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char words[64];
        snprintf(words, sizeof words, "--kv-memory %s", rows[i].text);
        struct config c = good(words);
        assert_true(c.engine.kv_bytes == rows[i].bytes);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        char words[64];
        snprintf(words, sizeof words, "--kv-memory %s", wrong[i]);
        bad(words, "must be a size");
    }
}

static void test_drafts(void **state)
{
    struct config c = good("-md self:0-2+5+7-8,lookup");
    static const uint32_t layers[] = {0, 1, 2, 5, 7, 8};
    (void)state;
    assert_int_equal(c.engine.n_drafters, 2);
    assert_int_equal(c.engine.drafters[0], DRAFT_SELF);
    assert_int_equal(c.engine.drafters[1], DRAFT_LOOKUP);
    assert_int_equal(c.engine.n_self_layers, COUNT_OF(layers));
    assert_memory_equal(c.self_layers, layers, sizeof layers);
    config_free(&c);
    c = good("-md lookup,/models/d.gguf");
    assert_int_equal(c.engine.drafters[1], DRAFT_MODEL);
    assert_string_equal(c.engine.draft_path, "/models/d.gguf");
    config_free(&c);
    c = good("-md none");
    assert_int_equal(c.engine.n_drafters, 0);
    assert_true(c.drafters_given);
    config_free(&c);
    bad("-md a,b", "at most one");
    bad("-md a,self:0", "at most one");
    bad("-md none,lookup", "alone");
    bad("-md lookup,lookup", "twice");
    bad("-md lookup,,a", "empty");
    bad("-md self:", "ascending");
    bad("-md self:3-1", "ascending");
    bad("-md self:1+1", "ascending");
    bad("-md self:1+", "ascending");
    bad("-md self:-1", "ascending");
    bad("-md self:256", "ascending");
    bad("-md self:0-99999999999999999999", "ascending");
    bad("-md self:1x", "ascending");
}

static void test_draft_vocab(void **state)
{
    static char *environment[] = {"SPECD_DRAFT_VOCAB=all", NULL};
    struct config c = good("--draft-vocab 16384");
    char err[200];
    (void)state;
    assert_int_equal(c.engine.draft_vocab, 16384);
    config_free(&c);
    c = good("--draft-vocab auto");
    assert_int_equal(c.engine.draft_vocab, DRAFT_VOCAB_AUTO);
    config_free(&c);
    assert_int_equal(load(&c, "", environment, err, sizeof err), 0);
    assert_int_equal(c.engine.draft_vocab, DRAFT_VOCAB_ALL);
    config_free(&c);
    bad("--draft-vocab 0", "auto, all or an integer in 1..393216");
    bad("--draft-vocab 393217", "auto, all or");
    bad("--draft-vocab -1", "auto, all or");
    bad("--draft-vocab 3x", "auto, all or");
    bad("--draft-vocab some", "auto, all or");
}

static void test_devices(void **state)
{
    (void)state;
    struct config c = good("");
    assert_int_equal(c.device, DEVICE_AUTO);
    assert_int_equal(c.engine.device_index, -1);
    assert_false(c.engine.reproducible || c.engine.eager);
    assert_int_equal(c.engine.activations, ACTIVATIONS_INT8);
    config_free(&c);
    c = good("--activations f32");
    assert_int_equal(c.engine.activations, ACTIVATIONS_F32);
    config_free(&c);
    c = good("--device cuda --weights int4 --draft-weights fp8 --kv-type fp8 --reproducible "
             "--no-graphs");
    assert_int_equal(c.device, DEVICE_CUDA);
    assert_int_equal(c.engine.device_index, -1);
    assert_int_equal(c.engine.weights, WEIGHT_INT4);
    assert_int_equal(c.engine.draft_weights, WEIGHT_FP8);
    assert_int_equal(c.engine.kv, KV_FP8);
    assert_true(c.engine.reproducible && c.engine.eager);
    config_free(&c);
    c = good("--device cuda:3");
    assert_int_equal(c.device, DEVICE_CUDA);
    assert_int_equal(c.engine.device_index, 3);
    config_free(&c);
    c = good("--device cuda:3 --device cpu");
    assert_int_equal(c.device, DEVICE_CPU);
    assert_int_equal(c.engine.device_index, -1);
    config_free(&c);
}

static void test_errors(void **state)
{
    (void)state;
    bad("--prot 1", "did you mean --port?");
    bad("--ctxsize 1", "did you mean --ctx-size?");
    bad("--api-key x", "did you mean --api-key-file?");
    bad("-x", "unknown option '-x'");
    bad("---port 1", "unknown option");
    bad("word", "unexpected argument 'word'");
    bad("--port", "needs a value");
    bad("--port 65536", "--port: must be an integer in 0..65535");
    bad("--port x1", "--port");
    bad("--port 1x", "--port");
    bad("--port 99999999999999999999", "--port");
    bad("--parallel 0", "in 1..");
    bad("--draft-max 17", "--draft-max");
    bad("--draft-min 3 --draft-max 2", "above");
    bad("--default-mode best", "ratio|block|coupled");
    bad("--device tpu", "auto, cpu");
    bad("--device cuda:", "auto, cpu");
    bad("--device cuda:x", "auto, cpu");
    bad("--device cuda:-1", "auto, cpu");
    bad("--device cuda:1024", "auto, cpu");
    bad("--device cuda:99999999999999999999", "auto, cpu");
    bad("--device cpu:0", "auto, cpu");
    bad("--weights f16", "native|f32|bf16|q8_0|fp8|int4");
    bad("--kv-type f16", "bf16|f32|fp8");
    bad("--activations bf16", "int8|f32");
    bad("--log-level loud", "error|warn|info|debug");
    bad("--synthetic-acceptance 1.1", "[0, 1]");
    bad("--synthetic-acceptance nan", "[0, 1]");
    bad("--request-timeout 0", "seconds");
    bad("--no-metrics=maybe", "true or false");
    bad("--config /nonexistent/file", "/nonexistent/file");
}

static void test_environment(void **state)
{
    char *environment[] = {"SPECD_PORT=9",      "SPECD_NO_UI=1", "SPECD_API_KEY=k",
                           "SPECD_CTX_SIZE=64", "HOME=/",        NULL};
    char *wrong[] = {"SPECD_PORT=nine", NULL};
    char *kubernetes[] = {"SPECD_PORT=tcp://10.0.0.1:80", "SPECD_SERVICE_HOST=10.0.0.1",
                          "SPECD_PORT_80_TCP_PORT=80", "SPECD_HELP=1", NULL};
    struct config c;
    char err[512];
    (void)state;
    assert_int_equal(load(&c, "--ctx-size 128", environment, err, sizeof err), 0);
    assert_int_equal(c.port, 9);
    assert_true(c.no_ui);
    assert_string_equal(c.api_key, "k");
    assert_int_equal(c.engine.n_ctx, 128);
    config_free(&c);
    assert_int_equal(load(&c, "", wrong, err, sizeof err), SPECD_EINVAL);
    assert_non_null(strstr(err, "SPECD_PORT: must be"));
    config_free(&c);
    log_set(LOG_ERROR, false);
    assert_int_equal(load(&c, "", kubernetes, err, sizeof err), 0);
    assert_int_equal(c.port, 8080);
    assert_false(c.help);
    config_free(&c);
}

static void test_file(void **state)
{
    char path[64], words[128];
    char *environment[] = {"SPECD_PARALLEL=3", NULL};
    struct config c;
    char err[512];
    (void)state;
    write_file(path, "{\"port\": 7, \"parallel\": 5, \"ctx-size\": \"2048\", \"no-ui\": true,"
                     " \"drain-timeout\": 0.5, \"host\": null, \"kv-memory\": \"1M\"}");
    snprintf(words, sizeof words, "--config %s --port 6", path);
    assert_int_equal(load(&c, words, environment, err, sizeof err), 0);
    assert_int_equal(c.port, 6);
    assert_int_equal(c.engine.n_slots, 3);
    assert_int_equal(c.engine.n_ctx, 2048);
    assert_true(c.no_ui);
    assert_int_equal(c.drain_timeout_ms, 500);
    assert_string_equal(c.host, "127.0.0.1");
    config_free(&c);
    unlink(path);
}

static void test_comments(void **state)
{
    char path[64], words[128];
    (void)state;
    write_file(path, "// one\n{\"port\": 7, # two\n \"model\": \"a//b#c\"} // three");
    snprintf(words, sizeof words, "--config %s", path);
    struct config c = good(words);
    assert_int_equal(c.port, 7);
    assert_string_equal(c.model, "a//b#c");
    config_free(&c);
    unlink(path);
}

/* The line of a member says where it is from. */
static void printed(const struct buf *text, const char *member, const char *origin)
{
    const char *at = strstr(text->data, member), *end = at ? strchr(at + 1, '\n') : NULL;
    size_t n = strlen(origin);
    if (!end || (size_t)(end - at) < n || memcmp(end - n, origin, n) != 0)
        fail_msg("'%s ... %s' is not in:\n%s", member, origin, text->data);
}

/* What is printed says every source, holds no key, and reads as the same configuration. */
static void test_print(void **state)
{
    char path[64], words[160], err[512], line[160];
    char *environment[] = {"SPECD_PARALLEL=3", "SPECD_API_KEY=secret", NULL};
    struct buf text = {0}, again = {0};
    struct config c;
    (void)state;
    write_file(path, "{\"ctx-size\": 2048, \"drain-timeout\": 0.5, \"alias\": \"a\\\"b\"}");
    snprintf(words, sizeof words, "--config %s --port 6 --no-ui --print-config", path);
    assert_int_equal(load(&c, words, environment, err, sizeof err), 0);
    config_print(&c, &text);
    snprintf(line, sizeof line, "// file %s", path);
    printed(&text, "\n  \"port\": 6, ", "// command line");
    printed(&text, "\n  \"parallel\": 3, ", "// environment SPECD_PARALLEL");
    printed(&text, "\n  \"ctx-size\": 2048, ", line);
    printed(&text, "\n  \"drain-timeout\": 0.5, ", line);
    printed(&text, "\n  \"alias\": \"a\\\"b\", ", line);
    printed(&text, "\n  \"model\": null, ", "// default");
    printed(&text, "\n  \"max-body\": \"32M\", ", "// default");
    printed(&text, "\n  \"no-ui\": true", "// command line");
    printed(&text, "\n  // \"api-key\": not shown ", "// environment SPECD_API_KEY");
    assert_null(strstr(text.data, "secret"));
    config_free(&c);
    unlink(path);

    write_file(path, text.data);
    snprintf(words, sizeof words, "--config %s", path);
    c = good(words);
    config_print(&c, &again);
    snprintf(line, sizeof line, "// file %s", path);
    printed(&again, "\n  \"parallel\": 3, ", line);
    printed(&again, "\n  \"drain-timeout\": 0.5, ", line);
    assert_true(c.no_ui);
    config_free(&c);
    unlink(path);
    buf_free(&text);
    buf_free(&again);
}

static void test_bad_files(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"{\"prot\": 1}", "did you mean 'port'"},
        {"{\"port\": [1]}", "port must be a string, number or boolean"},
        {"{\"port\": 1.5}", "port: must be an integer"},
        {"{\"api-key\": \"x\"}", "can't be set in a file"},
        {"{\"config\": \"x\"}", "can't be set in a file"},
        {"{\"port\": 1,}", "invalid JSON"},
        {"[]", "must hold a JSON object"},
        {"", "invalid JSON"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char path[64], words[128];
        write_file(path, rows[i].text);
        snprintf(words, sizeof words, "--config %s", path);
        bad(words, rows[i].why);
        unlink(path);
    }
}

static void test_default_model(void **state)
{
    char folder[] = "/tmp/specd-cache-XXXXXX", path[128], err[512] = "";
    (void)state;
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    struct config c = good("");
    assert_int_equal(config_resolve(&c, err, sizeof err), SPECD_EFILE);
    assert_non_null(strstr(err, folder));
    assert_non_null(strstr(err, "scripts/get-model.sh"));
    config_free(&c);

    snprintf(path, sizeof path,
             "mkdir -p %s/specd && touch "
             "%s/specd/SmolLM2-135M-Instruct.Q4_1.gguf",
             folder, folder);
    assert_int_equal(system(path), 0);
    c = good("");
    assert_int_equal(config_resolve(&c, err, sizeof err), 0);
    assert_int_equal(c.engine.n_drafters, 1);
    assert_int_equal(c.engine.drafters[0], DRAFT_LOOKUP);
    config_free(&c);
    c = good("-md none");
    assert_int_equal(config_resolve(&c, err, sizeof err), 0);
    assert_int_equal(c.engine.n_drafters, 0);
    config_free(&c);
    c = good("-m other.gguf");
    assert_int_equal(config_resolve(&c, err, sizeof err), 0);
    assert_int_equal(c.engine.n_drafters, 0);
    config_free(&c);
    snprintf(path, sizeof path, "rm -r %s", folder);
    assert_int_equal(system(path), 0);
}

static void test_help_names_every_option(void **state)
{
    struct buf text = {0};
    (void)state;
    config_help(&text);
    assert_non_null(strstr(text.data, "-md, --model-draft SPEC"));
    assert_non_null(strstr(text.data, "--version"));
    assert_null(strstr(text.data, "--api-key "));
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_trusted_proxy),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_drafts),
        cmocka_unit_test(test_draft_vocab),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_default_model),
        cmocka_unit_test(test_help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
