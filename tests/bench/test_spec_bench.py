"""bench/spec-bench: cells on a tiny synthetic pair, how it goes on, tables, pictures, statistics."""

import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BENCH = ROOT / "bench" / "spec-bench"
sys.path[:0] = [str(BENCH), str(HERE.parent / "http")]

import client  # noqa: E402
import figures  # noqa: E402
import reach  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from specd_client import BIN, Server  # noqa: E402

MODELS = os.environ["MODELS"]
TEMPLATE = HERE.parent / "http" / "chat.jinja"
SPECD_ARGS = f"--chat-template {TEMPLATE} -t 2"


def bench(*args):
    return subprocess.run([sys.executable, BENCH / "spec_bench.py", *args], capture_output=True,
                          text=True, timeout=900)


def command(out, *args):
    """A run on the tiny pair: one task, T 0, few tokens."""
    return [sys.executable, BENCH / "spec_bench.py", "run", "--out", str(out), "--specd", BIN,
            "--specd-args", SPECD_ARGS, "--pair", f"tiny={MODELS}/target.gguf,{MODELS}/draft.gguf",
            "--tasks", "code", "--temperatures", "0", "--max-tokens", "24", "--ctx", "512", "--slots",
            "4", *args]


def run(out, *args):
    """Its code and messages."""
    done = subprocess.run(command(out, *args), capture_output=True, text=True, timeout=900)
    return done.returncode, done.stderr


