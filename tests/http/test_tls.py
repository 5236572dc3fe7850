"""HTTPS: everything that works in the clear works here, and the certificate changes at SIGHUP."""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

from specd_client import (SLOW, Connection, SingleCase, fake_only, half_close, raw_request,
                          read_reply, send_all)
from test_life import body, long_body, open_stream

COMPLETION = "/v1/completions"


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Tls(SingleCase):
    def make(self, name):
        """A key and a self-signed certificate."""
        base = f"{self.dir.name}/{name}"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", base + ".key", "-out",
                        base + ".pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        return base + ".pem", base + ".key"

    def context(self, *certificates):
        context = ssl.create_default_context()
        for path in certificates:
            context.load_verify_locations(path)
        return context

    def start_tls(self, *args, **kw):
        self.cert, self.key = self.make("one")
        server = self.start("--tls-cert", self.cert, "--tls-key", self.key, *args, **kw)
        server.tls = self.context(self.cert)
        return server

    def test_requests(self):
        server = self.start_tls()
        self.assertIn("https://127.0.0.1:", "".join(server.log))
        self.assertEqual(server.get("/health").status, 200)
        conn = Connection(server)
        for _ in range(3):
            self.assertEqual(server.post(COMPLETION, body(), conn=conn).status, 200)
            events = server.post(COMPLETION, body(stream=True), conn=conn).events()
            self.assertEqual(events[-1], "[DONE]")
        conn.close()
        big = body(pad="x" * 3_000_000)
        self.assertEqual(server.post(COMPLETION, big).status, 200)

    def test_streams_at_once(self):
        server = self.start_tls("-np", "8")
        request = body("token_ms=5", stream=True, max_tokens=30)
        counts = []

        def one():
            events = server.post(COMPLETION, request).events()
            counts.append((len(events), events[-1]))

        threads = [threading.Thread(target=one) for _ in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(counts, [(32, "[DONE]")] * 24)

    def test_a_client_that_leaves(self):
        """Seen while the connection is suspended, with and without a word of farewell."""
        server = self.start_tls("-np", "2")
        for polite in (False, True):
            s = open_stream(server, long_body(stream=True))
            if polite:
                s.settimeout(10 * SLOW)
                try:
                    s.unwrap()
                except (ssl.SSLError, OSError):
                    pass  # the server still sends
            s.close()
            with server.connect() as silent:
                silent.sendall(raw_request(json.dumps(long_body("first_ms=3000")).encode()))
                time.sleep(0.1)
            server.wait_metric("num_requests_running", 0)
            server.wait_metric("num_requests_waiting", 0)

    @fake_only
    def test_a_slow_reader(self):
        """More than all buffers hold is sent whole, however late it is read."""
        server = self.start_tls()
        request = long_body("bytes=2000", stream=True)
        with server.connect() as s:
            s.sendall(raw_request(json.dumps(request).encode(), headers="Connection: close\r\n"))
            time.sleep(1)
            status, head, data = read_reply(s, until_close=True)
        self.assertEqual(status, 200)
        self.assertIn(b"data: [DONE]", data)
        self.assertGreaterEqual(data.count(b"data: {"), 2000)

    def cut_off(self, s, first, drip, seconds):
        began = time.monotonic()
        s.settimeout(0.1)
        try:
            s.sendall(first)
            while time.monotonic() - began < 10 * SLOW:
                s.sendall(drip)
                try:
                    if s.recv(1000) == b"":
                        break
                except TimeoutError:
                    pass
        except (OSError, ssl.SSLError):
            pass
        took = time.monotonic() - began
        self.assertGreater(took, seconds * 0.7)
        self.assertLess(took, (seconds + 2) * SLOW)

    def test_time_outs(self):
        server = self.start_tls("--header-timeout", "1", "--body-timeout", "1", "--idle-timeout", "1")
        plain = socket.create_connection(("127.0.0.1", server.port))
        with plain:  # no handshake at all
            self.cut_off(plain, b"", b"", 1)
        with server.connect() as s:
            self.cut_off(s, b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: ", b"b", 1)
        with server.connect() as s:
            self.cut_off(s, raw_request(b"x" * 1000)[:-1000], b"x", 1)
        with server.connect() as s:
            s.sendall(raw_request(b'{"prompt":"x","max_tokens":1}'))
            self.assertEqual(read_reply(s)[0], 200)
            self.cut_off(s, b"", b"", 1)

    def test_too_large(self):
        server = self.start_tls("--max-body", "64K")
        for length in (65537, 10**9):
            with server.connect() as s:
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                          b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n{" % length)
                self.assertEqual(read_reply(s)[0], 413)

    def test_not_tls(self):
        server = self.start_tls()
        for data in (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000,
                     b"\x00" * 100):
            with socket.create_connection(("127.0.0.1", server.port), 10 * SLOW) as s:
                send_all(s, data)
                half_close(s)
                got = b""
                try:
                    while more := s.recv(4096):
                        got += more
                except ConnectionResetError:
                    pass
                self.assertNotIn(b"HTTP", got)
        old = self.context(self.cert)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        server.tls = old
        self.assertRaises((ssl.SSLError, OSError), server.connect)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            server.tls = self.context(self.cert)
            server.tls.minimum_version = server.tls.maximum_version = version
            self.assertEqual(server.get("/health").status, 200)

    def test_another_certificate(self):
        server = self.start_tls()
        stream = open_stream(server, body("token_ms=20", stream=True, max_tokens=60))
        first = stream.getpeercert(True)

        def shown():
            with server.connect() as s:
                return s.getpeercert(True)

        cert, key = self.make("two")
        both = self.context(self.cert, cert)
        server.tls = both
        self.assertEqual(shown(), first)
        shutil.copy(cert, self.cert)  # the key is still the old one's
        server.signal(signal.SIGHUP)
        server.wait_log("nothing is changed: tls-key")
        self.assertEqual(shown(), first)
        shutil.copy(key, self.key)
        for _ in range(3):
            server.signal(signal.SIGHUP)
            server.wait_log("is reloaded")
        self.assertNotEqual(shown(), first)
        data = b""
        while b"[DONE]" not in data:
            more = stream.recv(65536)
            self.assertTrue(more)
            data += more
        stream.close()

    def test_bad_files(self):
        one, two = self.make("one"), self.make("two")
        for cert, key, why in ((one[0], two[1], "is not the key of"), (one[1], one[1], "tls-cert: "),
                               (one[0], one[0], "tls-key: "), ("/nonexistent", one[1], "No such"),
                               (one[0], "/nonexistent", "No such")):
            server = self.start("--tls-cert", cert, "--tls-key", key, wait=None, clean=False)
            self.assertEqual(server.wait(), 1)
            self.assertIn(why, "".join(server.log))


if __name__ == "__main__":
    unittest.main()
