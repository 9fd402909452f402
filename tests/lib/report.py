"""What a test program in Python says to tests/run.py: one line for each test.

    ok NAME
    FAIL NAME: what went wrong        (further lines follow, indented)
    skip NAME: what is missing
    without NAME: what is missing     (a skip that REQUIRE=all forgives)
"""

import os
import sys
import threading
import time
import traceback


class Report:
    """Counts and prints; any thread."""

    def __init__(self):
        self.failed = 0
        self.lock = threading.Lock()

    def _say(self, text):
        with self.lock:
            print(text, flush=True)

    def ok(self, name):
        self._say("ok %s" % name)

    def fail(self, name, text):
        with self.lock:
            self.failed += 1
        self._say("FAIL %s: %s" % (name, str(text).replace("\n", "\n    ")))

    def skip(self, name, why):
        self._say("skip %s: %s" % (name, why))

    def without(self, name, why):
        self._say("without %s: %s" % (name, why))

    def run(self, name, function, *arguments):
        """A test is a function that raises when it fails."""
        begun = time.monotonic()
        try:
            function(*arguments)
        except Exception as error:  # whatever a test raises is its failure
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.fail(name, "%s: %s (%s:%s)" % (type(error).__name__, error,
                                                os.path.basename(where.filename), where.lineno))
            return False
        self.ok(name)
        if os.environ.get("V"):
            self._say("# %s took %.1f s" % (name, time.monotonic() - begun))
        return True

    def done(self):
        sys.exit(1 if self.failed else 0)
