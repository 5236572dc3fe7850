"""Calls of random tools: whatever draws them, they are the same bytes in every dialect and fit their tool.

$SPECD_TOOL_SETS sets of tools whose parameters are random schemas (tests/oracle/schemas.py), each with a
random way of forcing a call, greedy and seeded, with speculation and without, streamed and whole. Needs
jsonschema ($SPECD_PYTHON); skipped without.
"""
import json
import os
import random
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
try:
    import schemas
except ImportError:
    print("skip: the jsonschema package is not installed")
    sys.exit(77)

from specd_client import FAKE, SLOW, ServerCase

SETS = int(os.environ.get("SPECD_TOOL_SETS", "18" if SLOW < 5 else "8"))
LAWS = [{"temperature": 0}, {"temperature": 1, "seed": 7}]
SPECULATION = [{"enabled": False}, {"fixed": 3}]
MOST = 900  # tokens of an answer


class Chat:
    """What a dialect's client sends and hears. Answers are (calls, text, was it cut off); calls are
    (name, text of the arguments)."""
    path = "/v1/chat/completions"

    @staticmethod
    def body(tools, choice, parallel, ask):
        tools = [{"type": "function", "function": t} for t in tools]
        if "allowed" in choice:
            names = [{"type": "function", "function": {"name": n}} for n in choice["allowed"]]
            choice = {"type": "allowed_tools", "allowed_tools": {"mode": choice["mode"], "tools": names}}
        elif "name" in choice:
            choice = {"type": "function", "function": {"name": choice["name"]}}
        else:
            choice = choice["mode"]
        return {"messages": [{"role": "user", "content": ask}], "tools": tools, "tool_choice": choice,
                "parallel_tool_calls": parallel, "max_tokens": MOST}

    @staticmethod
    def whole(answer):
        choice = answer["choices"][0]
        calls = [(c["function"]["name"], c["function"]["arguments"])
                 for c in choice["message"].get("tool_calls", [])]
        return calls, choice["message"]["content"] or "", choice["finish_reason"] == "length"

    @staticmethod
    def streamed(events):
        calls, text, ids = [], "", set()
        assert events.pop() == "[DONE]"
        for e in events:
            delta = e["choices"][0]["delta"]
            text += delta.get("content", "")
            for c in delta.get("tool_calls", []):
                if "id" in c:
                    assert c["index"] == len(calls) and c["id"] not in ids, c
                    ids.add(c["id"])
                    calls.append([c["function"]["name"], ""])
                assert c["index"] == len(calls) - 1, c
                calls[-1][1] += c["function"]["arguments"]
        return [tuple(c) for c in calls], text, events[-1]["choices"][0]["finish_reason"] == "length"


class Responses:
    path = "/v1/responses"

    @staticmethod
    def body(tools, choice, parallel, ask):
        tools = [{"type": "function", **t} for t in tools]
        if "allowed" in choice:
            names = [{"type": "function", "name": n} for n in choice["allowed"]]
            choice = {"type": "allowed_tools", "mode": choice["mode"], "tools": names}
        elif "name" in choice:
            choice = {"type": "function", "name": choice["name"]}
        else:
            choice = choice["mode"]
        return {"input": ask, "tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel,
                "max_output_tokens": MOST}

    @staticmethod
    def whole(answer):
        calls = [(i["name"], i["arguments"]) for i in answer["output"] if i["type"] == "function_call"]
        text = "".join(p["text"] for i in answer["output"] if i["type"] == "message" for p in i["content"])
        return calls, text, answer["status"] == "incomplete"

    @staticmethod
    def streamed(events):
        calls, text, items = {}, "", {}
        for e in events:
            kind = e["type"].removeprefix("response.")
            if kind == "output_item.added" and e["item"]["type"] == "function_call":
                items[e["item"]["id"]] = e["output_index"]
                calls[e["output_index"]] = [e["item"]["name"], ""]
            elif kind == "function_call_arguments.delta":
                assert items[e["item_id"]] == e["output_index"], e
                calls[e["output_index"]][1] += e["delta"]
            elif kind == "output_text.delta":
                text += e["delta"]
        final = Responses.whole(events[-1]["response"])
        heard = [tuple(calls[i]) for i in sorted(calls)], text, final[2]
        assert heard == final, (heard, final)
        return heard


