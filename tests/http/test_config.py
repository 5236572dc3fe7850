"""Configuration: --print-config, the examples in configs/, and SIGHUP."""

import glob
import json
import os
import re
import signal
import struct
import subprocess
import time
import unittest

from specd_client import ARGS, BIN, FAKE, SLOW, Connection, SingleCase, fake_only
from test_life import open_stream

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "configs")
COMPLETION = "/v1/completions"


def run(*args, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SPECD_")}
    return subprocess.run([BIN, *args], capture_output=True, text=True, env={**clean, **(env or {})})


def parse(text):
    """The members of what --print-config prints, and their origins."""
    values, origins = {}, {}
    for line in text.splitlines():
        member, comment, origin = line.rpartition(" // ")
        if comment and not member.lstrip().startswith("//"):
            pair = json.loads("{" + member.strip().rstrip(",") + "}")
            values.update(pair)
            origins.update({k: origin for k in pair})
    return values, origins


class Print(SingleCase):
    def test_examples(self):
        paths = glob.glob(CONFIGS + "/*.json")
        self.assertGreaterEqual(len(paths), 3)
        for path in paths:
            got = run("--config", path, "--print-config")
            self.assertEqual(got.returncode, 0, got.stderr)
            values, origins = parse(got.stdout)
            mine = [k for k, origin in origins.items() if origin == "file " + path]
            self.assertGreaterEqual(len(mine), 6, path)
            with open(path) as f:
                for key in mine:
                    self.assertIn(f'"{key}": ', f.read())
                    f.seek(0)

    def test_precedence(self):
        path = self.dir.name + "/c"
        with open(path, "w") as f:
            f.write('{"port": 1, "parallel": 2, "ctx-size": 64, "max-queue": 3} # end')
        got = run("--config", path, "--print-config", "--port", "7",
                  env={"SPECD_PARALLEL": "5", "SPECD_PORT": "6", "SPECD_API_KEY": "sesame"})
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertNotIn("sesame", got.stdout + got.stderr)
        values, origins = parse(got.stdout)
        for key, value, origin in (("port", 7, "command line"),
                                   ("parallel", 5, "environment SPECD_PARALLEL"),
                                   ("ctx-size", 64, "file " + path), ("batch-size", 512, "default"),
                                   ("max-queue", 3, "file " + path), ("model", None, "default")):
            self.assertEqual((values[key], origins[key]), (value, origin))
        with open(path, "w") as f:
            f.write(got.stdout)
        again = run("--config", path, "--print-config")
        self.assertEqual(parse(again.stdout)[0], values)

    def test_nearest(self):
        path = self.dir.name + "/c"
        with open(path, "w") as f:
            f.write('{"ctx-sise": 64}')
        for args, word in ((["--config", path], "'ctx-size'"), (["--ctx-sise", "64"], "--ctx-size")):
            got = run(*args)
            self.assertEqual(got.returncode, 2)
            self.assertIn("did you mean " + word, got.stderr)
        got = run("--print-config", env={"SPECD_CTX_SISE": "64", "SPECD_NO_OVERLAP": "1"})
        self.assertEqual(got.returncode, 0)
        self.assertIn("did you mean SPECD_CTX_SIZE", got.stderr)
        self.assertNotIn("SPECD_NO_OVERLAP", got.stderr)

    def test_tls_needs_both(self):
        for args in (["--tls-cert", "x"], ["--tls-key", "x"],
                     ["--tls-cert", "x", "--tls-key", "x", "--host", "unix:/tmp/x"]):
            got = run(*args)
            self.assertEqual(got.returncode, 2, args)
            self.assertIn("tls-cert", got.stderr)


class Reload(SingleCase):
    def write(self, name, text):
        """A file that is there whole or not at all."""
        path = f"{self.dir.name}/{name}"
        with open(path + "~", "w") as f:
            f.write(text)
        os.rename(path + "~", path)
        return path

    def configure(self, **options):
        return self.write("config", json.dumps(options) + " // comment")

    def start_with(self, *args, **options):
        return self.start("--config", self.configure(**options), *args)

    def reload(self, server, says="is reloaded"):
        server.signal(signal.SIGHUP)
        return server.wait_log("SIGHUP: .*" + says + ".*").group(0)

    def test_keys_while_streaming(self):
        keys = self.write("keys", "# ours\nold\n")
        server = self.start_with(**{"api-key-file": keys})
        old, new = {"X-Api-Key": "old"}, {"Authorization": "Bearer new"}
        self.assertEqual(server.get("/v1/models", headers=old).status, 200)
        self.assertEqual(server.get("/v1/models", headers=new).status, 401)
        request = json.dumps({"prompt": "token_ms=20", "max_tokens": 40, "stream": True,
                              "ignore_eos": True}).encode()
        with server.connect() as stream:
            stream.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: old\r\n"
                           b"Content-Type: application/json\r\nContent-Length: %d\r\n"
                           b"Connection: close\r\n\r\n" % len(request) + request)
            first = stream.recv(4096)
            self.assertIn(b"200 OK", first)
            self.write("keys", "new\n")
            self.reload(server)
            self.assertEqual(server.get("/v1/models", headers=old).status, 401)
            self.assertEqual(server.get("/v1/models", headers=new).status, 200)
            data = first
            while more := stream.recv(65536):
                data += more
        self.assertIn(b"data: [DONE]", data)
        self.assertEqual(data.count(b'"text"'), 41)

    def test_limits(self):
        server = self.start_with("-np", "1", **{"max-queue": 1, "max-body": "4M"})
        body = {"prompt": "x", "max_tokens": 1, "pad": "x" * 3000}
        self.assertEqual(server.post(COMPLETION, body).status, 200)
        self.configure(**{"max-queue": 4, "max-body": "2K", "request-timeout": 0.3})
        line = self.reload(server)
        self.assertNotIn("restart", line)
        self.assertEqual(server.post(COMPLETION, body).status, 413)

    @fake_only
    def test_queue_and_time_out(self):
        server = self.start_with("-np", "1", **{"max-queue": 1})
        self.configure(**{"max-queue": 4, "max-queue-per-client": 4, "request-timeout": 0.3})
        self.reload(server)
        late = {"prompt": "first_ms=9000", "max_tokens": 1}
        conns = [Connection(server) for _ in range(6)]  # one runs, four wait
        for conn in conns:
            conn.send("POST", COMPLETION, late)
        statuses = sorted(conn.reply().status for conn in conns)
        for conn in conns:
            conn.close()
        self.assertEqual(statuses, [429] + [504] * 5)

    def test_log_level(self):
        server = self.start_with(**{"log-level": "info"})
        server.get("/health")
        self.configure(**{"log-level": "debug", "log-format": "json"})
        self.reload(server)
        server.get("/health")
        self.assertTrue(json.loads(server.wait_log(r'\{.*GET /health 200.*').group(0)))

    def test_what_needs_a_restart(self):
        server = self.start_with(parallel=2, alias="one")
        self.configure(parallel=3, alias="two", **{"max-queue": 5})
        line = self.reload(server)
        self.assertRegex(line, "restart to change: parallel alias$")
        self.assertEqual(server.get("/v1/models").json()["data"][0]["id"], "one")
        self.configure(parallel=2, alias="one")
        self.assertNotIn("restart", self.reload(server))

    def test_bad_files_change_nothing(self):
        keys = self.write("keys", "old\n")
        good = {"api-key-file": keys, "max-body": "8K"}
        server = self.start_with(**good)
        headers = {"X-Api-Key": "old"}
        body = {"prompt": "x", "max_tokens": 1, "pad": "x" * 6000}

        def check(why):
            line = self.reload(server, "nothing is changed")
            self.assertIn(why, line)
            self.assertEqual(server.post(COMPLETION, body, headers=headers).status, 200)
            self.assertEqual(server.get("/v1/models").status, 401)
            self.assertEqual(server.get("/v1/models", headers={"X-Api-Key": "new"}).status, 401)

        for options, why in (({"max-body": "no"}, "must be a size"), ({"max-bodi": 1}, "max-body"),
                             ({"api-key-file": "/nonexistent"}, "/nonexistent"),
                             ({"access-log": "/nonexistent/x"}, "/nonexistent/x"),
                             ({"tls-cert": keys, "tls-key": keys}, "restart")):
            self.configure(**{**good, "max-body": "2K", **options})
            check(why)
        self.configure(**{"max-body": "2K"})
        check("api-key-file")
        self.write("config", "{")
        check("invalid JSON")
        os.unlink(self.dir.name + "/config")
        check("No such file")
        self.configure(**{**good, "max-body": "2K"})
        self.write("keys", "# none\n")
        check("holds no key")
        self.write("keys", "new\n")
        self.reload(server)
        self.assertEqual(server.get("/v1/models", headers={"X-Api-Key": "new"}).status, 200)

    def test_the_key_of_the_environment(self):
        """It stays through SIGHUP, and nobody can read it from the process."""
        server = self.start("--config", self.configure(), env={"SPECD_API_KEY": "sesame"})
        with open(f"/proc/{server.process.pid}/environ", "rb") as f:
            self.assertNotIn(b"sesame", f.read())
        keys = self.write("keys", "other\n")
        for options in ({}, {"api-key-file": keys}, {}):
            self.configure(**options)
            self.reload(server)
            for key, status in (("sesame", 200), ("nope", 401),
                                ("other", 200 if options else 401)):
                r = server.get("/v1/models", headers={"X-Api-Key": key})
                self.assertEqual(r.status, status, (options, key))


