#!/usr/bin/env python3
"""Conversations in the form that a chat template takes, against Hugging Face transformers.

usage: check_forms.py [TOOL]    TOOL: the program specd-template (default: build/specd-template)

For each template and each conversation, whose texts are marker words, specd's prompt has to hold every
word, and to be byte for byte what transformers' apply_chat_template makes of the conversation: as it
came, or, where that loses a word or raises, as one that says the same with the fewest changes of those
below. Where none of these keeps every word, specd may tell calls, results and tools in words, or
answer with an error that names the message.
Templates: those below; the default model's ($SPECD_MODEL); every *.jinja of the folder $SPECD_TEMPLATES
(or $SPECD_VOCABS/templates). Exits 1 when something differs, 77 without jinja2.
"""
import copy
import glob
import itertools
import json
import os
import re
import string
import sys

import check_chat
import oracle

try:  # the same, but for the time
    from transformers.utils.chat_template_utils import _compile_jinja_template
except ImportError:
    _compile_jinja_template = None


# ---- conversations: words that begin with zq are what must not be lost

def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text, role="system"):
    return {"role": role, "content": text}


def call(name, id="call_A1b2c3", key="zqkey", value="zqvalue"):
    arguments = json.dumps({key: value})
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text, id="call_A1b2c3"):
    return {"role": "tool", "tool_call_id": id, "content": text}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def tool(name, **more):
    return {"type": "function", "function": {"name": name, **more}}


WHOLE = tool("zqtool", description="zqabout", parameters={
    "type": "object", "properties": {"zqkey": {"type": "string", "description": "zqwhat"}},
    "required": ["zqkey"]})
CALLS = [user("zqask"), assistant(None, tool_calls=[call("zqtool")]), result("zqresult")]
END = [assistant("zqdone"), user("zqnext")]
TWO = assistant(None, tool_calls=[call("zqtool"), call("zqother", "call_C3d4e5", "zqname", "zqtwo")])

CONVERSATIONS = {
    "user": ([user("zqask")], None),
    "turns": ([user("zqask"), assistant("zqanswer"), user("zqnext")], None),
    "user in parts": ([user(parts("zqask"))], None),
    "system first": ([system("zqrule"), user("zqask")], None),
    "system in parts": ([system(parts("zqrule")), user(parts("zqask")), assistant(parts("zqanswer")),
                         user("zqnext")], None),
    "two systems": ([system("zqrule"), system("zqlaw"), user("zqask")], None),
    "system in the middle": ([system("zqrule"), user("zqask"), assistant("zqanswer"), system("zqlaw"),
                              user("zqnext")], None),
    "system before the answer": ([user("zqask"), system("zqlaw")], None),
    "developer": ([system("zqrule", "developer"), user("zqask")], None),
    "system and developer": ([system("zqrule"), system("zqlaw", "developer"), user("zqask")], None),
    "developer in the middle": ([user("zqask"), assistant("zqanswer"), system("zqlaw", "developer"),
                                 user("zqnext")], None),
    "two users": ([user("zqask"), user("zqmore"), assistant("zqanswer"), user("zqnext")], None),
    "two assistants": ([user("zqask"), assistant("zqanswer"), assistant("zqagain"), user("zqnext")], None),
    "tools": ([user("zqask")], [WHOLE]),
    "system and tools": ([system("zqrule"), user("zqask")], [WHOLE]),
    "tool without parameters": ([user("zqask")], [tool("zqtool")]),
    "call, null": (CALLS, [WHOLE]),
    "call, empty": ([user("zqask"), assistant("", tool_calls=[call("zqtool")]), result("zqresult")] + END,
                    [WHOLE]),
    "call, absent": ([user("zqask"), {"role": "assistant", "tool_calls": [call("zqtool")]},
                      result("zqresult")] + END, [WHOLE]),
    "call, text": ([user("zqask"), assistant("zqthen", tool_calls=[call("zqtool")]), result("zqresult")] + END,
                   [WHOLE]),
    "call, object": ([user("zqask"), assistant(None, tool_calls=[{
        "id": "call_A1b2c3", "type": "function",
        "function": {"name": "zqtool", "arguments": {"zqkey": "zqvalue"}}}]), result("zqresult")], [WHOLE]),
    "call, nine letters": ([user("zqask"), assistant(None, tool_calls=[call("zqtool", "abcDEF123")]),
                            result("zqresult", "abcDEF123")] + END, [WHOLE]),
    "result in parts": ([user("zqask"), assistant(None, tool_calls=[call("zqtool")]),
                         result(parts("zqresult"))], [WHOLE]),
    "two calls": ([user("zqask"), TWO, result("zqresult"), result("zqsecond", "call_C3d4e5")] + END,
                  [WHOLE, tool("zqother", description="zqelse", parameters={"type": "object", "properties": {}})]),
    "calls without tools": (CALLS + END, None),
    "user behind a result": (CALLS + [user("zqnext")], [WHOLE]),
    "no calls": ([user("zqask"), assistant("zqanswer", tool_calls=[]), user("zqnext")], None),
    "null calls": ([user("zqask"), assistant("zqanswer", tool_calls=None, name=None), user("zqnext")], None),
}

