"""Reports tests to croft, live. One file without dependencies, for Python 2.7 and 3.

unittest:   python -m croft_report discover -v          (arguments of `python -m unittest`; writes $CROFT_JUNIT or junit.xml)
own runner: class MyResult(croft_report.ResultMixin, unittest.TextTestResult), then croft_report.write_junit(result, path)
pytest:     python -m pytest -p croft_report --junitxml=junit.xml

Each test is one line `@croft {json}` on the log when it ends. A test has one record: what several subtests, or a test and
its tearDown, had to say is joined, so that the names are the same in every run.
"""
from __future__ import print_function

import io
import json
import os
import re
import sys
import time
import unittest

MAX_NAME = 1000
MAX_MESSAGE = 4000
MAX_TEXT = 20000
_RANK = {"passed": 0, "skipped": 1, "failed": 2, "error": 3}
_ELEMENT = {"skipped": u"skipped", "failed": u"failure", "error": u"error"}
# The identity of a subtest without a message; it changes with every process.
_SENTINEL = re.compile(r"\[<object object at 0x\w+>\] ?")
try:
    _NOT_XML = re.compile(u"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
except re.error:  # a narrow build of Python 2
    _NOT_XML = re.compile(u"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")

# Tests may replace sys.stdout or file descriptor 1; this one stays.
try:
    _LOG = os.dup(1)
except OSError:
    _LOG = None


def _text(value):
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return _NOT_XML.sub(u"?", u"%s" % value)


def _cut(value, limit):
    value = _text(value)
    return value if len(value) <= limit else value[: limit - 1] + u"\u2026"


def _tail(value, limit):
    value = _text(value)
    return value if len(value) <= limit else u"\u2026" + value[1 - limit :]


def _last_line(text):
    lines = [line for line in text.strip().split(u"\n") if line.strip()]
    return lines[-1] if lines else u""


def line(suite, name, status, seconds, message=u""):
    """The protocol line of one test, without its newline. It is ASCII."""
    event = {
        "v": 1,
        "event": "test",
        "suite": _cut(suite, MAX_NAME),
        "name": _cut(name, MAX_NAME),
        "status": status,
        "ms": int(round(seconds * 1000)),
    }
    if message:
        event["message"] = _cut(message, MAX_MESSAGE)
    return "@croft " + json.dumps(event, sort_keys=True)


def emit(text):
    """Writes one line to the log at once, past every buffer and capture."""
    data = (text + "\n").encode("ascii")
    try:
        while _LOG is not None and data:
            data = data[os.write(_LOG, data) :]
    except OSError:  # nobody reads the log any more; the tests go on
        pass


def split_id(test_id):
    """("module.Class", "test_name") of a unittest id."""
    test_id = _SENTINEL.sub("", _text(test_id))
    holder = re.match(r"^(\w+) \(([\w.]+)\)$", test_id)  # "setUpClass (module.Class)"
    if holder:
        return holder.group(2), holder.group(1)
    head, space, rest = test_id.partition(u" ")
    suite, _, name = head.rpartition(u".")
    return suite, name + space + rest


class Record(object):
    """What is known about one test."""

    def __init__(self, suite, name):
        self.suite, self.name = suite, name
        self.status, self.parts, self.seconds = "passed", [], 0.0

    def add(self, status, text=u""):
        """Keeps the worst status and every text."""
        if _RANK[status] > _RANK[self.status]:
            self.status = status
        if text:
            self.parts.append(_text(text))

    @property
    def text(self):
        return _tail(u"\n".join(self.parts), MAX_TEXT)

    @property
    def message(self):
        return _last_line(self.parts[0]) if self.parts else u""


class _LineStart(object):
    """A stream that knows whether it is at the start of a line."""

    def __init__(self, stream):
        self._stream, self.at_start = stream, True

    def write(self, text):
        if text:
            self.at_start = text.endswith("\n")
        return self._stream.write(text)

    def writeln(self, text=None):
        if text:
            self.write(text)
        self.write("\n")

    def __getattr__(self, name):
        return getattr(self._stream, name)


class ResultMixin(object):
    """Goes in front of a unittest.TextTestResult."""

    def __init__(self, *args, **kwargs):
        super(ResultMixin, self).__init__(*args, **kwargs)
        self.croft_records = []
        self._croft_open = None
        self._croft_start = self._croft_seconds = None
        self.dots = False  # a protocol line has to begin a line; a row of dots would be torn
        if hasattr(self, "stream"):
            self.stream = _LineStart(self.stream)

    def startTest(self, test):
        self._croft_open = Record(*split_id(test.id()))
        self._croft_start, self._croft_seconds = time.time(), None
        super(ResultMixin, self).startTest(test)

    def stopTest(self, test):
        super(ResultMixin, self).stopTest(test)
        record, self._croft_open = self._croft_open, None
        if record is not None:
            record.seconds = time.time() - self._croft_start if self._croft_seconds is None else self._croft_seconds
            self._croft_close(record)

    def addDuration(self, test, elapsed):
        """Called by Python 3.12, and by runners that bring results from other processes."""
        self._croft_seconds = elapsed
        parent = getattr(super(ResultMixin, self), "addDuration", None)
        if parent is not None:
            parent(test, elapsed)

    def _croft_close(self, record):
        self.croft_records.append(record)
        try:  # what the test printed belongs before its line
            sys.stdout.flush()
        except (AttributeError, ValueError, OSError):
            pass
        stream = getattr(self, "stream", None)
        if stream is not None:
            if not stream.at_start:
                stream.write("\n")
            stream.flush()
        emit(line(record.suite, record.name, record.status, record.seconds, record.message))

    def _croft_note(self, test, status, text=u""):
        if self._croft_open is not None:
            self._croft_open.add(status, text)
        else:  # setUpClass and setUpModule fail outside of any test
            record = Record(*split_id(test.id()))
            record.add(status, text)
            self._croft_close(record)

    def addError(self, test, err):
        super(ResultMixin, self).addError(test, err)
        self._croft_note(test, "error", self.errors[-1][1])

    def addFailure(self, test, err):
        super(ResultMixin, self).addFailure(test, err)
        self._croft_note(test, "failed", self.failures[-1][1])

    def addSkip(self, test, reason):
        super(ResultMixin, self).addSkip(test, reason)
        self._croft_note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        super(ResultMixin, self).addUnexpectedSuccess(test)
        self._croft_note(test, "failed", u"unexpected success")

    def addSubTest(self, test, subtest, err):
        super(ResultMixin, self).addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            where = split_id(subtest.id())[1]
            text = (self.failures if failed else self.errors)[-1][1]
            self._croft_note(test, "failed" if failed else "error", u"%s\n%s" % (where, _text(text)))


class Result(ResultMixin, unittest.TextTestResult):
    """unittest's own result, reporting."""


class Runner(unittest.TextTestRunner):
    """unittest's own runner; writes a JUnit file whatever happens."""

    resultclass = Result

    def _makeResult(self):
        self.croft_result = super(Runner, self)._makeResult()
        return self.croft_result

    def run(self, test):
        try:
            return super(Runner, self).run(test)
        finally:
            write_junit(self.croft_result, os.environ.get("CROFT_JUNIT", "junit.xml"))


def _attribute(value):
    value = _text(value)
    for char, escaped in ((u"&", u"&amp;"), (u"<", u"&lt;"), (u">", u"&gt;"), (u'"', u"&quot;"), (u"\n", u"&#10;")):
        value = value.replace(char, escaped)
    return value


def write_junit(result, path, suite=u"unittest"):
    """Writes the records of a result as JUnit XML."""
    records = result.croft_records
    count = dict((s, sum(1 for r in records if r.status == s)) for s in _RANK)
    with io.open(path, "w", encoding="utf-8") as out:
        out.write(u'<?xml version="1.0" encoding="UTF-8"?>\n')
        out.write(
            u'<testsuite name="%s" tests="%d" failures="%d" errors="%d" skipped="%d" time="%.3f">\n'
            % (_attribute(suite), len(records), count["failed"], count["error"], count["skipped"], sum(r.seconds for r in records))
        )
        for r in records:
            names = _attribute(_cut(r.suite, MAX_NAME)), _attribute(_cut(r.name, MAX_NAME))
            out.write(u'<testcase classname="%s" name="%s" time="%.4f">' % (names + (r.seconds,)))
            if r.status in _ELEMENT:
                element = _ELEMENT[r.status]
                out.write(u'<%s message="%s">%s</%s>' % (element, _attribute(_cut(r.message, 500)), _attribute(r.text).replace(u"&#10;", u"\n"), element))
            out.write(u"</testcase>\n")
        out.write(u"</testsuite>\n")


# pytest ---------------------------------------------------------------------------------------------------------------

_pytest_config = None
_pytest_open = {}  # node id -> Record; several under pytest-xdist


def pytest_configure(config):
    """pytest calls this when the module is named with -p. Workers of pytest-xdist leave reporting to their parent."""
    global _pytest_config
    _pytest_config = None if hasattr(config, "workerinput") else config


def _pytest_status(report):
    if report.failed:
        return "failed" if report.when == "call" else "error"
    return "skipped" if report.skipped else "passed"


def _pytest_message(report):
    if hasattr(report, "wasxfail"):
        return "expected failure %s" % report.wasxfail
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return report.longrepr[2]
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message if crash is not None else _last_line(_text(report.longrepr or ""))


def pytest_runtest_logreport(report):
    """Set-up, call, subtests and tear-down of a test each come here."""
    record = _pytest_open.get(report.nodeid)
    if record is None:
        parts = report.nodeid.split("::")
        suite = [re.sub(r"\.py$", "", parts[0]).replace("/", ".")] + parts[1:-1]
        record = _pytest_open[report.nodeid] = Record(".".join(suite), parts[-1])
    record.seconds += getattr(report, "duration", 0)
    record.add(_pytest_status(report), _pytest_message(report))


def pytest_runtest_logfinish(nodeid):
    """The test is over and the terminal has its result."""
    record = _pytest_open.pop(nodeid, None)
    if record is None or _pytest_config is None:
        return
    text = line(record.suite, record.name, record.status, record.seconds, u"\n".join(record.parts))
    terminal = _pytest_config.pluginmanager.getplugin("terminalreporter")
    if terminal is None:
        emit(text)
        return
    writer = terminal._tw
    terminal.ensure_newline()
    # A row of dots without file names (-q, pytest-xdist) is not a line that ensure_newline knows.
    if getattr(writer, "width_of_current_line", getattr(writer, "chars_on_current_line", 0)):
        writer.line()
    writer.line(text)
    getattr(terminal, "flush", lambda: None)()


def main():
    """`python -m unittest`, reporting."""
    sys.path.insert(0, "")
    unittest.main(module=None, testRunner=Runner)


if __name__ == "__main__":
    main()
