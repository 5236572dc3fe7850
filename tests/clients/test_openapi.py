r"""schemathesis on docs/openapi.json: requests that the document allows, and requests that it forbids,
made up by the hundred. No 5xx, and no answer that the document does not describe.

Left out of its checks: positive_data_acceptance, since what depends on several fields at once, on the
model or on the template cannot be said in a schema (`max_tokens` 0 without `echo`, a token id
beyond the vocabulary, \u0000 in a string). The events of streams are left to tests/http/test_schema.py:
the document describes the JSON in an event, schemathesis takes that for the event itself.

Most bodies that are made up hold all fields, and so names of one field that contradict each other. The
routes that generate are asked once more without those, and must have answered what they were asked.
Runs in the environment of tests/clients/requirements-long.txt; skipped without.
"""

import collections
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "http"))

if not importlib.util.find_spec("schemathesis"):
    print("skip: the schemathesis package is not installed")
    sys.exit(77)

from specd_client import Server  # noqa: E402

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_headers_conformance", "response_schema_conformance", "negative_data_rejection",
          "unsupported_method")
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "60")
GENERATING = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/responses/input_tokens",
              "/v1/messages", "/v1/messages/count_tokens", "/completion")


def without_events(value):
    if isinstance(value, list):
        return [without_events(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: {} if k == "text/event-stream" else without_events(v) for k, v in value.items()}


def without_conflicts(schema):
    """A request's fields by one name each, with no value that is taken only beside another field's."""
    kept, seen = {}, set()
    for name, field in schema["properties"].items():
        if "max_tokens" == name:
            field = {"type": "integer", "minimum": 1, "maximum": 20}
        elif json.dumps(field) in seen or "tokens to generate at most" in json.dumps(field):
            continue
        seen.add(json.dumps(field))
        kept[name] = field
    return {**schema, "properties": kept}


class OpenAPI(unittest.TestCase):
    def setUp(self):
        with open(os.path.join(HERE, "..", "..", "docs", "openapi.json")) as f:
            self.document = without_events(json.load(f))
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_it(self, *args):
        path = os.path.join(self.folder, "openapi.json")
        with open(path, "w") as f:
            json.dump(self.document, f)
        server = Server("--max-queue", "64")
        try:
            done = subprocess.run(
                [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run",
                 path, "--url", f"http://127.0.0.1:{server.port}", "--checks", ",".join(CHECKS),
                 "--max-examples", EXAMPLES, "--seed", "7", "--suppress-health-check", "all",
                 "--continue-on-failure", "--request-timeout", "60", "--warnings", "off", "--no-color", *args],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500,
                cwd=self.folder)
        finally:
            wrong = server.stop()
        self.assertIsNone(wrong)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:])
        print(done.stdout[-600:], file=sys.stderr)

    def test_document(self):
        self.run_it("--phases", "examples,coverage,fuzzing")

    def test_generating_routes(self):
        for name, schema in self.document["components"]["schemas"].items():
            if name.endswith("Request"):
                self.document["components"]["schemas"][name] = without_conflicts(schema)
        report = os.path.join(self.folder, "report.har")
        self.run_it("--phases", "coverage,fuzzing", "--mode", "positive", "--report-har-path", report,
                    *(x for path in GENERATING for x in ("--include-path", path)))
        with open(report) as f:
            entries = json.load(f)["log"]["entries"]
        answers = collections.Counter((urllib.parse.urlparse(e["request"]["url"]).path, e["response"]["status"])
                                      for e in entries if e["request"]["method"] == "POST")
        print(answers, file=sys.stderr)
        for path in GENERATING:
            self.assertGreater(answers[path, 200], 20, answers)


if __name__ == "__main__":
    unittest.main()
