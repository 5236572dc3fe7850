"""The law of what the daemon sends, measured over HTTP on models of six symbols, against the exact
joint law of three tokens in double precision (gguf_forward.py, law_oracle.py).

Weights and KV are float32 here, so that the daemon's logits differ from the oracle's by 1e-5 at the
most (Scores holds them to 1e-4): a probability is off by a factor of 1 +- 1e-5, which adds
n 1e-10 to chi-squared: nothing at a million draws. Where a cut (top-k, top-p, min-p) would turn on
such a difference, other prompts are taken: MARGIN.

Each call has its own seed and several prompts, whose draws lie at disjoint positions and so are
independent: randomness is a function of (seed, position). With a fixed K, or coupled, a run is the
same every time. A right server fails a check with probability 2e-6.

$TEST_BIN is specd, $SYNTH_MODEL makes the models. SPECD_EXACT_FULL=1 measures every mode and K for
each set of parameters, three times as long. Prints a line "RESULT front_door ..." for each.
"""

import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

try:
    import gguf  # noqa: F401
    import numpy as np
except ImportError as e:
    print(f"skip: {e.name} is not installed")
    sys.exit(77)

from gguf_forward import Llama  # noqa: E402
from goodness import Fit  # noqa: E402
from law_oracle import Law  # noqa: E402
from specd_client import SLOW, Connection, Server  # noqa: E402

FULL = "SPECD_EXACT_FULL" in os.environ
V, DEPTH, END = 6, 3, 4
ROOM = 4  # tokens beyond DEPTH that leave room for a K of 4; what they are does not count
LENGTHS = (2, 9, 18, 29, 36, 46, 53, 66)  # DEPTH + ROOM apart; two come to the end of a KV block
CALLS = 1200 if FULL else int(640 / max(1, SLOW / 2))
LONG_CALLS = 15000 if FULL else 0
MARGIN = 3e-5
P_MIN = 1e-6

SHAPE = ("--arch llama --embd 32 --heads 4 --kv-heads 2 --ff 64 --ctx 256 --type f32 "
         f"--vocab {V} --logit-scale 1.5 --seed 3").split()


@dataclasses.dataclass
class Case:
    """A set of parameters: how a request says it and what the oracle makes of it."""

    name: str
    fields: dict
    law: Law
    spec: dict = dataclasses.field(default_factory=dict)  # into `speculative`


BIAS = {0: 1.5, 2: -1.0, 5: 0.25}
CASES = [
    Case("t1", {}, Law()),
    Case("t0.7", {"temperature": 0.7}, Law(0.7)),
    Case("t1.5", {"temperature": 1.5}, Law(1.5)),
    Case("top_k", {"top_k": 3}, Law(top_k=3)),
    Case("top_p", {"top_p": 0.8}, Law(top_p=0.8)),
    Case("min_p", {"min_p": 0.15}, Law(min_p=0.15)),
    Case("cuts", {"temperature": 1.5, "top_k": 4, "top_p": 0.85, "min_p": 0.2},
         Law(1.5, 4, 0.85, 0.2)),
    Case("presence", {"presence_penalty": 1.2}, Law(presence=1.2)),
    Case("frequency", {"frequency_penalty": 0.9}, Law(frequency=0.9)),
    Case("repetition", {"repetition_penalty": 1.8}, Law(repetition=1.8)),
    Case("logit_bias", {"logit_bias": {str(i): b for i, b in BIAS.items()}}, Law(bias=BIAS)),
    Case("banned", {"logit_bias": [[1, False], [3, -0.5]]}, Law(bias={3: -0.5}, banned=(1,))),
    Case("allowed", {"allowed_token_ids": [0, 2, 3, 5]}, Law(banned=(1, 4))),
    Case("drafter_law", {"temperature": 0.9, "top_p": 0.9}, Law(0.9, top_p=0.9),
         {"temperature": 1.4, "top_p": 1, "top_k": 5, "min_p": 0.01}),
    Case("all", {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "min_p": 0.05,
                 "presence_penalty": 0.4, "frequency_penalty": -0.3, "repetition_penalty": 1.3,
                 "logit_bias": {"0": 0.7, "3": -0.6}},
         Law(0.8, 5, 0.9, 0.05, 0.4, -0.3, 1.3, {0: 0.7, 3: -0.6})),
]
MODES = ("ratio", "block", "coupled")
WAYS = [{"fixed": 1}, {"fixed": 2}, {"fixed": 4}, {}]  # {}: K adapts


