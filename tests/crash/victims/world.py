"""What all who are killed have in common: a site under load, the ledger of it, and the killing."""

import asyncio
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import time

from amail import Async, sealed
from ledger import Ledger
from load import PATIENCE, Load, session
from testsite import REPORT, SLOW, Site, sanitizer_environment
from wire import WireError

# Read and emptied again and again; the last has a quota that is reached.
LIVELY = ["u%d@example.test" % i for i in range(4)]
# Nobody reads them but the look after each kill.
AGED = ["e%d@example.test" % i for i in range(3)]
IMPORTED, BROUGHT = "i0@example.test", "b0@example.test"
MAILBOXES = LIVELY + AGED + [IMPORTED, BROUGHT]
QUOTA = 600000


class World:
    """A site whose daemons run, the ledger, and how long commands take that nobody kills."""

    def __init__(self, site, seed):
        self.site, self.rng = site, random.Random(seed)
        self.ledger = Ledger(MAILBOXES)
        self.lasts = {}
        self.turn = 0
        self.cut = collections.Counter()
        site.quota(LIVELY[-1], QUOTA)

    def load(self):
        return Load(self.site, self.ledger, "t%d" % self.turn, to=LIVELY + AGED, readers=LIVELY, pause=.01)

    # --- commands

    def begin(self, *words):
        return subprocess.Popen(
            [os.path.join(self.site.build, "pop-admin"), "-c", self.site.conf, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=sanitizer_environment())

    async def admin(self, *words, stdin="", want=(0,)):
        """Runs a command to its end: (exit code, standard output)."""
        process = self.begin(*words)
        out, err = await asyncio.to_thread(process.communicate, stdin.encode(), PATIENCE)
        err = err.decode("utf-8", "replace")
        if process.returncode not in want or REPORT.search(err):
            raise WireError("pop-admin %s ended with %d: %s%s" % (
                " ".join(words), process.returncode, out.decode("utf-8", "replace"), err))
        return process.returncode, out.decode()

    async def killed(self, kind, *words, may=(0,)):
        """Runs a command and kills it at an instant drawn from as long as it takes, and somewhat
        more: whether it was cut before its end."""
        lasts = self.lasts.setdefault(kind, .1 * min(SLOW, 4))
        instant = self.rng.uniform(.1, 1) * lasts
        begun = time.monotonic()
        process = self.begin(*words)
        ending = asyncio.create_task(asyncio.to_thread(process.communicate))
        done, _ = await asyncio.wait([ending], timeout=instant)
        if not done:
            process.kill()
        err = (await ending)[1].decode("utf-8", "replace")
        cut = process.returncode == -signal.SIGKILL
        if cut:
            self.cut[kind] += 1
            # It takes as long at least; now and then the end is looked for anew.
            self.lasts[kind] = max(lasts * self.rng.choice((.9, 1, 1, 1.3)), instant)
        else:
            self.lasts[kind] = .5 * lasts + .5 * (time.monotonic() - begun)
            if process.returncode not in may or REPORT.search(err):
                raise WireError("pop-admin %s ended with %d: %s" % (
                    " ".join(words), process.returncode, err))
        return cut

    # --- daemons

    def kill(self, *names):
        """All of them are told before any of them is waited for."""
        daemons = [self.site.daemons.pop(name) for name in names]
        for proto in list(self.site.addresses):
            if any(proto.startswith(n[:-1] if n == "smtpd" else "pop3") for n in names):
                del self.site.addresses[proto]
        for daemon in daemons:
            daemon.process.kill()
        for daemon in daemons:
            daemon.process.wait()
            if REPORT.search(daemon.text()):
                raise WireError("%s: %s" % (daemon.name, daemon.tail()))

    async def start(self, *names):
        for name in names:
            await asyncio.to_thread(self.site.start, name)

    async def shake(self):
        """What a dead writer has left comes to light when smtpd starts: at the latest."""
        if self.rng.random() < .5:
            self.kill("smtpd")
        else:
            await asyncio.to_thread(self.site.stop, "smtpd")
        await self.start("smtpd")

    async def deliver(self, messages):
        """[(name, size, recipients)], each acknowledged."""
        wire = await Async.open(self.site.address("smtp"), PATIENCE)
        await wire.reply()
        await wire.want(b"EHLO client.example", 250)
        for name, size, recipients in messages:
            self.ledger.sending(name, recipients)
            await wire.submit(b"s@client.example", recipients, sealed(name, size, name))
            self.ledger.acknowledged(name, recipients)
        wire.close()

    # --- looking

    async def look(self, mailbox, keep=None):
        wire = await Async.open(self.site.address("pop3"), PATIENCE)
        if not await session(wire, self.ledger.boxes[mailbox], keep):
            raise WireError("%s: the login was put off" % mailbox)
        wire.close()

    async def look_at_all(self):
        """Nothing is under way."""
        for mailbox in list(self.ledger.boxes):
            await self.look(mailbox)
        self.ledger.settle()
        await self.admin("check")

    def elsewhere(self):
        """A site like this one whose spool is yet to be."""
        other = Site(self.site.build, users=(), lmtp=False, tls=False)
        shutil.rmtree(other.spool)
        return other

    async def status(self):
        return json.loads((await self.admin("--json", "status"))[1])
