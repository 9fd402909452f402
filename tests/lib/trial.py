"""Plays a scenario again and again, each time with another call of the program failing, and wants
the program to be itself again afterwards: the same process, with the same descriptors, and an answer
to whoever asks next.
"""

import argparse
import collections
import concurrent.futures
import os
import re
import sys
import threading
import time

from faults import KINDS, Faults
from report import Report
from testsite import SLOW, Site, SiteError
from wire import WireError

# A keeper that failed again and again tries after up to ten seconds.  It need not where one call failed.
PATIENCE = 20 * SLOW
AT_ONCE = 8 * SLOW
# How long a fault that is stuck lasts at most.
STUCK = 1.0 * SLOW
# Failures of one kind of call after which the rest of it is left out.
ENOUGH = 5


class Lie(Exception):
    """What was said, or is there, is not what may be."""


def descriptors(pid):
    """How many of each sort the process has open."""
    sorts = collections.Counter()
    folder = "/proc/%d/fd" % pid
    for name in os.listdir(folder):
        try:
            target = os.readlink(os.path.join(folder, name))
        except FileNotFoundError:
            continue
        sorts[re.sub(r"\[\d+\]|\d{6,}|#\d+", "", os.path.basename(target))] += 1
    return sorts


class Trial:
    """One daemon and one scenario.  A subclass says what is played:

    prepare()       before each case, without faults
    play()          the scenario; what was told is kept for judge(); False: a client was put off
    judge()         once the fault is over: raises when something is not as it was told
    well()          True when a client who comes now is served

    A cold one plays each case with a daemon that was just started: with nothing in its caches,
    no connection to the index and no statement prepared.
    """

    def __init__(self, name, site, program, cold=False):
        self.name, self.site, self.program, self.cold = name, site, program, cold
        self.faults = Faults(site.build, site.folder)
        self.start()
        self.slow = [0.0, 0.0]
        self.stuck = False
        self.failed_calls = 0
        self.levels = None

    def start(self):
        self.daemon = self.site.start(self.program, self.faults.environment())
        self.read = os.path.getsize(self.daemon.log)

    def news(self):
        """What was logged since it was last asked for."""
        with open(self.daemon.log, "rb") as f:
            f.seek(self.read)
            text = f.read()
        self.read += len(text)
        return text.decode("utf-8", "replace")

    def prepare_case(self):
        if self.cold:
            self.site.stop(self.program)
            self.start()
        self.prepare()

    def reach(self):
        """How often a scenario calls what; the daemon is warm afterwards, unless it is a cold one."""
        most = collections.Counter()
        for i in range(4):
            self.prepare_case()
            self.faults.count()
            if not self.play():
                raise SiteError("without a fault: %s" % self.news())
            time.sleep(0.05)
            counts = self.faults.counts()
            self.again()
            self.judge()
            if self.cold or i > 0:
                most = collections.Counter({k: max(most[k], n) for k, n in counts.items()})
        self.levels = descriptors(self.daemon.process.pid)
        return most

    def case(self, kind, nth, code, stuck):
        """One fault; False when the scenario did not come to it."""
        self.prepare_case()
        self.stuck = stuck
        self.news()
        self.faults.arm(kind, nth, code, stuck)
        # Where nobody can be accepted, clients wait: it ends while they do.
        over = threading.Timer(STUCK, self.faults.disarm)
        over.start()
        try:
            served = self.play()
        finally:
            over.cancel()
            self.faults.disarm()
        fired = self.faults.fired()
        self.alive()
        self.again()
        self.judge()
        news = self.news()
        if fired and not served and not re.search(r" (error|advice)=", news) and \
                not self.limited(kind):
            raise Lie("a client was put off, and no log line says why:\n%s" % news)
        self.level()
        self.failed_calls += fired
        return fired > 0

    def limited(self, kind):
        """Lines of which there are ten a minute at most."""
        return kind in ("accept", "alloc", "epoll", "open") and \
            len(re.findall(r"event=(refused|accept_failed)", self.daemon.text())) >= 10

    def alive(self):
        if self.daemon.process.poll() is not None:
            raise SiteError("%s ended with %d" % (self.program, self.daemon.process.returncode))

    def again(self):
        """The fault is over: somebody is served, at once or when the keeper has been round."""
        began = time.monotonic()
        while not self.well():
            if time.monotonic() - began > (PATIENCE if self.stuck else AT_ONCE):
                raise Lie("it does not serve again")
            time.sleep(0.05)
        self.slow[bool(self.stuck)] = max(self.slow[bool(self.stuck)], time.monotonic() - began)

    def level(self):
        """No more descriptors than before, but for the caches' within their bounds."""
        deadline = time.monotonic() + 5 * SLOW
        while True:
            now = descriptors(self.daemon.process.pid)
            more = {sort: n for sort, n in now.items()
                    if n > self.levels[sort] + (3 if sort.startswith("index.db") else 0)}
            if not more:
                return
            if time.monotonic() > deadline:
                raise Lie("descriptors: %s more than %s" % (more, dict(self.levels)))
            time.sleep(0.02)

    def run(self, report, kinds, choose):
        reach = self.reach()
        for kind in kinds:
            chosen = choose(self.name, kind, reach[kind])
            if chosen:
                self.run_kind(report, kind, chosen)

    def run_kind(self, report, kind, cases):
        wrong, hit, before = [], 0, self.failed_calls
        self.slow = [0.0, 0.0]
        for nth, code, stuck in cases:
            name = "%s %d, %s%s" % (kind, nth, code, ", stuck" if stuck else "")
            try:
                hit += self.case(kind, nth, code, stuck)
            except (Lie, SiteError, WireError, OSError) as error:
                wrong.append("%s: %s\n    in %s\n%s" % (name, error, self.faults.where(),
                                                      self.news()[-1500:]))
                self.faults.disarm()
                if len(wrong) == ENOUGH:
                    break
                if not self.recover():
                    break
        title = "%s: %s, %d cases" % (self.name, kind, len(cases))
        if wrong:
            report.fail(title, "\n".join(wrong))
        else:
            report.ok(title)
        print("# %s: %s: %d reached, %d calls failed, served again after %.1f s, %.1f s where it was stuck" % (
            self.name, kind, hit, self.failed_calls - before, *self.slow), flush=True)

    def recover(self):
        """After a failure: a daemon that serves, so that others can be found."""
        if self.daemon.process.poll() is not None:
            self.site.daemons.pop(self.program, None)
            self.start()
        try:
            self.again()
            self.reach()
        except (Lie, SiteError, WireError, OSError):
            return False
        return True


