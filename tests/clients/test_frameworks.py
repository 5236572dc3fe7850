"""litellm, langchain-openai and llama-index against specd: a chat and a stream each.

They live in an environment of their own (tests/clients/requirements-long.txt, scripts/venv.sh), since
together they fix the versions of half a hundred packages. Skipped without.
"""

import importlib
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

# Nothing but the server under test may be asked.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false")

from specd_client import Server  # noqa: E402

try:
    for package in ("litellm", "langchain_openai", "llama_index.llms.openai_like"):
        importlib.import_module(package)
except ImportError as e:
    print(f"skip: {e}")
    sys.exit(77)

PROMPT = "one two three one two three one two"
TOKENS = 12


class Frameworks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.url = f"http://127.0.0.1:{cls.server.port}/v1"
        cls.model = cls.server.get("/v1/models").json()["data"][0]["id"]
        cls.text = cls.server.post("/v1/chat/completions", {
            "messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS,
            "temperature": 0}).json()["choices"][0]["message"]["content"]

    @classmethod
    def tearDownClass(cls):
        wrong = cls.server.stop()
        assert wrong is None, wrong

    def test_litellm(self):
        import litellm
        fields = dict(model="openai/" + self.model, api_base=self.url, api_key="none", temperature=0,
                      messages=[{"role": "user", "content": PROMPT}], max_tokens=TOKENS)
        answer = litellm.completion(**fields)
        self.assertEqual(answer.choices[0].message.content, self.text)
        self.assertIn(answer.choices[0].finish_reason, ("length", "stop"))
        self.assertGreater(answer.usage.completion_tokens, 0)
        pieces = list(litellm.completion(stream=True, **fields))
        self.assertGreater(len(pieces), 2)
        self.assertEqual("".join(p.choices[0].delta.content or "" for p in pieces), self.text)

    def test_litellm_names_errors(self):
        """It goes by the words of the message: agents shorten a conversation only then."""
        import litellm
        for stream in False, True:
            with self.assertRaises(litellm.exceptions.ContextWindowExceededError):
                litellm.completion(model="openai/" + self.model, api_base=self.url, api_key="none", max_tokens=5,
                                   num_retries=0, stream=stream,
                                   messages=[{"role": "user", "content": "word " * 9000}])

    def test_langchain(self):
        from langchain_openai import ChatOpenAI
        chat = ChatOpenAI(model=self.model, base_url=self.url, api_key="none", temperature=0,
                          max_tokens=TOKENS, max_retries=0)
        answer = chat.invoke(PROMPT)
        self.assertEqual(answer.content, self.text)
        self.assertGreater(answer.usage_metadata["output_tokens"], 0)
        pieces = list(chat.stream(PROMPT))
        self.assertGreater(len(pieces), 2)
        self.assertEqual("".join(p.content for p in pieces), self.text)

    def test_llama_index(self):
        from llama_index.core.llms import ChatMessage
        from llama_index.llms.openai_like import OpenAILike
        llm = OpenAILike(model=self.model, api_base=self.url, api_key="none", is_chat_model=True,
                         temperature=0, max_tokens=TOKENS, context_window=512, max_retries=0)
        messages = [ChatMessage(role="user", content=PROMPT)]
        self.assertEqual(llm.chat(messages).message.content, self.text)
        pieces = [p.delta or "" for p in llm.stream_chat(messages)]
        self.assertGreater(len(pieces), 2)
        self.assertEqual("".join(pieces), self.text)


if __name__ == "__main__":
    unittest.main()
