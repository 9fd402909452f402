#!/usr/bin/env python3
"""How many instructions a message costs, beside the counts that are kept: `make instructions`.

A daemon runs under callgrind and has fixed dialogues, each with one connection that waits for every
reply, so that nothing depends on who comes first: a group of the committer is one message.  What is
counted is the whole daemon, with all its threads and libraries but without the kernel, from just before
the dialogue until just after it.  Each dialogue is had several times, in other mailboxes where it
changes them; the first time is not counted, and of the others the median is.

Prints each count, the kept one, the ratio, and the least and the most; ends with 1 when one has grown
by more than ALLOWED.  KEEP=1 (--keep) writes what was counted to tests/bench/instructions.txt. What
callgrind wrote stays in BUILD/instructions; `callgrind_annotate` shows where the instructions are.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys

import meters
from ground import KIB, Ground, fill
from servers import Restante, Site

KEPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.txt")
# The medians of one program differ by 1.1 % at the most between runs, also where ten others want each
# processor.
ALLOWED = 1.02
TIMES = 5
MAILBOXES = 100

COMPILER = "# Compiled by:"
HEAD = """# Instructions for each message or session: `make instructions` counts anew and compares, KEEP=1
# writes this file.  They hold for Debian 12 with its compiler and its libraries, the Makefile's own
# flags, and x86-64 with SSE 4.2 and AVX2.
"""


class Counted(Restante):
    """Restante, one of its daemons under callgrind."""

    def __init__(self, build, folder, daemon):
        self.counted, self.out = daemon, os.path.join(folder, daemon)
        self.dumps = 0
        super().__init__(build, MAILBOXES)

    def _vgdb(self):
        return "--vgdb-prefix=" + os.path.join(self.site.folder, "vgdb")

    def under(self, name):
        return ("valgrind", "--quiet", "--tool=callgrind", "--fair-sched=yes", self._vgdb(),
                "--callgrind-out-file=" + self.out) if name == self.counted else ()

    def dump(self, name):
        """Instructions since the last one; callgrind's file of them gets `name`."""
        pid = self.site.daemons[self.counted].process.pid
        subprocess.run(["callgrind_control", self._vgdb(), "--dump", str(pid)], check=True,
                       capture_output=True)
        self.dumps += 1
        path = self.out + "-" + re.sub(r"[^a-z0-9]+", "-", name.lower())
        os.rename("%s.%d" % (self.out, self.dumps), path)
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
        # callgrind_annotate takes the cost of calls that began before for the caller's own.
        with open(path, "w", encoding="utf-8") as f:
            f.write(re.sub(r"^calls=0 ", "calls=1 ", text, flags=re.M))
        return int(re.search(r"^totals: (\d+)", text, re.M).group(1))


class Dialogue:
    """`part` of the generator with `options`, which does `units` of what it counts as `what`.
    `mail` (messages, octets) lies in each mailbox before, in new ones each time where `fresh`."""

    def __init__(self, name, daemon, part, what, units, mail=None, fresh=False, mailboxes=1,
                 **options):
        self.name, self.daemon, self.part, self.what, self.units = name, daemon, part, what, units
        self.mail, self.fresh, self.mailboxes, self.options = mail, fresh, mailboxes, options

    def counts(self, ground, server):
        """Instructions for each of the units, TIMES over, after one time that is not counted."""
        turns = [ground.mailboxes(self.name, turn if self.fresh else 0, self.mailboxes)
                 for turn in range(TIMES + 1)]
        for first in sorted(set(turns)) if self.mail else ():
            fill(ground, server, first, self.mailboxes, *self.mail)
        counts = []
        for first in turns:
            got = ground.load(self.part, port=server.smtp if self.part == "deliver" else server.pop3,
                              first=first, mailboxes=self.mailboxes, **self.options)
            if got[self.what] != self.units:
                raise meters.LoadFailed("%d of %d were done" % (got[self.what], self.units))
            counts.append(server.dump(self.name) / self.units)
        return counts[1:]


