"""Time and trouble: cancelling, slow readers, full queues, draining, failing, 200 streams."""

import ctypes
import json
import os
import select
import signal
import socket
import threading
import time
import unittest

from specd_client import (SLOW, Connection, ServerCase, SingleCase, fake_only, parse_events,
                          raw_request, read_reply)

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"


def body(prompt="Once", **kw):
    return {"prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": True, **kw}


def long_body(prompt="Once upon a time token_ms=5", **kw):
    return body(prompt, max_tokens=2000, **kw)


def open_stream(server, request):
    """A raw socket on which the stream's first bytes have come."""
    s = server.connect()
    s.sendall(raw_request(json.dumps(request).encode()))
    data = b""
    while b"data: " not in data:
        more = s.recv(4096)
        assert more, data
        data += more
    return s


class Hanging(SingleCase):
    def health(self, server, status, seconds):
        end = time.monotonic() + seconds * SLOW
        while (r := server.get("/health")).status != status:
            self.assertLess(time.monotonic(), end, r.body)
            time.sleep(0.02)
        return r

    @fake_only
    def test_a_round(self):
        """Probes hear of it while it lasts, and no longer."""
        server = self.start("--hang-timeout", "0.3")
        with server.connect() as s:
            began = time.monotonic()
            s.sendall(raw_request(json.dumps(body("hang_ms=2000")).encode()))
            r = self.health(server, 503, 2)
            self.assertGreater(time.monotonic() - began, 0.25)
            self.assertIn("hangs", r.json()["error"]["message"])
            self.assertEqual(server.get("/ready").status, 503)
            server.wait_log("hangs: a round has taken")
            self.assertEqual(read_reply(s)[0], 200)
        self.health(server, 200, 5)
        self.assertEqual(server.get("/ready").status, 200)
        server.wait_log("works again")

    @fake_only
    def test_patience(self):
        server = self.start("--hang-timeout", "20")
        with server.connect() as s:
            s.sendall(raw_request(json.dumps(body("hang_ms=1000")).encode()))
            s.setblocking(False)
            while not select.select([s], [], [], 0.05)[0]:
                self.assertEqual(server.get("/health").status, 200)

    def test_the_loop(self):
        """The engine's thread alone is stopped, by ptrace: all others go on answering."""
        server = self.start("--hang-timeout", "0.3", clean=False)
        pid = server.process.pid
        libc = ctypes.CDLL(None)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        seize, interrupt, detach, wall = 0x4206, 0x4207, 17, 0x40000000
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):
            with open(f"/proc/{pid}/task/{thread}/comm") as f:
                if f.read() == "engine\n":
                    break
        else:
            self.fail("no thread is called engine")
        if libc.ptrace(seize, thread, None, None) != 0:
            self.skipTest("threads cannot be traced here")
        libc.ptrace(interrupt, thread, None, None)
        os.waitpid(thread, wall)
        try:
            self.health(server, 503, 5)
            server.wait_log("hangs: the loop has taken")
        finally:
            libc.ptrace(detach, thread, None, None)
        self.health(server, 200, 5)
        server.wait_log("works again")


class Confined(SingleCase):
    """The other tests run behind the filter on system calls; that it is there is seen here."""

    def filters(self, server):
        pid = server.process.pid
        found = set()
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status") as f:
                found.add(f.read().split("Seccomp:")[1].split()[0])
        return found

    def test_filter(self):
        open_one = self.start("--no-seccomp", "--log-level", "debug")
        before = self.filters(open_one)
        server = self.start("--log-level", "debug")
        log = "".join(server.log)
        if "are filtered from now on" not in log:
            self.assertIn("not filtered", log)
            self.skipTest("no filter in this build or kernel")
        self.assertEqual(self.filters(server), {"2"})
        self.assertEqual(before, self.filters(open_one))
        self.assertEqual(server.post(COMPLETION, body()).status, 200)
        self.assertEqual(self.filters(server), {"2"})  # threads that came later, too


