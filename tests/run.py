#!/usr/bin/env python3
"""Runs every test there is and adds up: `make check` calls it.

    python3 tests/run.py --build DIR [--unit PROGRAM]... [--replay PROGRAM]... [--only TEXT]

Tests that bear company run side by side; those that load the machine run alone, at the end.  The last
line is `N passed, N failed, N skipped` and counts each single test.  With REQUIRE=all in the
environment a skipped test is a failed one.  Each test has a TMPDIR of its own, and TEST_MEMORY is one
in memory, where there is room; what it leaves there is removed.  Under a sanitizer running programs
have both in memory: it looks at the code, and the disk was met without it.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SLOW = float(os.environ.get("TEST_SLOW", "1"))
# They wait more than they work, but for sanitizers, which have them work.
JOBS = len(os.sched_getaffinity(0)) * (2 if SLOW == 1 else 1) + 1
# Programs of a minute and more.
LONG = ("test_failure", "crash/crash")
# Under a sanitizer the end of each process is looked through for leaks, which takes longer than most of
# these tests: their processes end but once.
ONE_PROCESS = ("tests/unit/base/", "tests/unit/mail/", "tests/unit/conf/test_config",
               "tests/unit/conf/test_ini")
# They look at the clock.
ALONE = ("stress/quota_senders.py", "stress/pop3_flow.py")
CHECK = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.M)
REPORT = re.compile(r"(ERROR|SUMMARY): (Address|Thread|Leak|Memory|UndefinedBehavior)Sanitizer|"
                    r"WARNING: ThreadSanitizer|runtime error:")


class Test:
    """A program to run, and how to read its verdict."""

    def __init__(self, kind, name, command, seconds):
        self.kind, self.name, self.command, self.seconds = kind, name, command, seconds


class Result:
    """Counts of one program and what to show of it."""

    def __init__(self):
        self.passed = self.failed = self.skipped = self.forgiven = 0
        self.notes = []
        self.output = ""


def collect(arguments):
    """All tests: those that may run together, and those that run alone."""
    python = sys.executable
    build = arguments.build
    together, alone = [], []
    for program in arguments.unit:
        together.append(Test("unit", os.path.relpath(program, build), [program], 300))
    for program in arguments.replay:
        seeds = os.path.join(HERE, "fuzz", "seeds",
                             os.path.basename(program).removeprefix("replay_"))
        together.append(Test("replay", os.path.relpath(program, build), [program, seeds], 120))
    for path in sorted(glob.glob(os.path.join(HERE, "e2e", "*.chat"))):
        name = os.path.relpath(path, os.path.dirname(HERE))
        command = [python, os.path.join(HERE, "lib", "chat.py"), "--build", build, path]
        together.append(Test("chat", name, command, 120))
        together.append(Test("chat", name + " octet by octet", command + ["--trickle"], 180))
    for folder, seconds in (("e2e", 400), ("faults", 400), ("stress", 500), ("crash", 500)):
        for path in sorted(glob.glob(os.path.join(HERE, folder, "*.py"))):
            name = os.path.relpath(path, os.path.dirname(HERE))
            where = alone if name.endswith(ALONE) else together
            where.append(Test("python", name, [python, path, "--build", build], seconds))
    # What takes longest begins first.
    together.sort(key=lambda t: t.kind != "python" and not t.name.endswith(LONG))
    if arguments.only:
        def wanted(test):
            return any(only in test.name for only in arguments.only)
        together, alone = list(filter(wanted, together)), list(filter(wanted, alone))
    return together, alone


def memory():
    """A folder whose syncs cost nothing; the disk's where memory is short."""
    folder = os.environ.get("TEST_MEMORY", "/dev/shm")
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1 << 30
    return folder if roomy else tempfile.gettempdir()


def environment(test, folder, in_memory):
    env = dict(os.environ)
    env["TMPDIR"] = in_memory if SLOW > 1 and test.kind != "unit" else folder
    env["TEST_MEMORY"] = in_memory
    if SLOW > 1 and test.name.startswith(ONE_PROCESS):
        env["CK_FORK"] = "no"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "exitcode=66")
    return env


