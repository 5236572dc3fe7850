"""Grammars against the package jsonschema.

Usage: test_grammar.py GRAMMAR_PROBE. For each schema: random texts by way of masks parse and
validate; random valid instances are accepted however they are spelled and cut into tokens; changed
instances that do not validate, and texts that are no JSON, are refused. $SPECD_GRAMMAR_WALKS sets
the number of texts of a schema, $SPECD_SCHEMAS that of random ones (schemas.py), of which some more are made.
"""
import copy
import json
import os
import random
import re
import subprocess
import sys

from oracle import skip

try:
    import jsonschema
    import schemas
except ImportError as e:
    skip(f"no module {e.name}")

WALKS = int(os.environ.get("SPECD_GRAMMAR_WALKS", "60"))
INSTANCES = 15

STR, INT, NUM, BOOL, NULL = ({"type": t} for t in ("string", "integer", "number", "boolean", "null"))


def obj(properties=None, required=(), **more):
    return {"type": "object", "properties": properties or {}, "required": list(required), **more}


def arr(items=True, **more):
    return {"type": "array", "items": items, **more}


CLOSED = {"additionalProperties": False}
PERSON = obj({"name": STR, "age": {**INT, "minimum": 0, "maximum": 150}, "mail": {"type": ["string", "null"]}},
             ["name", "age"], **CLOSED)
TREE = {"$ref": "#/$defs/node", "$defs": {"node": obj(
    {"value": INT, "children": arr({"$ref": "#/$defs/node"})}, ["value"], **CLOSED)}}
EXPR = {"$defs": {"e": {"anyOf": [INT, obj({"op": {"enum": ["+", "-", "*"]}, "l": {"$ref": "#/$defs/e"},
                                            "r": {"$ref": "#/$defs/e"}}, ["op", "l", "r"], **CLOSED)]}},
        "$ref": "#/$defs/e"}
