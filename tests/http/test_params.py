"""Every request field, on every route, with every kind of value it may not have: a 400 that names
the field, soon, and nothing lost. (test_hostile has malformed bodies, test_api what good ones say.)
"""

import itertools
import json
import math
import time
import unittest

from specd_client import SLOW, Connection, ServerCase, raw_request, read_reply

COMPLETION, CHAT, NATIVE = "/v1/completions", "/v1/chat/completions", "/completion"
ROUTES = (COMPLETION, CHAT, NATIVE)
TEXT = (COMPLETION, NATIVE)
LATE = 2.0  # seconds; the goal is a tenth, but machines that run tests are busy

HUGE = (2**31, 2**32, 2**53, 2**53 + 2, 2**63, 2**64, 10**18, 10**40, 1e300, -1e300)
NOT_A_NUMBER = ("1", "", "NaN", "Infinity", True, False, [], [1], {}, {"a": 1})
NOT_A_BOOL = (0, 1, -1, 0.5, "true", "", [], [True], {})
NOT_A_STRING = (0, 1.5, True, [], ["x"], {}, {"a": "x"})
NOT_A_LIST = (0, 1.5, "x", "", True, {}, {"0": 1})
NOT_AN_OBJECT = (0, 1.5, "x", "", True, [], [1], [{}])
NOT_AN_ID = (-1, 0.5, 10**9, "x", True, None, [], {}, *HUGE)


def numbers(low, high, *, low_open=False, high_open=False, whole=False):
    """What a number in low..high may not be."""
    bad = list(NOT_A_NUMBER)
    for edge, is_open, out in ((low, low_open, -1), (high, high_open, 1)):
        if math.isinf(edge):
            continue
        if is_open:
            bad.append(edge)
        bad += [edge + out, edge + out * 10**9]
        if not whole:
            bad.append(edge + out * 1e-3)
    if whole:
        bad += [low + 0.5, 1e-300]
    bad += [x for x in HUGE if x < low or x > high or whole and x > 2**53]
    return bad


def ids(n_max=None):
    """What a list of up to n_max token ids may not be."""
    bad = [*NOT_A_LIST, *([x] for x in NOT_AN_ID), [1, 2, -1], [[1]]]
    return bad + ([[1] * (n_max + 1), [1] * 100000] if n_max else [])


BIAS = [
    0, 1.5, "x", "", True,
    {"x": 1}, {"": 1}, {" 1": 1}, {"1 ": 1}, {"+1": 1}, {"-1": 1}, {"1.0": 1}, {"1e0": 1},
    {"0x1": 1}, {"NaN": 1}, {"99999999999": 1}, {"9" * 40: 1}, {"1": 1, "01": 1},
    *({"1": b} for b in (100.5, -101, 1e300, "1", "", True, [], {})),
    *([[i, 1]] for i in (-1, 0.5, 10**9, 2**32, 2**63, 1e300, "x", "1", True, None, [])),
    *([[1, b]] for b in (101, -1e300, "x", True, [], {})),
    [1], [[]], [[1]], [{}], ["x"], [[1, 1], [1, 2]],
    {str(i): 1 for i in range(10**5)}, [[i, 1] for i in range(10**5)]]

STOP = [0, 1.5, True, {}, {"a": 1}, "", "x" * 1025, [""], ["x", ""], [1], [None], [["x"]], [{}],
        ["x"] * 65, ["x"] * 100000, ["x" * 1025]]
FORMAT = [*NOT_AN_OBJECT, {}, {"type": None}, {"type": 1}, {"type": "xml"}, {"type": ["text"]},
          {"type": "json_object", "schema": True}, {"type": "json_object", "schema": []},
          {"type": "json_schema"}, {"type": "json_schema", "schema": None},
          {"type": "json_schema", "schema": False}, {"type": "json_schema", "json_schema": True},
          {"type": "json_schema", "json_schema": {"name": 1, "schema": {}}},
          {"type": "json_schema", "json_schema": {"name": "x", "schema": False}}]
