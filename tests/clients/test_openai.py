"""The official openai client against specd: completions, chat, streaming, many streams, errors.
Skipped without the package.
"""

import asyncio
import enum
import itertools
import json
import unittest

from client_case import MESSAGES, PROMPT, ClientCase, need

openai, pydantic = need("openai", "pydantic")


class Sky(enum.Enum):
    SUN = "sun"
    RAIN = "rain"


class Closed(pydantic.BaseModel):
    """No other members: a model that draws at random comes to an end."""
    model_config = pydantic.ConfigDict(extra="forbid")


class Place(Closed):
    name: str = pydantic.Field(pattern="^[A-Z][a-z]{1,8}$")
    height: int = pydantic.Field(ge=0, le=9000)


class Count(Closed):
    n: int = pydantic.Field(ge=-5, le=5)


class Weather(Closed):
    """With an enum and a class of its own, which become references."""
    sky: Sky
    mild: bool | None
    places: list[Place] = pydantic.Field(max_length=2)


class OpenAI(ClientCase):
    @classmethod
    def connect(cls):
        client = openai.OpenAI(base_url=cls.url + "/v1", api_key="none", max_retries=0)
        cls.model = client.models.list().data[0].id
        return client

    def test_completion(self):
        answer = self.client.completions.create(
            model=self.model, prompt=PROMPT, max_tokens=12, temperature=0,
            extra_body={"ignore_eos": True})
        self.assertEqual(answer.object, "text_completion")
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 12)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 12)

    def test_prompt_as_tokens_and_as_list(self):
        answer = self.client.completions.create(
            model=self.model, prompt=[[5, 6, 7], [8, 9]], max_tokens=3, temperature=0)
        self.assertEqual([c.index for c in answer.choices], [0, 1])
        self.assertEqual(answer.usage.prompt_tokens, 5)

    def test_stream_equals_plain(self):
        fields = dict(  # K is fixed: usage counts accepted tokens, and an adaptive K follows the clock
            model=self.model, prompt=PROMPT, max_tokens=20, temperature=0,
            extra_body={"speculative": {"fixed": 2}})
        plain = self.client.completions.create(**fields)
        chunks = list(self.client.completions.create(
            stream=True, stream_options={"include_usage": True}, **fields))
        text = "".join(c.choices[0].text for c in chunks if c.choices)
        self.assertEqual(text, plain.choices[0].text)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage, plain.usage)
        self.assertEqual(len({c.id for c in chunks}), 1)

    def test_chat(self):
        fields = dict(model=self.model, messages=MESSAGES, max_tokens=15, temperature=0)
        plain = self.client.chat.completions.create(**fields)
        self.assertEqual(plain.choices[0].message.role, "assistant")
        chunks = list(self.client.chat.completions.create(stream=True, **fields))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, plain.choices[0].message.content)
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
        self.assertEqual(reasons[-1], plain.choices[0].finish_reason)
        self.assertTrue(all(r is None for r in reasons[:-1]))

    def test_seed_repeats(self):
        def once(seed):
            return self.client.chat.completions.create(
                model=self.model, messages=MESSAGES, max_tokens=16, temperature=1.0, seed=seed,
                extra_body={"speculative": {"fixed": 2}}).choices[0].message.content
        self.assertEqual(once(7), once(7))
        self.assertGreater(len({once(s) for s in range(4)}), 1)

    def test_content_parts(self):
        parts = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]

        def ask(content):
            return self.client.chat.completions.create(
                model=self.model, max_tokens=8, temperature=0,
                messages=[{"role": "user", "content": content}])
        self.assertEqual(ask(parts).usage.prompt_tokens,
                         ask("one two\nthree").usage.prompt_tokens)

    def test_several_choices(self):
        fields = dict(model=self.model, messages=MESSAGES, max_tokens=8, temperature=1, seed=3, n=3,
                      extra_body={"ignore_eos": True})
        answer = self.client.chat.completions.create(**fields)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        self.assertEqual(answer.usage.completion_tokens, 24)
        texts = [""] * 3
        for chunk in self.client.chat.completions.create(stream=True, **fields):
            for c in chunk.choices:
                texts[c.index] += c.delta.content or ""
        self.assertEqual(texts, [c.message.content for c in answer.choices])

    def test_logprobs(self):
        chat = self.client.chat.completions.create(
            model=self.model, messages=MESSAGES, max_tokens=6, temperature=0, logprobs=True,
            top_logprobs=3, extra_body={"ignore_eos": True})
        tokens = chat.choices[0].logprobs.content
        self.assertEqual(len(tokens), 6)
        for t in tokens:
            self.assertEqual(len(t.top_logprobs), 3)
            self.assertEqual(t.logprob, max(x.logprob for x in t.top_logprobs))
        text = self.client.completions.create(
            model=self.model, prompt=PROMPT, max_tokens=6, temperature=0, logprobs=2,
            extra_body={"ignore_eos": True}).choices[0].logprobs
        self.assertEqual([len(text.tokens), len(text.token_logprobs), len(text.top_logprobs),
                          len(text.text_offset)], [6] * 4)

    def test_json_object(self):
        """Any object, of which a model that draws at random may not find the end in time."""
        for seed in range(4):
            choice = self.client.chat.completions.create(
                model=self.model, messages=MESSAGES, response_format={"type": "json_object"},
                seed=seed, max_tokens=300).choices[0]
            self.assertEqual(choice.message.content.lstrip()[0], "{")
            if choice.finish_reason == "stop":
                self.assertIsInstance(json.loads(choice.message.content), dict)

    def test_json_schema(self):
        form = {"type": "json_schema", "json_schema": {
            "name": "weather", "strict": True, "schema": Weather.model_json_schema()}}
        for seed in range(4):
            fields = dict(model=self.model, messages=MESSAGES, response_format=form, seed=seed,
                          max_tokens=600, extra_body={"speculative": {"fixed": 2}})
            choice = self.client.chat.completions.create(**fields).choices[0]
            self.assertEqual(choice.finish_reason, "stop")
            Weather.model_validate_json(choice.message.content)
            text = "".join(c.choices[0].delta.content or "" for c in
                           self.client.chat.completions.create(stream=True, **fields))
            self.assertEqual(text, choice.message.content)
        answer = self.client.completions.create(
            model=self.model, prompt=PROMPT, max_tokens=600, seed=1,
            extra_body={"response_format": form}).choices[0]
        Weather.model_validate_json(answer.text)

    def test_parse(self):
        """The client's own way from a model of pydantic to an instance."""
        fields = dict(model=self.model, messages=MESSAGES, response_format=Weather, seed=1,
                      max_tokens=600)
        parsed = self.client.chat.completions.parse(**fields).choices[0].message.parsed
        self.assertIsInstance(parsed, Weather)
        with self.client.chat.completions.stream(**fields) as stream:
            kinds = {event.type for event in stream}
            streamed = stream.get_final_completion().choices[0].message.parsed
        self.assertEqual(streamed, parsed)
        self.assertIn("content.done", kinds)

    def test_forced_tools(self):
        """By name, any of them, and as the client makes tools of models of pydantic."""
        go = openai.pydantic_function_tool(Place, name="go")
        count = openai.pydantic_function_tool(Count, name="count")
        named = {"type": "function", "function": {"name": "go"}}
        for seed, (choice, classes) in itertools.product(range(3), (
                ("required", {"count": Count, "go": Place}), (named, {"go": Place}))):
            fields = dict(model=self.model, messages=MESSAGES, tools=[go, count],
                          tool_choice=choice, parallel_tool_calls=False, seed=seed, max_tokens=300)
            answer = self.client.chat.completions.parse(**fields).choices[0]
            self.assertEqual((answer.finish_reason, answer.message.content), ("tool_calls", None))
            call, = answer.message.tool_calls
            self.assertIsInstance(call.function.parsed_arguments, classes[call.function.name])
            with self.client.chat.completions.stream(**fields) as stream:
                final = stream.get_final_completion().choices[0]
            self.assertEqual(final.message.tool_calls[0].function.arguments,
                             call.function.arguments)

    def test_several_calls(self):
        """required allows a list, to which a bias leads here."""
        opening, comma = (self.server.post("/tokenize", {"content": c}).json()["tokens"][-1]
                          for c in "[,")
        tool = openai.pydantic_function_tool(Count, name="count")
        counts = set()
        for seed in range(8):
            answer = self.client.chat.completions.create(
                model=self.model, messages=MESSAGES, tools=[tool], tool_choice="required",
                seed=seed, max_tokens=600, logit_bias={str(opening): 100, str(comma): 5},
                extra_body={"return_tokens": True}).choices[0]
            self.assertEqual(answer.tokens[0], opening)
            if answer.finish_reason == "length":
                continue
            self.assertEqual((answer.finish_reason, answer.message.content), ("tool_calls", None))
            counts.add(len(answer.message.tool_calls))
            for call in answer.message.tool_calls:
                Count.model_validate_json(call.function.arguments)
        self.assertGreater(max(counts), 1)

    def test_schemas_that_can_not_be_followed(self):
        """Refused by name and place, before anything is generated."""
        schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model=self.model, messages=MESSAGES,
                                                response_format=form, stream=True)
        self.assertEqual(caught.exception.param, "response_format")
        self.assertIn('"not" is not supported', caught.exception.message)

    def test_errors_are_typed(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(
                model=self.model, messages=MESSAGES, temperature=9)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.NotFoundError):
            self.client.get("/nothing", cast_to=object)

    def test_closing_a_stream_cancels(self):
        before = self.server.metric("client_disconnects_total")
        for _ in range(50):  # on a busy machine an answer may be complete before its stream is closed
            stream = self.client.chat.completions.create(
                model=self.model, messages=MESSAGES, stream=True, max_tokens=900,
                extra_body={"ignore_eos": True})
            next(iter(stream))
            stream.close()
            self.server.wait_metric("num_requests_running", 0)
            if self.server.metric("client_disconnects_total") == before + 1:
                return
        self.fail("no stream was closed in time, or none was noticed")

    def test_parallel_streams(self):
        async def one(client, i):
            stream = await client.chat.completions.create(
                model=self.model, messages=MESSAGES, stream=True, max_tokens=10 + i % 5,
                temperature=0, extra_body={"ignore_eos": True})
            return sum([1 async for c in stream if c.choices and not c.choices[0].finish_reason])

        async def all_of_them():
            client = openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
            counts = await asyncio.gather(*(one(client, i) for i in range(50)))
            await client.close()
            return counts

        counts = asyncio.run(all_of_them())
        for i, n in enumerate(counts):
            self.assertGreaterEqual(n, 10 + i % 5)


if __name__ == "__main__":
    unittest.main()
