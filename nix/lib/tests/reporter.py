#!/usr/bin/env python3
"""reporter.py [PYTHON ...]: runs croft_report with each interpreter, by unittest and, where it is there, by pytest.

Live lines and JUnit file have to name the same tests with the same outcome, and no line may be torn.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "python"
SUITE = '''# -*- coding: utf-8 -*-
import os, unittest
class A(unittest.TestCase):
    def test_passes(self): print("noise")
    def test_fails(self): self.assertEqual(u"caf\\u00e9\\n", u"b\\x00<&\\">")
    def test_raises(self): raise ValueError("boom" * 3000)
    @unittest.skip('because "x"')
    def test_skips(self): pass
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail("x")
    @unittest.expectedFailure
    def test_passes_against_expectation(self): pass
    def test_subtests(self):
        if not hasattr(self, "subTest"): self.fail("no subTest in this Python")
        for i in range(4):
            with self.subTest(i=i): self.assertTrue(i % 2)
    def test_fails_twice(self):
        self.addCleanup(lambda: 1 / 0)
        self.fail("first")
    def test_writes_below_python(self): os.write(1, b"raw\\n")
class B(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise RuntimeError("no class")
    def test_never(self): pass
'''
UNITTEST = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_raises": "error",
    "test_skips": "skipped",
    "test_fails_as_expected": "passed",
    "test_passes_against_expectation": "failed",
    "test_subtests": "failed",
    "test_fails_twice": "error",
    "test_writes_below_python": "passed",
    "setUpClass": "error",
}
# pytest calls an exception in a test a failure, and blames set-up on each test of the class.
PYTEST = dict(UNITTEST, test_raises="failed", test_fails_as_expected="skipped", test_never="error")
del PYTEST["setUpClass"]
ELEMENTS = {"failure": "failed", "error": "error", "skipped": "skipped"}


def live(log):
    found = {}
    for line in log.split("\n"):
        assert "@croft " not in line or line.startswith("@croft "), "torn: %.80s" % line
        if line.startswith("@croft "):
            event = json.loads(line[len("@croft ") :])
            assert len(event["name"]) <= 1000 and len(event.get("message", "")) <= 4000
            assert event["name"] not in found, "%s comes twice" % event["name"]
            found[event["name"]] = event["status"]
    return found


def kept(path):
    found = {}
    for case in xml.parse(path).iter("testcase"):
        outcome = [ELEMENTS[child.tag] for child in case if child.tag in ELEMENTS]
        if found.get(case.get("name")) != "error":  # pytest writes two cases for a test that fails and cannot clean up
            found[case.get("name")] = (outcome + ["passed"])[0]
    return found


def run(python, folder, arguments):
    environment = dict(os.environ, PYTHONPATH=str(FOLDER), PYTHONDONTWRITEBYTECODE="1", CROFT_JUNIT="junit.xml")
    command = [python, "-m"] + arguments
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return live(done.stdout.decode("utf-8", "replace")), kept(folder / "junit.xml")


def differences(python):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "test_a.py").write_text(SUITE)
        for options in ([], ["-v"], ["-b"]):
            for found in run(python, folder, ["croft_report", "discover"] + options):
                if found != UNITTEST:
                    yield "unittest %s: %s" % (options, sorted(set(found.items()) ^ set(UNITTEST.items())))
        if subprocess.run([python, "-c", "import pytest"], stderr=subprocess.DEVNULL).returncode == 0:
            for options in ([], ["-v"], ["-q"], ["-s"]):
                for found in run(python, folder, ["pytest", "-p", "croft_report", "--junitxml=junit.xml"] + options):
                    if found != PYTEST:
                        yield "pytest %s: %s" % (options, sorted(set(found.items()) ^ set(PYTEST.items())))


def main():
    wrong = 0
    for python in sys.argv[1:] or [sys.executable]:
        for difference in differences(python):
            wrong += 1
            print("%s: %s" % (python, difference))
    print("%d wrong" % wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