SCHEMAS = [
    True, {}, STR, INT, NUM, BOOL, NULL, {"type": "object"}, {"type": "array"},
    {"type": ["string", "integer", "null"]}, {"type": ["object", "array"]},
    {"title": "t", "description": "d", "default": 1, "examples": [2], "$comment": "c", "x-a": 1, **BOOL},
    *({**INT, "minimum": lo, "maximum": hi} for lo, hi in
      [(0, 0), (0, 9), (1, 10), (-5, 5), (17, 1234), (99, 101), (-1234, -17), (-1, 0), (100, 100000),
       (0, 255), (123456789012345, 123456789012999), (-10, -10)]),
    {**INT, "minimum": 18}, {**INT, "maximum": -3}, {**INT, "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {**INT, "minimum": 0.5, "maximum": 7.5}, {**NUM, "minimum": 0},
    {**STR, "minLength": 3}, {**STR, "maxLength": 4}, {**STR, "minLength": 2, "maxLength": 2},
    {**STR, "maxLength": 0}, {**STR, "minLength": 20, "maxLength": 300},
    *({**STR, "pattern": p} for p in
      [r"^[a-z]+$", r"^a{2,4}$", r"b", r"^x", r"y$", r"^(foo|bar)*$", r"^\d{3}-\d{4}$", r"^[^a-c]{1,3}$",
       r"^.$", r"^\w+@\w+\.com$", r"^(?:é|€|😀)+$", r"^[à-ÿ]{2}$", r"^a|b$", r"^[\u4e00-\u9fff]+$",
       r"^(?:[0-9]{4})?$", r"^\x41\n\t?$", r"^[\"\\]{2}$", r"^[^\"\\]*$", r"^[ \n]\w$", r"^[\d.]+?$", r"",
       r"^$", r"^(a*)*$", r"^[A-Z][a-z]*( [A-Z][a-z]*){0,3}$", r"^[-+*/]$", r"^[\]\-]$", r"^.{0,30}$"]),
    *({**STR, "format": f} for f in ["date", "time", "date-time", "uuid", "ipv4", "email"]),
    {"enum": ["red", "green", "blue", "re", "é\"\\\n\x01", 1, 12, 123, -1.5, True, None, [1, {"a": []}], {}]},
    {"enum": ["a", 1, None], "type": ["string", "null"]}, {"const": {"a": [1, 2], "b": "x y"}},
    {"const": ""}, {"const": 3}, {"enum": [1e100, 0.1, 2.5e-7]},
    arr(INT), arr(STR, minItems=1), arr(BOOL, maxItems=2), arr(NUM, minItems=2, maxItems=4), arr(INT, maxItems=0),
    arr(NULL, minItems=3, maxItems=3), arr(arr(INT, maxItems=2), minItems=1, maxItems=2), arr(INT, uniqueItems=False),
    {"type": "array", "prefixItems": [STR, INT, BOOL]}, {"type": "array", "prefixItems": [STR, INT], "items": False},
    {"type": "array", "prefixItems": [STR, INT], "items": NULL, "minItems": 1, "maxItems": 4},
    {"type": "array", "prefixItems": [STR, INT], "items": False, "minItems": 2},
    {"type": "array", "prefixItems": [INT, INT, INT], "maxItems": 2},
    PERSON, TREE, EXPR, arr(PERSON, minItems=1, maxItems=3),
    obj({"a": INT}), obj({"a": INT, "ab": STR, "b": BOOL, "é\"": NULL}), obj({"a": INT}, ["b", "a"]),
    obj({"a": INT}, **CLOSED), obj({}, **CLOSED), obj(additionalProperties=INT), obj({"x": STR}, additionalProperties=arr(INT)),
    obj({c: INT for c in "abcdefgh"}, "dg", **CLOSED), obj({f"key{i}": BOOL for i in range(30)}, **CLOSED),
    obj({"a": False, "b": INT}, **CLOSED), obj({"": INT, "\n": STR}, [""]),
    {"properties": {"a": STR}}, {"items": INT}, {"minLength": 2}, {"required": ["q"], "type": "object"},
    {"anyOf": [STR, INT]}, {"oneOf": [{**STR, "maxLength": 3}, NULL]}, {"allOf": [PERSON], "title": "x"},
    {"anyOf": [obj({"kind": {"const": "cat"}, "lives": INT}, ["kind", "lives"], **CLOSED),
               obj({"kind": {"const": "car"}, "wheels": INT}, ["kind", "wheels"], **CLOSED),
               obj({"kind": {"const": "dog"}, "name": STR}, ["kind"], **CLOSED)]},
    {"anyOf": [arr(INT), arr(STR), arr(arr(BOOL))]},
    {"anyOf": [{**STR, "maxLength": 3}, {**STR, "pattern": "^[a-z]{6}$"}, {"enum": ["long enough a value"]}]},
    {"definitions": {"p": {**INT, "minimum": 1}}, **obj({"a": {"$ref": "#/definitions/p"}, "b": {"$ref": "#/properties/a"}}, "ab")},
    {**obj({"next": {"anyOf": [{"$ref": "#"}, NULL]}, "v": STR}, ["next"], **CLOSED)},
    {"$defs": {"a/b ~c": BOOL}, "$ref": "#/$defs/a~1b%20~0c"},
    {"$defs": {"v": {"anyOf": [STR, NUM, arr({"$ref": "#/$defs/v"}), obj(additionalProperties={"$ref": "#/$defs/v"})]}},
     "$ref": "#/$defs/v"},
    arr({"anyOf": [INT, STR, {"$ref": "#"}]}, maxItems=3),
    {"$ref": "#/$defs/p", "$defs": {"p": PERSON}, "description": "d"}, {"allOf": [PERSON, {"required": ["mail"]}]},
    {"definitions": {"b": obj({"v": INT}, "v")}, "allOf": [{"$ref": "#/definitions/b"}, obj({"w": STR}, "w")]},
    {**obj({"a": STR, "b": STR}, **CLOSED), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    obj({f"n{i}": INT for i in range(70)}, ["n3", "n69"], **CLOSED),
]

# What pydantic, zod and OpenAPI write, and no maker of instances knows below.
MORE = [
    {**NUM, "minimum": 0, "maximum": 1}, {**NUM, "exclusiveMinimum": 0}, {**NUM, "minimum": -1, "maximum": 1},
    {**INT, "multipleOf": 5}, *({**STR, "format": f} for f in ["uri", "duration", "ipv6", "phone-number", "binary"]),
    {**STR, "contentEncoding": "base64"}, {**STR, "nullable": True}, {**STR, "foo": 1}, {**STR, "enum": ["x"], "minLength": 1},
    {**STR, "pattern": "^[A-Z]+$", "maxLength": 5}, {**STR, "pattern": "^\\p{L}+$"}, {**STR, "pattern": "^.{1,2000}$"},
    {"oneOf": [obj({"k": {"const": c}}, "k", **CLOSED) for c in "ab"], "discriminator": {"propertyName": "k"}},
    {"type": "array", "items": [INT, STR], "additionalItems": False},
    {**obj({"a": STR, "b": STR}), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    obj(additionalProperties=INT, minProperties=1), obj(propertyNames={"pattern": "^[a-z]+$"}),
    obj(patternProperties={"^S_": STR}, **CLOSED), {"$defs": {"a": {"$anchor": "foo", **STR}}, **obj({"a": {"$ref": "#foo"}})},
    {"$id": "https://ex.example/s", **obj({"a": {"$ref": "https://ex.example/s#/$defs/q"}}), "$defs": {"q": STR}},
    obj(additionalProperties=INT, minProperties=3), arr({"enum": ["a", "b", "c"]}, uniqueItems=True, minItems=2),
    {**NUM, "multipleOf": 0.01, "minimum": 0, "exclusiveMaximum": 100}, {**INT, "minimum": 10**30, "maximum": 10**30 + 5},
    {**obj({"x-a": {"maximum": 9}, "b": INT}), "patternProperties": {"^x-": INT, "y$": {"minimum": 5}}, "additionalProperties": BOOL},
]

REFUSED = {
    '{"not": {}}': '"not"', '{"type": "array", "contains": {}}': '"contains"', '{"type": "str"}': "/type: must",
    '{"type": "object", "properties": {"a": {"type": "object", "properties": {"b/~": {"if": true, "then": false}}}}}':
        '/properties/a/properties/b~1~0: the keyword "if"', '{"allOf": []}': "/allOf: must", '{"enum": []}': "/enum: must",
    '{"type": "number", "maximum": "3"}': "/maximum: must", '{"multipleOf": 0}': "/multipleOf: must", '{"items": 3}': "/items: a schema",
    '{"anyOf": []}': "/anyOf: must", '{"$ref": "#/$defs/x"}': "/$ref: \"#/$defs/x\" names no place", '{"$ref": "http://x"}': "names no place",
    '{"$ref": "#"}': "back to itself", '{"anyOf": [{"$ref": "#"}, {"type": "null"}]}': "back to itself",
    '{"allOf": [{"$ref": "#"}], "minLength": 1}': "back to itself", '{"$ref": "#nowhere"}': "names no place",
    '{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}': "no value", "false": "no value",
    '{"type": "integer", "minimum": 3, "maximum": 2}': "no value", '{"type": "array", "items": {"type": "string"}, "uniqueItems": true}': "/uniqueItems: ",
    '{"type": "array", "minItems": 3, "maxItems": 2}': "no value", '{"type": "string", "minLength": -1}': "/minLength: must",
    '{"type": "string", "pattern": "a(?=b)"}': "look-around", '{"type": "string", "pattern": "(?i)a"}': "flags",
    '{"pattern": "(a"}': "not closed", '{"pattern": "a)"}': "not opened", '{"pattern": "a**"}': "quantifier",
    '{"pattern": "\\\\bx"}': "escape", '{"pattern": "(a)\\\\1"}': "escape", '{"pattern": "a^"}': "anchor",
    '{"pattern": "[b-a]"}': "backwards", '{"pattern": "(((x{1000}){1000}){1000})"}': "too large", '{"pattern": "\\\\p{Lu}"}': "a property",
    '{"pattern": "(a|b)*a(a|b){20}"}': "too large", '{"pattern": "^a$", "allOf": [{"pattern": "b"}]}': "no value",
    '{"type": "object", "required": ["z"], "additionalProperties": false}': '"z"', '3': "must be an object",
    '{"const": 1, "type": "string"}': "no value", '{"const": 1, "enum": [2]}': "no value", '{"multipleOf": 1e-40}': "/multipleOf: ",
    '{"type": "object", "minProperties": 99}': "minProperties", '{"type": "object", "maxProperties": 0, "required": ["a"]}': "no value",
    '{"type": "object", "unevaluatedProperties": false}': '"unevaluatedProperties"',
    '{"properties": {"a": {"dependentRequired": {}}}}': 'schema /properties/a: the keyword "dependentRequired"',
    '{"type": "object", "propertyNames": {"anyOf": [{}]}}': "/propertyNames: ",
}


class Probe:
    def __init__(self, program):
        self.p = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().rstrip("\n")

    def accepts(self, text):
        return self.ask("accept " + text.encode("utf-8", "surrogatepass").hex()) == "yes"


failures = 0


def fault(*words):
    global failures
    failures += 1
    if failures < 20:
        print("FAULT", *(str(w)[:600] for w in words))


def validator(schema):
    checker = jsonschema.FormatChecker(["date", "uuid", "ipv4", "email"])
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


TIME = re.compile(r"([01]\d|2[0-3])(:[0-5]\d){2}(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)")


def valid(check, schema, value):
    kind = schema.get("format") if isinstance(schema, dict) else None
    if kind == "time" and isinstance(value, str) and not TIME.fullmatch(value):
        return False
    return check.is_valid(value)


# Python's \s and \S differ from ECMA-262's in a few characters: patterns here do without them.
# Values of a schema, made without the program's help.
LETTERS = ["a", "Z", " ", "0", "\"", "\\", "/", "\n", "\t", "\x01", "\x7f", "é", "€", "😀", "\u2028", "}", ","]
SAMPLES = {
    "date": ["2024-02-29", "1999-12-31", "2000-02-29"], "time": ["23:59:59Z", "00:00:00.25+05:30"],
    "date-time": ["2024-02-29T12:00:00Z", "1970-01-01T00:00:00.000-08:00"], "ipv4": ["0.0.0.0", "255.199.9.10"],
    "uuid": ["123e4567-e89b-12d3-A456-426614174000"], "email": ["a.b+c@x-y.example.org"],
    r"^[a-z]+$": ["a", "zebra"], r"^a{2,4}$": ["aa", "aaaa"], "b": ["b", "abc", "\nb\u0001é"], "^x": ["x", "x\"y"],
    "y$": ["y", "\\y"], r"^(foo|bar)*$": ["", "foobarfoo"], r"^\d{3}-\d{4}$": ["555-1234"], r"^[^a-c]{1,3}$": ["é€😀", "\n\""],
    "^.$": ["x", "\t", "😀"], r"^\w+@\w+\.com$": ["a_1@b.com"], r"^(?:é|€|😀)+$": ["€é😀"], r"^[à-ÿ]{2}$": ["éà"],
    "^a|b$": ["a", "ab", "xyb"], r"^[\u4e00-\u9fff]+$": ["漢字"], r"^(?:[0-9]{4})?$": ["", "2024"],
    r"^\x41\n\t?$": ["A\n", "A\n\t"], r"^[\"\\]{2}$": ["\"\\"], r"^[^\"\\]*$": ["", "ab\x02é"], r"^[ \n]\w$": [" x", "\n_"],
    r"^[\d.]+?$": ["3.14"], "": ["", "any"], "^$": [""], r"^(a*)*$": ["", "aaa"],
    r"^[A-Z][a-z]*( [A-Z][a-z]*){0,3}$": ["Ada Lovelace"], r"^[-+*/]$": ["-", "/"], r"^[\]\-]$": ["]", "-"],
    r"^.{0,30}$": ["", "é" * 30], "^[a-z]{6}$": ["abcdef"],
}


def any_value(rng, depth=0):
    kind = rng.randrange(6 if depth < 3 else 4)
    if kind == 4:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind == 5:
        return {text(rng, 0, 4): any_value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [None, rng.random() < 0.5, text(rng, 0, 6), rng.choice([0, -3, 2.5, 1e20, 10**15])][kind]


def text(rng, low, high):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(low, high)))


def integer(rng, s):
    low, high = s.get("minimum", s.get("exclusiveMinimum", -10**17)), s.get("maximum", s.get("exclusiveMaximum", 10**17))
    while True:
        v = rng.choice([int(low), int(high), rng.randint(int(low), int(high)), max(int(low), min(int(high), rng.randint(-99, 999)))])
        if validator(s | {"type": "integer"}).is_valid(v):
            return v


def make(s, rng, root, depth=0):
    if s is True or s == {}:
        return any_value(rng, depth)
    if "$ref" in s:
        at = root
        for name in s["$ref"][1:].split("/")[1:]:
            at = at[name.replace("%20", " ").replace("~1", "/").replace("~0", "~")]
        return make(at, rng, root, depth + 1)
    if "const" in s:
        return s["const"]
    if "enum" in s:
        return rng.choice([v for v in s["enum"] if validator(s).is_valid(v)])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in s:
            options = s[key][:] if depth < 6 else [o for o in s[key] if "$ref" not in o and o.get("type") != "object"] or s[key]
            return make(rng.choice(options), rng, root, depth + 1)
    kinds = s.get("type") or ("object" if {"properties", "required"} & s.keys() else "array" if "items" in s else "string")
    kind = rng.choice(kinds) if isinstance(kinds, list) else kinds
    if kind == "string":
        for key in ("pattern", "format"):
            if key in s:
                return rng.choice(SAMPLES[s[key]])
        low = s.get("minLength", 0)
        return text(rng, low, min(s.get("maxLength", low + 9), low + 9))
    if kind == "integer":
        return integer(rng, s)
    if kind == "number":
        return abs(rng.choice([0, 1.5, -2, 3e-7, 12345.678])) if "minimum" in s else rng.choice([0, 1.5, -2, 3e-7, -1e30])
    if kind == "array":
        prefix, items = s.get("prefixItems", []), s.get("items", True)
        low = s.get("minItems", 0)
        high = min(s.get("maxItems", low + 3), low + 3 if depth < 4 else low)
        n = rng.randint(low, high)
        if items is False:
            n = min(n, len(prefix))
        return [make(prefix[i] if i < len(prefix) else items, rng, root, depth + 1) for i in range(n)]
    if kind == "object":
        out, more = {}, s.get("additionalProperties", True)
        for name in [*s.get("properties", {}), *(n for n in s.get("required", []) if n not in s.get("properties", {}))]:
            child = s.get("properties", {}).get(name, more)
            if child is not False and (name in s.get("required", []) or (rng.random() < 0.5 and depth < 5)):
                out[name] = make(child, rng, root, depth + 1)
        for _ in range(rng.randrange(3) if more is not False and depth < 4 else 0):
            name = rng.choice(["zz", "é", "k", "name2", "abc"])
            if not any(name.startswith(n) for n in (*s.get("properties", {}), *s.get("required", []))):
                out.setdefault(name, make(more, rng, root, depth + 1))
        names = rng.sample(list(out), len(out)) if len(s.get("properties", {})) <= 64 else list(out)
        last = max((names.index(n) for n in s.get("required", [])), default=-1)
        early = [n for n in names[:last] if n not in s.get("properties", {}) and n not in s.get("required", [])]
        return {n: out[n] for n in [*(n for n in names[:last + 1] if n not in early), *early, *names[last + 1:]]}
    return rng.random() < 0.5 if kind == "boolean" else None


def spellings(v):
    yield json.dumps(v, ensure_ascii=False)
    yield json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    for indent in (2, 4, "\t"):
        yield json.dumps(v, ensure_ascii=False, indent=indent)


def change(v, rng):
    """Another value not far from v."""
    v = copy.deepcopy(v)
    if isinstance(v, dict) and v and rng.random() < 0.8:
        key = rng.choice(list(v))
        what = rng.randrange(3)
        if what == 0:
            del v[key]
        elif what == 1:
            v[key] = change(v[key], rng)
        else:
            v["other"] = v[key]
        return v
    if isinstance(v, list) and v and rng.random() < 0.8:
        i = rng.randrange(len(v))
        v[i:i + 1] = rng.choice([[], [v[i], v[i]], [change(v[i], rng)]])
        return v
    if isinstance(v, str) and rng.random() < 0.7:
        return rng.choice([v + "a", v[:-1], "0" + v, v + "\n", v.upper(), v * 3])
    if isinstance(v, int) and not isinstance(v, bool) and rng.random() < 0.7:
        return v + rng.choice([-1000, -10, -1, 1, 10, 1000])
    return any_value(rng)


def main():
    probe, rng = Probe(sys.argv[1]), random.Random(1)
    walks = accepted = refused = kinds = odd = 0
    for schema in SCHEMAS:
        said = probe.ask("schema " + json.dumps(schema))
        if said != "ok":
            fault(schema, said)
            continue
        check = validator(schema)
        seen = set()
        for seed in range(WALKS):
            got = probe.ask(f"walk {seed} {4 + seed}")
            try:
                raw = bytes.fromhex(got).decode()
                value = json.loads(raw)
            except ValueError as e:
                fault(schema, "walk", seed, got[:200], e)
                continue
            walks += 1
            seen.add(raw)
            if not valid(check, schema, value):
                fault(schema, "does not validate:", raw)
        kinds += len(seen)
        for _ in range(INSTANCES):
            value = make(schema, rng, schema)
            several = isinstance(schema, dict) and ("allOf" in schema or {"anyOf", "properties"} <= schema.keys())
            if several and not valid(check, schema, value):
                continue  # made for one of those that hold at once
            for spelled in spellings(value):
                accepted += 1
                if not valid(check, schema, value) or not probe.accepts(spelled):
                    fault(schema, "refuses", repr(spelled))
            other = change(value, rng)
            spelled = json.dumps(other, ensure_ascii=False)
            if not valid(check, schema, other) and not (isinstance(other, str) and other.endswith("\n")):
                refused += 1
                if probe.accepts(spelled):
                    fault(schema, "accepts", repr(spelled))
            cut = spelled[:rng.randrange(len(spelled))] + rng.choice(["", "\x00", "]", "\ud800", "\"", ",,"])
            try:
                json.loads(cut)
            except ValueError:
                refused += 1
                if probe.accepts(cut):
                    fault(schema, "accepts what is no JSON", repr(cut))
    n_random = int(os.environ.get("SPECD_SCHEMAS", "60"))
    for schema in MORE + [schemas.Generator(seed).schema() for seed in range(n_random)]:
        said = probe.ask("schema " + json.dumps(schema))
        if said != "ok":
            odd += 1
            if schema in MORE or ("no value" not in said and "back to itself" not in said):
                fault(schema, said)
            continue
        why = schemas.checker(schema)
        for walk in range(8):
            got = probe.ask(f"walk {walk} {4 + 2 * walk}")
            walks += 1
            if not re.fullmatch("([0-9a-f]{2})+", got) or why(bytes.fromhex(got).decode()):
                fault(schema, got, bytes.fromhex(got.split()[-1]))
    calls = in_json = 0
    for seed in range(2 * n_random):
        schema = schemas.Generator(seed).tool()
        said = probe.ask("tool " + json.dumps(schema))
        if said != "ok":
            odd += 1
            if "no value" not in said and "back to itself" not in said:
                fault(schema, said)
            continue
        why = schemas.checker(schema)
        for walk in range(12):
            got, _, text = probe.ask(f"call {walk} {4 + 3 * walk}").partition(" ")
            if got == "json":
                in_json += 1
                break
            calls += 1
            if not re.fullmatch("([0-9a-f]{2})+", got) or why(bytes.fromhex(got).decode()):
                fault(schema, got, text, bytes.fromhex(got) if got != "failed" else "")
    if calls < 6 * n_random:
        fault("only", calls, "calls of tools")
    for schema, reason in REFUSED.items():
        said = probe.ask("schema " + schema)
        if reason not in said or not said.startswith("schema"):
            fault(schema, "is not refused for", reason, "but:", said)
    print(f"{len(SCHEMAS)} schemas: {walks} texts ({kinds} different), {accepted} instances accepted, "
          f"{refused} refused; {calls} calls of tools, {in_json} tools in JSON alone; {len(REFUSED)} schemas refused; {odd} random ones without a value; {failures} faults")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
