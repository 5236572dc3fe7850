/*
 * The GGUF parser: what a good file gives, and that every way a file can lie ends in one line that
 * names file, field and reason.
 *
 * links: specd_model specd_write
 */
#include "unit/gguf_maker.h"

#include "model/gguf_meta.h"
#include "specd/error.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct image small_file(void)
{
    struct gguf_writer w;
    static const struct gguf_text texts[] = {{"one", 3}, {"", 0}, {"a\0b", 3}};
    static const int32_t numbers[] = {7, -8, 9};
    gguf_writer_init(&w, NULL);
    gguf_put_u32(&w, "zeta", 12345);
    gguf_put_string(&w, "name", "value");
    gguf_put_bool(&w, "yes", true);
    gguf_put_f32(&w, "half", 0.5f);
    gguf_put_strings(&w, "texts", texts, 3);
    gguf_put_array(&w, "numbers", GGUF_I32, numbers, 3);
    gguf_put_tensor(&w, "matrix", DT_Q4_0, (uint64_t[]){2, 64}, 2);
    gguf_put_tensor(&w, "vector", DT_F32, (uint64_t[]){3}, 1);
    return image_of(&w);
}

static int parse(struct gguf *g, const struct image *image, char err[300])
{
    snprintf(err, 300, "no message");
    return gguf_parse(g, image->data, image->size, "m.gguf", err, 300);
}

/* The file must be refused with a line that begins with its name and holds both words. */
static void assert_refused(struct image *image, const char *field, const char *reason)
{
    struct gguf g;
    char err[300];
    int rc = parse(&g, image, err);
    if (rc == 0)
        fail_msg("accepted, expected: %s ... %s", field, reason);
    assert_int_equal(rc, SPECD_EFILE);
    if (strncmp(err, "m.gguf: ", 8) != 0 || !strstr(err, field) || !strstr(err, reason))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, field, reason);
    assert_null(strchr(err, '\n'));
    assert_null(g.kvs); /* nothing is left to free */
    free(image->data);
}

