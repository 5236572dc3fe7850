"""The page at "/", used as a person would: keys are pressed, what is shown is read.

$SPECD_SHOTS: a folder to put screenshots into.
"""

import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "http"))

import chromium  # noqa: E402
from specd_client import SingleCase  # noqa: E402

KEY = "a-key-for-the-page"


class PageCase(SingleCase):
    def setUp(self):
        super().setUp()
        self.browser = chromium.Browser()
        self.addCleanup(self.browser.close)
        self.js, self.wait = self.browser.js, self.browser.wait

    def visit(self, *args, size=(1280, 800), dark=False, **kw):
        self.server = self.start(*args, **kw)
        self.browser.size(*size, dark=dark)
        self.browser.open(f"http://127.0.0.1:{self.server.port}/")
        self.wait("!$('about').textContent.includes('connecting')")

    def set(self, **fields):
        for name, value in fields.items():
            self.js(f"settings[{name.replace('__', '.')!r}].value = {str(value)!r}")

    def ask(self, text):
        self.js("$('prompt').focus()")
        self.browser.type(text)
        self.browser.key("Enter", "\r")

    def finish(self):
        self.wait("running === null && !document.querySelector('[aria-busy=true]')")

    def shot(self, name):
        if os.environ.get("SPECD_SHOTS"):
            self.browser.shot(os.path.join(os.environ["SPECD_SHOTS"], name + ".png"))

    def tearDown(self):
        self.assertEqual(self.browser.problems, [])


class Answers(PageCase):
    def test_chat(self):
        self.visit()
        self.assertIn("drafts: model", self.js("$('about').textContent"))
        self.set(temperature="0", max_tokens="48")
        self.ask("Hello there")
        self.finish()
        self.shot("chat")
        self.assertEqual(self.js("$('error').textContent"), "")
        # The texts of spans, in order, are the answer; coloured ones are the accepted drafts.
        spans = self.js("[...document.querySelectorAll('.answer .text span')]"
                        ".map(s => [s.className, s.textContent])")
        self.assertEqual("".join(t for _, t in spans), self.js("messages.at(-1).content"))
        self.assertTrue(any(kind == "d" for kind, _ in spans), spans)
        self.assertTrue(any(kind == "" for kind, _ in spans), spans)
        color = "getComputedStyle(document.querySelector('.answer .text span{}')).backgroundColor"
        self.assertNotEqual(self.js(color.format(".d")), self.js(color.format(":not(.d)")))

    def test_measurements_are_the_servers(self):
        self.visit()
        # What the page counts itself while it streams, against what the server says at the end.
        self.js("window.seen = null; const add = Meter.prototype.add;"
                "Meter.prototype.add = function (t) { add.call(this, t); window.seen = this; };"
                "const read = readSettings; readSettings = () => ({...read(), ignore_eos: true}); 0")
        self.set(temperature="0", max_tokens="64", speculative__fixed="3")
        self.ask("abc abc abc")
        self.finish()
        said = self.js("seen.final.speculative")
        counted = self.js("(() => { seen.final = null; return {rounds: seen.rounds.length,"
                          "accepted: seen.sum('accepted'), tokens: seen.tokens,"
                          "positions: seen.positions, ks: seen.rounds.map(r => r.k)}; })()")
        self.assertEqual(counted["tokens"], 64)
        self.assertEqual(set(counted["ks"][1:-1]), {3})
        self.assertLessEqual(abs(counted["rounds"] - said["rounds"]), 1)
        self.assertEqual(counted["accepted"], said["accepted_tokens"])
        self.assertEqual(self.js("$('positions').children.length"), 3)
        for mine, theirs in zip(counted["positions"], said["acceptance_by_position"]):
            self.assertAlmostEqual(mine, theirs, delta=0.15)
        bars = self.js("$('rounds').querySelectorAll('.k').length")
        self.assertEqual(bars, min(64, counted["rounds"]))
        self.assertRegex(self.js("$('speed').textContent"), r"^\d+(\.\d)?$")
        self.assertRegex(self.js("$('first').textContent"), r"^\d+(\.\d+)? m?s$")
        self.assertIn("64 tokens", self.js("document.querySelector('.facts').textContent"))

    def test_settings_reach_the_server(self):
        self.visit()
        self.set(temperature="1.5", max_tokens="20", top_k="40", top_p="0.9", min_p="0.01",
                 seed="7", speculative__mode="ratio", speculative__max="2")
        self.assertEqual(self.js("readSettings()"), {
            "temperature": 1.5, "max_tokens": 20, "top_k": 40, "top_p": 0.9, "min_p": 0.01,
            "seed": 7, "speculative": {"trace": True, "enabled": True, "mode": "ratio", "max": 2}})
        self.ask("x")
        self.finish()
        self.assertRegex(self.js("document.querySelector('.facts').textContent"), "ratio, seed 7 ")
        self.js("settings['speculative.enabled'].click()")
        self.ask("y")
        self.finish()
        facts = self.js("[...document.querySelectorAll('.facts')].at(-1).textContent")
        self.assertIn("1.00 per round", facts)
        self.assertFalse(self.js("!![...document.querySelectorAll('.answer')].at(-1).querySelector('.d')"))

    def test_complete_and_clear(self):
        self.visit()
        self.set(max_tokens="8")
        self.js("document.querySelector('[value=text]').click()")
        self.ask("Once upon a time")
        self.finish()
        self.assertEqual(self.js("document.querySelector('.given').textContent"), "Once upon a time")
        self.assertEqual(self.js("messages.length"), 0)
        self.js("$('clear').click()")
        self.assertEqual(self.js("document.querySelectorAll('article').length"), 0)
        # Cleared in the middle of an answer: nothing of it comes back.
        self.js("document.querySelector('[value=chat]').click()")
        self.set(max_tokens="500")
        self.ask("go on")
        self.wait("document.querySelectorAll('[aria-busy=true] .text span').length > 3")
        self.js("$('clear').click()")
        self.finish()
        self.assertEqual(self.js("[messages.length, document.querySelectorAll('article').length,"
                                 "$('prompt').value, $('error').textContent]"), [0, 0, "", ""])

    def test_stop(self):
        self.visit("-c", "1024")
        self.set(temperature="0", max_tokens="900")
        for how in ("$('stop').click()", None):
            self.ask("go on")
            self.wait("document.querySelectorAll('[aria-busy=true] .text span').length > 3")
            self.js(how) if how else self.browser.key("Escape")
            self.finish()
            facts = self.js("[...document.querySelectorAll('.facts')].at(-1).textContent")
            self.assertIn("stopped", facts)
        self.server.wait_metric("num_requests_running", 0)
        self.assertEqual(self.server.metric("client_disconnects_total"), 2)
        self.assertEqual(self.js("$('error').textContent"), "")


