#include "model/mapping.h"

#include "specd/error.h"
#include "specd/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map(struct mapping *m, int fd, const char *path, char *err, size_t errlen)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(SPECD_EFILE, err, errlen, "%s: not a regular file", path);
    if (st.st_size == 0)
        return fail(SPECD_EFILE, err, errlen, "%s: the file is empty", path);
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return fail(SPECD_EFILE, err, errlen, "%s: can't map it: %s", path, strerror(errno));
    *m = (struct mapping){.data = data, .size = (size_t)st.st_size, .path = xstrdup(path)};
    return 0;
}

int mapping_open(struct mapping *m, const char *path, char *err, size_t errlen)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", path, strerror(errno));
    int rc = map(m, fd, path, err, errlen);
    close(fd);
    return rc;
}

void mapping_rest(struct mapping *m)
{
    madvise((void *)(uintptr_t)m->data, m->size, MADV_DONTNEED);
}

void mapping_close(struct mapping *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->size);
    free(m->path);
    *m = (struct mapping){0};
}
