#include "sandbox.h"

#include "specd/error.h"
#include "specd/util.h"

#ifdef SPECD_HAVE_SECCOMP

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define CALL(name) SCMP_SYS(name)

/* By what needs them. Names that this machine's architecture lacks are passed over. */
static const int allowed[] = {
    /* connections, already listening: libmicrohttpd, and libuv's watch for hang-ups */
    CALL(accept),
    CALL(accept4),
    CALL(recvfrom),
    CALL(recvmsg),
    CALL(sendto),
    CALL(sendmsg),
    CALL(shutdown),
    CALL(getsockname),
    CALL(getpeername),
    CALL(getsockopt),
    CALL(setsockopt),
    CALL(sendfile),
    CALL(epoll_create),
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_wait),
    CALL(epoll_pwait),
    CALL(epoll_pwait2),
    CALL(poll),
    CALL(ppoll),
    CALL(select),
    CALL(pselect6),
    CALL(eventfd2),
    CALL(pipe2),
    CALL(dup),
    CALL(fcntl),
    CALL(ioctl),
    CALL(close),
    /* files: SIGHUP reads them again; the log and the access log; the end removes a unix socket and
     * puts what passes took in the place of the file before (engine/warmup.c) */
    CALL(read),
    CALL(readv),
    CALL(pread64),
    CALL(write),
    CALL(writev),
    CALL(pwrite64),
    CALL(open),
    CALL(openat),
    CALL(lseek),
    CALL(_llseek),
    CALL(fstat),
    CALL(fstat64),
    CALL(stat),
    CALL(lstat),
    CALL(newfstatat),
    CALL(statx),
    CALL(access),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(readlink),
    CALL(readlinkat),
    CALL(unlink),
    CALL(unlinkat),
    CALL(rename),
    CALL(renameat),
    CALL(renameat2),
    CALL(getcwd),
    /* memory; executable memory is no part of it: see add_conditions */
    CALL(brk),
    CALL(munmap),
    CALL(mremap),
    CALL(madvise),
    /* threads: pools, jobs, barriers */
    CALL(futex),
    CALL(futex_waitv),
    CALL(set_robust_list),
    CALL(get_robust_list),
    CALL(rseq),
    CALL(sched_yield),
    CALL(sched_getaffinity),
    CALL(sched_setaffinity),
    CALL(sched_getparam),
    CALL(sched_getscheduler),
    CALL(membarrier),
    CALL(gettid),
    CALL(getpid),
    CALL(prctl),
    CALL(set_tid_address),
    CALL(exit),
    CALL(exit_group),
    /* time and chance */
    CALL(clock_gettime),
    CALL(clock_gettime64),
    CALL(clock_getres),
    CALL(clock_nanosleep),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(time),
    CALL(getrandom),
    CALL(getrusage),
    /* signals, to itself and through a descriptor; abort */
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(rt_sigtimedwait),
    CALL(sigaltstack),
    CALL(signalfd4),
    CALL(tgkill),
    CALL(restart_syscall),
    /* what libraries ask about the machine */
    CALL(getrlimit),
    CALL(prlimit64),
    CALL(sysinfo),
    CALL(uname),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(getcpu),
};

static int add_allowed(scmp_filter_ctx filter)
{
    int rc = 0;
    for (size_t i = 0; i < COUNT_OF(allowed) && rc == 0; i++) {
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
        if (rc == -EDOM || rc == -EEXIST) /* not of this architecture; two names of one call */
            rc = 0;
    }
    return rc;
}

static int add_conditions(scmp_filter_ctx filter)
{
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(mmap), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(mprotect), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    /* A thread, not a process. What clone3 is asked for lies in memory, where no filter looks: the
     * C library takes ENOSYS for an old kernel and calls clone. */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
    /* sd_notify's datagrams; no socket of the internet family is made any more. */
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
    return rc;
}

bool sandbox_built(void)
{
    return true;
}

int sandbox_enter(char *err, size_t errlen)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return fail(SPECD_EINTERNAL, err, errlen, "no memory for a filter");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = add_allowed(filter);
    if (rc == 0)
        rc = add_conditions(filter);
    if (rc == 0) {
        /* Without the log where the kernel has none. */
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1) == 0 ? seccomp_load(filter) : -EINVAL;
        if (rc != 0 && seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 0) == 0)
            rc = seccomp_load(filter);
    }
    seccomp_release(filter);
    return rc == 0 ? 0 : fail(SPECD_EINTERNAL, err, errlen, "%s", strerror(-rc));
}

#else

bool sandbox_built(void)
{
    return false;
}

int sandbox_enter(char *err, size_t errlen)
{
    return fail(SPECD_EINTERNAL, err, errlen, "this build has no libseccomp");
}

#endif
