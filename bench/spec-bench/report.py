"""Tables out of result files."""
import json
import os
import sys

import figures
import pictures
import reach

BEGIN, END = "<!-- spec-bench -->", "<!-- end of spec-bench -->"


def read(path):
    """The results of a file that may not exist yet; of a cell measured twice, the last. A last line
    without its end was being written when something stopped it: it counts for nothing."""
    if not os.path.exists(path):
        return []
    results = {}
    with open(path) as f:
        for number, text in enumerate(f, 1):
            if not text.endswith("\n"):
                break
            try:
                result = json.loads(text)
                results[result["key"]] = result
            except (ValueError, KeyError) as e:
                sys.exit(f"{path}:{number}: no result of spec-bench: {e}")
    return list(results.values())


def append(path, result):
    """Adds a line, in the place of a last one that has no end."""
    with open(path, "ab+") as f:
        f.seek(0)
        f.truncate(f.read().rfind(b"\n") + 1)
        f.write(json.dumps(result).encode() + b"\n")


def number(value, form="{:.1f}"):
    return "-" if value is None else form.format(value)


def line(result):
    """What the log says of a finished cell."""
    base = result["contestants"][0]
    parts = [f"{base} {number(figures.median(result, base, 'rate'))} tokens/s"]
    for name in result["contestants"][1:]:
        parts.append(f"{name} {figures.Ratio(result, name, base, 'rate')}")
    return "; ".join(parts)