class Cells(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name) / "results.jsonl"
        cls.code, cls.err = run(cls.out, "--clients", "1,2", "--pairs", "5")
        cls.lines = cls.out.read_text().splitlines() if cls.out.exists() else []

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.assertEqual(self.code, 0, self.err)
        self.path = pathlib.Path(self.folder.name) / f"{self.id()}.jsonl"
        self.path.write_text("\n".join(self.lines) + "\n")

    def test_results(self):
        results = [json.loads(line) for line in self.lines]
        self.assertEqual([r["key"] for r in results], ["tiny code T0 1", "tiny code T0 2"])
        for r in results:
            self.assertEqual(r["contestants"], ["off", "lookup", "model", "lookup+model"])
            self.assertEqual(len(r["turns"]), 5)
            for turn in r["turns"]:
                for name, one in turn.items():
                    self.assertEqual(len(one["replies"]), r["clients"])
                    for reply in one["replies"]:
                        self.assertLessEqual(1, reply["tokens"])
                        self.assertLessEqual(reply["tokens"], 24)
                        self.assertLess(0, reply["ttft"])
                        self.assertLessEqual(reply["ttft"], reply["latency"])
                        self.assertLessEqual(reply["accepted"], reply["drafted"])
                    if name == "off":
                        self.assertEqual(sum(x["drafted"] for x in one["replies"]), 0)
            for name in r["contestants"][1:]:
                # Greedy answers are the same whoever drafts: a server that broke it would not pass.
                same, of = figures.same_texts(r, name, "off")
                self.assertEqual((same, of), (5 * r["clients"],) * 2)
                self.assertAlmostEqual(sum(figures.shares(r, name).values()), 1)
                self.assertTrue(r["traces"][name], name)
                self.assertLessEqual(0, figures.regret(r, name))
            self.assertIsNone(figures.regret(r, "off"))

    def test_goes_on(self):
        before = self.path.read_text()
        code, err = run(self.path, "--clients", "1,2", "--pairs", "5")
        self.assertEqual((code, self.path.read_text()), (0, before), err)
        # One cell is gone, and of another a part was being written.
        self.path.write_text(self.lines[1] + "\n" + self.lines[0][:100])
        code, err = run(self.path, "--clients", "1,2", "--pairs", "1")
        self.assertEqual(code, 0, err)
        lines = self.path.read_text().splitlines()
        self.assertEqual(lines[0], self.lines[1])
        self.assertEqual([json.loads(x)["key"] for x in lines], ["tiny code T0 2", "tiny code T0 1"])
        self.assertEqual(len(json.loads(lines[1])["turns"]), 1)

    def test_no_time_left(self):
        self.path.unlink()
        code, err = run(self.path, "--clients", "1", "--pairs", "1000000", "--minutes", "0.001")
        self.assertEqual(code, 2, err)
        self.assertFalse(self.path.exists())

    def test_stopped(self):
        """A signal ends it with code 2, and the servers with it."""
        self.path.unlink()
        mark = f"spec-bench-test-{os.getpid()}"

        def marked():
            found = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark.encode() in words:  # a server: the bench has it within another argument
                    found.append(pid)
            return found

        with subprocess.Popen(command(self.path, "--clients", "1", "--pairs", "1000000", "--specd-args",
                                      f"{SPECD_ARGS} --alias {mark}"),
                              stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if "tiny code" in line:
                    break
            end = time.monotonic() + 60
            while not marked() and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual(len(marked()), 1)
            process.terminate()
            err = process.stderr.read()
            self.assertEqual(process.wait(120), 2, err)
        self.assertIn("stopped", err)
        self.assertFalse(self.path.exists())
        self.assertEqual(marked(), [])

    def test_report(self):
        readme, folder = self.path.with_suffix(".md"), self.path.with_suffix("")
        readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
        for _ in range(2):
            done = bench("report", str(self.path), "--markdown", f"{self.path}.md", "--readme",
                         str(readme), "--pictures", str(folder))
            self.assertEqual(done.returncode, 0, done.stderr)
            text = readme.read_text()
            self.assertTrue(text.startswith(f"before\n{report.BEGIN}\n"), text)
            self.assertTrue(text.endswith(f"{report.END}\nafter\n"), text)
            self.assertNotIn("old", text)
            self.assertEqual(text.count("| tiny | code | 0 |"), 2)
        text = pathlib.Path(f"{self.path}.md").read_text()
        self.assertIn("| tiny | code | 0 | 2 | lookup+model |", text)
        rate = figures.median(json.loads(self.lines[0]), "model", "rate")
        self.assertIn(f"| tiny | code | 0 | 1 | model | {rate:.1f} |", text)
        for name in ("speedup.svg", "draft-length.svg"):
            root = xml.etree.ElementTree.parse(folder / name).getroot()
            self.assertTrue(root.tag.endswith("svg"))
            self.assertGreater(len(root), 10)
        readme.write_text("no markers")
        done = bench("report", str(self.path), "--readme", str(readme))
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(readme.read_text(), "no markers")

    def test_bad_file(self):
        self.path.write_text("{}\n")
        done = bench("report", str(self.path))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{self.path}:1:", done.stderr)


class Servers(unittest.TestCase):
    def test_by_url(self):
        server = Server("--chat-template", str(TEMPLATE), "-c", "512")
        try:
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "r.jsonl"
                url = f"http://127.0.0.1:{server.port}"
                done = bench("run", "--out", str(out), "--pair", "remote", "--tasks", "chat",
                             # Greedy: a random model's draws may have no text at all.
                             "--temperatures", "0", "--clients", "1", "--pairs", "2", "--max-tokens", "8",
                             "--contestants", "plain,fixed", "--server",
                             f'plain={url},{{"speculative":{{"enabled":false}}}}', "--server",
                             f'fixed={url},{{"speculative":{{"fixed":2,"drafter":"model"}}}}')
                self.assertEqual(done.returncode, 0, done.stderr)
                result, = report.read(out)
                self.assertEqual(result["contestants"], ["plain", "fixed"])
                self.assertIsNone(figures.acceptance(result, "plain"))
                self.assertIsNotNone(figures.acceptance(result, "fixed"))
        finally:
            self.assertIsNone(server.stop())

    def test_nobody_there(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "r.jsonl"
            url = f"http://127.0.0.1:{servers.free_port()}"
            done = bench("run", "--out", str(out), "--pair", "remote", "--tasks", "chat", "--temperatures",
                         "0", "--clients", "1", "--contestants", "it", "--server", f"it={url}")
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(url, done.stderr)
            self.assertFalse(out.exists())

    def test_spoiled_table(self):
        """A table with other times loads: the server does not measure again."""
        with tempfile.TemporaryDirectory() as folder:
            spec = servers.Spec("it", [BIN, "-m", f"{MODELS}/target.gguf", "-md", f"{MODELS}/draft.gguf",
                                       "--chat-template", str(TEMPLATE)])
            servers.with_spoiled_table(spec, folder)
            park = servers.Park(folder)
            park.keep([spec])
            try:
                client.get(park.url(spec), "/health")
                table, = pathlib.Path(folder, "specd").glob("cost-*.txt")
                text = table.read_text()
                body, _, total = text.rpartition("sum ")
                self.assertEqual(total.strip(), f"{servers.fnv1a(body.encode()):016x}")
                times = {line.split()[2] for line in body.splitlines() if line.startswith("verify ")}
                self.assertEqual(len(times), 1, text)
            finally:
                park.keep([])


class Answers(unittest.TestCase):
    def test_events(self):
        self.assertTrue(client.has_text(b'{"choices":[{"delta":{"content":"a"}}]}'))
        self.assertTrue(client.has_text(b'{"choices": [{"text": "\\"content\\":"}]}'))
        self.assertFalse(client.has_text(b'{"choices":[{"delta":{"role":"assistant","content":""}}]}'))
        self.assertFalse(client.has_text(b'{"choices":[{"delta":{"content":null}}]}'))
        self.assertFalse(client.has_text(b'{"choices":[],"usage":{}}'))
        chunks = [{"speculative": {"drafted": d, "k": k}} for d, k in
                  ((False, 0), (True, 3), (True, 3), (False, 3), (False, 2), (True, 1), (False, 1))]
        self.assertEqual(client.rounds_of(chunks + [chunks[1]]), [[0, 0], [3, 2], [2, 0], [1, 1]])

    def test_an_answer_without_end_is_none(self):
        piece = b'{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}'
        usage = b'{"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":1}}'
        with self.assertRaises(client.Failed):
            client.summary("url", [piece, usage], 0.0, 1.0, None)
        with self.assertRaises(client.Failed):
            client.summary("url", [piece, b'{"error":{"message":"no"}}'], 0.0, 1.0, 2.0)
        reply = client.summary("url", [piece, usage, b"[DONE]"], 0.0, 1.0, 2.0)
        self.assertEqual((reply["ttft"], reply["latency"], reply["rate"]), (1.0, 2.0, 2.0))


class Statistics(unittest.TestCase):
    def test_interval_holds_the_median(self):
        """Of many samples from a skewed law at least LEVEL of the intervals hold its median."""
        seed = random.randrange(1 << 30)
        rng = random.Random(seed)
        for n in (5, 15, 24):
            held = 0
            for _ in range(2000):
                low, high = figures.interval([rng.expovariate(1) for _ in range(n)])
                held += low <= math.log(2) <= high
            self.assertGreater(held / 2000, figures.LEVEL - 0.03, (n, seed))
            self.assertLess(held / 2000, 0.999, (n, seed))  # the whole range would hold it always
        self.assertIsNone(figures.interval([1, 2, 3, 4]))
        self.assertEqual(figures.interval(list(range(15))), (3, 11))

    @staticmethod
    def result(rates, base):
        def one(rate):
            return {"replies": [{"rate": rate, "latency": 1 / rate, "ttft": 0.1, "tokens": 9}],
                    "wall": 1, "tokens": 9, "counted": {}}

        return {"contestants": ["off", "on"], "temperature": 0,
                "turns": [{"off": one(b), "on": one(r)} for r, b in zip(rates, base)]}

    def test_ratios_are_of_one_turn(self):
        """The machine halves its speed in the middle: ratios do not see it."""
        base = [10.0] * 8 + [5.0] * 8
        ratio = figures.Ratio(self.result([1.5 * b for b in base], base), "on", "off", "rate")
        self.assertAlmostEqual(ratio.median, 1.5)
        self.assertAlmostEqual(ratio.interval[0], 1.5)
        latency = figures.Ratio(self.result([1.5 * b for b in base], base), "on", "off", "latency")
        self.assertAlmostEqual(latency.median, 1.5)

    def test_verdicts(self):
        def word(value, n, bound):
            base = [10.0] * n
            return reach.verdict(figures.Ratio(self.result([value * b for b in base], base), "on", "off",
                                               "rate"), bound)

        self.assertEqual(word(1.4, 15, 1.35), "yes")
        self.assertEqual(word(1.3, 15, 1.35), "**no**")
        self.assertIn("no claim", word(1.4, 14, 1.35))


if __name__ == "__main__":
    unittest.main()
