"""Calls of random tools: whatever draws them, they are the same bytes in every dialect and fit their tool.

$SPECD_TOOL_SETS sets of tools whose parameters are random schemas (tests/oracle/schemas.py), each with a
random way of forcing a call, and each with some strict tools and a model that calls them of its own accord,
greedy and seeded, with speculation and without, streamed and whole. Needs jsonschema, gguf and numpy
($SPECD_PYTHON); skipped without.
"""
import json
import os
import random
import re
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
try:
    import schemas
    from chain_model import Chain
except ImportError:
    print("skip: the packages jsonschema, gguf and numpy are not all installed")
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
        tools = [{"input_schema" if k == "parameters" else k: v for k, v in t.items()} for t in tools]
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


def is_json(text):
    try:
        return json.loads(text) is not None
    except ValueError:
        return False


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


def spell(rng, name, arguments, strict):
    """The text of the arguments, and a call with it in the words of some family; None and what is no call
    of a strict tool."""
    text = json.dumps(arguments, indent=rng.choice([None, 1]))
    raw = json.dumps(text)
    call = rng.choice(['{"name": "%s", "arguments": %s}', '{"arguments": %s, "name": "%s"}'])
    if strict and rng.random() < 0.3:
        return None, rng.choice([
            f'<tool_call>{{"name":"{name}","arguments":{raw}}}</tool_call>', f'<tool_call>{{"name":"{name}"}}',
            f'<tool_call>{{"arguments":{text},"name":"{name}"}}', f"[TOOL_CALLS]{name}[CALL_ID]x[ARGS]{text}",
            f'<tool_call>{{"name":"{name}","id":"x","parameters":{text}}}</tool_call>'])
    if strict:
        call = rng.choice(['{"name": "%s", "arguments": %s}', '{"name":"%s",\n"parameters" :%s}'])
    call = call % ((name, text) if call.startswith('{"name') else (text, name))
    spelled = [
        f"<tool_call>\n{call}\n</tool_call>", f"<tool_call>[{call}]</tool_call>\n", f"```json\n{call}\n```\n",
        f"```xml\n<tools>\n{call}\n</tools>\n```", f"[TOOL_CALLS]{name}[ARGS]{text}", f"[TOOL_CALLS] [{call}]",
        f"<function={name}>{text}</function>"]
    if not strict:
        spelled.append(f'<tool_call>{{"name":"{name}","arguments":{raw}}}</tool_call>')
    return text, rng.choice(spelled)


def squeeze(text):
    return "".join(text.split())


class ToolCase(ServerCase):
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
                if dialect is not Messages or all(is_json(arguments) for _, arguments in got[0][0]):
                    self.assertEqual(calls, spoken(dialect, got[0][0]), body)
            answers.append(got[0])
        return answers

    def same_answers(self, asked, laws):
        """The answers of the first dialect, which those of the others equal."""
        heard = []
        for dialect in DIALECTS:
            if dialect is Messages and "allowed" in asked[1]:
                continue  # which it has no word for
            heard.append(self.answers(dialect, dialect.body(*asked), laws))
            self.assertEqual(heard[-1], heard[0], (dialect, *asked))
        return heard[0]


class ToolSets(ToolCase):
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
            heard = self.same_answers(asked, laws)
            may = [choice["name"]] if "name" in choice else choice.get("allowed", list(why))
            for calls, text, cut in heard:
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
            text = said
            for tool in tools:
                tool["strict"] = rng.random() < 0.3
            for _ in range(rng.randint(1, 4)):
                tool = rng.choice(tools)
                name = tool["name"]
                value = {k: rng.choice([1, -0.5, "x y", "\u00e9\"\\\n", None, [True, {}], {"name": "a"}])
                         for k in rng.sample(["a", "b", "name", "arguments", "\u00e9"], rng.randint(0, 3))}
                arguments, spelled = spell(rng, name, value, tool["strict"])
                said += spelled
                if arguments is None:
                    text += spelled
                else:
                    expected.append((name, arguments))
            for dialect in DIALECTS:
                body = dialect.body(tools, {"mode": "auto"}, parallel, "say=" + said)
                most = expected if parallel else expected[:1]
                for stream, calls in (False, spoken(dialect, most)), (True, most):
                    got = self.ask(dialect, body, stream)
                    self.assertEqual((got[0], squeeze(got[1]), got[2]), (calls, squeeze(text), False), said)


PREFIXES = ["get", "get_", "a.b-", "F"]  # of the names of tools
SPELLINGS = {'{"name": "': ['", "arguments": ', '", "parameters": '], "<function=": [">"], "[TOOL_CALLS]": ["[ARGS]", "{"]}
BEGUN = [s + p for s in SPELLINGS for p in PREFIXES]
NAMED = [str(i) + end for ends in SPELLINGS.values() for end in ends for i in range(10)]
SAYS, TAGS = "I see. ", ["<parameter=", "</parameter>", "</function>"]