SPEC_K = numbers(0, 16, whole=True)
CHOICE = [*NOT_A_LIST, [""], ["x", ""], [1], [None], [["x"]], [{}], ["x"] * 1001, ["x" * 1025]]

# Fields of other servers that are refused: name, routes, what is taken beside null, "", [] and {}.
SET = ("x", "root ::= x", ["x"], [1], {"a": 1}, [[]], True, False, 0.5, 2, 10**18, 1e300)
PEERS = [
    *((name, ROUTES, (False, 0)) for name in (
        "grammar", "guided_grammar", "guided_regex", "guided_whitespace_pattern", "regex", "ebnf",
        "structural_tag", "bad_words", "logits_processors", "custom_logit_processor", "stop_regex",
        "no_stop_trim", "prompt_embeds", "use_beam_search", "top_a", "xtc_probability", "mirostat",
        "mirostat_mode", "dynatemp_range", "smoothing_factor", "dry_multiplier",
        "no_repeat_ngram_size", "lora", "lora_path",
        *(f"structured_outputs.{name}" for name in (
            "regex", "grammar", "structural_tag", "whitespace_pattern", "disable_any_whitespace",
            "disable_additional_properties")))),
    ("suffix", TEXT, (False, 0)),
    ("functions", (CHAT,), (False, 0)), ("function_call", (CHAT,), (False, 0, "none", "auto")),
    ("chat_template", (CHAT,), (False, 0)), ("documents", (CHAT,), (False, 0)),
    ("add_special_tokens", (CHAT,), (False, 0)),
    ("add_special_tokens", (COMPLETION,), (True, 0)), ("skip_special_tokens", ROUTES, (True, 0)),
    ("image_data", (NATIVE,), (False, 0)), ("post_sampling_probs", (NATIVE,), (False, 0)),
    ("n_indent", (NATIVE,), (False, 0)), ("prompt_logprobs", ROUTES, (False,)),
    ("truncate_prompt_tokens", ROUTES, (False, -1)), ("adaptive_target", ROUTES, (False, -1.0)),
    ("typical_p", ROUTES, (False, 1.0)), ("tfs_z", ROUTES, (False, 1)),
    ("top_n_sigma", ROUTES, (False, -1.0, 0)),
]

