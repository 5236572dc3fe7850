"""Shapes of requests and answers: OpenAI's two routes, llama.cpp's, errors by field."""

import base64
import datetime
import hashlib
import os
import re
import time
import unittest

from specd_client import FAKE, Connection, ServerCase, SingleCase, fake_only

COMPLETION, CHAT, NATIVE = "/v1/completions", "/v1/chat/completions", "/completion"
GREEDY = {"temperature": 0, "ignore_eos": True}
LETTERS = [3 + byte for byte in range(ord("0"), ord("Z") + 1)]  # tokens of the tiny model's own bytes


def completion(**kw):
    return {"prompt": "Once upon a time", "max_tokens": 12, **GREEDY, **kw}


def chat(content="Hello", **kw):
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 12, **GREEDY, **kw}


class Completions(ServerCase):
    def check_usage(self, usage, n):
        self.assertEqual(usage["completion_tokens"], n)
        self.assertGreater(usage["prompt_tokens"], 0)
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + n)
        self.assertIn("cached_tokens", usage["prompt_tokens_details"])
        details = usage["completion_tokens_details"]
        self.assertGreaterEqual(details["accepted_prediction_tokens"], 0)
        self.assertGreaterEqual(details["rejected_prediction_tokens"], 0)

    def check_extras(self, answer, n):
        t, s = answer["timings"], answer["speculative"]
        for key in ("cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second",
                    "predicted_n", "predicted_ms", "predicted_per_token_ms",
                    "predicted_per_second", "draft_n", "draft_n_accepted"):
            self.assertIn(key, t)
        self.assertEqual(t["predicted_n"], n)
        self.assertEqual(t["draft_n"], s["draft_tokens"])
        self.assertIn(s["mode"], ("ratio", "block", "coupled"))
        self.assertGreaterEqual(s["seed"], 0)
        self.assertLess(s["seed"], 2**53)
        if s["rounds"]:
            self.assertAlmostEqual(s["mean_accepted_length"],
                                   1 + s["accepted_tokens"] / s["rounds"], 2)

    def test_whole(self):
        r = self.server.post(COMPLETION, completion())
        self.assertEqual(r.status, 200, r.body)
        self.assertEqual(r.headers["Content-Type"], "application/json")
        a = r.json()
        self.assertTrue(a["id"].startswith("cmpl-"))
        self.assertEqual(a["object"], "text_completion")
        self.assertEqual(a["model"], self.server.get("/v1/models").json()["data"][0]["id"])
        self.assertEqual(len(a["choices"]), 1)
        self.assertEqual(a["choices"][0]["finish_reason"], "length")
        self.assertIsNone(a["choices"][0]["logprobs"])
        self.check_usage(a["usage"], 12)
        self.check_extras(a, 12)

    def test_default_max_tokens_is_16(self):
        body = completion()
        del body["max_tokens"]
        a = self.server.post(COMPLETION, body).json()
        self.assertEqual(a["usage"]["completion_tokens"], 16)

    def test_stream(self):
        whole = self.server.post(COMPLETION, completion()).json()
        r = self.server.post(COMPLETION, completion(stream=True,
                                                    stream_options={"include_usage": True}))
        self.assertEqual(r.headers["Content-Type"], "text/event-stream")
        *chunks, finish, usage, done = r.events()
        self.assertEqual(done, "[DONE]")
        self.assertEqual(len(chunks), 12)
        self.assertEqual(len({c["id"] for c in chunks + [finish, usage]}), 1)
        for c in chunks:
            self.assertIsNone(c["choices"][0]["finish_reason"])
            self.assertIsNone(c["usage"])
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks + [finish]),
                         whole["choices"][0]["text"])
        self.assertEqual(finish["choices"][0]["finish_reason"], "length")
        self.check_extras(finish, 12)
        self.assertEqual(usage["choices"], [])
        self.check_usage(usage["usage"], 12)

    def test_stream_without_usage(self):
        events = self.server.post(COMPLETION, completion(stream=True)).events()
        self.assertEqual(len(events), 14)
        self.assertNotIn("usage", events[0])
        self.assertNotIn("usage", events[12])

    def test_continuous_usage(self):
        options = {"include_usage": True, "continuous_usage_stats": True}
        events = self.server.post(COMPLETION, completion(stream=True, stream_options=options))
        *chunks, finish, usage, done = events.events()
        for i, c in enumerate(chunks):
            self.check_usage(c["usage"], i + 1)
        self.check_usage(finish["usage"], 12)

    def test_token_ids(self):
        a = self.server.post(COMPLETION, completion(prompt=[1, 2, 3], return_tokens=True)).json()
        self.assertEqual(a["usage"]["prompt_tokens"], 3)
        self.assertEqual(len(a["choices"][0]["tokens"]), 12)
        events = self.server.post(COMPLETION, completion(prompt=[1, 2, 3], return_tokens=True,
                                                         stream=True)).events()
        ids = [t for c in events[:12] for t in c["choices"][0]["tokens"]]
        self.assertEqual(ids, a["choices"][0]["tokens"])

    def test_several_prompts(self):
        prompts = ["One", [1, 2, 3], "Three"]
        a = self.server.post(COMPLETION, completion(prompt=prompts)).json()
        self.assertEqual([c["index"] for c in a["choices"]], [0, 1, 2])
        self.assertEqual(a["usage"]["completion_tokens"], 36)
        for c in a["choices"]:
            self.check_extras(c, 12)
        r = self.server.post(COMPLETION, completion(prompt=prompts, stream=True))
        texts = ["", "", ""]
        for e in r.events()[:-1]:
            texts[e["choices"][0]["index"]] += e["choices"][0]["text"]
        self.assertEqual(texts, [c["text"] for c in a["choices"]])

    def test_trace(self):
        body = completion(stream=True, speculative={"trace": True})
        for c in self.server.post(COMPLETION, body).events()[:12]:
            self.assertIsInstance(c["speculative"]["drafted"], bool)
            self.assertIsInstance(c["speculative"]["k"], int)

    def test_timings_per_token(self):
        events = self.server.post(COMPLETION, completion(stream=True, timings_per_token=True))
        self.assertEqual([c["timings"]["predicted_n"] for c in events.events()[:12]],
                         list(range(1, 13)))

    def test_seed_is_reported(self):
        for seed in (0, 42, 2**53 - 1):
            a = self.server.post(COMPLETION, completion(seed=seed)).json()
            self.assertEqual(a["speculative"]["seed"], seed)

    def test_null_is_default_and_unknown_is_ignored(self):
        nulls = dict.fromkeys(("temperature", "top_p", "stop", "logprobs", "seed", "n", "user",
                               "logit_bias", "stream_options", "speculative", "response_format"))
        a = self.server.post(COMPLETION, completion(**nulls, unheard_of=[1, {"x": None}]))
        self.assertEqual(a.status, 200, a.body)

    def test_neutral_values(self):
        a = self.server.post(COMPLETION, completion(
            presence_penalty=0, frequency_penalty=0.0, repetition_penalty=1.0, n=1, echo=False,
            min_tokens=0, logit_bias={}, stop_token_ids=[], tools=[],
            response_format={"type": "text"}))
        self.assertEqual(a.status, 200, a.body)

    def test_aliases(self):
        for name in ("max_tokens", "max_completion_tokens", "n_predict"):
            for path in (COMPLETION, NATIVE):
                body = completion(**{name: 3})
                if name != "max_tokens":
                    del body["max_tokens"]
                r = self.server.post(path, body)
                self.assertEqual(r.json()["timings"]["predicted_n"], 3)
        r = self.server.post(COMPLETION, completion(max_tokens=3, max_completion_tokens=3))
        self.assertEqual(r.status, 200)
        r = self.server.post(COMPLETION, completion(max_tokens=3, max_completion_tokens=4))
        self.assert_error(r, 400)

    @fake_only
    def test_stop_strings(self):
        # " w0 w1 w2 w3 w4" and the halves of e-acute, " w7", ...
        for stop, text in (("w3", " w0 w1 w2 "), (["zzz", " w2 w3"], " w0 w1"),
                           (["w4\u00e9 w"], " w0 w1 w2 w3 "), ("w1 w9", None), ("11 zz", None)):
            with self.subTest(stop=stop):
                a = self.server.post(COMPLETION, completion(stop=stop)).json()["choices"][0]
                r = self.server.post(COMPLETION, completion(stop=stop, stream=True))
                *chunks, done = r.events()
                streamed = "".join(c["choices"][0]["text"] for c in chunks)
                self.assertEqual(streamed, a["text"])
                if text is None:
                    self.assertEqual(a["finish_reason"], "length")
                    self.assertTrue(a["text"].endswith(" w11"))
                else:
                    self.assertEqual(a["finish_reason"], "stop")
                    self.assertEqual(a["text"], text)
                    self.assertEqual(chunks[-1]["choices"][0]["finish_reason"], "stop")

    @unittest.skipIf(FAKE, "the fake engine has its own test")
    def test_stop_strings_of_a_model(self):
        text = self.server.post(COMPLETION, completion(max_tokens=24)).json()["choices"][0]["text"]
        for at in range(1, len(text) - 3):
            stop = text[at:at + 3]
            a = self.server.post(COMPLETION, completion(max_tokens=24, stop=stop)).json()
            self.assertEqual(a["choices"][0]["text"], text[:text.index(stop)])
            self.assertEqual(a["choices"][0]["finish_reason"], "stop")
            r = self.server.post(COMPLETION, completion(max_tokens=24, stop=stop, stream=True))
            self.assertEqual("".join(c["choices"][0]["text"] for c in r.events()[:-1]),
                             text[:text.index(stop)])

    def test_native(self):
        a = self.server.post(NATIVE, completion(return_tokens=True, stop=["\u00a7\u00a7"])).json()
        self.assertEqual(a["stop"], True)
        self.assertEqual(a["stop_type"], "limit")
        self.assertEqual(a["stopping_word"], "")
        self.assertEqual(a["tokens_predicted"], 12)
        self.assertEqual((a["prompt"], a["has_new_line"]),
                         ("Once upon a time", "\n" in a["content"]))
        self.assertEqual(len(a["tokens"]), 12)
        self.assertEqual(a["generation_settings"]["stop"], ["\u00a7\u00a7"])
        self.check_extras(a, 12)
        *chunks, last = self.server.post(NATIVE, completion(stream=True)).events()
        self.assertEqual(len(chunks), 12)
        self.assertTrue(all(c["stop"] is False and len(c["tokens"]) == 1 for c in chunks))
        self.assertEqual("".join(c["content"] for c in chunks), a["content"])
        self.assertEqual(last["stop"], True)

    def test_native_array(self):
        a = self.server.post(NATIVE, completion(prompt=["One"])).json()
        self.assertEqual([x["index"] for x in a], [0])

    def test_native_special_values(self):
        r = self.server.post(NATIVE, completion(n_predict=None, seed=-1))
        self.assertEqual(r.status, 200, r.body)


