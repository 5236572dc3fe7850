/*
 * bench-policy - plays the policy of draft lengths (engine/draft_len.h) against traces of
 * acceptance on machines that were measured or added up on paper, and tells what it gains and what
 * it leaves.
 *
 * usage: bench-policy [-a] [-c] [-x] [-r REQUESTS] [-s SEED] [-n SLOTS] [-f SCENARIO]
 *   -a   a line for every machine and number of slots; else one for a scenario: for each machine
 * the gain of one slot, then the worst of 1 to 256 slots: of fixed, of oracle (bold: further than
 *        it should be) and lost
 *   -c   check: ends with 1 where the policy is far from what it must reach or, where it is known
 *        not to, from how far it came
 *   -x   with a planted fault: the policy never hears what became of its drafts
 *   -r   requests, for one slot
 *   -n, -f   only so many slots; only scenarios with this in their name
 *
 * gain: time of the same requests without drafts over the policy's. fixed: the time of the best
 * fixed choice of drafter and K, known only afterwards, over the policy's. oracle: the time of who
 * knows the true chances and costs, or of the best fixed choice if that is less, over the policy's.
 * lost: the share of time that the policy itself counts as spent for nothing (draft_budget.h).
 */
#include "policy/players.h"

#include "specd/util.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RECORDED
#define RECORDED "bench/policy/recorded.txt"
#endif

#define ORACLE_TURNS 3
#define FIXED_MAX 8
/* What must be reached, and the noise of a short run. */
#define REACH_FIXED 0.95
#define REACH_ORACLE 0.90
#define REACH_HOPELESS 0.98
#define REACH_LOST 0.02
#define CHECK_MARGIN 0.04
#define CHECK_LOST 0.02

#define ANSWERS .prompt_min = 64, .prompt_max = 512, .answer_min = 48, .answer_max = 320
#define ANSWER_MEAN 184 /* of these; where answers are shorter, there are more */

static const struct scenario scenarios[] = {
    {"steady 0.85", {TEXT_STEADY, .high = 0.85, .drawn = true, ANSWERS}, .model = true},
    {"steady 0.6", {TEXT_STEADY, .high = 0.6, .drawn = true, ANSWERS}, .model = true},
    {"steady 0.3", {TEXT_STEADY, .high = 0.3, .drawn = true, ANSWERS}, .model = true},
    {"hopeless, 0.05", {TEXT_STEADY, .high = 0.05, .drawn = true, ANSWERS}, .model = true},
    {"each request its own",
     {TEXT_MIXED, .drawn = true, ANSWERS},
     .model = true,
     .came_many = 0.94},
    {"drops in the middle",
     {TEXT_DROPS, .high = 0.9, .low = 0.1, .drawn = true, ANSWERS},
     .model = true},
    {"rises in the middle",
     {TEXT_RISES, .high = 0.9, .low = 0.1, .drawn = true, ANSWERS},
     .model = true,
     .came_many = 0.94},
    {"bursts",
     {TEXT_BURSTS, .high = 0.95, .low = 0.2, .drawn = true, ANSWERS},
     .model = true,
     .came_many = 0.91},
    {"recorded code", {TEXT_RECORDED, .task = "code", ANSWERS}, .model = true, .came_many = 0.91},
    {"recorded chat", {TEXT_RECORDED, .task = "chat", ANSWERS}, .model = true, .came_many = 0.91},
    {"recorded translation",
     {TEXT_RECORDED, .task = "translation", ANSWERS},
     .model = true,
     .came_many = 0.94},
    {"short answers, long prompts",
     {TEXT_STEADY, .high = 0.8, .drawn = true, .prompt_min = 1000, .prompt_max = 3000,
      .answer_min = 4, .answer_max = 24},
     .model = true},
    {"lookup, half copied", {TEXT_STEADY, .copied = 0.5, ANSWERS}, .lookup = true},
    {"lookup, little copied", {TEXT_STEADY, .copied = 0.1, ANSWERS}, .lookup = true},
    {"lookup and model",
     {TEXT_STEADY, .high = 0.7, .copied = 0.3, ANSWERS},
     .model = true,
     .lookup = true},
    {"load comes and goes",
     {TEXT_STEADY, .high = 0.8, .drawn = true, ANSWERS},
     .model = true,
     .load_changes = true},
    {"a clock that jumps",
     {TEXT_STEADY, .high = 0.8, .drawn = true, ANSWERS},
     .model = true,
     .clock_jumps = true},
    {"half the speed from the middle on",
     {TEXT_STEADY, .high = 0.8, .drawn = true, ANSWERS},
     .model = true,
     .speed_changes = true},
    {"table: drafts and rows are free",
     {TEXT_STEADY, .high = 0.3, .drawn = true, ANSWERS},
     .model = true,
     .table_step = 0.02,
     .table_rows = 0.02},
    {"table: drafts and rows are dear",
     {TEXT_STEADY, .high = 0.85, .drawn = true, ANSWERS},
     .model = true,
     .table_step = 8,
     .table_rows = 8,
     .came_one = 0.90},
    {"table: rows are dear, lookup, every other turn without, neighbours",
     {TEXT_STEADY, .copied = 0.5, ANSWERS},
     .lookup = true,
     .in_turns = true,
     .neighbours = true,
     .table_step = 1,
     .table_rows = 4},
};

