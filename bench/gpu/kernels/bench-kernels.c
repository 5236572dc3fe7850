/*
 * bench-kernels - what each kernel of a round takes on this GPU, as markdown, beside what it should
 * (predict.h): small kernels, attention, sampling, and the matmuls of 8B and 1B in every tiling.
 *
 *   bench-kernels [-s real|tiny] [-t SECONDS] [-q] [-a] [small|attention|sampling|matmuls]...
 *
 * A time is that of one of about 20 launches in a graph, of which each works on other weights than
 * the one before, more of them than fit the caches. Results are checked before they are timed: all
 * must be numbers, and the same bits in every tiling.
 *
 *   -s tiny  tries the program out in the emulator, which has no times
 *   -t       what has not begun after so many seconds is skipped, and said so
 *   -q       only bf16, only one row        -a  prints every tiling
 */
#include "kernels.h"

#include "overlap.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    void (*run)(struct kernels *k);
} parts[] = {{"small", kernels_small},
             {"attention", kernels_attention},
             {"sampling", kernels_sampling},
             {"matmuls", kernels_matmuls}};

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: bench-kernels [-s real|tiny] [-t SECONDS] [-q] [-a] "
                    "[small|attention|sampling|matmuls]...\n");
    exit(2);
}

static bool wanted(const char *name, char **names, int n)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return n == 0;
}

static void check_names(char **names, int n)
{
    for (int i = 0; i < n; i++) {
        bool known = false;
        for (size_t j = 0; j < COUNT_OF(parts); j++)
            known = known || strcmp(names[i], parts[j].name) == 0;
        if (!known)
            usage();
    }
}

static void open_gpu(struct kernels *k)
{
    char err[256] = "";
    if (gpu_machine_open(&k->machine, -1, &k->info, err, sizeof(err)) != 0)
        kernels_die(err);
    k->rates = rates_of(k->info.name, k->info.read_bandwidth);
    k->rates.n_multiprocessors = k->machine.product.n_multiprocessors;
    if (cudaStreamCreateWithFlags(&k->stream, cudaStreamNonBlocking) != cudaSuccess)
        kernels_die("no stream");
    printf("# Kernels\n\n- device: %s, %d multiprocessors, measured read bandwidth %.0f GB/s, "
           "launches %s\n",
           k->info.name, k->rates.n_multiprocessors, k->rates.bandwidth * 1e-9,
           launch_overlaps() ? "overlap" : "do not overlap");
#ifdef SPECD_EMU
    printf("- the emulator: none of the times below is a GPU's\n");
#endif
}

/* What the parts measured of a pass of one row, added up. */
static void print_passes(const struct kernels *k)
{
    printf("\n## A pass of one row, bf16, %d positions\n\n"
           "| shape | kernel | launches | predicted us | measured us |\n|---|---|---:|---:|---:|\n",
           k->context);
    for (int i = 0; i < KERNEL_SHAPES; i++) {
        const struct shape *s = k->shapes[i];
        double sum = 0;
        bool all = true;
        for (int j = 0; j < PASS_KERNELS; j++) {
            enum pass_kernel kernel = (enum pass_kernel)j;
            int n = pass_kernel_count(s, kernel);
            double us = k->us[i][j];
            printf("| %s | %s | %d | %.1f | ", s->name, pass_kernel_name(kernel), n,
                   predict_kernel(s, WEIGHT_BF16, kernel, 1, k->context, &k->rates) * 1e6);
            printf(us > 0 ? "%.2f |\n" : "not measured |\n", us);
            sum += n * us;
            all = all && us > 0;
        }
        double paper = predict_pass(s, WEIGHT_BF16, 1, k->context, &k->rates, false);
        printf("| %s | **pass** | | %.0f | ", s->name, paper * 1e6);
        printf(all ? "%.0f, added up |\n" : "not measured |\n", sum);
    }
}

int main(int argc, char **argv)
{
    struct kernels k = {.shapes = {&shape_8b, &shape_1b},
                        .n_vocab = (int32_t)shape_8b.vocab,
                        .rotate = (size_t)256 << 20,
                        .launches = 20,
                        .context = 1024};
    int c;
    while ((c = getopt(argc, argv, "s:t:qa")) != -1) {
        if (c == 's' && strcmp(optarg, "tiny") == 0) {
            k.shapes[0] = &shape_tiny;
            k.shapes[1] = &shape_tinier;
            k.n_vocab = 3000;
            k.rotate = 1 << 16;
            k.launches = 2;
            k.context = 60;
        } else if (c == 's' && strcmp(optarg, "real") != 0) {
            usage();
        } else if (c == 't') {
            char *end;
            long seconds = strtol(optarg, &end, 10);
            if (*end != '\0' || seconds < 1 || seconds > 36000)
                usage();
            k.deadline = clock_ns() + (uint64_t)seconds * 1000000000u;
        } else if (c == 'q') {
            k.quick = true;
        } else if (c == 'a') {
            k.every = true;
        } else if (c != 's') {
            usage();
        }
    }
    check_names(argv + optind, argc - optind);
    open_gpu(&k);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (wanted(parts[i].name, argv + optind, argc - optind))
            parts[i].run(&k);
        fflush(stdout);
    }
    print_passes(&k);
    if (k.n_skipped > 0)
        printf("\nskipped for want of time: %d\n", k.n_skipped);
    cudaStreamDestroy(k.stream);
    return k.n_skipped > 0 ? EXIT_PARTLY : 0;
}
