#include "upload.h"

#include "cudart.h"
#include "specd/util.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/* Large enough for a bus at full speed, small enough for a host's cache. On the emulator as small
 * as can be, so that the models of tests come in many pieces. */
#ifdef SPECD_EMU
#define PIECE_BYTES ((size_t)4096)
#else
#define PIECE_BYTES ((size_t)4 << 20)
#endif
#define THREADS_MAX 32 /* more than keep up with any bus, and 256 MB of buffers */

struct piece {
    const struct upload_item *item;
    size_t first, n;
};

/* Goes round: free, being filled, full, being copied, free. */
struct buffer {
    struct buffer *next;
    char *data;
    cudaEvent_t copied;
    struct piece piece;
};

struct upload {
    /* shared by all threads, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t has_free, has_full;
    const struct upload_item *items;
    size_t n_items, item, element; /* where the next piece starts */
    struct buffer *free, *full;
    bool stopped;
    /* the caller's */
    struct buffer *copying, **copying_end; /* in the order of the stream */
    struct buffer *buffers;
    int n_buffers, n_threads;
    pthread_t *threads;
    cudaStream_t stream;
    size_t n_pieces, largest; /* bytes */
    uint64_t done;
};

/* ---- pieces ---------------------------------------------------------------------------------- */

static size_t element_bytes(const struct upload_item *item)
{
    return item->step[0] + item->step[1];
}

/* Elements of a piece; 0: there is nothing in the item. */
static size_t piece_elements(const struct upload_item *item)
{
    size_t bytes = element_bytes(item);

    return bytes > 0 ? MIN(item->count, MAX(PIECE_BYTES / bytes, 1)) : 0;
}

static void pieces_count(struct upload *u)
{
    for (size_t i = 0; i < u->n_items; i++) {
        size_t n = piece_elements(&u->items[i]);
        if (n == 0)
            continue;
        u->n_pieces += (u->items[i].count + n - 1) / n;
        u->largest = MAX(u->largest, n * element_bytes(&u->items[i]));
    }
}

static bool piece_take(struct upload *u, struct piece *out)
{
    for (; u->item < u->n_items; u->item++, u->element = 0) {
        const struct upload_item *item = &u->items[u->item];
        size_t n = piece_elements(item);
        if (n > 0 && u->element < item->count) {
            *out = (struct piece){item, u->element, MIN(n, item->count - u->element)};
            u->element += n;
            return true;
        }
    }
    return false;
}

/* ---- the host's threads ---------------------------------------------------------------------- */

static struct buffer *buffer_pop(struct buffer **list)
{
    struct buffer *b = *list;

    if (b)
        *list = b->next;
    return b;
}

static void buffer_push(struct buffer **list, struct buffer *b)
{
    b->next = *list;
    *list = b;
}

