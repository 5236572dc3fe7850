"""What an answer carries beside its text: log-probabilities, the prompt, several choices."""

import unittest

from specd_client import FAKE, ServerCase, fake_only, roomy_only

COMPLETION, CHAT, NATIVE = "/v1/completions", "/v1/chat/completions", "/completion"


def completion(**kw):
    return {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, "ignore_eos": True,
            **kw}


def chat(**kw):
    body = completion(**kw)
    del body["prompt"]
    return {"messages": [{"role": "user", "content": "Hello"}], **body}


class Outputs(ServerCase):
    def ask(self, path, body):
        r = self.server.post(path, body)
        self.assertEqual(r.status, 200, r.body)
        return r.json()

    def stream(self, path, body):
        r = self.server.post(path, {**body, "stream": True})
        self.assertEqual(r.status, 200, r.body)
        return [e for e in r.events() if e != "[DONE]"]

    def check_text_logprobs(self, p, n, top, headless=False):
        self.assertEqual({len(p[k]) for k in ("tokens", "token_logprobs", "top_logprobs",
                                               "text_offset")}, {n})
        for i, (token, own, best) in enumerate(zip(p["tokens"], p["token_logprobs"],
                                                   p["top_logprobs"])):
            if headless and i == 0:
                self.assertIsNone(own)
                self.assertIsNone(best)
                continue
            self.assertLess(own, 0)
            self.assertAlmostEqual(best[token], own)
            self.assertLessEqual(len(best), top + 1)
        self.assertEqual(p["text_offset"], sorted(p["text_offset"]))

    def test_text(self):
        for top in (0, 3, 20):
            a = self.ask(COMPLETION, completion(logprobs=top))["choices"][0]
            self.check_text_logprobs(a["logprobs"], 8, top)
            self.assertEqual(a["logprobs"]["text_offset"][0], 0)

    def test_text_in_a_stream_is_that_of_the_whole(self):
        whole = self.ask(COMPLETION, completion(logprobs=2))["choices"][0]["logprobs"]
        chunks = self.stream(COMPLETION, completion(logprobs=2))[:-1]
        self.assertEqual(len(chunks), 8)
        for key in whole:
            parts = [x for c in chunks for x in c["choices"][0]["logprobs"][key]]
            self.assertEqual(parts, whole[key])

    def check_content(self, content, n, top, ids=False):
        self.assertEqual(len(content), n)
        for entry in content:
            self.assertLess(entry["logprob"], 0)
            self.assertEqual(len(entry["top_logprobs"]), top)
            for e in [entry] + entry["top_logprobs"]:
                self.assertEqual("id" in e, ids)
                if "\\x" not in e["token"]:
                    self.assertEqual(bytes(e["bytes"]).decode(), e["token"])

    def test_chat(self):
        for top in (0, 5):
            body = chat(logprobs=True, top_logprobs=top)
            a = self.ask(CHAT, body)["choices"][0]["logprobs"]
            self.check_content(a["content"], 8, top)
            chunks = self.stream(CHAT, body)[:-1]
            self.assertEqual([c["choices"][0]["logprobs"]["content"][0] for c in chunks],
                             a["content"])
        self.assertIsNone(self.ask(CHAT, chat())["choices"][0]["logprobs"])
        self.assertIsNone(self.ask(CHAT, chat(logprobs=False))["choices"][0]["logprobs"])

    def test_native(self):
        for body in (completion(n_probs=3), completion(logprobs=3), completion(logprobs=3,
                                                                              n_probs=1)):
            a = self.ask(NATIVE, body)["completion_probabilities"]
            self.check_content(a, 8, 3, ids=True)
            chunks = self.stream(NATIVE, body)[:-1]
            self.assertEqual([c["completion_probabilities"][0] for c in chunks], a)
        self.assertNotIn("completion_probabilities", self.ask(NATIVE, completion(n_probs=0)))

    @fake_only
    def test_a_token_that_is_no_utf8_is_named_by_its_bytes(self):
        a = self.ask(COMPLETION, completion(logprobs=1))["choices"][0]["logprobs"]
        self.assertEqual(a["tokens"][5], "bytes:\\xe2\\x80")
        a = self.ask(CHAT, chat(logprobs=True))["choices"][0]["logprobs"]["content"][5]
        self.assertEqual((a["token"], a["bytes"]), ("\\xe2\\x80", [0xe2, 0x80]))

    @fake_only
    def test_offsets_count_characters(self):
        """Halves of a character: the first shows nothing."""
        a = self.ask(COMPLETION, completion(logprobs=0))["choices"][0]
        self.assertEqual(a["text"], " w0 w1 w2 w3 w4\u00e9 w7")
        self.assertEqual(a["logprobs"]["text_offset"], [0, 3, 6, 9, 12, 15, 15, 16])

    @unittest.skipIf(FAKE, "needs a model")
    def test_errors_of_the_engine_name_the_field(self):
        for path, body, param in (
                (COMPLETION, completion(prompt=[1] * 2000), "prompt"),
                (CHAT, {**chat(), "messages": [{"role": "user", "content": "x" * 5000}]},
                 "messages"),
                (COMPLETION, completion(allowed_token_ids=[7], logit_bias={"7": False}),
                 "allowed_token_ids")):
            self.assert_error(self.server.post(path, body), 400, param)

    # ---- echo

    def test_echo(self):
        plain = self.ask(COMPLETION, completion())["choices"][0]["text"]
        prompt = "Once upon a time"
        self.assertEqual(self.ask(COMPLETION, completion(echo=True))["choices"][0]["text"],
                         prompt + plain)
        a = self.ask(NATIVE, completion(echo=True))
        self.assertEqual(a["content"], prompt + plain)
        first, *chunks = self.stream(COMPLETION, completion(echo=True))
        self.assertEqual(first["choices"][0]["text"], prompt)
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks), plain)
        first, *chunks = self.stream(NATIVE, completion(echo=True))
        self.assertEqual((first["content"], first["tokens"]), (prompt, []))
        self.assertEqual("".join(c["content"] for c in chunks), plain)

    def test_echo_of_a_chat_is_what_the_model_read(self):
        a = self.ask(CHAT, chat(echo=True))["choices"][0]["message"]["content"]
        self.assertIn("Hello", a)
        first, second, *_ = self.stream(CHAT, chat(echo=True))
        self.assertEqual(first["choices"][0]["delta"]["role"], "assistant")
        self.assertIn("Hello", first["choices"][0]["delta"]["content"])
        self.assertNotIn("role", second["choices"][0]["delta"])

    def test_echo_alone(self):
        body = completion(echo=True, max_tokens=0)
        a = self.ask(COMPLETION, body)
        self.assertEqual(a["choices"][0]["text"], body["prompt"])
        self.assertEqual(a["choices"][0]["finish_reason"], "length")
        self.assertEqual(a["usage"]["completion_tokens"], 0)
        first, last = self.stream(COMPLETION, body)
        self.assertEqual(first["choices"][0]["text"] + last["choices"][0]["text"], body["prompt"])
        self.assert_error(self.server.post(COMPLETION, completion(max_tokens=0)), 400,
                          "max_tokens")

    def test_echo_with_logprobs(self):
        for n in (0, 8):
            body = completion(echo=True, logprobs=2, max_tokens=n)
            a = self.ask(COMPLETION, body)
            p = a["choices"][0]["logprobs"]
            n_prompt = 1 if FAKE else a["usage"]["prompt_tokens"]
            self.check_text_logprobs(p, n_prompt + n, 2, headless=True)
            if n > 0:
                self.assertEqual(p["text_offset"][n_prompt], len(body["prompt"]))
            if not FAKE:
                self.assertEqual("".join(p["tokens"][:n_prompt]), body["prompt"])
            streamed = self.stream(COMPLETION, body)
            for key in p:
                parts = [x for c in streamed if c["choices"][0]["logprobs"]
                         for x in c["choices"][0]["logprobs"][key]]
                self.assertEqual(parts, p[key])

    # ---- several choices

    def test_n(self):
        body = completion(n=3, temperature=1, seed=2**53 - 2, return_tokens=True)
        a = self.ask(COMPLETION, body)
        self.assertEqual([c["index"] for c in a["choices"]], [0, 1, 2])
        self.assertEqual(a["usage"]["completion_tokens"], 24)
        alone = [self.ask(COMPLETION, {**body, "n": 1, "seed": seed})
                 for seed in (2**53 - 2, 2**53 - 1, 0)]
        self.assertEqual(a["usage"]["prompt_tokens"], alone[0]["usage"]["prompt_tokens"])
        for c, b in zip(a["choices"], alone):
            self.assertEqual(c["tokens"], b["choices"][0]["tokens"])
            self.assertEqual(c["speculative"]["seed"], b["speculative"]["seed"])
        texts = {}
        for e in self.stream(COMPLETION, body):
            c = e["choices"][0]
            texts[c["index"]] = texts.get(c["index"], "") + c["text"]
        self.assertEqual(texts, {c["index"]: c["text"] for c in a["choices"]})

    def test_n_of_several_prompts(self):
        a = self.ask(COMPLETION, completion(prompt=["One", "Two"], n=2))
        self.assertEqual([c["index"] for c in a["choices"]], [0, 1, 2, 3])
        if not FAKE: # greedy: the two of a prompt are one
            self.assertEqual(a["choices"][0]["text"], a["choices"][1]["text"])
            self.assertEqual(a["choices"][2]["text"], a["choices"][3]["text"])
            self.assertNotEqual(a["choices"][0]["text"], a["choices"][2]["text"])

    def test_n_elsewhere(self):
        self.assertEqual(len(self.ask(CHAT, chat(n=2))["choices"]), 2)
        self.assertEqual([a["index"] for a in self.ask(NATIVE, completion(n=2))], [0, 1])

    # ---- answers of many pieces

    def pieces(self, path, body):
        r = self.server.post(path, body)
        self.assertEqual(r.status, 200, r.body)
        self.assertEqual(r.headers["Transfer-Encoding"], "chunked")  # else it was too short for this
        return r.json()

    @roomy_only
    def test_long_answers_of_choices(self):
        """Lists, texts and choices go on where the piece before ended."""
        alone = completion(max_tokens=300, seed=5, temperature=1, echo=True, return_tokens=True)
        for path, names in ((COMPLETION, ("logprobs",)), (NATIVE, ("n_probs",)), (CHAT, ())):
            body = {**alone, **{name: 9 for name in names}}
            if path == CHAT:
                body = {**chat(**body), "logprobs": True, "top_logprobs": 9}
                del body["echo"]
            a = self.pieces(path, {**body, "n": 3})
            choices = a if path == NATIVE else a["choices"]
            for i, c in enumerate(choices):
                one = self.ask(path, {**body, "seed": 5 + i})
                one = one if path == NATIVE else one["choices"][0]
                for key in ("text", "content", "message", "tokens", "logprobs", "completion_probabilities"):
                    self.assertEqual(c.get(key), one.get(key), (path, key))
                self.assertEqual(len(c["tokens"]), 300)

    def test_long_texts(self):
        text = "".join(f"{i} h\u00e9llo \u20ac\U0001f600 \"\\\n\t\x01\u2028" for i in range(4000))
        prompt = self.pieces("/apply-template", {"messages": [{"role": "user", "content": text}]})["prompt"]
        self.assertIn(text, prompt)
        ids = self.pieces("/tokenize", {"content": text})["tokens"]
        pieces = self.pieces("/tokenize", {"content": text, "with_pieces": True})["tokens"]
        self.assertEqual([p["id"] for p in pieces], ids)
        short = {p["id"]: p for p in pieces}
        for p in pieces:
            self.assertEqual(p, short[p["id"]])
        if not FAKE:
            raw = b"".join(bytes(p["piece"]) if isinstance(p["piece"], list) else p["piece"].encode()
                           for p in pieces)
            self.assertEqual(raw.decode(), text)
            self.assertEqual(self.pieces("/detokenize", {"tokens": ids})["content"], text)

    @roomy_only
    def test_a_long_prompt_comes_back(self):
        text = "h\u00e9 \u20ac\"" * (400 if FAKE else 40)
        a = self.ask(NATIVE, completion(prompt=text, max_tokens=1))
        self.assertEqual(a["prompt"], text)


if __name__ == "__main__":
    unittest.main()