class Messages:
    path = "/v1/messages"
    CUT = "max_tokens", "model_context_window_exceeded"

    @staticmethod
    def body(tools, choice, parallel, ask):
        tools = [{"name": t["name"], "input_schema": t["parameters"]} for t in tools]
        kinds = {"required": "any", "auto": "auto", "none": "none"}
        choice = {"type": "tool", "name": choice["name"]} if "name" in choice else {
            "type": kinds[choice["mode"]], "disable_parallel_tool_use": not parallel}
        return {"messages": [{"role": "user", "content": ask}], "tools": tools, "tool_choice": choice,
                "max_tokens": MOST}

    @staticmethod
    def whole(answer):
        """The arguments as the object that they are: their text is in streams alone."""
        calls = [(b["name"], b["input"]) for b in answer["content"] if b["type"] == "tool_use"]
        text = "".join(b["text"] for b in answer["content"] if b["type"] == "text")
        return calls, text, answer["stop_reason"] in Messages.CUT

    @staticmethod
    def streamed(events):
        calls, text, cut = [], "", False
        for e in events:
            if e["type"] == "content_block_start" and e["content_block"]["type"] == "tool_use":
                calls.append([e["content_block"]["name"], ""])
            elif e["type"] == "content_block_delta" and e["delta"]["type"] == "input_json_delta":
                calls[-1][1] += e["delta"]["partial_json"]
            elif e["type"] == "content_block_delta":
                text += e["delta"]["text"]
            elif e["type"] == "message_delta":
                cut = e["delta"]["stop_reason"] in Messages.CUT
        return [tuple(c) for c in calls], text, cut


DIALECTS = [Chat, Responses, Messages]


def spoken(dialect, calls):
    """Texts of arguments as the dialect's whole answers have them: Messages' are objects."""
    if dialect is not Messages:
        return calls
    return [(name, json.loads(arguments)) for name, arguments in calls]


def tool_set(seed):
    """Tools, and a choice among them: {"mode"}, {"name"} or {"mode", "allowed"}."""
    rng, generator = random.Random(seed), schemas.Generator(seed)
    tools = []
    for i in range(rng.choice([1, 2, 3, 5, 9, 20])):
        generator.defs = {}
        parameters = generator.object(2)
        if generator.defs:
            parameters["$defs"] = generator.defs
        tools.append({"name": rng.choice(["get", "get_", "a.b-", "F"]) + str(i), "parameters": parameters})
    names = [t["name"] for t in tools]
    choice = rng.choice([{"mode": "required"}, {"name": rng.choice(names)},
                         {"mode": "required", "allowed": rng.sample(names, rng.randint(1, len(names)))}])
    return tools, choice, rng.random() < 0.5


def spell(rng, name, arguments):
    """The text of the arguments, and a call with it in the words of some family."""
    text = json.dumps(arguments, indent=rng.choice([None, 1]))
    call = rng.choice(['{"name": "%s", "arguments": %s}', '{"arguments": %s, "name": "%s"}'])
    call = call % ((name, text) if call.startswith('{"name') else (text, name))
    raw = json.dumps(text)
    return text, rng.choice([
        f"<tool_call>\n{call}\n</tool_call>", f"<tool_call>[{call}]</tool_call>\n", f"```json\n{call}\n```\n",
        f"```xml\n<tools>\n{call}\n</tools>\n```", f"[TOOL_CALLS]{name}[ARGS]{text}", f"[TOOL_CALLS] [{call}]",
        f"<function={name}>{text}</function>", f'<tool_call>{{"name":"{name}","arguments":{raw}}}</tool_call>'])


