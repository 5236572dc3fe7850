"""docs/openapi.json is what the server does: every route's real answers, streams and errors fit their
schemas, which allow no member that is not listed; and what the server refuses, the schemas refuse.
"""

import itertools
import json
import os
import sys
import unittest
import urllib.parse

try:
    import jsonschema
except ImportError:
    print("skip: the jsonschema package is not installed")
    sys.exit(77)

import test_params
from specd_client import FAKE, ServerCase, SingleCase, fake_only, raw_request, read_reply

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "..", "..", "docs", "openapi.json")) as f:
    API = json.load(f)
COMPLETION, CHAT, NATIVE = "/v1/completions", "/v1/chat/completions", "/completion"
RESPONSES = "/v1/responses"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


def validator(schema):
    return jsonschema.Draft202012Validator({**schema, "components": API["components"]})


def operation(method, path):
    return API["paths"][path]["get" if method in ("GET", "HEAD") else "post"]


def answer_schema(method, path, status, kind):
    return operation(method, path)["responses"][str(status)]["content"][kind]["schema"]


class SchemaCase(ServerCase):
    def fits(self, schema, value):
        errors = sorted(validator(schema).iter_errors(value), key=lambda e: len(e.path))
        if errors:
            best = jsonschema.exceptions.best_match(errors)
            self.fail(f"{best.json_path}: {best.message[:300]}\n{json.dumps(value)[:600]}")

    def real(self, path):
        """The path with what stands in braces filled in."""
        if "{model}" not in path:
            return path
        name = self.server.get("/v1/models").json()["data"][0]["id"]
        return path.replace("{model}", urllib.parse.quote(name, safe=""))

    def ask(self, method, path, body=None, status=200, **kw):
        """The answer, which fits its schema, as must the body when it is not refused."""
        if body is not None and status == 200:
            schema = operation(method, path)["requestBody"]["content"]["application/json"]["schema"]
            self.fits(schema, body)
        r = self.server.request(method, self.real(path), body, **kw)
        self.assertEqual(r.status, status, r.body)
        kind = r.headers["Content-Type"].split(";")[0]
        schema = answer_schema(method, path, status, kind)
        if kind == "application/json":
            self.fits(schema, r.json())
        elif kind == "text/event-stream":
            events = [e for e in r.events() if e != "[DONE]"]
            self.assertTrue(events)
            for e in events:
                self.fits(schema, e)
        self.assertTrue(r.headers["X-Request-Id"])
        return r