static void *work(void *arg)
{
    struct upload *u = arg;

    pthread_mutex_lock(&u->lock);
    for (;;) {
        struct buffer *b;
        while (!u->stopped && !u->free)
            pthread_cond_wait(&u->has_free, &u->lock);
        if (u->stopped || !piece_take(u, &u->free->piece))
            break;
        b = buffer_pop(&u->free);
        pthread_mutex_unlock(&u->lock);
        b->piece.item->make(b->piece.item->what, b->piece.first, b->piece.n, b->data);
        pthread_mutex_lock(&u->lock);
        buffer_push(&u->full, b);
        pthread_cond_signal(&u->has_full);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

static int cores(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int threads_start(struct upload *u, int threads, char *err, size_t errlen)
{
    u->threads = xcalloc((size_t)threads, sizeof(*u->threads));
    while (u->n_threads < threads && pthread_create(&u->threads[u->n_threads], NULL, work, u) == 0)
        u->n_threads++;
    if (u->n_threads == 0)
        return fail(SPECD_ENOMEM, err, errlen, "no thread could be started to load the weights");
    return 0;
}

static void threads_stop(struct upload *u)
{
    pthread_mutex_lock(&u->lock);
    u->stopped = true;
    pthread_cond_broadcast(&u->has_free);
    pthread_mutex_unlock(&u->lock);
    for (int i = 0; i < u->n_threads; i++)
        pthread_join(u->threads[i], NULL);
    free(u->threads);
}

/* ---- the calling thread ---------------------------------------------------------------------- */

/* Waits for the oldest copy and frees its buffer. */
static cudaError_t buffer_reclaim(struct upload *u)
{
    struct buffer *b = buffer_pop(&u->copying);
    cudaError_t error = cudaEventSynchronize(b->copied);

    if (!u->copying)
        u->copying_end = &u->copying;
    pthread_mutex_lock(&u->lock);
    buffer_push(&u->free, b);
    pthread_cond_signal(&u->has_free);
    pthread_mutex_unlock(&u->lock);
    return error;
}

/* The next full buffer. Copies are waited for when there is nothing else to do. */
static cudaError_t buffer_next(struct upload *u, struct buffer **out)
{
    for (;;) {
        pthread_mutex_lock(&u->lock);
        while (!u->full && !u->copying)
            pthread_cond_wait(&u->has_full, &u->lock);
        *out = buffer_pop(&u->full);
        pthread_mutex_unlock(&u->lock);
        if (*out)
            return cudaSuccess;
        cudaError_t error = buffer_reclaim(u);
        if (error != cudaSuccess)
            return error;
    }
}

static cudaError_t buffer_copy(struct upload *u, struct buffer *b)
{
    const struct piece *p = &b->piece;
    const char *from = b->data;
    cudaError_t error = cudaSuccess;

    for (int i = 0; error == cudaSuccess && i < 2 && p->item->step[i] > 0; i++) {
        size_t step = p->item->step[i], bytes = p->n * step;
        error = cudaMemcpyAsync((char *)p->item->to[i] + p->first * step, from, bytes,
                                cudaMemcpyHostToDevice, u->stream);
        from += bytes;
        u->done += bytes;
    }
    if (error == cudaSuccess)
        error = cudaEventRecord(b->copied, u->stream);
    b->next = NULL;
    *u->copying_end = b;
    u->copying_end = &b->next;
    return error;
}

static void tell(const struct upload_listener *l, uint64_t done)
{
    if (l->progress)
        l->progress(l->arg, l->role, MIN(done, l->total), l->total);
}

static cudaError_t copy_all(struct upload *u, const struct upload_listener *l)
{
    cudaError_t error = cudaSuccess;

    for (size_t i = 0; error == cudaSuccess && i < u->n_pieces; i++) {
        struct buffer *b;
        error = buffer_next(u, &b);
        if (error == cudaSuccess)
            error = buffer_copy(u, b);
        if (error == cudaSuccess && i + 1 < u->n_pieces)
            tell(l, u->done);
    }
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(u->stream);
    if (error == cudaSuccess)
        tell(l, l->total);
    return error;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int buffers_make(struct upload *u, int n, char *err, size_t errlen)
{
    u->buffers = xcalloc((size_t)n, sizeof(*u->buffers));
    for (int i = 0; i < n; i++) {
        struct buffer *b = &u->buffers[i];
        if (cudaHostAlloc((void **)&b->data, u->largest, cudaHostAllocDefault) != cudaSuccess) {
            (void)cudaGetLastError(); /* not an error of the device's */
            if (i > 0)
                break; /* the rest goes round */
            return fail(SPECD_ENOMEM, err, errlen,
                        "no pinned host memory to load weights through (%zu bytes)", u->largest);
        }
        if (cudaEventCreateWithFlags(&b->copied, cudaEventDisableTiming | cudaEventBlockingSync) !=
            cudaSuccess) {
            cudaFreeHost(b->data);
            return fail(SPECD_EDEVICE, err, errlen, "loading weights: no event could be created");
        }
        buffer_push(&u->free, b);
        u->n_buffers++;
    }
    return 0;
}

static void upload_close(struct upload *u)
{
    threads_stop(u);
    if (u->stream) {
        cudaStreamSynchronize(u->stream); /* nothing reads the buffers from here on */
        cudaStreamDestroy(u->stream);
    }
    for (int i = 0; i < u->n_buffers; i++) {
        cudaEventDestroy(u->buffers[i].copied);
        cudaFreeHost(u->buffers[i].data);
    }
    free(u->buffers);
    pthread_cond_destroy(&u->has_full);
    pthread_cond_destroy(&u->has_free);
    pthread_mutex_destroy(&u->lock);
}

int gpu_upload(const struct upload_item *items, size_t n_items, int threads,
               const struct upload_listener *listener, char *err, size_t errlen)
{
    struct upload u = {.items = items, .n_items = n_items};
    cudaError_t error;
    int rc;

    u.copying_end = &u.copying;
    pthread_mutex_init(&u.lock, NULL);
    pthread_cond_init(&u.has_free, NULL);
    pthread_cond_init(&u.has_full, NULL);
    pieces_count(&u);
    threads = MIN(threads > 0 ? threads : cores(), THREADS_MAX);
    threads = (int)MIN((size_t)threads, MAX(u.n_pieces, 1));
    rc = buffers_make(&u, 2 * threads, err, errlen);
    if (rc == 0 && cudaStreamCreateWithFlags(&u.stream, cudaStreamNonBlocking) != cudaSuccess)
        rc = fail(SPECD_EDEVICE, err, errlen, "loading weights: no stream could be created");
    if (rc == 0)
        rc = threads_start(&u, threads, err, errlen);
    if (rc == 0 && (error = copy_all(&u, listener)) != cudaSuccess)
        rc = fail(SPECD_EDEVICE, err, errlen, "loading weights: %s", cudaGetErrorString(error));
    upload_close(&u);
    return rc;
}
