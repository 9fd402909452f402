#!/usr/bin/env python3
"""Mixed load with faults for as long as it is told to: in the end all is level.

    python3 tests/soak/soak.py [--build DIR] [--minutes N] [--seed N]

Two smtpd and two pop3d are at work on one spool: the steady ones, whose memory and descriptors are
measured from the first minute to the last, and others that are killed again and again.  Clients of
both send, fetch, remove, dawdle and vanish; mailboxes are full, mail passes its age; now and then
there is a SIGHUP, a backup, an import that is killed, a client that stalls, or the disk is full to
the last octet (where an ext4 can be mounted in a file).  Once a minute the load rests, every mailbox is
compared with what was acknowledged, `check` finds nothing, and a line of the table is measured.

Level is: the median of the last third is not above that of the first third by more than BOUNDS says.
The exit code tells.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", f) for f in ("lib", "e2e", "stress", "crash")]
import full_disk  # noqa: E402
from amail import GONE, Async  # noqa: E402
from load import PATIENCE, Load  # noqa: E402
from report import Report  # noqa: E402
from stalled import blocks  # noqa: E402
from testsite import PASSWORD, Site  # noqa: E402
from victims import commands  # noqa: E402
from victims.world import AGED, LIVELY, MAILBOXES, World  # noqa: E402
from wire import WireError  # noqa: E402

# (by how much of the first third's median, and how much beside): of each column of the table.
BOUNDS = {
    "smtpd_kib": (.15, 2048), "pop3d_kib": (.15, 2048), "smtpd_fds": (0, 4), "pop3d_fds": (0, 4),
    "log_kib": (.25, 1024), "disk_per_live": (.25, .1),
}
# Whatever the thirds say: the largest that the index's log may be at any time.
LOG_MAX_KIB = 32 * 1024
COLUMNS = ["minute", "messages", "kills", "faults"] + list(BOUNDS) + ["live_mib"]


def pss_kib(pid):
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def descriptors(pid):
    """How many, but for the open segments, of which a daemon keeps some hundreds; and octets that
    segments have that are open and have no name any more."""
    folder = "/proc/%d/fd" % pid
    others = nameless = 0
    for number in os.listdir(folder):
        path = os.readlink(os.path.join(folder, number))
        if "/segments/" not in path:
            others += 1
        elif path.endswith(" (deleted)"):
            nameless += os.stat(os.path.join(folder, number)).st_blocks * 512
    return others, nameless


class Soak:
    """The site twice: as the steady daemons see it, and as those that are killed."""

    def __init__(self, site, twin, mount, seed):
        self.steady, self.mortal = World(site, seed), World(twin, seed)
        self.mortal.ledger = self.steady.ledger
        self.rng, self.mount = random.Random(seed), mount
        self.log_kib = self.kills = self.faults = 0
        self.rows = []
        # Each, and how often beside each other.
        self.kinds = [self.kill_smtpd] * 3 + [self.kill_pop3d] * 3 + [
            self.hup, self.age, self.age, self.backup, self.stall, self.imports, self.expire]
        if mount:
            self.kinds.append(self.full_disk)

    # --- faults

    async def kill_smtpd(self):
        self.kills += 1
        self.mortal.kill("smtpd")
        await self.mortal.start("smtpd")

    async def kill_pop3d(self):
        self.kills += 1
        self.mortal.kill("pop3d")
        await self.mortal.start("pop3d")

    async def hup(self):
        for daemon in self.steady.site.daemons.values():
            daemon.signal(signal.SIGHUP)

    async def age(self):
        """The keepers find it, every ten seconds."""
        for address in AGED:
            self.steady.ledger.boxes[address].age()
            self.steady.site.age(address)

    async def expire(self):
        await self.age()
        await self.steady.admin("expire", want=(0, 75))

    async def backup(self):
        await self.steady.admin("backup", os.path.join(self.steady.site.folder, "backup"))

    async def imports(self):
        self.kills += 1
        self.mortal.turn += 1
        await commands.imports(self.mortal)

    async def stall(self):
        """Asks for more than it reads, and goes."""
        wire = await Async.open(self.steady.site.address("pop3"), PATIENCE)
        try:
            await wire.ok()
            await wire.login(self.rng.choice(AGED), PASSWORD)
            await wire.send(b"UIDL\r\nRETR 1\r\n" * 300)
            await asyncio.sleep(3)
        except (WireError, *GONE):
            pass
        wire.vanish()

    async def full_disk(self):
        path = os.path.join(self.mount, "foreign")
        try:
            await asyncio.to_thread(full_disk.fill_the_rest, self.mount)
            await asyncio.sleep(3)
        finally:
            os.unlink(path)

    # --- the load, minute by minute

    async def watch_log(self):
        path = os.path.join(self.steady.site.spool, "index", "index.db-wal")
        while True:
            self.log_kib = max(self.log_kib, os.stat(path).st_size >> 10)
            await asyncio.sleep(.2)

    async def break_things(self, until):
        while time.monotonic() < until:
            await asyncio.sleep(self.rng.uniform(.5, 4))
            fault = self.rng.choice(self.kinds)
            try:
                await fault()
            except Exception as error:
                raise WireError("%s: %s: %s" % (fault.__name__, type(error).__name__,
                                                error)) from error
            self.faults += 1

    async def minute(self, number, seconds):
        loads = []
        for world, tag, senders, readers in ((self.steady, "s", 6, LIVELY[:2]),
                                             (self.mortal, "m", 3, LIVELY[2:])):
            loads.append(Load(world.site, world.ledger, "%s%d" % (tag, number), senders,
                              LIVELY + AGED, readers, pause=.1, keep=40, odd=.05))
            loads[-1].start()
        self.log_kib = 0
        watch = asyncio.create_task(self.watch_log())
        try:
            await self.break_things(time.monotonic() + seconds)
            for load in loads:
                load.check()
                await load.stop()
        finally:
            watch.cancel()
        # What expired and what was removed is given back before it is measured.
        await self.expire()
        await self.steady.look_at_all()
        await self.measure(number)

    async def measure(self, number):
        status = await self.steady.status()
        row = {"minute": number, "messages": self.steady.ledger.count["acknowledged"],
               "kills": self.kills, "faults": self.faults, "log_kib": self.log_kib,
               "live_mib": status["live"] / (1 << 20)}
        for name, daemon in self.steady.site.daemons.items():
            row[name + "_kib"] = pss_kib(daemon.process.pid)
            row[name + "_fds"] = descriptors(daemon.process.pid)[0]
        # Second looks, for blocks that are just about to be given back.
        row["disk_per_live"] = min([await self.disk_per_live() for _ in range(10)])
        self.rows.append(row)
        print(" ".join("%*s" % (max(len(c), 8), "%.2f" % row[c] if isinstance(row[c], float)
                                else row[c]) for c in COLUMNS), flush=True)

    async def disk_per_live(self):
        await asyncio.sleep(.2)
        nameless = max(descriptors(daemon.process.pid)[1]
                       for daemon in self.steady.site.daemons.values())
        return (blocks(self.steady.site) + nameless) / max(1, (await self.steady.status())["live"])

    async def run(self, minutes):
        await self.steady.start("smtpd", "pop3d")
        await self.mortal.start("smtpd", "pop3d")
        print(" ".join("%*s" % (max(len(c), 8), c) for c in COLUMNS), flush=True)
        begun = time.monotonic()
        number = 0
        while time.monotonic() < begun + 60 * minutes:
            number += 1
            await self.minute(number, 60 * min(1, minutes / 6))
        self.judge()

    def judge(self):
        third = max(1, len(self.rows) // 3)
        wrong = []
        for column, (share, beside) in BOUNDS.items():
            first, last = (statistics.median(row[column] for row in rows)
                           for rows in (self.rows[:third], self.rows[-third:]))
            print("# %s: %.2f in the first third, %.2f in the last" % (column, first, last))
            if last > first * (1 + share) + beside:
                wrong.append("%s rose from %.2f to %.2f" % (column, first, last))
        wrong += ["the log had %d KiB in minute %d" % (row["log_kib"], row["minute"])
                  for row in self.rows if row["log_kib"] > LOG_MAX_KIB]
        if wrong:
            raise WireError("; ".join(wrong))


def soak(build, minutes, mount, seed):
    config = {("spool", "quota_warn"): "none", ("spool", "expire_every"): "10s"}
    with Site(build, config, users=MAILBOXES, lmtp=False) as site, \
            Site(build, config, users=(), lmtp=False) as twin:
        if mount:
            shutil.move(site.spool, os.path.join(mount, "spool"))
            site.spool = site.settings["site", "spool"] = os.path.join(mount, "spool")
            site.write_config()
        shutil.rmtree(twin.spool)
        twin.spool = twin.settings["site", "spool"] = site.spool
        twin.write_config()
        asyncio.run(Soak(site, twin, mount, seed).run(minutes))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--inside", metavar="FOLDER", help="has a mount namespace of its own")
    arguments = parser.parse_args()
    report = Report()
    full_disk.MIB["ext4"] = 512
    outer = tempfile.mkdtemp(prefix="soak-")
    try:
        folder = arguments.inside
        if folder is None:
            enter = full_disk.way_in("ext4", outer)
            if enter:
                done = subprocess.run(
                    enter + [sys.executable, os.path.abspath(__file__), "--build",
                             os.path.abspath(arguments.build), "--minutes", str(arguments.minutes),
                             "--seed", str(arguments.seed), "--inside", outer], check=False)
                sys.exit(done.returncode)
            print("# no ext4 can be mounted here: the disk is never full")
        else:
            subprocess.run(["sh", "-c", full_disk.mount_command("ext4", folder)], check=True)
        print("# --seed %d" % arguments.seed)
        report.run("%g minutes of load and faults, and all is level" % arguments.minutes, soak,
                   arguments.build, arguments.minutes, folder, arguments.seed)
        Site.forget()
        if folder:
            subprocess.run(["umount", folder], check=True)
    finally:
        if arguments.inside is None:
            shutil.rmtree(outer, ignore_errors=True)
            if os.path.exists(outer + ".img"):
                os.unlink(outer + ".img")
    report.done()


if __name__ == "__main__":
    main()
