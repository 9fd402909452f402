#!/usr/bin/env python3
"""Twenty senders at once against mailboxes that hold exactly 37 of their messages.

Some declare SIZE and some do not, some write to several, some share an address; each repeats
what got 4xx.  In the end exactly 37 are in each mailbox, and every refusal was right: for each
transaction it is kept when it may have held room and how much at most, so a refusal that came
while there was certainly room for its message is found.  TEST_LOAD takes mailboxes away.
"""

import argparse
import asyncio
import os
import random
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from amail import Async, sealed, unsealed  # noqa: E402
from report import Report  # noqa: E402
from testsite import Site, PASSWORD, SLOW  # noqa: E402
from wire import WireError, stuffed  # noqa: E402

LOAD = float(os.environ.get("TEST_LOAD", "1"))
SENDERS = 20
FIT = 37
OFFERED = 50
MAILBOXES = ["u%d@example.test" % i for i in range(max(2, int(6 * LOAD)))]
PATIENCE = 60 * SLOW

BODY = 20000
LARGEST = 100 * 1024
# As include/spool/room.h has them; a step by which a claim of unknown size grows.
TRACE_MAX, OWN_MAX, STEP = 2560, 1053, 64 * 1024
# What our fields add to these messages, at least and at most.
TRACE = (190, 300)
QUOTA = 763000
assert 36 * (BODY + 150 + TRACE[1]) + BODY + 150 + TRACE_MAX <= QUOTA < 38 * (BODY + TRACE[0])


def site_of(build, users, **settings):
    config = {("site", "trusted"): "", ("spool", "quota_warn"): "none",
              ("smtpd", "max_message_size"): str(LARGEST),
              ("smtpd", "max_connections_per_ip"): "60"}
    config.update(settings)
    return Site(build, config=config, users=users)


def sums(site):
    """For each mailbox: used, messages, and both counted anew."""
    db = sqlite3.connect(os.path.join(site.spool, "index", "index.db"))
    rows = db.execute("SELECT local, used, messages,"
                      " (SELECT coalesce(sum(octets), 0) FROM entry WHERE mailbox = m.id),"
                      " (SELECT count(*) FROM entry WHERE mailbox = m.id)"
                      " FROM mailbox AS m").fetchall()
    db.close()
    return {row[0] + "@example.test": row[1:] for row in rows}


class Transaction:
    """When it may have held room in whose mailbox, how much, and whether it keeps it."""

    def __init__(self, mailboxes, held, kept):
        self.mailboxes, self.held, self.kept = mailboxes, held, kept
        self.begun, self.ended, self.acknowledged = time.monotonic(), None, False

    def held_within(self, begin, end):
        """Octets that it may have taken at some instant between the two."""
        if self.begun > end:
            return 0
        if self.ended is None or self.ended >= begin:
            return max(self.held, self.kept)
        return self.kept if self.acknowledged else 0


class Ledger:
    """All transactions of all senders, and what is wrong with refusals."""

    def __init__(self):
        self.transactions = {mailbox: [] for mailbox in MAILBOXES}
        self.acknowledged = dict.fromkeys(MAILBOXES, 0)
        self.refusals = []
        self.count = self.in_vain = 0

    def enter(self, transaction):
        for mailbox in transaction.mailboxes:
            self.transactions[mailbox].append(transaction)

    def refused(self, mailboxes, need, begin, own=None):
        """One of the mailboxes had no room for `need` octets between `begin` and now."""
        self.refusals.append((mailboxes, need, begin, time.monotonic(), own))

    def judge(self):
        """Once all is over: each refusal against all that may have held room then."""
        for mailboxes, need, begin, end, own in self.refusals:
            free = {m: QUOTA - sum(t.held_within(begin, end) for t in self.transactions[m]
                                   if t is not own) for m in mailboxes}
            if all(room >= need for room in free.values()):
                raise WireError("%r had room for %d, and it was refused: %r" % (
                    mailboxes, need, free))

    def full(self):
        return all(n >= FIT for n in self.acknowledged.values())


class Letter:
    """A message and those who do not have it yet."""

    def __init__(self, name, recipients, declares):
        self.name, self.recipients, self.declares = name, list(recipients), declares
        self.octets = sealed_to(name, BODY)

    def __len__(self):
        return len(self.octets)


def sealed_to(name, size):
    """sealed(), of `size` octets or a few more."""
    body = size - 100
    while True:
        octets = sealed(name, body, name)
        if size <= len(octets) <= size + 150:
            return octets
        body -= len(octets) - size - 50


