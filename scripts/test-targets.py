#!/usr/bin/env python3
"""Prints the targets of a configured Ninja build that a choice of its tests runs or reads.

usage: scripts/test-targets.py BUILD [CTEST_ARGUMENT...]

A build of everything takes minutes that no test needs: benches, tools, and, where its tests are
not chosen, the emulator with every kernel compiled once more.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    build = os.path.abspath(sys.argv[1])
    # ctest leaves out the command of a program that is not there yet, so commands and environments
    # come from the files that it reads.
    words = collections.defaultdict(set)
    for path in pathlib.Path(build).rglob("CTestTestfile.cmake"):
        for name, rest in re.findall(
                r"^(?:add_test|set_tests_properties)\((?:\[=\[)?([^\s\]]+)(?:\]=\])? (.*)\)$",
                path.read_text(), re.MULTILINE):
            words[name] |= set(re.split(r'[\s"=;,]+', rest))
    listed = output_of("ctest", "--test-dir", build, "--show-only=json-v1", *sys.argv[2:])
    tests = json.loads(listed[listed.index("{"):])["tests"]  # behind a line of its own
    known = {line.rpartition(":")[0]
             for line in output_of("ninja", "-C", build, "-t", "targets", "all").splitlines()}
    wanted = {"test-models"}
    for test in tests:
        wanted |= {os.path.relpath(w, build) for w in words[test["name"]] if os.path.isabs(w)}
    print("\n".join(sorted(wanted & known)))


if __name__ == "__main__":
    main()
