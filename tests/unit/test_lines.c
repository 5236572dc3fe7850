/*
 * Lines for a slow reader, a full disk and a reader that is gone; files that are read whole.
 *
 * links: specd_base
 */
#include "specd/lines.h"
#include "specd/error.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lines l;

static void use(int fd)
{
    memset(&l, 0xa5, sizeof l);
    l.fd = -1;
    l.dropped = l.n_kept = 0;
    lines_use(&l, fd);
}

/* Lines "0\n", "1\n", ... with a tail of their own length, until `n` are dropped. Returns how many
 * were put. */
static int put_until_dropped(uint64_t n)
{
    int i;
    for (i = 0; l.dropped < n; i++) {
        char line[300];
        int len = snprintf(line, sizeof line, "%d %0*d\n", i, 1 + i % 200, 7);
        lines_put(&l, line, (size_t)len);
        assert_in_range(i, 0, 1000000);
    }
    return i;
}

/* Reads all there is and checks that each line is whole and behind the one before: a short line may
 * find room where a longer one was dropped. Returns the number of lines; *next goes on behind. */
static int check_lines(int fd, struct buf *rest, int *next)
{
    char piece[4096];
    ssize_t n;
    int seen = 0;
    while ((n = read(fd, piece, sizeof piece)) > 0)
        buf_add(rest, piece, (size_t)n);
    char *at = rest->data, *end;
    while (at && (end = strchr(at, '\n')) != NULL) {
        char want[300];
        int i = atoi(at);
        int len = snprintf(want, sizeof want, "%d %0*d\n", i, 1 + i % 200, 7);
        assert_in_range(i, *next, 1000000);
        assert_int_equal(end + 1 - at, len);
        assert_memory_equal(at, want, (size_t)len);
        *next = i + 1;
        seen++;
        at = end + 1;
    }
    buf_clear(rest);
    return seen;
}

static void slow_reader(int read_fd, int write_fd)
{
    struct buf rest = {0};
    int next = 0;
    fcntl(read_fd, F_SETFL, O_NONBLOCK);
    use(write_fd);
    int put = put_until_dropped(5);
    int seen = check_lines(read_fd, &rest, &next);
    assert_true(l.n_kept > 0);
    while (l.n_kept > 0) { /* what was kept goes out before the next line */
        lines_put(&l, "", 0);
        seen += check_lines(read_fd, &rest, &next);
    }
    assert_int_equal(seen, put - (int)l.dropped);
    assert_int_equal(rest.len, 0);
    lines_put(&l, "last\n", 5);
    char last[8] = "";
    assert_int_equal(read(read_fd, last, sizeof last), 5);
    assert_memory_equal(last, "last\n", 5);
    lines_use(&l, -1);
    close(read_fd);
    buf_free(&rest);
}

static void test_slow_pipe(void **state)
{
    int p[2];
    (void)state;
    assert_int_equal(pipe(p), 0);
    int own = lines_dup(p[1]);
    assert_true(own >= 0);
    assert_int_equal(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0); /* what others use is left alone */
    slow_reader(p[0], own);
    close(p[1]);
}

/* As where /proc can't be used: the pipe is asked before each write. */
static void test_slow_blocking_pipe(void **state)
{
    int p[2];
    (void)state;
    assert_int_equal(pipe(p), 0);
    slow_reader(p[0], p[1]);
}

static void test_slow_socket(void **state)
{
    int s[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    slow_reader(s[0], lines_dup(s[1]));
    close(s[1]);
}

static void test_nowhere_to_go(void **state)
{
    int p[2];
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    use(open("/dev/full", O_WRONLY));
    put_until_dropped(3);
    assert_int_equal(pipe(p), 0);
    use(p[1]);
    close(p[0]);
    put_until_dropped(3);
    use(-1);
    lines_put(&l, "x\n", 2);
    assert_int_equal(l.dropped, 0);
}

static void assert_unreadable(const char *path, size_t max, const char *word)
{
    struct buf b = {0};
    char err[200] = "";
    assert_int_equal(file_read(path, max, &b, err, sizeof err), SPECD_EFILE);
    assert_non_null(strstr(err, path));
    assert_non_null(strstr(err, word));
    buf_free(&b);
}

static void test_files(void **state)
{
    char dir[] = "/tmp/specd-files-XXXXXX", path[64], err[200];
    struct buf b = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    assert_unreadable(path, 10, "No such file");
    assert_unreadable(dir, 10, "not a regular file");
    assert_unreadable("/dev/zero", 10, "not a regular file");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_unreadable(path, 10, "not a regular file");
    unlink(path);
    FILE *f = fopen(path, "w");
    fwrite("ab\0de", 1, 5, f);
    fclose(f);
    assert_unreadable(path, 4, "larger than 4 bytes");
    assert_int_equal(file_read(path, 5, &b, err, sizeof err), 0);
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.data, "ab\0de", 6);
    buf_free(&b);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_pipe),   cmocka_unit_test(test_slow_blocking_pipe),
        cmocka_unit_test(test_slow_socket), cmocka_unit_test(test_nowhere_to_go),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
