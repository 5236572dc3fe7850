"""The law of a request in double precision, from logits: specd/law.h in other words.

Order: repetition, frequency and presence penalties; logit_bias and forbidden tokens; temperature;
top-k; top-p of what top-k left; min-p relative to the largest.

Cuts are discontinuous: where a cumulated weight lies on top_p, float32 logits may fall on the other
side of it than these. So every cut states its margin, and a test picks prompts that have one.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Law:
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence: float = 0.0
    frequency: float = 0.0
    repetition: float = 1.0
    bias: dict = field(default_factory=dict)
    banned: tuple = ()
    end: int = -1  # the token that ends a text: -1 for none
    end_from: int = 0  # before so many generated tokens it has no mass
    order: str = "kpm"  # of the cuts; tests that must fail change it

    def penalise(self, z, prompt, drawn):
        """z (V,) after `prompt` and the generated tokens `drawn`."""
        z, v = z.copy(), len(z)
        mine = np.bincount(np.array(drawn, int), minlength=v)
        seen = (mine + np.bincount(prompt, minlength=v)) > 0
        z[seen] = np.where(z[seen] > 0, z[seen] / self.repetition, z[seen] * self.repetition)
        return z - self.frequency * mine - self.presence * (mine > 0)

    def keep(self, cut, p):
        """What one cut keeps of the weights p, with its margin."""
        order = np.argsort(-p, kind="stable")
        ranked = p[order]
        if cut == "k" and 0 < self.top_k < len(p):
            n = self.top_k
            margin = (ranked[n - 1] - ranked[n]) / ranked[n - 1] if ranked[n - 1] > 0 else 1
        elif cut == "p" and self.top_p < 1:
            mass = np.cumsum(ranked) / ranked.sum()
            n, margin = int(np.argmax(mass >= self.top_p)) + 1, np.abs(mass - self.top_p).min()
        elif cut == "m" and self.min_p > 0:
            n = int((ranked >= self.min_p * ranked[0]).sum())
            margin = np.abs(ranked / ranked[0] - self.min_p).min()
        else:
            return p, 1.0
        out = np.zeros_like(p)
        out[order[:n]] = ranked[:n]
        return out, margin

    def warp(self, z, prompt, drawn):
        """(p (V,), margin) of the token after `prompt` and `drawn`."""
        z = self.penalise(z, prompt, drawn)
        for token, bias in self.bias.items():
            z[token] += bias
        z[list(self.banned)] = -np.inf
        if self.end >= 0 and len(drawn) < self.end_from:
            z[self.end] = -np.inf
        if self.temperature == 0:
            top = np.sort(z)
            return np.eye(len(z))[int(np.argmax(z))], top[-1] - top[-2]
        p, margin = np.exp((z - z.max()) / self.temperature), 1.0
        for cut in self.order:
            p, m = self.keep(cut, p)
            margin = min(margin, m)
        return p / p.sum(), margin

    def joint(self, tree, prompt):
        """(the law of the next len(tree) tokens, the smallest margin). An outcome's index has its
        tokens as digits in base V, first token first; after the end token comes only the end."""
        law, margin, v = np.ones(1), 1.0, tree[0].shape[1]
        drawn = [()]
        for level in tree:
            rows = np.zeros((len(drawn), v))
            for i, before in enumerate(drawn):
                if law[i] == 0:
                    continue
                if self.end in before:
                    rows[i, self.end] = 1
                    continue
                rows[i], m = self.warp(level[i], prompt, before)
                margin = min(margin, m)
            law = (law[:, None] * rows).ravel()
            drawn = [d + (t,) for d in drawn for t in range(v)]
        return law, margin
