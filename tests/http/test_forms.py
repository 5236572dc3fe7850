"""Conversations in the form that a chat template takes, and tools on templates that have no place for
them, over HTTP: templates of several kinds, each with a server of its own. What becomes of which
conversation at large: tests/unit/test_chat_forms.c, tests/oracle/check_forms.py."""

import json
import os
import random
import struct
import unittest

from specd_client import SingleCase, roomy_only

CHAT, TEMPLATE = "/v1/chat/completions", "/apply-template"
TURNS = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
JOINED = ("{% for m in messages %}<{{ m.role }}>{% if m.tool_calls %}{% for t in m.tool_calls %}{{ '[call ' + "
          "t['function']['name'] + '\n' + t['function']['arguments'] + ']' }}{% endfor %}{% endif %}"
          "{% if m.content is not none %}{{ m.content }}{% endif %}{% endfor %}")
PARTS = ("{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{% if p['type'] == 'text' %}"
         "{{ p['text'] }}{% endif %}{% endfor %}{% endfor %}")
STRICT = ("{% set first = messages[0].role == 'system' %}{% if first %}[{{ messages[0].content }}]{% endif %}"
          "{% set ns = namespace(n=0) %}{% for m in (messages[1:] if first else messages) %}{% if m.tool_calls or m.role == 'tool' %}"
          "{% for t in m.tool_calls or [] %}{% if t.id | length != 9 %}{{ raise_exception('ids of 9 letters') }}"
          "{% endif %}[{{ t.function.name }} {{ t.function.arguments | tojson }} {{ t.id }}]{% endfor %}"
          "{% if m.role == 'tool' %}({{ m.content }} {{ m.tool_call_id }}){% endif %}{% else %}"
          "{% if (m.role == 'user') != (ns.n % 2 == 0) or m.role not in ['user', 'assistant'] %}"
          "{{ raise_exception('roles must alternate') }}{% endif %}{% set ns.n = ns.n + 1 %}<{{ m.role }}>"
          "{{ m.content }}{% endif %}{% endfor %}")
LAST = "{% for m in messages %}{% if loop.last or messages | length < 6 %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"

USER = {"role": "user", "content": "Which ticket?"}
CALL = {"id": "call_x1", "type": "function", "function": {"name": "open_ticket", "arguments": '{"x": 1}'}}
RESULT = {"role": "tool", "tool_call_id": "call_x1", "content": "open"}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": {
    "type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}}}