def way_name(way):
    return "off" if way.get("enabled") is False else str(way.get("fixed", "adaptive"))


class Question:
    """Prompts that are the beginnings of one text."""

    def __init__(self, text, trees):
        self.text, self.trees = text, trees
        self.prompts = [text[:n].tolist() for n in LENGTHS]

    def joints(self, law):
        """(law, margin) of each prompt's answer."""
        return [law.joint(self.trees[n], self.text[:n]) for n in LENGTHS]


class Models:
    """A target and a draft that half agrees with it, in a folder of their own."""

    def __init__(self, folder):
        self.target, self.draft, self.ending = (
            os.path.join(folder, name + ".gguf") for name in ("target", "draft", "ending"))
        for path, *more in ((self.target, "--layers", "4"), (self.draft, "--layers", "2"),
                            (self.ending, "--layers", "4", "--eos", str(END))):
            subprocess.run([os.environ["SYNTH_MODEL"], *SHAPE, "--keep", "2", "--eps", "0.5",
                            *more, path], check=True)
        self.oracle = Llama(self.target)
        self.texts, self.questions = {}, {}

    def text(self, number):
        """A prompt text, and {length: tree} of its beginnings."""
        if number not in self.texts:
            text = np.random.default_rng(number).integers(0, V, max(LENGTHS))
            starts = self.oracle.prefixes(text, LENGTHS)
            self.texts[number] = text, {n: self.oracle.tree(*starts[n], DEPTH) for n in LENGTHS}
        return self.texts[number]

    def question(self, law):
        """(question, laws): the beginnings of the first text where this law's cuts have a margin,
        and the law of each one's answer."""
        if repr(law) not in self.questions:
            for number in range(50):
                question = Question(*self.text(number))
                laws, margins = zip(*question.joints(law))
                if min(margins) > MARGIN:
                    break
            else:
                raise AssertionError("no text has a margin")
            self.questions[repr(law)] = question, laws
        return self.questions[repr(law)]


def start(models, draft, *args, target=None):
    return Server("-m", target or models.target, "-md", draft, "--kv-type", "f32", "-t", "1",
                  "-np", "32", *args)