def options(doc):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--build", default="build")
    parser.add_argument("--every", type=int, metavar="K",
                        help="each K-th case; 1 is all of them, as `make faults` does")
    parser.add_argument("--seed", type=int, default=0, help="other ones, of those")
    parser.add_argument("--kind", action="append", help="only this kind of call")
    parser.add_argument("--only", default="", help="only scenarios in whose name it occurs")
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)
    return arguments


def preloads(build, program):
    """True where the library can be preloaded: with no thread sanitizer, which forbids it."""
    with open(os.path.join(build, program), "rb") as f:
        return b"__tsan_init" not in f.read()


def chooser(every, seed, all_of_them):
    """A function (scenario, kind, reach) that gives the cases to be played: [(n, code, stuck)]."""

    def choose(name, kind, reach):
        # What a disk that stays bad leaves behind is mended after some seconds: not for every day.
        cases = [(nth, code, stuck)
                 for stuck in ((False, True) if all_of_them or kind not in ("write", "sync") else (False,))
                 for code in KINDS[kind] for nth in range(1, reach + 1)]
        # Each begins elsewhere, so that not all fall upon the same part of the scenario.
        first = sum(map(ord, name + kind)) + seed
        return cases[first % min(every, len(cases))::every] if cases else []

    return choose


def run(doc, scenarios, play, every):
    """The program: play(report, build, scenario, kinds, choose) for each scenario, and each `every`-th
    case unless the command line says otherwise.  Then the kinds are played apart, some at the same
    time, since they wait most of theirs."""
    arguments = options(doc)
    report = Report()
    if not preloads(arguments.build, "smtpd"):
        report.without("faults", "a program with the thread sanitizer takes no preloaded library")
        sys.exit(0)
    apart = arguments.every is not None
    kinds = arguments.kind or list(KINDS)
    choose = chooser(arguments.every or every, arguments.seed, apart)
    parts = [(name, part) for name in scenarios if arguments.only in name
             for part in ([[kind] for kind in kinds] if apart else [kinds])]

    def one(part):
        report.run("%s: %s" % (part[0], " ".join(part[1])), play, report, arguments.build, *part, choose)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(one, parts))
    Site.forget()
    report.done()