struct options {
    bool all, check, blind;
    uint64_t requests, seed;
    int32_t slots;
    const char *only;
};

struct score {
    double gain, fixed, oracle, lost;
    int32_t best_k;
};

/* ---- one game -------------------------------------------------------------------------------- */

static struct play game; /* large; one at a time */

static double best_fixed(const struct scenario *sc, const struct machine *m, int32_t slots,
                         uint64_t requests, struct score *score)
{
    double best = game.ns; /* of K = 0 */
    for (int which = 1; which < 4; which++) {
        bool model = which & 1, lookup = which & 2;
        if ((model && !sc->model) || (lookup && !sc->lookup))
            continue;
        for (int32_t k = 1; k <= MIN(FIXED_MAX, SPECD_K_MAX); k++) {
            struct fixed_player f;
            fixed_init(&f, k, model, lookup);
            play(&game, sc, m, slots, requests, &f.player);
            if (game.ns < best) {
                best = game.ns;
                score->best_k = k;
            }
        }
    }
    return best;
}

static struct score score_of(const struct scenario *sc, const struct machine *m, int32_t slots,
                             uint64_t requests, bool blind)
{
    static struct policy_player policy;
    static struct oracle_player oracle;
    struct score score = {0};
    struct fixed_player off;
    policy_init(&policy, sc, m);
    policy.blind = blind;
    play(&game, sc, m, slots, requests, &policy.player);
    double ns = game.ns;
    const struct draft_budget *b = &policy.policy.budget;
    score.lost = b->busy_ns > 0 ? b->regret_ns / b->busy_ns : 0;

    fixed_init(&off, 0, false, false);
    play(&game, sc, m, slots, requests, &off.player);
    score.gain = game.ns / ns;
    double known = INFINITY;
    for (int turn = 0; turn < ORACLE_TURNS; turn++) {
        oracle_init(&oracle, m, &game);
        play(&game, sc, m, slots, requests, &oracle.player);
        known = fmin(known, game.ns);
    }
    play(&game, sc, m, slots, requests, &off.player);
    double fixed = best_fixed(sc, m, slots, requests, &score);
    score.fixed = fixed / ns;
    score.oracle = fmin(known, fixed) / ns;
    return score;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static bool is_hopeless(const struct scenario *sc)
{
    return strstr(sc->name, "hopeless") != NULL;
}

static bool is_reached(const struct scenario *sc, const struct score *s)
{
    return s->fixed >= REACH_FIXED && s->oracle >= REACH_ORACLE && s->lost <= REACH_LOST &&
           (!is_hopeless(sc) || s->gain >= REACH_HOPELESS);
}

/* What a short run must show: no worse than the policy came before, but for noise. */
static bool is_kept(const struct scenario *sc, const struct score *s, int32_t slots)
{
    double came = slots == 1 ? sc->came_one : sc->came_many;
    return s->fixed >= (came > 0 ? came : REACH_FIXED) - CHECK_MARGIN &&
           s->lost <= REACH_LOST + CHECK_LOST && (!is_hopeless(sc) || s->gain >= REACH_HOPELESS);
}

static const int32_t slot_counts[] = {1, 4, 16, 64, 256};

/* All numbers of slots of a scenario on a machine; returns whether it kept what it had. */
static bool measure(const struct options *o, const struct scenario *sc, const struct machine *m)
{
    struct score worst = {INFINITY, INFINITY, INFINITY, 0, 0};
    double first = 0;
    bool kept = true;
    for (size_t i = 0; i < COUNT_OF(slot_counts); i++) {
        int32_t n = slot_counts[i];
        if (o->slots > 0 && n != o->slots)
            continue;
        uint64_t requests = MAX(o->requests * MIN((uint64_t)n, 8), 5 * (uint64_t)n);
        requests *= (uint64_t)MAX(2 * ANSWER_MEAN / (sc->text.answer_min + sc->text.answer_max), 1);
        struct score s = score_of(sc, m, n, requests, o->blind);
        kept = is_kept(sc, &s, n) && kept;
        if (o->all)
            printf("| %s | %s | %d | %.2f | %.3f | %.3f | %.1f %% | %d |%s\n", sc->name, m->name, n,
                   s.gain, s.fixed, s.oracle, 100 * s.lost, s.best_k,
                   is_reached(sc, &s) ? "" : " <--");
        if (first == 0)
            first = s.gain;
        worst.gain = fmin(worst.gain, s.gain);
        worst.fixed = fmin(worst.fixed, s.fixed);
        worst.oracle = fmin(worst.oracle, s.oracle);
        worst.lost = fmax(worst.lost, s.lost);
    }
    const char *mark = is_reached(sc, &worst) ? "" : "**";
    if (!o->all)
        printf(" %.2f %s%.2f %.2f%s %.1f %% |", first, mark, worst.fixed, worst.oracle, mark,
               100 * worst.lost);
    fflush(stdout);
    return kept;
}

static bool takes_part(const struct scenario *sc, enum machine_id id)
{
    if (id == MACHINE_CPU_SMALL)
        return !sc->model;
    return sc->model || id == MACHINE_CPU_PAIR;
}

/* On all machines; returns whether it kept what it had. */
static bool measure_all(const struct options *o, const struct scenario *sc)
{
    bool kept = true;
    if (!o->all)
        printf("| %s |", sc->name);
    for (int id = 0; id < MACHINES; id++) {
        struct machine m;
        machine_init(&m, (enum machine_id)id);
        if (takes_part(sc, (enum machine_id)id))
            kept = measure(o, sc, &m) && kept;
        else if (!o->all)
            printf(" |");
    }
    if (!o->all)
        printf("\n");
    return kept;
}

static void print_head(const struct options *o)
{
    if (o->all) {
        printf("| acceptance | machine | slots | gain | of fixed | of oracle | lost | best K |\n"
               "|:--|:--|--:|--:|--:|--:|--:|--:|\n");
        return;
    }
    printf("| acceptance |");
    for (int id = 0; id < MACHINES; id++) {
        struct machine m;
        machine_init(&m, (enum machine_id)id);
        printf(" %s |", m.name);
    }
    printf("\n|:--|--:|--:|--:|--:|\n");
}

int main(int argc, char **argv)
{
    struct options o = {.requests = 40, .seed = 1};
    for (int c; (c = getopt(argc, argv, "acxr:s:n:f:")) != -1;) {
        if (c == 'a')
            o.all = true;
        else if (c == 'c')
            o.check = true;
        else if (c == 'x')
            o.blind = true;
        else if (c == 'r')
            o.requests = MAX(strtoull(optarg, NULL, 10), 1);
        else if (c == 's')
            o.seed = strtoull(optarg, NULL, 10);
        else if (c == 'n')
            o.slots = atoi(optarg);
        else if (c == 'f')
            o.only = optarg;
        else
            return 2;
    }
    text_read_recorded(RECORDED);
    print_head(&o);
    bool kept = true;
    for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
        struct scenario sc = scenarios[i];
        sc.text.seed = o.seed;
        if (o.only && !strstr(sc.name, o.only))
            continue;
        kept = measure_all(&o, &sc) && kept;
    }
    if (o.check && !kept)
        fprintf(stderr, "seed %" PRIu64 ": the policy lost something (-c -a shows where)\n",
                o.seed);
    return o.check && !kept;
}
