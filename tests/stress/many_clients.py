#!/usr/bin/env python3
"""Two hundred clients send and fetch at once: nothing is lost, doubled or mixed.

Each sends 20 messages of 1 octet to 2 MiB, a third of them to several mailboxes, a fifth of the
clients under TLS.  At the same time each mailbox is fetched and emptied again and again.  Every
body carries its own hash and name.  TEST_LOAD shortens it for slow builds.

And what a crowd of connections took of a daemon's memory is given back when they are gone.
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
from wire import WireError  # noqa: E402

LOAD = float(os.environ.get("TEST_LOAD", "1"))
CLIENTS = 200
EACH = max(3, int(20 * LOAD))
MAILBOXES = ["u%d@example.test" % i for i in range(16)]
PATIENCE = 120 * SLOW
CROWD = 800


def size_of(rng, number):
    """Mostly small; each client has one large message."""
    top = 1 << 21 if number == 0 else 1 << 16
    return int(2 ** rng.uniform(0, top.bit_length() - 1))


async def send(site, client, expected):
    rng = random.Random(client)
    wire = await Async.open(site.address("smtp"), PATIENCE)
    await wire.reply()
    await wire.want(b"EHLO c%d.client.example" % client, 250)
    if client % 5 == 0:
        await wire.want(b"STARTTLS", 220)
        await wire.starttls(site.context())
        await wire.want(b"EHLO c%d.client.example" % client, 250)
    for number in range(EACH):
        name = "m%d-%d" % (client, number)
        recipients = rng.sample(MAILBOXES, rng.randrange(2, 7) if number % 3 == 0 else 1)
        await wire.submit(b"c%d@client.example" % client, recipients,
                          sealed(name, size_of(rng, number), name))
        for recipient in recipients:
            expected[recipient].add(name)
    await wire.want(b"QUIT", 221)
    wire.close()


async def fetch_once(site, mailbox, tls):
    """Fetches and deletes what is there now; the names."""
    wire = await Async.open(site.address("pop3s" if tls else "pop3"), PATIENCE,
                            site.context() if tls else None)
    await wire.ok()
    await wire.login(mailbox, PASSWORD)
    count = int((await wire.ok(b"STAT")).split()[0])
    names = []
    for number in range(1, count + 1):
        names.append(unsealed(await wire.multi(b"RETR %d" % number)))
        await wire.ok(b"DELE %d" % number)
    await wire.ok(b"QUIT")
    wire.close()
    return names


async def fetch(site, mailbox, found, done):
    turn = 0
    while True:
        last = done.is_set()
        for name in await fetch_once(site, mailbox, turn % 2):
            found[mailbox][name] += 1
        if last:
            return
        turn += 1
        await asyncio.sleep(0.05)


async def everything(site):
    expected = {mailbox: set() for mailbox in MAILBOXES}
    found = {mailbox: collections.Counter() for mailbox in MAILBOXES}
    done = asyncio.Event()
    fetchers = [asyncio.create_task(fetch(site, m, found, done)) for m in MAILBOXES]
    try:
        await asyncio.gather(*(send(site, client, expected) for client in range(CLIENTS)))
        done.set()
        await asyncio.gather(*fetchers)
    finally:
        for task in fetchers:
            task.cancel()
    for mailbox in MAILBOXES:
        lost = expected[mailbox] - set(found[mailbox])
        mixed = set(found[mailbox]) - expected[mailbox]
        doubled = [name for name, n in found[mailbox].items() if n > 1]
        if lost or mixed or doubled:
            raise WireError("%s: lost %r, not for it %r, doubled %r" % (
                mailbox, sorted(lost)[:5], sorted(mixed)[:5], sorted(doubled)[:5]))


def memory(daemon):
    """KiB that are this process's alone."""
    with open("/proc/%d/smaps_rollup" % daemon.process.pid, encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


def sockets(daemon):
    folder = "/proc/%d/fd" % daemon.process.pid
    count = 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(os.path.join(folder, name)).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


async def greeted(site, count):
    wires = [await Async.open(site.address("pop3s"), PATIENCE, site.context())
             for _ in range(count)]
    for wire in wires:
        await wire.ok()
    return wires


async def gone(daemon, wires, left):
    """The end of a connection is nothing that its client could see."""
    for wire in wires:
        wire.vanish()
    for _ in range(int(PATIENCE / 0.05)):
        if sockets(daemon) <= left:
            return
        await asyncio.sleep(0.05)
    raise WireError("%d connections are left" % (sockets(daemon) - left))


async def crowd(site, daemon):
    left = sockets(daemon)
    await gone(daemon, await greeted(site, 10), left)
    before = memory(daemon)
    wires = await greeted(site, CROWD)
    most = memory(daemon)
    await gone(daemon, wires, left)
    kept = memory(daemon) - before
    if kept > (most - before) / 2:
        raise WireError("%d KiB, with %d clients %d, and %d are kept" % (
            before, CROWD, most, kept))
    return before, most, kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()

    def run():
        with Site(build, users=MAILBOXES) as site:
            site.start("smtpd")
            site.start("pop3d")
            asyncio.run(everything(site))

    report.run("%d clients send %d messages each, and all is fetched meanwhile" % (CLIENTS, EACH),
               run)

    def leave():
        with Site(build, {("pop3d", "max_connections_per_ip"): str(2 * CROWD)}) as site:
            asyncio.run(crowd(site, site.start("pop3d")))

    # A sanitizer has an allocator of its own, which keeps what was freed on purpose.
    if SLOW > 1:
        report.without("a crowd that is gone takes no memory", "built with a sanitizer")
    else:
        report.run("a crowd that is gone takes no memory", leave)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