# ---- templates of our own: one for each thing that families differ in

TURN = "{% for m in messages %}<|{{ m.role }}|>"
END_TURN = "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
NAMED = "{% if m.role not in ['user', 'assistant'%s] %}{{ raise_exception('no role ' + m.role) }}{% endif %}"
JOINED = ("{% if m.tool_calls %}{% for t in m.tool_calls %}[call {{ t['function']['name'] + ' ' + "
          "t['function']['arguments'] }}]{% endfor %}{% endif %}")
OBJECT = ("{% if m.tool_calls %}{% for t in m.tool_calls %}[call {{ t.function.name }}{% for k, v in "
          "t.function.arguments.items() %} {{ k }}={{ v }}{% endfor %}]{% endfor %}{% endif %}")
LIST = "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
LOOP = "{% for p in m.content %}{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}"
OWN = {
    "any role": TURN + "{{ m['content'] + '' }}" + END_TURN,
    "branches": "{% for m in messages %}{% if m.role == 'system' %}S:{{ m.content }}\n{% elif m.role == 'user' %}"
                "U:{{ m.content }}\n{% elif m.role == 'assistant' %}A:{{ m.content }}\n{% endif %}{% endfor %}",
    "no system": TURN + NAMED.replace("%s", "") + "{{ m.content }}" + END_TURN,
    "system first only": "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
                         "{{ raise_exception('system must be first') }}{% endif %}<|{{ m.role }}|>{{ m.content }}"
                         + END_TURN,
    "last system counts": "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}"
                          "{% set ns.s = m.content %}{% endif %}{% endfor %}[{{ ns.s }}]{% for m in messages %}"
                          "{% if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}",
    "alternates": "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}[{{ messages[0].content }}]"
                  "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if (m.role == 'user') != "
                  "(loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
                  "<|{{ m.role }}|>{{ m.content }}{% endfor %}",
    "arguments joined": LIST + TURN + JOINED + "{% if m.content is not none %}{{ m.content }}{% endif %}" + END_TURN,
    "arguments walked": LIST + TURN + "{{ m.content or '' }}" + OBJECT + END_TURN,
    "arguments dumped": LIST + TURN + "{{ m.content or '' }}{% if m.tool_calls is defined %}{% for t in m.tool_calls "
                        "%}{{ {'name': t.function.name, 'arguments': t.function.arguments} | tojson }}{% endfor %}"
                        "{% endif %}" + END_TURN,
    "parts walked": TURN + LOOP + END_TURN,
    "first part": TURN + "{{ m.content[0].text }}" + END_TURN,
    "parts selected": TURN + "{{ m.content | selectattr('type', 'equalto', 'text') | map(attribute='text') "
                      "| join }}" + END_TURN,
    "parts of users": TURN + "{% if m.role == 'user' %}" + LOOP + "{% else %}{{ m.content }}{% endif %}" + END_TURN,
    "None counts": LIST + "{% for m in messages %}<|{{ m.role }}|>{% if m.content is none %}" + JOINED +
                   "{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "None is printed": LIST + "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}" + OBJECT +
                       "{% endfor %}",
    "absent content": LIST + "{% for m in messages %}<|{{ m.role }}|>{% if 'content' in m %}{{ m.content }}"
                      "{% else %}" + OBJECT + "{% endif %}{% endfor %}",
    "one call": LIST + "{% for m in messages %}<|{{ m.role }}|>{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}"
                "{{ raise_exception('one call at once') }}{% endif %}" + OBJECT + "{% else %}{{ m.content }}"
                "{% endif %}{% endfor %}",
    "first call": LIST + "{% for m in messages %}<|{{ m.role }}|>{{ m.content or '' }}{% if m.tool_calls %}"
                  "{% set t = m.tool_calls[0] %}[{{ t.function.name }} {{ t.function.arguments | tojson }}]{% endif %}"
                  "{% endfor %}",
    "nine letters": LIST + "{% for m in messages %}<|{{ m.role }}|>{{ m.content or '' }}{% for t in m.tool_calls or [] %}"
                    "{% if t.id | length != 9 %}{{ raise_exception('ids have 9 letters') }}{% endif %}({{ t.id }})"
                    "{% endfor %}" + OBJECT + "{% if m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}"
                    "{{ raise_exception('ids have 9 letters') }}{% endif %}({{ m.tool_call_id }}){% endif %}"
                    "{% endfor %}",
    "named results": LIST + "{% for m in messages %}{% if m.role == 'tool' %}{{ '[' + m.name + ': ' + m.content + ']' }}"
                     "{% else %}<|{{ m.role }}|>{{ m.content or '' }}" + OBJECT + "{% endif %}{% endfor %}",
    "calls asked by name": LIST + TURN + "{% if 'tool_calls' in m %}" + OBJECT + "{% else %}{{ m.content }}{% endif %}"
                           + END_TURN,
    "developer": TURN + NAMED.replace("%s", ", 'developer'") + "{{ m.content }}" + END_TURN,
    "parameters walked": "{% for t in tools or [] %}{{ t.function.name + ': ' + t.function.description }}"
                         "{% for k, v in t.function.parameters.properties.items() %} {{ k }}: {{ v.description }}"
                         "{% endfor %}{% endfor %}" + TURN + "{{ m.content or '' }}" + OBJECT + END_TURN,
}