def main_table(results):
    lines = ["| models | task | T | clients | who | tokens/s | speed-up | latency | throughput "
             "| first token, ms | latency, ms | tokens a round | accepted | same text |",
             "|:--|:--|--:|--:|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for r in results:
        base = r["contestants"][0]
        for name in r["contestants"]:
            ratio = {m: "1" if name == base else str(figures.Ratio(r, name, base, m))
                     for m in ("rate", "latency", "throughput")}
            same = "" if name == base or r["temperature"] else "%d/%d" % figures.same_texts(r, name, base)
            times = [figures.median(r, name, m) for m in ("ttft", "latency")]
            lines.append(
                f"| {r['pair']} | {r['task']}{' (' + r['variant'] + ')' if r['variant'] else ''} "
                f"| {r['temperature']:g} | {r['clients']} | {name} "
                f"| {number(figures.median(r, name, 'rate'))} | {ratio['rate']} | {ratio['latency']} "
                f"| {ratio['throughput']} | {number(times[0] * 1e3, '{:.0f}')} "
                f"| {number(times[1] * 1e3, '{:.0f}')} "
                f"| {number(figures.tokens_per_round(r, name), '{:.2f}')} "
                f"| {number(figures.acceptance(r, name), '{:.2f}')} | {same} |")
    return lines


def time_table(results):
    lines = ["| models | task | T | clients | who | " + " | ".join(figures.PARTS) + " | for nothing "
             "| accepted by position |",
             "|:--|:--|--:|--:|:--|" + "--:|" * (len(figures.PARTS) + 1) + ":--|"]
    for r in results:
        for name in r["contestants"]:
            shares = figures.shares(r, name)
            if not shares:
                continue
            positions = [number(a, "{:.2f}") for a in figures.acceptance_by_position(r, name)]
            lines.append(
                f"| {r['pair']} | {r['task']}{' (' + r['variant'] + ')' if r['variant'] else ''} "
                f"| {r['temperature']:g} | {r['clients']} | {name} | "
                + " | ".join(f"{shares[p]:.1%}" for p in figures.PARTS)
                + f" | {number(figures.regret(r, name), '{:.1%}')} | {' '.join(positions)} |")
    return lines


def models_of(results):
    return "; ".join(sorted({f"{r['pair']}: {' + '.join(r['models'])}" for r in results if r["models"]}))


def describe(results):
    """Machines, commits, models and dates: what a reader must know before the numbers."""

    def all_of(name):
        return ", ".join(sorted({str(r[name]) for r in results}))

    lines = [f"- machine: {all_of('machine')}", f"- commit: {all_of('commit')}",
             f"- measured: {min(r['when'] for r in results)} to {max(r['when'] for r in results)} UTC",
             f"- models: {models_of(results)}"]
    busy = [r["key"] for r in results if r["load_before"] > 1.5]
    if busy:
        lines.append(f"- the machine was busy before: {', '.join(busy)}")
    return lines


def markdown(results, name):
    lines = [f"# What speculation is worth{': ' + name if name else ''}", ""]
    lines += describe(results)
    lines += ["", "Contestants take turns on the same prompts; ratios are of runs of the same turn, over the "
              "first of a cell's contestants, as median and its interval of 90 % or more from order "
              "statistics; above 1 is better. tokens/s: from a request's first to its last token, median. "
              "`scripts/spec-bench.sh` measures it again.",
              "", "## What it must reach", ""]
    lines += reach.table({r["key"]: r for r in results})
    lines += ["", "## All cells", ""] + main_table(results)
    lines += ["", "## Where the time of rounds goes", ""] + time_table(results)
    return "\n".join(lines) + "\n"


def readme_table(results, link):
    """A row for each cell with speculation off and on, of its contestants the most capable one."""
    where = f" ([all cells]({link}))" if link else ""
    lines = [f"Measured by `scripts/spec-bench.sh` on {results[0]['machine']}, speculation off and on in "
             f"turns, the median with its interval of 90 %{where}. Models: {models_of(results)}.",
             "", "| models | task | T | clients | tokens/s off | on | speed-up | tokens a round "
             "| first token, ms |", "|:--|:--|--:|--:|--:|--:|--:|--:|--:|"]
    for r in results:
        base = r["contestants"][0]
        drafters = [n for n in r["contestants"] if n in ("lookup+model", "lookup", "model")]
        if base != "off" or r["variant"] not in ("", "peers") or not drafters:
            continue
        name = drafters[-1]
        lines.append(
            f"| {r['pair']} | {r['task']} | {r['temperature']:g} | {r['clients']} "
            f"| {number(figures.median(r, base, 'rate'))} | {number(figures.median(r, name, 'rate'))} "
            f"| {figures.Ratio(r, name, base, 'rate')} "
            f"| {number(figures.tokens_per_round(r, name), '{:.2f}')} "
            f"| {number(figures.median(r, name, 'ttft') * 1e3, '{:.0f}')} |")
    for r in results:
        for name in (n for n in r["contestants"] if n.startswith(("llama.cpp", "transformers"))):
            if "lookup+model" in r["contestants"]:
                lines += ["", f"{name} on {r['task']}, T {r['temperature']:g}, {r['clients']} client: "
                          f"{number(figures.median(r, name, 'rate'))} tokens/s; specd is "
                          f"{figures.Ratio(r, 'lookup+model', name, 'rate')} times as fast."]
    return lines


def replace_between_markers(path, lines):
    with open(path) as f:
        text = f.read()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{path} has no lines '{BEGIN}' and '{END}'")
    with open(path, "w") as f:
        f.write(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)


def write(o):
    results = read(o.results)
    if not results:
        sys.exit(f"{o.results} holds no results")
    text = markdown(results, o.name)
    if o.markdown:
        with open(o.markdown, "w") as f:
            f.write(text)
    else:
        print(text, end="")
    if o.pictures:
        os.makedirs(o.pictures, exist_ok=True)
        pictures.speedup(results, os.path.join(o.pictures, "speedup.svg"))
        pictures.draft_length(results, os.path.join(o.pictures, "draft-length.svg"))
    if o.readme:
        link = os.path.relpath(o.markdown, os.path.dirname(os.path.abspath(o.readme))) if o.markdown else ""
        replace_between_markers(o.readme, readme_table(results, link))
    return 0