class Salts(SingleCase):
    def cached(self, server, key, **kw):
        r = server.post("/v1/completions", {"prompt": "a prompt of several blocks " * 8, "max_tokens": 4,
                                            "ignore_eos": True, **kw}, headers={"X-Api-Key": key})
        self.assertEqual(r.status, 200, r.body)
        return r.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    @unittest.skipIf(FAKE, "the fake engine caches nothing")
    def test_salt_by_key(self):
        keys = os.path.join(self.dir.name, "keys")
        with open(keys, "w") as f:
            f.write("one\ntwo\n")
        for args, shared in ((("--salt-by-key",), False), ((), True)):
            server = self.start("--api-key-file", keys, *args)
            self.assertEqual(self.cached(server, "one"), 0)
            self.assertGreater(self.cached(server, "one"), 0)
            self.assertEqual(self.cached(server, "two") > 0, shared)
            self.assertGreater(self.cached(server, "two"), 0)
            self.assertEqual(self.cached(server, "one", cache_salt="x"), 0)
            self.assertGreater(self.cached(server, "one", cache_salt="x"), 0)
            self.assertEqual(self.cached(server, "two", cache_salt="x") > 0, shared)

    def test_it_needs_keys(self):
        got = run(*ARGS, "--salt-by-key", "--port", "0")
        self.assertEqual(got.returncode, 2)
        self.assertIn("--salt-by-key: there are no keys", got.stderr)