class Chat(ServerCase):
    def test_whole(self):
        a = self.server.post(CHAT, chat()).json()
        self.assertTrue(a["id"].startswith("chatcmpl-"))
        self.assertEqual(a["object"], "chat.completion")
        message = a["choices"][0]["message"]
        self.assertEqual(message["role"], "assistant")
        self.assertTrue(message["content"])

    def test_stream(self):
        whole = self.server.post(CHAT, chat()).json()["choices"][0]["message"]["content"]
        *chunks, finish, done = self.server.post(CHAT, chat(stream=True)).events()
        self.assertEqual(done, "[DONE]")
        self.assertEqual(len(chunks), 12)
        self.assertEqual({c["object"] for c in chunks}, {"chat.completion.chunk"})
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertTrue(all("role" not in c["choices"][0]["delta"] for c in chunks[1:]))
        self.assertEqual("".join(c["choices"][0]["delta"]["content"] for c in chunks), whole)
        self.assertEqual(finish["choices"][0]["delta"], {})
        self.assertEqual(finish["choices"][0]["finish_reason"], "length")

    def test_parts(self):
        parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
        self.assertEqual(self.server.post(CHAT, chat(parts)).status, 200)

    def check_prediction(self, text, **kw):
        """The answer to what is otherwise answered with `text`."""
        a = self.server.post(CHAT, chat(max_tokens=40, allowed_token_ids=LETTERS, **kw)).json()
        self.assertEqual({c["message"]["content"] for c in a["choices"]}, {text})
        details = a["usage"]["completion_tokens_details"]
        return details["accepted_prediction_tokens"], details["rejected_prediction_tokens"]

    def test_prediction(self):
        plain = chat(max_tokens=40, allowed_token_ids=LETTERS)
        text = self.server.post(CHAT, plain).json()["choices"][0]["message"]["content"]
        fixed = {"fixed": 2}
        self.assertEqual(self.check_prediction(text), (0, 0))
        whole = {"type": "content", "content": text[:10] + "!" + text[11:]}
        parts = {"type": "content", "content": [{"type": "text", "text": text[:20]},
                                                {"type": "text", "text": text[20:]}]}
        for prediction in whole, parts:
            accepted, rejected = self.check_prediction(text, prediction=prediction,
                                                       speculative=fixed)
            if not FAKE:
                self.assertGreater(accepted, 8)
                self.assertGreater(rejected, 0)  # where it was changed, if nowhere else
        for extra in {"n": 3}, {"temperature": 1, "seed": 3, "n": 1}, {"logprobs": True}:
            body = {**plain, **extra}
            with_it = {**body, "prediction": whole, "speculative": fixed}
            self.assertEqual(*([c["message"] for c in self.server.post(CHAT, b).json()["choices"]]
                               for b in (body, with_it)))
        *_, usage, done = self.server.post(CHAT, {
            **plain, "prediction": whole, "speculative": fixed, "stream": True,
            "stream_options": {"include_usage": True}}).events()
        if not FAKE:
            details = usage["usage"]["completion_tokens_details"]
            self.assertGreater(details["accepted_prediction_tokens"], 8)
        accepted, rejected = self.check_prediction(
            text, prediction=whole, speculative={"enabled": False})
        self.assertEqual((accepted, rejected), (0, 0))

    def test_drafts_are_no_predictions(self):
        a = self.server.post(CHAT, chat("a b a b a b", max_tokens=40,
                                        speculative={"fixed": 2})).json()
        self.assertEqual(set(a["usage"]["completion_tokens_details"].values()), {0})
        if not FAKE:
            self.assertGreater(a["speculative"]["draft_tokens"], 0)

    def test_conversation(self):
        messages = [{"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Hello"},
                    {"role": "assistant", "content": "Hello!"},
                    {"role": "user", "content": "Bye", "name": "x"}]
        r = self.server.post(CHAT, {"messages": messages, "max_tokens": 3})
        self.assertEqual(r.status, 200, r.body)

    def test_bad_messages(self):
        text = {"type": "text", "text": "x"}
        for messages in (None, [], {}, "x", [1], [{}], [{"role": "user"}], [{"content": "x"}],
                         [{"role": "king", "content": "x"}], [{"role": 1, "content": "x"}],
                         [{"role": "user", "content": 1}], [{"role": "user", "content": None}],
                         [{"role": "user", "content": ["x"]}],
                         [{"role": "user", "content": [text, {"type": "text"}]}],
                         [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
                         [{"role": "user", "content": "x"}] * 70000):
            with self.subTest(messages=str(messages)[:60]):
                self.assert_error(self.server.post(CHAT, {"messages": messages}), 400, "messages")
        self.assert_error(self.server.post(CHAT, {}), 400, "messages")


class Fields(ServerCase):
    def check_bad(self, field, values, path=COMPLETION):
        for value in values:
            with self.subTest(field=field, value=value):
                body = chat(**{field: value}) if path == CHAT else completion(**{field: value})
                self.assert_error(self.server.post(path, body), 400, field)

    def test_ranges(self):
        for field, values in {
            "temperature": (-0.1, 2.1, "1", True, [], 1e308),
            "top_p": (-1e-3, -1, 1.1, "x"),
            "top_k": (-2, 1.5, 2**40, "x"),
            "min_p": (-0.1, 1, "x"),
            "presence_penalty": (-2.1, 2.1), "frequency_penalty": (-2.1, 2.1),
            "repetition_penalty": (0, -1, 1e39, "x"),
            "max_tokens": (0, -2, 1.5, 2**31, "x", True),
            "min_tokens": (-1, 1.5),
            "seed": (-2**63 - 1, 0.5, 2**63, 1e300, "x"),
            "priority": (-11, 11, 0.5, "high"),
            "n": (0, 17, 1.5), "logprobs": (-1, 21, True),
            "stream": (1, "true"), "ignore_eos": (0,), "echo": ("x",), "return_tokens": (1,),
            "stop": ("", [""], 1, [1], ["x"] * 65, ["x" * 2000], {"a": 1}),
            "stop_token_ids": (1, [-1], ["x"], [1] * 65, [2**31]),
            "logit_bias": (1, {"x": 1}, {"1": 101}, {"1": "x"}, {"-1": 0}, [[1]], [[1, 1], [1, 2]],
                           [1], {"1e0": 1}),
            "response_format": ("json", {}, {"type": "xml"}),
            "cache_salt": (1, "", "x" * 300), "user": (1,), "model": (7,),
            "stream_options": (1, []), "speculative": (1, True),
            "prompt": (1, True, {}, [], [[]], [1, "x"], ["x", 1], [-1], [2**31], [1.5], [None],
                       ["x"] * 65),
        }.items():
            self.check_bad(field, values)

    def test_nested_ranges(self):
        for name, value in {"enabled": 1, "mode": "best", "max": 99, "min": -1, "fixed": 1.5,
                            "drafter": "magic", "trace": "x"}.items():
            r = self.server.post(COMPLETION, completion(speculative={name: value}))
            self.assert_error(r, 400, "speculative." + name)
        r = self.server.post(COMPLETION, completion(speculative={"min": 3, "max": 2}))
        self.assert_error(r, 400, "speculative.min")
        r = self.server.post(COMPLETION, completion(stream_options={"include_usage": 1}))
        self.assert_error(r, 400, "stream_options.include_usage")

    def test_speculative_is_accepted(self):
        for spec in ({}, {"enabled": False}, {"mode": "auto", "max": 2, "min": 0},
                     {"mode": "ratio", "fixed": 1}, {"drafter": "lookup", "unknown": 1}):
            r = self.server.post(COMPLETION, completion(speculative=spec))
            self.assertEqual(r.status, 200, r.body)

    def test_prompt_is_required(self):
        self.assert_error(self.server.post(COMPLETION, {}), 400, "prompt")
        self.assert_error(self.server.post(NATIVE, {"prompt": None}), 400, "prompt")

    def test_prompt_beyond_the_context(self):
        r = self.server.post(COMPLETION, completion(prompt=[1] * 200000))
        self.assert_error(r, 400, code="context_length_exceeded")


class Routes(ServerCase):
    args = ("--max-body", "64K", "--alias", "my-model")

    def test_models(self):
        models = self.server.get("/v1/models").json()
        model, first = models["data"][0], models["first_id"]
        self.assertEqual((models["has_more"], first, models["last_id"]), (False, model["id"], model["id"]))
        self.assertEqual((model["type"], model["display_name"]), ("model", model["id"]))
        made = datetime.datetime.fromisoformat(model["created_at"])  # of the file: always the same
        self.assertEqual(made.timestamp(), model["created"])
        self.assertLess(model["created"], time.time())
        self.assertGreater(model["created"], 1600000000)
        self.assertEqual(models["object"], "list")
        self.assertEqual(models["data"][0]["id"], "my-model")
        for key in ("n_vocab", "n_ctx", "n_params", "draft"):
            self.assertIn(key, models["data"][0]["meta"])

    def test_ready_and_head(self):
        self.assertEqual(self.server.get("/ready").json(), {"status": "ready"})
        r = self.server.request("HEAD", "/health")
        self.assertEqual((r.status, r.body), (200, b""))

    def test_unknown_path(self):
        for path in ("/v1", "/health/", "/V1/COMPLETIONS", "/../health", "/v1%2Fmodels"):
            self.assert_error(self.server.get(path), 404)

    def test_wrong_method(self):
        for method, path, allow in (("GET", COMPLETION, "POST"), ("DELETE", CHAT, "POST"),
                                    ("POST", "/health", "GET"), ("PUT", "/v1/models", "GET")):
            r = self.server.request(method, path, b"{}" if method != "GET" else None)
            self.assert_error(r, 405)
            self.assertIn(allow, r.headers["Allow"])

    def test_wrong_type(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
            r = self.server.post(COMPLETION, b"{}", headers={"Content-Type": kind})
            self.assert_error(r, 415)
        for kind in ("application/json; charset=utf-8", "Application/JSON"):
            r = self.server.post(COMPLETION, completion(), headers={"Content-Type": kind})
            self.assertEqual(r.status, 200)

    def test_keep_alive(self):
        conn = Connection(self.server)
        for i in range(20):
            path = (COMPLETION, NATIVE)[i % 2]
            r = self.server.post(path, completion(stream=i % 3 == 0), conn=conn)
            self.assertEqual(r.status, 200)
            self.assert_error(self.server.post(path, b"{", conn=conn), 400)
            self.assert_error(self.server.get("/nowhere", conn=conn), 404)
        conn.close()

    def test_metrics(self):
        text = self.server.get("/metrics").text()
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
                     "spec_decode_num_drafts_total", "time_to_first_token_seconds_count"):
            self.assertIn("specd_" + name, text)
            self.assertIn("vllm:" + name, text)

    def test_model_server_protocol(self):
        """What the protocol of the inference extension asks for (TotalQueuedRequests,
        TotalRunningRequests, KVCacheUtilization as gauges, the cache's shape as labels), under vLLM's
        names and under those that docs/deploy.md tells a router of."""
        text = self.server.get("/metrics").text()
        with open(os.path.join(os.path.dirname(__file__), "../../docs/deploy.md"), encoding="utf-8") as f:
            told = dict(re.findall(r"^ +(\w+)Spec: \"(\w+)\"$", f.read(), re.M))
        vllm = {"queuedRequests": "vllm:num_requests_waiting", "runningRequests": "vllm:num_requests_running",
                "kvUsage": "vllm:kv_cache_usage_perc", "cacheInfo": "vllm:cache_config_info"}
        self.assertEqual(set(told), set(vllm))
        for names in (told, vllm):
            for what, name in names.items():
                self.assertIn(f"# TYPE {name} gauge\n", text)
                labels, value = re.search(f"^{name}(\\{{.*\\}})? (\\S+)$", text, re.M).groups()
                if what == "cacheInfo":
                    for label in ("block_size", "num_gpu_blocks"):
                        self.assertGreaterEqual(int(re.search(f'{label}="(\\d+)"', labels)[1]), 0 if FAKE else 1)
                    continue
                self.assertGreaterEqual(float(value), 0)
                self.assertLessEqual(float(value), 1)  # the server is idle

    def test_preflight(self):
        r = self.server.request("OPTIONS", CHAT)
        self.assertEqual(r.status, 204)
        self.assertNotIn("Access-Control-Allow-Origin", r.headers)


class Page(SingleCase):
    """GET /, as far as it goes without a browser (tests/browser)."""

    def test_page(self):
        server = self.start(env={"SPECD_API_KEY": "key"})  # and it needs none
        r = server.get("/")
        self.assertEqual((r.status, r.headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        policy = r.headers["Content-Security-Policy"]
        self.assertTrue(policy.startswith("default-src 'none';"), policy)
        self.assertNotIn("unsafe", policy)
        for tag in ("script", "style"):
            text = re.search(f"<{tag}>(.*)</{tag}>", r.text(), re.S).group(1)
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            self.assertIn(f"{tag}-src 'sha256-{digest}';", policy)
        outside = re.findall(r"(?:src|href)=\"([^#\"][^\"]*)", r.text())
        self.assertEqual(outside, ["data:,"])
        self.assertEqual(server.request("HEAD", "/").status, 200)
        self.assertEqual(server.post("/", {}).status, 405)

    def test_switches(self):
        server = self.start("--no-ui", "--no-metrics")
        for path in ("/", "/metrics"):
            self.assertEqual(server.get(path).status, 404)


class Keys(ServerCase):
    env = {"SPECD_API_KEY": "sesame"}
    args = ("--cors-origin", "http://example.test")

    def test_keys(self):
        for headers, ok in (({"Authorization": "Bearer sesame"}, True),
                            ({"authorization": "bearer  sesame"}, True),
                            ({"Authorization": "Bearer sesame "}, True),
                            ({"X-Api-Key": "sesame"}, True), ({}, False),
                            ({"Authorization": "Bearer sesamE"}, False),
                            ({"Authorization": "Bearer sesam"}, False),
                            ({"Authorization": "Bearer sesame1"}, False),
                            ({"Authorization": "Bearer "}, False),
                            ({"Authorization": "Basic sesame"}, False),
                            ({"X-Api-Key": ""}, False)):
            with self.subTest(headers=headers):
                for path in ("/v1/models", "/metrics"):
                    r = self.server.get(path, headers=headers)
                    self.assertEqual(r.status, 200 if ok else 401)
                r = self.server.post(CHAT, chat(), headers=headers)
                self.assertEqual(r.status, 200 if ok else 401)
                if not ok:
                    self.assert_error(r, 401, code="invalid_api_key")
                    self.assertEqual(r.headers["WWW-Authenticate"], "Bearer")

    def test_open_routes(self):
        self.assertEqual(self.server.get("/health").status, 200)
        self.assertEqual(self.server.get("/ready").status, 200)

    def test_cors(self):
        r = self.server.request("OPTIONS", CHAT, headers={"Origin": "http://example.test"})
        self.assertEqual(r.status, 204)
        self.assertEqual(r.headers["Access-Control-Allow-Origin"], "http://example.test")
        self.assertIn("POST", r.headers["Access-Control-Allow-Methods"])
        self.assertEqual(self.server.get("/health").headers["Access-Control-Allow-Origin"],
                         "http://example.test")


class KeyFile(SingleCase):
    def test_key_file(self):
        path = self.dir.name + "/keys"
        with open(path, "w") as f:
            f.write("# comment\n\n  first  \nsecond # trailing\nthird\tpriority\r\nfourth priority #x")
        server = self.start("--api-key-file", path)
        for key, status in (("first", 200), ("second", 200), ("#", 401), ("comment", 401),
                            ("third", 200), ("fourth", 200), ("priority", 401), ("third priority", 401)):
            r = server.get("/v1/models", headers={"X-Api-Key": key})
            self.assertEqual(r.status, status, key)

    @unittest.skipIf(FAKE, "the fake engine has no slots")
    def test_priority(self):
        """An urgent request takes the only slot from one that is not, where the key may ask for it."""
        path = self.dir.name + "/keys"
        with open(path, "w") as f:
            f.write("may priority\nnot\n")
        server = self.start("--api-key-file", path, "-np", "1")

        def preemptions(headers):
            text = server.get("/metrics", headers=headers).text()
            return float(re.search(r'(?m)^specd_preemptions_total{reason="share"} (\S+)', text).group(1))

        def tries(key, until):
            headers, conn = {"X-Api-Key": key}, Connection(server)
            before = preemptions(headers)
            for _ in range(until):
                conn.send("POST", COMPLETION, completion(priority=-5, max_tokens=40, stream=True), headers=headers)
                r = server.post(COMPLETION, completion(priority=5, max_tokens=1), headers=headers)
                self.assertEqual(r.status, 200)
                self.assertEqual(conn.reply().events()[-1], "[DONE]")
                if preemptions(headers) > before:
                    return True
            return False

        self.assertTrue(tries("may", 100))
        self.assertFalse(tries("not", 10))

    def test_unix_socket(self):
        server = self.start(unix=self.dir.name + "/s")
        self.assertEqual(server.post(COMPLETION, completion(stream=True)).events()[-1], "[DONE]")


if __name__ == "__main__":
    unittest.main()
