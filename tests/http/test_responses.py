"""Responses: the object, the order of a stream's events, what of a body is read, and what is refused."""

import json
import unittest

from specd_client import FAKE, ServerCase, fake_only, roomy_only

PATH, COUNT, CHAT = "/v1/responses", "/v1/responses/input_tokens", "/v1/chat/completions"
ADD = {"type": "function", "name": "add", "description": "Adds.", "strict": False,
       "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
PATCH = {"type": "custom", "name": "patch", "description": "Edits.",
         "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}}
SAID = ('say=I see.\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
        '<tool_call>{"name": "patch", "arguments": {"input": "x\\n\\"y\\""}}</tool_call>')


def user(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def codex(*more, **kw):
    """A request as Codex sends it, with a history of every kind of item that it keeps."""
    return {
        "model": "gpt-5-codex", "instructions": "You code.", "store": False, "stream": True,
        "input": [
            {"type": "message", "role": "developer", "content": [
                {"type": "input_text", "text": "Be short."}]},
            user("<environment_context>"), user("Fix it."),
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}],
             "content": None, "encrypted_content": "zzz"},
            {"type": "function_call", "name": "add", "arguments": '{"a":1}', "call_id": "call_1"},
            {"type": "function_call", "name": "add", "arguments": '{"a":', "call_id": "call_2"},
            {"type": "function_call_output", "call_id": "call_1", "output": "2"},
            {"type": "function_call_output", "call_id": "call_2", "output": [
                {"type": "input_text", "text": "no"}, {"type": "input_text", "text": "JSON"}]},
            {"type": "custom_tool_call", "call_id": "call_3", "name": "patch", "input": "***"},
            {"type": "custom_tool_call_output", "call_id": "call_3", "output": "ok"},
            {"type": "web_search_call", "status": "completed", "action": {"type": "search"}},
            {"type": "message", "role": "assistant", "phase": "final", "content": [
                {"type": "output_text", "text": "Done.", "annotations": []}]},
            *more],
        "tools": [ADD, PATCH, {"type": "web_search", "external_web_access": True},
                  {"type": "namespace", "name": "ns", "tools": [ADD]}, {"type": "local_shell"}],
        "tool_choice": "auto", "parallel_tool_calls": True,
        "reasoning": {"effort": "xhigh", "summary": "auto"},
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "key",
        "client_metadata": {"x": "y"}, "text": {"verbosity": "low"}, "service_tier": "auto", **kw}


class ResponsesCase(ServerCase):
    def whole(self, body):
        reply = self.server.post(PATH, {**body, "stream": False})
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def stream(self, body):
        """The last event's response, after everything that clients check of a stream."""
        reply = self.server.post(PATH, {**body, "stream": True})
        self.assertEqual(reply.status, 200, reply.body)
        self.assertNotIn(b"[DONE]", reply.body)
        self.assertNotIn(b"\n:", b"\n" + reply.body)
        events = reply.events()
        self.assertEqual(reply.body.count(b"event: "), len(events))
        self.assertEqual([e["sequence_number"] for e in events], list(range(len(events))))
        created, *between, last = events
        self.assertEqual(created["type"], "response.created")
        self.assertEqual(between[0]["type"], "response.in_progress")
        for e in created, between[0]:
            self.assertEqual((e["response"]["status"], e["response"]["output"]), ("in_progress", []))
            self.assertIsNone(e["response"]["usage"])
        done = self.items(e for e in between if e["type"] != "response.in_progress")
        self.assertEqual(last["type"], "response." + last["response"]["status"])
        self.assertEqual(last["response"]["output"], done)
        for key in "id", "created_at", "model", "tools", "instructions", "text":
            self.assertEqual(last["response"][key], created["response"][key])
        return last["response"]

    def items(self, events):
        """The items that were told, each put together of its deltas."""
        items, item = [], None
        for e in events:
            kind = e["type"].removeprefix("response.")
            self.assertEqual(e["output_index"], len(items))
            if kind == "output_item.added":
                self.assertIsNone(item)
                item, text, entries, said = e["item"], "", [], None
                self.assertEqual(item["status"], "in_progress")
                continue
            if kind == "output_item.done":
                member = {"function_call": "arguments", "custom_tool_call": "input"}.get(item["type"])
                final = {**item, "status": e["item"]["status"]}
                if member:
                    final[member] = text
                else:
                    final["content"] = [{"type": "output_text", "text": text, "annotations": [],
                                         "logprobs": entries}]
                    self.assertTrue(text)
                self.assertEqual((e["item"], said), (final, text))
                self.assertIn(e["item"]["status"], ("completed", "incomplete"))
                items.append(e["item"])
                item = None
                continue
            self.assertEqual(e["item_id"], item["id"])
            if item["type"] == "message":
                self.assertEqual(e["content_index"], 0)
            if kind == "content_part.added":
                self.assertEqual((e["part"]["text"], text), ("", ""))
            elif kind == "content_part.done":
                self.assertEqual((e["part"]["text"], e["part"]["logprobs"]), (text, entries))
            elif kind.endswith(".delta"):
                self.assertIsNone(said)
                text += e["delta"]
                entries += e.get("logprobs", [])
            else:
                if kind == "function_call_arguments.done":
                    self.assertEqual((e["name"], e["call_id"]), (item["name"], item["call_id"]))
                said = e.get("text", e.get("arguments", e.get("input")))
                entries = e.get("logprobs", entries)
        self.assertIsNone(item)
        self.assertEqual(len({i["id"] for i in items}), len(items))
        return items

    def both(self, body):
        """The same answer, whole and of a stream, but for ids and times."""
        a, b = self.whole(body), self.stream(body)
        for r in a, b:
            self.assertTrue(r.pop("id").startswith("resp_"))
            self.assertTrue(r.pop("timings") and r.pop("speculative") and r.pop("created_at"))
            calls = [i.pop("call_id") for i in r["output"] if "call_id" in i]
            ids = [i.pop("id") for i in r["output"]]
            self.assertEqual(len(set(calls + ids)), len(calls + ids))
            r["usage"]["input_tokens_details"]["cached_tokens"] = 0
        self.assertEqual(a, b)
        return a