class Keys(SingleCase):
    def test_lines_that_are_no_key(self):
        path = self.dir.name + "/keys"
        for text, line in ((b"a\ncorrect horse\n", 2), (b"\xef\xbb\xbfabc\n", 1), (b"# x\n\na\x00b\n", 3),
                           (b"k # comment\nk x # y\n", 2), (b"k\x01\n", 1),
                           (b"k priority\nk priority horse\n", 2), (b"k Priority\n", 1), (b"a prioritys\n", 1)):
            with open(path, "wb") as f:
                f.write(text)
            got = run(*ARGS, "--api-key-file", path, "--port", "0")
            self.assertEqual(got.returncode, 1, text)
            self.assertIn(f"line {line}", got.stderr)
            self.assertNotIn("horse", got.stderr)
        os.unlink(path)
        os.mkfifo(path)
        for option in ("--api-key-file", "--config", "--chat-template"):
            got = run(*ARGS, option, path, "--port", "0")
            self.assertIn("not a regular file", got.stderr)

    def test_the_variable_is_trimmed(self):
        server = self.start(env={"SPECD_API_KEY": " \tabc\r\n"})
        for key, status in (("abc", 200), ("ab", 401)):
            self.assertEqual(server.get("/v1/models", headers={"X-Api-Key": key}).status, status)
        got = run(*ARGS, "--port", "0", env={"SPECD_API_KEY": "two words"})
        self.assertEqual(got.returncode, 1)
        self.assertIn("SPECD_API_KEY", got.stderr)
        self.assertNotIn("words", got.stderr)