async def attempt(wire, ledger, letter, promised=False):
    """One transaction for those who lack the letter; what is left to do is in it."""
    declared = b" SIZE=%d" % len(letter) if letter.declares else b""
    await wire.want(b"MAIL FROM:<s@client.example>" + declared, 250)
    accepted, apart = [], []
    for recipient in list(letter.recipients):
        begin = time.monotonic()
        await wire.send(b"RCPT TO:<%s>\r\n" % recipient.encode())
        code, text = await wire.reply()
        if code == 250:
            accepted.append(recipient)
        elif code == 452 and text.startswith(b"4.5.3") and accepted and not letter.declares:
            apart.append(recipient)
        elif code == 452 and text.startswith(b"4.2.2"):
            need = len(letter) if letter.declares else LARGEST if accepted else 0
            ledger.refused([recipient], need + TRACE_MAX, begin)
        else:
            raise WireError("RCPT was answered %d %r" % (code, text))
    # Those who are to be sent to apart come first the next time.
    letter.recipients.sort(key=lambda r: r not in apart)
    if not accepted:
        await wire.want(b"RSET", 250)
        return False
    await deliver(wire, ledger, letter, accepted, promised)
    return bool(apart)


async def deliver(wire, ledger, letter, accepted, promised):
    if letter.declares:
        held = len(letter) + TRACE_MAX
    else:
        held = max(LARGEST if len(accepted) > 1 else 0, len(letter) + STEP) + TRACE_MAX
    transaction = Transaction(accepted, held, len(letter) + TRACE[1])
    ledger.enter(transaction)
    ledger.count += 1
    try:
        begin = time.monotonic()
        await wire.send(b"DATA\r\n")
        code, text = await wire.reply()
        if code != 354:
            if code != 452 or not text.startswith(b"4.2.2"):
                raise WireError("DATA was answered %d %r" % (code, text))
            need = len(letter) if letter.declares else LARGEST if len(accepted) > 1 else 0
            ledger.refused(accepted, need + TRACE_MAX, begin, transaction)
            return
        await wire.send(stuffed(letter.octets))
        begin = time.monotonic()
        code, text = await wire.reply()
        if code == 250:
            transaction.acknowledged = True
            for recipient in accepted:
                letter.recipients.remove(recipient)
                ledger.acknowledged[recipient] += 1
        elif code == 452 and text.startswith(b"4.2.2"):
            # Who says how much comes, and has no other message under way, has his room from 354.
            if promised and (letter.declares or len(accepted) > 1):
                raise WireError("what was promised room was refused: %d %r" % (code, text))
            ledger.in_vain += 1
            ledger.refused(accepted, len(letter) + TRACE[0], begin, transaction)
        else:
            raise WireError("the message was answered %d %r" % (code, text))
    finally:
        transaction.ended = time.monotonic()


def address_of(sender):
    """The first five share one."""
    return "127.0.0.%d" % (2 if sender < 5 else sender + 2)


def letters_of(sender):
    rng = random.Random(sender)
    number = OFFERED * len(MAILBOXES) // SENDERS
    letters, left = [], number
    while left > 0:
        several = rng.randrange(2, 4) if len(letters) % 3 == 0 else 1
        recipients = rng.sample(MAILBOXES, min(several, len(MAILBOXES)))
        letters.append(Letter("m%d-%d" % (sender, len(letters)), recipients,
                              rng.random() < 0.5))
        left -= len(recipients)
    # Each mailbox is offered more than it can hold.
    for mailbox in MAILBOXES:
        letters.append(Letter("x%d-%s" % (sender, mailbox.partition("@")[0]), [mailbox],
                              sender % 2 == 0))
    return letters


async def send(site, sender, ledger, letters):
    wire = await Async.open(site.address("smtp"), PATIENCE, source=address_of(sender))
    rng = random.Random(-sender)
    await wire.reply()
    await wire.want(b"EHLO c%d.client.example" % sender, 250)
    deadline = time.monotonic() + PATIENCE
    while True:
        last = ledger.full()
        for letter in [le for le in letters if le.recipients]:
            # Who is told to send apart does so at once.
            for _ in range(3):
                if not await attempt(wire, ledger, letter, sender >= 5):
                    break
        if last or not any(letter.recipients for letter in letters):
            break
        if time.monotonic() > deadline:
            raise WireError("not full, and nothing goes in: %r" % ledger.acknowledged)
        await asyncio.sleep(rng.uniform(0, 0.02))
    await wire.want(b"QUIT", 221)
    wire.close()


async def names_in(site, mailbox):
    wire = await Async.open(site.address("pop3"), PATIENCE)
    await wire.ok()
    await wire.login(mailbox, PASSWORD)
    count = int((await wire.ok(b"STAT")).split()[0])
    names = []
    for number in range(1, count + 1):
        names.append(unsealed(await wire.multi(b"RETR %d" % number)))
    await wire.ok(b"QUIT")
    wire.close()
    return names


