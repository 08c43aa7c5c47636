#!/usr/bin/env python3
"""cells.py [CELL ...]: builds the cells of cells.nix, all at once, and compares status, log and kept report.

NIX_BUILD and NIX_INSTANTIATE name the programs; NIX_ROOT is in front of store paths that lie in another root. Exit status 0 if all is as wanted.
"""
import base64
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor

CELLS = pathlib.Path(__file__).resolve().parent / "cells.nix"
NIX_BUILD = os.environ.get("NIX_BUILD", "nix-build")
NIX_INSTANTIATE = os.environ.get("NIX_INSTANTIATE", "nix-instantiate")
NONCE = uuid.uuid4().hex
MAX_LINE = 33 * 1024


def wanted():
    expression = "builtins.mapAttrs (_: c: c.want) (import %s { })" % CELLS
    command = [NIX_INSTANTIATE, "--eval", "--strict", "--json", "-E", expression]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def read_log(log):
    """(reports by name, other events) of the protocol lines; raises when one is not as it should be."""
    parts, reports, events = {}, {}, []
    for line in log.split("\n"):
        if "@croft " in line:
            assert line.startswith("@croft "), "a protocol line is torn: %.80s" % line
            assert len(line) < MAX_LINE, "a line has %d bytes" % len(line)
            event = json.loads(line[len("@croft ") :])
            assert event["v"] == 1
            if event["event"] != "report":
                events.append(event["event"])
                continue
            have = parts.setdefault(event["name"], [])
            have.append(event["data"])
            assert len(have) == event["part"] <= event["of"], "parts out of order"
            if event["part"] == event["of"]:
                reports[event["name"]] = gzip.decompress(base64.b64decode("".join(have))).decode()
    assert set(parts) == set(reports), "a report has parts missing"
    return reports, events


def count(document):
    return len(list(xml.fromstring(document).iter("testcase")))


def check(name, want):
    """What is wrong with a cell, or None."""
    command = [NIX_BUILD, "--no-out-link", str(CELLS), "-A", name + ".cell", "--argstr", "nonce", NONCE]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = done.stderr.decode("utf-8", "replace")
    status = re.search(r"failed with exit code.*?(\d+)", re.sub("\x1b\\[[0-9;]*m", "", log))
    status = 0 if done.returncode == 0 else int(status.group(1)) if status else -1
    try:
        reports, events = read_log(log.split("\nerror: ")[0])
        tests = {key: count(document) for key, document in reports.items()}
        if status == 0 and tests:
            out = pathlib.Path(os.environ.get("NIX_ROOT", "") + done.stdout.decode().strip())
            kept = count((out / "croft/report.xml").read_text())
            assert kept == sum(tests.values()), "the output keeps %d tests" % kept
    except (AssertionError, ValueError, OSError, xml.ParseError) as problem:
        return "%s\n%s" % (problem, log)
    got = {"status": status, "reports": tests, "events": events}
    missing = [w for w in want["words"] if w not in log]
    if missing or any(got[key] != want[key] for key in got):
        return "got %s, wanted %s; not in the log: %s\n%s" % (got, want, missing, log)
    return None


def main():
    want = wanted()
    names = sys.argv[1:] or sorted(want)
    with ThreadPoolExecutor(4) as pool:
        problems = list(pool.map(lambda name: check(name, want[name]), names))
    for name, problem in zip(names, problems):
        if problem:
            print("%s: %s" % (name, problem))
    print("%d cells, %d wrong" % (len(names), sum(1 for p in problems if p)))
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
