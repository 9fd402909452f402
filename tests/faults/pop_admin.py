#!/usr/bin/env python3
"""The n-th call of pop-admin fails, for each n that a command comes to: memory, descriptors, files,
syncs, SQLite.

    python3 tests/faults/pop_admin.py [--build DIR] [--every K] [--kind KIND]... [--only TEXT]

The command ends with a code of sysexits.h and says what failed, or does all that it does without a
fault; what it said it did is done, what it did not do it can do when it is run again, and nothing is
half made.
"""

import os
import re
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faults import KINDS, Faults  # noqa: E402
from testsite import PASSWORD, REPORT, SLOW, USERS, Site, sanitizer_environment  # noqa: E402
from trial import Lie, run  # noqa: E402
from wire import Wire, submit  # noqa: E402

# sysexits.h, as far as a fault may lead there: neither our own error, nor a wrong command line or
# configuration.
FAILURES = {65, 69, 74, 75}
OLD, NEW = USERS[0], "new@example.test"
ENOUGH = 5


class Command:
    """What is run, what makes it possible before, and what is wanted after.  `stdin` is the new
    user's password."""

    def __init__(self, site, *arguments, stdin=""):
        self.site, self.arguments, self.stdin = site, arguments, stdin
        self.expected = None

    def prepare(self):
        pass

    def run(self, env=None):
        """(exit code, standard output, standard error)"""
        done = subprocess.run(
            [os.path.join(self.site.build, "pop-admin"), "-c", self.site.conf, *self.arguments],
            input=self.stdin.encode(), capture_output=True, check=False, timeout=60 * SLOW,
            env={**sanitizer_environment(), **(env or {})})
        return (done.returncode, done.stdout.decode("utf-8", "replace"),
                done.stderr.decode("utf-8", "replace"))

    def judge(self, code, out):
        """The fault is over."""
        if code == 0 and self.expected is not None and out != self.expected:
            raise Lie("it said %r, not %r" % (out, self.expected))

    def learn(self):
        """A run without a fault."""
        self.prepare()
        code, out, err = self.run()
        if code != 0:
            raise Lie("without a fault: %d\n%s" % (code, err))
        self.expected = out
        self.judge(code, out)


class Shows(Command):
    """Changes nothing, and says the same each time."""

    def judge(self, code, out):
        super().judge(code, out)
        code, again, err = self.run()
        if code != 0 or again != self.expected:
            raise Lie("afterwards it ends with %d and says %r\n%s" % (code, again, err))


class Adds(Command):
    """A user who is there wholly or not at all."""

    def judge(self, code, out):
        if code == 0 and NEW not in self.site.admin("user", "list"):
            raise Lie("a user who was added is not there")
        # The same again: it is made, or was made.
        again, _, err = self.run()
        if again not in ([73] if code == 0 else [0, 73]):
            raise Lie("again: %d\n%s" % (again, err))
        pop = Wire(self.site.address("pop3"), timeout=30 * SLOW)
        pop.ok()
        pop.login(NEW, self.stdin.strip())
        pop.ok(b"QUIT")
        pop.close()
        self.site.admin("user", "remove", NEW, "--yes")
        if self.secrets() != len(USERS):
            raise Lie("a removed user's password is there")

    def secrets(self):
        db = sqlite3.connect(os.path.join(self.site.spool, "secrets", "secrets.db"), timeout=20)
        count = db.execute("SELECT count(*) FROM secret").fetchone()[0]
        db.close()
        return count


class Removes(Command):
    """Mail that is gone, or is not and can be removed by the same again."""

    def prepare(self):
        while len(self.uids()) < 3:
            submit(self.site.address("smtp"), b"s@client.example", [OLD.encode()], b"\r\nold\r\n")
        db = sqlite3.connect(os.path.join(self.site.spool, "index", "index.db"), timeout=20)
        with db:
            db.execute("UPDATE entry SET expires_day = 1")
        db.close()

    def uids(self):
        return re.findall(r'"uid": ?"(\w+)"', self.site.admin("--json", "mail", "list", OLD))

    def judge(self, code, out):
        left = len(self.uids())
        if left not in ([0] if code == 0 else [0, 3]):
            raise Lie("%d of 3 are there after %d" % (left, code))
        self.site.admin("expire")
        if self.uids():
            raise Lie("mail is there still")
        self.site.admin("check")


SCENARIOS = {
    "user add": lambda site: Adds(site, "user", "add", NEW, "--apop", stdin=PASSWORD + "\n"),
    "user list": lambda site: Shows(site, "user", "list"),
    "mail list": lambda site: Shows(site, "mail", "list", OLD),
    "check": lambda site: Shows(site, "check"),
    "expire": lambda site: Removes(site, "expire"),
}
EVERY = 499


def case(command, faults, kind, nth, code, stuck):
    """How many calls failed."""
    command.prepare()
    faults.arm(kind, nth, code, stuck)
    status, out, err = command.run(faults.environment())
    faults.disarm()
    if status < 0 or REPORT.search(err):
        raise Lie("it ended with %d: %s" % (status, err))
    if status != 0 and (not faults.fired() or status not in FAILURES or not err.strip()):
        raise Lie("it ended with %d and said %r" % (status, err))
    command.judge(status, out)
    return faults.fired()


def reach(command, faults):
    """How often the command calls what, at most."""
    counts = []
    for _ in range(2):
        command.prepare()
        faults.count()
        status, out, err = command.run(faults.environment())
        if status != 0:
            raise Lie("without a fault: %d %s" % (status, err))
        counts.append(faults.counts())
        command.judge(status, out)
    return {kind: max(c[kind] for c in counts) for kind in KINDS}


def run_kind(report, name, command, faults, kind, cases):
    wrong, hit, failed = [], 0, 0
    for nth, code, stuck in cases:
        try:
            fired = case(command, faults, kind, nth, code, stuck)
            hit, failed = hit + (fired > 0), failed + fired
        except Exception as error:  # whatever it is, it is the case's failure
            wrong.append("%s %d, %s%s: %s\n    in %s" % (
                kind, nth, code, ", stuck" if stuck else "", error, faults.where()))
            faults.disarm()
            if len(wrong) == ENOUGH:
                break
    title = "pop-admin %s: %s, %d cases" % (name, kind, len(cases))
    if wrong:
        report.fail(title, "\n".join(wrong))
    else:
        report.ok(title)
    print("# pop-admin %s: %s: %d reached, %d calls failed" % (name, kind, hit, failed), flush=True)


def play(report, build, name, kinds, choose):
    with Site(build, lmtp=False, tls=False) as site:
        submit(site.address("smtp"), b"s@client.example", [OLD.encode()], b"\r\nmail\r\n")
        site.start("pop3d")
        command = SCENARIOS[name](site)
        command.learn()
        faults = Faults(site.build, site.folder)
        reached = reach(command, faults)
        for kind in kinds:
            chosen = choose(name, kind, reached[kind])
            if chosen:
                run_kind(report, name, command, faults, kind, chosen)
        site.admin("check")


if __name__ == "__main__":
    run(__doc__, SCENARIOS, play, EVERY)
