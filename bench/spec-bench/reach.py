"""What speculation must reach on two cores with AVX-512, and what a set of results says about it."""
import figures
import plan
import servers

COIN = 0.55  # acceptance at K = 1 from which chat and translation must gain
REGRET = 0.02
NOT_WORSE = 0.97


def verdict(ratio, bound, below=False):
    """yes: the median reaches the bound; noise: its interval does."""
    if ratio.median is None:
        return "not measured"
    good = [v <= bound if below else v >= bound
            for v in (ratio.median, *(ratio.interval or ()))]
    word = "yes" if good[0] else "within the interval" if any(good) else "**no**"
    return word if ratio.pairs >= plan.CLAIM_PAIRS else f"{word} ({ratio.pairs} pairs: no claim)"


def row(what, measured, bound, word):
    return f"| {what} | {measured} | {bound} | {word} |"


def gain(cells, what, key, contestant, bound):
    result = cells.get(key)
    if not result or contestant not in result["contestants"]:
        return row(what, "-", f"≥ {bound}", "not measured")
    ratio = figures.Ratio(result, contestant, result["contestants"][0], "rate")
    latency = figures.Ratio(result, contestant, result["contestants"][0], "latency")
    return row(what, f"{ratio}; latency {latency}", f"≥ {bound}", verdict(ratio, bound))


def unforeseeable(cells, task):
    """Chat or translation: what must be reached depends on the pair's acceptance there."""
    key = f"coder {task} T0 1"
    result, bound = cells.get(key), NOT_WORSE
    what = f"coder pair, one client: {task}"
    if result and "lookup+model" in result["contestants"]:
        first = (figures.acceptance_by_position(result, "lookup+model") or [None])[0]
        if first is not None:
            bound = 1.05 if first >= COIN else NOT_WORSE
            what += f" (acceptance at K = 1: {first:.2f})"
    return gain(cells, what, key, "lookup+model", bound)


def against_llama(cells):
    what = "coder pair against llama.cpp's best setting: code, T 0"
    result = cells.get("coder code T0 1 peers")
    peers = [n for n in (result or {}).get("contestants", []) if n in servers.LLAMA]
    if not peers or "lookup+model" not in result["contestants"]:
        return row(what, "-", "≥ 1.4", "not measured")
    best = max(peers, key=lambda n: figures.median(result, n, "rate"))
    ratio = figures.Ratio(result, "lookup+model", best, "rate")
    return row(f"{what} ({best}, {figures.median(result, best, 'rate'):.1f} tokens/s)", ratio, "≥ 1.4",
               verdict(ratio, 1.4))


def never_worse(cells):
    """The worst of all cells with speculation off in them, by latency and by throughput."""
    rows = []
    for measure in ("latency", "throughput"):
        worst = None
        for key, result in cells.items():
            base = result["contestants"][0]
            # Answers that are drawn differ in length, and their times with it.
            if base != "off" or measure == "latency" and result["temperature"] > 0:
                continue
            for name in result["contestants"][1:]:
                if name in servers.DRAFTERS:
                    ratio = figures.Ratio(result, name, base, measure)
                    if ratio.median and (worst is None or ratio.median < worst[0].median):
                        worst = (ratio, key, name)
        what = f"any pair, any task, 1–64 clients: {measure}, the worst"
        if worst:
            rows.append(row(f"{what} ({worst[1]}, {worst[2]})", worst[0], f"≥ {NOT_WORSE}",
                            verdict(worst[0], NOT_WORSE)))
        else:
            rows.append(row(what, "-", f"≥ {NOT_WORSE}", "not measured"))
    most = None
    for key, result in cells.items():
        for name in result["contestants"]:
            share = figures.regret(result, name)
            if share is not None and (most is None or share > most[0]):
                most = (share, key, name)
    what = "share of time drafted for nothing, as the server counts it, the most"
    if most:
        rows.append(row(f"{what} ({most[1]}, {most[2]})", f"{most[0]:.1%}", f"≤ {REGRET:.0%}",
                        "yes" if most[0] <= REGRET else "**no**"))
    else:
        rows.append(row(what, "-", f"≤ {REGRET:.0%}", "not measured"))
    return rows


def first_token(cells):
    what = "time to first token with a draft, over without one"
    result = cells.get("coder code T0 1 ttft")
    if not result:
        return row(what, "-", "≤ 1.03", "not measured")
    ratio = figures.Ratio(result, "lookup+model", "no draft", "ttft", raw=True)
    return row(what, ratio, "≤ 1.03", verdict(ratio, 1.03, below=True))


def table(cells):
    """Lines of Markdown. cells: results by key."""
    lines = ["| what | measured | to reach | |", "|:--|:--|:--|:--|"]
    for t, code, edit in ((0, 1.35, 1.35), (0.7, 1.2, 1.2)):
        lines.append(gain(cells, f"coder pair, one client: code, T {t:g}", f"coder code T{t:g} 1"
                          + (" peers" if f"coder code T{t:g} 1 peers" in cells else ""),
                          "lookup+model", code))
        lines.append(gain(cells, f"coder pair, one client: edit, T {t:g}", f"coder edit T{t:g} 1",
                          "lookup+model", edit))
    lines += [unforeseeable(cells, "chat"), unforeseeable(cells, "translation"), against_llama(cells)]
    for clients, bound in ((1, 1.75), (4, 1.1)):
        for task in ("summary", "edit"):
            lines.append(gain(cells, f"SmolLM2, {task} by lookup, {clients} "
                              + ("client" if clients == 1 else "clients"),
                              f"smol {task} T0 {clients}", "lookup", bound))
    lines += never_worse(cells)
    lines.append(first_token(cells))
    lines.append(gain(cells, "a hopeless pair (acceptance 0.05)", "coder chat T0 1 hopeless", "model",
                      0.98))
    lines.append(gain(cells, "a bad cost table, after 200 rounds", "coder chat T0 1 bad table", "model",
                      NOT_WORSE))
    return lines