FIELDS = {  # name: values that are refused; (name, routes) where they differ
    "model": NOT_A_STRING, "user": NOT_A_STRING,
    "temperature": numbers(0, 2), "top_p": numbers(0, 1),
    "top_k": numbers(-1, 3 * 2**17, whole=True), "min_p": numbers(0, 1, high_open=True),
    "presence_penalty": numbers(-2, 2), "frequency_penalty": numbers(-2, 2),
    "repetition_penalty": [*numbers(0, math.inf, low_open=True), 1e39, 1e308],
    "min_tokens": numbers(0, 2**31 - 1, whole=True),
    "seed": [*NOT_A_NUMBER, -2**63 - 1, 2**63, 2**64, -10**19, 10**40, 1e300, -1e300, 0.5, -1.5,
             1e-300],
    "n": numbers(1, 16, whole=True), "n_cmpl": numbers(1, 16, whole=True),
    ("best_of", (COMPLETION, CHAT)): numbers(1, 16, whole=True),
    ("tools", (CHAT,)): [*NOT_A_LIST, [1], [None], [[]], [{}], [{"type": "function"}],
                         [{"type": "function", "function": {"name": "a b"}}]],
    ("tool_choice", (CHAT,)): [0, 1.5, True, "", "Any", "Required", [], {}, {"type": "function"},
                               {"type": "custom", "name": "f"}, {"type": "function", "name": 1},
                               {"type": "function", "function": {}}, {"type": "allowed_tools"},
                               {"type": "allowed_tools", "mode": "none", "tools": []},
                               {"type": "allowed_tools", "allowed_tools": {
                                   "mode": "auto", "tools": [{"type": "web_search"}]}}],
    ("chat_template_kwargs", (CHAT,)): [*NOT_AN_OBJECT, {"messages": 1}, {"bos_token": "x"}],
    **{(name, (CHAT,)): NOT_A_BOOL for name in (
        "parallel_tool_calls", "add_generation_prompt", "continue_final_message")},
    "json_schema": NOT_AN_OBJECT, "format": [0, 1.5, True, "x", "JSON", [], [1], [{}]],
    **{name: [0, 1.5, True, "x", "{", "[]", '"x"', "{} {}", [], [1], [{}]]
       for name in ("guided_json", "structured_outputs.json")},
    **{name: CHOICE for name in ("guided_choice", "structured_outputs.choice")},
    "structured_outputs": NOT_AN_OBJECT, "structured_outputs.json_object": NOT_A_BOOL,
    **{(name, routes): [v for v in SET if v not in taken] for name, routes, taken in PEERS},
    "stop": STOP, "stop_token_ids": ids(64), "allowed_token_ids": [[], *ids()],
    "logit_bias": BIAS,
    "stream": NOT_A_BOOL, "ignore_eos": NOT_A_BOOL, "return_tokens": NOT_A_BOOL,
    "timings_per_token": NOT_A_BOOL, "echo": NOT_A_BOOL,
    "include_stop_str_in_output": NOT_A_BOOL, ("logprobs", (CHAT,)): NOT_A_BOOL,
    ("logprobs", TEXT): numbers(0, 20, whole=True),
    ("n_probs", (NATIVE,)): numbers(0, 20, whole=True),
    ("top_logprobs", (CHAT,)): numbers(0, 20, whole=True),
    "cache_salt": [*NOT_A_STRING, "", "x" * 257, "x" * 10**6],
    "prediction": [*NOT_AN_OBJECT, {}, {"type": "content"}, {"content": "x"},
                   {"type": "text", "content": "x"}, {"type": 1, "content": "x"},
                   *({"type": "content", "content": c} for c in (
                       None, 0, 1.5, True, {}, [1], [[]], [{}], ["x"], [{"type": "text"}],
                       [{"type": "text", "text": 1}], [{"type": "image_url", "text": "x"}],
                       [{"type": "text", "text": "x"}, None]))],
    "response_format": FORMAT,
    "stream_options": NOT_AN_OBJECT,
    "stream_options.include_usage": NOT_A_BOOL,
    "stream_options.continuous_usage_stats": NOT_A_BOOL,
    "speculative": NOT_AN_OBJECT,
    "speculative.enabled": NOT_A_BOOL, "speculative.trace": NOT_A_BOOL,
    "speculative.mode": [*NOT_A_STRING, "", "Ratio", "ratio ", "ratio|block", "|", "x" * 10000],
    "speculative.drafter": [*NOT_A_STRING, "", "none", "model|self", "x" * 10000],
    "speculative.max": SPEC_K, "speculative.min": SPEC_K, "speculative.fixed": SPEC_K,
    "speculative.temperature": numbers(0, 2),
    "speculative.top_p": numbers(0, 1, low_open=True),
    "speculative.top_k": numbers(0, 3 * 2**17, whole=True),
    "speculative.min_p": numbers(0, 1, high_open=True),
    ("prompt", TEXT): [0, 1.5, True, {}, [], [[]], [None], [True], [{}], [["x"]], [1, "x"],
                       ["x", 1], ["x"] * 65, [["x"] * 3], [[1], [-1]], [[[1]]],
                       *([i] for i in NOT_AN_ID if i not in ("x", []))],
    ("messages", (CHAT,)): [0, "x", True, {}, [], [[]], [1], [None],
                            [{"role": "user", "content": {}}],
                            [{"role": {}, "content": "x"}], [{"role": "user ", "content": "x"}],
                            [{"role": "user", "content": [[]]}],
                            [{"role": "user", "content": [{"type": "text", "text": 1}]}]] +
                           [[{"role": "user", "content": "x"}] * 4097],
}
for _name in "max_tokens", "max_completion_tokens", "n_predict":
    FIELDS[_name] = numbers(-1, 2**31 - 1, whole=True)
FIELDS["repeat_penalty"] = FIELDS["repetition_penalty"]


def base(path):
    if path == CHAT:
        return {"messages": [{"role": "user", "content": "x"}]}
    return {"prompt": "x"}