class Cancel(ServerCase):
    args = ("-np", "2", "--max-queue", "8")

    def gone(self):
        self.server.wait_metric("num_requests_running", 0)
        self.server.wait_metric("num_requests_waiting", 0)

    def test_mid_stream(self):
        for _ in range(5):
            open_stream(self.server, long_body(stream=True)).close()
        self.gone()
        self.assertGreaterEqual(self.server.metric("client_disconnects_total"), 5)

    def test_whole_answer(self):
        for _ in range(5):
            s = self.server.connect()
            s.sendall(raw_request(json.dumps(long_body()).encode()))
            time.sleep(0.05)
            s.close()
        self.gone()

    def test_before_the_first_token(self):
        for delay in (0, 0.001, 0.01, 0.05):
            s = self.server.connect()
            s.sendall(raw_request(json.dumps(body("first_ms=3000", stream=True)).encode()))
            time.sleep(delay)
            s.close()
        self.gone()

    def test_in_the_queue(self):
        running = [open_stream(self.server, long_body(stream=True)) for _ in range(2)]
        waiting = []
        for _ in range(4):
            s = self.server.connect()
            s.sendall(raw_request(json.dumps(long_body(stream=True)).encode()))
            waiting.append(s)
        time.sleep(0.1)
        for s in waiting + running:
            s.close()
        self.gone()

    def test_reset(self):
        s = open_stream(self.server, long_body(stream=True))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
        self.gone()

    def test_several_prompts(self):
        open_stream(self.server, long_body(prompt=["token_ms=5"] * 4, stream=True)).close()
        self.gone()


class Queue(ServerCase):
    args = ("-np", "1", "--max-queue", "2", "--max-queue-per-client", "0")

    def test_full(self):
        streams = [open_stream(self.server, long_body(stream=True))]
        for _ in range(2):
            s = self.server.connect()
            s.sendall(raw_request(json.dumps(long_body(stream=True)).encode()))
            streams.append(s)
        deadline = time.monotonic() + 5 * SLOW
        while True: # the two are on their way into the queue
            r = self.server.post(COMPLETION, body(max_tokens=1))
            if r.status == 429 or time.monotonic() > deadline:
                break
        self.assert_error(r, 429, code="queue_full")
        self.assertGreater(int(r.headers["Retry-After"]), 0)
        for s in streams:
            s.close()
        self.server.wait_metric("num_requests_running", 0)
        self.assertEqual(self.server.post(COMPLETION, body()).status, 200)

    def test_more_prompts_than_fit_now(self):
        """Those that did fit are cancelled."""
        stream = open_stream(self.server, long_body(stream=True))
        conn = Connection(self.server)
        r = self.server.post(COMPLETION, body(prompt=["a first_ms=60000"] * 3), conn=conn)
        self.assert_error(r, 429)
        self.server.wait_metric("num_requests_waiting", 0)
        self.server.wait_metric("num_requests_running", 1)
        stream.close()
        self.server.wait_metric("num_requests_running", 0)
        conn.close()

    def test_more_than_ever_fit(self):
        self.assert_error(self.server.post(COMPLETION, body(prompt=["a"] * 4)), 400, "prompt")
        self.assert_error(self.server.post(COMPLETION, body(n=4)), 400, "n")
        self.assertEqual(self.server.post(COMPLETION, body(n=3)).status, 200)


class Load(ServerCase):
    args = ("--max-queue", "512")

    def run_clients(self, n, work):
        wrong = []

        def client(i):
            try:
                work(i)
            except Exception as e:
                wrong.append(repr(e))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])

    def test_200_streams(self):
        alone = self.server.post(COMPLETION, body(max_tokens=24)).json()["choices"][0]["text"]

        def stream(i):
            events = self.server.post(COMPLETION, body(max_tokens=24, stream=True)).events()
            assert events[-1] == "[DONE]" and len(events) == 26, len(events)
            text = "".join(e["choices"][0]["text"] for e in events[:-1])
            assert text == alone, text

        self.run_clients(200, stream)

    def test_mixed_on_kept_connections(self):
        def client(i):
            conn = Connection(self.server)
            for n in range(10):
                kind = (i + n) % 4
                if kind == 3:
                    s = open_stream(self.server, body(max_tokens=500, stream=True))
                    s.close()
                    continue
                r = self.server.post(COMPLETION, body(stream=kind == 1) if kind else b"{",
                                     conn=conn)
                assert r.status == (200 if kind else 400), r.status
            conn.close()

        self.run_clients(24, client)
        self.server.wait_metric("num_requests_running", 0)


