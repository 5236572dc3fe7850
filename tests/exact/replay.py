"""An answer can be asked for again: a request without a seed is told its seed and mode, and these,
sent back (with the same fixed K for ratio and block), give the same tokens, alone or in company.

$TEST_BIN is specd with $TEST_ARGS: a model with a draft and lookup. Standard library only.
"""

import os
import random
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

from specd_client import Connection, ServerCase  # noqa: E402

PARAMETERS = (
    {},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 40, "min_p": 0.02, "presence_penalty": 0.5,
     "frequency_penalty": 0.2, "repetition_penalty": 1.1, "logit_bias": {"70": 3, "80": -2}},
)
TOKENS = 24


class Noise:
    """15 clients that ask for other things, over and over, while the block runs."""

    def __init__(self, server):
        self.stop = threading.Event()
        self.clients = [threading.Thread(target=self.chatter, args=(server, i)) for i in range(15)]

    def chatter(self, server, number):
        rng, connection = random.Random(number), Connection(server)
        while not self.stop.is_set():
            spec = rng.choice(({"enabled": False}, {"fixed": rng.randint(0, 3)}, {},
                               {"mode": "block", "drafter": "lookup"}))
            connection.send("POST", "/v1/completions", {
                "prompt": [rng.randrange(3, 300) for _ in range(rng.randint(1, 30))],
                "max_tokens": rng.randint(1, 30), "temperature": rng.choice((0, 0.5, 1.5)),
                "ignore_eos": True, "speculative": spec})
            connection.reply()
        connection.close()

    def __enter__(self):
        for client in self.clients:
            client.start()

    def __exit__(self, *_):
        self.stop.set()
        for client in self.clients:
            client.join()


class Replay(ServerCase):
    args = ("-np", "16")

    def ask(self, prompt, fields, spec, path="/v1/completions"):
        """(tokens, what `speculative` of the answer says)"""
        r = self.server.post(path, {"prompt": prompt, "max_tokens": TOKENS, "return_tokens": True,
                                    "ignore_eos": True, **fields, "speculative": spec})
        self.assertEqual(r.status, 200, r.body)
        answer = r.json()
        choice = answer["choices"][0] if "choices" in answer else answer
        self.assertEqual(len(choice["tokens"]), TOKENS)
        return choice["tokens"], (choice if "speculative" in choice else answer)["speculative"]

    def again(self, prompt, fields, said, specs):
        """Replays with each of specs, alone and in company: a list of token lists."""
        fields = {**fields, "seed": said["seed"]}

        def each():
            return [self.ask(prompt, fields, {"mode": said["mode"], **spec})[0] for spec in specs]
        answers = each()
        with Noise(self.server):
            return answers + each() + each()

    def prompt(self, number):
        rng = random.Random(number)
        words = [rng.randrange(3, 300) for _ in range(9)]
        return words * 2 + words[:rng.randint(1, 9)]  # lookup finds something

    def check(self, specs, first):
        """What `first` answers, every one of specs must answer again."""
        for i, fields in enumerate(PARAMETERS):
            prompt = self.prompt(i)
            tokens, said = self.ask(prompt, fields, first)
            self.assertEqual(said["mode"], first["mode"])
            self.assertGreater(said["draft_tokens"], 0)
            for other in self.again(prompt, fields, said, specs):
                self.assertEqual(other, tokens, (i, said))

    def test_ratio(self):
        for drafter in "model", "lookup":
            spec = {"fixed": 3, "drafter": drafter}
            self.check([spec], {"mode": "ratio", **spec})

    def test_block(self):
        for drafter in "model", "lookup":
            spec = {"fixed": 3, "drafter": drafter}
            self.check([spec], {"mode": "block", **spec})

    def test_coupled_with_any_k(self):
        specs = [{"fixed": k, "drafter": "model"} for k in (0, 1, 2)]
        specs += [{"drafter": "lookup"}, {}, {"enabled": False}]
        self.check(specs, {"mode": "coupled", "fixed": 3, "drafter": "model"})

    def test_default_mode(self):
        """Nothing asked for but K: ratio, with a seed; with a seed alone: coupled."""
        prompt = self.prompt(9)
        tokens, said = self.ask(prompt, {}, {"fixed": 2})
        self.assertEqual(said["mode"], "ratio")
        replayed, again = self.ask(prompt, {"seed": said["seed"]}, {"fixed": 2, "mode": "ratio"})
        self.assertEqual((replayed, again["seed"]), (tokens, said["seed"]))
        self.assertEqual(self.ask(prompt, {"seed": said["seed"]}, {})[1]["mode"], "coupled")

    def test_plain_is_the_same_in_every_mode(self):
        """K = 0: the target's own draws, whatever the mode."""
        answers = [self.ask(self.prompt(5), {"seed": 11}, {"mode": mode, **off})[0]
                   for mode in ("ratio", "block", "coupled")
                   for off in ({"enabled": False}, {"fixed": 0})]
        self.assertEqual([answers[0]] * 6, answers)

    def test_routes_agree(self):
        """The same request gives the same tokens on the native route."""
        spec = {"mode": "block", "fixed": 3}
        tokens, said = self.ask(self.prompt(2), {}, spec)
        native, _ = self.ask(self.prompt(2), {"seed": said["seed"]}, spec, path="/completion")
        self.assertEqual(native, tokens)

    def test_siblings(self):
        """Number i of n completions is the one that its own seed gives: the request's plus i."""
        for fields in {}, {"seed": 7}:
            r = self.server.post("/v1/completions", {
                "prompt": self.prompt(4), "max_tokens": TOKENS, "return_tokens": True, "n": 4,
                "ignore_eos": True, "speculative": {"mode": "block", "fixed": 2}, **fields})
            choices = r.json()["choices"]
            self.assertEqual(len({tuple(c["tokens"]) for c in choices}), 4)
            for i, choice in enumerate(choices):
                said = choice["speculative"]
                if "seed" in fields:
                    self.assertEqual(said["seed"], fields["seed"] + i)
                self.assertEqual(self.again(self.prompt(4), {}, said, [{"fixed": 2}]),
                                 [choice["tokens"]] * 3)

    def test_seeds_differ(self):
        """Seeds of the server are numbers below 2^53 that don't come again, nor do the answers."""
        said = [self.ask(self.prompt(1), {}, {"fixed": 2}) for _ in range(20)]
        seeds = {s["seed"] for _, s in said}
        self.assertEqual(len(seeds), 20)
        self.assertTrue(all(isinstance(s, int) and 0 <= s < 2 ** 53 for s in seeds))
        self.assertEqual(len({tuple(t) for t, _ in said}), 20)
        self.assertGreater(max(seeds), 2 ** 48)

    def test_largest_seed(self):
        first = self.ask(self.prompt(3), {"seed": 2 ** 53 - 1}, {"fixed": 2})
        self.assertEqual(first[1]["seed"], 2 ** 53 - 1)
        self.assertNotEqual(first[0], self.ask(self.prompt(3), {"seed": 2 ** 53 - 2},
                                               {"fixed": 2})[0])


if __name__ == "__main__":
    unittest.main()
