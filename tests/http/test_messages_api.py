"""Anthropic's Messages: shapes of requests, answers, events and errors."""

import json
import unittest

from specd_client import FAKE, Connection, ServerCase, SingleCase, fake_only, roomy_only

PATH, COUNT, CHAT = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
SPEAKS = {"anthropic-version": "2023-06-01"}
TOOLS = [{"name": name, "description": "About " + name,
          "input_schema": {"type": "object", "properties": {key: {} for key in keys}}}
         for name, keys in (("get_weather", ("city",)), ("add", ("a", "b")))]
HERMES = '<tool_call>{"name": "%s", "arguments": %s}</tool_call>'


def body(text="Hello", **kw):
    return {"model": "claude-any", "max_tokens": 12, "messages": [{"role": "user", "content": text}], **kw}


class Shapes:
    def assert_refused(self, reply, status, kind, *words):
        """An error in Anthropic's shape whose message holds the words."""
        self.assertEqual(reply.status, status, reply.body)
        self.assertEqual(reply.headers["Content-Type"], "application/json")
        answer = reply.json()
        self.check_error(answer, kind, *words)
        self.assertEqual(answer["request_id"], reply.headers["request-id"])
        self.assertEqual(answer["request_id"], reply.headers["X-Request-Id"])

    def check_error(self, answer, kind, *words):
        self.assertEqual(set(answer), {"type", "error", "request_id"})
        self.assertEqual(answer["type"], "error")
        self.assertEqual(set(answer["error"]), {"type", "message"})
        self.assertEqual(answer["error"]["type"], kind)
        for word in words:
            self.assertIn(word, answer["error"]["message"])


class MessagesCase(Shapes, ServerCase):
    def ask(self, **fields):
        reply = self.server.post(PATH + "?beta=true", body(**fields),
                                 headers={**SPEAKS, "anthropic-beta": "a-2026-01-01,b", "x-api-key": "any"})
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(reply.headers["request-id"], reply.headers["X-Request-Id"])
        return reply

    def assemble(self, events):
        """The message that a stream's events make, put together as clients do; inputs are left text."""
        events = [e for e in events if e["type"] != "ping"]
        start, *middle, delta, stop = events
        self.assertEqual((start["type"], delta["type"], stop),
                         ("message_start", "message_delta", {"type": "message_stop"}))
        message, is_open = start["message"], False
        self.assertEqual((message["content"], message["stop_reason"]), ([], None))
        for e in middle:
            at = len(message["content"])
            if e["type"] == "content_block_start":
                self.assertFalse(is_open)
                self.assertEqual(e["index"], at)
                message["content"].append(e["content_block"])
                is_open = True
                if e["content_block"]["type"] == "tool_use":
                    self.assertEqual(e["content_block"]["input"], {})
                    e["content_block"]["input"] = ""
                continue
            self.assertTrue(is_open)
            self.assertEqual(e["index"], at - 1)
            block = message["content"][-1]
            if e["type"] == "content_block_stop":
                is_open = False
            elif block["type"] == "text":
                self.assertEqual(set(e["delta"]), {"type", "text"})
                self.assertEqual((e["type"], e["delta"]["type"]), ("content_block_delta", "text_delta"))
                block["text"] += e["delta"]["text"]
            else:
                self.assertEqual((e["type"], e["delta"]["type"]), ("content_block_delta", "input_json_delta"))
                block["input"] += e["delta"]["partial_json"]
        self.assertFalse(is_open)
        self.assertEqual(message["usage"]["output_tokens"], 0)
        for key in "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens":
            self.assertEqual(message["usage"][key], delta["usage"][key])
        return {**message, **delta.pop("delta"), **delta, "type": message["type"]}

    def both(self, **fields):
        """The answer, which is the same whole and as a stream, and what a stream's calls' inputs are."""
        whole = self.ask(**fields).json()
        streamed = self.assemble(self.ask(**fields, stream=True).events())
        inputs = [b.pop("input") for b in streamed["content"] if b["type"] == "tool_use"]
        calls = [b for b in whole["content"] if b["type"] == "tool_use"]
        for answer in whole, streamed:
            self.assertTrue(answer["id"].startswith("msg_"))
            self.assertEqual((answer["type"], answer["role"]), ("message", "assistant"))
            ids = [b["id"] for b in answer["content"] if b["type"] == "tool_use"]
            self.assertEqual(len(set(ids)), len(ids))
            for i in ids:
                self.assertRegex(i, "^[a-zA-Z0-9]{9}$")
        plain = [{k: v for k, v in b.items() if k not in ("id", "input")} for b in whole["content"]]
        self.assertEqual([{k: v for k, v in b.items() if k != "id"} for b in streamed["content"]], plain)
        for key in "model", "stop_reason", "stop_sequence":
            self.assertEqual(whole[key], streamed[key])
        self.assertEqual(whole["usage"]["output_tokens"], streamed["usage"]["output_tokens"])
        self.assertEqual(len(calls), len(inputs))
        return whole, inputs


