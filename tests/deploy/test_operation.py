"""The daemon under systemd's protocol, systemd's memory rule, and Debian's prometheus."""

import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "http"))

from specd_client import SLOW, SingleCase  # noqa: E402

COMPLETION = {"prompt": "hello", "max_tokens": 16, "temperature": 0}
libc = ctypes.CDLL(None, use_errno=True)


class Hang:
    """Stops all threads of a process but the first, as a hang of the engine would. By ptrace, since
    a signal stops them all."""

    def __init__(self, pid):
        seize, interrupt = 0x4206, 0x4207
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.threads = [int(t) for t in os.listdir(f"/proc/{pid}/task") if int(t) != pid]
        self.allowed = all(libc.ptrace(seize, t, None, None) == 0 for t in self.threads)
        for thread in self.threads if self.allowed else ():
            libc.ptrace(interrupt, thread, None, None)
            self.wait(thread)

    def wait(self, thread):
        os.waitpid(thread, 0x40000000)  # __WALL

    def end(self, process):
        process.kill()
        for thread in self.threads:  # their tracer must see each of them end
            self.wait(thread)


class Supervisor(SingleCase):
    def listen(self):
        self.path = self.dir.name + "/notify"
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(self.path)
        self.addCleanup(told.close)
        return told

    def count(self, told, seconds):
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            told.settimeout(max(0.01, end - time.monotonic()))
            try:
                n += told.recv(100) == b"WATCHDOG=1"
            except TimeoutError:
                break
        return n

    def test_watchdog_hears_of_a_hang(self):
        told = self.listen()
        env = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "800000"}
        server = self.start("--hang-timeout", "0.3", env=env, clean=False)
        self.assertGreaterEqual(self.count(told, 2), 5, "idle")
        server.post("/v1/completions", {**COMPLETION, "max_tokens": 200})
        self.assertGreaterEqual(self.count(told, 2), 5, "after work")
        hang = Hang(server.process.pid)
        if not hang.allowed:
            self.skipTest("threads cannot be traced here")
        self.count(told, 4)  # longer than twenty times what a round of the tiny model takes
        heard = self.count(told, 2)
        hang.end(server.process)
        self.assertEqual(heard, 0, "hanging")

    def test_no_watchdog(self):
        """Not asked for, or meant for another process: none."""
        for extra in ({}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}):
            told = self.listen()
            self.start(env={"NOTIFY_SOCKET": self.path, **extra})
            self.assertEqual(self.count(told, 0.7), 0, extra)
            os.unlink(self.path)

    def test_no_writable_code(self):
        """MemoryDenyWriteExecute=: where the kernel has it as a process flag, it is tried."""
        set_mdwe, get_mdwe, refuse_exec_gain = 65, 66, 1
        if libc.prctl(get_mdwe, 0, 0, 0, 0) < 0:
            self.skipTest("the kernel has no PR_SET_MDWE")
        script = (f"import ctypes, os, sys; libc = ctypes.CDLL(None);"
                  f"assert libc.prctl({set_mdwe}, {refuse_exec_gain}, 0, 0, 0) == 0;"
                  f"os.execvp(sys.argv[1], sys.argv[1:])")
        server = self.start(prefix=[sys.executable, "-c", script])
        self.assertEqual(server.post("/v1/completions", COMPLETION).status, 200)


class Metrics(SingleCase):
    def setUp(self):
        super().setUp()
        self.server = self.start()
        self.server.post("/v1/completions", COMPLETION)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_lint(self):
        """promtool finds nothing but the colons of the names that are vLLM's."""
        text = self.server.get("/metrics").body
        run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        found = [line for line in (run.stdout + run.stderr).decode().splitlines()
                 if not re.fullmatch(r"vllm:\w+ metric names should not contain ':'", line)]
        self.assertEqual(found, [])
        own = self.start("--no-vllm-metrics").get("/metrics").body
        run = subprocess.run(["promtool", "check", "metrics"], input=own, capture_output=True)
        self.assertEqual((run.returncode, run.stdout + run.stderr), (0, b""))

    @unittest.skipUnless(shutil.which("prometheus"), "prometheus is not installed")
    def test_scrape_and_dashboard(self):
        """Prometheus scrapes with deploy/prometheus.yml, and every query of the dashboard parses
        there and names metrics that exist."""
        check = subprocess.run(["promtool", "check", "config", ROOT + "/deploy/prometheus.yml"],
                               capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)
        with open(ROOT + "/deploy/prometheus.yml") as f:
            config = f.read()
        target = f"127.0.0.1:{self.server.port}"
        self.assertIn("127.0.0.1:8080", config)
        config = config.replace("127.0.0.1:8080", target).replace("scrape_interval: 5s", "scrape_interval: 1s")
        path = self.dir.name + "/prometheus.yml"
        with open(path, "w") as f:
            f.write(config)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.base = f"127.0.0.1:{s.getsockname()[1]}"
        process = subprocess.Popen(
            ["prometheus", "--config.file", path, "--storage.tsdb.path", self.dir.name + "/data",
             "--web.listen-address", self.base], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        end = time.monotonic() + 30 * SLOW
        while not self.value("up == 1"):
            self.assertLess(time.monotonic(), end, "never scraped")
            time.sleep(0.2)
        while not self.value("rate(specd_generation_tokens_total[10s]) >= 0"):
            self.assertLess(time.monotonic(), end, "scraped once only")
            self.server.post("/v1/completions", COMPLETION)
            time.sleep(0.2)
        for title, query in dashboard_queries():
            query = query.replace("$instance", ".*").replace("$__rate_interval", "10s")
            self.value(query)
            for name in re.findall(r"specd_\w+", query):
                self.assertTrue(self.value(name), f"{title}: {name}")

    def value(self, query):
        url = f"http://{self.base}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as e:
            if e.code == 503:
                return []
            raise AssertionError(f"{query}: {e.read().decode()}")
        except urllib.error.URLError:
            return []


def dashboard_queries():
    with open(ROOT + "/deploy/grafana.json") as f:
        panels = json.load(f)["panels"]
    return [(p["title"], t["expr"]) for p in panels for t in p.get("targets", [])]


if __name__ == "__main__":
    unittest.main(verbosity=2)
