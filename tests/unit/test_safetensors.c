/*
 * The safetensors parser: good headers, and headers that lie about length, types, shapes and
 * offsets; and which files the index of a folder may name.
 *
 * links: specd_model
 */
#include "model/safetensors.h"

#include "specd/error.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_folder.h"

/* A file of this header, padded with spaces to a multiple of `align`, and n bytes of data.
 * Allocated to size for the sanitizer. */
static uint8_t *make_aligned(const char *header, size_t n, size_t align, size_t *size)
{
    size_t text = strlen(header);
    uint64_t len = (text + align - 1) / align * align;
    *size = sizeof len + len + n;
    uint8_t *data = xcalloc(1, *size);
    memcpy(data, &len, sizeof len);
    memset(data + sizeof len, ' ', len);
    memcpy(data + sizeof len, header, text);
    return data;
}

static uint8_t *make_file(const char *header, size_t n, size_t *size)
{
    return make_aligned(header, n, 8, size);
}

static int parse(struct tensor_dir *dir, const uint8_t *data, size_t size, char err[300])
{
    size_t header_bytes;
    int rc = safetensors_parse(dir, data, size, "f.safetensors", &header_bytes, err, 300);
    if (rc == 0)
        rc = tensor_dir_seal(dir, err, 300);
    return rc;
}

static void assert_refused(const char *header, size_t n, const char *field, const char *reason)
{
    struct tensor_dir dir = {0};
    char err[300] = "";
    size_t size;
    uint8_t *data = make_file(header, n, &size);
    if (parse(&dir, data, size, err) == 0)
        fail_msg("accepted: %s", header);
    if (strncmp(err, "f.safetensors: ", 15) != 0 || !strstr(err, field) || !strstr(err, reason))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, field, reason);
    tensor_dir_fini(&dir);
    free(data);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define B "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}"
#define GOOD "{\"__metadata__\":{\"format\":\"pt\"}," A "," B "}"

static void test_good_header(void **state)
{
    (void)state;
    struct tensor_dir dir = {0};
    char err[300] = "";
    size_t size;
    uint8_t *data = make_file(GOOD, 32, &size);
    size_t start = size - 32;
    if (parse(&dir, data, size, err) != 0)
        fail_msg("%s", err);
    assert_int_equal(dir.n, 2);
    const struct tensor_entry *a = tensor_dir_find(&dir, "a"), *b = tensor_dir_find(&dir, "b");
    assert_int_equal(a->type, DT_F32);
    assert_int_equal(a->n_dims, 2);
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 3);
    assert_ptr_equal(a->data, data + start);
    assert_int_equal(b->type, DT_BF16);
    assert_int_equal(b->bytes, 8);
    assert_ptr_equal(b->data, data + start + 24);
    tensor_dir_fini(&dir);

    /* Every shorter file is refused. */
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = xmalloc(cut);
        memcpy(copy, data, cut);
        assert_int_equal(parse(&dir, copy, cut, err), SPECD_EFILE);
        tensor_dir_fini(&dir);
        free(copy);
    }
    free(data);
}

static void test_lying_headers(void **state)
{
    (void)state;
#define T(fields) "{\"t\":{" fields "}}"
    static const struct {
        const char *header;
        size_t n;
        const char *field, *reason;
    } lies[] = {
        {"", 0, "header", "unexpected end"},
        {"[]", 0, "header", "not an object"},
        {"{}x", 0, "header", "more than one value"},
        {"{\"a\":1,\"a\":1}", 0, "header", "duplicate key 'a'"},
        {"{\"a\\u0000b\":1}", 0, "header", "\\u0000"},
        {"{\"\xff\":1}", 0, "header", "invalid UTF-8"},
        {"{}", 4, "data_offsets", "the tensors take 0 bytes of 4"},
        {"{\"t\":7}", 0, "tensor t", "expected an object"},
        {"{\"\":{}}", 0, "tensor ", "a name of 0 bytes"},
        {T(""), 0, "tensor t", "dtype"},
        {T("\"DTYPE\":\"F32\""), 0, "tensor t", "dtype"},
        {T("\"dtype\":\"I64\""), 0, "tensor t", "I64, which specd does not read"},
        {T("\"dtype\":\"F32\""), 0, "tensor t", "shape: expected an array"},
        {T("\"dtype\":\"F32\",\"shape\":[1.5]"), 0, "tensor t", "shape: expected whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[-1]"), 0, "tensor t", "shape: expected whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[1e300]"), 0, "tensor t", "whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1]"), 0, "tensor t", "more than 4 dimensions"},
        {T("\"dtype\":\"F32\",\"shape\":[1099511627776,1099511627776]"), 0, "tensor t",
         "overflows"},
        {T("\"dtype\":\"F32\",\"shape\":[1]"), 0, "tensor t", "data_offsets: expected two"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, "tensor t", "expected two"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 4, "tensor t",
         "expected two"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, "tensor t", "not within"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 4, "tensor t", "not within"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[9007199254740984,9007199254740992]"),
         8, "tensor t", "not within"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, "tensor t",
         "its shape needs 8"},
        {"{" A ",\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[28,32]}}", 32,
         "data_offsets", "the tensors take 28 bytes of 32"},
        {"{" A ",\"c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[20,28]}}", 32,
         "tensors a and c", "overlap"},
    };
    for (size_t i = 0; i < COUNT_OF(lies); i++)
        assert_refused(lies[i].header, lies[i].n, lies[i].field, lies[i].reason);
}