class Hosts(SingleCase):
    def status(self, server, host):
        return server.get("/v1/models", headers={"Host": host}).status

    def test_names_of_others(self):
        server = self.start("--allowed-host", "box.test,other.test", "--cors-origin", "http://site.test:3000")
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1234", "127.1.2.3", "[::1]:8080", "a.localhost",
                     "localhost.", "box.test", "Other.test:1", "site.test", "site.test:3000"):
            self.assertEqual(self.status(server, host), 200, host)
        for host in ("evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "xlocalhost", "box.test.evil",
                     "ox.test", "[::2]", "10.0.0.1", "127.evil"):
            r = server.get("/v1/models", headers={"Host": host})
            self.assertEqual(r.status, 421, host)
            self.assertIn("--allowed-host", r.json()["error"]["message"])

    def test_where_it_does_not_matter(self):
        for args, kw in ((("--cors-origin", "*"), {}), ((), {"unix": self.dir.name + "/s"}),
                         (("--host", "0.0.0.0"), {})):
            server = self.start(*args, **kw)
            self.assertEqual(self.status(server, "evil.test"), 200, args)
        server = self.start(env={"SPECD_API_KEY": "k"})
        self.assertEqual(server.get("/v1/models", headers={"Host": "evil.test", "X-Api-Key": "k"}).status, 200)

    def test_open_to_the_network(self):
        """A server that other machines reach without a key says so; no other does."""
        for args, kw, warns in ((("--host", "0.0.0.0"), {}, True), ((), {}, False),
                                (("--host", "0.0.0.0"), {"env": {"SPECD_API_KEY": "k"}}, False),
                                ((), {"unix": self.dir.name + "/s"}, False)):
            server = self.start(*args, **kw)
            log = "".join(server.log)  # up to "ready", which comes later
            self.assertEqual("there are no API keys" in log, warns, log)


