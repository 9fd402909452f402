#!/usr/bin/env python3
"""SIGTERM to both daemons while clients are at everything that they can be at.

Each SMTP session hears 421 last, and what it was told of its messages is so; POP3 sessions hear
[SYS/TEMP] to the command in hand, or nothing; a QUIT happened or did not.  Both daemons end with 0
within ten seconds, though clients dawdle and stall.
"""

import argparse
import asyncio
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from amail import GONE, Async, sealed  # noqa: E402
from ledger import Ledger  # noqa: E402
from load import PATIENCE, Load, session  # noqa: E402
from report import Report  # noqa: E402
from testsite import PASSWORD, SLOW, Site  # noqa: E402
from wire import WireError, stuffed, submit  # noqa: E402

MAILBOXES = ["u%d@example.test" % i for i in range(4)]
STALLED = "s0@example.test"
SECONDS = 10


async def hello(site):
    wire = await Async.open(site.address("smtp"), PATIENCE)
    await wire.reply()
    await wire.want(b"EHLO client.example", 250)
    return wire


async def dawdlers(site):
    """Senders in each state: idle, in a transaction, in the middle of DATA and of a chunk."""
    wires = [await hello(site) for _ in range(4)]
    for wire in wires[1:]:
        await wire.want(b"MAIL FROM:<s@client.example>", 250)
        await wire.want(b"RCPT TO:<%s>" % MAILBOXES[0].encode(), 250)
    await wires[2].want(b"DATA", 354)
    await wires[2].send(stuffed(sealed("half", 100000, 1))[:50000])
    await wires[3].send(b"BDAT 100000 LAST\r\n" + sealed("half", 50000, 2))
    return wires


async def last_words(wires):
    for number, wire in enumerate(wires):
        code, text = await wire.reply()
        if code != 421 or await wire.reader.read(1):
            raise WireError("dawdler %d heard %d %r" % (number, code, text))
        wire.close()


async def stall(site):
    """Reads nothing of what it has asked for."""
    wire = await Async.open(site.address("pop3"), PATIENCE)
    wire.writer.transport.pause_reading()
    await wire.send(b"USER %s\r\nPASS %s\r\n" % (STALLED.encode(), PASSWORD.encode()) +
                    b"RETR 1\r\n" * 20 + b"DELE 1\r\nQUIT\r\n")
    return wire


async def idle(site):
    wire = await Async.open(site.address("pop3"), PATIENCE)
    await wire.ok()
    await wire.login(STALLED, PASSWORD)
    await wire.ok(b"DELE 1")
    return wire


async def one(site, ledger, rng, turn):
    site.start("smtpd")
    site.start("pop3d")
    load = Load(site, ledger, "t%d" % turn, senders=16, to=MAILBOXES, readers=MAILBOXES)
    load.may_put_off = True
    dawdling = await dawdlers(site)
    # The last one's pop3d waits for as long as it waits for anybody.
    other = await stall(site) if turn == 0 else await idle(site)
    load.start()
    await load.under_way(rng.randrange(20, 120))
    await asyncio.sleep(rng.uniform(0, .02) * min(SLOW, 3))
    daemons = [site.daemons.pop(name) for name in ("smtpd", "pop3d")]
    site.addresses.clear()
    load.ending.set()
    ends = [asyncio.create_task(asyncio.to_thread(daemon.stop, SECONDS)) for daemon in daemons]
    await asyncio.gather(last_words(dawdling), load.stop(), *ends)
    if load.cut_off:
        raise WireError("senders were cut off: %s" % load.cut_off[:3])
    if turn and await other.reader.read(100):
        raise WireError("an idle session heard something")
    other.close()


async def look(site, ledger):
    site.start("smtpd")
    site.start("pop3d")
    for box in ledger.boxes.values():
        wire = await Async.open(site.address("pop3"), PATIENCE)
        if not await session(wire, box):
            raise WireError("%s: the login was put off" % box.address)
        wire.close()
    if ledger.open:
        raise WireError("%d messages have no answer" % len(ledger.open))
    ledger.settle()
    site.admin("check")
    for name in list(site.daemons):
        site.stop(name)


def shutdowns(build, rounds, seed):
    rng = random.Random(seed)
    ledger = Ledger(MAILBOXES + [STALLED])
    with Site(build, users=MAILBOXES + [STALLED], lmtp=False) as site:
        ledger.sending("stalled", [STALLED])
        submit(site.address("smtp"), b"s@client.example", [STALLED.encode()],
               sealed("stalled", 1 << 20, 3))
        ledger.acknowledged("stalled", [STALLED])
        for name in list(site.daemons):
            site.stop(name)
        for turn in range(rounds):
            asyncio.run(one(site, ledger, rng, turn))
            asyncio.run(look(site, ledger))
    count = ledger.count
    print("# %d messages acknowledged, %d refused by 421" % (count["acknowledged"], count["refused"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    report = Report()
    print("# --seed %d" % arguments.seed)
    report.run("SIGTERM under load, %d times" % arguments.rounds, shutdowns, arguments.build,
               arguments.rounds, arguments.seed)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