class Errors(PageCase):
    def take_problems(self, pattern):
        """The browser logs failed requests; those are expected here, and others are not."""
        self.browser.call("Runtime.evaluate", expression="0")
        found = self.browser.problems
        self.assertTrue(found and all(re.search(pattern, p) for p in found), found)
        self.browser.problems = []

    def test_bad_field(self):
        self.visit()
        self.set(temperature="3", max_tokens="4")
        self.ask("keep me")
        self.wait("$('error').textContent")
        self.assertIn("temperature", self.js("$('error').textContent"))
        self.assertEqual(self.js("document.activeElement.name"), "temperature")
        self.assertEqual(self.js("settings.temperature.getAttribute('aria-invalid')"), "true")
        self.assertEqual(self.js("$('prompt').value"), "keep me")
        self.assertEqual(self.js("document.querySelectorAll('article').length"), 0)
        self.set(temperature="")
        self.browser.js("$('prompt').focus()")
        self.browser.key("Enter", "\r")
        self.finish()
        self.assertEqual(self.js("$('error').textContent"), "")
        self.assertEqual(self.js("document.querySelectorAll('[aria-invalid]').length"), 0)
        self.set(speculative__max="99")
        self.ask("more")
        self.wait("$('error').textContent")
        self.assertEqual(self.js("document.activeElement.name"), "speculative.max")
        self.take_problems("400")

    def test_key(self):
        self.visit(env={"SPECD_API_KEY": KEY})
        self.wait("$('about').textContent === 'needs an API key'")
        self.assertTrue(self.js("$('access').open"))
        self.set(max_tokens="4")
        self.ask("hello")
        self.wait("$('error').textContent")
        self.assertEqual(self.js("document.activeElement.id"), "key")
        self.browser.type(KEY)
        self.browser.key("Tab")
        self.wait("$('about').textContent.includes('drafts')")
        self.take_problems("401")
        self.ask("")
        self.finish()
        self.assertEqual(self.js("messages.length"), 2)
        stored = self.js("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        self.assertEqual(stored, '[{},{"specd-key":"%s"},""]' % KEY)
        self.browser.open(f"http://127.0.0.1:{self.server.port}/")
        self.wait("$('about').textContent.includes('drafts')")

    def test_server_gone(self):
        self.visit(clean=False)
        self.set(max_tokens="1000", temperature="0")
        self.ask("go on")
        self.wait("document.querySelectorAll('[aria-busy=true] .text span').length > 3")
        self.server.signal(9)
        self.finish()
        self.assertTrue(self.js("$('error').textContent"))
        self.take_problems("ERR_")


class Shape(PageCase):
    def test_keyboard_reaches_everything_in_order(self):
        self.visit()
        self.js("$('access').open = true; document.activeElement.blur(); scrollTo(0, 0)")
        seen = []
        for _ in range(40):
            self.browser.key("Tab")
            at = self.js("document.activeElement.name || document.activeElement.id ||"
                         "document.activeElement.textContent.trim()")
            if at not in seen and not self.js("document.activeElement === document.body"):
                seen.append(at)
        wanted = ["theme", "log", "prompt", "kind", "clear", "send", "Sampling", "temperature",
                  "max_tokens", "top_p", "min_p", "top_k", "seed", "Speculation",
                  "speculative.enabled", "speculative.mode", "speculative.drafter",
                  "speculative.max", "speculative.fixed", "API key", "key"]
        self.assertEqual(seen[seen.index("theme"):] + seen[:seen.index("theme")], wanted)

    def test_every_control_has_a_name(self):
        self.visit()
        nameless = self.js("[...document.querySelectorAll('input,select,textarea,button')]"
                           ".filter(e => !(e.labels?.length || e.textContent.trim())).length")
        self.assertEqual(nameless, 0)
        self.assertEqual(self.js("$('log').getAttribute('aria-live')"), "polite")
        self.assertEqual(self.js("$('error').getAttribute('role')"), "alert")

    def test_phone(self):
        self.visit(size=(390, 844), dark=True)
        self.set(max_tokens="32")
        self.ask("A long word: " + "w" * 200)
        self.finish()
        self.js("for (const d of document.querySelectorAll('details')) d.open = true")
        self.shot("phone")
        self.assertLessEqual(self.js("document.documentElement.scrollWidth"), 390)
        too_small = self.js("[...document.querySelectorAll('button,select,input:not([type=radio],[type=checkbox])')]"
                            ".filter(e => !e.hidden && e.getClientRects().length &&"
                            " e.getBoundingClientRect().height < 34).map(e => e.id || e.name)")
        self.assertEqual(too_small, [])

    def contrast(self, element):
        """Of an element's text to its background, as WCAG counts it."""
        return self.js("""(() => {
            const rgb = c => { const x = document.createElement("canvas").getContext("2d");
                x.fillStyle = c; x.fillRect(0, 0, 1, 1); return [...x.getImageData(0, 0, 1, 1).data]; };
            const light = c => { const [r, g, b] = rgb(c).map(v => (v /= 255) <= .04045 ? v / 12.92
                : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
            let e = %s, back = e;
            while (getComputedStyle(back).backgroundColor === "rgba(0, 0, 0, 0)") back = back.parentElement;
            const [a, b] = [light(getComputedStyle(e).color), light(getComputedStyle(back).backgroundColor)];
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); })()""" % element)

    def test_themes(self):
        self.visit(dark=True)
        back = "getComputedStyle(document.body).backgroundColor"
        dark = self.js(back)
        self.js("$('theme').click()")
        self.assertNotEqual(self.js(back), dark)
        for theme in ("light", "dark"):
            self.js(f"document.documentElement.dataset.theme = '{theme}'")
            for element in ("$('about')", "$('empty')", "document.querySelector('.d')", "$('send')",
                            "document.querySelector('.note')", "$('prompt')"):
                self.assertGreaterEqual(self.contrast(element), 4.5, (theme, element))


class OutsideResources(PageCase):
    def test_none(self):
        self.visit()
        own = f"http://127.0.0.1:{self.server.port}/"
        urls = {u for u in self.browser.requests if not u.startswith(("data:", "about:"))}
        self.assertEqual(urls, {own, own + "v1/models"})


if __name__ == "__main__":
    if not chromium.find():
        print("skipped: no chromium")
        sys.exit(77)
    unittest.main(verbosity=2)
