"""What clients made for other servers send: targets, headers of browsers, names, sizes."""

import gzip
import http.client
import random
import resource
import socket
import time
import unittest
import zlib

from specd_client import (
    FAKE, SLOW, Connection, ServerCase, SingleCase, fake_only, raw_request, read_reply)

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
TINY = {"prompt": "x", "max_tokens": 1}


def words(value):
    return [w.strip().lower() for w in (value or "").split(",")]


class Preflight(ServerCase):
    """A browser sends the request only when every header that the page sets is allowed."""

    args = ("--cors-origin", "*")
    OPENAI = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os," \
             "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime," \
             "x-stainless-runtime-version,x-stainless-timeout"

    def ask(self, headers, path=CHAT, method="POST", **more):
        return self.server.request("OPTIONS", path, headers={
            "Origin": "http://app.example", "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers, **more})

    def test_what_is_asked_for_is_allowed(self):
        for asked in (self.OPENAI, "anthropic-dangerous-direct-browser-access, anthropic-version, x-api-key",
                      "HTTP-Referer,X-Title", "OpenAI-Organization", "x-request-id", "a" * 3000,
                      ",".join(f"x-custom-{i}" for i in range(300))):
            r = self.ask(asked)
            self.assertEqual(r.status, 204)
            self.assertEqual(words(r.headers["Access-Control-Allow-Headers"]), words(asked))
            self.assertIn("POST", words(r.headers["Access-Control-Allow-Methods"].upper()) +
                          r.headers["Access-Control-Allow-Methods"].split(", "))
            self.assertEqual(r.headers["Access-Control-Allow-Origin"], "*")
            self.assertIn("access-control-request-headers", words(",".join(r.headers.get_all("Vary"))))

    def test_on_every_route(self):
        for path in (COMPLETION, "/completion", "/v1/models", "/v1/models/x", "/tokenize", "/health"):
            r = self.ask(self.OPENAI, path)
            self.assertEqual((r.status, words(r.headers["Access-Control-Allow-Headers"])),
                             (204, words(self.OPENAI)))

    def test_nothing_but_names_is_sent_back(self):
        for asked in ("x-a;b", "x-a\"", "<script>", "x-\xe9", "a(b)"):
            allowed = self.ask(asked.encode("latin-1")).headers["Access-Control-Allow-Headers"]
            self.assertIn("authorization", words(allowed), asked)

    def test_nothing_asked(self):
        r = self.server.request("OPTIONS", CHAT, headers={"Origin": "http://app.example"})
        self.assertIn("authorization", words(r.headers["Access-Control-Allow-Headers"]))
        self.assertNotIn("Access-Control-Allow-Private-Network", r.headers)

    def test_private_network(self):
        """A page from the internet asks for a machine of the private network."""
        r = self.ask("content-type", **{"Access-Control-Request-Private-Network": "true"})
        self.assertEqual(r.headers["Access-Control-Allow-Private-Network"], "true")


class PreflightOfNobody(ServerCase):
    def test_no_origin_is_allowed(self):
        r = self.server.request("OPTIONS", CHAT, headers={
            "Origin": "http://app.example", "Access-Control-Request-Private-Network": "true",
            "Access-Control-Request-Headers": "content-type"})
        self.assertNotIn("Access-Control-Allow-Origin", r.headers)
        self.assertNotIn("Access-Control-Allow-Private-Network", r.headers)


class Targets(ServerCase):
    args = ("--alias", "org/My model.gguf")
    NAME = "/v1/models/org%2FMy%20model.gguf"

    def raw(self, target, host="localhost", method="GET"):
        with self.server.connect() as s:
            s.sendall(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
            return read_reply(s)

    def test_absolute_form(self):
        for target in ("http://localhost/v1/models", "HTTP://localhost:8080/v1/models", "https://127.0.0.1/v1/models",
                       "http://[::1]:99/v1/models", "http://localhost/v1/models?x=1", "http://localhost/%76%31/models"):
            status, _, body = self.raw(target)
            self.assertEqual(status, 200, target)
            self.assertIn(b'"list"', body)
        self.assertEqual(self.raw("http://localhost/health?deep")[0], 200)
        for target in ("http://localhost", "http://localhost/", "http://localhost?x"):
            self.assertEqual(self.raw(target)[0], self.raw("/")[0], target)
        self.assertEqual(self.raw("http://localhost/nowhere")[0], 404)

    def test_its_host_counts(self):
        """RFC 9112, 3.2.2: what Host says is ignored."""
        self.assertEqual(self.raw("http://localhost/v1/models", host="evil.test")[0], 200)
        self.assertEqual(self.raw("http://evil.test/v1/models")[0], 421)
        self.assertEqual(self.raw("http://localhost.evil.test/v1/models")[0], 421)
        for target in ("http:///v1/models", "http://a@localhost/v1/models", "http://local\"host/v1/models"):
            self.assertEqual(self.raw(target)[0], 400, target)

    def test_other_schemes_are_no_targets(self):
        for target in ("ftp://localhost/v1/models", "http:/v1/models", "//localhost/v1/models", "localhost:80", "*",
                       "?", "?x", "v1/models", "%"):
            self.assertEqual(self.raw(target)[0], 404, target)

    def test_escapes(self):
        """RFC 3986, 6.2.2.2: only those of signs that need none mean the same."""
        for target in ("/%76%31/models", "/v1/%6dodels", "/v1/%6Dodels", "/%76%31/%6d%6F%64%65%6c%73?%76"):
            self.assertEqual(self.raw(target)[0], 200, target)
        for target in ("/v1%2Fmodels", "/v1/models%00", "/v1/models%", "/v1/models%7", "/v1/models%zz", "/v1/%256dodels",
                       "/v1%5Cmodels", "/%2e%2e/v1/models"):
            self.assertEqual(self.raw(target)[0], 404, target)
        self.assertEqual(self.raw("/%68ealth")[0], 200)

    def test_slashes(self):
        for target in ("/v1//models", "//v1/models", "/v1/models/", "/v1///models//", "/models", "//models/",
                       "/v1/models/?x"):
            self.assertEqual(self.raw(target)[0], 200, target)
        for path in ("/chat/completions", "/v1/chat/completions/", "//v1//chat/completions"):
            r = self.server.post(path, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
            self.assertEqual(r.status, 200, path)
        self.assertEqual(self.server.post("/completions", TINY).json()["object"], "text_completion")

    def test_a_proxy_may_refuse_other_routes_by_their_path(self):
        for target in ("/metrics/", "//metrics", "/health/", "//", "/v1/metrics", "/v1/health", "/slots/"):
            self.assertEqual(self.raw(target)[0], 404, target)

    def test_random_targets(self):
        """Whatever a target is made of, it is answered."""
        rng = random.Random()
        seed = rng.randrange(2**32)
        rng.seed(seed)
        parts = ("/", "//", "v1", "models", "%", "%2F", "%2", "%00", "%7e", "http:", "https://", "localhost", "[::1]", "?",
                 "&", "{model}", "{", "org", "My%20model.gguf", ".", "..", "*", ":", "@", "\xff", "#", "health", "%6dodels")
        with self.server.connect() as s:
            for _ in range(400):
                target = "".join(rng.choice(parts) for _ in range(rng.randint(1, 9)))
                s.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"))
                status, head, _ = read_reply(s)
                self.assertIn(status, (200, 400, 404, 405, 421), (seed, target))
                if status == 400 or "connection: close" in head.lower():
                    s.close()
                    s = self.server.connect()
            s.close()

    def test_methods(self):
        self.assertEqual(self.raw("http://localhost/v1/completions")[0], 405)
        self.assertEqual(self.raw("/v1/completions/")[0], 405)
        status, _, body = self.raw("http://localhost/v1/models/", method="HEAD")
        self.assertEqual((status, body), (200, b""))
        self.assertEqual(self.raw(self.NAME, method="DELETE")[0], 405)

    def test_one_model(self):
        listed = self.server.get("/v1/models").json()["data"][0]
        for path in (self.NAME, "/v1/models/org/My%20model.gguf", "/v1/models/org%2fMy%20model%2Egguf",
                     "/models/org%2FMy%20model.gguf", self.NAME + "?x=1", self.NAME + "/"):
            r = self.server.get(path)
            self.assertEqual(r.status, 200, path)
            got = r.json()
            self.assertEqual((got["id"], got["object"], got["meta"]), (listed["id"], "model", listed["meta"]))
        for name in ("none", "org", "org%2FMy%20model.ggu", "org%2Fmy%20model.gguf", "%00", "%ff%fe", "%2F", "%2f%2F%2F", "org%252FMy%20model.gguf",
                     "x" * 2000):
            r = self.server.get("/v1/models/" + name)
            self.assertEqual(r.status, 404, name)
            self.assertEqual((r.json()["error"]["code"], r.json()["error"]["type"]),
                             ("model_not_found", "invalid_request_error"))


class TargetsWithKeys(ServerCase):
    env = {"SPECD_API_KEY": "sesame"}

    def test_no_spelling_passes_the_key(self):
        for target in ("/v1/models", "//v1/models", "/v1/models/", "/models", "/%76%31/models", "/v1/models/x",
                       "http://localhost/v1/models", "/%6detrics", "/%70rops"):
            with self.server.connect() as s:
                s.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                self.assertEqual(read_reply(s)[0], 401, target)


class Codings(ServerCase):
    BODY = b'{"prompt":"x","max_tokens":1}'

    def test_a_coded_body_is_named(self):
        for coding, body in (("gzip", gzip.compress(self.BODY)), ("x-gzip", gzip.compress(self.BODY)),
                             ("deflate", zlib.compress(self.BODY)), ("br", b"?"), ("zstd", b"(\xb5/\xfd"),
                             ("GZIP", gzip.compress(self.BODY)), ("identity, gzip", b"?"), ("gzip,gzip", b"?")):
            for path in (COMPLETION, "/tokenize", "/completion"):
                r = self.server.post(path, body, headers={"Content-Encoding": coding})
                self.assert_error(r, 415, code="unsupported_content_encoding")
                self.assertIn("Content-Encoding", r.json()["error"]["message"])
                self.assertEqual(r.headers["Accept-Encoding"], "identity")

    def test_in_a_second_line(self):
        with self.server.connect() as s:
            s.sendall(raw_request(self.BODY, headers="Content-Encoding: identity\r\ncontent-encoding: gzip\r\n"))
            self.assertEqual(read_reply(s)[0], 415)

    def test_none(self):
        for coding in ("identity", "Identity", "", " ", "identity , identity"):
            r = self.server.post(COMPLETION, self.BODY, headers={"Content-Encoding": coding})
            self.assertEqual(r.status, 200, coding)


class Wordings(ServerCase):
    """Clients shorten a conversation and try again when they read one of these: litellm 1.106 lists the
    first two, Claude Code reads the numbers of the third."""

    PHRASES = ("this model's maximum context length is", "prompt is too long",
               *[r"prompt is too long: \d+ tokens > \d+ maximum"] * (not FAKE))

    def test_context_overflow(self):
        user = {"role": "user", "content": "word " * 9000}
        for path, body in ((CHAT, {"messages": [user]}), (CHAT, {"messages": [user], "stream": True}),
                           (COMPLETION, {"prompt": "word " * 9000}), (COMPLETION, {"prompt": [1] * 9000}),
                           ("/completion", {"prompt": "word " * 9000}), (COMPLETION, {"prompt": "w" * 3000000})):
            r = self.server.post(path, body)
            self.assert_error(r, 400, code="context_length_exceeded")
            error = r.json()["error"]
            self.assertEqual(error["type"], "invalid_request_error")
            for phrase in self.PHRASES:
                self.assertRegex(error["message"], phrase)
            if not FAKE:
                self.assertEqual(error["param"], "messages" if path == CHAT else "prompt")


class Sizes(ServerCase):
    def test_stop_strings(self):
        for n in (17, 64):
            r = self.server.post(COMPLETION, {**TINY, "stop": [f"<{i}>" for i in range(n)]})
            self.assertEqual(r.status, 200, n)
        r = self.server.post(COMPLETION, {**TINY, "stop": ["x"] * 65})
        self.assert_error(r, 400, "stop")
        self.assertIn("64", r.json()["error"]["message"])

    @fake_only
    def test_each_of_64_stops(self):
        for i in (0, 16, 63):
            stops = [f"<{k}>" for k in range(64)]
            stops[i] = "w3"
            body = {"prompt": "x", "max_tokens": 8, "stop": stops}
            self.assertEqual(self.server.post(COMPLETION, body).json()["choices"][0]["text"], " w0 w1 w2 ")

    def test_bodies_beyond_4_MiB(self):
        for n in (5 << 20, (32 << 20) - 100):
            r = self.server.post(COMPLETION, {**TINY, "user": "y" * n})
            self.assertEqual(r.status, 200, n)
        with self.server.connect() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n{" % ((32 << 20) + 1))
            self.assertEqual(read_reply(s)[0], 413)
        self.server.wait_metric("request_memory_bytes", 0)

    def test_more_messages_than_an_agent_sends(self):
        """They are too long for the context, or not; there are not too many."""
        turn = [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]
        r = self.server.post(CHAT, {"messages": turn * 10000 + turn[:1], "max_tokens": 1})
        if r.status != 200:
            self.assert_error(r, 400, code="context_length_exceeded")


class Descriptors(SingleCase):
    def test_their_limit_is_named(self):
        server = self.start()
        conn = Connection(server)
        self.assertEqual(server.post(COMPLETION, TINY, conn=conn).status, 200)
        pid = server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for path, body in ((COMPLETION, TINY), (CHAT, {"messages": [{"role": "user", "content": "x"}]}),
                           ("/completion", {**TINY, "stream": True})):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))  # which are in use
            r = server.post(path, body, conn=conn)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            self.assertEqual((r.status, r.json()["error"]["code"]), (503, "too_many_open_files"), r.body)
            self.assertIn("open files", r.json()["error"]["message"])
            self.assertIn("Retry-After", r.headers)
            self.assertEqual(server.post(COMPLETION, TINY, conn=conn).status, 200)
        conn.close()


    def test_too_low_from_the_start(self):
        for n in (8, 12, 16, 31):
            server = self.start(prefix=["bash", "-c", f'ulimit -n {n}; exec "$@"', "bash"], wait=None, clean=False)
            self.assertEqual(server.wait(), 1, n)
            self.assertIn("limit on open files", "".join(server.log))
        server = self.start(prefix=["bash", "-c", 'ulimit -n 32; exec "$@"', "bash"])
        self.assertEqual(server.post(COMPLETION, TINY).status, 200)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


@fake_only
class Hosts(SingleCase):
    @unittest.skipUnless(has_ipv6(), "no ::1")
    def test_brackets(self):
        for host in ("[::1]", "::1", "[0:0:0:0:0:0:0:1]"):
            server = self.start("--host", host)
            self.assertRegex("".join(server.log), r"ready: http://\[[0:]*1\]:\d+")
            conn = http.client.HTTPConnection("::1", server.port)
            conn.request("GET", "/v1/models", headers={"Host": f"[::1]:{server.port}"})
            self.assertEqual(conn.getresponse().status, 200)
            conn.close()

    def test_no_address(self):
        for host in ("[::1", "[::1]:8080", "[]", "[localhost]", "[127.0.0.1]", "[", "[::1]x", "::1]"):
            server = self.start("--host", host, wait=None, clean=False)
            self.assertEqual(server.wait(), 1, host)
            self.assertIn(host, "".join(server.log))


@fake_only
class Proxies(SingleCase):
    """Addresses of proxies, and what proxies say of their clients, in other spellings."""

    def told(self, server):
        return "is no --trusted-proxy" in "".join(server.log)

    def test_spellings(self):
        for trusted in ("10.9.9.9, 127.0.0.1", "[::1],127.0.0.1", " 127.0.0.1 ", "127.0.0.1:80"):
            server = self.start("--trusted-proxy", trusted)
            server.post(COMPLETION, TINY, headers={"X-Forwarded-For": "10.0.0.1"})
            server.stop()
            self.assertFalse(self.told(server), trusted)
        server = self.start("--trusted-proxy", "10.9.9.9")
        server.post(COMPLETION, TINY, headers={"X-Forwarded-For": "10.0.0.1"})
        server.stop()
        self.assertTrue(self.told(server))

    def test_what_is_none(self):
        for trusted in ("proxy.local", "10.0.0.0/8", "127.0.0.1,,10.0.0.1", "1.2.3", "[::1", "::g"):
            server = self.start("--trusted-proxy", trusted, wait=None, clean=False)
            self.assertEqual(server.wait(), 2, trusted)
            self.assertIn("--trusted-proxy", "".join(server.log))

    @unittest.skipUnless(has_ipv6(), "no ::")
    def test_ipv4_through_a_socket_of_both(self):
        server = self.start("--host", "::", "--trusted-proxy", "127.0.0.1")
        server.post(COMPLETION, TINY, headers={"X-Forwarded-For": "10.0.0.1"})
        server.stop()
        self.assertFalse(self.told(server))


    def test_clients_with_ports(self):
        """Four of one client, whatever it is called; the fifth is refused, and no other client's is."""
        for names, other in ((("10.0.0.1:1", " 10.0.0.1", "1.1.1.1, 10.0.0.1:65535"), "10.0.0.2:1"),
                             (("[2001:db8::1]:1", "2001:db8::2", "[2001:db8:0::3]"), "[2001:db9::1]:1"),
                             (("::ffff:10.0.0.1", "10.0.0.1", "[::ffff:10.0.0.1]:7"), "::ffff:10.0.0.2")):
            server = self.start("-np", "1", "--max-queue", "4", "--trusted-proxy", "127.0.0.1")
            held = []
            for i in range(4):
                s = server.connect()
                s.sendall(raw_request(b'{"prompt":"token_ms=20","max_tokens":1000,"ignore_eos":true}',
                                      headers=f"X-Forwarded-For: {names[i % 3]}\r\n"))
                held.append(s)
            end = time.monotonic() + 10 * SLOW
            while server.metric("num_requests_running") + server.metric("num_requests_waiting") < 4:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            for name in names:
                r = server.post(COMPLETION, TINY, headers={"X-Forwarded-For": name})
                self.assertEqual(r.status, 429, name)
            for name in (other, "nobody", "[", "10.0.0.1:x:y"):  # the last three: the proxy itself
                s = server.connect()
                s.sendall(raw_request(b'{"prompt":"x"}', headers=f"X-Forwarded-For: {name}\r\n"))
                s.close()
            refused = server.metric("client_queue_refused_total")
            self.assertEqual(refused, 3)
            for s in held:
                s.close()


if __name__ == "__main__":
    unittest.main()