class ToolSets(ServerCase):
    args = () if FAKE else ("--chat-template", os.path.join(HERE, "tools.jinja"))

    def ask(self, dialect, body, stream=False):
        reply = self.server.post(dialect.path, {**body, "stream": stream})
        self.assertEqual(reply.status, 200, (dialect, reply.body, body))
        return dialect.streamed(reply.events()) if stream else dialect.whole(reply.json())

    def answers(self, dialect, body, laws):
        """One answer a law, the same with speculation and without, streamed and whole."""
        answers = []
        for law in laws:
            got = [self.ask(dialect, {**body, **law, "speculative": s}, stream=True) for s in SPECULATION]
            self.assertEqual(got[0], got[1], body)
            for s in SPECULATION:
                calls, text, cut = self.ask(dialect, {**body, **law, "speculative": s})
                self.assertEqual((text, cut), got[0][1:], body)
                if not cut or dialect is not Messages:
                    self.assertEqual(calls, spoken(dialect, got[0][0]), body)
            answers.append(got[0])
        return answers

    @unittest.skipIf(FAKE, "needs a model")
    def test_forced(self):
        checked = several = 0
        bracket, comma = (self.server.post("/tokenize", {"content": c, "add_special": False}).json()["tokens"][-1]
                          for c in "[,")
        for seed in range(SETS):
            tools, choice, parallel = tool_set(seed)
            asked = tools, choice, parallel, f"Call {seed}."
            if self.server.post(Chat.path, {**Chat.body(*asked), "max_tokens": 1}).status == 400:
                continue  # nothing satisfies a schema
            why = {t["name"]: schemas.checker(t["parameters"]) for t in tools}
            lists = {str(bracket): 20, str(comma): seed % 8}
            laws = [{**law, "logit_bias": lists} for law in LAWS] if parallel else LAWS
            heard = []
            for dialect in DIALECTS:
                if dialect is Messages and "allowed" in choice:
                    continue  # which it has no word for
                heard.append(self.answers(dialect, dialect.body(*asked), laws))
                self.assertEqual(heard[-1], heard[0], (dialect, tools, choice))
            may = [choice["name"]] if "name" in choice else choice.get("allowed", list(why))
            for calls, text, cut in heard[0]:
                self.assertTrue(cut or (calls and not text), (calls, text))
                several += len(calls) > 1
                for i, (name, arguments) in enumerate(calls):
                    self.assertIn(name, may)
                    if not cut or i < len(calls) - 1:
                        self.assertIsNone(why[name](arguments), (tools, arguments))
                        checked += 1
                if not parallel or "name" in choice:
                    self.assertLessEqual(len(calls), 1)
        self.assertGreater(checked, SETS)
        self.assertGreater(several, SETS // 10)

    @unittest.skipUnless(FAKE, "needs canned answers")
    def test_written(self):
        """What a model may write of its own accord."""
        for seed in range(10 * SETS):
            rng, (tools, _, parallel) = random.Random(seed), tool_set(seed)
            said, expected = rng.choice(["", "So: ", "<tool", "a `b` "]), []
            start = said.strip()
            for _ in range(rng.randint(1, 4)):
                name = rng.choice(tools)["name"]
                value = {k: rng.choice([1, -0.5, "x y", "\u00e9\"\\\n", None, [True, {}], {"name": "a"}])
                         for k in rng.sample(["a", "b", "name", "arguments", "\u00e9"], rng.randint(0, 3))}
                text, spelled = spell(rng, name, value)
                said += spelled
                expected.append((name, text))
            for dialect in DIALECTS:
                body = dialect.body(tools, {"mode": "auto"}, parallel, "say=" + said)
                most = expected if parallel else expected[:1]
                self.assertEqual(self.ask(dialect, body), (spoken(dialect, most), start, False), said)
                self.assertEqual(self.ask(dialect, body, stream=True), (most, start, False), said)


if __name__ == "__main__":
    unittest.main()