def nested(name, value):
    """{"speculative": {"max": 3}} of "speculative.max"."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


class Refusals(ServerCase):
    """What the tests below share: asking within a time, and what must hold afterwards."""

    def setUp(self):
        self.connection = Connection(self.server)
        self.addCleanup(lambda: self.connection.close())
        self.slowest = (0, "")
        self.n = 0

    def tearDown(self):
        """After all of it a good request is served, and nothing runs or waits."""
        for path in ROUTES:
            r = self.server.post(path, {**base(path), "max_tokens": 2})
            self.assertEqual(r.status, 200, r.body)
        self.server.wait_metric("num_requests_running", 0)
        self.server.wait_metric("num_requests_waiting", 0)
        super().tearDown()
        took, what = self.slowest
        print(f"{self.id()}: {self.n} refused, the slowest in {took * 1e3:.1f} ms: {what}")

    def ask(self, path, body, what, limit=LATE):
        """The reply, within limit seconds."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        began = time.monotonic()
        self.connection.send("POST", path, data)
        reply = self.connection.reply()
        took = time.monotonic() - began
        if reply.headers.get("Connection", "").lower() == "close":
            self.connection.close()
            self.connection = Connection(self.server)
        self.n += 1
        self.slowest = max(self.slowest, (took, f"{what[:60]} ({len(data)} bytes, {path})"))
        self.assertLess(took, limit * SLOW)
        return reply

    def refuse(self, path, name, value):
        with self.subTest(path=path, field=name, value=repr(value)[:60]):
            reply = self.ask(path, {**base(path), **nested(name, value)},
                             f"{name}: {repr(value)[:40]}")
            self.assert_error(reply, 400, name)