class SlowLogs(SingleCase):
    """Nobody waits for who reads a log."""

    def ask(self, server, n):
        c = Connection(server)
        for _ in range(n):
            c.send("GET", "/health", headers={"X-Request-Id": "x" * 120})
            self.assertEqual(c.reply().status, 200)
        c.close()

    def dropped(self, server, log):
        text = server.get("/metrics").body.decode()
        return int(re.search(rf'specd_log_lines_dropped_total{{log="{log}"}} (\d+)', text).group(1))

    def test_access_log(self):
        path = self.dir.name + "/fifo"
        os.mkfifo(path)
        self.assertIn("nobody reads it", run(*ARGS, "--access-log", path, "--port", "0").stderr)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        server = self.start("--access-log", path)
        self.ask(server, 1500)
        server.wait_log("lines are dropped")
        dropped = self.dropped(server, "access")
        self.assertGreater(dropped, 0)
        self.ask(server, 3)
        data, end = b"", time.monotonic() + 10 * SLOW
        while data.count(b"\n") + dropped < 1500 + 1 + 3 and time.monotonic() < end:
            try:
                data += os.read(fd, 1 << 16)
            except BlockingIOError:
                self.ask(server, 1)  # what was kept goes out before the next line
                time.sleep(0.01)
        server.wait_log(r"access-log: \d+ lines were dropped")
        lines = data[:data.rfind(b"\n")].decode().splitlines()
        self.assertGreaterEqual(len(lines) + self.dropped(server, "access"), 1500 + 1 + 3)
        for line in lines:
            self.assertRegex(line, r"^\S+Z 127.0.0.1 GET /\w+ 200 .* id=\w+$")
        os.close(fd)
        self.ask(server, 3)

    def test_full_disk_and_size_limit(self):
        server = self.start("--access-log", "/dev/full")
        self.ask(server, 600)
        server.wait_log("lines are dropped")
        path = self.dir.name + "/log"
        server = self.start("--access-log", path, prefix=["bash", "-c", 'ulimit -f 1; exec "$@"', "bash"])
        self.ask(server, 20)
        self.assertEqual(os.path.getsize(path), 1024)

    def test_stderr(self):
        path, unix = self.dir.name + "/fifo", self.dir.name + "/s"
        os.mkfifo(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        server = self.start("--log-level", "debug", unix=unix, wait=None,
                            prefix=["bash", "-c", f'exec "$@" 2>{path}', "bash"])
        while not os.path.exists(unix) or server.get("/health").status != 200:
            time.sleep(0.02)
        self.ask(server, 2500)
        self.assertGreater(self.dropped(server, "log"), 0)
        server.signal()
        self.assertEqual(server.wait(), 0)
        os.close(fd)

    def test_reload_with_a_fifo(self):
        path = self.dir.name + "/fifo"
        os.mkfifo(path)
        config = self.dir.name + "/c"
        with open(config, "w") as f:
            f.write("{}")
        server = self.start("--config", config)
        for key in ("access-log", "api-key-file"):
            with open(config, "w") as f:
                json.dump({key: path}, f)
            server.signal(signal.SIGHUP)
            server.wait_log("nothing is changed: .*" + path)
        os.unlink(config)
        os.mkfifo(config)
        server.signal(signal.SIGHUP)
        server.wait_log("nothing is changed: .*not a regular file")


@unittest.skipIf(FAKE, "about a model's files")
class Starts(SingleCase):
    def test_a_context_of_one_token(self):
        with open(ARGS[ARGS.index("-m") + 1], "rb") as f:
            data = f.read()
        at = data.index(b"llama.context_length") + len(b"llama.context_length")
        self.assertEqual(data[at:at + 4], struct.pack("<I", 4))  # the type of a 32-bit number
        path = self.dir.name + "/model.gguf"
        with open(path, "wb") as f:
            f.write(data[:at + 4] + struct.pack("<I", 1) + data[at + 8:])
        got = run("-m", path, "--port", "0")
        self.assertEqual(got.returncode, 1)
        self.assertIn("context", got.stderr)
        self.assertNotIn("device failed", got.stderr)

    def test_costs_in_a_fifo(self):
        env = {"XDG_CACHE_HOME": self.dir.name}
        self.assertIsNone(self.start(env=env).stop())
        costs = glob.glob(self.dir.name + "/specd/cost-*")
        self.assertEqual(len(costs), 1)
        os.unlink(costs[0])
        os.mkfifo(costs[0])
        self.assertEqual(self.start(env=env).get("/ready").status, 200)

    def test_costs_are_kept(self):
        """What passes took is written anew at the end, behind the filter on system calls, too."""
        server = self.start("--device", "cpu", env={"XDG_CACHE_HOME": self.dir.name})
        (path,) = glob.glob(self.dir.name + "/specd/cost-*")
        first = os.stat(path).st_ino
        for _ in range(8):
            r = server.post(COMPLETION, {"prompt": "a", "max_tokens": 30, "ignore_eos": True,
                                         "speculative": {"enabled": False}})
            self.assertEqual(r.status, 200)
        self.assertIsNone(server.stop())
        self.assertNotEqual(os.stat(path).st_ino, first)


class Log(SingleCase):
    def test_json_lines_are_json(self):
        """Also where a file's name is no UTF-8, or a line is cut in the middle of a character."""
        for name in (b"/nonexistent/\xff\xc3(\xe2\x82", b"/" + "\u00e9".encode() * 1500):
            got = subprocess.run([BIN, "--log-format", "json", "--access-log", name, "--port", "0", *ARGS],
                                 capture_output=True, env={**os.environ, "SPECD_NO_SUCH": "1"})
            lines = got.stderr.decode().splitlines()
            self.assertGreaterEqual(len(lines), 1)
            for line in lines:
                self.assertIn(json.loads(line)["level"], ("error", "warn", "info"))


class UnixSocket(SingleCase):
    def test_only_ours_is_removed(self):
        path = self.dir.name + "/s"
        first = self.start(unix=path)
        os.unlink(path)
        second = self.start(unix=path)
        self.assertIsNone(first.stop())
        self.assertEqual(second.get("/health").status, 200)
        self.assertIsNone(second.stop())
        self.assertFalse(os.path.exists(path))


class AccessLog(SingleCase):
    def lines(self, path, n):
        end = time.monotonic() + 5 * SLOW
        while True:
            with open(path) as f:
                lines = f.read().splitlines()
            if len(lines) >= n or time.monotonic() > end:
                self.assertEqual(len(lines), n, lines)
                return lines
            time.sleep(0.02)

    def test_json(self):
        path = self.dir.name + "/log"
        server = self.start("--access-log", path, "--log-format", "json",
                            env={"SPECD_API_KEY": "sesame"})
        key = {"X-Api-Key": "sesame"}
        body = {"prompt": "a secret prompt", "max_tokens": 8, "ignore_eos": True}
        r = server.post(COMPLETION, body, headers={**key, "X-Request-Id": 'a"b\\'})
        stream = server.post(COMPLETION, {**body, "stream": True,
                                          "stream_options": {"include_usage": True}}, headers=key)
        server.get("/health")
        server.get("/nowhere/secret?secret=1", headers=key)
        server.get("/v1/models")
        lines = self.lines(path, 5)
        self.assertNotIn("secret", "".join(lines))
        self.assertNotIn("sesame", "".join(lines))
        one, two, three, four, five = map(json.loads, lines)
        self.assertEqual(one["request_id"], 'a"b\\')
        self.assertEqual(two["request_id"], stream.headers["X-Request-Id"])
        for got, reply, usage, speculative in (
                (one, r, r.json()["usage"], r.json()["speculative"]),
                (two, stream, stream.events()[-2]["usage"],
                 stream.events()[-3]["speculative"])):
            accepted = speculative["accepted_tokens"]
            self.assertEqual(got["client"], "127.0.0.1")
            self.assertEqual((got["method"], got["route"], got["status"]), ("POST", COMPLETION, 200))
            self.assertEqual(got["bytes_out"], len(reply.body))
            self.assertEqual(got["prompt_tokens"], usage["prompt_tokens"])
            self.assertEqual(got["generated_tokens"], 8)
            self.assertEqual(got["accepted_tokens"], accepted)
            self.assertGreaterEqual(got["ms"], got["first_ms"])
            self.assertTrue(got["complete"])
        self.assertEqual(one["bytes_in"], len(json.dumps(body)))
        self.assertGreater(two["first_ms"], 0)
        self.assertEqual((three["route"], three["status"]), ("/health", 200))
        self.assertNotIn("prompt_tokens", three)
        self.assertEqual((four["route"], four["status"]), ("?", 404))
        self.assertEqual((five["route"], five["status"]), ("/v1/models", 401))

    def test_text_and_reopening(self):
        path = self.dir.name + "/log"
        unix = self.dir.name + "/s"
        server = self.start("--access-log", path, unix=unix)
        server.get("/health", headers={"X-Request-Id": "x1"})
        line = self.lines(path, 1)[0]
        # On a unix socket a client that leaves at once may look as if it had left too early.
        self.assertRegex(line, r"^\S+Z unix GET /health 200 in=0 out=15 ms=\d+\.\d+( cut_off)? id=x1$")
        os.rename(path, path + ".1")
        server.get("/health")
        self.lines(path + ".1", 2)
        server.signal(signal.SIGHUP)
        server.wait_log("is reloaded")
        server.post(COMPLETION, {"prompt": "x", "max_tokens": 4, "ignore_eos": True})
        self.assertRegex(self.lines(path, 1)[0], r" prompt=\d+ generated=4 accepted=\d+ (cut_off )?id=")
        self.lines(path + ".1", 2)

    def test_cut_off(self):
        path = self.dir.name + "/log"
        server = self.start("--access-log", path)
        open_stream(server, {"prompt": "token_ms=5", "max_tokens": 4000, "stream": True,
                             "ignore_eos": True}).close()
        self.assertRegex(self.lines(path, 1)[0], r" 200 .* generated=\d+ .* cut_off id=")

    def test_stdout(self):
        out = self.dir.name + "/out"
        prefix = ["bash", "-c", f'exec "$@" >{out}', "bash"]
        server = self.start("--access-log", "-", prefix=prefix)
        server.get("/health")
        self.assertIn(" GET /health 200 ", self.lines(out, 1)[0])


if __name__ == "__main__":
    unittest.main()
