#include "machine.h"

#include "specd/util.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- small files under /proc and /sys -------------------------------------------------------- */

/* The value behind `key` in a file of "key value" lines. */
static bool file_value(const char *path, const char *key, uint64_t *value)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    char line[256];
    size_t n = strlen(key);
    bool found = false;
    while (!found && fgets(line, sizeof(line), f)) {
        unsigned long long v;
        if (strncmp(line, key, n) == 0 && sscanf(line + n, "%*[ \t:]%llu", &v) == 1) {
            *value = v;
            found = true;
        }
    }
    fclose(f);
    return found;
}

static bool file_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(line, (int)size, f) != NULL;
    fclose(f);
    return ok;
}

static bool file_number(const char *path, uint64_t *value)
{
    char line[64];
    unsigned long long v;
    if (!file_line(path, line, sizeof(line)) || sscanf(line, "%llu", &v) != 1)
        return false; /* "max", for one */
    *value = v;
    return true;
}

/* ---- control groups -------------------------------------------------------------------------- */

#define CGROUP_ROOT "/sys/fs/cgroup"

struct cgroup_limits {
    uint64_t memory, memory_used; /* UINT64_MAX, 0: unlimited */
    double cores;                 /* 0: unlimited */
};

/* Takes over the tighter limit of one group's folder: version 2's files, else version 1's. */
static void limits_of_folder(const char *folder, struct cgroup_limits *l)
{
    char path[1200], line[64];
    uint64_t limit, used = 0, cache = 0, quota, period;
    double max, per;

    snprintf(path, sizeof(path), "%s/memory.max", folder);
    bool v2 = file_number(path, &limit);
    if (!v2)
        snprintf(path, sizeof(path), "%s/memory.limit_in_bytes", folder);
    if ((v2 || file_number(path, &limit)) && limit < l->memory) {
        snprintf(path, sizeof(path), "%s/%s", folder,
                 v2 ? "memory.current" : "memory.usage_in_bytes");
        file_number(path, &used);
        snprintf(path, sizeof(path), "%s/memory.stat", folder);
        file_value(path, v2 ? "inactive_file" : "total_inactive_file", &cache);
        l->memory = limit;
        l->memory_used = used - MIN(cache, used);
    }

    snprintf(path, sizeof(path), "%s/cpu.max", folder);
    double cores = 0.0;
    if (file_line(path, line, sizeof(line)) && sscanf(line, "%lf %lf", &max, &per) == 2 && per > 0)
        cores = max / per;
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
    if (file_number(path, &quota)) {
        snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
        if (file_number(path, &period) && period > 0 && (int64_t)quota > 0)
            cores = (double)quota / (double)period;
    }
    if (cores > 0.0 && (l->cores == 0.0 || cores < l->cores))
        l->cores = cores;
}

/* A group and all that contain it: `path` is as /proc/self/cgroup has it. */
static void limits_of_path(const char *mount, char *path, struct cgroup_limits *l)
{
    char folder[1100];
    for (;;) {
        snprintf(folder, sizeof(folder), "%s%s", mount, path);
        limits_of_folder(folder, l);
        char *slash = strrchr(path, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static void cgroup_limits(struct cgroup_limits *l)
{
    *l = (struct cgroup_limits){.memory = UINT64_MAX};
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return;
    char line[1024];
    while (fgets(line, sizeof(line), f)) { /* "0::/path" or "4:cpu,cpuacct:/path" */
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        if (names[1] == '\0')
            limits_of_path(CGROUP_ROOT, path, l);
        else if (strcmp(names + 1, "memory") == 0)
            limits_of_path(CGROUP_ROOT "/memory", path, l);
        else if (strncmp(names + 1, "cpu", 3) == 0 && strcmp(names + 1, "cpuset") != 0)
            limits_of_path(CGROUP_ROOT "/cpu", path, l);
    }
    fclose(f);
}

/* ---- the questions --------------------------------------------------------------------------- */

int machine_cores(void)
{
    cpu_set_t set;
    struct cgroup_limits l;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                         : (int)sysconf(_SC_NPROCESSORS_ONLN);
    cgroup_limits(&l);
    if (l.cores > 0.0 && l.cores < n)
        n = (int)l.cores + (l.cores > (int)l.cores);
    return MAX(n, 1);
}

void machine_memory(uint64_t *total, uint64_t *free_bytes)
{
    struct cgroup_limits l;
    uint64_t kib_total = 0, kib_free = 0;
    file_value("/proc/meminfo", "MemTotal", &kib_total);
    file_value("/proc/meminfo", "MemAvailable", &kib_free);
    *total = kib_total * 1024;
    *free_bytes = kib_free * 1024;
    cgroup_limits(&l);
    if (l.memory < *total) {
        *total = l.memory;
        *free_bytes = MIN(*free_bytes, l.memory - MIN(l.memory, l.memory_used));
    }
}

void machine_name(char *name, size_t size)
{
    char line[256], *value = NULL;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && !value && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "model name", 10) == 0)
            value = strchr(line, ':');
    }
    if (f)
        fclose(f);
    if (value) {
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = '\0';
    }
    snprintf(name, size, "%.80s, %d cores", value ? value : "CPU", machine_cores());
}

