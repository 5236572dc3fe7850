"""Thoughts of a model: apart from the answer in every dialect, whole and in streams, or left in its text."""

import itertools
import os
import struct
import tempfile
import unittest

from specd_client import ARGS, FAKE, ServerCase, fake_only

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "think.jinja")
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
# What the model writes, and the parts of it: thought, text, what is called.
TEXTS = (("<think>\nI see.\n</think>\n\nYes.", "I see.", "Yes.", None),
         (f"<think>Shall I {CALL}?</think>{CALL}", f"Shall I {CALL}?", "", "add"),
         (f"<think>a < b</think> Well: {CALL}", "a < b", "Well:", "add"),
         ("<think>\n\n</think>\n\nAt once.", "", "At once.", None), ("<think>It is so", "It is so", "", None),
         ("No <think>thought</think>", "", "No <think>thought</think>", None))


def tools(path):
    function = {"name": "add", "description": "Adds", "parameters": PARAMETERS}
    return [{CHAT: {"type": "function", "function": function}, RESPONSES: {"type": "function", **function},
             MESSAGES: {"name": "add", "input_schema": PARAMETERS}}[path]]


class Thoughts(ServerCase):
    def ask(self, path, text, stream, **kw):
        user = [{"role": "user", "content": text}]
        limit = kw.pop("limit", 200)
        body = {"max_output_tokens": limit, "input": user} if path == RESPONSES else \
            {"max_tokens": limit, "messages": user}
        if stream and path == CHAT:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        reply = self.server.post(path, {"temperature": 0, **body, **kw, "stream": stream})
        self.assertEqual(reply.status, 200, reply.body)
        return reply.events() if stream else reply.json()

    def chat(self, answer):
        """Of each dialect's answer: (thought, text, name of the call or None, tokens of the thought)."""
        message = answer["choices"][0]["message"]
        calls = [c["function"]["name"] for c in message.get("tool_calls", [None]) if c]
        self.assertEqual(message["content"] is None, bool(calls) and not message["content"])
        if "reasoning_content" in message:
            self.assertTrue(message["reasoning_content"])
        details = answer["usage"]["completion_tokens_details"]
        return (message.get("reasoning_content", ""), message["content"] or "", (calls or [None])[0],
                details["reasoning_tokens"])

    def chat_stream(self, events):
        *chunks, usage, done = events
        self.assertEqual(done, "[DONE]")
        thought, text, calls, counts = "", "", [], [0]
        for e in chunks:
            delta = e["choices"][0]["delta"]
            if delta.get("reasoning_content"):
                self.assertEqual((text, calls), ("", []))
            thought += delta.get("reasoning_content", "")
            text += delta.get("content", "")
            calls += [c["function"]["name"] for c in delta.get("tool_calls", []) if "id" in c]
            counts.append(e["usage"]["completion_tokens_details"]["reasoning_tokens"])
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(usage["usage"]["completion_tokens_details"]["reasoning_tokens"], counts[-1])
        return thought, text, (calls or [None])[0], counts[-1]

    def responses(self, answer):
        kinds = [i["type"] for i in answer["output"]]
        self.assertEqual(kinds, sorted(kinds, key=("reasoning", "message", "function_call").index))
        got = {"reasoning": "", "message": "", "function_call": None}
        for item in answer["output"]:
            if item["type"] == "reasoning":
                self.assertEqual((item["id"][:3], item["summary"]), ("rs_", []))
                self.assertEqual(item["content"][0]["type"], "reasoning_text")
            got[item["type"]] = item["name"] if "name" in item else item["content"][0]["text"]
        return (*got.values(), answer["usage"]["output_tokens_details"]["reasoning_tokens"])

    def responses_stream(self, events):
        items, kind, said = [], None, ""
        for e in events:
            name = e["type"].removeprefix("response.")
            if name == "output_item.added":
                kind, said = e["item"]["type"], ""
                self.assertEqual(e["output_index"], len(items))
                if kind == "reasoning":
                    self.assertEqual((e["item"]["content"], e["item"]["summary"]), ([], []))
            elif name == "output_item.done":
                self.assertEqual(e["item"]["type"], kind)
                if kind == "reasoning":
                    self.assertEqual(e["item"]["content"], [{"type": "reasoning_text", "text": said}])
                items.append(e["item"])
                kind = None
            elif kind == "reasoning":
                self.assertIn(name, ("content_part.added", "content_part.done", "reasoning_text.delta",
                                     "reasoning_text.done"))
                self.assertEqual(e["content_index"], 0)
                said += e.get("delta", "")
                if name.endswith("done"):
                    self.assertEqual(e.get("text", e.get("part", {}).get("text")), said)
        self.assertEqual(events[-1]["response"]["output"], items)
        return self.responses(events[-1]["response"])

    def messages(self, answer):
        got = {"thinking": "", "text": "", "tool_use": None}
        kinds = [b["type"] for b in answer["content"]]
        self.assertEqual(kinds, sorted(kinds, key=list(got).index))
        for b in answer["content"]:
            got[b["type"]] = b.get("name") or b[b["type"]]
            if b["type"] == "thinking":
                self.assertEqual(b, {"type": "thinking", "thinking": b["thinking"], "signature": ""})
        return (*got.values(), answer["usage"]["output_tokens_details"]["thinking_tokens"])

    def messages_stream(self, events):
        content, kinds = [], []
        for e in events:
            if e["type"] == "content_block_start":
                content.append(e["content_block"])
                kinds = []
            elif e["type"] == "content_block_delta":
                kinds.append(e["delta"].pop("type"))
                for name, value in e["delta"].items():
                    if name in content[-1]:
                        content[-1][name] += value
            elif e["type"] == "content_block_stop" and content[-1]["type"] == "thinking":
                self.assertEqual(kinds, ["thinking_delta"] * (len(kinds) - 1) + ["signature_delta"])
        return self.messages({"content": content, "usage": events[-2]["usage"]})

    def parts(self, path, text, **kw):
        """The same whole and streamed."""
        name = path.split("/")[2]
        whole = getattr(self, name)(self.ask(path, text, False, **kw))
        streamed = getattr(self, name + "_stream")(self.ask(path, text, True, **kw))
        self.assertEqual(whole, streamed)
        return whole

    @fake_only
    def test_parts(self):
        for (text, *parts), path, burst, begun in itertools.product(TEXTS, (CHAT, RESPONSES, MESSAGES),
                                                                    (1, 3, 1000), (False, True)):
            if begun and not text.startswith("<think>"):
                continue
            said = text.removeprefix("<think>") if begun else text
            with self.subTest(path=path, text=said, burst=burst):
                *got, n = self.parts(path, f"think={1 + begun} burst={burst} say={said}", tools=tools(path))
                self.assertEqual(got, parts)
                end = said.find("</think>") + len("</think>") if "</think>" in said else len(said)
                self.assertEqual(n, 0 if text.startswith("No") else (end + 2) // 3)  # three bytes a token

    @fake_only
    def test_without_tools(self):
        for (text, thought, *_), path in itertools.product(TEXTS, (CHAT, RESPONSES, MESSAGES)):
            got = self.parts(path, "think=1 say=" + text)
            rest = text.split("</think>")[-1].strip() if thought != "It is so" else ""
            self.assertEqual(got[:3], (thought, text if text.startswith("No") else rest, None))

    @fake_only
    def test_left_in_the_text(self):
        """On demand, under a grammar, and where the template has no tags; a raw prompt is not taken apart."""
        text = "<think>Hm.</think>Yes."
        for path in CHAT, RESPONSES, MESSAGES:
            for order, fields in (("think=1", {"reasoning_format": "none"}), ("think=0", {}),
                                  ("think=2", {"json_schema": {"type": "object"}})):
                self.assertEqual(self.parts(path, f"{order} say={text}", **fields), ("", text, None, 0))
            for value in "auto", "deepseek", None:
                self.assertEqual(self.parts(path, f"think=1 say={text}", reasoning_format=value)[0], "Hm.")
            for value in "legacy", 1, True:
                reply = self.server.post(path, {"max_tokens": 1, "input": "x", "reasoning_format": value,
                                                "messages": [{"role": "user", "content": "x"}]})
                self.assertEqual(reply.status, 400)
                self.assertIn("reasoning_format", reply.json()["error"]["message"])
        r = self.server.post("/v1/completions", {"prompt": "think=1 say=" + text, "max_tokens": 50})
        self.assertEqual(r.json()["choices"][0]["text"], text)

    @fake_only
    def test_ends(self):
        """Cut within a thought or behind it, and by a stop string, which may stand in one."""
        text = "think=1 say=<think>One two three</think>Four five"
        for path in CHAT, RESPONSES, MESSAGES:
            self.assertEqual(self.parts(path, text, limit=5), ("One two", "", None, 5))  # "<think>One two "
            self.assertEqual(self.parts(path, text, limit=10)[:2], ("One two three", "Fo"))
        for path, field in (CHAT, "stop"), (MESSAGES, "stop_sequences"):
            self.assertEqual(self.parts(path, text, **{field: ["two"]})[:2], ("One", ""))
            self.assertEqual(self.parts(path, text, **{field: ["five"]})[:2], ("One two three", "Four "))
        status = self.ask(RESPONSES, text, False, limit=5)
        self.assertEqual((status["status"], [i["status"] for i in status["output"]]), ("incomplete", ["incomplete"]))
        status = self.ask(RESPONSES, text, False, limit=10)
        self.assertEqual([i["status"] for i in status["output"]], ["completed", "incomplete"])
        self.assertEqual(self.ask(CHAT, text, False, limit=5)["choices"][0]["finish_reason"], "length")
        self.assertEqual(self.ask(MESSAGES, text, False, limit=5)["stop_reason"], "max_tokens")

    @fake_only
    def test_choices_logprobs_echo(self):
        text = "think=1 say=<think>One two</think> Four"
        answer = self.ask(CHAT, text, False, n=2, logprobs=True, echo=True, return_tokens=True)
        for c in answer["choices"]:
            self.assertEqual(c["message"]["reasoning_content"], "One two")
            self.assertEqual(c["message"]["content"], text + "Four")
            self.assertEqual(len(c["logprobs"]["content"]), len(c["tokens"]))  # of all
        details = answer["usage"]["completion_tokens_details"]
        self.assertEqual(details["reasoning_tokens"], 2 * 8)
        # In Responses entries are the message's: of the tokens that show its text
        fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
        for stream in False, True:
            answer = self.ask(RESPONSES, text, stream, **fields)
            thought, message = (answer[-1]["response"] if stream else answer)["output"]
            self.assertNotIn("logprobs", thought["content"][0])
            self.assertEqual(len(message["content"][0]["logprobs"]), 2)

    @fake_only
    def test_long(self):
        """Longer than what is written at once."""
        thought, text = '"a' * 3500, '"b' * 3500  # as JSON half as long again
        for path in CHAT, RESPONSES, MESSAGES:
            got = self.parts(path, f"think=1 say=<think>{thought}</think>{text}", limit=9000)
            self.assertEqual(got[:2], (thought, text))


class LeftInTheText(Thoughts):
    args = ("--reasoning-format", "none")
    test_parts = test_without_tools = test_left_in_the_text = test_ends = test_choices_logprobs_echo = test_long = None

    @fake_only
    def test_server_option(self):
        text = "<think>Hm.</think>Yes."
        for path in CHAT, RESPONSES, MESSAGES:
            for value, parts in (None, ("", text)), ("auto", ("", text)), ("deepseek", ("Hm.", "Yes.")):
                self.assertEqual(self.parts(path, "think=1 say=" + text, reasoning_format=value)[:2], parts)


@unittest.skipIf(FAKE, "needs a chat template")
class Templates(Thoughts):
    """A model that never ends its thought, where its prompt begins one."""
    args = ("--chat-template", TEMPLATE)
    BASE = {"ignore_eos": True, "limit": 8}

    def test_prompts(self):
        for path in CHAT, RESPONSES, MESSAGES:
            off = {CHAT: {"reasoning_effort": "none"}, RESPONSES: {"reasoning": {"effort": "none"}},
                   MESSAGES: {"thinking": {"type": "disabled"}}}[path]
            thought, text, _, n = self.parts(path, "Hi", **self.BASE)
            self.assertEqual((text, n), ("", 8))
            _, text, _, n = self.parts(path, "Hi", reasoning_format="none", **self.BASE)
            self.assertEqual((text.strip(), n), (thought, 0))
            for fields in off, {"chat_template_kwargs": {"enable_thinking": False}}:
                thought, text, _, n = self.parts(path, "Hi", **fields, **self.BASE)
                self.assertEqual((thought, n), ("", 0))
                self.assertTrue(text)
            _, text, _, n = self.parts(path, "Hi", guided_choice=["yes", "no"], limit=20)
            self.assertIn(text, ("yes", "no"))
            self.assertEqual(n, 0)

    def test_beginnings(self):
        """An answer that the client has begun goes on where it was, in a thought or behind it."""
        def answer(begun, user="Hi"):
            body = {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": begun}],
                    "max_tokens": 8, "ignore_eos": True, "temperature": 0, "continue_final_message": True}
            return self.chat(self.server.post(CHAT, body).json())
        for begun in "<think>I", "<think>I</think><think>\nso":
            self.assertEqual(answer(begun)[1::2], ("", 8))
        for begun in "I", "<think>I</think>", "I see.</think>":
            self.assertEqual(answer(begun, "What is <think>?")[::3], ("", 0))

    def test_what_a_user_says(self):
        """It begins no thought, even where nothing stands between it and the answer."""
        body = {"messages": [{"role": "user", "content": "What is <think>"}], "add_generation_prompt": False,
                "max_tokens": 8, "ignore_eos": True, "temperature": 0}
        self.assertEqual(self.chat(self.server.post(CHAT, body).json())[::3], ("", 0))


@unittest.skipIf(FAKE, "needs a vocabulary")
class ControlTokens(ServerCase):
    """A tag that is a control token of the vocabulary has a text in a chat, and there alone."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        model, template = (os.path.join(cls.folder.name, name) for name in ("model.gguf", "think.jinja"))
        with open(ARGS[ARGS.index("-m") + 1], "rb") as f:
            data = f.read()
        # Token 1 becomes a tag, and another name longer by as much as that one is shorter.
        for old, new in (b"<|im_start|>", b"[/THINK]"), (b"<|endoftext|>", b"<|end_of_a_text|>"):
            sized = [struct.pack("<Q", len(name)) + name for name in (old, new)]
            assert data.count(sized[0]) == 1
            data = data.replace(*sized)
        with open(model, "wb") as f:
            f.write(data)
        with open(template, "w") as f:
            f.write("{% for m in messages %}{{ m.content }}{% endfor %}[THINK]")
        cls.args = ("-m", model, "-md", "none", "--chat-template", template)
        super().setUpClass()

    def test_tags(self):
        fields = {"allowed_token_ids": [1], "max_tokens": 3, "ignore_eos": True}
        tag, user = "[/THINK]", [{"role": "user", "content": "Hi"}]
        for more, content, n in ({}, 2 * tag, 1), ({"reasoning_format": "none"}, 3 * tag, 0):
            r = self.server.post(CHAT, {**fields, **more, "messages": user}).json()
            self.assertEqual(r["choices"][0]["message"], {"role": "assistant", "content": content})
            self.assertEqual(r["usage"]["completion_tokens_details"]["reasoning_tokens"], n)
        r = self.server.post("/v1/completions", {**fields, "prompt": "[THINK]"}).json()
        self.assertEqual(r["choices"][0]["text"], "")


if __name__ == "__main__":
    unittest.main()