class Answers(MessagesCase):
    def test_text(self):
        whole, _ = self.both(temperature=0)
        block, = whole["content"]
        self.assertEqual(set(block), {"type", "text"})
        chat = self.server.post(CHAT, {"messages": body()["messages"], "max_tokens": 12, "temperature": 0}).json()
        self.assertEqual(block["text"], chat["choices"][0]["message"]["content"])
        usage = whole["usage"]
        self.assertEqual(set(usage), {"input_tokens", "output_tokens", "cache_read_input_tokens",
                                      "cache_creation_input_tokens", "output_tokens_details"})
        self.assertEqual(usage["input_tokens"] + usage["cache_read_input_tokens"], chat["usage"]["prompt_tokens"])
        self.assertEqual(usage["output_tokens"], chat["usage"]["completion_tokens"])
        self.assertEqual(whole["model"], "claude-any")
        self.assertIn("seed", whole["speculative"])

    def test_limits(self):
        """Clients ask for more tokens than there is room, and for none to have the prompt computed."""
        whole, _ = self.both(max_tokens=0)
        self.assertEqual((whole["content"], whole["stop_reason"], whole["stop_sequence"],
                          whole["usage"]["output_tokens"]), ([], "max_tokens", None, 0))
        self.assertEqual(self.ask(max_tokens=1 << 30, stop_sequences=["w", "e", " ", "\ufffd"]).status, 200)

    @fake_only
    def test_stop_reasons(self):
        for text, fields, reason, stop in (
                ("eos_after=3", {}, "end_turn", None), ("x", {}, "max_tokens", None), ("eos_after=0", {}, "end_turn", None),
                ("x", {"stop_sequences": ["zz", "w3"]}, "stop_sequence", "w3"),
                ("eos_after=9", {"max_tokens": 10**9}, "end_turn", None)):
            whole, _ = self.both(text=text, **fields)
            self.assertEqual((whole["stop_reason"], whole["stop_sequence"]), (reason, stop))
            self.assertEqual(whole["content"] == [], text == "eos_after=0")

    @fake_only
    def test_calls(self):
        first = HERMES % ("get_weather", '{"city": "Bern"}')
        second = HERMES % ("add", '{"a": 1, "b": [true, 0.50]}')
        for text, expected in (
                (first, [{"city": "Bern"}]),
                ("I look.\n" + first + "\n" + second, ["I look.", {"city": "Bern"}, {"a": 1, "b": [True, 0.5]}]),
                (first + "and" + second + "then", [{"city": "Bern"}, "and", {"a": 1, "b": [True, 0.5]}, "then"]),
                (HERMES % ("add", "{}"), [{}])):
            for burst in 1, 2, 5, 1000:
                whole, inputs = self.both(text=f"burst={burst} say={text}", tools=TOOLS, max_tokens=1000)
                self.assertEqual([b.get("text", b.get("input")) for b in whole["content"]], expected)
                self.assertEqual([json.loads(i) for i in inputs], [e for e in expected if isinstance(e, dict)])
                self.assertEqual(whole["stop_reason"], "tool_use")
        for fields in {"tool_choice": {"type": "none"}}, {"tools": []}, {"tools": None}:
            whole, _ = self.both(text="say=" + first, max_tokens=1000, **{"tools": TOOLS, **fields})
            self.assertEqual([b["text"] for b in whole["content"]], [first])
        whole, _ = self.both(text="say=" + first + second, tools=TOOLS, max_tokens=1000,
                             tool_choice={"type": "auto", "disable_parallel_tool_use": True})
        self.assertEqual([b["name"] for b in whole["content"] if b["type"] == "tool_use"], ["get_weather"])

    @fake_only
    def test_calls_that_are_cut(self):
        text = HERMES % ("add", '{"a": "' + "x" * 300 + '"}')
        whole, inputs = self.both(text="say=" + text, tools=TOOLS, max_tokens=40)
        self.assertEqual(whole["stop_reason"], "max_tokens")
        self.assertEqual(whole["content"][0]["input"], {})
        self.assertTrue('{"a": "' in inputs[0] and text.find(inputs[0]) > 0)

    @fake_only
    def test_errors_in_streams(self):
        reply = self.ask(text="burst=1 token_ms=500 fail_after=2", stream=True)
        start, *_, error = reply.events()
        self.assertEqual(start["type"], "message_start")
        self.check_error(error, "api_error", "device")
        self.assertEqual(error["request_id"], reply.headers["request-id"])

    @roomy_only
    @unittest.skipIf(FAKE, "needs a model")
    def test_counts(self):
        """What the same request is charged for its prompt."""
        history = [{"role": "user", "content": [{"type": "text", "text": "Look"}]},
                   {"role": "assistant", "content": [{"type": "tool_use", "id": "abcdefghi", "name": "add",
                                                      "input": {"a": 1}}]},
                   {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "abcdefghi",
                                                 "content": "3"}, {"type": "text", "text": "So?"}]}]
        for fields in {}, {"system": "Be brief."}, {"messages": history}, {"messages": history, "tools": TOOLS[1:]}:
            fields = body(**fields)
            usage = self.ask(**fields).json()["usage"]
            del fields["max_tokens"]
            counted = self.server.post(COUNT + "?beta=true", fields)
            self.assertEqual(counted.json(),
                             {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]})

    @roomy_only
    @unittest.skipIf(FAKE, "needs a model")
    def test_structured_output(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
                  "required": ["n"], "additionalProperties": False}
        form = {"type": "json_schema", "schema": schema}
        whole, _ = self.both(max_tokens=200, temperature=0, output_config={"effort": "low", "format": form})
        self.assertIn(json.loads(whole["content"][0]["text"]), [{"n": n} for n in range(10)])
        schema["properties"]["n"] = {"not": {}}
        self.assert_refused(self.server.post(PATH, body(output_config={"format": form})), 400,
                            "invalid_request_error", "output_config.format", '"not" is not supported')


