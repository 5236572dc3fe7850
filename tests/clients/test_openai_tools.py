"""The official openai client and tools, against the HTTP side with canned answers in the words of
several model families (tests/http/fake_engine.c). Skipped without the package.
"""

import json
import unittest

from client_case import ClientCase, need

(openai,) = need("openai")

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                       "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "add", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}}},
]
SAID = {
    "hermes": ('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>\n'
               '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'),
    "llama": ('{"name": "get_weather", "parameters": {"city": "Bern"}}; '
              '{"name": "add", "parameters": {"a": 1, "b": 2}}'),
    "mistral": ('[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Bern"}}, '
                '{"name": "add", "arguments": {"a": 1, "b": 2}}]'),
    "coder": ('```json\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n```\n'
              '```xml\n<tools>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tools>\n```'),
    "parameters": ('<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n'
                   '</function>\n</tool_call>\n<function=add><parameter=a>1</parameter>'
                   '<parameter=b>2</parameter></function>'),
}
CALLS = [("get_weather", {"city": "Bern"}), ("add", {"a": 1, "b": 2})]


class Tools(ClientCase):
    @classmethod
    def connect(cls):
        return openai.OpenAI(base_url=cls.url + "/v1", api_key="none", max_retries=0)

    def create(self, said, **kw):
        messages = [{"role": "user", "content": "say=" + said}]
        return self.client.chat.completions.create(
            **{"model": "fake", "messages": messages, "tools": TOOLS, **kw})

    def test_calls(self):
        for family, said in SAID.items():
            with self.subTest(family):
                choice = self.create(said).choices[0]
                self.assertEqual(choice.finish_reason, "tool_calls")
                self.assertIsNone(choice.message.content)
                self.assertEqual([(c.function.name, json.loads(c.function.arguments))
                                  for c in choice.message.tool_calls], CALLS)

    def test_streamed_calls(self):
        for family, said in SAID.items():
            with self.subTest(family):
                calls, reason = {}, None
                for chunk in self.create(said, stream=True):
                    choice = chunk.choices[0]
                    self.assertFalse(choice.delta.content)
                    reason = choice.finish_reason or reason
                    for c in choice.delta.tool_calls or []:
                        call = calls.setdefault(c.index, {"id": c.id, "name": "", "arguments": ""})
                        call["name"] += c.function.name or ""
                        call["arguments"] += c.function.arguments or ""
                self.assertEqual(reason, "tool_calls")
                self.assertEqual([(calls[i]["name"], json.loads(calls[i]["arguments"]))
                                  for i in sorted(calls)], CALLS)
                self.assertEqual(len({c["id"] for c in calls.values()}), 2)

    def test_stream_helper(self):
        """The client's own accumulation of a stream."""
        messages = [{"role": "user", "content": "say=" + SAID["hermes"]}]
        with self.client.chat.completions.stream(model="fake", messages=messages,
                                                 tools=TOOLS) as stream:
            final = stream.get_final_completion().choices[0]
        self.assertEqual(final.finish_reason, "tool_calls")
        self.assertEqual([c.function.name for c in final.message.tool_calls],
                         [name for name, _ in CALLS])

    def test_deltas(self):
        """The name once and first, then arguments as they are written: the helper tells each piece."""
        for family in "hermes", "parameters":
            messages = [{"role": "user", "content": "say=" + SAID[family]}]
            pieces = []
            with self.client.chat.completions.stream(model="fake", messages=messages,
                                                     tools=TOOLS) as stream:
                for event in stream:
                    if event.type == "tool_calls.function.arguments.delta":
                        pieces.append((event.index, event.arguments_delta))
                final = stream.get_final_completion().choices[0].message
            for i, call in enumerate(final.tool_calls):
                heard = [piece for index, piece in pieces if index == i]
                self.assertGreater(len(heard), 3)
                self.assertEqual("".join(heard), call.function.arguments)

    def test_thoughts(self):
        """In the member that readers know; the client's own accumulation keeps it, too."""
        said = f"<think>\nHm, cities.\n</think>\n\n{SAID['hermes']}"
        messages = [{"role": "user", "content": "think=1 say=" + said}]
        fields = {"model": "fake", "messages": messages, "tools": TOOLS}
        whole = self.client.chat.completions.create(**fields)
        with self.client.chat.completions.stream(**fields, stream_options={"include_usage": True}) as stream:
            deltas = [getattr(e.chunk.choices[0].delta, "reasoning_content", None) for e in stream
                      if e.type == "chunk" and e.chunk.choices]
            final = stream.get_final_completion()
        self.assertEqual("".join(filter(None, deltas)), "Hm, cities.")
        for answer in whole, final:
            message = answer.choices[0].message
            self.assertEqual((message.reasoning_content, message.content), ("Hm, cities.", None))
            self.assertEqual([c.function.name for c in message.tool_calls], [name for name, _ in CALLS])
            self.assertEqual(answer.usage.completion_tokens_details.reasoning_tokens, 10)

    def test_allowed(self):
        """Some of the tools, in the client's own shape."""
        allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "add"}}]}
        choice = {"type": "allowed_tools", "allowed_tools": allowed}
        message = self.create(SAID["hermes"], tool_choice=choice).choices[0].message
        self.assertEqual([c.function.name for c in message.tool_calls], ["add"])
        self.assertIn("get_weather", message.content)

    def test_round_trip(self):
        """The message as the client holds it, and a result for each call, go back."""
        message = self.create(SAID["hermes"]).choices[0].message
        messages = [{"role": "user", "content": "Hi"}, message]
        messages += [{"role": "tool", "tool_call_id": c.id, "content": "fine"}
                     for c in message.tool_calls]
        messages.append({"role": "user", "content": "say=All is fine."})
        answer = self.create("", messages=messages).choices[0]
        self.assertEqual((answer.message.content, answer.finish_reason), ("All is fine.", "stop"))
        self.assertIsNone(answer.message.tool_calls)

    def test_one_at_a_time(self):
        answer = self.create(SAID["hermes"], parallel_tool_calls=False).choices[0]
        self.assertEqual(len(answer.message.tool_calls), 1)

    def test_no_tools(self):
        answer = self.create(SAID["hermes"], tool_choice="none").choices[0]
        self.assertEqual(answer.message.content, SAID["hermes"])

    def test_forced(self):
        """As a grammar makes them: an object, or a list of those."""
        named = {"type": "function", "function": {"name": "get_weather"}}
        for key in "arguments", "parameters":
            said = ['{"name": "%s", "%s": %s}' % (name, key, json.dumps(arguments))
                    for name, arguments in CALLS]
            for text, choice, calls in ((said[0], named, CALLS[:1]),
                                        (said[1], "required", CALLS[1:]),
                                        ("[%s, %s]" % tuple(said), "required", CALLS)):
                answer = self.create(text, tool_choice=choice).choices[0]
                self.assertEqual((answer.message.content, answer.finish_reason),
                                 (None, "tool_calls"))
                self.assertEqual([(c.function.name, json.loads(c.function.arguments))
                                  for c in answer.message.tool_calls], calls)

    def test_choices_of_nothing(self):
        named = {"type": "function", "function": {"name": "nobody"}}
        for fields in {"tool_choice": named}, {"tool_choice": "required", "tools": []}:
            with self.assertRaises(openai.BadRequestError) as caught:
                self.create("x", **fields)
            self.assertEqual(caught.exception.param, "tool_choice")


if __name__ == "__main__":
    unittest.main()
