"""litellm, langchain and llama-index against specd, in the three dialects: answers, streams, calls of
tools, agents, and whether they see that a conversation is too long.

With $TEST_FAKE=1 canned answers make calls (tests/http/fake_engine.c: what a tool gives back is the
next answer); else the daemon answers from a model, and calls are forced. They live in an environment
of their own (tests/clients/requirements-long.txt, scripts/venv.sh), since together they fix the
versions of a hundred packages; litellm's streams in Messages want its proxy's. Skipped without.
"""

import asyncio
import importlib
import json
import os
import sys
import unittest
from typing import Literal

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

# Nothing but the server under test may be asked.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false")

from specd_client import FAKE, Server, fake_only, parse_events  # noqa: E402

try:
    for package in ("fastapi", "langchain.agents", "langchain_anthropic", "langchain_openai", "litellm",
                    "llama_index.llms.openai_like", "mcp"):
        importlib.import_module(package)
except ImportError as e:
    print(f"skip: {e}")
    sys.exit(77)

import litellm  # noqa: E402

litellm.suppress_debug_info = True

PROMPT = "one two three one two three one two"
LONG = "word " * 9000
TOKENS = 16  # the fewest that litellm asks for in Responses
WEATHER = {"type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}}, "required": ["city"],
           "additionalProperties": False}
CALLED = 'I look. <tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}</tool_call>'
ADDED = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
CALLS = [("get_weather", {"city": "Bern"}), ("add", {"a": 1, "b": 2})]
TOOLS = [("get_weather", WEATHER), ("add", NUMBERS)]
model_only = unittest.skipIf(FAKE, "needs a model")


def setUpModule():
    global server, root, url, model, loop
    loop = asyncio.Runner()  # one for all: clients keep connections
    server = Server()
    root = f"http://127.0.0.1:{server.port}"
    url = root + "/v1"
    model = server.get("/v1/models").json()["data"][0]["id"]


def tearDownModule():
    loop.close()
    wrong = server.stop()
    assert wrong is None, wrong


def plain_text():
    """What every dialect must answer to PROMPT, whoever asks."""
    return server.post("/v1/chat/completions", {
        "messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS,
        "temperature": 0}).json()["choices"][0]["message"]["content"]


class Chat:
    """litellm's chat completions: asks, and says (text, calls as (id, name, arguments), what goes back
    as history)."""

    provider = "openai"

    def fields(self, stream, **kw):
        base = url if self.provider == "openai" else root
        return dict(model=f"{self.provider}/{model}", api_base=base, api_key="none", num_retries=0,
                    temperature=0, stream=stream, **kw)

    def ask(self, messages, stream, limit=None, tools=(), choice=None):
        kw = {"max_tokens": limit or 500}
        if tools:
            kw["tools"] = [{"type": "function", "function": {"name": n, "parameters": p}} for n, p in tools]
        if choice:
            kw["tool_choice"] = {"type": "function", "function": {"name": choice}}
        answer = litellm.completion(messages=messages, **self.fields(stream, **kw))
        if stream:
            pieces = list(answer)
            assert len(pieces) > 2
            answer = litellm.stream_chunk_builder(pieces, messages=messages)
        message = answer.choices[0].message
        calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]
        assert answer.choices[0].finish_reason in (["tool_calls"] if calls else ["stop", "length"])
        return message.content or "", calls, [message.model_dump(exclude_none=True)]

    def results(self, calls, said):
        return [{"role": "tool", "tool_call_id": c[0], "content": said} for c in calls]


class ChatOverMessages(Chat):
    """Asked as a chat, sent as Messages."""

    provider = "anthropic"


class Responses(Chat):
    def ask(self, messages, stream, limit=None, tools=(), choice=None):
        kw = {"max_output_tokens": limit or 500}
        if tools:
            kw["tools"] = [{"type": "function", "name": n, "parameters": p} for n, p in tools]
        if choice:
            kw["tool_choice"] = {"type": "function", "name": choice}
        answer = litellm.responses(input=messages, **self.fields(stream, **kw))
        if stream:
            events = list(answer)
            answer = events[-1].response
            assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == \
                answer.output_text
        calls = [(i.call_id, i.name, json.loads(i.arguments)) for i in answer.output
                 if i.type == "function_call"]
        return answer.output_text, calls, [i.model_dump(exclude_none=True) for i in answer.output]

    def results(self, calls, said):
        return [{"type": "function_call_output", "call_id": c[0], "output": said} for c in calls]