def letters():
    """The letters by which byte-level BPE spells bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(rest)}}


def make_folder(path, tokenizer_config, files):
    """A Hugging Face folder of the smallest kind: one layer, a token a byte."""
    hidden, vocab = 32, 257
    tokenizer = {"added_tokens": [{"id": 256, "content": "<|end|>", "special": True}], "normalizer": None,
                 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
                 "model": {"type": "BPE", "vocab": letters(), "merges": []}}
    config = {"model_type": "llama", "hidden_size": hidden, "intermediate_size": hidden, "num_hidden_layers": 1,
              "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": vocab, "eos_token_id": 256,
              "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
    layer = "model.layers.0."
    sizes = {"model.embed_tokens.weight": [vocab, hidden], "lm_head.weight": [vocab, hidden],
             "model.norm.weight": [hidden], layer + "input_layernorm.weight": [hidden],
             layer + "post_attention_layernorm.weight": [hidden]}
    for name in "self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down":
        sizes[f"{layer}{name}_proj.weight"] = [hidden, hidden]
    head, at, r = {}, 0, random.Random(1)
    for name, size in sizes.items():
        n = 4 * size[0] * size[-1] ** (len(size) - 1)
        head[name] = {"dtype": "F32", "shape": size, "data_offsets": [at, at + n]}
        at += n
    weights = struct.pack(f"<{at // 4}f", *(r.uniform(-.2, .2) for _ in range(at // 4)))
    head = json.dumps(head).encode()
    files = {"tokenizer.json": json.dumps(tokenizer), "config.json": json.dumps(config), **files,
             "tokenizer_config.json": json.dumps({"eos_token": "<|end|>", **tokenizer_config})}
    for name, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(path, name)), exist_ok=True)
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            f.write(text)
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + weights)


class Forms(SingleCase):
    def serve(self, template):
        path = os.path.join(self.dir.name, "t.jinja")
        with open(path, "w", encoding="utf-8") as f:
            f.write(template)
        return self.start("--chat-template", path)

    def prompt(self, server, *messages, **more):
        r = server.post(TEMPLATE, {"messages": list(messages), **more})
        self.assertEqual(r.status, 200, r.body)
        return r.json()["prompt"]

    def test_template_without_tools(self):
        server = self.serve(TURNS)
        self.assertIn("no place for tools", "".join(server.log))
        self.assertEqual(self.prompt(server, {"role": "developer", "content": "One word."}, USER),
                         "<|im_start|>system\nOne word.<|im_end|>\n<|im_start|>user\nWhich ticket?<|im_end|>\n"
                         "<|im_start|>assistant\n")
        for caller in ({"content": None}, {"content": ""}, {}):
            text = self.prompt(server, USER, {"role": "assistant", "tool_calls": [CALL], **caller}, RESULT)
            self.assertEqual(text.split("<|im_start|>")[2:4], [
                'assistant\n<tool_call>\n{"name": "open_ticket", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n',
                "user\n<tool_response>\nopen\n</tool_response><|im_end|>\n"])
        text = self.prompt(server, USER, tools=[TOOL])
        self.assertIn(f"<tools>\n{json.dumps(TOOL, separators=(',', ':'))}\n</tools>", text)
        self.assertTrue(text.startswith("<|im_start|>system\n"))
        self.assertNotIn("<tools>", self.prompt(server, USER, tools=[TOOL], tool_choice="none"))

    @roomy_only
    def test_calls_of_a_template_without_tools(self):
        server = self.serve(TURNS)
        body = {"messages": [USER], "tools": [TOOL], "temperature": 0, "max_tokens": 200,
                "parallel_tool_calls": False}
        for choice in "required", {"type": "function", "function": {"name": "add"}}:
            r = server.post(CHAT, {**body, "tool_choice": choice})
            self.assertEqual(r.status, 200, r.body)
            answer = r.json()["choices"][0]
            self.assertEqual(answer["finish_reason"], "tool_calls")
            for call in answer["message"]["tool_calls"]:
                self.assertEqual(call["function"]["name"], "add")
                self.assertIsInstance(json.loads(call["function"]["arguments"])["a"], bool)
        # what the answer holds, told again in the next turn, is what the parser reads
        back = [{"role": "assistant", **{k: answer["message"][k] for k in ("content", "tool_calls")}}]
        back += [{"role": "tool", "tool_call_id": c["id"], "content": "7"} for c in back[0]["tool_calls"]]
        r = server.post(CHAT, {**body, "messages": [USER, *back]})
        self.assertEqual(r.status, 200, r.body)

    def test_arguments_joined(self):
        server = self.serve(JOINED)
        for content in ({"content": None}, {"content": ""}, {}):
            text = self.prompt(server, USER, {"role": "assistant", "tool_calls": [CALL], **content}, RESULT)
            self.assertEqual(text, '<user>Which ticket?<assistant>[call open_ticket\n{"x": 1}]<tool>open')
        bare = {**CALL, "function": {"name": "open_ticket"}}
        self.assertIn("[call open_ticket\n{}]",
                      self.prompt(server, USER, {"role": "assistant", "tool_calls": [bare]}, RESULT))

    def test_parts(self):
        server = self.serve(PARTS)
        for content in "Is this safe?", [{"type": "text", "text": "Is this safe?"}]:
            self.assertEqual(self.prompt(server, {"role": "user", "content": content}), "<user>Is this safe?")

    def test_strict(self):
        server = self.serve(STRICT)
        calls = [CALL, {**CALL, "id": "toolu_abcDEF123"}]
        text = self.prompt(
            server, {"role": "system", "content": "S"}, {"role": "developer", "content": "D"}, USER,
            {"role": "user", "content": "More"}, {"role": "assistant", "content": None, "tool_calls": calls}, RESULT,
            {"role": "tool", "tool_call_id": "toolu_abcDEF123", "content": "shut"},
            {"role": "assistant", "content": "So."}, {"role": "system", "content": "Later"}, USER)
        self.assertRegex(text, r'^\[S\n\nD\]<user>Which ticket\?\n\nMore'
                               r'\[open_ticket \{"x": 1\} (\w{9})\]\[open_ticket \{"x": 1\} abcDEF123\]'
                               r'\(open \1\)\(shut abcDEF123\)<assistant>So\.<user>Later\n\nWhich ticket\?$')

    def test_where_templates_are(self):
        plain = "plain {% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        tools = "tools {{ tools | tojson }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        named = [{"name": "tool_use", "template": tools}, {"name": "default", "template": plain}]
        cases = {"json": ({}, {"chat_template.json": json.dumps({"chat_template": plain})}),
                 "named": ({"chat_template": named}, {}),
                 "extra": ({"chat_template": "not this"}, {"chat_template.jinja": plain,
                                                           "additional_chat_templates/tool_use.jinja": tools})}
        for name, (config, files) in cases.items():
            with self.subTest(name):
                folder = os.path.join(self.dir.name, name)
                make_folder(folder, config, files)
                server = self.start("-m", folder)
                self.assertEqual(self.prompt(server, USER), "plain <user>Which ticket?")
                got = self.prompt(server, USER, tools=[TOOL])
                if name == "json":
                    self.assertTrue(got.startswith("plain <system>You can call tools."), got)
                else:
                    self.assertEqual(got, f"tools {json.dumps([TOOL])}<user>Which ticket?")

    def test_lost(self):
        server = self.serve(LAST)
        turns = [{"role": ("user", "assistant")[i % 2], "content": f"text {i}"} for i in range(7)]
        self.assertEqual(server.post(TEMPLATE, {"messages": turns[:3]}).status, 200)
        for path in TEMPLATE, CHAT:
            r = server.post(path, {"messages": turns, "max_tokens": 1})
            self.assertEqual(r.status, 400, r.body)
            self.assertEqual(r.json()["error"]["param"], "messages")
            self.assertIn("messages[0]", r.json()["error"]["message"])


if __name__ == "__main__":
    unittest.main()