class SlowReaders(ServerCase):
    @fake_only
    def test_slow_reader_gets_everything(self):
        # 12 MB: far more than the sockets and the 256 KiB of slack hold.
        s = self.server.connect()
        s.sendall(raw_request(json.dumps(body("bytes=4000", max_tokens=3000, stream=True))
                              .encode(), headers="Connection: close\r\n"))
        time.sleep(1)
        self.assertEqual(self.server.metric("num_requests_running"), 1)
        status, head, data = read_reply(s, until_close=True)
        s.close()
        self.assertEqual(status, 200)
        text = unchunk(data)
        events = parse_events(text)
        self.assertEqual(len(events), 3002)
        self.assertEqual(sum(len(e["choices"][0]["text"]) for e in events[:-1]), 12000000)

    def test_many_silent_readers(self):
        readers = [open_stream(self.server, long_body(stream=True)) for _ in range(8)]
        self.assertEqual(self.server.post(COMPLETION, body()).status, 200)
        for s in readers:
            s.close()
        self.server.wait_metric("num_requests_running", 0)


def unchunk(data):
    out = b""
    while True:
        size, data = data.split(b"\r\n", 1)
        n = int(size, 16)
        if n == 0:
            return out
        out += data[:n]
        data = data[n + 2:]


class Errors(ServerCase):
    args = ("--ping-interval", "0.3", "--request-timeout", "1.5")

    @fake_only
    def test_error_before_the_first_token_is_a_status(self):
        for stream in (False, True):
            r = self.server.post(COMPLETION, body("numeric=1", stream=stream))
            self.assert_error(r, 500, code="numeric_error")
            r = self.server.post(COMPLETION, body("fail_after=0", stream=stream))
            self.assert_error(r, 500, code="device_error")

    @fake_only
    def test_error_after_tokens_is_an_event(self):
        r = self.server.post(COMPLETION, body("burst=1 token_ms=50 fail_after=3", stream=True))
        self.assertEqual(r.status, 200)
        *tokens, error, done = r.events()
        self.assertEqual(len(tokens), 3)
        self.assertEqual(error["error"]["code"], "device_error")
        self.assertEqual(done, "[DONE]")
        r = self.server.post(COMPLETION, body("burst=1 fail_after=3"))
        self.assert_error(r, 500)

    @fake_only
    def test_one_of_several_fails(self):
        conn = Connection(self.server)  # stays, so that its end is not what cancels the others
        prompts = ["first_ms=60000", "numeric=1", "x"]
        self.assert_error(self.server.post(COMPLETION, body(prompts), conn=conn), 500)
        self.server.wait_metric("num_requests_running", 0)
        conn.close()

    @fake_only
    def test_timeout(self):
        self.assert_error(self.server.post(COMPLETION, body("first_ms=5000")), 504, code="timeout")
        began = time.monotonic()
        r = self.server.post(COMPLETION, body("burst=1 token_ms=600", stream=True))
        self.assertLess(time.monotonic() - began, 3 * SLOW)
        self.assertEqual(r.status, 200)
        self.assertEqual(r.events()[-2]["error"]["code"], "timeout")

    @fake_only
    def test_headers_and_pings_come_before_a_late_token(self):
        s = self.server.connect()
        s.sendall(raw_request(json.dumps(body("first_ms=1000", stream=True)).encode(),
                              headers="Connection: close\r\n"))
        began = time.monotonic()
        first = s.recv(4096)
        self.assertTrue(0.2 < time.monotonic() - began < 0.8 * SLOW)
        self.assertTrue(first.startswith(b"HTTP/1.1 200"))
        rest = b""
        while more := s.recv(65536):
            rest += more
        s.close()
        data = unchunk((first + rest).split(b"\r\n\r\n", 1)[1])
        self.assertGreaterEqual(data.count(b": ping\n\n"), 2)
        self.assertEqual(len(parse_events(data)), 10)

    @fake_only
    def test_pings_between_tokens(self):
        r = self.server.post(COMPLETION, body("burst=1 token_ms=700", max_tokens=2, stream=True))
        self.assertIn(b": ping\n\n", r.body)
        self.assertEqual(len(r.events()), 4)

    @fake_only
    def test_reader_that_never_reads(self):
        """Its slot is free at the request's time-out, its connection soon afterwards."""
        # Far more than the sockets hold, also from a slow build: nothing may fit in there.
        s = open_stream(self.server, body("bytes=50000", max_tokens=20000, stream=True))
        self.server.wait_metric("num_requests_running", 0)
        poll = select.poll()
        poll.register(s, select.POLLRDHUP)
        self.assertTrue(poll.poll(8000 * SLOW))
        s.close()

    @fake_only
    def test_http_1_0(self):
        request = raw_request(json.dumps(body(stream=True)).encode())
        with self.server.connect() as s:
            s.sendall(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            status, head, data = read_reply(s, until_close=True)
        self.assertEqual(status, 200)
        self.assertEqual(len(parse_events(data)), 10)


class Life(SingleCase):
    @fake_only
    def test_loading(self):
        server = self.start(env={"FAKE_LOAD_MS": "1500"}, wait="listening")
        for path in ("/health", "/ready", "/v1/models", "/metrics"):
            r = server.get(path)
            self.assertEqual(r.status, 503, path)
            self.assertEqual(r.json()["error"]["message"], "Loading model")
            self.assertIn("Retry-After", r.headers)
        self.assertEqual(server.post(COMPLETION, body()).status, 503)
        server.wait_log("ready")
        self.assertEqual(server.get("/ready").status, 200)
        self.assertEqual(server.post(COMPLETION, body()).status, 200)

    @fake_only
    def test_signal_while_loading(self):
        server = self.start(env={"FAKE_LOAD_MS": "60000"}, wait="listening")
        server.signal()
        self.assertEqual(server.wait(10), 0)

    @fake_only
    def test_failed_load(self):
        server = self.start(env={"FAKE_LOAD_FAIL": "1"}, wait=None, clean=False)
        self.assertEqual(server.wait(10), 1)

    @fake_only
    def test_device_fault(self):
        server = self.start("--log-level", "debug", clean=False)
        other = open_stream(server, long_body(stream=True))
        answers = []
        t = threading.Thread(target=lambda: answers.append(
            server.post(COMPLETION, body("crash_after=4 token_ms=20", max_tokens=100))))
        t.start()
        server.wait_log("fake engine was told to fail")
        began = time.monotonic()
        self.assertEqual(server.wait(10), 70)
        self.assertLess(time.monotonic() - began, 1 * SLOW)
        t.join()
        self.assertEqual(answers[0].status, 500)
        self.assertIn(b"device_error", other.recv(1 << 20) + other.recv(1 << 20))
        other.close()

    def drain(self, server, n):
        answers = [None] * n

        def client(i):
            answers[i] = server.post(COMPLETION, body("Once token_ms=100", max_tokens=10,
                                                      stream=i % 2 == 0))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(n)]
        for t in threads:
            t.start()
        return answers, threads

    @fake_only
    def test_drain_under_load(self):
        server = self.start("--drain-timeout", "20", "-np", "4")
        answers, threads = self.drain(server, 12)
        time.sleep(0.2)
        server.signal()
        server.wait_log("draining")
        ready = server.get("/ready")
        self.assertEqual(ready.status, 503)
        self.assertEqual(ready.headers["Connection"], "close")
        self.assertEqual(server.get("/health").status, 200)
        refused = server.post(COMPLETION, body())
        self.assertEqual(refused.status, 503)
        self.assertEqual(refused.json()["error"]["code"], "draining")
        for t in threads:
            t.join()
        for i, a in enumerate(answers):
            self.assertEqual(a.status, 200)
            if i % 2 == 0:
                self.assertEqual(a.events()[-1], "[DONE]")
                self.assertEqual(len(a.events()), 12)
        self.assertEqual(server.wait(), 0)

    @fake_only
    def test_drain_deadline(self):
        server = self.start("--drain-timeout", "0.5")
        s = open_stream(server, long_body(stream=True))
        began = time.monotonic()
        server.signal()
        data = b""
        while more := s.recv(1 << 16):
            data += more
        self.assertIn(b'"code":"draining"', data)
        self.assertEqual(server.wait(), 0)
        self.assertTrue(0.3 < time.monotonic() - began < 4 * SLOW)
        s.close()

    def test_drain_when_idle(self):
        server = self.start()
        conn = Connection(server)
        self.assertEqual(server.get("/health", conn=conn).status, 200)
        began = time.monotonic()
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - began, 3 * SLOW)
        conn.close()

    @fake_only
    def test_second_signal(self):
        """It ends at once and in order, with connections suspended in every way."""
        server = self.start(clean=False)
        streams = [open_stream(server, long_body(stream=True)) for _ in range(4)]
        for i in range(40):
            s = server.connect()
            s.sendall(raw_request(json.dumps(body("first_ms=60000", stream=i % 2 == 0)).encode()))
            streams.append(s)
        time.sleep(0.2)
        server.signal()
        server.wait_log("draining")
        began = time.monotonic()
        server.signal()
        self.assertEqual(server.wait(10), 1)
        self.assertLess(time.monotonic() - began, 1 * SLOW)
        for s in streams:
            s.close()

    def test_supervisor_is_told(self):
        path = self.dir.name + "/notify"
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(path)
        told.settimeout(10 * SLOW)
        server = self.start(env={"NOTIFY_SOCKET": path})
        self.assertEqual(told.recv(100), b"READY=1")
        server.signal()
        self.assertEqual(told.recv(100), b"STOPPING=1")
        self.assertEqual(server.wait(), 0)
        told.close()

    def test_connection_limit(self):
        server = self.start("--max-connections", "3")
        held = [Connection(server) for _ in range(3)]
        for conn in held:
            self.assertEqual(server.get("/health", conn=conn).status, 200)
        with server.connect() as late:
            late.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            late.settimeout(0.3)
            self.assertRaises(TimeoutError, late.recv, 100)
            held[0].close()
            late.settimeout(10 * SLOW)
            self.assertEqual(read_reply(late)[0], 200)
        for conn in held[1:]:
            conn.close()

    def test_few_descriptors(self):
        """The limit on open files is looked at before it is reached."""
        script = 'ulimit -n 450; exec "$@"'
        server = self.start(prefix=["bash", "-c", script, "bash"])
        self.assertIn("limit on open files", "".join(server.log))
        self.assertEqual(server.post(COMPLETION, body()).status, 200)

    def test_port_in_use(self):
        first = self.start()
        second = self.start("--port", str(first.port), wait=None, clean=False)
        self.assertEqual(second.wait(), 1)
        self.assertIn("in use", "".join(second.log))

    def test_usage(self):
        for args in (("--bogus",), ("--port", "x"), ("stray",), ("--port",), ("--draft-min", "9",
                     "--draft-max", "1"), ("--device", "tpu"), ("--config", "/nonexistent")):
            server = self.start(*args, wait=None, clean=False)
            self.assertEqual(server.wait(), 2, args)

    def test_devices(self):
        server = self.start("--device", "auto")
        self.assertEqual(server.post(COMPLETION, body()).status, 200)
        # Without a CUDA device in the build that is a usage error, without one in the machine it
        # fails to start: this one is not there anywhere.
        server = self.start("--device", "cuda:1023", wait=None, clean=False)
        self.assertIn(server.wait(), (1, 2))
        self.assertIn("CUDA", "".join(server.log))

    def test_stale_unix_socket(self):
        path = self.dir.name + "/s"
        old = socket.socket(socket.AF_UNIX)
        old.bind(path)
        old.close()
        server = self.start(unix=path)
        self.assertEqual(server.get("/health").status, 200)
        other = self.start(unix=path, wait=None, clean=False)
        self.assertEqual(other.wait(), 1)
        self.assertEqual(server.get("/health").status, 200)


if __name__ == "__main__":
    unittest.main()
