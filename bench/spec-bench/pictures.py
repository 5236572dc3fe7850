"""Pictures of results, as SVG written here: speed-up by task and load, K over time."""
from xml.sax.saxutils import escape

import figures

COLOURS = ("#1b6ca8", "#c2571a", "#3a8f4d", "#8a4fa3", "#77623a", "#555555")
FONT = 'font-family="sans-serif" font-size="12"'
LEFT, TOP = 60, 40


class Svg:
    def __init__(self, width, height):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                      f'width="{width}" height="{height}" {FONT}>',
                      f'<rect width="{width}" height="{height}" fill="white"/>']

    def text(self, x, y, text, anchor="start", colour="#222", extra=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {extra}>'
                          f"{escape(str(text))}</text>")

    def line(self, x0, y0, x1, y1, colour="#222", width=1, extra=""):
        self.parts.append(f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}" {extra}/>')

    def path(self, points, colour):
        self.parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.2" points="'
                          + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def save(self, path):
        with open(path, "w") as f:
            f.write("\n".join([*self.parts, "</svg>"]) + "\n")


def axis(svg, top, height, width, high, step):
    """A panel's frame with a line at each step from 0 to high; returns value -> y."""

    def y(value):
        return top + height * (1 - min(value, high) / high)

    for i in range(int(round(high / step)) + 1):
        value = i * step
        svg.line(LEFT, y(value), LEFT + width, y(value), "#222" if value == 1 else "#ddd")
        svg.text(LEFT - 6, y(value) + 4, f"{value:g}", "end")
    return y


def speedup(results, path):
    """A panel for each pair of models and temperature; tasks side by side, in each a dot with its
    interval for each number of clients (its label) and contestant (its colour)."""
    dots = []
    for r in results:
        base = r["contestants"][0]
        for name in r["contestants"][1:] if base == "off" else []:
            ratio = figures.Ratio(r, name, base, "rate")
            if ratio.median is not None:
                task = r["task"] + (f", {r['variant']}" if r["variant"] not in ("", "peers") else "")
                dots.append((r["pair"], r["temperature"], task, r["clients"], name, ratio))
    names = list(dict.fromkeys(d[4] for d in dots))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    panels = sorted({(d[0], d[1]) for d in dots})
    columns = {p: {} for p in panels}  # task -> the dots side by side
    for d in sorted(dots, key=lambda d: (d[2], d[3], names.index(d[4]))):
        columns[d[:2]].setdefault(d[2], []).append(d)
    widths = {p: [max(26 * len(mine), 7 * len(task)) + 20 for task, mine in tasks.items()]
              for p, tasks in columns.items()}
    width, height, gap = max([420, *(sum(w) for w in widths.values())]), 200, 90
    svg = Svg(LEFT + max(width, 170 * len(names)) + 20, TOP + (height + gap) * len(panels) + 10)
    for i, name in enumerate(names):
        svg.dot(LEFT + 5 + i * 170, 14, colour[name])
        svg.text(LEFT + 14 + i * 170, 18, name)
    for i, panel in enumerate(panels):
        top, left = TOP + (height + gap) * i + 20, LEFT
        high = max((d[5].interval or (0, d[5].median))[1] for d in dots if d[:2] == panel)
        svg.text(LEFT, top - 8, f"{panel[0]}, T {panel[1]:g}: tokens per second over speculation off, "
                 "by task and number of clients")
        y = axis(svg, top, height, width, max(2.0, 0.5 * (int(high / 0.5) + 1)), 0.5)
        for (task, mine), wide in zip(columns[panel].items(), widths[panel]):
            svg.text(left + wide / 2, top + height + 34, task, "middle")
            for j, (_, _, _, clients, name, ratio) in enumerate(mine):
                x = left + wide / 2 + 26 * (j - (len(mine) - 1) / 2)
                if ratio.interval:
                    svg.line(x, y(ratio.interval[0]), x, y(ratio.interval[1]), colour[name], 2)
                svg.dot(x, y(ratio.median), colour[name])
                svg.text(x, top + height + 16, clients, "middle", "#666")
            left += wide
    svg.save(path)


def draft_length(results, path):
    """K of each round of the traced request of a cell, one strip for each cell and contestant."""
    strips = [(f"{r['key']}: {name}", [k for k, _ in rounds]) for r in results
              for name, rounds in r["traces"].items() if rounds]
    width, height, gap = 700, 60, 34
    svg = Svg(LEFT + width + 20, TOP + (height + gap) * len(strips) + 10)
    svg.text(LEFT, 20, "K of each round of one request, by round")
    longest = max([len(ks) for _, ks in strips], default=1)
    for i, (label, ks) in enumerate(strips):
        top = TOP + (height + gap) * i + 14
        svg.text(LEFT, top - 5, label)
        high = max(4, *ks)
        y = axis(svg, top, height, width, high, high / 2)
        points = []
        for j, k in enumerate(ks):
            points += [(LEFT + width * j / longest, y(k)), (LEFT + width * (j + 1) / longest, y(k))]
        svg.path(points, COLOURS[i % len(COLOURS)])
    svg.save(path)
