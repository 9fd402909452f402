"""pop-admin, killed while it changes what lies in mailboxes.

Each is run again, to its end, while the load goes on: as an administrator would.
"""

import asyncio
import os
import re
import shutil

from amail import sealed, unsealed
from load import PATIENCE
from testsite import PASSWORD
from wire import Wire, WireError

from victims.world import AGED, BROUGHT, IMPORTED, LIVELY, MAILBOXES


async def imports(world):
    """What was there already is known to the next run, whoever entered it."""
    box, rng = world.ledger.boxes[IMPORTED], world.rng
    names = ["i%d-%d" % (world.turn, n) for n in range(rng.randrange(100, 400))]
    folder = os.path.join(world.site.folder, "mail")
    os.mkdir(folder)
    for name in names:
        size = rng.randrange(270000, 400000) if rng.random() < .03 else rng.randrange(3000)
        with open(os.path.join(folder, name + ".eml"), "wb") as f:
            f.write(sealed(name, size, name))
    box.may_come(names)
    await world.killed("import", "import", IMPORTED, folder)
    if rng.random() < .3:
        await world.look(IMPORTED)
    if rng.random() < .2:
        await world.shake()
    _, out = await world.admin("import", IMPORTED, folder)
    counts = re.match(r"([0-9]+) imported, ([0-9]+) were there already", out)
    if not counts or int(counts.group(1)) + int(counts.group(2)) != len(names):
        raise WireError("import of %d: %s" % (len(names), out))
    for name in names:
        box.came(name)
    await world.shake()
    await world.look(IMPORTED, 0)
    shutil.rmtree(folder)


async def expire(world):
    """What was not past its age stays; what was is gone when it was told so."""
    sure = {}
    for address in AGED:
        sure[address] = world.ledger.boxes[address].age()
        world.site.age(address)
    words = ["expire"]
    if world.rng.random() < .3:
        words.append(world.rng.choice(AGED))
    await world.killed("expire", *words, may=(0, 75))
    if world.rng.random() < .5:
        for address in AGED:
            await world.look(address)
    for address in AGED:
        await world.admin("expire", address)
        world.ledger.boxes[address].removed(sure[address])


async def user_remove(world):
    """Done or not done, and its neighbours have what they had."""
    address = "r%d@example.test" % world.turn
    await world.admin("user", "add", address, stdin="secret\n")
    world.ledger.add(address)
    await world.deliver([("r%d-%d" % (world.turn, n), 300000 if n % 20 == 7 else 2000,
                          [address] + ([world.rng.choice(AGED)] if n % 3 == 0 else []))
                         for n in range(world.rng.randrange(10, 40))])
    await world.killed("user remove", "user", "remove", address, "--yes")
    code, _ = await world.admin("user", "show", address, want=(0, 67))
    if world.rng.random() < .3:
        await world.shake()
    if code == 0:
        await world.look(address)
        await world.admin("user", "remove", address, "--yes")
    await world.admin("user", "show", address, want=(67,))
    world.ledger.forget(address)
    # The address is free, and who gets it has nothing of the one before.
    await world.admin("user", "add", address, stdin="secret\n")
    world.ledger.add(address)
    await world.look(address)
    await world.admin("user", "remove", address, "--yes")
    world.ledger.forget(address)