class Params(Refusals):
    args = ("--max-body", "4M")

    def test_every_field(self):
        for key, values in FIELDS.items():
            name, routes = key if isinstance(key, tuple) else (key, ROUTES)
            for path, value in itertools.product(routes, values):
                self.refuse(path, name, value)

    def test_numbers_that_are_none(self):
        """Spellings that JSON has not: the body is at fault then, and the message says where."""
        for name, spelling in itertools.product(
                ("temperature", "top_k", "seed", "logit_bias", "n"),
                ("NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "1e400", "-1e400", "1" * 400,
                 "0." + "1" * 400, "1e99999999999", "0x10", "1,0", "1f")):
            with self.subTest(name=name, spelling=spelling[:20]):
                reply = self.ask(COMPLETION, f'{{"prompt":"x","{name}":{spelling}}}'.encode(), name)
                self.assert_error(reply, 400, code="invalid_json")

    def test_numbers_spelled_otherwise(self):
        """1e2, 20.0 and 0.2E+1 are integers; what a number is too small for is zero."""
        for spelling, field in (("2e1", "top_k"), ("20.0", "top_k"), ("0.2E+1", "top_k"),
                                ("1e-400", "temperature"), ("-0", "top_k"), ("-0.0", "min_p"),
                                ("1e-400", "top_p"), ("1e18", "seed"), ("-0.1E2", "seed")):
            reply = self.ask(COMPLETION, f'{{"prompt":"x","max_tokens":1,"{field}":{spelling}}}'
                             .encode(), field)
            self.assertEqual(reply.status, 200, reply.body)
        reply = self.ask(COMPLETION, b'{"prompt":"x","repeat_penalty":1e-400}', "repeat_penalty")
        self.assert_error(reply, 400, "repeat_penalty")

    def test_fields_given_twice(self):
        for path, name, value in ((COMPLETION, "temperature", "1"), (CHAT, "seed", "7"),
                                  (NATIVE, "logit_bias", "{}")):
            first = json.dumps(base(path))[1:-1]
            body = f'{{{first},"{name}":{value},"{name}":{value}}}'.encode()
            self.assert_error(self.ask(path, body, name), 400, code="invalid_json")
        for body in ({"repetition_penalty": 1.1, "repeat_penalty": 1.2},
                     {"max_tokens": 2, "n_predict": 3}):
            for path in ROUTES:
                self.assert_error(self.ask(path, {**base(path), **body}, "two names"), 400)

    def test_ids_of_the_vocabulary(self):
        """The last id is taken, the one after it refused, by every field that takes ids."""
        v = self.server.get("/v1/models").json()["data"][0]["meta"]["n_vocab"]

        def fields(i):
            return {"prompt": [i], "stop_token_ids": [i], "logit_bias": {str(i): 1},
                    "allowed_token_ids": [1, i]}.items()
        for name, value in fields(v - 1):
            reply = self.ask(COMPLETION, {**base(COMPLETION), "max_tokens": 1, name: value}, name)
            self.assertEqual(reply.status, 200, reply.body)
        for name, value in fields(v):
            self.refuse(COMPLETION, name, value)

    def test_no_tokens(self):
        """max_tokens may be 0 with echo only."""
        for path, name in itertools.product(ROUTES, ("max_tokens", "n_predict")):
            for fields in {}, {"echo": False}, {"echo": None}:
                reply = self.ask(path, {**base(path), name: 0, **fields}, name)
                self.assert_error(reply, 400, name)

    def test_more_sequences_than_fit(self):
        """64 prompts, 16 times each: more than slots and queue hold."""
        for path in TEXT:
            reply = self.ask(path, {"prompt": [[1]] * 64, "n": 16, "max_tokens": 1}, "prompts * n")
            self.assert_error(reply, 400)
        reply = self.ask(CHAT, {**base(CHAT), "top_logprobs": 3}, "top_logprobs alone")
        self.assert_error(reply, 400, "top_logprobs")

    def test_nothing_left_to_draw(self):
        """Fields that are fine alone and leave no token together."""
        for fields in ({"allowed_token_ids": [5], "logit_bias": {"5": False}},
                       {"allowed_token_ids": [5], "stop_token_ids": [5], "min_tokens": 2}):
            for spec in {"fixed": 2}, {"enabled": False}, {"mode": "block"}, {"mode": "coupled"}:
                reply = self.ask(COMPLETION, {"prompt": "x", **fields, "speculative": spec}, "none")
                self.assert_error(reply, 400)

    def test_deep_values(self):
        """As deep as JSON may be here, where a field wants something flat."""
        deep = 1
        for _ in range(55):
            deep = [deep]
        for key in FIELDS:
            name, routes = key if isinstance(key, tuple) else (key, ROUTES)
            self.refuse(routes[0], name, deep)
            # unknown members are ignored, or taken for anything
            if name not in ("speculative", "stream_options", "chat_template_kwargs", "json_schema",
                            "structured_outputs", "structured_outputs.json", "guided_json",
                            "format"):
                self.refuse(routes[0], name, {"a": deep})

    def test_large_values(self):
        """Bodies as large as --max-body allows here, 4 MiB, filled with one field."""
        for name, value in (
                ("logit_bias", {str(i): 1 for i in range(330000)}),
                ("logit_bias", [[i, 1] for i in range(250000)]),
                ("logit_bias", [[1, 1]] * 300000),
                ("stop_token_ids", [1] * 900000), ("stop", ["x"] * 800000),
                ("stop", "x" * 4000000), ("cache_salt", "x" * 4000000),
                ("allowed_token_ids", [1] * 900000 + [-1]), ("prompt", [1] * 900000 + [-1]),
                ("prompt", ["x"] * 800000), ("prompt", [[1]] * 450000), ("model", [1] * 900000),
                ("speculative.mode", "x" * 4000000), ("temperature", "9" * 4000000),
                ("response_format", {"type": "x" * 4000000}),
                ("response_format", {"type": "json_object", "schema": {"enum": [1] * 900000}}),
                ("json_schema", {"anyOf": [{}] * 900000}), ("stream_options", [{}] * 900000)):
            self.refuse(COMPLETION, name, value)
        many = [{"role": "user", "content": "x"}] * 110000
        self.assert_error(self.ask(CHAT, {"messages": many}, "messages"), 400, "messages")
        many = {"role": "user", "content": [{"type": "text", "text": "x"}] * 100000 + [1]}
        self.assert_error(self.ask(CHAT, {"messages": [many]}, "messages"), 400, "messages")

    def test_too_large(self):
        """A million entries do not fit into 4 MiB: refused before they are sent."""
        body = json.dumps({"prompt": "x", "logit_bias": {str(i): 1 for i in range(10**6)}}).encode()
        with self.server.connect() as s:
            s.sendall(raw_request(body)[:-len(body)])
            status, _, answer = read_reply(s)
        self.assertEqual(status, 413)
        self.assertEqual(json.loads(answer)["error"]["code"], "body_too_large")


