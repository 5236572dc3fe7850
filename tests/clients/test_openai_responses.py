"""The official openai client's responses.*: create, stream, parse, calls of tools and their results,
many streams, a stream that is closed. Skipped without the package.
"""

import asyncio
import json
import unittest

from client_case import PROMPT, ClientCase, need
from specd_client import FAKE, fake_only

openai, pydantic = need("openai", "pydantic")
ADD = {"type": "function", "name": "add", "strict": True, "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
    "additionalProperties": False}}
EDIT = {"type": "custom", "name": "edit", "description": "Edits."}
SAID = ('say=Well. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
        '<tool_call>{"name": "edit", "arguments": {"input": "x\\ny"}}</tool_call>')


class Place(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(pattern="^[A-Z][a-z]{1,8}$")
    height: int = pydantic.Field(ge=0, le=9000)


class Responses(ClientCase):
    @classmethod
    def connect(cls):
        client = openai.OpenAI(base_url=cls.url + "/v1", api_key="none", max_retries=0,
                               _strict_response_validation=True)
        cls.model = client.models.list().data[0].id
        return client

    def create(self, **kw):
        return self.client.responses.create(**{"model": self.model, "input": PROMPT, "temperature": 0,
                                               "extra_body": {"speculative": {"fixed": 2}}, **kw})

    def test_create(self):
        r = self.create(max_output_tokens=8, instructions="Count.", metadata={"a": "b"},
                        extra_body={"ignore_eos": True})
        self.assertTrue(r.output_text)
        self.assertEqual((r.status, r.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual((r.usage.output_tokens, r.instructions, r.metadata),
                         (8, "Count.", {"a": "b"}))
        self.assertEqual(r.usage.total_tokens, r.usage.input_tokens + 8)
        n = self.client.responses.input_tokens.count(model=self.model, input=PROMPT,
                                                     instructions="Count.")
        self.assertEqual(n.object, "response.input_tokens")
        if not FAKE:
            self.assertEqual(n.input_tokens, r.usage.input_tokens)

    def test_events(self):
        plain = self.create(max_output_tokens=8)
        events = list(self.create(max_output_tokens=8, stream=True))
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        self.assertEqual(text, plain.output_text)
        self.assertEqual(events[-1].response.usage.output_tokens, plain.usage.output_tokens)
        self.assertEqual([e.sequence_number for e in events], list(range(len(events))))

    @fake_only
    def test_stream_helper(self):
        """It checks the order of events and puts the answer together from their deltas."""
        for said in "say=Just words.", SAID:
            with self.client.responses.stream(model=self.model, input=said,
                                              tools=[ADD, EDIT]) as stream:
                text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
                final = stream.get_final_response()
            self.assertEqual(final.output_text, text)
            self.assertEqual(final.status, "completed")
            self.assertEqual([i.type for i in final.output],
                             ["message", "function_call", "custom_tool_call"][:len(final.output)])
        self.assertEqual(final.output[1].parsed_arguments, {"a": 1})
        self.assertEqual(final.output[2].input, "x\ny")

    @fake_only
    def test_reasoning(self):
        """An item of its own ahead of the others; its events are what the client's types say."""
        fields = dict(model=self.model, tools=[ADD, EDIT],
                      input="think=1 say=<think>\nHm, one.\n</think>\n\n" + SAID.removeprefix("say="))
        with self.client.responses.stream(**fields) as stream:
            events = list(stream)
            final = stream.get_final_response()
        kinds = [e.type.removeprefix("response.") for e in events]
        deltas = [e.delta for e in events if e.type == "response.reasoning_text.delta"]
        self.assertEqual("".join(deltas), "Hm, one.")
        begin, end = kinds.index("output_item.added"), kinds.index("output_item.done")
        self.assertEqual(kinds[begin:end + 1], [
            "output_item.added", "content_part.added", *["reasoning_text.delta"] * len(deltas),
            "reasoning_text.done", "content_part.done", "output_item.done"])
        r = self.create(**fields)
        for answer in r, final:
            self.assertEqual([i.type for i in answer.output],
                             ["reasoning", "message", "function_call", "custom_tool_call"])
            self.assertEqual(answer.output[0].content[0].text, "Hm, one.")
            self.assertEqual(answer.usage.output_tokens_details.reasoning_tokens, 9)  # three bytes a token
        again = self.create(tools=[ADD, EDIT], input=[
            {"role": "user", "content": "x"}, *r.output[:2], {"role": "user", "content": "say=Two."}])
        self.assertEqual(again.output_text, "Two.")

    @fake_only
    def test_round_trip(self):
        """What came goes back as it is, with results."""
        r = self.create(input=SAID, tools=[ADD, EDIT])
        message, call, custom = r.output
        history = [{"role": "user", "content": "x"}, *r.output,
                   {"type": "function_call_output", "call_id": call.call_id, "output": "2"},
                   {"type": "custom_tool_call_output", "call_id": custom.call_id, "output": "ok"},
                   {"role": "user", "content": "say=Two."}]
        again = self.create(input=history, tools=[ADD, EDIT])
        self.assertEqual(again.output_text, "Two.")
        again = self.create(tools=[ADD, EDIT], stream=True, input=[
            i.to_dict() if hasattr(i, "to_dict") else i for i in history])
        self.assertEqual(list(again)[-1].response.output_text, "Two.")

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_parse(self):
        fields = dict(model=self.model, input=PROMPT, text_format=Place, max_output_tokens=300,
                      extra_body={"seed": 1, "speculative": {"fixed": 2}})
        r = self.client.responses.parse(**fields)
        self.assertIsInstance(r.output_parsed, Place)
        with self.client.responses.stream(**fields) as stream:
            self.assertEqual(stream.get_final_response().output_parsed, r.output_parsed)

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_forced_call(self):
        for choice in "required", {"type": "function", "name": "add"}:
            for seed in range(3):
                r = self.create(tools=[ADD], tool_choice=choice, parallel_tool_calls=False,
                                temperature=1, max_output_tokens=200, extra_body={"seed": seed})
                call, = r.output
                self.assertEqual((call.type, call.name), ("function_call", "add"))
                self.assertEqual(set(json.loads(call.arguments)), {"a"})

    def test_logprobs(self):
        r = self.create(max_output_tokens=4, include=["message.output_text.logprobs"],
                        top_logprobs=2, extra_body={"ignore_eos": True})
        entries = r.output[0].content[0].logprobs
        self.assertEqual([len(e.top_logprobs) for e in entries], [2] * 4)

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.create(previous_response_id="resp_1")
        self.assertEqual(caught.exception.param, "previous_response_id")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.create(input=[{"role": "user", "content": [
                {"type": "input_image", "image_url": "data:", "detail": "auto"}]}], stream=True)
        self.assertEqual(caught.exception.param, "input[0].content[0].type")

    def test_parallel_streams(self):
        async def one(client, i):
            stream = await client.responses.create(
                model=self.model, input=PROMPT, stream=True, max_output_tokens=10 + i % 5,
                temperature=0, extra_body={"ignore_eos": True})
            events = [e async for e in stream]
            return events[-1].response.usage.output_tokens

        async def all_of_them():
            client = openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
            counts = await asyncio.gather(*(one(client, i) for i in range(20)))
            await client.close()
            return counts

        self.assertEqual(asyncio.run(all_of_them()), [10 + i % 5 for i in range(20)])

    @unittest.skipIf(FAKE, "its answers are complete at once")
    def test_closing_a_stream_cancels(self):
        before = self.server.metric("client_disconnects_total")
        for _ in range(50):  # on a busy machine an answer may be complete before its stream is closed
            stream = self.create(stream=True, max_output_tokens=900, extra_body={"ignore_eos": True})
            next(iter(stream))
            stream.close()
            self.server.wait_metric("num_requests_running", 0)
            if self.server.metric("client_disconnects_total") == before + 1:
                return
        self.fail("no stream was closed in time, or none was noticed")


if __name__ == "__main__":
    unittest.main()