async def repair(world):
    """Sums that are off and records that are damaged; nothing that was readable is lost."""
    address = "d%d@example.test" % world.turn
    await world.admin("user", "add", address, stdin="secret\n")
    world.ledger.add(address)
    box = world.ledger.boxes[address]
    await world.deliver([("d%d-%d" % (world.turn, n), 6000, [address]) for n in range(6)])
    await world.look(address)
    damaged = world.rng.sample(sorted(box.uids), 2)
    for uid in damaged:
        message = int(uid, 16)
        path = os.path.join(world.site.spool, "segments", str(message >> 21))
        with open(path, "r+b") as f:
            f.seek((message & 0x1fffff) * 4096 + 5000)
            octet = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([octet[0] ^ 1]))
        # Its owner will not see it any more.
        box.removed([box.uids[uid]])
    world.site.sql("UPDATE mailbox SET used = used + 7 WHERE id = :id", address)
    world.site.sql("UPDATE mailbox SET messages = messages + 1 WHERE id = :id", LIVELY[0])
    await world.killed("check --repair", "check", "--repair")
    if world.rng.random() < .3:
        await world.shake()
    await world.admin("check", "--repair")
    await world.look(address)
    if len(box.there) != 4 or (await world.status())["set_apart"] != 2:
        raise WireError("%r are there, %r set apart" % (sorted(box.there), damaged))
    await world.admin("user", "remove", address, "--yes")
    world.ledger.forget(address)


async def backup(world):
    """The one before is whole, a new one goes on where it was, and restores."""
    folder = os.path.join(world.site.folder, "backup")
    if world.rng.random() < .3:
        shutil.rmtree(folder, ignore_errors=True)
    await world.killed("backup", "backup", folder)
    whole = os.path.exists(os.path.join(folder, "manifest"))
    if whole and world.rng.random() < .3:
        await asyncio.to_thread(restored, world)
    if world.rng.random() < .3:
        await world.shake()
    before = {a: box.before() for a, box in world.ledger.boxes.items()}
    await world.admin("backup", folder)
    if world.rng.random() < .4:
        must = {a: there & world.ledger.boxes[a].there for a, (there, _) in before.items()}
        found = await asyncio.to_thread(restored, world)
        for address, (_, never) in before.items():
            box, names = world.ledger.boxes[address], set(found[address].values())
            wrong = [u for u, name in found[address].items() if box.uids.get(u, name) != name]
            if must[address] - names or names & never or wrong:
                raise WireError("%s: the backup lacks %r, has %r that were gone, other UIDs %r" % (
                    address, sorted(must[address] - names)[:5], sorted(names & never)[:5], wrong[:5]))


def restored(world):
    """Restores the backup into another place: {address: {UID: name}}, each whole."""
    found = {}
    other = world.elsewhere()
    try:
        other.admin("restore", os.path.join(world.site.folder, "backup"))
        other.admin("check")
        for address in MAILBOXES:
            wire = Wire(other.address("pop3"), timeout=PATIENCE)
            wire.ok()
            wire.login(address, PASSWORD)
            uids = [line.split()[1].decode() for line in wire.listing(b"UIDL")]
            found[address] = {uid: unsealed(wire.retrieve(n)) for n, uid in enumerate(uids, 1)}
            if len(set(found[address].values())) != len(uids):
                raise WireError("%s: twice in the backup" % address)
            wire.ok(b"QUIT")
            wire.close()
        other.stop("pop3d")
    finally:
        other.remove()
    return found


async def bring(world):
    """Single messages out of a backup: each once, under the UID that it had."""
    folder = os.path.join(world.site.folder, "backup-b")
    box = world.ledger.boxes[BROUGHT]
    names = ["b%d-%d" % (world.turn, n) for n in range(world.rng.randrange(30, 90))]
    await world.deliver([(name, 300000 if n % 30 == 7 else 2000, [BROUGHT])
                         for n, name in enumerate(names)])
    await world.look(BROUGHT)
    await world.admin("backup", folder)
    await world.look(BROUGHT, 0)
    box.may_come(names)
    await world.killed("restore --mail", "restore", folder, "--mail", BROUGHT)
    if world.rng.random() < .3:
        await world.look(BROUGHT)
    if world.rng.random() < .2:
        await world.shake()
    _, out = await world.admin("restore", folder, "--mail", BROUGHT)
    counts = re.match(r"([0-9]+) brought back, ([0-9]+) were there", out)
    if not counts or int(counts.group(1)) + int(counts.group(2)) != len(names):
        raise WireError("restore --mail of %d: %s" % (len(names), out))
    for name in names:
        box.came(name)
    await world.shake()
    await world.look(BROUGHT, 0)
