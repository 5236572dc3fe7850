"""Drives a headless Chromium over the DevTools protocol, through a pair of pipes, with the standard
library only."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time

SLOW = float(os.environ.get("TEST_SLOW", "1"))


def find():
    """The path of a Chromium, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page in a browser of its own, whose profile is thrown away."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory()
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
        flags += ["--disable-dev-shm-usage", "--user-data-dir=" + self.profile.name]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # its sandbox does not start as root
        # The browser reads orders from descriptor 3 and answers on 4. The duplicates stand above
        # both, so that neither dup2 hits the other's source.
        order, answer = os.dup(to_read), os.dup(to_write)
        start = f"exec 3<&{order} 4>&{answer}; exec \"$@\""
        self.process = subprocess.Popen(
            ["bash", "-c", start, "bash", find(), *flags],
            pass_fds=(order, answer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (to_read, to_write, order, answer):
            os.close(fd)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.problems = []  # what the console and the security policy complained about
        self.requests = []  # what the page asked for
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (OSError, EOFError):
            pass
        os.close(self.out)
        os.close(self.inp)
        try:
            self.process.wait(10 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for _ in range(20):  # its helpers may still write there for a moment
            try:
                self.profile.cleanup()
                return
            except OSError:
                time.sleep(0.1)

    def _read(self):
        while b"\0" not in self.buffer:
            more = os.read(self.inp, 1 << 16)
            if not more:
                raise EOFError("the browser has ended")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event):
        p = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = p["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded" and p["entry"]["level"] == "error":
            self.problems.append(p["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(p["request"]["url"])

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def size(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, expression):
        """The value of an expression in the page; promises are awaited."""
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                      awaitPromise=True)
        if "exceptionDetails" in r:
            raise AssertionError(r["exceptionDetails"]["exception"].get("description", expression))
        return r["result"].get("value")

    def wait(self, condition, timeout=30):
        end = time.monotonic() + timeout * SLOW
        while not self.js(condition):
            if time.monotonic() > end:
                raise AssertionError("never became true: " + condition)
            time.sleep(0.03)

    def key(self, key, text="", modifiers=0):
        """Presses a key, as a person would."""
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}
        event = {"key": key, "code": key, "modifiers": modifiers}
        event["windowsVirtualKeyCode"] = codes.get(key, 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def shot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))
