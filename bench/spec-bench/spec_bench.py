#!/usr/bin/env python3
"""Measures what speculation is worth, task by task, on specd and on any OpenAI-compatible server.

usage: spec_bench.py run --out RESULTS.jsonl --specd BIN --pair NAME=TARGET[,DRAFT] ... [--quick]
       spec_bench.py report RESULTS.jsonl [--markdown FILE] [--pictures FOLDER] [--readme README.md]

A cell is a pair of models, a task, a temperature and a number of clients. Its contestants (speculation
off, the drafters, peers) take turns on the same prompts: off, A, B, then B, A, off, and so on, so that
what the machine does meanwhile meets all of them. A finished cell is a line of the result file; the same
command again does the cells that have none. Standard library only.
"""
import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time

import client
import plan
import prompts
import report
import servers

SCHEMA = 1
WARM_ROUNDS = 200  # after which a cost table that lied must have been found out


def log(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def machine():
    model = platform.processor()
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        return subprocess.run(["git", "-C", here, "describe", "--always", "--dirty", "--exclude", "*"],
                              capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Runner:
    """Runs cells, one after another."""

    def __init__(self, options, pairs):
        self.o = options
        self.lineups = {name: servers.Lineup(options, name, *paths) for name, paths in pairs.items()}
        self.park = servers.Park(options.scratch)
        self.start = time.monotonic()

    def minutes(self):
        return (time.monotonic() - self.start) / 60

    def burst(self, cell, contestant, turn, clients=None, **more):
        texts, _, fields = prompts.TASKS[cell.task]
        fields = dict(fields)
        if cell.variant == "hopeless":
            fields["ignore_eos"] = True  # such an answer means nothing and may end anywhere
        lineup = self.lineups[cell.pair]
        bodies = []
        for i in range(clients or cell.clients):
            # Neighbours in a turn have different prompts, and a turn's are those of all contestants.
            text = texts[(turn + i) % len(texts)]
            body = lineup.body(contestant, text, cell.temperature, cell.max_tokens, fields)
            for name, value in more.items():
                body[name] = {**body.get(name, {}), **value} if isinstance(value, dict) else value
            bodies.append(body)
        return client.burst(self.park.url(contestant.spec), contestant.route, bodies)

    def warm(self, cell, contestants):
        """One turn that does not count; returns its seconds."""
        start = time.monotonic()
        for contestant in contestants.values():
            self.burst(cell, contestant, -1)
        seconds = time.monotonic() - start
        if cell.variant == "bad table":
            for name in cell.contestants[1:]:
                rounds, turn = 0, 0
                while rounds < WARM_ROUNDS:
                    run = self.burst(cell, contestants[name], turn)
                    rounds += sum(r.get("rounds", r["tokens"]) for r in run["replies"])
                    turn += 1
        return seconds

    def cell(self, cell):
        """The result of a cell, or None when it would end after --minutes."""
        lineup = self.lineups[cell.pair]
        contestants = {name: lineup.contestant(name, cell.variant) for name in cell.contestants}
        self.park.keep([c.spec for c in contestants.values()])
        load = os.getloadavg()[0]
        seconds = self.warm(cell, contestants)
        if self.minutes() + cell.pairs * seconds / 60 > self.o.minutes:
            return None
        turns = []
        for i in range(cell.pairs):
            order = list(cell.contestants) if i % 2 == 0 else list(reversed(cell.contestants))
            runs = {name: self.burst(cell, contestants[name], i) for name in order}
            turns.append({name: runs[name] for name in cell.contestants})
        traces = {}
        for name, contestant in contestants.items():
            if contestant.traced:
                run = self.burst(cell, contestant, 0, clients=1, speculative={"trace": True})
                traces[name] = run["replies"][0].get("trace", [])
        return {
            "schema": SCHEMA, "key": cell.key, "pair": cell.pair, "task": cell.task,
            "temperature": cell.temperature, "clients": cell.clients, "variant": cell.variant,
            "max_tokens": cell.max_tokens, "contestants": list(cell.contestants),
            "models": [os.path.basename(p) for p in (lineup.target, lineup.draft) if p],
            "commands": {name: [c.spec.url] if c.spec.url else
                         [os.path.basename(a) if "/" in a else a for a in c.spec.argv]
                         for name, c in contestants.items()},
            "machine": machine(), "commit": commit(), "load_before": load,
            "when": datetime.datetime.now(datetime.timezone.utc).strftime("%F %R"),
            "turns": turns, "traces": traces,
        }

    def all(self, cells):
        """0 when every cell has a result, 2 when some wait for another call, 1 after a failure."""
        done = set() if self.o.only else {r["key"] for r in report.read(self.o.out)}
        missing = failed = 0
        for i, cell in enumerate(cells):
            if cell.key in done:
                continue
            log(f"{self.minutes():4.1f} min  {i + 1}/{len(cells)}  {cell.key}: "
                f"{', '.join(cell.contestants)}")
            try:
                result = self.cell(cell)
            except client.Failed as e:
                log(f"failed: {e}")
                self.park.keep([])  # whoever failed starts anew
                failed += 1
                continue
            if result is None:
                log("left to another call: it would end after --minutes")
                missing += 1
                continue
            report.append(self.o.out, result)
            log("  " + report.line(result))
        return 1 if failed else 2 if missing else 0


def parse_pair(text):
    name, _, paths = text.partition("=")
    target, _, draft = paths.partition(",")
    if not name:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=TARGET[,DRAFT]")
    for path in filter(None, (target, draft)):
        if not os.path.exists(path) and not path.startswith("self:"):
            raise argparse.ArgumentTypeError(f"{path}: no such file")
    return name, (target, draft)


def parse_server(text):
    name, _, rest = text.partition("=")
    url, _, fields = rest.partition(",")
    try:
        return name, (url, json.loads(fields or "{}"))
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=URL[,FIELDS], FIELDS in JSON: {e}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measures")
    run.add_argument("--out", required=True, help="the result file, one line of JSON a cell")
    run.add_argument("--specd", default="build/specd", help="the program")
    run.add_argument("--specd-args", default="", help="more arguments for it, separated by blanks")
    run.add_argument("--pair", type=parse_pair, action="append", required=True,
                     help="NAME=TARGET[,DRAFT]; --quick knows coder and smol; NAME alone where only "
                     "servers of --server take part")
    run.add_argument("--quick", action="store_true",
                     help='the cells of "what it must reach" instead of the whole grid')
    run.add_argument("--only", help="cells with this in their name, measured anew if they were before")
    run.add_argument("--minutes", type=float, help="begin no cell that would end later "
                     "(25 with --quick)")
    run.add_argument("--pairs", type=int, default=plan.CLAIM_PAIRS, help="turns of a cell")
    run.add_argument("--tasks", type=lambda s: s.split(","))
    run.add_argument("--temperatures", type=lambda s: [float(t) for t in s.split(",")])
    run.add_argument("--clients", type=lambda s: [int(n) for n in s.split(",")])
    run.add_argument("--contestants", type=lambda s: s.split(","),
                     help="who takes turns in the grid; the first is what others are compared with "
                     "(off, the drafters the pair has, and all peers)")
    run.add_argument("--max-tokens", type=int, help="of every answer in the grid")
    run.add_argument("--ctx", type=int, default=2048)
    run.add_argument("--slots", type=int, default=64)
    run.add_argument("--llama-server", help="llama.cpp's server (scripts/get-llamacpp.sh): it takes "
                     "part plain, with draft-simple and with ngram-mod")
    run.add_argument("--transformers-python", help="a Python that has torch and transformers: they take "
                     "part, plain and assisted")
    run.add_argument("--server", type=parse_server, action="append", default=[], dest="urls",
                     help="NAME=URL[,FIELDS]: a server that runs already takes part; FIELDS is a JSON "
                     "object of what each request carries besides")
    run.add_argument("--scratch", help="folder of logs (default: a temporary one)")
    rep = commands.add_parser("report", help="makes tables and pictures of results")
    rep.add_argument("results")
    rep.add_argument("--markdown", help="all tables, as a file")
    rep.add_argument("--name", default="", help="the machine's short name, for the title")
    rep.add_argument("--pictures", help="folder for speedup.svg and draft-length.svg")
    rep.add_argument("--readme", help="a file whose lines between the markers are replaced")
    return parser.parse_args()


def run_command(o):
    pairs = dict(o.pair)
    if o.quick and not set(pairs) & {"coder", "smol"}:
        sys.exit("--quick measures pairs named coder or smol: --pair coder=TARGET,DRAFT")
    for task in o.tasks or []:
        if task not in prompts.TASKS:
            sys.exit(f"no task '{task}'; there are {', '.join(prompts.TASKS)}")
    if o.pairs < 1:
        sys.exit("--pairs is at least 1")
    o.urls = dict(o.urls)
    o.peers = tuple(o.urls)
    if o.llama_server:
        o.peers += tuple(servers.LLAMA)
    if o.transformers_python:
        o.peers += ("transformers", "transformers assisted")
    o.specd_args = o.specd_args.split()
    o.minutes = o.minutes or (25 if o.quick else float("inf"))
    o.scratch = o.scratch or tempfile.mkdtemp(prefix="spec-bench-")
    os.makedirs(o.scratch, exist_ok=True)
    cells = (plan.quick if o.quick else plan.grid)(pairs, o)
    cells = [c for c in cells if (o.only or "") in c.key]
    log(f"{len(cells)} cells; logs in {o.scratch}")
    runner = Runner(o, pairs)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return runner.all(cells)
    except KeyboardInterrupt:
        log("stopped; the same command goes on with the cells that are left")
        return 2
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not leave servers behind
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        runner.park.keep([])


def main():
    o = parse_arguments()
    return run_command(o) if o.command == "run" else report.write(o)


if __name__ == "__main__":
    sys.exit(main())
