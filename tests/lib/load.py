"""Clients that send and fetch without end, and write down in a Ledger what they were told.

Whoever loses his connection comes again.  An answer that must not be, a message that is not whole,
a mailbox that shows what the ledger does not allow, or silence: stop() raises it.
"""

import asyncio
import random

from amail import Async, GONE, PutOff, sealed, unsealed
from testsite import PASSWORD, SLOW
from wire import WireError, stuffed

PATIENCE = 60 * SLOW


async def session(wire, box, keep=None, rng=None, vanishes=False, sip=None):
    """A POP3 session on a connection that was just opened: compares, removes all but `keep`
    messages (None: nothing) and quits.  False when the login was put off.  A client that
    vanishes does so before its QUIT, or behind it; one that sips waits between messages."""
    rng = rng or random
    await wire.ok()
    await wire.ok(b"USER " + box.address.encode())
    before = box.before()
    await wire.send(b"PASS %s\r\n" % PASSWORD.encode())
    line = await wire.line()
    if line.startswith((b"-ERR [SYS/TEMP]", b"-ERR [IN-USE]")):
        return False
    if not line.startswith(b"+OK"):
        raise WireError("%s: PASS was answered %r" % (box.address, line))
    uids = [line.split()[1].decode() for line in (await wire.multi(b"UIDL")).splitlines()]
    listed = []
    for number, uid in enumerate(uids, 1):
        name = box.uids.get(uid)
        if name is None or rng.random() < .02:
            name = unsealed(await wire.multi(b"RETR %d" % number))
            if sip:
                await asyncio.sleep(sip)
        listed.append((uid, name))
    box.look(before, listed)
    if keep is None:
        marks = []
    else:
        marks = rng.sample(range(1, len(uids) + 1), max(0, len(uids) - keep))
    await wire.send(b"".join(b"DELE %d\r\n" % number for number in marks))
    for number in marks:
        await wire.ok()
    if vanishes and rng.random() < .5:
        wire.vanish()
        return True
    names = [listed[number - 1][1] for number in marks]
    try:
        await wire.send(b"QUIT\r\n")
        if vanishes:
            wire.vanish()
        line = await wire.line()
    except GONE:
        box.quit_unanswered(names)
        raise
    if line.startswith(b"+OK"):
        box.removed(names)
    elif not line.startswith(b"-ERR"):
        raise WireError("QUIT was answered %r" % line)
    return True


class Load:
    """Senders, and a reader for each of some mailboxes."""

    def __init__(self, site, ledger, tag, senders=8, to=(), readers=(), pause=0.0, keep=10,
                 odd=0.0):
        """`odd` is the share of clients that vanish, each time."""
        self.site, self.ledger, self.tag = site, ledger, tag
        self.to, self.pause, self.keep, self.odd = list(to), pause, keep, odd
        self.senders, self.readers = senders, list(readers)
        self.ending = asyncio.Event()
        self.may_put_off = False # [SYS/TEMP] in the middle of a session
        self.cut_off = []        # senders whose connection ended without a last word
        self.tasks = []

    def start(self):
        self.tasks = [asyncio.create_task(self.come_again("smtp", self.send, i))
                      for i in range(self.senders)]
        self.tasks += [asyncio.create_task(self.come_again("pop3", self.read, m))
                       for m in self.readers]

    async def under_way(self, messages):
        """Until so many more were acknowledged."""
        goal = self.ledger.count["acknowledged"] + messages
        while self.ledger.count["acknowledged"] < goal:
            self.check()
            await asyncio.sleep(.001)

    async def stop(self):
        """Each ends what it is at."""
        self.ending.set()
        try:
            await asyncio.gather(*self.tasks)
        finally:
            for task in self.tasks:
                task.cancel()

    def check(self):
        """Raises what any of them has raised so far."""
        for task in self.tasks:
            if task.done():
                task.result()

    async def wait(self, seconds):
        try:
            await asyncio.wait_for(self.ending.wait(), seconds)
        except TimeoutError:
            pass

    async def come_again(self, proto, client, which):
        rng = random.Random("%s %s" % (self.tag, which))
        numbers = iter(range(1 << 40))
        while not self.ending.is_set():
            wire = None
            try:
                address = self.site.addresses.get(proto)
                if address:
                    wire = await Async.open(address, PATIENCE)
                    await client(wire, rng, which, numbers)
            except PutOff:
                if not self.may_put_off:
                    raise
            except GONE as error:
                if wire and wire.greeted:
                    self.cut_off.append("%s: %r" % (which, error))
            finally:
                if wire:
                    wire.close()
            await self.wait(rng.uniform(.005, .03))

    # --- senders

    async def send(self, wire, rng, which, numbers):
        code, text = await wire.reply()
        wire.greeted = True
        if code == 421 or await self.ask(wire, b"EHLO client.example") == 421:
            return
        if self.site.certificate and which % 4 == 0:
            if await self.ask(wire, b"STARTTLS") == 421:
                return
            wire.greeted = False
            await wire.starttls(self.site.context())
            if await self.ask(wire, b"EHLO client.example") == 421:
                return
            wire.greeted = True
        while not self.ending.is_set():
            name = "%s-%d-%d" % (self.tag, which, next(numbers))
            if not await self.transact(wire, rng, name):
                return
            if self.pause:
                await self.wait(rng.uniform(0, 2 * self.pause))
        await self.ask(wire, b"QUIT")

    async def transact(self, wire, rng, name):
        """False when the connection is of no use any more."""
        size = rng.randrange(270000, 400000) if rng.random() < .02 else rng.randrange(9000)
        octets = stuffed(sealed(name, size, name))
        code = await self.ask(wire, b"MAIL FROM:<s@client.example> SIZE=%d" % len(octets))
        kept = []
        if code == 250:
            for recipient in rng.sample(self.to, min(len(self.to), rng.choice((1, 1, 2, 3)))):
                code = await self.ask(wire, b"RCPT TO:<%s>" % recipient.encode())
                if code == 250:
                    kept.append(recipient)
                elif code == 421:
                    return False
        if kept and code != 421:
            code = await self.ask(wire, b"DATA")
        if code != 354:
            return code != 421 and await self.ask(wire, b"RSET") == 250
        self.ledger.sending(name, kept)
        if rng.random() < self.odd:
            # Without the last octets nobody may take it for whole.
            await wire.send(octets[:rng.randrange(len(octets) - 2)])
            wire.greeted = False
            wire.vanish()
            self.ledger.refused(name, kept)
            return False
        try:
            await wire.send(octets)
            code = (await wire.reply())[0]
        except GONE:
            self.ledger.unanswered(name, kept)
            raise
        if code == 250:
            self.ledger.acknowledged(name, kept)
        else:
            self.ledger.refused(name, kept)
        return code != 421

    @staticmethod
    async def ask(wire, command):
        await wire.send(command + b"\r\n")
        code, text = await wire.reply()
        # 451: not recovered yet; 452: no room; 550: the mailbox was removed.
        if code not in (220, 221, 250, 354, 421, 451, 452, 503, 550, 552, 554):
            raise WireError("%r was answered %d %r" % (command, code, text))
        return code

    # --- readers

    async def read(self, wire, rng, mailbox, numbers):
        next(numbers)
        sip = .05 if rng.random() < self.odd else None
        await session(wire, self.ledger.boxes[mailbox], self.keep, rng,
                      rng.random() < self.odd, sip)
        await self.wait(rng.uniform(0, .05) + 2 * self.pause)