@unittest.skipIf(FAKE, "needs a chat template")
class Cache(MessagesCase):
    """Claude Code's turns: the whole history each time, and a first line that is never the same."""

    def turn(self, n, history):
        line = f"x-anthropic-billing-header: cc_version=2.1.37.3e8; cc_entrypoint=cli; cch={n * 7919 % 0xfffff:05x};"
        system = [{"type": "text", "text": line},
                  {"type": "text", "text": "You code.", "cache_control": {"type": "ephemeral"}},
                  {"type": "text", "text": "Be brief, call the tools, look before you write: " * 2}]
        return self.ask(system=system, messages=history, max_tokens=4, temperature=1, tools=[
            {"name": "Read", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "w"}],
            thinking={"type": "adaptive"}, metadata={"user_id": "{}"}, stream=n % 2 == 0,
            context_management={"edits": []}, output_config={"effort": "high"})

    @roomy_only
    def test_turns(self):
        history = [{"role": "user", "content": [{"type": "text", "text": "<system-reminder>Today</system-reminder>"},
                                                {"type": "text", "text": "Read it."}]}]
        before = 0
        for n in range(1, 5):
            reply = self.turn(n, history)
            usage = (self.assemble(reply.events()) if n % 2 == 0 else reply.json())["usage"]
            prompt = usage["input_tokens"] + usage["cache_read_input_tokens"]
            if n > 1:  # all of the prompt before, but for its last block and the answer's beginning
                self.assertGreater(usage["cache_read_input_tokens"], before - 40)
            before = prompt
            history += [{"role": "assistant", "content": [
                            {"type": "thinking", "thinking": "so", "signature": "x"},
                            {"type": "text", "text": "I read."},
                            {"type": "tool_use", "id": f"toolu_{n}", "name": "Read", "input": {"path": f"/{n}"}}]},
                        {"role": "user", "content": [
                            {"type": "tool_result", "tool_use_id": f"toolu_{n}", "is_error": n == 2,
                             "content": [{"type": "text", "text": "line of the file " * 3}]},
                            {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}}]}]

    @roomy_only
    def test_nothing_generated_fills_it(self):
        system = "A rather long text of the system, for it to be found again. " * 2
        for fields in {"max_tokens": 0}, {"max_tokens": 1}:
            usage = self.ask(system=system, **fields).json()["usage"]
        self.assertGreater(usage["cache_read_input_tokens"], 16)


