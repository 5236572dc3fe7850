"""The servers that spec-bench starts: specd and its peers, one process each, on a free port.

A contestant is a way to be served: a server, and the fields a request carries there. Several
contestants may share a server: specd takes drafters by request.
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

import client

CHAT = "/v1/chat/completions"
READY_SECONDS = 300
HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Spec:
    """How a server is started; or where it already runs, when url is given."""
    name: str
    argv: list = field(default_factory=list)
    env: dict = field(default_factory=dict)
    url: str = ""
    prepare: object = None  # called with the Spec before the start


class Server:
    def __init__(self, spec, logs):
        self.spec, self.url, self.process = spec, spec.url, None
        if spec.url:
            return
        if spec.prepare:
            spec.prepare(spec)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.path = os.path.join(logs, re.sub(r"[^\w.-]+", "-", spec.name) + ".log")
        with open(self.path, "ab") as log:
            self.process = subprocess.Popen(
                [*spec.argv, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **spec.env}, start_new_session=True)
        try:
            self.wait()
        except BaseException:  # a signal, too, must not leave it behind
            self.stop()
            raise

    def wait(self):
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                client.get(self.url, "/health")
                return
            except client.Failed:
                time.sleep(0.1)
        with open(self.path, errors="replace") as f:
            tail = f.read()[-600:]
        raise client.Failed(f"{self.spec.name} did not get ready: {' '.join(self.spec.argv)}\n{tail}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Park:
    """The servers that run now. An idle one takes no core; it only takes memory."""

    def __init__(self, logs):
        self.logs, self.running = logs, {}

    def keep(self, specs):
        """Exactly these run afterwards."""
        wanted = {s.name for s in specs}
        for name in [n for n in self.running if n not in wanted]:
            self.running.pop(name).stop()
        for spec in specs:
            if spec.name not in self.running:
                self.running[spec.name] = Server(spec, self.logs)

    def url(self, spec):
        return self.running[spec.name].url


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- a cost table that lies ----------------------------------------------------------------------

def fnv1a(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 % (1 << 64)
    return h


def spoiled(table):
    """The text of a cost table in which drafts cost nearly nothing, and rows nothing at all."""
    one_row = re.search(r"^verify 1 (\d+)$", table, re.MULTILINE)
    body, found, _ = table.rpartition("sum ")
    if not one_row or not found:
        raise client.Failed("the cost table has another form than spec-bench knows")

    def lie(m):
        ns = one_row.group(1) if m.group(1) == "verify" else int(m.group(3)) // 50 + 1
        return f"{m.group(1)} {m.group(2)} {ns}"

    body = re.sub(r"^(\w+) (\d+) (\d+)$", lie, body, flags=re.MULTILINE)
    return body + f"sum {fnv1a(body.encode()):016x}\n"


def with_spoiled_table(spec, folder):
    """Before its start: the server has measured itself once, and its table has been spoiled since."""

    def prepare(spec):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        Server(Spec(spec.name + " first", spec.argv, spec.env), folder).stop()  # it measures
        cache = os.path.join(folder, "specd")
        tables = [f for f in os.listdir(cache) if f.startswith("cost-")] if os.path.isdir(cache) else []
        if not tables:
            raise client.Failed("specd kept no cost table in " + cache)
        for name in tables:
            path = os.path.join(cache, name)
            with open(path) as f:
                text = f.read()
            with open(path, "w") as f:
                f.write(spoiled(text))

    spec.env = {**spec.env, "XDG_CACHE_HOME": folder}
    spec.prepare = prepare
    return spec


# ---- who takes part ------------------------------------------------------------------------------

@dataclass
class Contestant:
    spec: Spec
    fields: dict
    traced: bool = False  # its answers can say K of each round
    route: str = CHAT


DRAFTERS = {
    "off": {"enabled": False},
    "lookup": {"drafter": "lookup"},
    "model": {"drafter": "model"},
    "lookup+model": {},
}
LLAMA = {
    "llama.cpp": [],
    "llama.cpp draft-simple": ["--spec-type", "draft-simple", "-md", "DRAFT"],
    "llama.cpp ngram-mod": ["--spec-type", "ngram-mod"],
}


class Lineup:
    """Makes contestants of one pair by name. options: what the command line said."""

    def __init__(self, options, pair, target, draft):
        self.o, self.pair, self.target, self.draft = options, pair, target, draft
        self.salt = 0

    def specd(self, name, *extra, draft=True):
        argv = [self.o.specd, "-m", self.target, "-c", str(self.o.ctx), "-np", str(self.o.slots),
                "--log-level", "warn"]
        if draft:
            argv += ["-md", "lookup" + (f",{self.draft}" if self.draft else "")]
        return Spec(f"{self.pair} {name}", argv + list(extra) + self.o.specd_args)

    def contestant(self, name, variant):
        if name in self.o.urls:
            url, fields = self.o.urls[name]
            return Contestant(Spec(name, url=url), fields)
        if name in DRAFTERS:
            if variant == "hopeless":
                spec = self.specd("specd hopeless", "--synthetic-acceptance", "0.05")
            elif variant == "bad table":
                spec = self.specd("specd bad table")
                spec = with_spoiled_table(spec, os.path.join(self.o.scratch, "spoiled-" + self.pair))
            else:
                spec = self.specd("specd")
            return Contestant(spec, {"speculative": DRAFTERS[name]}, traced=name != "off")
        if name == "no draft":
            return Contestant(self.specd("specd without a draft", draft=False), {})
        if name in LLAMA:
            extra = [self.draft if a == "DRAFT" else a for a in LLAMA[name]]
            argv = [self.o.llama_server, "-m", self.target, "-c", str(self.o.ctx), "-np", "1",
                    "-t", str(os.cpu_count()), "--no-ui", *extra]
            # Its own defaults cut the law (top-k 40, top-p 0.95, min-p 0.05); here all sample alike.
            return Contestant(Spec(f"{self.pair} {name}", argv),
                              {"cache_prompt": False, "top_k": 0, "top_p": 1, "min_p": 0})
        if name in ("transformers", "transformers assisted"):
            argv = [self.o.transformers_python, os.path.join(HERE, "peer_transformers.py"),
                    "--model", self.target, "--draft", self.draft]
            return Contestant(Spec(f"{self.pair} transformers", argv),
                              {"assisted": name.endswith("assisted")})
        sys.exit(f"no contestant '{name}'; there are {', '.join([*DRAFTERS, *LLAMA])}, no draft, "
                 "transformers, transformers assisted, and those of --server")

    def body(self, contestant, prompt, temperature, max_tokens, fields):
        """A request whose prompt no server has in its cache. specd keeps prompts by salt."""
        body = {"model": "default", "messages": [{"role": "user", "content": prompt}],
                "temperature": temperature, "max_tokens": max_tokens, **fields, **contestant.fields}
        if "speculative" in contestant.fields or not contestant.fields and not contestant.spec.url:
            self.salt += 1
            body["cache_salt"] = f"spec-bench {os.getpid()} {self.salt}"
        return body
