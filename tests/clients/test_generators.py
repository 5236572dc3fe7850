"""wrk and hey, as people point them at any server: completions, whole and streamed, over many
connections. Skipped where neither is installed.

Both count what is not 2xx and what broke on the wire: there must be none.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "http")]

from specd_client import SLOW, SingleCase  # noqa: E402

SECONDS = 10
CONNECTIONS = 100
BODY = ('{"prompt": "one two three one two three", "max_tokens": 8, "ignore_eos": true, '
        '"stream": %s}')
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '%s'
"""


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=(SECONDS + 60) * SLOW, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Generators(SingleCase):
    def setUp(self):
        super().setUp()
        self.server = self.start("-np", "16", "--max-queue", "1000")
        self.url = f"http://127.0.0.1:{self.server.port}/v1/completions"

    def check(self, n_requests, what):
        print(f"{what}: {n_requests} requests in {SECONDS} s", file=sys.stderr)
        self.assertGreater(n_requests, CONNECTIONS)
        for name in ("num_requests_running", "num_requests_waiting"):
            self.server.wait_metric(name, 0, timeout=30)

    @unittest.skipUnless(shutil.which("wrk"), "wrk is not installed")
    def test_wrk(self):
        for stream in ("false", "true"):
            with self.subTest(stream=stream), tempfile.NamedTemporaryFile("w", suffix=".lua") as f:
                f.write(SCRIPT % (BODY % stream))
                f.flush()
                out = run("wrk", "-t", "2", "-c", str(CONNECTIONS), "-d", f"{SECONDS}s",
                          "--timeout", "30s", "-s", f.name, self.url)
                self.assertNotIn("Non-2xx", out)
                self.assertNotIn("Socket errors", out)
                self.check(int(re.search(r"(\d+) requests in", out).group(1)), "wrk " + stream)

    @unittest.skipUnless(shutil.which("hey"), "hey is not installed")
    def test_hey(self):
        for stream in ("false", "true"):
            with self.subTest(stream=stream):
                out = run("hey", "-z", f"{SECONDS}s", "-c", str(CONNECTIONS), "-t", "30", "-m",
                          "POST", "-T", "application/json", "-d", BODY % stream, self.url)
                self.assertNotIn("Error distribution", out)
                statuses = dict(re.findall(r"\[(\d+)\]\s+(\d+) responses", out))
                self.assertEqual(list(statuses), ["200"], out)
                self.check(int(statuses["200"]), "hey " + stream)


if __name__ == "__main__":
    if not shutil.which("wrk") and not shutil.which("hey"):
        print("skipped: neither wrk nor hey is installed")
        sys.exit(77)
    unittest.main()
