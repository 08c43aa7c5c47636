"""Django's test runner, reporting to croft: each test on the log as it ends, and a JUnit file. Django 1.11 to 6.1."""
import io
import os
import sys
import time
import unittest

import croft_report
from django.db.utils import NotSupportedError
from django.test import runner

REFUSED = 77


class Runner(runner.DiscoverRunner):
    """Reports whatever happens; a database that Django refuses is not a failure but an answer of its own."""

    def setup_databases(self, **kwargs):
        try:
            return super(Runner, self).setup_databases(**kwargs)
        except Exception as error:
            refusal = find_refusal(error)
            if refusal is None:
                raise
            with io.open(os.environ["CROFT_REFUSED"], "w", encoding="utf-8") as reason:
                reason.write(u"%s" % refusal)
            sys.stderr.write("refused: %s\n" % refusal)
            sys.exit(REFUSED)

    def get_resultclass(self):
        base = super(Runner, self).get_resultclass() or unittest.TextTestResult

        class Result(croft_report.ResultMixin, base):
            """Made by the runner that Django chose; kept so that an interrupted run has a report too."""

            def __init__(result, *args, **kwargs):
                super(Result, result).__init__(*args, **kwargs)
                self.croft_result = result

        return Result

    def run_suite(self, suite, **kwargs):
        self.croft_result = None
        print_versions()
        try:
            return super(Runner, self).run_suite(suite, **kwargs)
        finally:
            if self.croft_result is not None:
                croft_report.write_junit(self.croft_result, os.environ["CROFT_JUNIT"], u"django")


def find_refusal(error):
    """Django's refusal of a database version, also where a warning made of it was raised instead."""
    while error is not None and not isinstance(error, NotSupportedError):
        error = error.__cause__ or error.__context__ if hasattr(error, "__cause__") else None
    return error


def print_versions():
    """What this cell is made of, for the reader of the log."""
    import django
    from django.db import connection

    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SELECT version()")
            database = cursor.fetchone()[0]
    finally:
        connection.close()  # workers are forked: they must not share it
    sys.stderr.write("Django %s, Python %s, %s %s\n" % (django.get_version(), " ".join(sys.version.split()), connection.vendor, database))


def _send_durations(remote):
    """Results of worker processes are replayed in the parent as events; durations would be lost."""
    start, stop = remote.startTest, remote.stopTest

    def start_test(self, test):
        self._croft_start = time.time()
        return start(self, test)

    def stop_test(self, test):
        self.events.append(("addDuration", self.test_index, time.time() - self._croft_start))
        return stop(self, test)

    remote.startTest, remote.stopTest = start_test, stop_test


_send_durations(runner.RemoteTestResult)
