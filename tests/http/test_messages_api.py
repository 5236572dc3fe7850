"""Anthropic's Messages: shapes of requests, answers, events and errors."""

import unittest

from specd_client import Connection, ServerCase

SPEAKS = {"anthropic-version": "2023-06-01"}


class MessagesCase(ServerCase):
    def assert_refused(self, reply, status, kind, *words):
        """An error in Anthropic's shape whose message holds the words."""
        self.assertEqual(reply.status, status, reply.body)
        self.assertEqual(reply.headers["Content-Type"], "application/json")
        answer = reply.json()
        self.assertEqual(set(answer), {"type", "error", "request_id"})
        self.assertEqual(answer["type"], "error")
        self.assertEqual(set(answer["error"]), {"type", "message"})
        self.assertEqual(answer["error"]["type"], kind)
        self.assertEqual(answer["request_id"], reply.headers["request-id"])
        self.assertEqual(answer["request_id"], reply.headers["X-Request-Id"])
        for word in words:
            self.assertIn(word, answer["error"]["message"])


class Errors(MessagesCase):
    env = {"SPECD_API_KEY": "secret"}

    def test_by_what_the_client_speaks(self):
        """Paths that are nobody's or everybody's."""
        for path, status, kind in (("/v1/messages/batches", 404, "not_found_error"),
                                   ("/v1/models", 401, "authentication_error"),
                                   ("/v1/models/nobody", 401, "authentication_error")):
            self.assert_refused(self.server.get(path, headers=SPEAKS), status, kind)
            self.assert_error(self.server.get(path), status)
        self.assert_refused(self.server.get("/v1/models/nobody", headers={**SPEAKS, "x-api-key": "secret"}),
                            404, "not_found_error", "model")
        self.assert_error(self.server.post("/v1/chat/completions", {}, headers=SPEAKS), 401)

    def test_probes(self):
        """What Claude Code asks before its first request: any status will do, on a connection that stays."""
        conn = Connection(self.server)
        for path in "/api/hello", "/", "/api/hello":
            reply = self.server.request("HEAD", path, conn=conn)
            self.assertEqual((reply.status, reply.body), (200 if path == "/" else 404, b""))
        conn.close()


if __name__ == "__main__":
    unittest.main()
