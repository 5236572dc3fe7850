"""Numbers out of a cell's turns: medians, their intervals, ratios of runs of the same turn."""
import math
import statistics

LEVEL = 0.9  # of intervals


def interval(values):
    """The median's interval from order statistics, at LEVEL or more; None for too few values.

    Of n values below the median there are k with the law of n fair coins, whatever the values' own
    law: [x_(k), x_(n+1-k)] holds the median but for 2 P(fewer than k).
    """
    n, x = len(values), sorted(values)
    k, below = 0, 0.0
    while k < n // 2:
        below += math.comb(n, k) / 2 ** n
        if 2 * below > 1 - LEVEL:
            break
        k += 1
    return (x[k - 1], x[n - k]) if k >= 1 else None


# What a run is judged by: from a run, a number (None: it has none).
def _of_replies(name):
    def of(run):
        values = [r[name] for r in run["replies"] if r.get(name) is not None]
        return statistics.median(values) if values else None

    return of


MEASURES = {
    "rate": _of_replies("rate"),  # tokens per second from a request's first to its last token
    "ttft": _of_replies("ttft"),
    "latency": _of_replies("latency"),
    "throughput": lambda run: run["tokens"] / run["wall"],
}
HIGHER_IS_BETTER = ("rate", "throughput")


def values(result, contestant, measure):
    found = [MEASURES[measure](turn[contestant]) for turn in result["turns"]]
    return [v for v in found if v is not None]


def median(result, contestant, measure):
    found = values(result, contestant, measure)
    return statistics.median(found) if found else None


class Ratio:
    """contestant over base by turns: above 1 is better for what is to be high; times are turned
    round unless raw."""

    def __init__(self, result, contestant, base, measure, raw=False):
        self.ratios = []
        for turn in result["turns"]:
            a, b = (MEASURES[measure](turn[name]) for name in (contestant, base))
            if a and b:
                self.ratios.append(a / b if raw or measure in HIGHER_IS_BETTER else b / a)
        self.median = statistics.median(self.ratios) if self.ratios else None
        self.interval = interval(self.ratios)
        self.pairs = len(self.ratios)

    def __str__(self):
        if self.median is None:
            return "-"
        text = f"{self.median:.2f}"
        return text + (f" ({self.interval[0]:.2f} … {self.interval[1]:.2f})" if self.interval else "")


def replies(result, contestant):
    return [r for turn in result["turns"] for r in turn[contestant]["replies"]]


def tokens_per_round(result, contestant):
    """Over all requests; None where the server does not tell its rounds."""
    known = [r for r in replies(result, contestant) if r.get("rounds")]
    return 1 + sum(r["accepted"] for r in known) / sum(r["rounds"] for r in known) if known else None


def acceptance(result, contestant):
    """Accepted over drafted; None where nothing was drafted."""
    drafted = sum(r["drafted"] for r in replies(result, contestant))
    return sum(r["accepted"] for r in replies(result, contestant)) / drafted if drafted else None


def acceptance_by_position(result, contestant):
    """Means over requests, each counted by what it drafted."""
    total, weight = [], []
    for r in replies(result, contestant):
        for i, share in enumerate(r.get("acceptance_by_position") or []):
            if i == len(total):
                total.append(0.0)
                weight.append(0.0)
            total[i] += share * r["drafted"]
            weight[i] += r["drafted"]
    return [t / w if w else None for t, w in zip(total, weight)]


def counted(result, contestant, name):
    """A counter's growth over all turns of a contestant."""
    return sum(turn[contestant]["counted"].get(name, 0) for turn in result["turns"])


PARTS = ("prompt", "draft", "verify", "sample", "host")


def round_seconds(result, contestant):
    return sum(counted(result, contestant, f'round_seconds_total{{part="{p}"}}') for p in PARTS)


def shares(result, contestant):
    """Of the time of rounds, each part's share; None where the server does not tell."""
    total = round_seconds(result, contestant)
    return {p: counted(result, contestant, f'round_seconds_total{{part="{p}"}}') / total
            for p in PARTS} if total else None


def regret(result, contestant):
    """The share of rounds' time that went into drafting and earned nothing, as the server counts it;
    None where it does not. It counts by many rounds at a time, so what one contestant lost may show
    when the next one's turn is: those who share a server share the figure."""
    commands = result["commands"]
    sharing = [n for n in result["contestants"] if commands[n] == commands[contestant]]
    drafting = [n for n in sharing if n != "off"]
    total = sum(round_seconds(result, n) for n in drafting)
    names = {n for turn in result["turns"] for who in sharing for n in turn[who]["counted"]
             if n.startswith("spec_busy_seconds")}
    if contestant not in drafting or not total or not names:
        return None
    return sum(counted(result, n, "spec_regret_seconds_total") for n in sharing) / total


def same_texts(result, contestant, base):
    """How many answers were the same text as base's, and of how many."""
    pairs = [(a["text"], b["text"]) for turn in result["turns"]
             for a, b in zip(turn[contestant]["replies"], turn[base]["replies"])]
    return sum(a == b for a, b in pairs), len(pairs)
