#!/usr/bin/env python3
"""The n-th call of a daemon that starts fails, for each n until it is ready and has served somebody.

    python3 tests/faults/start.py [--build DIR] [--every K] [--kind KIND]... [--only TEXT]

It says what failed and ends with a code of sysexits.h after which a supervisor starts it again; or it
runs, puts clients off for as long as it has to, and serves them when the fault is over.
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faults import KINDS, Faults  # noqa: E402
from testsite import PASSWORD, REPORT, SLOW, USERS, Site, SiteError  # noqa: E402
from trial import PATIENCE, STUCK, Lie, run  # noqa: E402
from wire import Wire, WireError, submit  # noqa: E402

# 78, the configuration is wrong, is for ever: init/*.service.
AGAIN = {69, 74, 75}
ENOUGH = 5


def sends(site):
    """smtpd takes mail."""
    submit(site.address("smtp"), b"s@client.example", [USERS[0].encode()], b"\r\nmail\r\n")


def shows(site):
    """pop3d shows it."""
    pop = Wire(site.address("pop3"), timeout=30 * SLOW)
    pop.ok()
    pop.login(USERS[0], PASSWORD)
    if pop.ok(b"STAT").split()[0] == b"0":
        raise Lie("a mailbox with mail is shown empty")
    pop.ok(b"QUIT")
    pop.close()


SCENARIOS = {"smtpd starts": ("smtpd", sends), "pop3d starts": ("pop3d", shows)}
EVERY = 997


def serve(site, daemon, use):
    """Until it can be used."""
    began = time.monotonic()
    while True:
        try:
            use(site)
            return
        except (WireError, OSError) as error:
            if daemon.process.poll() is not None:
                raise Lie("it ended with %d\n%s" % (daemon.process.returncode, site.log())) from error
            if time.monotonic() - began > PATIENCE:
                raise Lie("it does not serve: %s\n%s" % (error, site.log())) from error
            time.sleep(0.05)


def start(site, program, use, faults):
    """One start.  What the fault leaves of it is to serve when it is over."""
    over = threading.Timer(STUCK, faults.disarm)
    over.start()
    try:
        daemon = site.start(program, faults.environment())
        try:
            use(site)
        except (WireError, OSError):
            pass
    except SiteError as error:
        daemon = site.daemons[program]
        code = daemon.process.poll()
        if code not in AGAIN or REPORT.search(daemon.text()):
            raise
        if "event=start_failed error=\"\"" in daemon.text() or "start_failed" not in daemon.text():
            raise Lie("it ended with %d and did not say why: %s" % (code, error)) from error
        site.daemons.pop(program)
        return
    finally:
        over.cancel()
        faults.disarm()
    serve(site, daemon, use)
    site.stop(program)


def end(site, program):
    daemon = site.daemons.pop(program, None)
    if daemon and daemon.process.poll() is None:
        daemon.kill()


def reach(site, program, use, faults):
    faults.count()
    site.start(program, faults.environment())
    use(site)
    site.stop(program)
    return faults.counts()


def play(report, build, name, kinds, choose):
    program, use = SCENARIOS[name]
    # Without TLS: of twenty thousand calls for memory nearly all would be OpenSSL's own.
    with Site(build, lmtp=False, tls=False) as site:
        sends(site)
        site.stop("smtpd")
        faults = Faults(site.build, site.folder)
        reached = reach(site, program, use, faults)
        for kind in kinds:
            chosen = choose(name, kind, reached[kind])
            wrong, failed = [], 0
            for nth, code, stuck in chosen:
                try:
                    faults.arm(kind, nth, code, stuck)
                    start(site, program, use, faults)
                except Exception as error:  # whatever it is, it is the case's failure
                    wrong.append("%s %d, %s%s: %s\n    in %s" % (
                        kind, nth, code, ", stuck" if stuck else "", error, faults.where()))
                    end(site, program)
                failed += faults.fired()
                if len(wrong) == ENOUGH:
                    break
            title = "%s: %s, %d cases" % (name, kind, len(chosen))
            if wrong:
                report.fail(title, "\n".join(wrong))
            elif chosen:
                report.ok(title)
                print("# %s: %s: %d calls failed" % (name, kind, failed), flush=True)


if __name__ == "__main__":
    run(__doc__, SCENARIOS, play, EVERY)