class Pings(MessagesCase):
    args = ("--ping-interval", "0.2")

    @fake_only
    def test_pings_are_events(self):
        reply = self.ask(text="burst=1 first_ms=600 token_ms=600", max_tokens=2, stream=True)
        kinds = [e["type"] for e in reply.events()]
        self.assertEqual(kinds[0], "ping")  # the prompt is not counted yet
        self.assertGreaterEqual(kinds[kinds.index("message_start"):].count("ping"), 1)
        self.assertNotIn(b"\n: ", reply.body)
        self.assemble(reply.events())


class Refusals(MessagesCase):
    args = ("--max-body", "64K")

    def test_by_field(self):
        block = [{"type": "text", "text": "x"}]
        for words, fields in (
                (["max_tokens: Field required"], {"max_tokens": None}), (["max_tokens"], {"max_tokens": "x"}),
                (["max_tokens"], {"max_tokens": -2}), (["temperature"], {"temperature": 3}),
                (["stop_sequences"], {"stop_sequences": [""]}), (["stop_sequences"], {"stop_sequences": 1}),
                (["stream"], {"stream": "yes"}), (["model"], {"model": 1}),
                (["messages: "], {"messages": None}), (["messages: "], {"messages": []}),
                (["messages.0.role"], {"messages": [{"role": "tool", "content": "x"}]}),
                (["messages.0.content: "], {"messages": [{"role": "user"}]}),
                (["messages.0.content.1.type", "image"], {"messages": [{"role": "user", "content": block + [
                    {"type": "image", "source": {"type": "url", "url": "http://x"}}]}]}),
                (["messages.1.content.0.type", "server_tool_use"], {"messages": [
                    {"role": "user", "content": block},
                    {"role": "assistant", "content": [{"type": "server_tool_use", "id": "x"}]}]}),
                (["messages.0.content.0.content.1.type", "document"], {"messages": [{"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "x", "content": block + [{"type": "document"}]}]}]}),
                (["system.1.text"], {"system": block + [{"type": "text"}]}), (["system"], {"system": 1}),
                (["tools.1.input_schema"], {"tools": TOOLS[:1] + [{"name": "f"}]}), (["tools.0"], {"tools": [1]}),
                (["tools.0: ", "name"], {"tools": [{"name": "", "input_schema": {}}]}),
                (["tool_choice.type"], {"tool_choice": "any"}), (["tool_choice"], {"tool_choice": {"type": "any"}}),
                (["tool_choice"], {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "nobody"}}),
                (["thinking.type"], {"thinking": {}}), (["chat_template_kwargs"], {"chat_template_kwargs": 1,
                                                                                   "thinking": {"type": "enabled"}}),
                (["output_config.format"], {"output_config": {"format": {"type": "x"}}}),
                (["output_config.format"], {"output_config": {"format": {"type": "json_schema"}}}),
                (["output_config"], {"output_config": 1})):
            with self.subTest(fields=str(fields)[:80]):
                for path in PATH, COUNT:
                    if path == PATH or fields.get("max_tokens", 1) is not None:
                        self.assert_refused(self.server.post(path, body(**fields)), 400, "invalid_request_error",
                                            *words)
        for raw in b"", b"{", b"[]", b"1":
            self.assert_refused(self.server.post(PATH, raw), 400, "invalid_request_error")

    def test_what_is_not_known_is_ignored(self):
        self.ask(container="x", service_tier="auto", speed="fast", betas=["x"], inference_geo=None, mcp_servers=[],
                 cache_control={"type": "ephemeral"}, diagnostics={}, n=3, echo=True, functions=[], max_tokens=1)

    def test_by_status(self):
        self.assert_refused(self.server.get(PATH), 405, "invalid_request_error")
        self.assert_refused(self.server.post(PATH, b"{}", headers={"Content-Type": "text/plain"}), 415,
                            "invalid_request_error")
        for path in PATH, COUNT:
            self.assert_refused(self.server.post(path, body("x" * 70000)), 413, "request_too_large")
        self.assertEqual(self.server.request("OPTIONS", PATH).status, 204)

    @unittest.skipIf(FAKE, "needs a context")
    def test_overflow(self):
        for stream in False, True:
            reply = self.server.post(PATH, body("word " * 5000, stream=stream))
            self.assert_refused(reply, 400, "invalid_request_error")
            self.assertRegex(reply.json()["error"]["message"], r"prompt is too long: \d+ tokens > \d+ maximum")


class Errors(MessagesCase):
    env = {"SPECD_API_KEY": "secret"}

    def test_by_what_the_client_speaks(self):
        """Paths that are nobody's or everybody's."""
        for path, status, kind in (("/v1/messages/batches", 404, "not_found_error"),
                                   ("/v1/models", 401, "authentication_error"),
                                   ("/v1/models/nobody", 401, "authentication_error")):
            self.assert_refused(self.server.get(path, headers=SPEAKS), status, kind)
            self.assert_error(self.server.get(path), status)
        self.assert_refused(self.server.get("/v1/models/nobody", headers={**SPEAKS, "x-api-key": "secret"}),
                            404, "not_found_error", "model")
        self.assert_error(self.server.post(CHAT, {}, headers=SPEAKS), 401)

    def test_keys(self):
        for path in PATH, COUNT:
            for headers in {}, {"x-api-key": "x"}, {"Authorization": "Bearer x"}:
                self.assert_refused(self.server.post(path, body(), headers=headers), 401, "authentication_error")
            for headers in {"x-api-key": "secret"}, {"Authorization": "Bearer secret"}:
                self.assertEqual(self.server.post(path, body(), headers=headers).status, 200)

    def test_probes(self):
        """What Claude Code asks before its first request: any status will do, on a connection that stays."""
        conn = Connection(self.server)
        for path in "/api/hello", "/", "/api/hello":
            reply = self.server.request("HEAD", path, conn=conn)
            self.assertEqual((reply.status, reply.body), (200 if path == "/" else 404, b""))
        conn.close()


class Overload(Shapes, SingleCase):
    @fake_only
    def test_loading(self):
        server = self.start(env={"FAKE_LOAD_MS": "60000"}, wait="listening")
        for path in PATH, COUNT:
            reply = server.post(path, body())
            self.assert_refused(reply, 529, "overloaded_error")
            self.assertGreaterEqual(int(reply.headers["Retry-After"]), 1)


if __name__ == "__main__":
    unittest.main()
