#!/usr/bin/env python3
"""Clients that stall before their login, in it and in the middle of what they asked for, for as
long as it takes the index's log to be begun anew some times.

Mail comes in, is removed and expires meanwhile.  What is measured is octets: the log stays
small, and what was removed gives its blocks back, but for what the stalled have asked for.
"""

import argparse
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), HERE]
from amail import sealed, unsealed  # noqa: E402
from pop3_flow import PATIENCE, SENDER, narrow, pour  # noqa: E402
from report import Report  # noqa: E402
from testsite import PASSWORD, Site  # noqa: E402
from wire import Wire, WireError, submit, unstuffed  # noqa: E402

JOE, ANN, EVE, BOB = ("%s@example.test" % n for n in ("joe", "ann", "eve", "bob"))
# The keepers checkpoint at 250 frames of 2 KiB, ten times a second at most; this is what a burst may add until
# then, however busy the machine is.
LOG_MAX = 16 << 20
BEGUN_ANEW = 4
# What would fill a log beyond LOG_MAX several times.
MESSAGES_MAX = 20000


def log_state(site):
    """(octets, how often it was begun anew): the second counts up at octet 12 of its header."""
    path = os.path.join(site.spool, "index", "index.db-wal")
    with open(path, "rb") as f:
        header = f.read(16)
        size = os.fstat(f.fileno()).st_size
    return size, struct.unpack(">I", header[12:])[0] if len(header) == 16 else None


def blocks(site):
    folder = os.path.join(site.spool, "segments")
    return sum(os.stat(os.path.join(folder, name)).st_blocks * 512 for name in os.listdir(folder))


def login(site, user, wire=None):
    wire = wire or Wire(site.address("pop3"), timeout=PATIENCE)
    wire.ok()
    wire.login(user, PASSWORD)
    return wire


def empty(site, user):
    wire = login(site, user)
    count = int(wire.ok(b"STAT").split()[0])
    wire.send(b"".join(b"DELE %d\r\n" % n for n in range(1, count + 1)))
    for _ in range(count):
        wire.ok()
    wire.ok(b"QUIT")
    wire.close()
    return count


def stall(site):
    """Each kind; the one in the middle of RETR first."""
    retr = login(site, JOE, narrow(site.address("pop3")))
    retr.send(b"RETR 1\r\nRETR 2\r\n" * 2)
    listing = login(site, BOB, narrow(site.address("pop3")))
    listing.send(b"UIDL\r\n" * 200)
    before = Wire(site.address("pop3"), timeout=PATIENCE)
    before.ok()
    before.ok(b"USER " + JOE.encode())
    # The maildrop is taken: it waits for as long as lock_wait.
    waits = Wire(site.address("pop3"), timeout=PATIENCE)
    waits.ok()
    waits.ok(b"USER " + JOE.encode())
    waits.send(b"PASS %s\r\n" % PASSWORD.encode())
    quit_unread = login(site, ANN, narrow(site.address("pop3")))
    quit_unread.send(b"RETR 1\r\n")
    return retr, listing, before, waits, quit_unread


def churn(site):
    """Mail in and out until the log was begun anew: (messages, the longest that it was)."""
    largest, counts, messages, turn = 0, set(), 0, 0
    while len(counts) <= BEGUN_ANEW:
        if messages > MESSAGES_MAX:
            raise WireError("the log was begun anew %d times in %d messages, and has %d octets" % (
                len(counts) - 1, messages, largest))
        turn += 1
        pour(site.address("smtp"), 200, EVE)
        messages += 200
        size, count = log_state(site)
        if turn % 2:
            site.age(EVE)
            site.admin("expire", EVE)
        else:
            empty(site, EVE)
        largest = max(largest, size, log_state(site)[0])
        counts |= {c for c in (count, log_state(site)[1]) if c is not None}
        if largest > LOG_MAX:
            raise WireError("the log has %d octets after %d messages" % (largest, messages))
    return messages, largest


def until_given_back(site, octets):
    deadline = time.monotonic() + PATIENCE
    while blocks(site) > octets:
        if time.monotonic() > deadline:
            raise WireError("%d octets are taken still, not %d" % (blocks(site), octets))
        time.sleep(.05)


def stalled(site):
    for number in range(2):
        submit(site.address("smtp"), SENDER, [JOE.encode(), ANN.encode()],
               sealed("large-%d" % number, 3 << 20, number))
    pour(site.address("smtp"), 500, BOB)
    until_given_back(site, 16 << 20)
    held = blocks(site)
    retr, listing, before, waits, other = stall(site)
    messages, largest = churn(site)
    # Nobody takes from a session what it has listed.
    site.age(JOE)
    site.admin("expire", JOE, want=75)
    site.admin("user", "remove", JOE, "--yes", want=75)
    # A segment that is being written keeps its name, and a block or two.
    until_given_back(site, held + (1 << 20))
    site.admin("check")
    # They go on where they stood.
    for number in (0, 1) * 2:
        retr.ok()
        if unsealed(unstuffed(retr.until_dot())) != "large-%d" % number:
            raise WireError("not the message that was asked for")
    for number in (1, 2):
        retr.ok(b"DELE %d" % number)
    retr.ok(b"QUIT")
    retr.close()
    for _ in range(200):
        listing.ok()
        if listing.until_dot().count(b"\r\n") != 500:
            raise WireError("the listing changed under the session")
    waits.ok()
    if not waits.ok(b"STAT").startswith(b"0 0"):
        raise WireError("what was deleted is there")
    before.ok(b"QUIT")
    # Its blocks are there for as long as somebody holds it.
    other.ok()
    if unsealed(unstuffed(other.until_dot())) != "large-0":
        raise WireError("not the message that was asked for")
    other.ok(b"QUIT")
    if empty(site, ANN) != 2:
        raise WireError("not the two that are held still")
    until_given_back(site, held - (6 << 20) + (1 << 20))
    for wire in (listing, before, waits, other):
        wire.close()
    print("# %d messages came and went; the log had %d octets at most" % (messages, largest))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    with Site(build, {("pop3d", "lock_wait"): "10m"}, lmtp=False, tls=False,
              users=(JOE, ANN, EVE, BOB)) as site:
        report.run("log and disk stay small behind clients that stall", stalled, site)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
