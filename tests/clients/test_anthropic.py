"""The official anthropic client against specd: messages, streams, tools, counts, models, errors.
Skipped without the package.
"""

import asyncio
import json
import unittest

from client_case import MESSAGES, ClientCase, need
from specd_client import FAKE, fake_only

anthropic, pydantic = need("anthropic", "pydantic")
TOOLS = [{"name": "get_weather", "description": "The weather of a city",
          "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
         {"name": "add", "input_schema": {"type": "object", "properties": {"a": {}, "b": {}}}}]
CALLS = [("get_weather", {"city": "Bern"}), ("add", {"a": 1, "b": [2, None]})]
SAID = "I look.\n" + "\n".join(f'<tool_call>\n{json.dumps({"name": n, "arguments": a})}\n</tool_call>'
                               for n, a in CALLS)


class Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class Count(Closed):
    n: int


def calls_of(message):
    return [(b.name, b.input) for b in message.content if b.type == "tool_use"]


class Anthropic(ClientCase):
    @classmethod
    def connect(cls):
        return anthropic.Anthropic(base_url=cls.url, api_key="none", max_retries=0)

    def fields(self, **kw):
        return {"model": "claude-any", "messages": MESSAGES, "max_tokens": 16, **kw,
                "extra_body": {"temperature": 0, "speculative": {"fixed": 2}, **kw.pop("extra_body", {})}}

    def say(self, said, **kw):
        return self.fields(messages=[{"role": "user", "content": "say=" + said}], max_tokens=500, tools=TOOLS, **kw)

    def test_create_and_streams(self):
        message = self.client.messages.create(**self.fields())
        self.assertEqual((message.type, message.role, message.model), ("message", "assistant", "claude-any"))
        self.assertTrue(message._request_id)
        with self.client.messages.stream(**self.fields()) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, message.content[0].text)
        self.assertEqual([b.text for b in final.content], [b.text for b in message.content])
        self.assertEqual((final.stop_reason, final.stop_sequence), (message.stop_reason, message.stop_sequence))
        self.assertEqual(final.usage.output_tokens, message.usage.output_tokens)
        kinds = [e.type for e in self.client.messages.create(stream=True, **self.fields())]
        self.assertEqual(kinds[:2] + kinds[-3:], ["message_start", "content_block_start", "content_block_stop",
                                                  "message_delta", "message_stop"])

    def test_everything_that_is_asked_with(self):
        """As agents do: betas, caching, thinking, system blocks, a beginning."""
        message = self.client.beta.messages.create(
            betas=["context-1m-2025-08-07", "fine-grained-tool-streaming-2025-05-14"],
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            thinking={"type": "disabled"}, metadata={"user_id": "x"}, tools=TOOLS, tool_choice={"type": "auto"},
            **self.fields(stop_sequences=["\n\n\n"], messages=MESSAGES + [{"role": "assistant", "content": "one"}]))
        self.assertIn(message.stop_reason, ("end_turn", "max_tokens", "stop_sequence"))

    @fake_only
    def test_stop_sequence(self):
        message = self.client.messages.create(**self.fields(stop_sequences=["w4"]))
        self.assertEqual((message.stop_reason, message.stop_sequence), ("stop_sequence", "w4"))

    @fake_only
    def test_tools_round_trip(self):
        message = self.client.messages.create(**self.say(SAID))
        self.assertEqual((calls_of(message), message.stop_reason), (CALLS, "tool_use"))
        with self.client.messages.stream(**self.say(SAID)) as stream:
            pieces = [e for e in stream if e.type == "input_json"]
            streamed = stream.get_final_message()
        self.assertEqual(calls_of(streamed), CALLS)
        self.assertGreater(len(pieces), 5)
        self.assertEqual([b.text for b in streamed.content if b.type == "text"], ["I look."])
        for answer in message, streamed:
            results = [{"type": "tool_result", "tool_use_id": b.id, "content": "fine", "is_error": False}
                       for b in answer.content if b.type == "tool_use"]
            again = self.client.messages.create(**{**self.say(""), "messages": [
                {"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer.content},
                {"role": "user", "content": results + [{"type": "text", "text": "say=All is fine."}]}]})
            self.assertEqual((again.content[0].text, again.stop_reason), ("All is fine.", "end_turn"))

    @fake_only
    def test_thinking(self):
        """A block of its own, which goes back as it came."""
        asked = [{"role": "user", "content": f"think=1 say=<think>\nHm, cities.\n</think>\n\n{SAID}"}]
        fields = self.fields(messages=asked, max_tokens=500, tools=TOOLS,
                             thinking={"type": "enabled", "budget_tokens": 1024})
        message = self.client.messages.create(**fields)
        with self.client.messages.stream(**fields) as stream:
            events = [(e.type, getattr(e, "thinking", getattr(e, "text", ""))) for e in stream]
            streamed = stream.get_final_message()
        for answer in message, streamed:
            self.assertEqual([b.type for b in answer.content], ["thinking", "text", "tool_use", "tool_use"])
            self.assertEqual(answer.content[0].thinking, "Hm, cities.")
            self.assertEqual(answer.usage.output_tokens_details.thinking_tokens, 10)  # three bytes a token
        self.assertEqual("".join(t for kind, t in events if kind == "thinking"), "Hm, cities.")
        kinds = [kind for kind, _ in events]
        self.assertLess(kinds.index("signature"), kinds.index("text"))
        again = self.client.messages.create(**{**fields, "messages": [
            *asked, {"role": "assistant", "content": streamed.content[:2]},
            {"role": "user", "content": "think=1 say=Fine."}]})
        self.assertEqual([b.text for b in again.content], ["Fine."])

    @fake_only
    def test_forced(self):
        name, arguments = CALLS[0]
        said = json.dumps({"name": name, "arguments": arguments})
        for choice in {"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": name}:
            message = self.client.messages.create(**self.say(said, tool_choice=choice))
            self.assertEqual((calls_of(message), message.stop_reason), (CALLS[:1], "tool_use"))

    @unittest.skipIf(FAKE, "needs a model")
    def test_parse(self):
        """The client's own way from a model of pydantic to an instance."""
        message = self.client.messages.parse(output_format=Count, **self.fields(max_tokens=200))
        self.assertIsInstance(message.parsed_output, Count)

    @unittest.skipIf(FAKE, "needs a model")
    def test_forced_input_follows_its_schema(self):
        tool = {"name": "count", "input_schema": Count.model_json_schema()}
        message = self.client.messages.create(tools=[tool], tool_choice={"type": "tool", "name": "count"},
                                              **self.fields(max_tokens=300))
        (name, arguments), = calls_of(message)
        self.assertEqual(name, "count")
        Count.model_validate(arguments)

    @unittest.skipIf(FAKE, "needs a model")
    def test_count_tokens(self):
        counted = self.client.messages.count_tokens(model="claude-any", messages=MESSAGES, system="Be brief.")
        usage = self.client.messages.create(system="Be brief.", **self.fields(max_tokens=1)).usage
        self.assertEqual(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens)

    def test_models(self):
        model, = self.client.models.list()
        self.assertEqual((model.type, model.display_name), ("model", model.id))
        self.assertLess(model.created_at.year, 3000)
        self.assertEqual(self.client.models.retrieve(model.id), model)

    def test_errors(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.client.messages.create(**self.fields(messages=[{"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": "http://x"}}]}]))
        self.assertIn("messages.0.content.0", str(caught.exception))
        self.assertEqual(caught.exception.body["request_id"], caught.exception.request_id)
        with self.assertRaises(anthropic.NotFoundError):
            self.client.models.retrieve("claude-none")
        with self.assertRaises(anthropic.NotFoundError):
            self.client.messages.batches.list()

    @fake_only
    def test_errors_in_streams(self):
        order = [{"role": "user", "content": "burst=1 token_ms=30 fail_after=3"}]
        with self.assertRaises(anthropic.APIStatusError) as caught:
            for _ in self.client.messages.create(stream=True, **self.fields(messages=order)):
                pass
        self.assertEqual(caught.exception.body["error"]["type"], "api_error")

    def test_closing_a_stream_cancels(self):
        before = self.server.metric("client_disconnects_total")
        for _ in range(50):  # on a busy machine an answer may be complete before its stream is closed
            stream = self.client.messages.create(stream=True, **self.fields(
                messages=[{"role": "user", "content": "burst=1 token_ms=10"}], max_tokens=900,
                extra_body={"ignore_eos": True}))
            next(iter(stream))
            stream.close()
            self.server.wait_metric("num_requests_running", 0)
            if self.server.metric("client_disconnects_total") == before + 1:
                return
        self.fail("no stream was closed in time, or none was noticed")

    def test_parallel_streams(self):
        async def one(client, i):
            async with client.messages.stream(**self.fields(
                    max_tokens=10 + i % 5, extra_body={"ignore_eos": True})) as stream:
                return (await stream.get_final_message()).usage.output_tokens

        async def all_of_them():
            client = anthropic.AsyncAnthropic(base_url=self.url, api_key="none", max_retries=0)
            counts = await asyncio.gather(*(one(client, i) for i in range(20)))
            await client.close()
            return counts

        self.assertEqual(asyncio.run(all_of_them()), [10 + i % 5 for i in range(20)])


if __name__ == "__main__":
    unittest.main()
