"""Which cells there are: what is measured against what, in which order."""
from dataclasses import dataclass

import prompts

CLAIM_PAIRS = 15  # fewer pairs of turns support no claim
CLIENTS = (1, 4, 16, 64)
TEMPERATURES = (0, 0.7, 1)
NEED_DRAFT = ("llama.cpp draft-simple", "transformers assisted")


@dataclass(frozen=True)
class Cell:
    """One setting. contestants take turns on it; the first is what the others are compared with."""
    pair: str
    task: str
    temperature: float
    clients: int
    contestants: tuple
    max_tokens: int
    pairs: int = CLAIM_PAIRS
    variant: str = ""  # "ttft", "hopeless", "bad table", "peers", "transformers"

    @property
    def key(self):
        kind = f" {self.variant}" if self.variant else ""
        return f"{self.pair} {self.task} T{self.temperature:g} {self.clients}{kind}"


def grid(pairs, options):
    """Everything: tasks x temperatures x clients x drafters of each pair, the light loads first."""
    cells = []
    for clients in options.clients or CLIENTS:
        for pair, (_, draft) in pairs.items():
            drafters = ("lookup", "model", "lookup+model") if draft else ("lookup",)
            peers = [p for p in options.peers if draft or p not in NEED_DRAFT]
            contestants = tuple(options.contestants or ("off", *drafters, *peers))
            for task in options.tasks or prompts.TASKS:
                for t in options.temperatures or TEMPERATURES:
                    cells.append(Cell(pair, task, t, clients, contestants,
                                      options.max_tokens or prompts.TASKS[task][1], options.pairs))
    return cells


def quick(pairs, options):
    """The cells of the table "what it must reach", the ones that matter most first: what does not fit
    into --minutes is left to the next call. Answers are as short as a stable rate allows."""
    cells, n = [], options.pairs

    def add(pair, task, t, clients, contestants, max_tokens, variant=""):
        if pair in pairs:
            cells.append(Cell(pair, task, t, clients, contestants, max_tokens, n, variant))

    both = ("off", "lookup+model")
    for task, clients in (("summary", 1), ("edit", 1), ("summary", 4), ("edit", 4)):
        add("smol", task, 0, clients, ("off", "lookup"), 64)
    slow = tuple(p for p in options.peers if p.startswith("transformers"))
    peers = tuple(p for p in options.peers if p not in slow)
    add("coder", "code", 0, 1, (*both, *peers), 80, "peers" if peers else "")
    add("coder", "code", 0.7, 1, both, 96)
    add("coder", "edit", 0, 1, both, 96)
    add("coder", "edit", 0.7, 1, both, 96)
    add("coder", "chat", 0, 1, both, 96)
    add("coder", "translation", 0, 1, both, 80)
    add("coder", "code", 0, 1, ("no draft", "lookup+model"), 16, "ttft")
    add("coder", "chat", 0, 1, ("off", "model"), 64, "hopeless")
    add("coder", "code", 0, 4, both, 48)
    add("coder", "chat", 0, 1, ("off", "model"), 64, "bad table")
    add("smol", "chat", 0, 16, ("off", "lookup"), 48)
    add("smol", "chat", 0, 64, ("off", "lookup"), 24)
    add("smol", "chat", 1, 1, ("off", "lookup"), 64)
    add("coder", "chat", 0, 16, both, 32)
    if slow:
        add("coder", "code", 0, 1, (*both, *slow), 24, "transformers")
    return cells