def caller(seed):
    """Writes calls of names that are made as tool_set makes them, but knows nothing of their arguments. Under a
    schema it ends what it has begun."""
    closing = {"}": 6, '"': 5.5, "]": 5, ":": 4, ",": 3, "": -3}
    begin = {**dict.fromkeys(BEGUN, 2.5), "<tool_call>\n": 4, SAYS: 4, "{": 1}
    links = {"<tool_call>\n": {b: 4 for b in BEGUN if b[0] != "["}, ">": begin, "\n": {**begin, "}": 6},
             **{s + p: {str(i) + end: 4 - 0.3 * i for end in ends for i in range(10)}
                for s, ends in SPELLINGS.items() for p in PREFIXES},
             **{n: {"{": 6, "<parameter=": 6.5 if n[1] == ">" else -5, "}": 3, "\n": 3} for n in NAMED if n[1] != "{"},
             SAYS: {**begin, SAYS: 1, "": 5}, "}": {**closing, "": 6.2, "\n": 6.1},
             "</parameter>": {"</function>": 6, "\n": 5, "<parameter=": 4}, "</function>": {"": 6, "\n": 5}}
    links["\n"] |= {"</parameter>": 7 if seed == 1 else 6, "</function>": 6, "<parameter=": 4}
    return Chain(["<tool_call>\n", SAYS, *TAGS, *BEGUN, *NAMED], links, closing, 0.3, seed)


@unittest.skipIf(FAKE, "needs a model")
class StrictSets(ToolCase):
    """Calls under tool_choice auto."""

    @classmethod
    def setUpClass(cls):
        cls.chain, other = caller(1), caller(2)
        with tempfile.TemporaryDirectory() as folder:
            models = [os.path.join(folder, name) for name in ("target.gguf", "draft.gguf")]
            for chain, path in zip((cls.chain, other), models):
                chain.write(path, 2048)
            cls.args = *ToolCase.args, "-m", models[0], "-md", models[1] + ",lookup"
            super().setUpClass()

    def write(self, body):
        """The text of a chat's answer as the model wrote it."""
        reply = self.server.post(Chat.path, {**body, "return_tokens": True})
        self.assertEqual(reply.status, 200, (reply.body, body))
        tokens = reply.json()["choices"][0]["tokens"]
        return self.server.post("/detokenize", {"tokens": tokens}).json()["content"]

    def check_text(self, body, free, names):
        """An answer is what it is without strict, up to where arguments of a strict tool begin."""
        names = "|".join(map(re.escape, names))
        heads = (rf'"(name|function)"\s*:\s*"({names})"\s*,\s*"(arguments|parameters)"\s*:|<function=({names})>|'
                 rf"\[TOOL_CALLS\]\s*({names})\s*(\{{|\[ARGS\])")
        with_strict, without = self.write(body), self.write(free)
        head = re.search(heads, without)
        if not head:
            self.assertEqual(with_strict, without, body)
        else:
            self.assertEqual(with_strict[:head.end()], without[:head.end()], body)
        return not head, "<parameter=" in with_strict

    def test_auto(self):
        checked = misses = texts = spelled = 0
        for seed in range(SETS):
            rng, (tools, choice, parallel) = random.Random(seed), tool_set(seed)
            for tool in tools:
                tool["strict"] = rng.random() < 0.7
            strict = [t for t in tools if t["strict"]] or tools[:1]
            strict[0]["strict"] = True
            choice = {"mode": "auto", **({"allowed": choice["allowed"]} if "allowed" in choice else {})}
            asked = tools, choice, parallel, f"Call {seed}."
            reply = self.server.post(Chat.path, {**Chat.body(*asked), "max_tokens": 1})
            if reply.status == 400:
                self.assertIn("no value satisfies it", reply.text())
                continue
            why = {t["name"]: schemas.checker(t["parameters"]) for t in strict}
            names = [n for n in why if n in choice.get("allowed", why)]
            prefix, number = re.fullmatch(r"(.*?)(\d+)", rng.choice(names or list(why))).groups()
            liked = [rng.choice(["<tool_call>\n", SAYS, *(s + prefix for s in SPELLINGS)]),
                     *(b for b in BEGUN if b.endswith(prefix)), *(n for n in NAMED if n.startswith(number))]
            bias = {str(self.chain.id(piece)): 2 for piece in liked}
            laws = [{**law, "logit_bias": bias} for law in [*LAWS, {"temperature": 1, "seed": seed}]]
            heard = self.same_answers(asked, laws)
            free = Chat.body([{**t, "strict": False} for t in tools], *asked[1:])
            for law, (calls, text, cut) in zip(laws, heard):
                for i, (name, arguments) in enumerate(calls):
                    if name in why and not (cut and i == len(calls) - 1):
                        self.assertIsNone(why[name](arguments), (tools, arguments))
                        checked += 1
                is_text, has_parameters = self.check_text({**Chat.body(*asked), **law}, {**free, **law}, names)
                texts, spelled = texts + is_text, spelled + (has_parameters and bool(calls))
                for name, arguments in self.ask(Chat, {**free, **law})[0]:
                    misses += name in why and why[name](arguments) is not None
        self.assertGreater(checked, SETS)
        self.assertGreater(misses, SETS // 2)  # the model knows nothing of schemas
        self.assertGreater(texts, SETS // 2)
        self.assertGreater(spelled, SETS // 18 - 1)


if __name__ == "__main__":
    unittest.main()
