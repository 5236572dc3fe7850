#!/usr/bin/env python3
"""Hugging Face transformers behind the bit of OpenAI's API that spec-bench asks: a peer to compare with.

usage: peer_transformers.py --model TARGET --draft DRAFT --port N [--type f32|bf16]

TARGET and DRAFT are GGUF files, or folders. One request at a time,
streamed token by token; "assisted": true in a request lets the draft model assist (generate's
assistant_model), its drafts of constant length K. Needs torch, transformers and gguf.
"""
import argparse
import http.server
import json
import os
import sys
import threading

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import BaseStreamer

K = 4  # the draft length; its own schedule, which grows K while all is accepted, is for greedy drafts


def load(path, kind):
    folder, name = os.path.split(os.path.abspath(path))
    where = {"gguf_file": name} if path.endswith(".gguf") else {}
    folder = folder if where else path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind, **where).eval()
    return model, AutoTokenizer.from_pretrained(folder, **where)


class Gone(Exception):
    """The client hung up."""


class Sender(BaseStreamer):
    """Hands each new token to fn; generate() hands the prompt first."""

    def __init__(self, fn):
        self.fn, self.prompt = fn, True

    def put(self, ids):
        if not self.prompt:
            for i in ids.reshape(-1).tolist():
                self.fn(i)
        self.prompt = False

    def end(self):
        pass


class Peer:
    def __init__(self, o):
        torch.set_num_threads(os.cpu_count())
        kind = {"bf16": torch.bfloat16, "f32": torch.float32}[o.type]
        self.target, self.tokenizer = load(o.model, kind)
        self.draft = load(o.draft, kind)[0] if o.draft else None
        if self.draft:
            self.draft.generation_config.num_assistant_tokens = K
            self.draft.generation_config.num_assistant_tokens_schedule = "constant"
            self.draft.generation_config.assistant_confidence_threshold = 0.0
        self.lock = threading.Lock()

    def answer(self, body, send):
        """Sends the texts of an answer; returns (prompt tokens, tokens, finish_reason)."""
        inputs = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True,
                                                    return_tensors="pt", return_dict=True)
        ids, sent = [], ""

        def take(i):
            nonlocal sent
            ids.append(i)
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            if not text.endswith("\ufffd"):
                send(text[len(sent):])
                sent = text

        temperature = body.get("temperature", 1)
        law = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} \
            if temperature else {"do_sample": False}
        if body.get("assisted"):
            law["assistant_model"] = self.draft
        with torch.inference_mode():
            self.target.generate(**inputs, max_new_tokens=body.get("max_tokens", 16),
                                 streamer=Sender(take), **law)
        stop = self.target.generation_config.eos_token_id
        ended = ids and ids[-1] in (stop if isinstance(stop, list) else [stop])
        return inputs["input_ids"].shape[1], len(ids), "stop" if ended else "length"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peer = None  # of all of them

    def log_message(self, *args):
        pass

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.reply(200 if self.path == "/health" else 404, {})

    def event(self, chunk):
        data = b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError as e:
            raise Gone from e

    def do_POST(self):
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            body["messages"]
        except (ValueError, KeyError, TypeError) as e:
            return self.reply(400, {"error": {"message": f"the body: {e}"}})
        if body.get("assisted") and not self.peer.draft:
            return self.reply(400, {"error": {"message": "assisted: there is no draft model"}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def send(text):
            self.event({"choices": [{"delta": {"content": text}, "finish_reason": None}]})

        try:
            with self.peer.lock:
                n_prompt, n, reason = self.peer.answer(body, send)
            self.event({"choices": [{"delta": {}, "finish_reason": reason}]})
            self.event({"choices": [], "usage": {"prompt_tokens": n_prompt, "completion_tokens": n}})
            self.event(b"[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        except (Gone, OSError):
            self.close_connection = True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--draft", default="")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--type", choices=("bf16", "f32"), default="f32")
    o = parser.parse_args()
    Handler.peer = Peer(o)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {o.type}", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", o.port), Handler).serve_forever()


if __name__ == "__main__":
    sys.exit(main())