static void test_values_and_tensors(void **state)
{
    (void)state;
    struct image image = small_file();
    struct gguf g;
    char err[300];
    assert_int_equal(parse(&g, &image, err), 0);
    assert_int_equal(g.version, 3);
    assert_int_equal(g.n_kvs, 6);
    const struct gguf_kv *kv = gguf_find(&g, "zeta");
    assert_non_null(kv);
    assert_int_equal(kv->type, GGUF_U32);
    assert_null(gguf_find(&g, "zet"));

    kv = gguf_find(&g, "texts");
    assert_int_equal(kv->n, 3);
    const uint8_t *at = kv->data;
    size_t len;
    assert_memory_equal(gguf_next_string(&at, &len), "one", 3);
    assert_int_equal(len, 3);
    gguf_next_string(&at, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(gguf_next_string(&at, &len), "a\0b", 3);

    const struct tensor_entry *e = tensor_dir_find(&g.tensors, "matrix");
    assert_int_equal(e->type, DT_Q4_0);
    assert_int_equal(e->shape[0], 2);
    assert_int_equal(e->shape[1], 64);
    assert_int_equal(e->bytes, 2 * 2 * 18);
    assert_int_equal(e->data[0], 0);
    e = tensor_dir_find(&g.tensors, "vector");
    assert_int_equal(e->data[0], 1);
    assert_int_equal((e->data - image.data) % 32, 0);
    assert_null(tensor_dir_find(&g.tensors, "none"));
    gguf_fini(&g);
    free(image.data);
}

static void test_typed_look_ups(void **state)
{
    (void)state;
    struct image image = small_file();
    struct gguf g;
    char err[300] = "";
    assert_int_equal(parse(&g, &image, err), 0);
    struct gguf_meta m = {.g = &g, .prefix = "", .err = err, .errlen = sizeof err};
    assert_int_equal(meta_u32(&m, "zeta", REQUIRED, 0, 1, 20000), 12345);
    assert_int_equal(meta_u32(&m, "absent", OPTIONAL, 77, 0, 1), 77);
    assert_true(meta_f64(&m, "half", REQUIRED, 0) == 0.5);
    assert_true(meta_bool(&m, "yes", false));
    char *s = meta_string(&m, "name", REQUIRED);
    assert_string_equal(s, "value");
    free(s);
    assert_int_equal(m.rc, 0);

    static const struct {
        const char *key, *message;
    } wrong[] = {
        {"zeta", "m.gguf: metadata zeta: 12345 is outside 0 to 10"},
        {"name", "m.gguf: metadata name: is string, expected an integer"},
        {"numbers", "m.gguf: metadata numbers: differs from layer to layer"},
        {"texts", "m.gguf: metadata texts: is an array of string, expected an integer"},
        {"absent", "m.gguf: metadata absent: missing"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        m.rc = 0;
        assert_int_equal(meta_u32(&m, wrong[i].key, REQUIRED, 5, 0, 10), 5);
        assert_int_equal(m.rc, SPECD_EFILE);
        assert_memory_equal(err, wrong[i].message, strlen(wrong[i].message));
    }
    /* The first error stays. */
    assert_null(meta_string(&m, "zeta", REQUIRED));
    assert_non_null(strstr(err, "absent"));
    gguf_fini(&g);
    free(image.data);
}

static void test_version_2(void **state)
{
    (void)state;
    struct image image = small_file();
    struct gguf g;
    char err[300];
    image.data[4] = 2;
    assert_int_equal(parse(&g, &image, err), 0);
    gguf_fini(&g);
    free(image.data);
}

static void test_truncated_at_every_byte(void **state)
{
    (void)state;
    struct image whole = small_file();
    size_t needed = whole.size - 20; /* 12 bytes of the last tensor, padded to 32 */
    for (size_t size = 0; size < whole.size; size++) {
        struct image cut = copy_image(&whole, size);
        struct gguf g;
        char err[300];
        int rc = parse(&g, &cut, err);
        if (rc == 0)
            gguf_fini(&g);
        if (rc != (size < needed ? SPECD_EFILE : 0))
            fail_msg("cut at %zu of %zu: %d %s", size, whole.size, rc, err);
        if (rc != 0 && !strstr(err, "the end of the file") && !strstr(err, "can hold"))
            fail_msg("cut at %zu: %s", size, err);
        free(cut.data);
    }
    free(whole.data);
}

/* A little-endian number at `skip` bytes behind the first occurrence of `text`. */
struct lie {
    const char *text;
    size_t skip, bytes;
    uint64_t value;
    const char *field, *reason;
};

static void test_every_field_can_lie(void **state)
{
    (void)state;
    static const struct lie lies[] = {
        {"", 0, 4, 0x46474748, "header", "no GGUF file"},
        {"", 4, 4, 1, "header", "version 1"},
        {"", 4, 4, 4, "header", "version 4"},
        {"", 4, 4, 0x03000000, "header", "big-endian"},
        {"", 8, 8, 1ull << 60, "header", "tensor count 1152921504606846976"},
        {"", 8, 8, 60000, "header", "more than the file can hold"},
        {"", 8, 8, UINT64_MAX, "header", "tensor count"},
        {"", 8, 8, 3, "tensor 2", "name of 0 bytes"},
        {"", 16, 8, 1ull << 60, "header", "metadata count"},
        {"", 16, 8, UINT64_MAX, "header", "metadata count"},
        {"", 16, 8, 60000, "header", "more than the file can hold"},
        {"", 16, 8, 7, "tensor 0", "passes the end of the file"},
        {"", 24, 8, 1ull << 60, "metadata entry 0", "passes the end of the file"},
        {"", 24, 8, UINT64_MAX, "metadata entry 0", "passes the end of the file"},
        {"", 24, 8, 0, "metadata entry 0", "key of 0 bytes"},
        {"zet", 0, 1, 0, "metadata entry 0", "zero byte"},
        {"zeta", 0, 4, 13, "metadata zeta", "unknown value type 13"},
        {"zeta", 0, 4, UINT32_MAX, "metadata zeta", "unknown value type"},
        {"name", 4, 8, 1ull << 61, "metadata name", "passes the end of the file"},
        {"name", 4, 8, UINT64_MAX, "metadata name", "passes the end of the file"},
        {"texts", 4, 4, 9, "metadata texts", "arrays of arrays"},
        {"texts", 4, 4, 99, "metadata texts", "unknown array type 99"},
        {"texts", 8, 8, 1ull << 60, "metadata texts", "1152921504606846976 elements"},
        {"texts", 16, 8, 1ull << 60, "metadata texts", "array element"},
        {"texts", 16, 8, UINT64_MAX - 7, "metadata texts", "array element"},
        {"numbers", 8, 8, 1ull << 62, "metadata numbers", "elements passes the end of the file"},
        {"numbers", 8, 8, UINT64_MAX, "metadata numbers", "elements passes the end of the file"},
        {"matri", 0, 1, 0, "tensor 0", "zero byte"},
        {"matrix", 0, 4, 0, "tensor matrix", "0 dimensions"},
        {"matrix", 0, 4, 5, "tensor matrix", "5 dimensions"},
        {"matrix", 0, 4, UINT32_MAX, "tensor matrix", "4294967295 dimensions"},
        {"matrix", 4, 8, 0, "tensor matrix", "dimension 0 is 0"},
        {"matrix", 4, 8, 65, "tensor matrix", "no whole number of q4_0 blocks"},
        {"matrix", 4, 8, UINT64_MAX - 31, "tensor matrix", "overflows"},
        {"matrix", 12, 8, 1ull << 60, "tensor matrix", "overflows"},
        {"matrix", 12, 8, 1ull << 40, "tensor matrix", "pass the end of the file"},
        {"matrix", 20, 4, 17, "tensor matrix", "IQ2_XS (17), which specd does not read"},
        {"matrix", 20, 4, 24, "tensor matrix", "I8 (24), which specd does not read"},
        {"matrix", 20, 4, 4000, "tensor matrix", "unknown (4000), which specd does not read"},
        {"vector", 16, 8, 0, "tensors", "overlap"},
        {"vector", 16, 8, 40, "tensor vector", "multiple of the alignment"},
        {"vector", 16, 8, 1ull << 40, "tensor vector", "pass the end of the file"},
        {"vector", 16, 8, UINT64_MAX - 31, "tensor vector", "pass the end of the file"},
        {"vector", 4, 8, 1ull << 62, "tensor vector", "overflows"},
        {"vector", 4, 8, 12, "tensor vector", "pass the end of the file"},
    };
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct image image = small_file();
        poke(&image, lies[i].text, lies[i].skip, &lies[i].value, lies[i].bytes);
        assert_refused(&image, lies[i].field, lies[i].reason);
    }
}

static void test_names_occur_once(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    gguf_put_u32(&w, "same", 1);
    gguf_put_u32(&w, "same", 2);
    struct image image = image_of(&w);
    assert_refused(&image, "metadata same", "twice");

    gguf_writer_init(&w, NULL);
    gguf_put_tensor(&w, "same", DT_F32, (uint64_t[]){1}, 1);
    gguf_put_tensor(&w, "same", DT_F32, (uint64_t[]){1}, 1);
    image = image_of(&w);
    assert_refused(&image, "same", "two tensors");
}

static void test_alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 1, 4, 24, 33, 1u << 31};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct gguf_writer w;
        gguf_writer_init(&w, NULL);
        gguf_put_u32(&w, "general.alignment", bad[i]);
        struct image image = image_of(&w);
        assert_refused(&image, "metadata general.alignment", "power of two");
    }
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    gguf_put_bool(&w, "general.alignment", true);
    struct image image = image_of(&w);
    assert_refused(&image, "metadata general.alignment", "is bool");
}

static void test_names_are_printable_in_messages(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    gguf_put_u32(&w, "bad\n\x1b[31mkey\xff", 1);
    struct image image = image_of(&w);
    uint32_t type = 50;
    poke(&image, "key\xff", 0, &type, sizeof type);
    assert_refused(&image, "metadata bad??[31mkey?", "unknown value type 50");
}

/* Whatever a byte is changed to, the parser ends, and what it accepts can be walked. */
static void test_flipped_bytes(void **state)
{
    (void)state;
    struct image whole = small_file();
    for (size_t i = 0; i < whole.size; i++) {
        static const uint8_t values[] = {0, 1, 9, 0x7f, 0x80, 0xff};
        for (size_t k = 0; k < COUNT_OF(values); k++) {
            struct image image = copy_image(&whole, whole.size);
            struct gguf g;
            char err[300];
            image.data[i] = values[k];
            if (parse(&g, &image, err) == 0)
                gguf_fini(&g);
            free(image.data);
        }
    }
    free(whole.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_tensors),
        cmocka_unit_test(test_typed_look_ups),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_every_field_can_lie),
        cmocka_unit_test(test_names_occur_once),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_names_are_printable_in_messages),
        cmocka_unit_test(test_flipped_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
