#include "specd/error.h"
#include "specd/util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for all of it at once, so that a key leaves no copies behind in memory given back. */
static int read_whole(int fd, size_t max, struct buf *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EINVAL;
    if (st.st_size > (off_t)max)
        return EFBIG;
    size_t begun = out->len;
    buf_reserve(out, (size_t)st.st_size + 1);
    for (;;) {
        buf_reserve(out, 1);
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len - begun > max)
            return EFBIG; /* it grew */
        if (n == 0)
            return 0;
    }
}

int file_read(const char *path, size_t max, struct buf *out, char *err, size_t errlen)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", path, strerror(errno));
    int why = read_whole(fd, max, out);
    close(fd);
    if (why == EINVAL)
        return fail(SPECD_EFILE, err, errlen, "%s: not a regular file", path);
    if (why == EFBIG)
        return fail(SPECD_EFILE, err, errlen, "%s: larger than %zu bytes", path, max);
    if (why != 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", path, strerror(why));
    return 0;
}