def smtp(name, messages=200, **options):
    return Dialogue("delivery, " + name, "smtpd", "deliver", "messages", messages, mailboxes=10,
                    messages=messages, **{"each": 0, **options})


def pop3(name, what, units, *mail, **options):
    return Dialogue(name, "pop3d", "fetch", what, units, *mail, **options)


DIALOGUES = (
    smtp("4 KiB"),
    smtp("4 KiB, 10 recipients", recipients=10),
    smtp("4 KiB, pipelined", pipelining=1),
    smtp("4 KiB, a connection for each", each=1),
    smtp("64 KiB", octets=64 * KIB),
    pop3("session without mail", "sessions", 200, sessions=200),
    pop3("login, STAT and UIDL of 1,000", "sessions", 10, (1000, KIB), sessions=10, uidl=1, stat=1),
    pop3("login, STAT and LIST of 1,000", "sessions", 10, (1000, KIB), sessions=10, list=1, stat=1),
    pop3("RETR, 10 KiB", "retrieved", 500, (100, 10 * KIB), sessions=5, retr=100),
    pop3("RETR, 10 KiB, TLS", "retrieved", 500, (100, 10 * KIB), sessions=5, retr=100, tls="start"),
    pop3("DELE of 1,000 and QUIT, each", "deleted", 1000, (1000, KIB), True, sessions=1, dele=1000),
)


def measure(build, folder, daemon, dialogues):
    """{name: [count of each time]}, as they come."""
    server = Counted(build, folder, daemon)
    try:
        ground = Ground(build, False, None, folder, MAILBOXES)
        for dialogue in dialogues:
            yield dialogue.name, dialogue.counts(ground, server)
    finally:
        server.stop()


def read_kept():
    """{name: count}, and by what it was compiled."""
    kept, compiler = {}, ""
    with open(KEPT, encoding="utf-8") as f:
        for line in f:
            if line.startswith(COMPILER):
                compiler = line[len(COMPILER):].strip()
            elif not line.startswith("#") and line.strip():
                count, name = line.split(None, 1)
                kept[name.strip()] = int(count)
    return kept, compiler


def compiled_by(build):
    """The compiler, as it signs what it makes."""
    said = subprocess.run(["readelf", "-p", ".comment", os.path.join(build, "smtpd")], check=True,
                          capture_output=True, text=True).stdout
    return re.search(r"\]\s+(.*)", said).group(1).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--keep", action="store_true", help="write what is counted")
    parser.add_argument("--only", default="", help="dialogues in whose name this is")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        print("valgrind is needed (Debian's package of this name)", file=sys.stderr)
        return 69
    build = os.path.abspath(arguments.build)
    folder = os.path.join(build, "instructions")
    os.makedirs(folder, exist_ok=True)
    kept, compiler = read_kept()
    if compiler != compiled_by(build):
        print("compiled by %s; what is kept was compiled by %s" % (compiled_by(build), compiler))
    print("%10s %10s %7s %23s" % ("counted", "kept", "ratio", "least and most"))
    grown = []
    try:
        for daemon in ("smtpd", "pop3d"):
            chosen = [d for d in DIALOGUES if d.daemon == daemon and arguments.only in d.name]
            for name, counts in measure(build, folder, daemon, chosen) if chosen else ():
                count, was = round(statistics.median(counts)), kept.get(name)
                kept[name] = count
                print("%10d %10s %7s %11d %11d  %s" % (
                    count, was or "-", "%.3f" % (count / was) if was else "-", min(counts),
                    max(counts), name), flush=True)
                if was and count > was * ALLOWED:
                    grown.append(name)
    finally:
        Site.forget()
    if arguments.keep:
        with open(KEPT, "w", encoding="utf-8") as f:
            f.write(HEAD + COMPILER + " " + compiled_by(build) + "\n")
            f.writelines("%9d  %s\n" % (kept[d.name], d.name) for d in DIALOGUES if d.name in kept)
        return 0
    for name in grown:
        print("grown by more than %.0f %%: %s" % (ALLOWED * 100 - 100, name))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