# ---- what transformers makes of it

class Reference:
    def __init__(self):
        self.env = check_chat.environment()

    def render(self, source, messages, tools):
        variables = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": True,
                     "bos_token": "<s>", "eos_token": "</s>"}
        if not _compile_jinja_template:
            return check_chat.render_reference(self.env, source, variables)[0]
        try:
            return _compile_jinja_template(source).render(**variables)
        except Exception:  # whatever a template makes Python raise
            return None


def text_of(message):
    content = message.get("content")
    return "\n".join(p["text"] for p in content) if isinstance(content, list) else content


def words(value):
    return set(re.findall(r"zq[a-z]+", json.dumps(value)))


def holds(text, all_words):
    return all(word in text for word in all_words)


# Values: each says the same in another way.

def arguments(kind):
    def change(messages):
        for m in messages:
            for c in m.get("tool_calls") or []:
                a = c["function"]["arguments"]
                if kind == "object" and isinstance(a, str):
                    c["function"]["arguments"] = json.loads(a)
                elif kind == "text" and not isinstance(a, str):
                    c["function"]["arguments"] = json.dumps(a)
        return messages
    return change


def empty(kind):
    def change(messages):
        for m in messages:
            if m.get("tool_calls") and not m.get("content"):
                m["content"] = {"null": None, "text": ""}.get(kind)
                if kind == "absent":
                    del m["content"]
        return messages
    return change


def contents(kind):
    def change(messages):
        for m in messages:
            text = text_of(m)
            if text and kind != "came" and (kind != "user parts" or m["role"] == "user"):
                m["content"] = text if kind == "text" else parts(text)
            elif text and kind == "user parts":
                m["content"] = text
        return messages
    return change


VALUES = list(itertools.product([arguments("came"), arguments("text"), arguments("object")],
                                [empty("null"), empty("text"), empty("absent")],
                                [contents("came"), contents("text"), contents("parts"), contents("user parts")]))


# Changes of messages, in the order in which they are tried together.

def drop_nothings(messages):
    return [{k: v for k, v in m.items() if k == "content" or v not in (None, [])} for m in messages]


def developer_is_system(messages):
    return [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]


def system_is_developer(messages):
    return [{**m, "role": "developer"} if m["role"] == "system" else m for m in messages]


def join_runs(messages, joins):
    out = []
    for m in messages:
        if out and joins(out[-1], m):
            both = [t for t in (text_of(out[-1]), text_of(m)) if t]
            out[-1] = {**out[-1], **({"tool_calls": m["tool_calls"]} if "tool_calls" in m else {}),
                       "content": "\n\n".join(both)}
        else:
            out.append(dict(m))
    return out


def n_first(messages):
    return next((i for i, m in enumerate(messages) if m["role"] not in ("system", "developer")), len(messages))


