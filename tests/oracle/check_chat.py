#!/usr/bin/env python3
"""specd's chat templates against jinja2, set up as Hugging Face transformers sets it up.

usage: check_chat.py [TOOL]    TOOL: the program specd-template (default: build/specd-template)

Renders with both and compares byte for byte; where jinja2 raises, specd has to fail as well.
  - the templates of chat_cases.py, which use every construct
  - what str's methods make of every character that Python's Unicode knows
  - the default model's own template ($SPECD_MODEL, or its place in the cache)
  - every *.jinja of the folder $SPECD_TEMPLATES (or $SPECD_VOCABS/templates), over the
    conversations of chat_cases.py
What is not there is said and left out. Exits 1 when something differs, 77 without jinja2.
"""
import functools
import glob
import json
import os
import subprocess
import sys
import unicodedata
from datetime import datetime

import oracle

try:
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError as e:
    oracle.skip(e)

import chat_cases

NOW = 1722470400  # what strftime_now tells on both sides


class Generation(jinja2.ext.Extension):
    """The tag around what the assistant says: it only prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    """Refuses attributes with an underscore in front."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.fromtimestamp(NOW).strftime(f)
    env.globals["namespace"] = Namespace
    return env


@functools.lru_cache(maxsize=4)
def compiled(env, source):
    return env.from_string(source)


def render_reference(env, source, variables):
    """(text, None) or (None, why not)."""
    try:
        text = compiled(env, source).render(**variables)
        text.encode()
        return text, None
    except Exception as e:  # whatever a template makes Python raise
        return None, f"{type(e).__name__}: {e}"


class Specd:
    """specd-template --batch, started again when it dies."""

    def __init__(self, tool):
        self.command = [tool, "--now", str(NOW), "--batch"]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, source, variables):
        """(text, None) or (None, why not)."""
        return self.ask({"template": source, "variables": variables})

    def ask(self, question):
        line = json.dumps(question).encode() + b"\n"
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
            reply = self.process.stdout.readline()
        except BrokenPipeError:
            reply = b""
        if not reply:
            code = self.process.wait()
            self.start()
            return None, f"CRASH, exit code {code}"
        reply = json.loads(reply.decode("utf-8", "replace"))
        return reply.get("text"), reply.get("error")


class Tally:
    def __init__(self):
        self.equal = self.refused = self.different = 0

    def add(self, name, reference, ours):
        """refused: jinja2 raises and so do we."""
        (want, why), (got, error) = reference, ours
        crashed = error and error.startswith("CRASH")
        if want is None and got is None and not crashed:
            self.refused += 1
            return True
        if want is not None and want == got:
            self.equal += 1
            return True
        self.different += 1
        print(f"  DIFFERENT {name}")
        print(f"    jinja2: {shown(want, why)}\n    specd:  {shown(got, error)}")
        return False

    def __str__(self):
        return f"{self.equal} equal, {self.refused} refused by both, {self.different} different"


def shown(text, error):
    return f"error: {error}" if text is None else repr(text[:600])


# ---- the three comparisons -------------------------------------------------------------------

def check_cases(env, specd):
    tally, unexpected = Tally(), 0
    for sources, raises in ((chat_cases.good(), False), (chat_cases.bad(), True)):
        for source in sources:
            reference = render_reference(env, source, chat_cases.VARIABLES)
            if (reference[0] is None) != raises:
                print(f"  the case {source!r} does not do what it is there for: {reference}")
                unexpected += 1
            tally.add(repr(source), reference, specd.render(source, chat_cases.VARIABLES))
    print(f"constructs: {tally}")
    return tally.different + unexpected


# Case mappings that are left out or newer than Python's: to more than one character, the final
# sigma, and two letters that got an upper case in Unicode 16.
def is_simple(c):
    return (c == "ß" or len(c.upper()) == len(c.lower()) == len(c.title()) == 1) and \
        unicodedata.category(c) != "Cn" and c not in "Σ\u019b\u0264"


CHARACTERS = """{{ text|upper }} {{ text|lower }} {{ text.swapcase() }} {{ text }}
{% for c in text %}{{ c.title() }}{{ c.capitalize() }}{{ c|trim|length }}{{ c.isalpha() }}\
{{ c.isspace() }}{{ (c ~ c).split()|length }} {% endfor %}{{ [text] }}"""


def check_characters(env, specd):
    tally = Tally()
    chars = [chr(cp) for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
    chars = [c for c in chars[1:] if is_simple(c)]
    for i in range(0, len(chars), 2048):
        variables = {"text": "".join(chars[i:i + 2048])}
        tally.add(f"characters from U+{ord(chars[i]):04X}", render_reference(env, CHARACTERS, variables),
                  specd.render(CHARACTERS, variables))
    print(f"characters: {len(chars)} in texts, {tally}")
    return tally.different


def check_template(env, specd, name, source):
    """How the template fares over all conversations: its tally."""
    tally = Tally()
    for title, variables in chat_cases.conversations():
        tally.add(f"{name} ({title})", render_reference(env, source, variables),
                  specd.render(source, variables))
    return tally


def default_model():
    """The model file, and the template in it; None, and why not."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.environ.get("SPECD_MODEL") or os.path.join(
        cache, "specd", "SmolLM2-135M-Instruct.Q4_1.gguf")
    if not os.path.exists(path):
        return None, f"{path} is not there"
    try:
        import gguf_vocab
    except ImportError as e:
        return None, e
    with open(path, "rb") as f:
        return path, gguf_vocab.Reader(f.read()).fields["tokenizer.chat_template"]


def check_default_model(env, specd):
    path, source = default_model()
    if not path:
        print(f"default model: not compared, {source}")
        return 0
    tally = check_template(env, specd, os.path.basename(path), source)
    print(f"default model: {tally}")
    return tally.different


def check_folder(env, specd, folder):
    templates = sorted(glob.glob(os.path.join(folder, "*.jinja")))
    equal, unsupported, different = [], [], []
    for path in templates:
        name = os.path.basename(path)
        with open(path, encoding="utf-8", newline="") as f:
            source = f.read()
        tally = check_template(env, specd, name, source)
        kind = different if tally.different else equal if tally.equal else unsupported
        kind.append(name)
        print(f"  {name}: {tally}")
    print(f"{folder}: {len(templates)} templates: {len(equal)} equal, {len(unsupported)} that "
          f"jinja2 refuses as well {unsupported}, {len(different)} different {different}")
    return len(different)


def templates():
    if os.environ.get("SPECD_TEMPLATES"):
        return os.environ["SPECD_TEMPLATES"]
    vocabs = os.environ.get("SPECD_VOCABS")
    return os.path.join(vocabs, "templates") if vocabs else None


def main():
    tool = (sys.argv + [os.path.join(oracle.HERE, "../../build/specd-template")])[1]
    if not os.access(tool, os.X_OK):
        sys.exit(f"check_chat: {tool} is not there; build the target specd-template first")
    env, specd = environment(), Specd(tool)
    bad = check_cases(env, specd) + check_characters(env, specd) + check_default_model(env, specd)
    folder = templates()
    if folder:
        bad += check_folder(env, specd, folder)
    else:
        print("templates of other models: not compared, SPECD_TEMPLATES names no folder")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
