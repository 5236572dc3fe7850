"""Streams completions from any OpenAI-compatible server and says when tokens came.

Times are seconds of time.perf_counter. A request's rate is (tokens - 1) / (last - first): first is the
first event with text, last the one with finish_reason. Events are not parsed unless they must be: a
client shares the cores with the server that it measures.
"""
import hashlib
import http.client
import json
import threading
import time
import urllib.parse

TIMEOUT = 900


class Failed(Exception):
    """The server answered with an error, or not at all."""


def connect(url):
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=TIMEOUT), parts.path.rstrip("/")


def get(url, path):
    """The body of a GET as text; Failed unless the status is 200."""
    connection, prefix = connect(url)
    try:
        connection.request("GET", prefix + path)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as e:
        raise Failed(f"{url}{path}: {e}") from e
    finally:
        connection.close()
    if response.status != 200:
        raise Failed(f"{url}{path}: status {response.status}: {text[:200]}")
    return text


def counters(url):
    """The counters of /metrics that a prefix "specd_" marks, by name with labels; {} without any."""
    try:
        lines = get(url, "/metrics").splitlines()
    except Failed:
        return {}
    found = {}
    for line in lines:
        if line.startswith("specd_"):
            name, _, value = line.rpartition(" ")
            if "_total" in name:
                found[name[len("specd_"):]] = float(value)
    return found


def events(response):
    """The payloads of "data:" lines, as bytes, with the time each arrived."""
    rest = b""
    while True:
        data = response.read1(1 << 16)
        now = time.perf_counter()
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield now, line[5:].strip()


def has_text(payload):
    """Does an event carry text? Cheap: the escaped quotes of a text cannot look like a member."""
    for name in (b'"content":', b'"text":'):
        at = payload.find(name)
        if at >= 0:
            value = payload[at + len(name):at + len(name) + 3].strip()
            return value.startswith(b'"') and not value.startswith(b'""')
    return False


def rounds_of(chunks):
    """[K, accepted] of each round, from the events of a traced answer: a round ends with a token of
    the target. What a last round lacks of that is left out."""
    rounds, accepted = [], 0
    for chunk in chunks:
        spec = chunk.get("speculative") or {}
        if spec.get("drafted"):
            accepted += 1
        elif "drafted" in spec:
            rounds.append([spec["k"], accepted])
            accepted = 0
    return rounds


def ask(url, route, body):
    """One request; a dict of what came of it. Raises Failed."""
    connection, prefix = connect(url)
    payloads, first, last = [], None, None
    try:
        data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        sent = time.perf_counter()
        connection.request("POST", prefix + route, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"{url}{route}: status {response.status}: {response.read(300)!r}")
        for now, payload in events(response):
            payloads.append(payload)
            if first is None and has_text(payload):
                first = now
            if b'"finish_reason":"' in payload or b'"finish_reason": "' in payload:
                last = now
    except (OSError, http.client.HTTPException) as e:
        raise Failed(f"{url}{route}: {type(e).__name__}: {e}") from e
    finally:
        connection.close()
    return summary(url, payloads, sent, first, last)


def summary(url, payloads, sent, first, last):
    chunks = []
    for payload in payloads:
        if payload == b"[DONE]":
            continue
        try:
            chunks.append(json.loads(payload))
        except ValueError as e:
            raise Failed(f"{url}: an event that is no JSON: {payload[:200]!r}") from e
    text, report = "", {}
    for chunk in chunks:
        if chunk.get("error"):
            raise Failed(f"{url}: {chunk['error']}")
        for choice in chunk.get("choices") or []:
            text += (choice.get("delta") or {}).get("content") or choice.get("text") or ""
        report.update({k: chunk[k] for k in ("usage", "timings", "speculative") if chunk.get(k)})
    tokens = (report.get("usage") or {}).get("completion_tokens")
    if first is None or last is None or not tokens:
        raise Failed(f"{url}: the answer has no text, no end or no usage: {payloads[-3:]!r}")
    spec, timings = report.get("speculative") or {}, report.get("timings") or {}
    reply = {
        "ttft": first - sent,
        "latency": last - sent,
        "tokens": tokens,
        "prompt_tokens": report["usage"].get("prompt_tokens"),
        "rate": (tokens - 1) / (last - first) if tokens > 1 and last > first else None,
        "text": hashlib.sha256(text.encode()).hexdigest()[:16],
        "drafted": spec.get("draft_tokens", timings.get("draft_n", 0)),
        "accepted": spec.get("accepted_tokens", timings.get("draft_n_accepted", 0)),
    }
    for name in ("rounds", "drafter", "acceptance_by_position", "disabled_because"):
        if spec.get(name) is not None:
            reply[name] = spec[name]
    trace = rounds_of(chunks)
    if trace:
        reply["trace"] = trace
    return reply


def burst(url, route, bodies):
    """All bodies at once, each on a connection of its own; what came of them, and what the server
    counted meanwhile."""
    replies, failures = [None] * len(bodies), []

    def one(i):
        try:
            replies[i] = ask(url, route, bodies[i])
        except Failed as e:
            failures.append(str(e))

    before = counters(url)
    start = time.perf_counter()
    if len(bodies) == 1:
        one(0)
    else:
        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wall = time.perf_counter() - start
    if failures:
        raise Failed(f"{len(failures)} of {len(bodies)} requests: {failures[0]}")
    after = counters(url)
    counted = {k: round(v - before.get(k, 0), 6) for k, v in after.items() if v != before.get(k, 0)}
    return {"wall": wall, "tokens": sum(r["tokens"] for r in replies), "replies": replies,
            "counted": counted}