class Answers(SchemaCase):
    def test_document(self):
        self.assertEqual(API["openapi"], "3.1.0")
        for name, schema in API["components"]["schemas"].items():
            with self.subTest(name):
                jsonschema.Draft202012Validator.check_schema(schema)

        def refs(value):
            if isinstance(value, dict):
                if "$ref" in value:
                    yield value["$ref"]
                value = value.values()
            if not isinstance(value, str) and hasattr(value, "__iter__"):
                for v in value:
                    yield from refs(v)
        for ref in set(refs(API)):
            at = API
            for part in ref.removeprefix("#/").split("/"):
                at = at[part]

    def test_get(self):
        for path, operations in API["paths"].items():
            if "get" in operations:
                self.ask("GET", path)
                self.assertEqual(self.server.request("HEAD", self.real(path)).status, 200)
        self.ask("GET", "/slots?fail_on_no_slot=1".split("?")[0])

    def test_methods(self):
        for path, operations in API["paths"].items():
            r = self.server.request("OPTIONS", path)
            self.assertIn("POST" if "post" in operations else "GET", r.headers["Allow"])
            wrong = "GET" if "post" in operations else "POST"
            r = self.server.request(wrong, path, b"{}" if wrong == "POST" else None)
            self.assertEqual(r.status, 405)
            error = "BlockError" if path.startswith("/v1/messages") else "Error"
            self.fits({"$ref": "#/components/schemas/" + error}, r.json())
        self.fits({"$ref": "#/components/schemas/Error"}, self.server.get("/nowhere").json())

    def test_generating(self):
        for path in COMPLETION, CHAT, NATIVE:
            base = {"max_tokens": 6, "ignore_eos": True, **test_params.base(path)}
            logprobs = {"logprobs": True, "top_logprobs": 2} if path == CHAT else {"logprobs": 2}
            for fields in ({}, logprobs, {"return_tokens": True, "seed": 2**53 - 1, "stop": ["zz"]},
                           {"echo": True, **logprobs}, {"n": 2}, {"echo": True, "max_tokens": 0},
                           {"timings_per_token": True, "speculative": {"trace": True}},
                           {"speculative": {"enabled": False}, "temperature": 0.5, "top_k": 5},
                           {"stream_options": {"include_usage": True,
                                               "continuous_usage_stats": True}},
                           {"stream_options": {"include_usage": True}}):
                for stream in False, True:
                    with self.subTest(path=path, fields=fields, stream=stream):
                        self.ask("POST", path, {**base, **fields, "stream": stream})
            if path != CHAT:
                for prompt in ["x", "y"], [1, 2], [[1], [2, 3]]:
                    self.ask("POST", path, {**base, "prompt": prompt})

    def test_responses(self):
        logprobs = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        for fields in ({}, logprobs, {"input": [{"role": "user", "content": "x"}]},
                       {"instructions": "x", "text": {"format": {"type": "text"}}},
                       {"reasoning": {"effort": "low"}, "tools": [{"type": "web_search"}]}):
            for stream in False, True:
                self.ask("POST", RESPONSES, {"input": "x", "max_output_tokens": 6,
                                             "ignore_eos": True, **fields, "stream": stream})
            self.ask("POST", RESPONSES + "/input_tokens", {"input": "x", **fields})

    @fake_only
    def test_response_calls(self):
        tools = [{"type": "function", "name": "add"}, {"type": "custom", "name": "edit"}]
        calls = "".join('<tool_call>{"name":"%s","arguments":{"input":"x"}}</tool_call>' % t["name"]
                        for t in tools)
        for order in ("say=Well " + calls, "think=1 say=<think>So</think>Well " + calls,
                      "burst=1 token_ms=30 fail_after=3"):
            for stream in (False, True) if "say" in order else (True,):
                self.ask("POST", RESPONSES, {"input": order, "tools": tools, "stream": stream})

    @fake_only
    def test_stops_and_calls(self):
        text = 'think=1 say=<think>So</think>Well <tool_call>{"name":"add","arguments":{"a":1}}</tool_call>'
        for stream in False, True:
            for fields in {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "none"}:
                self.ask("POST", CHAT, {"messages": [{"role": "user", "content": text}],
                                        "stream": stream, **fields})
            self.ask("POST", NATIVE, {"prompt": "x", "stop": "w3", "stream": stream})
            self.ask("POST", NATIVE, {"prompt": "eos_after=3", "stream": stream})
            order = {"role": "user", "content": "burst=1 token_ms=30 fail_after=3"}
            reply = self.server.post(CHAT, {"messages": [order], "stream": stream})
            error = reply.events()[-2] if stream else reply.json()
            self.fits({"$ref": "#/components/schemas/Error"}, error)

    def test_messages(self):
        text = 'think=1 say=<think>So</think>Well <tool_call>{"name":"add","arguments":{"a":1}}</tool_call>'
        text = text if FAKE else "x"
        base = {"max_tokens": 40, "messages": [{"role": "user", "content": text}]}
        tools = [{"name": "add", "input_schema": {"type": "object"}}, {"type": "web_search_1", "name": "w"}]
        history = [{"role": "user", "content": [{"type": "text", "text": "x"}]},
                   {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                                                     {"type": "tool_use", "id": "abcdefghi", "name": "add", "input": {}}]},
                   {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "abcdefghi", "is_error": True}]},
                   {"role": "system", "content": "y"}]
        for fields in ({}, {"tools": tools}, {"max_tokens": 0}, {"messages": history}, {"stop_sequences": ["e", " "]},
                       {"system": [{"type": "text", "text": "s"}], "thinking": {"type": "disabled"}},
                       {"tools": tools, "tool_choice": {"type": "none", "disable_parallel_tool_use": True}}):
            for stream in False, True:
                self.ask("POST", "/v1/messages", {**base, **fields, "stream": stream})
            self.ask("POST", "/v1/messages/count_tokens", {**base, **fields})

    def test_text(self):
        for pieces in False, True:
            tokens = self.ask("POST", "/tokenize", {"content": "h\u00e9", "with_pieces": pieces})
        ids = [t["id"] for t in tokens.json()["tokens"]]
        self.ask("POST", "/detokenize", {"tokens": ids})
        self.ask("POST", "/apply-template", {"messages": [{"role": "user", "content": "x"}]})

    def test_errors(self):
        for path, operations in API["paths"].items():
            if "post" not in operations:
                continue
            self.ask("POST", path, b"{", 400)
            self.ask("POST", path, {}, 400)
            self.ask("POST", path, b"{}", 415, headers={"Content-Type": "text/plain"})
            self.ask("POST", path, b"{}", 415, headers={"Content-Encoding": "gzip"})
            with self.server.connect() as s:  # refused at the header
                s.sendall(raw_request(b" " * (33 << 20), path)[:200])
                status, _, body = read_reply(s)
            self.assertEqual(status, 413)
            self.fits(answer_schema("POST", path, 413, "application/json"), json.loads(body))