class Messages(Chat):
    provider = "anthropic"

    def ask(self, messages, stream, limit=None, tools=(), choice=None):
        kw = {"max_tokens": limit or 500}
        if tools:
            kw["tools"] = [{"name": n, "input_schema": p} for n, p in tools]
        if choice:
            kw["tool_choice"] = {"type": "tool", "name": choice}
        blocks = loop.run(self.blocks(dict(messages=messages, **self.fields(stream, **kw))))
        return ("".join(b["text"] for b in blocks if b["type"] == "text"),
                [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
                [{"role": "assistant", "content": blocks}])

    async def blocks(self, fields):
        """Its streams are the server's bytes."""
        fields["model"] = "anthropic/claude-sonnet-4-5"  # one whose price it can log
        answer = await litellm.anthropic.messages.acreate(**fields)
        if not fields["stream"]:
            return answer["content"]
        blocks, inputs = [], []
        for e in parse_events(b"".join([part async for part in answer])):
            if e["type"] == "content_block_start":
                blocks.append(e["content_block"])
                inputs.append("")
            elif e["type"] == "content_block_delta" and e["delta"]["type"] == "text_delta":
                blocks[e["index"]]["text"] += e["delta"]["text"]
            elif e["type"] == "content_block_delta":
                inputs[e["index"]] += e["delta"]["partial_json"]
        return [{**b, "input": json.loads(i)} if b["type"] == "tool_use" else b
                for b, i in zip(blocks, inputs)]

    def results(self, calls, said):
        return [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": c[0], "content": said} for c in calls]}]


class Litellm(unittest.TestCase):
    def each(self, test):
        """Calls test(way, stream)."""
        for way in Chat(), ChatOverMessages(), Responses(), Messages():
            for stream in False, True:
                with self.subTest(type(way).__name__, stream=stream):
                    test(way, stream)

    def test_answers(self):
        text = plain_text()
        def test(way, stream):
            answer = way.ask([{"role": "user", "content": PROMPT}], stream, TOKENS)
            self.assertEqual(answer[:2], (text, []))

        self.each(test)

    @model_only
    def test_names_errors(self):
        """It goes by the words of the message: agents shorten a conversation only then."""
        def test(way, stream):
            with self.assertRaises(litellm.exceptions.ContextWindowExceededError):
                way.ask([{"role": "user", "content": LONG}], stream, 5)

        self.each(test)

    @fake_only
    def test_tools_round_trip(self):
        def test(way, stream):
            asked = [{"role": "user", "content": "say=" + CALLED + ADDED}]
            text, calls, back = way.ask(asked, stream, tools=TOOLS)
            self.assertEqual((text.strip(), [c[1:] for c in calls]), ("I look.", CALLS))
            self.assertEqual(len({c[0] for c in calls}), 2)
            history = asked + back + way.results(calls, "say=It rains.")
            self.assertEqual(way.ask(history, stream, tools=TOOLS)[:2], ("It rains.", []))

        self.each(test)

    @model_only
    def test_forced_tools_round_trip(self):
        def test(way, stream):
            asked = [{"role": "user", "content": "How is the weather?"}]
            _, calls, back = way.ask(asked, stream, tools=TOOLS, choice="get_weather")
            (_, name, arguments), = calls
            self.assertEqual((name, list(arguments)), ("get_weather", ["city"]))
            self.assertIn(arguments["city"], ("Bern", "Rome"))
            text, calls, _ = way.ask(asked + back + way.results(calls, "Rain."), stream, TOKENS, TOOLS)
            self.assertTrue(text)
            self.assertEqual(calls, [])

        self.each(test)


class Langchain(unittest.TestCase):
    def each(self, test):
        """Calls test(make), where make(limit) is a model that writes up to limit tokens."""
        from langchain_anthropic import ChatAnthropic
        from langchain_openai import ChatOpenAI
        fields = dict(model=model, api_key="none", temperature=0, max_retries=0)
        for name, make in (
                ("chat", lambda limit: ChatOpenAI(base_url=url, max_tokens=limit, use_responses_api=False,
                                                  **fields)),
                ("responses", lambda limit: ChatOpenAI(base_url=url, max_tokens=limit,
                                                       use_responses_api=True, **fields)),
                ("messages", lambda limit: ChatAnthropic(base_url=root, max_tokens=limit, **fields))):
            with self.subTest(name):
                test(make)

    def test_answers(self):
        text = plain_text()
        def test(make):
            chat = make(TOKENS)
            answer = chat.invoke(PROMPT)
            self.assertEqual(answer.text, text)
            self.assertGreater(answer.usage_metadata["output_tokens"], 0)
            pieces = list(chat.stream(PROMPT))
            self.assertGreater(len(pieces), 2)
            self.assertEqual("".join(p.text for p in pieces), text)

        self.each(test)

    @model_only
    def test_names_errors(self):
        from langchain_core.exceptions import ContextOverflowError
        def test(make):
            with self.assertRaises(ContextOverflowError):
                make(5).invoke(LONG)
            with self.assertRaises(ContextOverflowError):
                list(make(5).stream(LONG))

        self.each(test)

    def run_agent(self, agent, asked):
        """The conversation as the agent leaves it, and as it streams it: two of them."""
        request = {"messages": [{"role": "user", "content": asked}]}
        yield agent.invoke(request)["messages"]
        pieces = [p for p, _ in agent.stream(request, stream_mode="messages")]
        self.assertTrue(any(getattr(p, "tool_call_chunks", None) for p in pieces))
        yield list(agent.stream(request, stream_mode="values"))[-1]["messages"]
        yield loop.run(agent.ainvoke(request))["messages"]

    @fake_only
    def test_agent(self):
        from langchain.agents import create_agent

        def get_weather(city: str) -> str:
            """The weather of a city."""
            return f"say=In {city} it rains. " + ADDED

        def add(a: int, b: int) -> str:
            """A sum."""
            return f"say=It is {a + b}."

        def test(make):
            for conversation in self.run_agent(create_agent(make(500), [get_weather, add]), "say=" + CALLED):
                self.assertEqual([m.type for m in conversation], ["human", "ai", "tool", "ai", "tool", "ai"])
                _, first, _, second, _, last = conversation
                self.assertEqual([(c["name"], c["args"]) for m in (first, second) for c in m.tool_calls], CALLS)
                self.assertEqual([m.text.strip() for m in (first, second, last)],
                                 ["I look.", "In Bern it rains.", "It is 3."])

        self.each(test)

    @model_only
    def test_agent_whose_first_call_is_forced(self):
        from langchain.agents import create_agent
        from langchain.agents.middleware import AgentMiddleware

        class Force(AgentMiddleware):
            def forced(self, request):
                return request.override(tool_choice=None if request.messages[-1].type == "tool" else "any")

            def wrap_model_call(self, request, handler):
                return handler(self.forced(request))

            async def awrap_model_call(self, request, handler):
                return await handler(self.forced(request))

        def get_weather(city: Literal["Bern", "Rome"]) -> str:
            """The weather of a city."""
            return f"In {city} it rains."

        def test(make):
            agent = create_agent(make(100), [get_weather], middleware=[Force()])
            for conversation in self.run_agent(agent, "How is the weather?"):
                self.assertEqual([m.type for m in conversation], ["human", "ai", "tool", "ai"])
                _, called, result, last = conversation
                call, = called.tool_calls
                self.assertEqual(result.content, f"In {call['args']['city']} it rains.")
                self.assertTrue(last.text)

        self.each(test)

    @model_only
    def test_structured_output(self):
        import pydantic

        class Place(pydantic.BaseModel):
            city: Literal["Bern", "Rome"]
            height: int = pydantic.Field(ge=0, le=9000)

        def test(make):
            place = make(200).with_structured_output(Place, method="json_schema").invoke("A place")
            self.assertIsInstance(place, Place)

        self.each(test)


class LlamaIndex(unittest.TestCase):
    def test_answers(self):
        from llama_index.core.llms import ChatMessage
        from llama_index.llms.openai_like import OpenAILike
        text = plain_text()
        llm = OpenAILike(model=model, api_base=url, api_key="none", is_chat_model=True,
                         temperature=0, max_tokens=TOKENS, context_window=512, max_retries=0)
        messages = [ChatMessage(role="user", content=PROMPT)]
        self.assertEqual(llm.chat(messages).message.content, text)
        pieces = [p.delta or "" for p in llm.stream_chat(messages)]
        self.assertGreater(len(pieces), 2)
        self.assertEqual("".join(pieces), text)


if __name__ == "__main__":
    unittest.main()