class Responses(ResponsesCase):
    def test_text(self):
        for fields in ({}, {"instructions": "Be kind.", "metadata": {"a": "b"}},
                       {"input": [user("Hello")]}, {"input": [{"role": "user", "content": "Hello"}]},
                       {"n": 3, "echo": True, "return_tokens": True, "truncation": "auto"}):
            r = self.both({"input": "Hello", "max_output_tokens": 6, "temperature": 0,
                           "ignore_eos": True, **fields})
            item, = r["output"]
            self.assertEqual((item["type"], item["status"]), ("message", "incomplete"))
            self.assertEqual(r["incomplete_details"], {"reason": "max_output_tokens"})
            self.assertEqual(r["usage"]["output_tokens"], 6)
            self.assertEqual(r["usage"]["total_tokens"], 6 + r["usage"]["input_tokens"])
            self.assertEqual(r["usage"]["output_tokens_details"]["reasoning_tokens"], 0)
            self.assertEqual((r["max_output_tokens"], r["instructions"], r["metadata"]),
                             (6, fields.get("instructions"), fields.get("metadata", {})))

    def test_same_as_chat(self):
        """One prompt, one text, whatever the dialect."""
        fields = {"temperature": 1, "seed": 5, "ignore_eos": True, "speculative": {"fixed": 2}}
        r = self.both({"input": "Hello", "instructions": "Hi", "max_output_tokens": 12, **fields})
        chat = self.server.post(CHAT, {**fields, "max_tokens": 12, "messages": [
            {"role": "system", "content": "Hi"}, {"role": "user", "content": "Hello"}]}).json()
        self.assertEqual(r["output"][0]["content"][0]["text"],
                         chat["choices"][0]["message"]["content"])
        self.assertEqual(r["usage"]["input_tokens"], chat["usage"]["prompt_tokens"])

    def test_logprobs(self):
        body = {"input": "Hello", "max_output_tokens": 8, "temperature": 0, "ignore_eos": True}
        r = self.both({**body, "include": ["message.output_text.logprobs"], "top_logprobs": 2})
        entries = r["output"][0]["content"][0]["logprobs"]
        self.assertEqual([len(e["top_logprobs"]) for e in entries], [2] * 8)
        r = self.both({**body, "top_logprobs": 2})
        self.assertEqual(r["output"][0]["content"][0]["logprobs"], [])

    @fake_only
    def test_calls(self):
        r = self.both({"input": SAID, "tools": [ADD, PATCH]})
        self.assertEqual(r["status"], "completed")
        message, call, custom = r["output"]
        self.assertEqual(message["content"][0]["text"], "I see.")
        self.assertEqual((call["type"], call["name"], json.loads(call["arguments"])),
                         ("function_call", "add", {"a": 1}))
        self.assertEqual((custom["type"], custom["name"], custom["input"]),
                         ("custom_tool_call", "patch", 'x\n"y"'))
        self.assertEqual((r["tools"], r["tool_choice"]), ([ADD, PATCH], "auto"))
        r = self.both({"input": SAID, "tools": [ADD, PATCH], "parallel_tool_calls": False})
        self.assertEqual([i["type"] for i in r["output"]], ["message", "function_call"])
        for fields in {"tools": [ADD, PATCH], "tool_choice": "none"}, {"tools": [{"type": "x"}]}, {}:
            r = self.both({"input": SAID, **fields})
            self.assertEqual(r["output"][0]["content"][0]["text"], SAID[4:])

    @fake_only
    def test_cut_off(self):
        """In a call, and in what might have become one."""
        for n in range(5, 40):
            r = self.both({"input": SAID, "tools": [ADD, PATCH], "max_output_tokens": n})
            cut = n < (len(SAID) - 4 + 2) // 3
            self.assertEqual(r["status"], "incomplete" if cut else "completed")
            self.assertEqual({i["status"] for i in r["output"][:-1]} - {"completed"}, set())

    @fake_only
    def test_no_text(self):
        r = self.both({"input": "say="})
        self.assertEqual((r["status"], r["output"]), ("completed", []))

    @fake_only
    def test_format(self):
        schema = {"type": "object", "properties": {"a": {"enum": [1, None]}}}
        for form, told in (({"type": "text"}, "none "), ({"type": "json_object"}, "text.format "),
                           ({"type": "json_schema", "name": "n", "strict": True, "schema": schema},
                            "text.format " + json.dumps(schema, separators=(",", ":")))):
            r = self.both({"input": "format=1", "text": {"format": form, "verbosity": "low"}})
            self.assertEqual(r["output"][0]["content"][0]["text"], told)
            self.assertEqual(r["text"]["format"], form)
        for choice in "required", {"type": "function", "name": "add"}, {"type": "custom", "name": "patch"}:
            r = self.both({"input": "format=1", "tools": [ADD, PATCH], "tool_choice": choice})
            self.assertTrue(r["output"][0]["content"][0]["text"].startswith("tools "))
            self.assertEqual(r["tool_choice"], choice)

    @fake_only
    def test_failure(self):
        reply = self.server.post(PATH, {"input": "fail_after=0", "stream": True})
        self.assert_error(reply, 500)
        reply = self.server.post(PATH, {"input": "burst=1 token_ms=100 fail_after=3", "stream": True})
        *_, last = reply.events()
        self.assertEqual(last["type"], "response.failed")
        self.assertEqual((last["response"]["status"], last["response"]["error"]["code"]),
                         ("failed", "server_error"))

    @unittest.skipIf(FAKE, "needs a context")
    def test_overflow(self):
        """By the name that the field has here."""
        for stream in False, True:
            reply = self.server.post(PATH, {"input": "word " * 5000, "stream": stream})
            self.assert_error(reply, 400, "input", "context_length_exceeded")
            self.assertRegex(reply.json()["error"]["message"], r"^input: prompt is too long: \d+ tokens > \d+ maximum")

    def test_probe(self):
        r = self.whole({"input": [], "max_output_tokens": 1, "ignore_eos": True})
        self.assertEqual(r["usage"]["output_tokens"], 1)
        self.assertEqual(self.server.post("/responses", {"input": "x", "max_output_tokens": 1}).status,
                         200)

    def test_count(self):
        for body in {"input": "Hello"}, {"input": [user("Hello")], "instructions": "Hi", "stream": True}:
            n = self.server.post(COUNT, body).json()
            self.assertEqual(set(n), {"object", "input_tokens"})
            self.assertEqual(n["object"], "response.input_tokens")
            if not FAKE:
                r = self.whole({**body, "max_output_tokens": 1})
                self.assertEqual(n["input_tokens"], r["usage"]["input_tokens"])
        self.assertGreater(self.server.post(COUNT, {"input": "one two " * 5000}).json()["input_tokens"],
                           5000)  # more than the context has
        self.assert_error(self.server.post(COUNT, {"input": 5}), 400, "input")

    def test_refused(self):
        message = {"role": "user", "content": "x"}
        for param, body in (
                ("input", {"input": None}), ("input", {"input": 1}),
                ("input", {"input": {}}), ("input[1]", {"input": [message, "x"]}),
                ("input", {"input": [{"type": "item_reference", "id": "x"}]}),
                ("input", {"input": [{"type": "function_call", "call_id": "c", "name": "f",
                                      "arguments": "{}"}] * 20000}),
                ("input[0].role", {"input": [{"content": "x"}]}),
                ("input[0].role", {"input": [{"role": "tool", "content": "x"}]}),
                ("input[1].type", {"input": [message, {"type": "new_thing"}]}),
                ("input[0].type", {"input": [{"type": 5}]}),
                ("input[0].content", {"input": [{"role": "user"}]}),
                ("input[0].content", {"input": [{"role": "assistant", "content": 1}]}),
                ("input[0].content[1].type", {"input": [{"role": "user", "content": [
                    {"type": "input_text", "text": "x"},
                    {"type": "input_image", "image_url": "data:"}]}]}),
                ("input[0].content[0].type", {"input": [{"role": "user", "content": ["x"]}]}),
                ("input[0].content[0].text", {"input": [{"role": "user", "content": [
                    {"type": "input_text"}]}]}),
                ("input[0].call_id", {"input": [{"type": "function_call", "name": "f"}]}),
                ("input[0].name", {"input": [{"type": "function_call", "call_id": "c"}]}),
                ("input[0].arguments", {"input": [{"type": "function_call", "call_id": "c",
                                                   "name": "f", "arguments": 1}]}),
                ("input[0].input", {"input": [{"type": "custom_tool_call", "call_id": "c",
                                               "name": "f"}]}),
                ("input[0].call_id", {"input": [{"type": "function_call_output", "output": "x"}]}),
                ("input[0].output", {"input": [{"type": "function_call_output", "call_id": "c"}]}),
                ("input[0].output[0].type", {"input": [{
                    "type": "function_call_output", "call_id": "c",
                    "output": [{"type": "input_image", "image_url": "data:"}]}]}),
                ("input[0].summary[0].text", {"input": [{"type": "reasoning", "summary": [
                    {"type": "summary_text"}]}]}),
                ("instructions", {"instructions": 5}), ("tools", {"tools": 5}),
                ("tools", {"tools": [ADD, {"type": "function", "name": "a b"}]}),
                ("tools", {"tools": [{"type": "custom"}]}), ("tools", {"tools": [{"name": "x"}]}),
                ("tool_choice", {"tools": [ADD], "tool_choice": {"type": "web_search"}}),
                ("tool_choice", {"tools": [ADD], "tool_choice": "always"}),
                ("tool_choice", {"tools": [{"type": "web_search"}], "tool_choice": "required"}),
                ("tool_choice", {"tools": [ADD], "tool_choice": {"type": "function", "name": "no"}}),
                ("text", {"text": "x"}), ("text.format", {"text": {"format": {"type": "xml"}}}),
                ("text.format", {"text": {"format": {"type": "json_schema", "name": "n"}}}),
                ("reasoning", {"reasoning": "high"}), ("reasoning.effort", {"reasoning": {"effort": 1}}),
                ("include", {"include": "x"}), ("include", {"include": [1]}),
                ("max_output_tokens", {"max_output_tokens": -5}),
                ("max_output_tokens", {"max_output_tokens": 0}),
                ("previous_response_id", {"previous_response_id": "resp_1"}),
                ("conversation", {"conversation": "conv_1"}), ("background", {"background": True}),
                ("prompt", {"prompt": {"id": "pmpt_1"}})):
            with self.subTest(param=param, body=body):
                self.assert_error(self.server.post(PATH, {"input": "x", **body}), 400, param)
        reply = self.server.post(PATH, {"input": "x", "tools": [{"type": "x"}, {"type": "custom"}]})
        self.assertIn("tools[1]", reply.json()["error"]["message"])

    def test_taken(self):
        for fields in ({"background": False, "conversation": None, "prompt": None},
                       {"reasoning": {"effort": "enormous"}}, {"reasoning": None, "text": None},
                       {"tools": [], "tool_choice": "auto"}, {"tools": None, "tool_choice": None},
                       {"store": True, "user": "x", "safety_identifier": "x", "max_tool_calls": 3,
                        "service_tier": "flex", "context_management": [], "prompt_cache_options": {},
                        "stream_options": {"include_obfuscation": False}}):
            self.whole({"input": "x", "max_output_tokens": 1, **fields})

    @roomy_only
    def test_codex(self):
        """As recorded; the next turn finds the former in the cache."""
        first = self.stream(codex(max_output_tokens=24, temperature=0, ignore_eos=True))
        self.assertEqual(len(first["tools"]), 5)
        history = [{k: v for k, v in i.items() if k not in ("id", "status")} for i in first["output"]]
        second = self.stream(codex(*history, user("And now?"), max_output_tokens=4))
        if FAKE:
            return
        used = [r["usage"]["input_tokens_details"]["cached_tokens"] for r in (first, second)]
        self.assertGreater(used[1], used[0])
        self.assertGreaterEqual(used[1], first["usage"]["input_tokens"] // 32 * 32 - 32)


class Idle(ResponsesCase):
    args = ("--ping-interval", "0.2")

    @fake_only
    def test_events_keep_it_alive(self):
        for order in "first_ms=1000", "burst=1 token_ms=500 eos_after=3":
            reply = self.server.post(PATH, {"input": order, "stream": True, "max_output_tokens": 4})
            events = [e["type"] for e in reply.events()]
            self.assertEqual(events[:2], ["response.created", "response.in_progress"])
            self.assertGreater(events.count("response.in_progress"), 1)
            self.stream({"input": order, "max_output_tokens": 4})


if __name__ == "__main__":
    unittest.main()
