/*
 * The configuration: a JSON file, and behind the first NUL further pieces, each of them a variable
 * (SPECD_X=value) or an argument.
 *
 * links: specd_server specd_fake specd_base
 */
#include "fuzz.h"

#include "config.h"

#include "specd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECES_MAX = 16 };

/* The pieces of what stands behind the file; they live in text, which ends with a NUL. */
struct pieces {
    char *args[PIECES_MAX + 4], *environment[PIECES_MAX + 1];
    int n_args, n_environment;
};

static void split(struct pieces *p, char *text, size_t len)
{
    for (char *at = text; at < text + len; at += strlen(at) + 1) {
        if (strncmp(at, "SPECD_", 6) == 0 && p->n_environment < PIECES_MAX)
            p->environment[p->n_environment++] = at;
        else if (p->n_args < PIECES_MAX)
            p->args[p->n_args++] = at;
    }
}

static void check(const struct config *c)
{
    ASSERT(c->port >= 0 && c->port <= 65535);
    ASSERT(c->engine.n_slots >= 1 && c->engine.n_slots <= SPECD_SLOTS_MAX);
    ASSERT(c->engine.draft_max <= SPECD_K_MAX && c->engine.draft_min <= c->engine.draft_max);
    ASSERT(c->max_body >= 1024 && c->max_connections >= 1 && c->engine.max_queue >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], err[400] = "";
    char *text = xmalloc(size + 1);
    size_t file_len = strnlen((const char *)data, size);
    struct pieces p = {.args = {"specd", "--config", path}, .n_args = 3};
    struct config c = {0};
    int fd = memfd_create("config", 0);
    ASSERT(fd >= 0 && write(fd, data, file_len) == (ssize_t)file_len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    log_set(LOG_ERROR, false);
    if (file_len < size) {
        memcpy(text, data + file_len + 1, size - file_len - 1);
        text[size - file_len - 1] = '\0';
        split(&p, text, size - file_len - 1);
    }
    int rc = config_load(&c, p.n_args, p.args, p.environment, err, sizeof err);
    ASSERT(rc == 0 || (rc == SPECD_EINVAL && err[0]));
    if (rc == 0)
        check(&c);
    config_free(&c);
    close(fd);
    free(text);
    return 0;
}

#define SEED(text)            \
    {                         \
        text, sizeof text - 1 \
    }

bool fuzz_seed(int i, struct buf *out)
{
    static const struct {
        const char *text;
        size_t len;
    } seeds[] = {
        SEED("{\"model\":\"a.gguf\",\"ctx-size\":4096,\"parallel\":8,\"kv-memory\":\"2G\","
             "\"draft-max\":4,\"default-mode\":\"block\",\"reproducible\":true,\"port\":80}"),
        SEED("{\"model-draft\":\"self:0-9+29,lookup\",\"request-timeout\":1.5,\"max-body\":\"64K\","
             "\"log-level\":\"warn\",\"log-format\":\"json\",\"host\":\"unix:/x\"}"
             "\0SPECD_THREADS=2\0SPECD_KV_TYPE=f32\0SPECD_PORT=tcp://1.2.3.4:80\0-np\0"
             "3\0--weights=q8_0"),
        SEED("{}\0--draft-fixed\0"
             "2\0--synthetic-acceptance\0"
             "0.5\0-md\0none\0--no-ui\0--device\0cuda:1\0--cors-origin=*"),
        SEED("{\"max-queue\":null,\"no-metrics\":false}\0--modle\0x\0SPECD_X=1"),
    };
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_add(out, seeds[i].text, seeds[i].len);
    return true;
}
