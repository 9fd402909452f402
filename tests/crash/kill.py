#!/usr/bin/env python3
"""kill -9 at random instants under load, of smtpd, pop3d and pop-admin.

    python3 tests/crash/kill.py [--build DIR] [--kills N] [--seed N] [--only VICTIM]...

Mail comes in and is fetched and removed all the time.  After each kill, when what was killed runs
again and the load has stopped, each mailbox is looked at: what was acknowledged is there, once
and whole, under the UID that it had; what was acknowledged as removed is gone; what was refused or
broken off is in no mailbox; what has no answer is in all its mailboxes or in none, removed as one
or not at all; and `pop-admin check`, sums and quotas included, finds nothing.
"""

import argparse
import asyncio
import collections
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), HERE]
from report import Report  # noqa: E402
from testsite import SLOW, Site  # noqa: E402
from victims import commands, daemons  # noqa: E402
from victims.world import MAILBOXES, World  # noqa: E402
from wire import WireError  # noqa: E402

# Which, and how often beside each other.
VICTIMS = (
    ("smtpd", daemons.smtpd, 5), ("pop3d", daemons.pop3d, 3), ("both", daemons.both, 2),
    ("recovery", daemons.recovery, 1), ("import", commands.imports, 3),
    ("expire", commands.expire, 2), ("user remove", commands.user_remove, 2),
    ("backup", commands.backup, 2), ("restore --mail", commands.bring, 2),
    ("check --repair", commands.repair, 2),
)


def chosen(kills, rng, only):
    """Each kind once, then again and again each in its share."""
    kinds = [v for v in VICTIMS if not only or v[0] in only]
    shares = [v for v in kinds for _ in range(v[2])]
    due = rng.sample(kinds, len(kinds))
    while len(due) < kills:
        due += rng.sample(shares, len(shares))
    return [(name, victim) for name, victim, _ in due[:kills]]


async def turn(world, victim):
    load = world.load()
    load.start()
    await load.under_way(world.rng.randrange(5, 60))
    await asyncio.sleep(world.rng.uniform(0, .02) * min(SLOW, 3))
    await victim(world)
    load.check()
    await load.stop()
    await world.look_at_all()


async def play(world, due, tally):
    await world.start("smtpd", "pop3d")
    for world.turn, (name, victim) in enumerate(due):
        try:
            await turn(world, victim)
        except Exception as error:
            raise WireError("kill %d, of %s: %s: %s" % (
                world.turn, name, type(error).__name__, error)) from error
        tally[name] += 1
        if world.turn % 50 == 49:
            print("# %d kills" % (world.turn + 1), flush=True)


def killed(build, kills, seed, only):
    tally = collections.Counter()
    begun = time.monotonic()
    with Site(build, {("spool", "quota_warn"): "none"}, users=MAILBOXES, lmtp=False) as site:
        world = World(site, seed)
        asyncio.run(play(world, chosen(kills, random.Random(seed), only), tally))
        count = world.ledger.count
        print("# %s; %d messages acknowledged, %d refused, %d without an answer, %d of these kept; "
              "%.0f s" % (", ".join("%s %d" % item for item in tally.items()),
                          count["acknowledged"], count["refused"], count["unanswered"],
                          count["unanswered and kept"], time.monotonic() - begun))
        print("# commands cut before their end: " + ", ".join(
            "%s %d" % item for item in sorted(world.cut.items())))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", action="append", default=[], help="a victim's name")
    arguments = parser.parse_args()
    report = Report()
    print("# --seed %d" % arguments.seed)
    report.run("%d times kill -9 under load" % arguments.kills, killed, arguments.build,
               arguments.kills, arguments.seed, arguments.only)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
