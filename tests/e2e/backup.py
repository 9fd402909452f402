#!/usr/bin/env python3
"""pop-admin backup and restore, beside daemons under load.

    python3 tests/e2e/backup.py [--build DIR]

BACKUP_MIB=512 makes the mailboxes larger than they are otherwise (24 MiB).
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from amail import sealed, unsealed  # noqa: E402
from report import Report  # noqa: E402
from testsite import PASSWORD, SLOW, Site, SiteError, sanitizer_environment  # noqa: E402
from wire import Wire, WireError, submit, transact  # noqa: E402

USERS = ["u%d@example.test" % i for i in range(3)]
LOAD = float(os.environ.get("TEST_LOAD", "1"))
OCTETS = int(float(os.environ.get("BACKUP_MIB", 24)) * (1 << 20) * LOAD)
DATA, BUSY, EXISTS = 65, 75, 73


def same(got, want):
    if got != want:
        raise WireError("%r, not %r" % (got, want))


def holds(truth, text):
    if not truth:
        raise WireError(text)


class Load:
    """Mail that comes, until it is told to end; each name once it was acknowledged."""

    def __init__(self, site, tag, wait=0.0):
        self.site, self.tag, self.wait = site, tag, wait
        self.acknowledged = {u: set() for u in USERS}
        self.ends = threading.Event()
        self.failed = []
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(3)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        rng = random.Random("%s %d" % (self.tag, client))
        try:
            wire = Wire(self.site.address("smtp"), timeout=60 * SLOW)
            wire.reply()
            wire.want(b"EHLO client.example", 250)
            number = 0
            while not self.ends.wait(self.wait):
                name = "%s-%d-%d" % (self.tag, client, number)
                number += 1
                size = rng.randrange(270000, 400000) if rng.random() < .05 else rng.randrange(9000)
                to = rng.sample(USERS, rng.choice((1, 1, 2)))
                transact(wire, b"s@x.test", [u.encode() for u in to], sealed(name, size, name))
                for user in to:
                    self.acknowledged[user].add(name)
            wire.close()
        except Exception as error:  # the main thread raises it
            self.failed.append(error)

    def end(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()
        if self.failed:
            raise self.failed[0]


def login(site, user):
    wire = Wire(site.address("pop3"), timeout=60 * SLOW)
    wire.ok()
    wire.login(user, PASSWORD)
    return wire


def contents(site, user):
    """Name of each message, whole, by UID."""
    wire = login(site, user)
    uids = dict(line.split() for line in wire.listing(b"UIDL"))
    found = {}
    for number, uid in uids.items():
        found[uid.decode()] = unsealed(wire.retrieve(int(number)))
    wire.ok(b"QUIT")
    wire.close()
    return found


def fill(site):
    """Names by user: many small ones, and some that have a segment to themselves."""
    names = {u: set() for u in USERS}
    rng = random.Random(1)
    wire = Wire(site.address("smtp"), timeout=60 * SLOW)
    wire.reply()
    wire.want(b"EHLO client.example", 250)
    octets = number = 0
    while octets < OCTETS:
        name = "fill-%d" % number
        size = rng.randrange(300000, 2000000) if number % 40 == 0 else rng.randrange(1, 60000)
        to = USERS if number % 10 == 0 else [USERS[number % 3]]
        transact(wire, b"s@x.test", [u.encode() for u in to], sealed(name, size, name))
        for user in to:
            names[user].add(name)
        number += 1
        octets += size
    wire.close()
    return names


def remove(site, user, share, seed):
    """Deletes a share of the mail there by a session; the names that went."""
    wire = login(site, user)
    count = int(wire.ok(b"STAT").split()[0])
    gone = set()
    for number in random.Random(seed).sample(range(1, count + 1), int(count * share)):
        gone.add(unsealed(wire.retrieve(number)))
        wire.ok(b"DELE %d" % number)
    wire.ok(b"QUIT")
    wire.close()
    return gone


def elsewhere(site):
    """A site like it, with an empty place for a spool."""
    other = Site(site.build, users=())
    shutil.rmtree(other.spool)
    other.users = site.users
    return other


def backup_beside(site, folder):
    """Runs a backup; what it said, and whether status told of it."""
    process = subprocess.Popen(
        [os.path.join(site.build, "pop-admin"), "-c", site.conf, "--json", "backup", folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=sanitizer_environment())
    seen = False
    while process.poll() is None and not seen:
        seen = json.loads(site.admin("--json", "status"))["backup_running"]
    out, err = process.communicate(timeout=300 * SLOW)
    if process.returncode != 0:
        raise WireError("backup ended with %d: %s" % (process.returncode, err.decode()))
    return json.loads(out), seen


def under_load(build):
    with Site(build, users=USERS) as site, elsewhere(site) as other:
        folder = os.path.join(site.folder, "backup")
        filled = fill(site)
        before = {u: set(remove(site, u, .1, u)) for u in USERS}
        acknowledged = {u: filled[u] - before[u] for u in USERS}
        uids = {u: contents(site, u) for u in USERS}
        load = Load(site, "load")
        during = {u: set() for u in USERS}

        def half(user):
            during[user] |= remove(site, user, .5, user)
        removers = [threading.Thread(target=half, args=(u,)) for u in USERS]
        # What is acknowledged or gone by now is what must, or must not, be there.
        time.sleep(.3)
        for user in USERS:
            acknowledged[user] |= set(load.acknowledged[user])
        for thread in removers:
            thread.start()
        said, seen = backup_beside(site, folder)
        for thread in removers:
            thread.join()
        load.end()
        print("# %d messages, %.1f MiB copied, seen by status: %s" % (
            said["messages"], said["copied"] / (1 << 20), seen))
        holds(all(len(during[u]) >= len(filled[u]) / 4 for u in USERS), "nothing was removed")

        # The daemons' own spool, for whose sake nothing may have stopped.
        for user in USERS:
            there = set(contents(site, user).values())
            lost = (acknowledged[user] | load.acknowledged[user]) - during[user] - there
            holds(not lost, "lost: %r" % sorted(lost)[:5])
        site.admin("check")

        other.admin("restore", folder)
        for user in USERS:
            there = contents(other, user)
            names = set(there.values())
            lost = acknowledged[user] - during[user] - names
            holds(not lost, "not in the backup: %r" % sorted(lost)[:5])
            holds(not before[user] & names, "deleted before: %r" % (before[user] & names))
            holds(len(names) == len(there), "twice")
            wrong = [uid for uid, name in there.items()
                     if name.startswith("fill") and uids[user].get(uid) != name]
            holds(not wrong, "other UIDs: %r" % wrong[:5])
        other.admin("check")
        # UIDs of both go on, and never meet.
        ours = {u: set(contents(site, u)) for u in USERS}
        for where in (site, other):
            submit(where.address("smtp"), b"s@x.test", [USERS[0].encode()], sealed("n", 10, 1))
        new = set(contents(site, USERS[0])) - ours[USERS[0]]
        news = set(contents(other, USERS[0])) - set(uids[USERS[0]]) - ours[USERS[0]]
        holds(len(new) == 1 and not new & news, "%r %r" % (new, news))


def taken(site):
    folder = os.path.join(site.spool, "segments")
    return sum(os.stat(os.path.join(folder, n)).st_blocks * 512 for n in os.listdir(folder))


def stopped_halfway(build):
    """Nothing is given back while a backup takes its time, and all else goes on."""
    with Site(build, users=USERS) as site, elsewhere(site) as other:
        folder = os.path.join(site.folder, "backup")
        segments = os.path.join(folder, "segments")
        filled = fill(site)
        was = {u: contents(site, u) for u in USERS}
        octets = taken(site)
        process = subprocess.Popen(
            [os.path.join(site.build, "pop-admin"), "-c", site.conf, "backup", folder],
            stdout=subprocess.DEVNULL, env=sanitizer_environment())
        while not os.path.isdir(segments) or not os.listdir(segments):
            holds(process.poll() is None, "it was over at once")
        process.send_signal(signal.SIGSTOP)
        holds(len(os.listdir(segments)) < len(os.listdir(os.path.join(site.spool, "segments"))),
              "it was over")
        try:
            for user in USERS:
                same(remove(site, user, 1, 0), filled[user])
            submit(site.address("smtp"), b"s@x.test", [USERS[0].encode()], sealed("late", 10, 1))
            site.admin("expire")
            holds(json.loads(site.admin("--json", "status"))["backup_running"], "status")
            site.admin("backup", os.path.join(site.folder, "second"), want=BUSY)
            # What a round of upkeep takes that was woken, several times.
            time.sleep(1)
            holds(taken(site) >= octets, "room was given back meanwhile")
        finally:
            process.send_signal(signal.SIGCONT)
        same(process.wait(60 * SLOW), 0)
        # And then, at once.
        deadline = time.monotonic() + 10 * SLOW
        while taken(site) > octets / 10:
            holds(time.monotonic() < deadline, "no room was given back afterwards")
            time.sleep(.05)
        holds(not json.loads(site.admin("--json", "status"))["backup_running"], "status")
        other.admin("restore", folder)
        for user in USERS:
            same(contents(other, user), was[user])


def only_what_is_new(build):
    with Site(build, users=USERS) as site:
        folder = os.path.join(site.folder, "backup")
        fill(site)
        first = json.loads(site.admin("--json", "backup", folder))
        same(json.loads(site.admin("--json", "backup", folder))["copied"], 0)
        for user in USERS:
            remove(site, user, .5, user)
        for number in range(10):
            submit(site.address("smtp"), b"s@x.test", [USERS[0].encode()],
                   sealed("new-%d" % number, 100, number))
        second = json.loads(site.admin("--json", "backup", folder))
        # A block each.
        same(second["copied"], 10 * 4096)
        names = os.listdir(os.path.join(folder, "segments"))
        room = sum(os.stat(os.path.join(folder, "segments", n)).st_blocks * 512 for n in names)
        holds(room <= second["octets"] * 1.02 + 65536, "%d for %d" % (room, second["octets"]))
        print("# first %d octets, second %d of %d" % (first["copied"], second["copied"],
                                                      second["octets"]))
        for name in os.listdir(folder):
            same(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0)


def killed(build):
    """kill -9 at random instants: the earlier backup is whole, and the next run comes to its end."""
    with Site(build, users=USERS) as site:
        folder = os.path.join(site.folder, "backup")
        names = fill(site)
        rng = random.Random(7)
        begun = time.monotonic()
        site.admin("backup", folder)
        whole_s = time.monotonic() - begun
        program = [os.path.join(site.build, "pop-admin"), "-c", site.conf]
        # Also the very first one, which nobody can restore before it came to its end.
        partial = os.path.join(site.folder, "partial")
        for turn in range(int(20 * max(LOAD, .3))):
            target = partial if turn % 2 else folder
            if not turn % 2:
                load = Load(site, "k%d" % turn, .005)
                time.sleep(.05)
                names[USERS[0]] -= remove(site, USERS[0], .1, turn)
            elif turn % 6 == 1:
                shutil.rmtree(partial, ignore_errors=True)
            process = subprocess.Popen(program + ["backup", target], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=sanitizer_environment())
            time.sleep(rng.uniform(0, whole_s))
            process.kill()
            process.wait()
            if not turn % 2:
                load.end()
            other = elsewhere(site)
            try:
                if target == partial and not os.path.exists(os.path.join(partial, "manifest")):
                    other.admin("restore", target, want=69)
                else:
                    other.admin("restore", target)
                    other.admin("check")
            finally:
                other.remove()
        json.loads(site.admin("--json", "backup", folder))
        with elsewhere(site) as other:
            other.admin("restore", folder)
            for user in USERS:
                same(contents(other, user), contents(site, user))


def killed_restore(build):
    """Until it has come to its end there is no spool, for nobody; then it goes on where it was."""
    with Site(build, users=USERS) as site:
        folder = os.path.join(site.folder, "backup")
        fill(site)
        site.admin("backup", folder)
        rng = random.Random(8)
        whole_s, ended = .5, 0
        with elsewhere(site) as other:
            for _ in range(int(12 * max(LOAD, .3))):
                begun = time.monotonic()
                process = subprocess.Popen(
                    [os.path.join(build, "pop-admin"), "-c", other.conf, "restore", folder],
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    env=sanitizer_environment())
                try:
                    process.wait(rng.uniform(0, whole_s))
                except subprocess.TimeoutExpired:
                    process.kill()
                process.communicate()
                if process.returncode == 0 or os.path.exists(
                        os.path.join(other.spool, "index", "index.db")):
                    ended += 1
                    whole_s = max(.05, time.monotonic() - begun)
                    for user in USERS:
                        same(contents(other, user), contents(site, user))
                    for daemon in list(other.daemons):
                        other.stop(daemon)
                    shutil.rmtree(other.spool)
                else:
                    half = os.path.exists(os.path.join(other.spool, "restoring"))
                    # Before its folders are all there it is no spool at all.
                    try:
                        other.admin("status", want=69)
                    except SiteError:
                        assert half
                        other.admin("status", want=BUSY)
                    if half:
                        other.admin("init", want=BUSY)
            other.admin("restore", folder)
            for user in USERS:
                same(contents(other, user), contents(site, user))
        print("# %d came to their ends" % ended)


def damaged(build):
    with Site(build, users=USERS) as site:
        folder = os.path.join(site.folder, "backup")
        for number in range(6):
            submit(site.address("smtp"), b"s@x.test", [USERS[0].encode()],
                   sealed("d-%d" % number, 6000, number))
        uids = list(contents(site, USERS[0]))
        site.admin("backup", folder)
        number, block = int(uids[2], 16) >> 21, int(uids[2], 16) & 0x1fffff
        with open(os.path.join(folder, "segments", str(number)), "r+b") as f:
            f.seek(block * 4096 + 3000)
            octet = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([octet[0] ^ 8]))
        with elsewhere(site) as other:
            said = other.admin("restore", folder, want=DATA)
            holds(uids[2] in said and USERS[0] in said, said)
            # Nothing was made of it.
            other.admin("status", want=69)
            other.admin("restore", "--yes", folder)
            there = login(other, USERS[0])
            same(int(there.ok(b"STAT").split()[0]), 6)
            same(unsealed(there.retrieve(1))[:2], "d-")
            there.close()
        with elsewhere(site) as other:
            # The next backup mends it.
            site.admin("backup", folder)
            other.admin("restore", folder)
            same(contents(other, USERS[0]), contents(site, USERS[0]))
            other.admin("restore", folder, want=BUSY)
        site.admin("restore", folder, want=BUSY)
        for daemon in list(site.daemons):
            site.stop(daemon)
        site.admin("restore", folder, want=EXISTS)
        site.admin("restore", os.path.join(site.folder, "nothing"), want=69)
        site.admin("restore", folder, "ABCD", want=64)
        site.admin("backup", site.folder, want=EXISTS)
        site.admin("backup", "/dev/null", want=74)


def single_messages(build):
    with Site(build, users=USERS) as site:
        folder = os.path.join(site.folder, "backup")
        for number in range(6):
            submit(site.address("smtp"), b"s@x.test", [u.encode() for u in USERS[:2]],
                   sealed("m-%d" % number, 400000 if number == 3 else 100, number))
        was = contents(site, USERS[0])
        times = {m["uid"]: m["received"]
                 for m in json.loads(site.admin("--json", "mail", "list", USERS[0]))}
        site.admin("backup", folder)
        remove(site, USERS[0], 1, 0)
        # With the daemons at work, and a session that has the maildrop.
        wire = login(site, USERS[0])
        uids = sorted(was)
        site.admin("restore", folder, "--mail", USERS[0], uids[1], want=BUSY)
        wire.ok(b"QUIT")
        wire.close()
        same(site.admin("restore", folder, "--mail", USERS[0], uids[1], uids[4]),
             "2 brought back, 0 were there\n")
        site.admin("restore", folder, "--mail", USERS[0], uids[1], want=EXISTS)
        same(site.admin("restore", folder, "--mail", USERS[0]), "4 brought back, 2 were there\n")
        same(contents(site, USERS[0]), was)
        same({m["uid"]: m["received"]
              for m in json.loads(site.admin("--json", "mail", "list", USERS[0]))}, times)
        site.admin("restore", folder, "--mail", "nobody@example.test", want=67)
        site.admin("restore", folder, "--mail", USERS[0], "0123456789abcdef", want=DATA)
        site.admin("check")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    for test in (under_load, stopped_halfway, only_what_is_new, killed, killed_restore, damaged, single_messages):
        report.run(test.__name__, test, build)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