class Requests(SchemaCase):
    # What no schema can say: the size of the vocabulary, ids given twice, names that are taken,
    # what is in a text, what fits into 64 bits.
    LOOSE = {"chat_template_kwargs", "stop_token_ids", "allowed_token_ids", "logit_bias", "prompt",
             "guided_json", "structured_outputs.json", "seed"}
    # A float ends below these.
    BEYOND = (1e39, 1e40, 10**40, 1e300, 1e308)

    def test_what_is_refused(self):
        """The values that test_params shows to be refused do not fit either."""
        n, loose = 0, 0
        for key, values in test_params.FIELDS.items():
            name, routes = key if isinstance(key, tuple) else (key, test_params.ROUTES)
            for path in routes:
                schema = operation("POST", path)["requestBody"]["content"]["application/json"]
                check = validator(schema["schema"])
                for value in values:
                    if len(str(value)) > 50000:
                        continue
                    body = {**test_params.base(path), **test_params.nested(name, value)}
                    n += 1
                    if check.is_valid(body):
                        self.assertTrue(name in self.LOOSE or value in self.BEYOND,
                                        (path, name, str(value)[:90]))
                        loose += 1
        self.assertGreater(n, 1500)
        self.assertLess(loose, n // 10, (loose, n))

    def test_what_is_taken(self):
        """The defaults of the schema, and both ends of closed ranges, are taken."""
        for path in COMPLETION, CHAT, NATIVE:
            name = operation("POST", path)["requestBody"]["content"]["application/json"]["schema"]
            schema = API["components"]["schemas"][name["$ref"].rsplit("/", 1)[1]]
            for field, s in schema["properties"].items():
                values = [s[k] for k in ("default", "minimum", "maximum") if k in s] + [None]
                for value in values:
                    if field in ("prompt", "messages") or value and field in ("top_logprobs", "best_of"):
                        continue
                    body = {**test_params.base(path), "max_tokens": 1, field: value}
                    r = self.server.post(path, body)
                    if r.status != 200:
                        self.fail(f"{path} {field} {value}: {r.body}")


def function(name, **parameters):
    return {"type": "function", "function": {"name": name, **parameters}}


class Formats(SchemaCase):
    """What the answer must be: as the engine gets it, and as its answers are."""

    SCHEMA = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["sun", "rain", None]}, "mild": {"type": "boolean"},
            "degrees": {"type": "integer", "minimum": -40, "maximum": 60},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2}},
        "required": ["kind", "mild", "degrees"], "additionalProperties": False,
        "$defs": {"tag": {"type": "string", "pattern": "^[a-z]{1,4}$"}}}
    TOOLS = [
        function("none"),
        function("open", parameters={}),
        function("at", parameters={"type": "object", "additionalProperties": False,
                                   "required": ["unit"],
                                   "properties": {"unit": {"$ref": "#/$defs/unit"}},
                                   "$defs": {"unit": {"enum": ["C", "F"]}}})]

    def forms(self, schema):
        """The ways to ask for it, and the field that is at fault if it can't be had."""
        named = {"name": "weather", "description": "x", "strict": True, "schema": schema}
        for form in ({"type": "json_schema", "json_schema": named},
                     {"type": "json_schema", "schema": schema},
                     {"type": "json_object", "schema": schema}):
            yield "response_format", {"response_format": form}
        yield "json_schema", {"json_schema": schema}

    def told(self, path, **fields):
        """The field and the schema as the fake engine got them."""
        order = "format=1"
        body = {"messages": [{"role": "user", "content": order}]} if path == CHAT else {
            "prompt": order}
        answer = self.ask("POST", path, {**body, "max_tokens": 9000, **fields}).json()
        if path == NATIVE:
            text = answer["content"]
        else:
            choice = answer["choices"][0]
            text = choice["text"] if path == COMPLETION else choice["message"]["content"]
        field, schema = text.split(" ", 1)
        return field, json.loads(schema) if schema else None

    @fake_only
    def test_what_arrives(self):
        for path in COMPLETION, CHAT, NATIVE:
            self.assertEqual(self.told(path), ("none", None))
            self.assertEqual(self.told(path, response_format={"type": "text"}), ("none", None))
            for schema in self.SCHEMA, {}, {"enum": [1, 2.5, "x", None, True, [{}]]}:
                for field, fields in self.forms(schema):
                    self.assertEqual(self.told(path, **fields), (field, schema))
            for form in ({"type": "json_object"}, {"type": "json_schema", "json_schema": {}},
                         {"type": "json_object", "schema": None}):
                self.assertEqual(self.told(path, response_format=form), ("response_format", None))

    @fake_only
    def test_forced_calls_arrive(self):
        """The composed schema allows calls of the tools and nothing else."""
        def calls(name, arguments):
            return [{"name": name, key: arguments} for key in ("arguments", "parameters")]
        good = [*calls("none", {}), *calls("none", {"x": 1}), *calls("open", {"a": []}),
                *calls("at", {"unit": "C"})]
        bad = [*calls("at", {"unit": "K"}), *calls("at", {}), *calls("at", {"unit": "C", "x": 1}),
               *calls("open", 1), *calls("open", "x"), *calls("nobody", {}), {"name": "none"},
               {"arguments": {}}, {}, 1, "none", None, {**good[0], "x": 1}, {**good[0], **good[1]}]
        for fields, only, lists in (
                ({"tool_choice": "required"}, None, True),
                ({"tool_choice": "required", "parallel_tool_calls": False}, None, False),
                ({"tool_choice": function("at")}, "at", False),
                ({"tool_choice": {"type": "function", "name": "open"}}, "open", False)):
            field, schema = self.told(CHAT, tools=self.TOOLS, json_schema=self.SCHEMA, **fields)
            self.assertEqual(field, "tools")
            jsonschema.Draft202012Validator.check_schema(schema)
            check = jsonschema.Draft202012Validator(schema).is_valid
            for call in good:
                self.assertEqual(check(call), only in (None, call["name"]), call)
            for call in bad:
                self.assertFalse(check(call), call)
            self.assertEqual(check(good), lists)
            self.assertEqual(check(good[:1] * 128), lists)
            for several in [], good[:1] * 129, [good[0], bad[0]], [good]:
                self.assertFalse(check(several))

    def say(self, path, body):
        """The choice and its text."""
        fields = {**test_params.base(path), "max_tokens": 900, **body}
        whole = self.ask("POST", path, fields).json()
        choice = whole if path == NATIVE else whole["choices"][0]
        text = (choice["content"] if path == NATIVE else choice["text"] if path == COMPLETION
                else choice["message"]["content"])
        return choice, text

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_answers(self):
        check = jsonschema.Draft202012Validator(self.SCHEMA)
        for i, (path, (_, fields)) in enumerate(itertools.product(
                (COMPLETION, CHAT, NATIVE), self.forms(self.SCHEMA))):
            for spec in {"enabled": False}, {"fixed": 3}, {"fixed": 2, "mode": "block"}:
                with self.subTest(path=path, fields=list(fields), spec=spec):
                    choice, text = self.say(path, {**fields, "seed": i, "speculative": spec})
                    self.assertEqual(choice.get("finish_reason", "stop"), "stop")
                    check.validate(json.loads(text))

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_several_choices(self):
        check = jsonschema.Draft202012Validator(self.SCHEMA)
        body = {"prompt": ["x", "y"], "n": 3, "seed": 5, "max_tokens": 900,
                "json_schema": self.SCHEMA}
        texts = [c["text"] for c in self.ask("POST", COMPLETION, body).json()["choices"]]
        self.assertEqual(len(texts), 6)
        for text in texts:
            check.validate(json.loads(text))

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_any_object(self):
        """An answer that is cut off is the beginning of one."""
        for path, seed in itertools.product((COMPLETION, CHAT, NATIVE), range(3)):
            _, text = self.say(path, {"response_format": {"type": "json_object"}, "seed": seed,
                                      "max_tokens": 40})
            self.assertEqual(text.lstrip()[:1], "{")

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_forced_calls(self):
        at, many = self.TOOLS[2], {**self.TOOLS[2]["function"], "name": "also"}
        tools = [at, {"type": "function", "function": many}]
        for seed in range(4):
            for fields in ({"tools": [at, self.TOOLS[0]], "tool_choice": function("at")},
                           {"tools": tools, "tool_choice": "required",
                            "parallel_tool_calls": False}):
                body = {**fields, "seed": seed}
                choice, text = self.say(CHAT, body)
                self.assertEqual((choice["finish_reason"], text), ("tool_calls", None))
                call, = choice["message"]["tool_calls"]
                self.assertIn(call["function"]["name"], ("at", "also"))
                self.assertIn(json.loads(call["function"]["arguments"])["unit"], ("C", "F"))
                *_, finish, done = self.ask("POST", CHAT, {
                    **test_params.base(CHAT), "max_tokens": 900, "stream": True,
                    **body}).events()
                self.assertEqual(finish["choices"][0]["finish_reason"], "tool_calls")

    @unittest.skipIf(FAKE, "needs a grammar")
    def test_what_can_not_be_followed(self):
        for schema in {"not": {}}, {"type": "strange"}, {"$ref": "#/nowhere"}:
            for path in COMPLETION, CHAT, NATIVE:
                for field, fields in self.forms(schema):
                    r = self.server.post(path, {**test_params.base(path), **fields})
                    self.assert_error(r, 400, field)
        tools = [function("f", parameters={"type": "object", "not": {}})]
        r = self.server.post(CHAT, {**test_params.base(CHAT), "tools": tools,
                                    "tool_choice": "required"})
        self.assert_error(r, 400, "tools")


class Keys(SchemaCase):
    env = {"SPECD_API_KEY": "sesame"}

    def test_keys(self):
        for path, operations in API["paths"].items():
            for method, op in operations.items():
                body = b"{}" if method == "post" else None
                status = self.server.request(method.upper(), path, body).status
                self.assertEqual(status == 401, bool(op["security"]), path)
        self.ask("GET", "/props", status=401)


class Loading(SingleCase):
    @fake_only
    def test_loading(self):
        server = self.start(env={"FAKE_LOAD_MS": "60000"}, wait="listening")
        for path, operations in API["paths"].items():
            method = "GET" if "get" in operations else "POST"
            r = server.request(method, path, {} if method == "POST" else None)
            told = [s for s in (503, 529) if str(s) in operations[method.lower()]["responses"]]
            if not told:  # the page
                self.assertEqual(r.status, 200)
                continue
            self.assertEqual(r.status, told[0])
            self.assertTrue(r.headers["Retry-After"])
            schema = answer_schema(method, path, r.status, "application/json")
            validator(schema).validate(r.json())


if __name__ == "__main__":
    unittest.main()
