"""What tests of clients share: the packages they need, a server, a prompt.

The server is $TEST_BIN with $TEST_ARGS (tests/http/specd_client.py); with canned answers ($TEST_FAKE,
tests/http/fake_engine.c) prompts may say what comes back, calls of tools above all.
"""

import importlib
import os
import sys
import unittest

HTTP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http")
sys.path.insert(0, HTTP)

from specd_client import FAKE, Server  # noqa: E402

PROMPT = "one two three one two three one two"
MESSAGES = [{"role": "user", "content": PROMPT}]


def need(*packages):
    """The packages, imported; without one of them the program ends, a counted skip."""
    try:
        return [importlib.import_module(p) for p in packages]
    except ImportError as e:
        print(f"skip: {e}")
        sys.exit(77)


class ClientCase(unittest.TestCase):
    """One server for the whole class, and the client that `connect` makes of its address."""

    @classmethod
    def setUpClass(cls):
        template = () if FAKE else ("--chat-template", os.path.join(HTTP, "chat.jinja"))
        cls.server = Server("--max-queue", "64", *template)
        cls.url = f"http://127.0.0.1:{cls.server.port}"
        cls.client = cls.connect()

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        wrong = cls.server.stop()
        assert wrong is None, wrong
