"""Malformed and hostile input: every one a 4xx or a closed connection, and the server lives on."""

import json
import random
import re
import socket
import threading
import time
import unittest

from specd_client import (
    SLOW, Connection, ServerCase, fake_only, half_close, raw_request, read_reply, roomy_only, send_all)

GOOD = b'{"prompt":"x","max_tokens":1}'


def chunked(body, size):
    data = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" \
           b"Transfer-Encoding: chunked\r\n\r\n"
    for at in range(0, len(body), size):
        piece = body[at:at + size]
        data += b"%x\r\n%s\r\n" % (len(piece), piece)
    return data + b"0\r\n\r\n"


class Bodies(ServerCase):
    def check(self, body, status=400, path="/v1/completions"):
        r = self.server.post(path, body)
        self.assert_error(r, status)
        return r

    def test_malformed(self):
        for body in (b"", b" ", b"{", b"}", b"[", b"nul", b"{]", b'{"prompt"}', b'{"prompt":}',
                     b'{"prompt":"x",}', b'{,"prompt":"x"}', b'{"prompt" "x"}', b"{'prompt':'x'}",
                     b'{"prompt":"x"} {}', b'{"prompt":"x"}x', b'{"prompt":"x"}\x00',
                     b'{prompt:"x"}', b'{"prompt":"x"', b'{"prompt":"x', b'{"prompt":"x\\"}',
                     b'//\n{"prompt":"x"}', b'{"prompt":"x"/**/}', b"\xef\xbb\xbf" + GOOD,
                     b"\xff\xfe{", b"[1,2", b"[1 2]", b'{"a":1 "b":2}', b"tru", b"truee", b"\x00"):
            with self.subTest(body=body):
                r = self.check(body)
                self.assertEqual(r.json()["error"]["code"], "invalid_json")

    def test_not_an_object(self):
        for body in (b"1", b'"x"', b"[]", b"null", b"true"):
            self.check(body)

    def test_numbers(self):
        for number in (b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b".5", b"1.", b"1e", b"1e+",
                       b"0x10", b"1_000", b"-", b"--1", b"1e999", b"-1e999", b"1" * 64,
                       b"1" * 10000, b"1.0.0", b"1e1e1"):
            with self.subTest(number=number[:20]):
                self.check(b'{"prompt":"x","temperature":' + number + b"}")

    def test_strings(self):
        for string in (b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud800\\u0041"):
            with self.subTest(name=string):
                self.check(b'{"prompt":"x","' + string + b'":1}')
        for string in (b"\\u12", b"\\uzzzz",
                       b"\\x41", b"\\", b"\n", b"\x01", b"\x7f\x80", b"\xc0\xaf", b"\xc3",
                       b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82",
                       b"\xff", b"a\x00b"):
            with self.subTest(string=string):
                self.check(b'{"prompt":"' + string + b'"}')
                self.check(b'{"prompt":"x","' + string + b'":1}')

    def test_good_strings(self):
        for string in (b"\\u00e9", b"\\ud83d\\ude00", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\x7f",
                       b'\\"\\\\\\/\\b\\f\\n\\r\\t', b"\\u0000", b"\\ud800\\u0041", b"\\udc00"):
            r = self.server.post("/v1/completions", b'{"max_tokens":1,"prompt":"' + string + b'"}')
            self.assertEqual(r.status, 200, r.body)

    def test_duplicate_keys(self):
        self.check(b'{"prompt":"x","prompt":"y"}')
        self.check(b'{"prompt":"x","a":{"b":1,"c":2,"b":3}}')
        self.check(b'{"prompt":"x","a":1,"\\u0061":2}')

    def test_case_counts(self):
        self.assert_error(self.server.post("/v1/completions", b'{"Prompt":"x"}'), 400, "prompt")

    def test_depth(self):
        for n in (65, 1000, 100000):
            self.check(b'{"prompt":"x","a":' + b"[" * n + b"]" * n + b"}")
            self.check(b'{"prompt":"x","a":' + b'{"a":' * n + b"1" + b"}" * n + b"}")
            self.check(b"[" * n)
        deep = b"[" * 60 + b"]" * 60
        r = self.server.post("/v1/completions", b'{"prompt":"x","max_tokens":1,"a":' + deep + b"}")
        self.assertEqual(r.status, 200)

    def test_many_values(self):
        self.check(b'{"prompt":"x","a":[' + b"1," * 1100000 + b"1]}")
        many = b",".join(b'"k%d":%d' % (i, i) for i in range(100000))
        r = self.server.post("/v1/completions", b'{"prompt":"x","max_tokens":1,' + many + b"}")
        self.assertEqual(r.status, 200)
        self.check(b'{"prompt":"x",' + many + b',"k77":1}')

    def test_every_cut_of_a_body(self):
        body = json.dumps({"messages": [{"role": "user", "content": "\u00e9 \ud83d\ude00 x"}],
                           "max_tokens": 1, "stop": ["a", "b"], "speculative": {"max": 2}},
                          ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16")
        body = body.encode()
        for n in range(len(body)):
            self.check(body[:n], path="/v1/chat/completions")

    def test_random_damage(self):
        rng = random.Random(7)
        body = json.dumps({"prompt": ["a", [1, 2]], "max_tokens": 2, "stop": "x", "seed": 3,
                           "logit_bias": {"1": 0.5}, "speculative": {"mode": "ratio"}}).encode()
        for _ in range(600):
            damaged = bytearray(body)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(damaged))
                damaged[at:at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
            r = self.server.post("/v1/completions", bytes(damaged))
            self.assertIn(r.status, (200, 400), damaged)


class Framing(ServerCase):
    args = ("--max-body", "64K", "--header-timeout", "1", "--body-timeout", "1",
            "--idle-timeout", "2")

    def raw(self, data):
        with self.server.connect() as s:
            send_all(s, data)
            return read_reply(s)

    def test_content_length_too_big(self):
        for length in (65537, 10**9, 2**63, 10**30):
            status, head, body = self.raw(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n{" % length)
            self.assertEqual(status, 413, length)
        for method in (b"OPTIONS", b"GET"):
            status, head, body = self.raw(method + b" /v1/models HTTP/1.1\r\nHost: localhost\r\n"
                                          b"Content-Length: 65537\r\n\r\n")
            self.assertEqual(status, 413)

    def test_body_at_the_limit(self):
        pad = b'{"prompt":"x","max_tokens":1,"a":"' + b"y" * 65536
        body = pad[:65536 - 2] + b'"}'
        self.assertEqual(self.server.post("/v1/completions", body).status, 200)
        r = self.raw(raw_request(body + b" "))
        self.assertEqual(r[0], 413)

    def test_chunked(self):
        for size in (1, 7, 1000):
            self.assertEqual(self.raw(chunked(GOOD, size))[0], 200)

    def test_chunked_too_big(self):
        big = b'{"prompt":"' + b"x" * 70000 + b'"}'
        self.assertEqual(self.raw(chunked(big, 4096))[0], 413)

    def test_bad_framing(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for fields in (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"Content-Length: -1\r\n",
                       b"Content-Length: x\r\n", b"Content-Length: 1, 2\r\n",
                       b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                       b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
                       b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                       b"Content-Length : 2\r\n", b"Content-Length\t: 2\r\n", b"Host: y\r\n"):
            with self.subTest(fields=fields):
                self.assertEqual(self.raw(head + fields + b"\r\n{}")[0], 400)
        self.assertEqual(self.raw(head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n")[0], 400)

    def check_one_answer(self, data, status):
        """One request, however it is read: one answer, and nothing of it is another's."""
        with self.server.connect() as s:
            send_all(s, data)
            got, head, body = read_reply(s, until_close=True)
        self.assertEqual(got, status, (data, head, body))
        self.assertNotIn(b"HTTP/1.1", body)

    def test_lines_that_can_be_read_twice(self):
        """What follows would be a request of its own to who takes the length for 0."""
        hidden = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        n = b"%d" % len(hidden)
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for fields in (b"Content-Length:\r\n " + n, b"Content-Length:\r\n\t" + n,
                       b"Content-Length: 0\x00" + n, b"Content-Length: 0\x00\x00\x00" + n,
                       b"Content-Length: 0\x00\x00" + n + b"\r\nA: b",
                       b"X: y\rContent-Length: " + n, b"X: y\nContent-Length: " + n,
                       b"X: y\r\n Content-Length: " + n, b"X: y\x00\r\nContent-Length: " + n,
                       b"X: \x01", b"X: a\x7f", b"X(y): z", b": z", b"X\x00: z",
                       b"Content-Length: " + n + b"\nX: y"):
            with self.subTest(fields=fields):
                self.check_one_answer(head + fields + b"\r\n\r\n" + hidden, 400)
        for head in (b"GET /health\x00x HTTP/1.1\r\n", b"GET /health?a=\x00b HTTP/1.1\r\n",
                     b"GET /hea lth HTTP/1.1\r\n", b"GET /health\x01 HTTP/1.1\r\n",
                     b"GET /health HTTP/1.1\n"):
            with self.subTest(head=head):
                self.check_one_answer(head + b"Host: localhost\r\n\r\n", 400)

    def test_odd_but_good_lines(self):
        """Neighbours of these that are as they should be."""
        for fields in (b"X:y\r\n", b"X: \t y \t\r\n", b"X:\r\n", b"X: a\tb\r\n", b"X: \xe4\r\n",
                       b"Cookie: a=b; c=d\r\n", b"X: y\r\nX: z\r\n"):
            for target in (b"/health", b"/health?a", b"/health?a=b+c&d=%00&&e"):
                with self.subTest(fields=fields, target=target):
                    data = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + fields
                    self.check_one_answer(data + b"Connection: close\r\n\r\n", 200)

    def test_many_in_a_row(self):
        """Each request of a kept connection is looked at where it lies in the buffer."""
        good = b"GET /health?x=y HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\r\n"
        with self.server.connect() as s:
            send_all(s, (good + raw_request(GOOD)) * 50)
            data = b""
            while data.count(b"HTTP/1.1 200") < 100:
                more = s.recv(65536)
                self.assertTrue(more, data[-500:])
                data += more
        self.assertEqual(data.count(b"HTTP/1.1"), 100)

    def test_long_queries(self):
        for n, status in ((1, 200), (64, 200), (65, 414), (500, 414), (5000, 414)):
            with self.subTest(n=n):
                target = b"/health?" + b"&".join([b"a"] * n)
                self.check_one_answer(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n"
                                      b"Connection: close\r\n\r\n", status)

    def test_host_is_a_host(self):
        for host in (b"x y", b"a/b", b"a@b", b"a\x80"):
            with self.subTest(host=host):
                self.check_one_answer(b"GET /health HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400)

    def test_no_host(self):
        status, head, body = self.raw(b"GET /health HTTP/1.1\r\n\r\n")
        self.assertEqual(status, 400)
        self.assertIn("Host", json.loads(body)["error"]["message"])
        self.assertEqual(self.raw(b"GET /health HTTP/1.0\r\n\r\n")[0], 200)

    def test_garbage(self):
        for data in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /health\r\n\r\n",
                     b"\x16\x03\x01\x02\x00",
                     b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", b"x" * 100000,
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: " + b"b" * 100000 + b"\r\n\r\n",
                     b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
                     b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", b"\x00" * 1000):
            with self.subTest(data=data[:30]):
                with self.server.connect() as s:
                    send_all(s, data)
                    half_close(s)
                    self.assertIn(read_reply(s)[0] // 100, (0, 4, 5))

    def test_expect_continue(self):
        with self.server.connect() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                      b"\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
            self.assertIn(b"100 Continue", s.recv(1000))
            s.sendall(GOOD)
            self.assertEqual(read_reply(s)[0], 200)
        with self.server.connect() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                      b"\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
            self.assertEqual(read_reply(s)[0], 413)

    def test_pipelining(self):
        with self.server.connect() as s:
            s.sendall(raw_request(GOOD) * 5 + raw_request(b"{") + raw_request(GOOD, headers=
                      "Connection: close\r\n"))
            data = b""
            while more := s.recv(65536):
                data += more
        self.assertEqual(data.count(b"HTTP/1.1 200"), 6)
        self.assertEqual(data.count(b"HTTP/1.1 400"), 1)

    def check_cut_off(self, first, drip, limit):
        """Sends first, then drip a piece at a time: the server must hang up after about limit."""
        began = time.monotonic()
        with self.server.connect() as s:
            s.sendall(first)
            s.settimeout(0.1)
            while time.monotonic() - began < 10 * SLOW:
                try:
                    s.sendall(drip)
                    if s.recv(1000) == b"":
                        break
                except TimeoutError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
            took = time.monotonic() - began
        self.assertGreater(took, limit * 0.7)
        self.assertLess(took, (limit + 2) * SLOW)

    def test_slow_header(self):
        self.check_cut_off(b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: ", b"b", 1)

    def test_silent_connection(self):
        self.check_cut_off(b"", b"", 1)

    def test_slow_body(self):
        self.check_cut_off(raw_request(b"x" * 1000)[:-1000], b"x", 1)

    def test_idle_connection(self):
        with self.server.connect() as s:
            s.sendall(raw_request(GOOD))
            self.assertEqual(read_reply(s)[0], 200)
            began = time.monotonic()
            self.assertEqual(s.recv(10), b"")
            self.assertGreater(time.monotonic() - began, 1.4)

    def test_half_closed_client_is_gone(self):
        with self.server.connect() as s:
            s.sendall(raw_request(b'{"prompt":"first_ms=400","max_tokens":1000}'))
            half_close(s)
            time.sleep(0.3)
        self.server.wait_metric("num_requests_running", 0)


class LargeBodies(ServerCase):
    args = ("--max-body", "256K", "--request-memory", "16M", "--body-timeout", "600",
            "--trusted-proxy", "10.9.9.9,127.0.0.1")

    def test_chunked_without_end(self):
        """Twice the limit is read, to be thrown away; then the connection is closed."""
        with self.server.connect() as s:
            send_all(s, chunked(b"x" * 1600000, 4096)[:-5])
            self.assertEqual(read_reply(s)[0], 0)

    def test_memory_for_bodies_is_bounded(self):
        """One client gets the half, which others do not feel; small bodies are taken from anyone."""
        big = b'{"max_tokens":1,"prompt":"x","a":"' + b"y" * 250000 + b'"}'
        held = []
        for i in range(45):
            s = self.server.connect()
            s.sendall(raw_request(big, headers="X-Forwarded-For: 10.0.0.2, 10.0.0.1\r\n")[:-9])
            held.append(s)
        time.sleep(0.5)
        metrics = self.server.get("/metrics").body.decode()
        self.assertIn("specd_request_memory_refused_total", metrics)
        self.assertGreater(float(re.search(r"(?m)^specd_request_memory_bytes (\S+)", metrics).group(1)), 7e6)
        for by, body, status in (("10.0.0.1", big, 429), ("10.0.0.1, 10.0.0.2", big, 200),
                                 ("10.0.0.1", GOOD, 200), ("2001:db8::1", big, 200)):
            r = self.server.post("/v1/completions", body, headers={"X-Forwarded-For": by})
            self.assertEqual(r.status, status, by)
        for s in held:
            s.sendall(big[-9:])
        replies = [read_reply(s)[0] for s in held]
        for s in held:
            s.close()
        self.assertEqual(set(replies), {200, 429})
        self.assertIn(replies.count(200), range(30, 34))
        self.server.wait_metric("request_memory_bytes", 0)


class OneClientsQueue(ServerCase):
    args = ("-np", "1", "--max-queue", "8", "--trusted-proxy", "127.0.0.1")

    def test_it_is_never_all_of_it(self):
        """Seven of one client, of which one runs; the eighth is refused, and others find room."""
        body = json.dumps({"prompt": "x token_ms=5", "max_tokens": 100, "ignore_eos": True}).encode()
        held = []
        for i in range(12):
            s = self.server.connect()
            s.sendall(raw_request(body, headers="X-Forwarded-For: 10.0.0.1\r\n"))
            held.append(s)
        r = self.server.post("/v1/completions", GOOD, headers={"X-Forwarded-For": "10.0.0.2"})
        self.assertEqual(r.status, 200)
        replies = [read_reply(s) for s in held]
        for s in held:
            s.close()
        self.assertEqual({r[0] for r in replies}, {200, 429})
        self.assertGreater(self.server.metric("client_queue_refused_total"), 0)
        r = self.server.post("/v1/completions", {"prompt": "x", "n": 8}, headers={"X-Forwarded-For": "10.0.0.1"})
        self.assert_error(r, 400, "n")


class LargeAnswers(ServerCase):
    args = ("--max-body", "16K", "--request-memory", "1M")

    def test_they_are_counted(self):
        """What an answer may hold is asked for before it is made."""
        r = self.server.post("/v1/completions", {"prompt": ["x"] * 8, "n": 16, "logprobs": 20,
                                                 "max_tokens": 1000})
        self.assertEqual(r.status, 400)
        self.assert_error(r, 400, "n")
        self.assertIn("--request-memory", r.json()["error"]["message"])
        r = self.server.post("/v1/completions", {"prompt": "x", "n": 16, "logprobs": 20, "max_tokens": 4})
        self.assertEqual(r.status, 200)


@fake_only
class LongAnswers(ServerCase):
    args = ("--max-queue", "1000", "--request-memory", "4G")

    def test_others_are_answered_meanwhile(self):
        """What an evaluation harness asks: 24 MB in one answer, while another asks /health."""
        body = {"prompt": ["burst=2000"] * 64, "max_tokens": 2000, "echo": True, "logprobs": 20,
                "ignore_eos": True}
        replies = []
        thread = threading.Thread(target=lambda: replies.append(self.server.post("/v1/completions", body)))
        thread.start()
        longest = 0
        while thread.is_alive():
            began = time.monotonic()
            self.assertEqual(self.server.get("/health").status, 200)
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
        self.assertGreater(len(replies[0].body), 20e6)
        self.assertEqual(len(replies[0].json()["choices"]), 64)
        self.assertLess(longest, 0.25 * SLOW)


class UnreadAnswers(ServerCase):
    args = ("--parallel", "8")

    def memory(self):
        with open(f"/proc/{self.server.process.pid}/status") as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) * 1024

    def unread(self, path, body, receive_buffer=None):
        conn = Connection(self.server)
        if receive_buffer:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        conn.send("POST", path, body)
        self.assertEqual(conn.sock.recv(13, socket.MSG_PEEK), b"HTTP/1.1 200 ")
        return conn

    def test_what_nobody_reads_is_not_written(self):
        """An answer of many MB whose reader stands still is some KB, and what it is made of."""
        words = {"content": "~!" * 500000, "with_pieces": True}
        whole = self.server.post("/tokenize", words).body
        self.assertGreater(len(whole), 10e6)
        before = self.memory()
        held = [self.unread("/tokenize", words) for _ in range(8)]
        grown = self.memory() - before
        if SLOW < 5:  # a sanitizer keeps what was freed
            self.assertLess(grown, 8 * 8e6)
        self.assertEqual(held[0].reply().body, whole)
        for conn in held:
            conn.close()
        self.server.wait_metric("request_memory_bytes", 0)

    @roomy_only
    def test_what_is_finished_counts_what_it_holds(self):
        """An answer counts as long as it might become, until it is there."""
        body = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 20,
                "n": 16, "max_tokens": 400, "ignore_eos": True}
        conn = self.unread("/v1/chat/completions", body, 4096)
        held = self.server.metric("request_memory_bytes")
        self.assertGreater(held, 16 * 400 * 21 * 8)
        self.assertLess(held, 16 * 512 * (21 * 8 + 30) + 5000)
        conn.close()
        self.server.wait_metric("request_memory_bytes", 0)


if __name__ == "__main__":
    unittest.main()
