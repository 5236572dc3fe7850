"""Random JSON schemas, and whether a text satisfies one: jsonschema with exact numbers.

The values of a schema are all short, so that whatever draws them comes to an end.
"""
import json
import random
from decimal import Decimal

import jsonschema
from jsonschema import validators

NAMES = ["name", "age", "city", "id", "is_ok", "na", "names", "é", "a\"b", "tag", "b", "unit", "Zip", ""]
PATTERNS = ["^[a-z]{1,3}$", "^\\d{2}-\\d{2}$", "^(foo|bar|é)$", "^\\p{L}{2}$", "^[A-F]{1,4}$", "x"]
NAME_PATTERNS = ["^x-", "_id$", "^[0-9]", "k"]
BIG = [9007199254740993, 1234567890123456789, 12345678901234567890, -9007199254740995]

TOOL_VALUES = [
    *({"type": t} for t in ["string", "string", "integer", "number", "boolean", "object", "array", ["string", "null"],
                            ["string", "boolean", "null"], ["integer", "null"], ["string", "integer"]]),
    {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, {"type": "string", "nullable": True},
    {"enum": ["red", "green", "re", "12", "", " x", "a\nb"], "type": "string"}, {"enum": ["auto", "fast lane", None, 3]},
    {"anyOf": [{"enum": ["on", "off"]}, {"type": "null"}, {"type": "array", "items": {"type": "string"}}]},
    {"enum": ["true", 1]}, {"const": "k\""}, {"$ref": "#/$defs/kind"}, {"anyOf": [{"$ref": "#/$defs/kind"}, {"type": "null"}]},
    {"type": "string", "format": "uri"}, {"allOf": [{"type": "string"}]}, {"type": "string", "minLength": 1}, {"enum": ["\n", "b"]},
    {"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "string", "maxLength": 30}},
    {"type": "object", "additionalProperties": {"type": "string"}}, {"anyOf": [{"type": "string"}, {"type": "array"}]},
    {"type": "array", "items": {"type": "object", "properties": {"old": {"type": "string"}, "new": {"type": "string"}}}},
]


def is_number(checker, value):
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def is_integer(checker, value):
    return is_number(checker, value) and value == int(value)


Validator = validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": is_number, "integer": is_integer}))


def exact(text):
    """Numbers as they are written, and objects whose names differ."""
    return json.loads(text, parse_float=Decimal)


def modern(s):
    """Older spellings in those of 2020-12: nullable, tuples of draft 7, exclusive limits of draft 4. Python knows no
    \\p: the unit test does."""
    if isinstance(s, list):
        return [modern(v) for v in s]
    if not isinstance(s, dict):
        return s
    s = {k: v if k in ("enum", "const") else modern(v) for k, v in s.items()}
    if "pattern" in s:
        s["pattern"] = s["pattern"].replace("\\p{L}", ".")
    if s.get("nullable") is True and "type" in s:
        s["type"] = [*([s["type"]] if isinstance(s["type"], str) else s["type"]), "null"]
    for end in "Minimum", "Maximum":
        if isinstance(s.get("exclusive" + end), bool) and s.pop("exclusive" + end):
            s["exclusive" + end] = s.pop(end.lower())
    if isinstance(s.get("items"), list):
        s["prefixItems"] = s.pop("items")
        s["items"] = s.pop("additionalItems", True)
    return s


def checker(schema):
    """A function of a text: why it does not satisfy the schema, or None."""
    check = Validator(modern(exact(json.dumps(schema))))

    def why(text):
        try:
            value = exact(text)
        except ValueError as e:
            return f"no JSON: {e}"
        error = jsonschema.exceptions.best_match(check.iter_errors(value))
        return error and f"{error.json_path}: {error.message[:200]}"
    return why


class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.defs = {}

    def chance(self, p):
        return self.rng.random() < p

    def some(self, values, low, high):
        return self.rng.sample(values, min(len(values), self.rng.randint(low, high)))

    def schema(self):
        """A whole schema: mostly of an object, as clients ask for them."""
        self.defs = {}
        s = self.object(3) if self.chance(0.75) else self.value(3)
        if self.defs:
            s["$defs"] = self.defs
        if self.chance(0.1):
            s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return s

    def tool(self):
        """Of the arguments of a call: most of their values can be written outside of JSON, too."""
        self.defs = {}
        names = self.some(NAMES[:-1], 0, 4)
        s = {"type": "object", "properties": {
            n: self.rng.choice(TOOL_VALUES) if self.chance(0.7) else self.value(2) for n in names}}
        if self.chance(0.7):
            s["required"] = self.some(names, 0, len(names))
        if self.chance(0.7):
            s["additionalProperties"] = False
        return {**s, "$defs": {**self.defs, "kind": {"enum": ["car", "cat"]}}}

    def value(self, depth):
        kinds = [self.string, self.string, self.integer, self.number, self.constants, self.simple]
        if depth > 0:
            kinds += [self.object, self.object, self.array, self.array, self.set_of, self.either, self.both, self.ref]
        s = self.rng.choice(kinds)(depth - 1)
        if self.chance(0.2):
            s.update(self.rng.choice([{"title": "T"}, {"description": "d\n\"q\""}, {"x-order": 3}, {"foo": {"bar": []}},
                                      {"default": None}, {"examples": [1]}, {"xml": {"name": "n"}}]))
        return s

    def simple(self, depth):
        return self.rng.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]},
                                {"type": ["integer", "null"], "minimum": 0, "maximum": 99}])

    def string(self, depth):
        s = {"type": "string", "maxLength": self.rng.randint(1, 8)}
        if self.chance(0.2):
            s["minLength"] = self.rng.randint(0, s["maxLength"])
        if self.chance(0.3):
            s = {"type": "string", "pattern": self.rng.choice(PATTERNS[:-1])}
        elif self.chance(0.1):
            s = {"type": "string", "pattern": PATTERNS[-1], "minLength": self.rng.randint(0, 3), "maxLength": self.rng.randint(3, 5)}
        elif self.chance(0.15):
            s["format"] = self.rng.choice(["phone-number", "uri", "password", "binary"])
        elif self.chance(0.15):
            s = {"type": "string", "format": self.rng.choice(["date", "time", "uuid", "ipv4", "date-time"])}
        if self.chance(0.1):
            s["nullable"] = True
        return s

    def limits(self, s, low, high):
        for end, v in ("Minimum", low), ("Maximum", high):
            if self.chance(0.2) and low != high:
                s["exclusive" + end] = v
            elif self.chance(0.1) and low != high:
                s[end.lower()], s["exclusive" + end] = v, self.chance(0.5)
            else:
                s[end.lower()] = v
        return s

    def integer(self, depth):
        low = self.rng.choice([0, 1, -10, -1000, 17, *BIG])
        high = low + self.rng.choice([2, 3, 10, 150, 9999, 10**6])
        s = self.limits({"type": "integer"}, low, high)
        if self.chance(0.25) and high - low > 100:
            s["multipleOf"] = self.rng.choice([2, 5, 7, 25, 0.5, 2.5])
        return s

    def number(self, depth):
        low = self.rng.choice([0, -1, 0.5, -2.75, 1000, 0.001])
        s = self.limits({"type": "number"}, low, low + self.rng.choice([1, 0.25, 7.125, 100]))
        if self.chance(0.3):
            s["multipleOf"] = self.rng.choice([0.01, 0.125, 0.05, 0.001])
        return s

    def constants(self, depth):
        values = self.some(["red", "green", "re", "é\"\n", 1, 12, 1.5, -0.25, True, None, [1, {"a": "b"}], {"k": []}, *BIG], 1, 5)
        if self.chance(0.3):
            return {"const": values[0]}
        if self.chance(0.2):
            return {"enum": ["a", "bc", "def", 5, 50], "maxLength": self.rng.randint(1, 3), "minimum": self.rng.choice([0, 6])}
        return {"enum": values}

    def object(self, depth):
        names = self.some(NAMES, 0, 5)
        s = {"type": "object", "properties": {n: self.value(depth) for n in names}}
        if names and self.chance(0.6):
            s["required"] = self.some(names, 0, len(names))
        kind = self.rng.random()
        if kind < 0.55:
            s["additionalProperties"] = False
        elif kind < 0.7:
            s["patternProperties"] = {p: self.string(0) for p in self.some(NAME_PATTERNS, 1, 2)}
            s["additionalProperties"] = False
            s["propertyNames"] = {"maxLength": 6}
        else:
            s["additionalProperties"] = self.value(0)
            s["propertyNames"] = {"pattern": "^[a-z_]+$", "maxLength": 7} if self.chance(0.5) else {"maxLength": 6}
            if any(n for n in s.get("required", []) if not n.isascii() or len(n) > 6 or not n.islower()):
                s["propertyNames"] = {"maxLength": 6}
        if s["additionalProperties"] is not False or "patternProperties" in s:
            s["maxProperties"] = len(s.get("required", [])) + self.rng.randint(1, 3)
            if self.chance(0.3):
                s["minProperties"] = self.rng.randint(1, min(s["maxProperties"], len(names) + 1))
        elif self.chance(0.2):
            s["minProperties"] = self.rng.randint(0, len(names))
        if names and self.chance(0.1) and "required" not in s:
            s["anyOf"] = [{"required": [n]} for n in names[:2]]
        return s

    def array(self, depth):
        s = {"type": "array", "maxItems": self.rng.randint(0, 4)}
        kind = self.rng.random()
        if kind < 0.7:
            s["items"] = self.value(depth)
        elif kind < 0.85:
            s["prefixItems"] = [self.value(depth) for _ in range(self.rng.randint(1, 3))]
            s["items"] = self.rng.choice([False, self.value(0)])
        else:
            s["items"] = [self.value(depth) for _ in range(self.rng.randint(1, 3))]
            s["additionalItems"] = self.rng.choice([False, self.value(0)])
        if self.chance(0.4) and kind < 0.7:
            s["minItems"] = self.rng.randint(0, s["maxItems"])
        return s

    def set_of(self, depth):
        items = self.rng.choice([{"enum": ["a", "b", "ab", 1, 12, 123, None]}, {"type": "boolean"},
                                 {"type": "integer", "minimum": -3, "maximum": 9}])
        return {"type": "array", "items": items, "uniqueItems": True, "minItems": self.rng.randint(0, 2), "maxItems": 4}

    def either(self, depth):
        if self.chance(0.5):
            return {"anyOf": [self.value(depth) for _ in range(self.rng.randint(1, 3))]}
        kinds = [{"type": "string", "maxLength": 4}, self.integer(0), {"type": "null"}]
        return {"oneOf": kinds[:self.rng.randint(2, 3)]}

    def both(self, depth):
        a = {"type": "object", "properties": {"p": self.value(depth), "q": self.integer(0)}, "required": ["p"], "maxProperties": 2}
        b = {"properties": {"q": {"type": ["integer", "string"]}, "r": self.string(0)}, "propertyNames": {"enum": ["p", "q", "r"]}}
        return {"allOf": [a, b]}

    def ref(self, depth):
        """To a schema that is made once; what it holds does not lead back, but for the next of a list."""
        name = self.rng.choice(["one", "two"])
        if self.defs.get(name) is True:
            return self.integer(0)
        if name not in self.defs:
            self.defs[name] = True  # while it is made
            node = {"type": "object", "properties": {"v": self.integer(0), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/" + name}]}},
                    "additionalProperties": False, "required": ["v"]}
            self.defs[name] = {"$anchor": "anchor-" + name, **(node if self.chance(0.3) else self.value(depth - 1))}
        return {"$ref": self.rng.choice(["#anchor-", "#/$defs/"]) + name}