/* Mappings that touch may be one to the kernel, hence the MIN. */
bool machine_huge_pages(const void *start, size_t bytes, size_t *huge)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    uintptr_t first = (uintptr_t)start, end = first + bytes;
    unsigned long long kib, from, to;
    char line[512];
    bool inside = false, found = false;
    *huge = 0;
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            inside = from < end && to > first;
        } else if (inside && sscanf(line, "AnonHugePages: %llu kB", &kib) == 1) {
            *huge += (size_t)kib * 1024;
            found = true;
        }
    }
    if (f)
        fclose(f);
    *huge = MIN(*huge, bytes);
    return found;
}

/* ---- bandwidth ------------------------------------------------------------------------------- */

#ifdef __SANITIZE_THREAD__ /* which keeps four times as much about it, a page fault each */
#define BANDWIDTH_BYTES ((size_t)4 << 20)
#else
#define BANDWIDTH_BYTES ((size_t)256 << 20)
#endif
#define BANDWIDTH_PASSES 4

struct reading {
    uint64_t *words;
    size_t n_words;
    bool fill;
    uint64_t *sums; /* (threads, 8): so that the reads are not for nothing */
};

static uint64_t read_words(const uint64_t *w, size_t n)
{
    uint64_t s[8] = {0};
    for (size_t i = 0; i + 8 <= n; i += 8) {
        s[0] += w[i];
        s[1] += w[i + 1];
        s[2] += w[i + 2];
        s[3] += w[i + 3];
        s[4] += w[i + 4];
        s[5] += w[i + 5];
        s[6] += w[i + 6];
        s[7] += w[i + 7];
    }
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static void reading_part(void *arg, int part, int n_parts)
{
    struct reading *r = arg;
    size_t n = r->n_words / (size_t)n_parts;
    uint64_t *words = r->words + n * (size_t)part;
    if (r->fill)
        memset(words, part + 1, n * sizeof(*words));
    else
        r->sums[part * 8] += read_words(words, n);
}

static double measure_bandwidth(struct pool *pool)
{
    uint64_t total, free_bytes;
    machine_memory(&total, &free_bytes);
    size_t bytes = MIN(BANDWIDTH_BYTES, (size_t)(free_bytes / 8));
    struct reading r = {.n_words = bytes / sizeof(uint64_t), .fill = true};
    r.words = bytes > 0
                  ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                  : MAP_FAILED;
    if (r.words == MAP_FAILED)
        return 0.0;
    madvise(r.words, bytes, MADV_HUGEPAGE);
    r.sums = xcalloc((size_t)pool_size(pool) * 8, sizeof(*r.sums));
    pool_run(pool, reading_part, &r);
    r.fill = false;

    uint64_t best = UINT64_MAX, sum = 0;
    for (int i = 0; i < BANDWIDTH_PASSES; i++) {
        uint64_t start = clock_ns();
        pool_run(pool, reading_part, &r);
        best = MIN(best, MAX(clock_ns() - start, 1));
    }
    for (int i = 0; i < pool_size(pool); i++)
        sum += r.sums[i * 8];
    munmap(r.words, bytes);
    free(r.sums);
    return sum != 0 ? (double)bytes * 1e9 / (double)best : 0.0;
}

double machine_read_bandwidth(struct pool *pool)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int threads; /* that measured it */
    static double measured;
    pthread_mutex_lock(&lock);
    if (threads != pool_size(pool)) {
        threads = pool_size(pool);
        measured = measure_bandwidth(pool);
    }
    double bandwidth = measured;
    pthread_mutex_unlock(&lock);
    return bandwidth;
}
