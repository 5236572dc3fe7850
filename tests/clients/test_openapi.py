r"""schemathesis on docs/openapi.json: requests that the document allows, and requests that it forbids,
made up by the hundred. No 5xx, and no answer that the document does not describe.

Left out of its checks: positive_data_acceptance, since what depends on several fields at once, on the
model or on the template cannot be said in a schema (`max_tokens` 0 without `echo`, a token id
beyond the vocabulary, \u0000 in a string). The events of streams are left to tests/http/test_schema.py:
the document describes the JSON in an event, schemathesis takes that for the event itself. Runs in the environment of tests/clients/requirements-long.txt; skipped without.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest

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


def without_events(value):
    if isinstance(value, list):
        return [without_events(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: {} if k == "text/event-stream" else without_events(v) for k, v in value.items()}


class OpenAPI(unittest.TestCase):
    def test_document(self):
        with open(os.path.join(HERE, "..", "..", "docs", "openapi.json")) as f:
            document = without_events(json.load(f))
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "openapi.json")
        with open(path, "w") as f:
            json.dump(document, f)
        server = Server("--max-queue", "64")
        try:
            done = subprocess.run(
                [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run",
                 path, "--url", f"http://127.0.0.1:{server.port}", "--checks", ",".join(CHECKS),
                 "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES,
                 "--seed", "7", "--suppress-health-check", "all", "--continue-on-failure",
                 "--request-timeout", "60", "--warnings", "off", "--no-color"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500,
                cwd=folder.name)
        finally:
            wrong = server.stop()
        self.assertIsNone(wrong)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:])
        print(done.stdout[-600:], file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
