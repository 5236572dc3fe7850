#!/usr/bin/env bash
# Prints docs/exactness.md: the words from here, the numbers from the log of a test run.
#
# usage: scripts/exactness.sh LOG     (scripts/test-exact.sh --full does it)
#
# A test prints a line "RESULT joint mode=ratio p=0.12"; `table joint Mode=mode p=p` below makes a
# row of each such line, with these headings over the values of these keys. A `_` in a value or a
# heading is shown as a blank. So a section is a heading, a few words and a call of table; `have
# NAME` tells whether the run had such lines.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
LOG=${1:?usage: scripts/exactness.sh LOG}

have() { grep -qE "^([0-9]+: )?RESULT $1 " "$LOG"; }

# table NAME HEADING=KEY...
table() {
    local name=$1
    shift
    have "$name" || die "no lines \"RESULT $name\" in $LOG" "did its test run?"
    echo
    # Programs run side by side: their lines in the order of the programs.
    grep -E "^([0-9]+: )?RESULT $name " "$LOG" | sort -s -t: -k1,1n |
        sed -E "s/^([0-9]+: )?RESULT $name //" | awk -v columns="$*" '
        function cell(s) { gsub(/_/, " ", s); gsub(/\|/, "\\|", s); return s }
        BEGIN {
            n = split(columns, spec, " ")
            for (i = 1; i <= n; i++) {
                at = match(spec[i], /=[^=]*$/)
                key[i] = substr(spec[i], at + 1)
                head = head "| " cell(substr(spec[i], 1, at - 1)) " "
                rule = rule "|---"
            }
            print head "|"
            print rule "|"
        }
        {
            split("", value)
            for (i = 1; i <= NF; i++) {
                at = index($i, "=")
                value[substr($i, 1, at - 1)] = substr($i, at + 1)
            }
            for (i = 1; i <= n; i++)
                printf "| %s ", cell(value[key[i]])
            print "|"
        }'
    echo
}

# sum NAME KEY: of a key over all lines of a table
sum() {
    sed -nE "s/^([0-9]+: )?RESULT $1 .*$2=([0-9]+).*/\2/p" "$LOG" | awk '{ s += $1 } END { print s }'
}

programs() {
    echo
    echo "| program | result | seconds |"
    echo "|---|---|---|"
    sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) \.* *(\**[A-Za-z]+) +([0-9.]+) sec.*/| \1 | \2 | \3 |/p' \
        "$LOG" | sort
    echo
}

cat <<TEXT
# Is the output exact?

