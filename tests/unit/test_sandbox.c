/*
 * What the seccomp filter lets pass, and what not: each case in a process of its own, since nobody
 * gets out of a filter again. Skipped where the build or the kernel has none.
 *
 * links: specd_server specd_base
 */
#include "sandbox.h"

#include "specd/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NO_FILTER 77

/* The errno that the function leaves behind the filter; 0: it went well. */
static int behind(int (*function)(void))
{
    char err[200];
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (sandbox_enter(err, sizeof err) < 0)
            _exit(NO_FILTER);
        errno = 0;
        _exit(function() < 0 ? errno : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_FILTER)
        skip();
    return WEXITSTATUS(status);
}

static int run_a_program(void)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static int fork_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}

static int call_another_machine(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static int make_executable_memory(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
}

static int make_memory_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int change_modes(void)
{
    return chmod("/tmp", 0700);
}

static void test_refused(void **state)
{
    static int (*const functions[])(void) = {run_a_program,          fork_a_process,
                                             call_another_machine,   make_executable_memory,
                                             make_memory_executable, change_modes};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(functions); i++)
        assert_int_equal(behind(functions[i]), EPERM);
}

static void *nothing(void *arg)
{
    return arg;
}

static int start_a_thread(void)
{
    pthread_t thread;
    errno = pthread_create(&thread, NULL, nothing, NULL);
    return errno == 0 && pthread_join(thread, NULL) == 0 ? 0 : -1;
}

static int read_a_file(void)
{
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    char c;
    return fd < 0 || read(fd, &c, 1) != 1 ? -1 : close(fd);
}

static int take_memory(void)
{
    char *p = malloc(64 << 20);
    if (!p)
        return -1;
    memset(p, 1, 64 << 20);
    free(p);
    return 0;
}

static int open_a_unix_socket(void)
{
    return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static void test_allowed(void **state)
{
    static int (*const functions[])(void) = {start_a_thread, read_a_file, take_memory,
                                             open_a_unix_socket};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(functions); i++)
        assert_int_equal(behind(functions[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_allowed)};
    return sandbox_built() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