async def twenty_at_once(site, ledger):
    letters = [letters_of(sender) for sender in range(SENDERS)]
    wanted = {m: {le.name for ls in letters for le in ls if m in le.recipients}
              for m in MAILBOXES}
    await asyncio.gather(*(send(site, i, ledger, letters[i]) for i in range(SENDERS)))
    for mailbox in MAILBOXES:
        names = await names_in(site, mailbox)
        open_still = {le.name for ls in letters for le in ls if mailbox in le.recipients}
        if len(names) != FIT or ledger.acknowledged[mailbox] != FIT:
            raise WireError("%s has %d messages, and %d were acknowledged" % (
                mailbox, len(names), ledger.acknowledged[mailbox]))
        if sorted(names) != sorted(wanted[mailbox] - open_still):
            raise WireError("%s: what was acknowledged is not what is there" % mailbox)


def senders(build):
    ledger = Ledger()
    with site_of(build, MAILBOXES) as site:
        for mailbox in MAILBOXES:
            site.quota(mailbox, QUOTA)
        begun = time.monotonic()
        asyncio.run(twenty_at_once(site, ledger))
        took = time.monotonic() - begun
        for name in list(site.daemons):
            site.stop(name)
        for mailbox, (used, messages, octets, entries) in sums(site).items():
            if (used, messages) != (octets, entries) or used > QUOTA or messages != FIT:
                raise WireError("%s: %d octets, counted %d; %d messages, counted %d" % (
                    mailbox, used, octets, messages, entries))
        ledger.judge()
    print("# %d transactions with data in %.1f s, %d refusals, %d of them behind the data" % (
        ledger.count, took, len(ledger.refusals), ledger.in_vain))


async def once(site):
    wire = await Async.open(site.address("smtp"), PATIENCE)
    await wire.reply()
    await wire.want(b"EHLO client.example", 250)
    await wire.submit(b"s@client.example", ["joe@example.test"], sealed_to("one", BODY))
    wire.close()


async def first_and_second(site):
    wire = await Async.open(site.address("smtp"), PATIENCE, source="127.0.0.9")
    await wire.reply()
    await wire.want(b"EHLO client.example", 250)
    letter = Letter("two", ["joe@example.test", "ann@example.test"], False)
    ledger = Ledger()
    for mailbox in letter.recipients:
        ledger.transactions[mailbox] = []
        ledger.acknowledged[mailbox] = 0
    for _ in range(2):
        if "ann@example.test" in letter.recipients:
            await attempt(wire, ledger, letter)
    if "ann@example.test" in letter.recipients:
        raise WireError("the second recipient has nothing after two transactions")
    wire.close()


def nearly_full(build):
    for room in (TRACE_MAX - 1, TRACE_MAX, BODY + 2000):
        with site_of(build, ("joe@example.test", "ann@example.test")) as site:
            asyncio.run(once(site))
            site.quota("joe@example.test", sums(site)["joe@example.test"][0] + room)
            asyncio.run(first_and_second(site))
            names = asyncio.run(names_in(site, "ann@example.test"))
            if names != ["two"]:
                raise WireError("room for %d: %r" % (room, names))


async def stall(site):
    wire = await Async.open(site.address("smtp"), PATIENCE, source="127.0.0.2")
    await wire.reply()
    await wire.want(b"EHLO stalled.example", 250)
    await wire.want(b"MAIL FROM:<s@client.example> SIZE=%d" % BODY, 250)
    await wire.want(b"RCPT TO:<joe@example.test>", 250)
    await wire.want(b"DATA", 354)
    await wire.send(b"Subject: later\r\n")
    return wire


async def fifty_stalled(site):
    stalled = await asyncio.gather(*(stall(site) for _ in range(50)))
    letter = Letter("served", ["joe@example.test"], True)
    begun = time.monotonic()
    wire = await Async.open(site.address("smtp"), PATIENCE, source="127.0.0.3")
    await wire.reply()
    await wire.want(b"EHLO client.example", 250)
    await wire.want(b"MAIL FROM:<s@client.example> SIZE=%d" % len(letter), 250)
    await wire.want(b"RCPT TO:<joe@example.test>", 250)
    await wire.want(b"DATA", 354)
    await wire.send(stuffed(letter.octets))
    code, text = await wire.reply()
    took = time.monotonic() - begun
    if code != 250 or took > 1 * SLOW:
        raise WireError("after %.2f s: %d %r" % (took, code, text))
    for each in stalled + [wire]:
        each.close()
    print("# served in %.0f ms beside 50 that stall" % (took * 1000))


def stalled_ones(build):
    with site_of(build, ("joe@example.test", "ann@example.test")) as site:
        site.quota("joe@example.test", 2 * (BODY + 200 + TRACE_MAX))
        asyncio.run(fifty_stalled(site))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    report.run("exactly %d messages of %d senders are in each of %d mailboxes" % (
        FIT, SENDERS, len(MAILBOXES)), senders, build)
    report.run("who is named second has the mail after two transactions", nearly_full, build)
    report.run("fifty stalled transactions keep no other address out", stalled_ones, build)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