A page for the reader who doubts. It says what specd promises about the tokens it returns, how each
promise is tested and how you repeat the tests, and shows what came out the last time. The numbers
are printed by the tests and put here by \`scripts/test-exact.sh --full\`; no number in a table is
typed by hand.

- commit: $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- || echo ' (modified)')
- machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1), $(nproc) cores
- command: \`scripts/test-exact.sh --full\`
- $(sum joint_sums laws) joint laws, $(sum joint_sums tokens) tokens drawn for them

## What is promised

**The law.** Speculation proposes tokens with a small model and lets the large one, the target,
accept or replace them. Whatever the small model proposes, the tokens you get have the joint
probabilities that the target gives them under *your* parameters: penalties, \`logit_bias\`, banned
and allowed ids, \`min_tokens\`, temperature, top-k, top-p, min-p, in this order, ties going to the
lower id. No parameter is dropped or refused because speculation is on, and a bad draft model costs
speed only.

**Three ways to verify, one law.** \`ratio\` is the rule of Chen et al. (2023), token by token;
\`block\` (Sun et al.) looks at the whole draft and accepts a little more; \`coupled\` (Daliri et al.)
lets draft and target race with the same random numbers, so that its output is, token for token,
that of plain sampling with the same seed. At temperature 0 the output is the target's greedy output
in every mode.

**A seed means the same tokens.** Every random decision is a pure function of the request's seed, the
position, the purpose of the decision, the vocabulary index and, where it must be, the number of the
round. It does not depend on other requests, the slot, the batch, the number of threads or the time.
\`coupled\` and greedy output is the same for every K and every draft; \`ratio\` and \`block\` output is
the same for a fixed K. A request without a seed gets one and returns it.

**The same bits everywhere.** The law of a token is a vector of integers, computed by polynomials of
specd's own in which every fused operation is spelled out; sums are integer sums, which know no
order. So compiler, optimisation and processor do not change a decision.

What is *not* promised: that the target's logits are those of another program. They are computed in
the number formats you choose for weights and KV cache, and the law is the one that belongs to these
logits. And the distance of the integer law to real numbers is not zero, but small and stated:
2^-44 for each vocabulary entry, the error of exp below, 2^-32 for a yes-or-no decision, and
2^-21 relative for a draw.

## Every branch, in rational arithmetic

\`tests/exact/test_enumerate.c\` takes the control flow that runs in the server
(\`include/specd/verify.h\`, the same lines) and replaces its random numbers by a walk through every
branch, weighted with exact fractions. The target and the draft are tables of fractions over two or
three tokens which depend on all of the text before them: random ones, equal, disjoint, one-hot,
greedy, and with penalties on what has been drafted. The law of the tokens that come out must be the
target's, identically, not nearly. Several rounds are walked too, with random numbers that are
remembered from round to round where production would meet them again.
TEXT
table enumeration What=what Pairs_of_laws,_all_identical=laws
cat <<TEXT
A method that finds nothing wrong must be shown able to. These are wrong on purpose; the last column
says how many of ten random pairs of laws still come out exact:
TEXT
table enumerated_controls Fault=fault Mode=mode Exact_without_the_fault=sound Exact_with_it=faulty
cat <<TEXT
The last two faults are the ones that no single round shows: block verification, or a K that follows
what was drafted past a rejection, whose random numbers do not carry the number of the round.

## Sequences, drawn as production draws them

\`tests/exact/test_joint_ratio.c\`, \`_block.c\` and \`_coupled.c\` generate with toy models of four
tokens through the functions and the random keys that serve requests, and compare the joint law of
the first five tokens, which take more than two rounds on average, with the target's law computed in
long double (\`tests/exact/toy_law.h\`). A row holds nine laws, K = 1 to 8 and one in which K
follows the rounds before, or four of them. Seeds are fixed, so the draws are the same on every machine; a sound
sampler fails one comparison (p < 1e-6) with probability 1e-6. The least p value of a row is
shown for Pearson's chi-squared and for the likelihood ratio G; total variation is shown where it is
largest beside what chance alone makes of it.
TEXT
table joint Mode=mode Parameters=params Laws=laws Tokens=tokens 'p_(chi2)=p' 'p_(G)=p_g' \
    Total_variation=tv By_chance=chance
cat <<TEXT
Many sound tests together have p values spread evenly over 0 to 1. The last column is Kolmogorov's
distance from that, times the square root of their number: above 2.7 once in a million.
TEXT
table joint_sums Mode=mode Laws=laws Tokens=tokens Least_p=least_p Spread_of_p=spread
cat <<TEXT
## Samplers that are wrong on purpose

Each fault below is an easy mistake. \`tests/exact/test_controls.c\` switches it on in the same models,
with the same keys and the same number of draws, and asserts that the joint test catches it
(p < 1e-9) and passes without it.
TEXT
table controls Fault=fault chi2=chi2 G=G df=df p=p Total_variation=tv Without_it:_chi2=sound_chi2 \
    p=sound_p Total_variation=sound_tv
cat <<TEXT
One fault is too rare for any statistics: a comparison that is not strict, or a uniform number at the
wrong end of its interval. \`tests/exact/test_chooser.c\` counts instead: of all 2^32 random words, how
many accept a token of mass 0 (right: none), one whose two masses are equal (right: all of
4294967296), and one of mass 2^-33 (right: rounded up, one)?
TEXT
table coin_controls Test=fault Mass_0=of_mass_0 Equal_mass=of_equal_mass Mass_2^-33='of_mass_2^-33'
cat <<TEXT
## Single decisions

\`tests/exact/test_decide.c\` transcribes the papers' rules a second time, plainly, over laws built by
sorting and 128-bit sums (\`oracle.h\`), and compares every token, count and flag: for zeros, ties,
one-hot, disjoint and equal rows, denormal differences, huge logits, NaN, plus and minus infinity,
vocabularies from 1 to 128256 entries. \`test_law.c\` does the same for laws and draws alone, in the
portable and the AVX2 code.
TEXT
table decisions What=what Rounds=rounds Tokens_accepted=accepted Not_a_number=numeric \
    Ended=ended Empty_residuals=empty_residuals
cat <<TEXT
\`tests/exact/test_chooser.c\` asks whether a coin says yes as often as it should, and whether a race
draws by weight, over seeds, positions and rounds.
TEXT
table chooser What=what Cases=cases Worst=worst Allowed=allowed
cat <<TEXT
## Through the front door

\`tests/exact/front_door.py\` asks a running server over HTTP, thousands of times, for three tokens of
a model of six, and compares their joint law with one that is computed in double precision from the
model file by a program of its own (\`gguf_forward.py\`, \`law_oracle.py\`), for every parameter of the
API, every mode, several K and every drafter; a row holds the runs of one set of parameters. The row
"control must fail" is a server that was told to accept every drafted token.
TEXT
table front_door_sums Parameters=name Laws=laws Draws=n Least_p=p Total_variation=tv \
    By_chance=tv_noise
cat <<TEXT
## Acceptance

A sampler that rejects too often is exact all the same, only slow. So \`tests/exact/test_acceptance.c\`
holds the accepted tokens per round of \`ratio\` to the sum of min(p, q), which theory says they are (in
standard deviations), \`block\` to at least that, and \`coupled\` to its bound. Laws over 8 tokens. What it comes to
with models: \`bench/results/\`.
TEXT
table acceptance T=T K=K ratio=ratio 'Sum_of_min(p,q)=expected' Deviation=sigma block=block coupled=coupled
cat <<TEXT
## Numbers

\`tests/unit/test_fixmath.c\` compares exp and log with the C library's double functions, and the
largest error again with long double. Random words become exponential variates by the third function.
TEXT
table fixmath Function=function Range=range Arguments_tried=arguments Largest_relative_error=worst \
    Bound=bound
cat <<TEXT
\`tests/exact/check-bits.sh\` builds the sources of laws, races and verification with several
compilers and options and compares checksums of what they compute. The row marked as control lets the
compiler fuse operations as it likes, which the project forbids: it must differ.
TEXT
table bits Compiler=compiler Options=options exp_and_log=fixmath Laws,_races,_rounds=rounds
cat <<TEXT
\`tests/unit/test_philox.c\` holds the generator to its published answers, and the random numbers of
different seeds, positions, purposes, rounds and vocabulary entries apart.
TEXT
table philox Known_answers=known_answers \
    Counters_at_the_ends_of_their_ranges=counters_at_the_ends_of_their_ranges
cat <<TEXT
## Rows of 8 bits

On the CPU, weights of integer types multiply rows that are rounded to 8 bits, a scale for each 32
numbers (\`cpu/qrows.h\`); \`--activations f32\` multiplies rows as they are. Speculation is exact for
either: the law is that of the logits as they are computed, and a row's bits do not depend on what
else is in a pass. What the rounding changes in the logits is measured by \`bench/bench-activations.c\`
on text of this repository (prose, tables, C), both sides with the same weights and bf16 KV; KL is that
of the laws at temperature 1, float against 8 bits.

TEXT
awk '/^\| model /, !/^\|/' bench/results/*/activations.md | grep '^|' # the first table of each
cat <<TEXT

Why this format: a few channels of every row stand out, in the residual stream and so in the rows of
nearly all matrices, up to 39 times the row's root mean square in SmolLM2 and 94 times in Qwen2.5. One
scale for 256 numbers, which K types invite, then rounds most of the others away: in a computation in
numpy it came to a mean KL of .034 and 8.9 at the worst position of Qwen2.5-Coder-1.5B, and a scale for
32 numbers to .0016 and .40. Runs of 32 whose largest number is above 6 times the row's root mean square,
4 to 9 in 100, therefore take 15 bits; they cost their own rows only. Above 8 times, the mean KL was
.00106 on SmolLM2 and .00024 on the coder model, and 2.15 % and 1.17 % of greedy tokens changed; below 6
there are soon twice as many such runs for little, but in gemma3, whose runs take 15 bits above 3. Bf16 KV, which is the default, differs from
f32 KV by .00003 on SmolLM2 and .00034 on the coder model.

## The same tokens again

Bit for bit: \`tests/device/test_device_bitwise.c\` decodes one text in every way the device knows, with
other rows, chunks, slots, blocks and threads; \`tests/engine/test_greedy.c\` compares greedy and
seeded output with speculation to output without it, for every drafter and K, alone and beside busy
slots, with prompts in chunks, prefix hits and preemption; \`tests/engine/test_replay.c\` asks again
with the seed and mode that an answer reports, alone and among 15 noisy neighbours, and wants the same
tokens; \`tests/engine/test_smollm2.c\` compares on a real model.

## Repeat it

\`\`\`
scripts/test-exact.sh          # a minute or two
scripts/test-exact.sh --full   # about 20 minutes of one core; writes this page
\`\`\`

Break something first, if you like: make the \`<\` in \`law_accepts\` (\`include/specd/law.h\`) a \`<=\`,
leave the round out of \`noise_proposal\`, or drop \`b_kept = b\` from \`verify_block\`
(\`include/specd/verify.h\`), and see which of these programs object.

These programs made up the last run:
TEXT
programs