static void test_unaligned_data(void **state)
{
    (void)state;
    struct tensor_dir dir = {0};
    char err[300] = "";
    size_t size;
    assert_int_not_equal(strlen("{" A "}") % 4, 0); /* the data follows it at once */
    uint8_t *data = make_aligned("{" A "}", 24, 1, &size);
    assert_int_equal(parse(&dir, data, size, err), SPECD_EFILE);
    assert_non_null(strstr(err, "tensor a: starts at an unaligned address"));
    tensor_dir_fini(&dir);
    free(data);
}

static void test_header_lengths(void **state)
{
    (void)state;
    static const struct {
        uint64_t len;
        const char *reason;
    } lies[] = {
        {17, "pass the end of the file"},
        {1ull << 24, "pass the end of the file"},
        {1ull << 60, "at most"},
        {UINT64_MAX, "at most"},
    };
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct tensor_dir dir = {0};
        char err[300];
        size_t size;
        uint8_t *data = make_file("{}        ", 0, &size);
        memcpy(data, &lies[i].len, sizeof lies[i].len);
        assert_int_equal(parse(&dir, data, size, err), SPECD_EFILE);
        assert_non_null(strstr(err, "f.safetensors: header length"));
        assert_non_null(strstr(err, lies[i].reason));
        free(data);
    }
}

/* 60,000 tensors: a reader that compares each name with each, or walks to each, takes minutes. */
static void test_many_tensors_are_not_quadratic(void **state)
{
    (void)state;
    struct buf header = {0};
    for (int i = 0; i < 60000; i++)
        buf_printf(&header,
                   "%s\"tensor.%d\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":"
                   "[%d,%d]}",
                   i ? "," : "{", i, 2 * i, 2 * i + 2);
    buf_puts(&header, "}");
    struct tensor_dir dir = {0};
    char err[300] = "";
    size_t size;
    uint8_t *data = make_file(header.data, 120000, &size);
    uint64_t start = clock_ns();
    if (parse(&dir, data, size, err) != 0)
        fail_msg("%s", err);
    assert_true(clock_ns() - start < 10000000000u);
    assert_int_equal(dir.n, 60000);
    tensor_dir_fini(&dir);
    buf_free(&header);
    free(data);
}

static void test_index(void **state)
{
    (void)state;
    static const char index[] = "model.safetensors.index.json";
    static const char *const bad[] = {
        "{}",
        "{\"weight_map\":[]}",
        "{\"weight_map\":{}}",
        "{\"weight_map\":{\"t\":1}}",
        "{\"weight_map\":{\"t\":\"../x.safetensors\"}}",
        "{\"weight_map\":{\"t\":\"/etc/x.safetensors\"}}",
        "{\"weight_map\":{\"t\":\"sub/x.safetensors\"}}",
        "{\"weight_map\":{\"t\":\".safetensors\"}}",
        "{\"weight_map\":{\"t\":\"passwd\"}}",
        "{\"Weight_Map\":{\"t\":\"x.safetensors\"}}",
    };
    struct shards s;
    char err[300] = "";
    assert_int_equal(folder_make(state), 0);
    assert_int_equal(shards_find(&s, folder, err, sizeof err), SPECD_EFILE);
    assert_non_null(strstr(err, "neither model.safetensors nor"));
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        save_text(index, bad[i]);
        if (shards_find(&s, folder, err, sizeof err) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(strstr(err, "index.json: weight_map"));
    }
    save_text(index, "{\"metadata\":{},\"weight_map\":{\"a\":\"2.safetensors\","
                     "\"b\":\"1.safetensors\",\"c\":\"2.safetensors\"}}");
    assert_int_equal(shards_find(&s, folder, err, sizeof err), 0);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.names[0], "1.safetensors");
    assert_string_equal(s.names[1], "2.safetensors");
    shards_fini(&s);
    save_text("model.safetensors", "x");
    assert_int_equal(shards_find(&s, folder, err, sizeof err), 0);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.names[0], "model.safetensors");
    shards_fini(&s);
    assert_int_equal(folder_remove(state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_header),
        cmocka_unit_test(test_lying_headers),
        cmocka_unit_test(test_unaligned_data),
        cmocka_unit_test(test_header_lengths),
        cmocka_unit_test(test_many_tensors_are_not_quadratic),
        cmocka_unit_test(test_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
