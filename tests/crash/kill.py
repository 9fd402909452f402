#!/usr/bin/env python3
"""kill -9 at random instants: what was acknowledged is there, once, and what was not is whole or
not there.

smtpd is killed twenty times under load, pop3d ten times while it deletes.
"""

import argparse
import asyncio
import collections
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from amail import Async, sealed, unsealed  # noqa: E402
from report import Report  # noqa: E402
from testsite import Site, PASSWORD, SLOW  # noqa: E402
from wire import Wire, WireError  # noqa: E402

MAILBOXES = ["u%d@example.test" % i for i in range(3)]
CLIENTS = 12
KILLS = 20
PATIENCE = 60 * SLOW
# How a connection looks that died under a client.
GONE = (ConnectionError, WireError, asyncio.IncompleteReadError, asyncio.TimeoutError)


async def send_until_dead(site, turn, client, acknowledged, tried):
    rng = random.Random(turn * 1000 + client)
    number = 0
    try:
        wire = await Async.open(site.addresses["smtp"], PATIENCE)
        await wire.reply()
        await wire.want(b"EHLO client.example", 250)
        while True:
            name = "t%d-c%d-%d" % (turn, client, number)
            number += 1
            # One in ten has a segment of its own.
            size = rng.randrange(300000, 900000) if rng.random() < 0.1 else rng.randrange(1, 20000)
            recipients = rng.sample(MAILBOXES, 2 if number % 3 == 0 else 1)
            message = sealed(name, size, name)
            for recipient in recipients:
                tried[recipient].add(name)
            await wire.submit(b"client@client.example", recipients, message)
            for recipient in recipients:
                acknowledged[recipient].add(name)
    except GONE:
        return


async def load_and_kill(site, turn, acknowledged, tried):
    tasks = [asyncio.create_task(send_until_dead(site, turn, c, acknowledged, tried))
             for c in range(CLIENTS)]
    await asyncio.sleep(random.Random(turn).uniform(0.05, 0.6) * min(SLOW, 3))
    site.daemons.pop("smtpd").kill()
    await asyncio.gather(*tasks)


def names_in(site, mailbox, delete=False):
    wire = Wire(site.address("pop3"), timeout=PATIENCE)
    wire.ok()
    wire.login(mailbox, PASSWORD)
    count = int(wire.ok(b"STAT").split()[0])
    names = collections.Counter(unsealed(wire.retrieve(n)) for n in range(1, count + 1))
    if delete:
        for number in range(1, count + 1):
            wire.ok(b"DELE %d" % number)
    wire.ok(b"QUIT")
    wire.close()
    return names


def kill_smtpd(site):
    """Recovery and the fetching run in a pop3d that was there all the time."""
    site.start("pop3d")
    total = 0
    for turn in range(KILLS):
        acknowledged = {m: set() for m in MAILBOXES}
        tried = {m: set() for m in MAILBOXES}
        site.start("smtpd")
        asyncio.run(load_and_kill(site, turn, acknowledged, tried))
        site.start("smtpd")
        for mailbox in MAILBOXES:
            names = names_in(site, mailbox, delete=True)
            lost = acknowledged[mailbox] - set(names)
            strange = set(names) - tried[mailbox]
            doubled = [name for name, n in names.items() if n > 1]
            if lost or strange or doubled:
                raise WireError("kill %d, %s: lost %r, strange %r, doubled %r" % (
                    turn, mailbox, sorted(lost)[:5], sorted(strange)[:5], doubled[:5]))
            total += len(acknowledged[mailbox])
        site.stop("smtpd")
    if total < KILLS * 3:
        raise WireError("only %d messages were acknowledged: that was no load" % total)
    print("# %d messages were acknowledged before %d kills" % (total, KILLS))


def restart_finds_nothing_new(site):
    """What recovery brought back, it brings back once: nothing returns with a later start."""
    for _ in range(2):
        site.start("smtpd")
        for mailbox in MAILBOXES:
            if names_in(site, mailbox):
                raise WireError("deleted mail came back with a restart")
        site.stop("smtpd")


def kill_pop3d(site):
    """All of an UPDATE happened, or nothing; all, where +OK was said."""
    mailbox = MAILBOXES[0]
    site.start("smtpd")

    async def send(turn):
        wire = await Async.open(site.addresses["smtp"], PATIENCE)
        await wire.reply()
        await wire.want(b"EHLO client.example", 250)
        for number in range(60):
            name = "p%d-%d" % (turn, number)
            await wire.submit(b"client@client.example", [mailbox], sealed(name, 100, name))
        wire.close()

    for turn in range(10):
        asyncio.run(send(turn))
        wire = Wire(site.address("pop3"), timeout=PATIENCE)
        wire.ok()
        wire.login(mailbox, PASSWORD)
        count = int(wire.ok(b"STAT").split()[0])
        keep = {unsealed(wire.retrieve(n)) for n in range(2, count + 1, 2)}
        gone = {unsealed(wire.retrieve(n)) for n in range(1, count + 1, 2)}
        for number in range(1, count + 1, 2):
            wire.ok(b"DELE %d" % number)
        wire.send(b"QUIT\r\n")
        if turn % 5:
            wire.sock.settimeout(turn % 5 * 0.002)
            try:
                wire.buffer += wire.sock.recv(1000)
            except (TimeoutError, ConnectionError):
                pass
        site.daemons.pop("pop3d").kill()
        try:
            wire.eof()
            said = False
        except (WireError, ConnectionError):
            said = wire.buffer.startswith(b"+OK")
        wire.close()
        site.start("pop3d")
        names = set(names_in(site, mailbox, delete=turn == 9))
        if not (names == keep or (names == keep | gone and not said)):
            raise WireError("turn %d, +OK %s: %d of %d were kept, %d of %d deleted ones are there" % (
                turn, said, len(names & keep), len(keep), len(names & gone), len(gone)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    with Site(build, users=MAILBOXES, lmtp=False) as site:
        if report.run("kill -9 of smtpd under load, %d times" % KILLS, kill_smtpd, site):
            report.run("restarts bring nothing back", restart_finds_nothing_new, site)
            report.run("kill -9 of pop3d while it deletes", kill_pop3d, site)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
