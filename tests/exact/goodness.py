"""Goodness of fit: chi-squared and G of counts against a law, and the distance that is left."""

import math

import numpy as np


def chi2_tail(x, df):
    """P(X >= x) of the chi-squared distribution: the upper incomplete gamma function, by its series
    below the mean and by Lentz's continued fraction above."""
    if x <= 0 or df <= 0:
        return 1.0
    a, y = df / 2, x / 2
    front = math.exp(a * math.log(y) - y - math.lgamma(a))
    if y < a + 1:
        term = total = 1 / a
        n = 0
        while term > total * 1e-16:
            n += 1
            term *= y / (a + n)
            total += term
        return max(0.0, 1 - front * total)
    b, c = y + 1 - a, 1e300
    d = h = 1 / b
    for n in range(1, 100000):
        an = -n * (n - a)
        b += 2
        d = 1 / (an * d + b)
        c = b + an / c
        h *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * h


class Fit:
    """Sums over independent tables, each of counts (bins,) against a law (bins,)."""

    def __init__(self):
        self.n = self.chi2 = self.g = self.df = self.impossible = 0
        self.tv = self.tv_noise = 0.0

    def add(self, counts, law):
        n = counts.sum()
        expected = law * n
        self.impossible += int(counts[law == 0].sum())
        self.tv += np.abs(counts - expected).sum() / 2
        self.tv_noise += (np.sqrt(law * (1 - law) / (2 * math.pi * n)) * n).sum()
        self.n += int(n)
        rare = expected < 5
        got, want = list(counts[~rare]), list(expected[~rare])
        if expected[rare].sum() >= 5:
            got.append(counts[rare].sum())
            want.append(expected[rare].sum())
        elif want:  # too little for a bin of its own
            got[-1] += counts[rare].sum()
            want[-1] += expected[rare].sum()
        got, want = np.array(got, float), np.array(want)
        self.chi2 += ((got - want) ** 2 / want).sum()
        df, seen = len(want) - 1, got > 0
        g = 2 * (got[seen] * np.log(got[seen] / want[seen])).sum()
        if df > 0:  # Williams' correction: bins of few counts make G too large on average
            self.g += g / (1 + ((1 / want).sum() - 1 / n) / (6 * df))
        self.df += df

    @property
    def p(self):
        """The smaller of both tests; 0 after a draw that has no mass."""
        return 0.0 if self.impossible else min(chi2_tail(self.chi2, self.df),
                                               chi2_tail(self.g, self.df))

    def __str__(self):
        return (f"n={self.n} chi2={self.chi2:.1f} g={self.g:.1f} df={self.df} p={self.p:.3g} "
                f"tv={self.tv / self.n:.5f} tv_noise={self.tv_noise / self.n:.5f}")
