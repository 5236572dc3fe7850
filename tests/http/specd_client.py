"""Starts a specd binary and talks HTTP to it, with the standard library only.

The binary under test is $TEST_BIN; $TEST_ARGS are arguments it needs to start (a model, say).
With $TEST_FAKE=1 it is specd-fake, whose prompts may hold orders (fake_engine.c); tests that need
them are marked @fake_only. $TEST_SLOW stretches time limits, for builds with sanitizers.
With $TEST_HOSTILE=1 the real engine's KV pool holds 64 tokens; @roomy_only tests need more.
"""

import http.client
import json
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

BIN = os.environ.get("TEST_BIN", "build/specd-fake")
ARGS = shlex.split(os.environ.get("TEST_ARGS", "-m fake"))
FAKE = os.environ.get("TEST_FAKE", "1") == "1"
SLOW = float(os.environ.get("TEST_SLOW", "1"))

fake_only = unittest.skipUnless(FAKE, "needs the fake engine")
roomy_only = unittest.skipIf(os.environ.get("TEST_HOSTILE") == "1" and not FAKE, "needs a larger KV pool")


class Server:
    """One running specd. Its log is kept; a sanitizer's report in it fails the test."""

    def __init__(self, *args, env=None, wait="ready", unix=None, prefix=()):
        where = ["--host", "unix:" + unix] if unix else ["--port", "0"]
        self.unix = unix
        self.tls = None  # an ssl.SSLContext: connections are wrapped in it
        self.log = []
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            [*prefix, BIN, *ARGS, *where, *args],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()
        if wait:
            line = self.wait_log(wait + ": (.*)")
            self.port = None if unix else int(re.search(r"\d+", line.group(1).rsplit(":", 1)[1]).group())

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            self.lines.put(line)
        self.lines.put(None)

    def wait_log(self, pattern, timeout=60):
        """The first match in the lines that no wait has seen yet."""
        end = time.monotonic() + timeout * SLOW
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no '{pattern}' in the log:\n" + "".join(self.log))
            if line is None:
                raise AssertionError(f"ended before '{pattern}':\n" + "".join(self.log))
            found = re.search(pattern, line)
            if found:
                return found

    def connect(self, timeout=30):
        if self.unix:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout * SLOW)
            s.connect(self.unix)
            return s
        s = socket.create_connection(("127.0.0.1", self.port), timeout * SLOW)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # http.client sends in two pieces
        return self.tls.wrap_socket(s, server_hostname="localhost") if self.tls else s

    def request(self, method, path, body=None, headers=None, conn=None):
        """A Reply. body may be bytes, or anything that json.dumps takes."""
        own = conn is None
        conn = conn or Connection(self)
        try:
            conn.send(method, path, body, headers)
            return conn.reply()
        finally:
            if own:
                conn.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.request("POST", path, body, **kw)

    def metric(self, name):
        for line in self.get("/metrics").text().splitlines():
            if line.startswith("specd_" + name + " "):
                return float(line.split()[1])
        raise AssertionError(name)

    def wait_metric(self, name, value, timeout=10):
        end = time.monotonic() + timeout * SLOW
        while self.metric(name) != value:
            if time.monotonic() > end:
                raise AssertionError(f"{name} is {self.metric(name)}, not {value}")
            time.sleep(0.02)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=60):
        code = self.process.wait(timeout * SLOW)
        self.reader.join(5)
        return code

    def stop(self):
        """Ends it and returns what is wrong with how it ended, or None."""
        if self.process.poll() is None:
            self.signal()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            return "did not end on SIGTERM"
        finally:
            self.process.stderr.close()
        log = "".join(self.log)
        if "Sanitizer" in log or "runtime error" in log:
            return log
        return None if code == 0 else f"exit code {code}:\n{log}"


class Connection(http.client.HTTPConnection):
    def __init__(self, server):
        super().__init__("localhost")
        self.server = server
        self.sock = server.connect()

    def connect(self):
        raise AssertionError("the server closed a connection that should be kept alive")

    def send(self, method_or_data, path=None, body=None, headers=None):
        if path is None:
            return super().send(method_or_data)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        return self.request(method_or_data, path, body, headers)

    def reply(self):
        return Reply(self.getresponse())


class Reply:
    def __init__(self, response, body=None):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read() if body is None else body

    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    def events(self):
        return parse_events(self.body)


def parse_events(body):
    """The events of a stream: parsed JSON, or the string [DONE]. Comments are left out. Where events
    have names, these are their types."""
    events = []
    for block in body.decode().split("\n\n"):
        if not block or block.startswith(":"):
            continue
        name, line, data = block.rpartition("\n") if block.startswith("event: ") else ("", "", block)
        assert data.startswith("data: ") and "\n" not in name, block
        events.append(data[6:] if data == "data: [DONE]" else json.loads(data[6:]))
        assert not name or name == "event: " + events[-1]["type"], block
    return events


def read_reply(sock, until_close=False):
    """One response off a raw socket: (status, headers text, body); status 0 when there is none."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return 0, "", data
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        head = head.decode("latin-1")
        length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
        while until_close or len(body) < int(length.group(1)):
            more = sock.recv(65536)
            if not more:
                break
            body += more
    except ConnectionResetError:
        if b"\r\n\r\n" not in data:
            return 0, "", data
        head, body = data.split(b"\r\n\r\n", 1)
        head = head.decode("latin-1")
    return int(head.split()[1]), head, body


def raw_request(body, path="/v1/completions", headers=""):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def send_all(sock, data):
    """Sends what the server takes: it may answer and close in the middle."""
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def half_close(sock):
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the server was quicker


class ServerCase(unittest.TestCase):
    """Tests that share one server, started with the class's `args`."""

    args = ()
    env = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.args, env=cls.env)

    @classmethod
    def tearDownClass(cls):
        wrong = cls.server.stop()
        if wrong:
            raise AssertionError(wrong)

    def tearDown(self):
        self.assertEqual(self.server.get("/health").status, 200)

    def assert_error(self, reply, status, param=None, code=None):
        self.assertEqual(reply.status, status, reply.body)
        error = reply.json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertTrue(error["message"])
        if param:
            self.assertEqual(error["param"], param)
            self.assertIn(param, error["message"])
        if code:
            self.assertEqual(error["code"], code)


class SingleCase(unittest.TestCase):
    """Tests that each start a server of their own: self.start(...)."""

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def start(self, *args, clean=True, **kw):
        server = Server(*args, **kw)
        self.addCleanup(self._stop, server, clean)
        return server

    def _stop(self, server, clean):
        wrong = server.stop()
        if wrong and (clean or "anitizer" in wrong):
            self.fail(wrong)
