#!/usr/bin/env python3
"""Restante and the servers that people know, case by case, in one run: `make bench`.

Each case is measured on each server in turn, for several rounds, so that whatever else the machine
does meanwhile meets all of them; beside them what the machine could do without a mail server.  Prints
each figure as it comes, and then the table: medians, spreads, and Restante against the best of the
others and against the limit.  docs/performance.md tells how to read it.

QUICK=1 (--quick) takes the cases that matter most once, and ends within two minutes.  TINY=1
(--tiny) takes all cases once, with hardly any mail: it shows that they run, and measures nothing.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time

import cases
import figures
import meters
import peers
from far import Far
from ground import Ground
from servers import Absent, Restante, Site, SiteError

MAILBOXES, QUICK_MAILBOXES = 16000, 700
# What 10,000 connections want of the generator, and of a server.
DESCRIPTORS = 32768


# With --quick nothing begins after that; what runs then, and clearing up, comes on top.
QUICK_SECONDS = 80


# Messages, or connections, that a case has with --tiny.
TINY = 20


def make_tiny(case):
    if "count" in case.parameters:
        case.parameters["count"] = min(case.parameters["count"], TINY)
    return case


def raise_descriptors():
    """The limit of open files, for us and all whom we start: as far as we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            return
        except ValueError:
            continue


def takes_part(case, server, far):
    """Whether this server has a figure here."""
    return {"all": True, "pop3": server.own_pop3, "far": server.own_pop3 and far,
            "smtp": server.smtp is not None, "ours": server.name == figures.OURS}[case.who]


class Run:
    """The servers, and all figures so far."""

    def __init__(self, arguments):
        self.build = os.path.abspath(arguments.build)
        self.quick = arguments.quick
        self.small = arguments.quick or arguments.tiny
        self.state = tempfile.mkdtemp(prefix="restante-bench-")
        os.chmod(self.state, 0o711)
        self.servers, self.absent = [], {}
        self.results = figures.Results()
        self.begun = time.monotonic()
        self.allowed = arguments.servers
        self.count = count = QUICK_MAILBOXES if self.small else MAILBOXES
        self.far = None
        try:
            self.far = Far()
        except Absent as error:
            self.absent["a client in another network namespace"] = str(error)
        ours = Restante(self.build, count, bool(self.far))
        self.servers.append(ours)
        self.certificate = (ours.certificate,
                            os.path.join(os.path.dirname(ours.certificate), "key.pem"))
        for kind in (peers.Dovecot, peers.OpenSMTPD, peers.Courier):
            self.add(kind.name, lambda kind=kind: kind(
                self.build, os.path.join(self.state, kind.name), ours.site, count,
                bool(self.far)))
            if kind is peers.Dovecot:
                dovecot = self.servers[-1]
                if dovecot is not ours:
                    self.add("Postfix", lambda dovecot=dovecot: peers.Postfix(dovecot))

    def add(self, name, make):
        if self.allowed and name not in self.allowed:
            return
        try:
            self.servers.append(make())
        except (Absent, OSError) as error:
            self.absent[name] = str(error)
            print("without %s: %s" % (name, error), flush=True)

    def say(self, text):
        print("%4d s  %s" % (time.monotonic() - self.begun, text), flush=True)

    def measure(self, ground, case, server, turn):
        if not takes_part(case, server, self.far):
            return
        if self.quick and time.monotonic() - self.begun > QUICK_SECONDS:
            self.results.left_out += 1
            return
        try:
            got = case.measure(ground, server, case.key, turn, **case.parameters)
        except (meters.LoadFailed, SiteError, OSError) as error:
            self.results.fail(case, server.name, str(error))
            self.say("%s, %s: %s" % (case.title, server.name, error))
            return
        got = got if isinstance(got, dict) else {"": got}
        for part, figure in got.items():
            self.results.add(case, part, server.name, figure)
        self.say("%s, %s: %s" % (case.title, server.name, ", ".join(
            "%s%s" % (part + " " if part else "", figures.number(figure))
            for part, figure in got.items())))

    def rounds(self, ground, chosen, rounds):
        for turn in range(rounds):
            for case in chosen:
                if case.limit and (self.far or case.who != "far") and not (self.quick and
                                       time.monotonic() - self.begun > QUICK_SECONDS):
                    self.results.add(case, "", figures.LIMIT, case.limit[1](ground))
                for server in self.servers:
                    self.measure(ground, case, server, turn)

    def stop(self):
        for server in self.servers:
            server.stop()
        if self.far:
            self.far.close()
        Site.forget()
        shutil.rmtree(self.state, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--only", action="append", default=[], help="cases in whose name this is")
    parser.add_argument("--servers", nargs="*", help="peers to take; none: only Restante")
    arguments = parser.parse_args()
    if arguments.servers is not None and not arguments.servers:
        arguments.servers = ["-"]
    # A run that is told to end takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise_descriptors()
    run = Run(arguments)
    try:
        ground = Ground(run.build, run.small, run.certificate, run.state, run.count,
                        run.far)
        chosen = [c for c in cases.table(run.quick)
                  if (c.quick or not run.quick) and
                  (not arguments.only or any(o in c.key for o in arguments.only))]
        if arguments.tiny:
            chosen = [make_tiny(c) for c in chosen]
        run.rounds(ground, chosen, arguments.rounds or (1 if run.small else 3))
    finally:
        run.stop()
    print()
    print(run.results.table(chosen, [s.name for s in run.servers], run.absent))
    return 1 if run.results.failed("Restante") else 0


if __name__ == "__main__":
    sys.exit(main())