def run(test, shared):
    """Runs one program to its end, or to the end of its time; `shared`: on disk and in memory."""
    folder, in_memory = (tempfile.mkdtemp(prefix="t", dir=where) for where in shared)
    # A mail program that does not run as root looks for its own folder in it.
    os.chmod(folder, 0o711)
    os.chmod(in_memory, 0o711)
    with open(os.path.join(folder, "output"), "w+b") as out:
        process = subprocess.Popen(test.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env=environment(test, folder, in_memory),
                                   start_new_session=True)
        late = False
        try:
            code = process.wait(test.seconds * max(1.0, SLOW))
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        # A daemon that a test lost hold of does not outlive it.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(in_memory, ignore_errors=True)
    result = judge(test, code, text)
    if late:
        result.failed += 1
        result.notes.append("did not end in %d s" % (test.seconds * max(1.0, SLOW)))
    result.output = text
    return result


def judge(test, code, text):
    result = Result()
    if test.kind == "unit":
        for checks, failures, errors in CHECK.findall(text):
            result.failed += int(failures) + int(errors)
            result.passed += int(checks) - int(failures) - int(errors)
    elif test.kind == "python":
        for line in text.splitlines():
            if line.startswith("ok "):
                result.passed += 1
            elif line.startswith("FAIL "):
                result.failed += 1
            elif line.startswith("skip "):
                result.skipped += 1
                result.notes.append(line)
            elif line.startswith("without "):
                result.forgiven += 1
                result.notes.append(line)
    elif test.kind == "chat" and text.startswith("skip"):
        # The dialogue says itself that it is not to be sent octet by octet.
        return result
    elif code == 0:
        result.passed += 1
    if test.kind != "chat" and REPORT.search(text) and result.failed == 0:
        result.failed += 1
        result.notes.append("a sanitizer's report")
    if result.failed == 0 and code != 0:
        result.failed += 1
        result.notes.append("ended with %d" % code)
    if result.failed + result.passed + result.skipped + result.forgiven == 0:
        result.failed += 1
        result.notes.append("tested nothing")
    return result


class Tally:
    """Adds up and prints, in the order in which tests end."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.strict = os.environ.get("REQUIRE") == "all"
        self.lock = threading.Lock()

    def add(self, test, result, seconds):
        with self.lock:
            failed = result.failed + (result.skipped if self.strict else 0)
            self.passed += result.passed
            self.failed += failed
            self.skipped += result.forgiven + (0 if self.strict else result.skipped)
            if result.failed:
                print(result.output.rstrip()[-12000:])
            for note in result.notes:
                print("     " + note)
            count = result.passed + result.failed + result.skipped + result.forgiven
            if count:
                print("%-4s %s (%d, %.1f s)" % ("FAIL" if failed else "ok", test.name, count,
                                                seconds), flush=True)


def main():
    parser = argparse.ArgumentParser(description="runs every test")
    parser.add_argument("--build", default="build")
    parser.add_argument("--unit", action="append", default=[])
    parser.add_argument("--replay", action="append", default=[])
    parser.add_argument("--only", action="append", default=[],
                        help="tests in whose name this occurs")
    parser.add_argument("-j", "--jobs", type=int, default=JOBS)
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)
    arguments.unit = [os.path.abspath(p) for p in arguments.unit]
    arguments.replay = [os.path.abspath(p) for p in arguments.replay]

    together, alone = collect(arguments)
    tally = Tally()
    shared = [tempfile.mkdtemp(prefix="restante-check-", dir=where) for where in (None, memory())]
    for folder in shared:
        os.chmod(folder, 0o711)
    os.environ["TEST_CERTIFICATES"] = os.path.join(shared[0], "certificates")
    os.mkdir(os.environ["TEST_CERTIFICATES"])
    sys.path.insert(0, os.path.join(HERE, "lib"))
    from testsite import certificate
    begun = time.monotonic()

    def one(test):
        start = time.monotonic()
        tally.add(test, run(test, shared), time.monotonic() - start)

    try:
        if shutil.which("openssl"):
            certificate(os.environ["TEST_CERTIFICATES"])
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(one, together))
        for test in alone:
            one(test)
    finally:
        for folder in shared:
            shutil.rmtree(folder, ignore_errors=True)
    print("%.0f s" % (time.monotonic() - begun))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped))
    return 1 if tally.failed or tally.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
