"""What one client may hold and ask for: connections, headers, messages, lists."""

import signal
import socket
import time
import unittest

from specd_client import SLOW, ServerCase, SingleCase, read_reply, send_all

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"


class Addresses(SingleCase):
    def connect(self, server, source):
        s = socket.create_connection(("127.0.0.1", server.port), 10 * SLOW, (source, 0))
        self.addCleanup(s.close)
        try:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return s, read_reply(s)[0]
        except (ConnectionResetError, BrokenPipeError):
            return s, 0

    def test_connections_of_one_address(self):
        server = self.start("--max-connections-per-ip", "3")
        held = [self.connect(server, "127.0.0.1") for _ in range(3)]
        self.assertEqual([status for _, status in held], [200] * 3)
        for _ in range(5):
            self.assertEqual(self.connect(server, "127.0.0.1")[1], 0)
        server.wait_log("connections of 127.0.0.1 refused")
        other = self.connect(server, "127.0.0.2")
        self.assertEqual(other[1], 200)
        held[0][0].close()
        end = time.monotonic() + 5 * SLOW
        while self.connect(server, "127.0.0.1")[1] != 200:
            self.assertLess(time.monotonic(), end)
        for s, _ in held + [other]:
            s.close()
        self.assertEqual("".join(server.log).count("refused"), 1)

    def test_more_at_sighup(self):
        path = self.dir.name + "/config"
        with open(path, "w") as f:
            f.write('{"max-connections-per-ip": 1}')
        server = self.start("--config", path)
        self.assertEqual(self.connect(server, "127.0.0.1")[1], 200)
        self.assertEqual(self.connect(server, "127.0.0.1")[1], 0)
        with open(path, "w") as f:
            f.write('{"max-connections-per-ip": 0}')
        server.signal(signal.SIGHUP)
        server.wait_log("is reloaded")
        for _ in range(20):
            self.assertEqual(self.connect(server, "127.0.0.1")[1], 200)

    def test_unix_sockets_are_not_counted(self):
        server = self.start("--max-connections-per-ip", "1", unix=self.dir.name + "/s")
        held = [server.connect() for _ in range(5)]
        for s in held:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(read_reply(s)[0], 200)
        for s in held:
            s.close()


class Sizes(ServerCase):
    def refused(self, path, body, param=None):
        self.assert_error(self.server.post(path, body), 400, param)

    def test_header(self):
        for fields in (b"A: " + b"b" * 40000 + b"\r\n", b"A: b\r\n" * 5000):
            with self.server.connect() as s:
                send_all(s, b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")
                self.assertIn(read_reply(s)[0], (0, 431))
        with self.server.connect() as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100 + b"\r\n")
            self.assertEqual(read_reply(s)[0], 200)

    def test_lists(self):
        self.refused(COMPLETION, {"prompt": "x", "stop": ["a"] * 65}, "stop")
        self.refused(COMPLETION, {"prompt": "x", "stop": "a" * 1025}, "stop")
        self.refused(COMPLETION, {"prompt": "x", "n": 17}, "n")
        self.refused(COMPLETION, {"prompt": ["x"] * 65}, "prompt")
        self.refused(COMPLETION, {"prompt": "x", "stop_token_ids": [1] * 65}, "stop_token_ids")
        bias = {str(i): 1 for i in range(1025)}
        self.refused(COMPLETION, {"prompt": "x", "logit_bias": bias}, "logit_bias")
        self.refused(COMPLETION, {"prompt": "x", "cache_salt": "a" * 257}, "cache_salt")

    def test_messages_and_tools(self):
        user = {"role": "user", "content": "x"}
        self.refused(CHAT, {"messages": [user] * 65537}, "messages")
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        self.refused(CHAT, {"messages": [user], "tools": [tool] * 129}, "tools")
        heavy = {"type": "function", "function": {"name": "f", "parameters": {"a": [1] * 50001}}}
        self.refused(CHAT, {"messages": [user], "tools": [heavy]}, "tools")

    def test_prompt(self):
        r = self.server.post(COMPLETION, {"prompt": "many words " * 30000, "max_tokens": 1})
        self.assert_error(r, 400, code="context_length_exceeded")

    def test_nothing_to_administer(self):
        """No route changes the server, stops it, or shows what is not the client's."""
        for path in ("/shutdown", "/reload", "/admin", "/config", "/lora-adapters", "/slots/0",
                     "/debug", "/v1/load_lora_adapter", "/metrics/reset", "/sleep", "/abort"):
            self.assertEqual(self.server.get(path).status, 404)
            self.assertEqual(self.server.post(path, {}).status, 404)


if __name__ == "__main__":
    unittest.main()
