"""Answers under random schemas: whatever draws them, they are the same bytes and satisfy the schema.

$SPECD_SCHEMAS schemas (tests/oracle/schemas.py), each greedy and seeded, with speculation and without,
streamed and whole. Needs jsonschema ($SPECD_PYTHON); skipped without.
"""
import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
try:
    import schemas
except ImportError:
    print("skip: the jsonschema package is not installed")
    sys.exit(77)

from specd_client import SLOW, ServerCase

SCHEMAS = int(os.environ.get("SPECD_SCHEMAS", "60" if SLOW < 5 else "20"))
LAWS = [{"temperature": 0}, {"temperature": 1, "seed": 7}]
SPECULATION = [{"enabled": False}, {"fixed": 3}]


def closed(name, schema):
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}


class Structured(ServerCase):
    def ask(self, schema, **fields):
        """The text, and what ended it."""
        body = {"prompt": "Give the value as JSON: ", "json_schema": schema, "max_tokens": 1500, **fields}
        reply = self.server.post("/completion", body)
        self.assertEqual(reply.status, 200, (reply.body, schema))
        events = reply.events() if fields.get("stream") else [reply.json()]
        events = [e for e in events if e != "[DONE]"]
        return "".join(e["content"] for e in events), events[-1].get("stop_type")

    def answers(self, schema):
        """One text a law, the same with speculation and without, streamed and whole; none for a 400."""
        texts = []
        for law in LAWS:
            got = {self.ask(schema, speculative=s, stream=stream, **law)
                   for s in SPECULATION for stream in (False, True)}
            self.assertEqual(len(got), 1, (schema, got))
            text, why = got.pop()
            self.assertNotEqual(why, "limit", (schema, text[-300:]))
            texts.append(text)
        return texts

    def test_random(self):
        asked = orders = 0
        for seed in range(SCHEMAS):
            schema = schemas.Generator(seed).schema()
            why = schemas.checker(schema)
            if self.server.post("/completion", {"prompt": "x", "json_schema": schema, "max_tokens": 1}).status == 400:
                continue  # nothing satisfies it: test_grammar.py looks at that
            for text in self.answers(schema):
                self.assertIsNone(why(text), (schema, text))
                asked += 4
                value = schemas.exact(text)
                names = list(schema.get("properties", {}))
                said = [n for n in value if n in names] if isinstance(value, dict) else []
                orders += said != sorted(said, key=names.index)
        self.assertGreater(asked, 7 * SCHEMAS)
        self.assertGreater(orders, SCHEMAS // 20)  # not only the schema's

    def test_large_numbers(self):
        """Constants and limits beyond 2^53, to the last digit."""
        for schema in ({"const": 1234567890123456789}, {"enum": [9007199254740993, 12345678901234567890]},
                       {"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740993},
                       {"type": "integer", "minimum": 1234567890123456789, "maximum": 1234567890123456790},
                       {"const": -0.1000000000000000055511151231257827}, {"enum": [10**40, 1e-7]},
                       {"type": "number", "minimum": 9007199254740993, "maximum": 9007199254740993}):
            why = schemas.checker(closed("a", schema))
            for text in self.answers(closed("a", schema)):
                self.assertIsNone(why(text), (schema, text))

    def test_forced_call(self):
        """The same in the arguments of a call."""
        parameters = closed("id", {"enum": [1234567890123456789]})
        tool = {"type": "function", "function": {"name": "open_ticket", "parameters": parameters}}
        body = {"messages": [{"role": "user", "content": "Open it."}], "tools": [tool], "tool_choice": "required",
                "temperature": 0, "max_tokens": 1500, "parallel_tool_calls": False}
        message = self.server.post("/v1/chat/completions", body).json()["choices"][0]["message"]
        call = message["tool_calls"][0]["function"]
        self.assertEqual((call["name"], schemas.exact(call["arguments"])), ("open_ticket", {"id": 1234567890123456789}))

    def test_faults_are_seen(self):
        """What checks the answers above refuses those that are a little off."""
        for schema, bad in (({"const": 1234567890123456789}, "1.2345678901234568e+18"),
                            ({"type": "integer", "minimum": 9007199254740993}, "9007199254740992"),
                            ({"type": "number", "multipleOf": 0.01}, "0.015"), ({"type": "string", "nullable": True}, "1"),
                            ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "0"),
                            ({"items": [{"type": "null"}], "additionalItems": False}, "[null, null]"),
                            ({"type": "array", "uniqueItems": True}, "[1, 1.0]"), ({"type": "object"}, '{"a": 1')):
            self.assertTrue(schemas.checker(schema)(bad), (schema, bad))


if __name__ == "__main__":
    unittest.main()