def join_first_systems(messages):
    n = n_first(messages)
    return join_runs(messages[:n], lambda a, b: True) + messages[n:]


def systems_are_users(first):
    def change(messages):
        n = 0 if first else n_first(messages)
        return messages[:n] + [user(text_of(m)) if m["role"] in ("system", "developer") else m
                               for m in messages[n:]]
    return change


def text_before_calls(messages):
    out = []
    for m in messages:
        if m.get("tool_calls") and text_of(m):
            out += [assistant(m["content"]), {**m, "content": None}]
        else:
            out.append(m)
    return out


def pairs(messages):
    out, results = [], [m for m in messages if m["role"] == "tool"]
    for m in messages:
        if len(m.get("tool_calls") or []) > 1:
            for c in m["tool_calls"]:
                out.append({**m, "tool_calls": [c]})
                out += [r for r in results if r["tool_call_id"] == c["id"]]
        elif m["role"] != "tool" or len(results) < 2:
            out.append(m)
    return out


def nine(id):
    """An id of 9 letters: the one behind a prefix, else FNV-1a in base 62."""
    bare = id.rsplit("_", 1)[-1]
    if re.fullmatch("[0-9A-Za-z]{9}", bare):
        return bare
    value, letters = 14695981039346656037, string.digits + string.ascii_lowercase + string.ascii_uppercase
    for byte in id.encode():
        value = (value ^ byte) * 1099511628211 % 2**64
    return "".join(letters[value // 62**i % 62] for i in range(9))


def nine_letters(messages):
    for m in messages:
        for c in m.get("tool_calls") or []:
            c["id"] = nine(c["id"])
        if "tool_call_id" in m:
            m["tool_call_id"] = nine(m["tool_call_id"])
    return messages


def named_results(messages):
    names = {c["id"]: c["function"]["name"] for m in messages for c in m.get("tool_calls") or []}
    return [{**m, "name": names[m["tool_call_id"]]} if m["role"] == "tool" else m for m in messages]


def join_users(messages):
    return join_runs(messages, lambda a, b: a["role"] == b["role"] == "user")


def join_assistants(messages):
    return join_runs(messages, lambda a, b: a["role"] == b["role"] == "assistant" and not a.get("tool_calls"))


def join_behind_results(messages):
    return join_runs(messages, lambda a, b: a["role"] == "tool" and b["role"] == "user")


CHANGES = [developer_is_system, system_is_developer, join_first_systems, systems_are_users(False), systems_are_users(True),
           join_assistants, text_before_calls, pairs, nine_letters, named_results, join_users,
           join_behind_results]


def whole_tools(tools):
    return tools and [{**t, "function": {"name": "", "description": "", "parameters": {
        "type": "object", "properties": {}}, **t["function"]}} for t in tools]


class Template:
    def __init__(self, reference, source):
        self.reference, self.source = reference, source
        self.developer = self.has_developer()
        self.tools = holds(self.render([user("x")], [WHOLE]) or "", words(WHOLE))
        self.calls = None

    def render(self, messages, tools):
        return self.reference.render(self.source, messages, tools)

    def has_calls(self):
        if self.calls is None:
            case = Case(self, CALLS, self.tools and [WHOLE])
            self.calls = any(True for changes in ([], [nine_letters], [named_results])
                             for _ in case.prompts(changes, set()))
        return self.calls

    def has_developer(self):
        """A template that prints any role has no branch for this one."""
        one, other = (self.render([system("x", role), user("y")], None) for role in ("developer", "zqrole"))
        return one is not None and (other is None or other.replace("zqrole", "developer") != one)


class Case:
    def __init__(self, template, messages, tools):
        self.template, self.messages, self.tools = template, messages, tools
        self.words = words([messages, tools])
        self.later_system = any(m["role"] in ("system", "developer") for m in messages[n_first(messages):])

    def prompts(self, changes, seen):
        """What transformers prints, of those that say everything, and nothing in Python's words."""
        changed = copy.deepcopy(self.messages)
        for change in [drop_nothings, *changes]:
            changed = change(changed)
        if json.dumps(changed) in seen:
            return
        seen.add(json.dumps(changed))
        for values in VALUES:
            messages = copy.deepcopy(changed)
            for change in values:
                messages = change(messages)
            if json.dumps([values[0] is None, messages]) in seen:
                continue
            seen.add(json.dumps([False, messages]))
            if not self.template.developer and any(m["role"] == "developer" for m in messages):
                continue
            for tools in [self.tools] + [whole_tools(self.tools)] * bool(self.tools):
                text = self.template.render(messages, tools)
                if text and holds(text, self.words) and not re.search(
                        r"None|['\"]text\\?['\"]: |'zqkey': '|\\+\"zq", text):
                    yield text

    def find(self, got):
        """(n, equal): how few changes keep every word, None: none do; and whether one of the prompts
        that so many give is ours. A later system message may also become a user's where a template
        takes it in some places, or moves it to the beginning."""
        seen, least = set(), None
        if self.tools and not self.template.tools:
            return None, False
        if any(m["role"] == "tool" for m in self.messages) and not self.template.has_calls():
            return None, False
        for n in range(MOST_CHANGES + 1):
            for changes in itertools.combinations(CHANGES, n):
                for prompt in self.prompts(changes, seen):
                    least = n if least is None else least
                    if prompt == got:
                        return n, True
            if least is not None and n >= least + 2 * self.later_system:
                break
        return least, False


MOST_CHANGES = 4


class Tally:
    def __init__(self):
        self.as_it_came = self.changed = self.told = self.refused = self.bad = 0

    def __str__(self):
        return (f"{self.as_it_came} as they came, {self.changed} changed, {self.told} told, {self.refused} "
                f"refused, {self.bad} bad")

    def fail(self, name, why, got):
        self.bad += 1
        print(f"  BAD {name}: {why}\n    {got[:1500]!r}")


def check(tally, name, case, got, error):
    n, equal = case.find(got or "")
    if got is None:
        if n is not None:
            tally.fail(name, f"{n} changes would do, but: {error}", "")
        elif not re.search(r"messages\[\d+\]", error or ""):
            tally.refused += 1  # the template's own words
        else:
            tally.refused += 1
    elif not holds(got, case.words):
        tally.fail(name, f"lost {[w for w in case.words if w not in got]}", got)
    elif equal:
        tally.as_it_came += n == 0
        tally.changed += n > 0
    elif n is not None:
        tally.fail(name, f"transformers keeps all with {n} changes, in another way", got)
    else:
        tally.told += 1


def check_template(specd, reference, name, source, for_tools=False):
    tally, source = Tally(), re.sub(r"strftime_now\([^)]*\)", "'26 Jul 2024'", source)
    template = Template(reference, source)
    for title, (messages, tools) in CONVERSATIONS.items():
        if for_tools and not tools:
            continue
        chat = {"messages": messages, "tools": tools, "add_generation_prompt": True, "bos_token": "<s>",
                "eos_token": "</s>"}
        got, error = specd.ask({"template": source, "chat": chat, "for_tools": for_tools})
        check(tally, f"{name} ({title})", Case(template, messages, tools), got, error)
    print(f"  {name}: {tally}")
    return tally.bad


def check_as_it_came(specd, reference):
    """What would be bad without any form: specd's plain rendering, of which much must be."""
    bad = 0
    for source in OWN.values():
        template = Template(reference, source)
        for messages, tools in CONVERSATIONS.values():
            got, _ = specd.render(source, {"messages": messages, "tools": tools, "bos_token": "<s>",
                                           "eos_token": "</s>", "add_generation_prompt": True})
            case = Case(template, messages, tools)
            bad += got is None or not holds(got, case.words)
    print(f"as they came: {bad} prompts of {len(OWN) * len(CONVERSATIONS)} would be bad")
    return bad < 100


def main():
    tool = (sys.argv + [os.path.join(oracle.HERE, "../../build/specd-template")])[1]
    if not os.access(tool, os.X_OK):
        sys.exit(f"check_forms: {tool} is not there; build the target specd-template first")
    specd, reference, bad = check_chat.Specd(tool), Reference(), 0
    for name, source in OWN.items():
        bad += check_template(specd, reference, name, source)
    path, source = check_chat.default_model()
    if path:
        bad += check_template(specd, reference, os.path.basename(path), source)
    else:
        print(f"default model: not compared, {source}")
    folder = check_chat.templates()
    files = sorted(glob.glob(os.path.join(folder, "*.jinja"))) if folder else []
    for path in files:
        with open(path, encoding="utf-8", newline="") as f:
            source = f.read()
        bad += check_template(specd, reference, os.path.basename(path), source, "tool_use" in path)
    bad += check_as_it_came(specd, reference)
    print(f"{len(OWN)} templates of our own, {len(files)} of models: {bad} bad")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