class Sample:
    """Answers to the same prompts under many seeds: counts of outcomes by prompt."""

    def __init__(self, server, prompts, body, seeds, threads=4):
        self.n = body.get("n", 1)
        self.counts = np.zeros((len(prompts), V ** DEPTH))
        self.pairs = np.zeros((len(prompts), V, V))  # first tokens of the first two of n
        self.rounds = self.drafted = self.accepted = self.short = 0
        self.wrong = None
        self.lock = threading.Lock()
        self.body = {"prompt": prompts, "max_tokens": DEPTH, "return_tokens": True, **body}
        parts = [threading.Thread(target=self.ask, args=(server, seeds[i::threads]))
                 for i in range(threads)]
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        if self.wrong:
            raise AssertionError(self.wrong)

    def ask(self, server, seeds):
        connection = Connection(server)
        for seed in seeds:
            connection.send("POST", "/v1/completions", {**self.body, "seed": seed})
            reply = connection.reply()
            if reply.status != 200:
                self.wrong = reply.text()
                break
            with self.lock:
                self.tally(reply.json()["choices"])
        connection.close()

    def tally(self, choices):
        if self.n > 1:
            for i in range(len(self.pairs)):
                first, second = (c["tokens"][0] for c in choices[i * self.n:i * self.n + 2])
                self.pairs[i, first, second] += 1
        for choice in choices:
            tokens, stats = choice["tokens"][:DEPTH], choice["speculative"]
            self.short += len(tokens) < DEPTH
            tokens += [END] * (DEPTH - len(tokens))
            outcome = (tokens[0] * V + tokens[1]) * V + tokens[2]
            self.counts[choice["index"] // self.n, outcome] += 1
            self.rounds += stats["rounds"]
            self.drafted += stats["draft_tokens"]
            self.accepted += stats["accepted_tokens"]

    def fit(self, laws):
        """How well the counts fit the law of each prompt."""
        fit = Fit()
        for counts, law in zip(self.counts, laws):
            fit.add(counts, law)
        return fit


class ModelCase(unittest.TestCase):
    """Tests on models and servers of the class's own."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.models = Models(cls.folder.name)

    @classmethod
    def launch(cls, *args, **kw):
        server = start(cls.models, *args, **kw)
        cls.addClassCleanup(cls.end, server)
        return server

    @classmethod
    def end(cls, server):
        wrong = server.stop()
        assert wrong is None, wrong


class FrontDoor(ModelCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seeds = itertools.count(1)
        cls.fits = {}  # by name
        cls.servers = {
            "model": cls.launch(f"{cls.models.draft},lookup"),
            "self": cls.launch("self:0-1"),
            "ending": cls.launch(cls.models.draft, target=cls.models.ending),
        }
        cls.servers["lookup"] = cls.servers["default"] = cls.servers["model"]

    @classmethod
    def tearDownClass(cls):
        for name, fits in cls.fits.items():
            far = max(fits, key=lambda f: f.tv / f.tv_noise)
            print(f"RESULT front_door_sums name={name.replace(' ', '_')} laws={len(fits)} "
                  f"n={sum(f.n for f in fits)} p={min(f.p for f in fits):.3g} "
                  f"tv={far.tv / far.n:.5f} tv_noise={far.tv_noise / far.n:.5f}", flush=True)

    def sample(self, server, prompts, body, calls=CALLS, seeded=True):
        first, step = next(self.seeds) << 32, body.get("n", 1)
        seeds = range(first, first + calls * step, step) if seeded else [None] * calls
        return Sample(server, prompts, body, seeds)

    def measure(self, name, law, body, drafter="model", **kw):
        """Draws, prints the line and returns (fit, sample)."""
        question, laws = self.models.question(law)
        way = body["speculative"]
        sample = self.sample(kw.pop("server", self.servers[drafter]), question.prompts, body, **kw)
        fit = sample.fit(laws)
        print(f"RESULT front_door name={name} mode={way.get('mode', 'auto')} k={way_name(way)} "
              f"drafter={drafter} {fit} drafted={sample.drafted} accepted={sample.accepted}",
              flush=True)
        self.fits.setdefault(name, []).append(fit)
        return fit, sample

    def check(self, case, mode, way, drafter, **kw):
        spec = {"mode": mode, "drafter": drafter, **way, **case.spec}
        body = {**case.fields, "ignore_eos": True, "speculative": spec,
                "max_tokens": DEPTH + (ROOM if way.get("fixed", 4) == 4 else 0)}
        with self.subTest(case=case.name, mode=mode, k=way_name(way), drafter=drafter):
            fit, sample = self.measure(case.name, case.law, body, drafter, **kw)
            self.assertGreater(fit.p, P_MIN)
            if way.get("enabled") is False:
                self.assertEqual(sample.drafted, 0)
            elif "fixed" in way:
                self.assertLess(0, sample.accepted)
                self.assertLess(sample.accepted, sample.drafted)
            if way.get("fixed") == 1:
                self.assertGreaterEqual(sample.rounds, 2 * fit.n)

    def test_law(self):
        """Every set of parameters; in the long run under every mode and K."""
        drafters = itertools.cycle(("model", "self", "default", "lookup", "self"))
        for i, case in enumerate(CASES):
            ways = list(itertools.product(MODES, WAYS)) if FULL else \
                [(MODES[i % 3], WAYS[i % 4]), (MODES[(i + 1) % 3], WAYS[(i + 2) % 4])]
            for mode, way in ways:
                self.check(case, mode, way, next(drafters))

    @unittest.skipUnless(FULL, "SPECD_EXACT_FULL=1")
    def test_law_at_length(self):
        for mode in MODES:
            self.check(CASES[-1], mode, {"fixed": 2}, "model", calls=LONG_CALLS)

    def test_speculation_off(self):
        for case in CASES[0], CASES[-1]:
            self.check(case, "ratio", {"enabled": False}, "model")

    def test_seeds_of_the_server(self):
        """The same law from the seeds that requests without one are given."""
        fit, _ = self.measure("own_seeds", Law(), {"ignore_eos": True, "speculative": {"fixed": 2}},
                              seeded=False)
        self.assertGreater(fit.p, P_MIN)

    def test_siblings(self):
        """n completions of a prompt: each has the law, and they know nothing of each other."""
        _, laws = self.models.question(Law())
        for mode in "ratio", "coupled":
            body = {"n": 4, "ignore_eos": True, "speculative": {"mode": mode, "fixed": 2}}
            with self.subTest(mode=mode):
                fit, sample = self.measure("siblings", Law(), body, calls=CALLS // 2)
                self.assertGreater(fit.p, P_MIN)
                pairs = Fit()
                for counts, law in zip(sample.pairs, laws):
                    first = law.reshape(V, -1).sum(1)
                    pairs.add(counts.ravel(), np.outer(first, first).ravel())
                print(f"RESULT front_door name=sibling_pairs mode={mode} k=2 {pairs}", flush=True)
                self.assertGreater(pairs.p, P_MIN)

    def test_end_of_text(self):
        """Sequences that may end early, must not before min_tokens, or never."""
        first = Law(end=END, end_from=1)
        for name, server, fields, law in (
                ("end", "ending", {}, Law(end=END)),
                ("min_tokens", "ending", {"min_tokens": 1}, first),
                ("ignore_eos", "ending", {"ignore_eos": True}, Law(end=END, end_from=DEPTH)),
                ("stop_token_ids", "model", {"stop_token_ids": [END], "min_tokens": 1}, first)):
            for mode in MODES:
                body = {**fields, "speculative": {"mode": mode, "fixed": 2}}
                with self.subTest(name=name, mode=mode):
                    fit, sample = self.measure(name, law, body, server=self.servers[server])
                    self.assertGreater(fit.p, P_MIN)
                    self.assertEqual(sample.short > 0, name != "ignore_eos")

    def test_greedy(self):
        """Temperature 0 follows the oracle's path."""
        law = Law(temperature=0, repetition=1.3)
        question, laws = self.models.question(law)
        for mode in MODES:
            body = {"temperature": 0, "repetition_penalty": 1.3, "ignore_eos": True,
                    "speculative": {"mode": mode, "fixed": 2}}
            sample = self.sample(self.servers["model"], question.prompts, body, calls=2)
            self.assertEqual(sample.counts.tolist(), [(2 * p).tolist() for p in laws])

    def test_wrong_laws_are_seen(self):
        """What this test would overlook it does not prove: near misses of the oracle must fail."""
        case = CASES[-1]
        question, laws = self.models.question(case.law)
        body = {**case.fields, "ignore_eos": True, "speculative": {"mode": "ratio", "fixed": 2}}
        sample = self.sample(self.servers["model"], question.prompts, body, calls=2500)
        self.assertGreater(sample.fit(laws).p, P_MIN)
        for change in ({"temperature": 0.9}, {"presence": 0.0}, {"frequency": 0.0},
                       {"repetition": 1.0}, {"bias": {}}, {"order": "pkm"}, {"top_p": 0.85}):
            wrong = question.joints(dataclasses.replace(case.law, **change))
            with self.subTest(change=change):
                self.assertLess(sample.fit([p for p, _ in wrong]).p, P_MIN)

    def test_forced_acceptance_is_seen(self):
        """The negative control: a server that accepts every drafted token has another law."""
        server = self.launch(self.models.draft, "--synthetic-acceptance", "1")
        for mode in "ratio", "block":
            body = {"ignore_eos": True, "speculative": {"mode": mode, "fixed": 2}}
            fit, sample = self.measure("control_must_fail", Law(), body, server=server,
                                       calls=200)
            self.assertEqual(sample.accepted, sample.drafted)
            self.assertLess(fit.p, P_MIN)


class Scores(ModelCase):
    """Log-probabilities are those of the target's own law, whatever warps and drafts there are."""

    NEAR = 1e-4
    TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    WARPED = {"temperature": 1.4, "top_k": 5, "top_p": 0.97, "min_p": 0.01, "presence_penalty": 0.5,
              "repetition_penalty": 1.2, "logit_bias": {"3": 1, "1": -2}, "ignore_eos": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        template = os.path.join(cls.folder.name, "template")
        with open(template, "w", encoding="utf-8") as f:
            f.write(cls.TEMPLATE)
        cls.server = cls.launch(cls.models.draft + ",lookup", "--chat-template", template)
        cls.text = np.random.default_rng(1).integers(0, V, 150).tolist()
        cls.worst, cls.n = 0, 0

    @classmethod
    def tearDownClass(cls):
        print(f"RESULT front_door name=logprobs n={cls.n} worst={cls.worst:.2g}", flush=True)

    def oracle(self, tokens):
        """Row i: the log-probabilities of token i + 1."""
        cache, rows = self.models.oracle.start(), []
        for token in tokens[:-1]:
            cache, logits = self.models.oracle.feed(cache, np.array([token]))
            z = logits[0] - logits[0].max()
            rows.append(z - np.log(np.exp(z).sum()))
        return rows

    def ask(self, path, **body):
        reply = self.server.post(path, {**self.WARPED, "return_tokens": True, **body})
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def check_token(self, row, token, said, best, n_best):
        """said: of the token; best: [(id, log-probability)], the largest first."""
        self.assertEqual([i for i, _ in best], np.argsort(-row, kind="stable")[:n_best].tolist())
        for i, value in [(token, said), *best]:
            self.worst = type(self).worst = max(self.worst, abs(value - row[i]))
            self.assertLess(abs(value - row[i]), self.NEAR)
        type(self).n += 1

    def check_text(self, tokens, said, n_best, rows):
        """The shape of text completions, whose alternatives have no order and hold the token."""
        names = [chr(ord("a") + t) for t in tokens]
        self.assertEqual(said["tokens"], names)
        for row, token, own, best in zip(rows, tokens, said["token_logprobs"],
                                         said["top_logprobs"]):
            ids = sorted(((ord(c) - ord("a"), p) for c, p in best.items()), key=lambda x: -x[1])
            self.assertEqual(dict(ids)[token], own)
            if token not in np.argsort(-row)[:n_best]:
                ids = [(i, p) for i, p in ids if i != token]
            self.check_token(row, token, own, ids, n_best)

    def check_entries(self, tokens, said, n_best, rows):
        """The shape of chat and of the native route."""
        self.assertEqual([e["token"] for e in said], [chr(ord("a") + t) for t in tokens])
        for row, token, e in zip(rows, tokens, said):
            self.assertEqual(e["bytes"], [ord("a") + token])
            best = [(b["bytes"][0] - ord("a"), b["logprob"]) for b in e["top_logprobs"]]
            self.check_token(row, token, e["logprob"], best, n_best)

    def each(self):
        """(prompt, alternatives, fields) of many requests; some of their tokens were drafted."""
        for length, mode, k, n_best in ((5, "ratio", 2, 2), (17, "block", 3, 6),
                                        (31, "coupled", 1, 0), (48, "ratio", 0, 3),
                                        (100, "coupled", 3, 20)):
            for drafter in "model", "lookup":
                spec = {"mode": mode, "fixed": k, "drafter": drafter}
                yield self.text[:length], n_best, {"max_tokens": 30, "seed": length,
                                                   "speculative": spec}

    def test_text(self):
        accepted = 0
        for prompt, n_best, fields in self.each():
            choice = self.ask("/v1/completions", prompt=prompt, logprobs=n_best, **fields)
            accepted += choice["speculative"]["accepted_tokens"]
            choice = choice["choices"][0]
            rows = self.oracle(prompt + choice["tokens"])[len(prompt) - 1:]
            self.check_text(choice["tokens"], choice["logprobs"], n_best, rows)
        self.assertGreater(accepted, 20)

    def test_native(self):
        for prompt, n_best, fields in self.each():
            answer = self.ask("/completion", prompt=prompt, logprobs=n_best, **fields)
            rows = self.oracle(prompt + answer["tokens"])[len(prompt) - 1:]
            self.check_entries(answer["tokens"], answer["completion_probabilities"], n_best, rows)

    def test_chat(self):
        for prompt, n_best, fields in self.each():
            text = "".join(chr(ord("a") + t) for t in prompt)
            answer = self.ask("/v1/chat/completions", messages=[{"role": "user", "content": text}],
                              logprobs=True, top_logprobs=n_best, **fields)
            choice = answer["choices"][0]
            rows = self.oracle(prompt + choice["tokens"])[len(prompt) - 1:]
            self.check_entries(choice["tokens"], choice["logprobs"]["content"], n_best, rows)

    def test_echo(self):
        """The prompt's tokens, too; asked twice, so that the second finds it in the cache."""
        for length in 1, 2, 16, 17, 64, 65, 150:
            for max_tokens in 4, 0:
                prompt = self.text[:length]
                answer = self.ask("/v1/completions", prompt=prompt, logprobs=3, echo=True,
                                  max_tokens=max_tokens, speculative={"fixed": 2})
                choice = answer["choices"][0]
                self.assertEqual(len(choice["tokens"]), max_tokens)
                tokens, said = prompt + choice["tokens"], choice["logprobs"]
                self.assertIsNone(said["token_logprobs"][0])
                self.assertIsNone(said["top_logprobs"][0])
                self.assertEqual(said["tokens"][0], chr(ord("a") + tokens[0]))
                rest = {key: values[1:] for key, values in said.items()}
                self.check_text(tokens[1:], rest, 3, self.oracle(tokens))


if __name__ == "__main__":
    unittest.main(verbosity=0)  # dots would stand before RESULT