class Peers(ServerCase):
    """What fields and values of other servers mean here."""

    def say(self, path, **fields):
        """Text, reported seed and what ended it; in a stream they are the same."""
        body = {**base(path), "max_tokens": 24, **fields}
        reply = self.server.post(path, body)
        self.assertEqual(reply.status, 200, (reply.body, fields))
        a = reply.json()
        if path == NATIVE:
            return a["content"], a["speculative"]["seed"], a["stop_type"]
        choice = a["choices"][0]
        text = choice["text"] if path == COMPLETION else choice["message"]["content"]
        return text, a["speculative"]["seed"], choice["finish_reason"]

    def test_off(self):
        """Each field's empty values, and those that switch it off elsewhere, change nothing."""
        plain = {path: self.say(path, seed=3) for path in ROUTES}
        more = max(len(taken) for *_, taken in PEERS)
        for path in ROUTES:
            mine = [(name, taken) for name, routes, taken in PEERS if path in routes]
            sets = [[(name, value) for name, _ in mine] for value in (None, "", [], {})]
            sets += [[(name, taken[i % len(taken)]) for name, taken in mine] for i in range(more)]
            sets.append([("guided_json", ""), ("format", ""), ("guided_choice", []),
                         ("structured_outputs", {"json": None, "choice": [], "json_object": False}),
                         ("include_stop_str_in_output", True), ("best_of", 1), ("top_k", -1)])
            for fields in sets:
                body = {"seed": 3, "structured_outputs": {}}
                for name, value in fields:
                    outer, _, inner = name.partition(".")
                    if inner:
                        body[outer][inner] = value
                    else:
                        body[outer] = value
                self.assertEqual(self.say(path, **body), plain[path], fields)

    def test_seeds(self):
        for path in ROUTES:
            drawn = {self.say(path, seed=-1)[1] for _ in range(3)}
            self.assertGreater(len(drawn), 1)
            for seed in 2**63 - 1, -2**63, -2, 2**53, 2**60 + 12345:
                text, reported, _ = self.say(path, seed=seed)
                self.assertEqual(reported, seed % 2**53)
                self.assertEqual(self.say(path, seed=reported)[0], text)

    def test_no_limits(self):
        for path in ROUTES:
            greedy = self.say(path, temperature=0)[0]
            for seed in range(4):
                self.assertEqual(self.say(path, top_p=0, top_k=7, seed=seed)[0], greedy)
                self.assertEqual(self.say(path, top_k=-1, seed=seed),
                                 self.say(path, top_k=0, seed=seed))
            reply = self.server.post(path, {**base(path), "max_tokens": -1, "stop": " ", "seed": 1})
            self.assertEqual(reply.status, 200, reply.body)

    def test_best_of(self):
        for path in COMPLETION, CHAT:
            for n, best, status in (1, 1, 200), (2, 2, 200), (2, 1, 200), (1, 3, 400), (3, 2, 400):
                reply = self.server.post(path, {**base(path), "max_tokens": 1, "n": n,
                                                "best_of": best})
                self.assertEqual(reply.status, status, reply.body)
                if status == 400:
                    self.assert_error(reply, 400, "best_of")

    def test_stop_is_kept(self):
        for path, seed in itertools.product(ROUTES, range(4)):
            text = self.say(path, seed=seed)[0]
            for stop in text[3:5], text[4:9], text[-2:]:
                want = text[:text.index(stop) + len(stop)]
                for spec in {"enabled": False}, {"fixed": 4}:
                    got, _, why = self.say(path, seed=seed, stop=["nowhere", stop], speculative=spec,
                                           include_stop_str_in_output=True)
                    self.assertEqual((got, why), (want, "word" if path == NATIVE else "stop"))
                body = {**base(path), "max_tokens": 24, "seed": seed, "stop": stop, "stream": True,
                        "include_stop_str_in_output": True}
                events = [e for e in self.server.post(path, body).events() if e != "[DONE]"]
                if path == NATIVE:
                    parts = [e["content"] for e in events]
                else:
                    choices = [e["choices"][0] for e in events]
                    parts = [c["text"] if path == COMPLETION else c["delta"].get("content", "")
                             for c in choices]
                self.assertEqual("".join(p or "" for p in parts), want)

    def test_choices(self):
        """One of the texts as it is, the same however it is drawn; any of them can come."""
        texts = ["yes", "no", "yes, of course", " no\n", "\u00fc\u20ac \"q\"", "\U0001f600", "{", "yes"]
        for path in ROUTES:
            for i, text in enumerate(texts):
                for fields in {"guided_choice": [text]}, {"structured_outputs": {"choice": [text]}}:
                    self.assertEqual(self.say(path, seed=i, **fields)[0], text)
            for seed, wanted in enumerate(texts):
                first = self.server.post("/tokenize", {"content": wanted}).json()["tokens"][0]
                got = {self.say(path, seed=seed, logit_bias={str(first): 100}, guided_choice=texts,
                                speculative=spec)
                       for spec in ({"enabled": False}, {"fixed": 3})}
                self.assertEqual(len(got), 1, got)
                text, _, why = got.pop()
                self.assertIn(text, texts)
                self.assertEqual(text[0], wanted[0])
                self.assertEqual(why, "eos" if path == NATIVE else "stop")

    def test_schemas(self):
        schema = {"type": "object", "properties": {"a": {"enum": [9007199254740993]}},
                  "required": ["a"], "additionalProperties": False}
        forms = [{"guided_json": schema}, {"guided_json": json.dumps(schema)}, {"format": schema},
                 {"structured_outputs": {"json": schema}},
                 {"structured_outputs": {"json": json.dumps(schema), "backend": "any"}}]
        for path, seed in itertools.product(ROUTES, range(2)):
            want = self.say(path, json_schema=schema, seed=seed, max_tokens=400)
            self.assertEqual(json.loads(want[0]), {"a": 9007199254740993})
            for fields in forms:
                self.assertEqual(self.say(path, seed=seed, max_tokens=400, **fields), want)
            want = self.say(path, response_format={"type": "json_object"}, seed=seed)
            for fields in {"format": "json"}, {"structured_outputs": {"json_object": True}}:
                self.assertEqual(self.say(path, seed=seed, **fields), want)
            self.assertEqual(self.say(path, guided_json={"const": 1}, max_tokens=4)[0].strip(), "1")

    def test_two_at_once(self):
        one = {"json_schema": {}, "guided_json": {}, "guided_choice": ["x"], "format": "json",
               "response_format": {"type": "json_object"}}
        for a, b in itertools.permutations(one, 2):
            reply = self.server.post(COMPLETION, {"prompt": "x", a: one[a], b: one[b]})
            self.assert_error(reply, 400, b)
        reply = self.server.post(COMPLETION, {"prompt": "x", "structured_outputs": {
            "json": {}, "choice": ["x"]}})
        self.assert_error(reply, 400, "structured_outputs.choice")
        for name in "guided_json", "format":
            reply = self.server.post(COMPLETION, {"prompt": "x", name: {"not": {}}})
            self.assert_error(reply, 400, name)


class LargeBodies(Refusals):
    """A million entries where the body may hold them."""

    args = ("--max-body", "64M")

    def test_a_million_entries(self):
        bias = {str(i): 1 for i in range(10**6)}
        reply = self.ask(COMPLETION, {"prompt": "x", "logit_bias": bias}, "logit_bias")
        self.assert_error(reply, 400)
        self.refuse(COMPLETION, "logit_bias", [[i, 1] for i in range(330000)])
        self.refuse(CHAT, "top_logprobs", [0] * 999000)


if __name__ == "__main__":
    unittest.main()
