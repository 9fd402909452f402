#!/usr/bin/env python3
"""pop-admin import and export: every form, round trips of every kind of message, UIDs and dates
kept, quotas, and imports that are killed and run again."""

import argparse
import mailbox
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import getmail  # noqa: E402
from messages import corpus, hostile, ordinary, plain  # noqa: E402
from pop_admin import Admin, Failed, holds, same  # noqa: E402
from pop_admin import BUSY, DATA, EXISTS, IO, NO_USER, USAGE  # noqa: E402
from report import Report  # noqa: E402
from testsite import HOSTNAME, SLOW, Site, sanitizer_environment  # noqa: E402
from wire import stored, without_trace  # noqa: E402

T = 1795486277
T_TEXT = "2026-11-24T02:11:17Z"
T_FROM = b"Tue Nov 24 02:11:17 2026"
OLD = "2001-09-09T01:46:40Z"
JOE, ANN = "joe@a.test", "ann@a.test"
# Of an import.
KILLS = 20


def write(folder, name, octets, mtime=None):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(octets)
    if mtime:
        os.utime(path, (mtime, mtime))
    return path


def listed(admin, address):
    return admin.json("mail", "list", address)


def uids(admin, address):
    return [row["uid"] for row in listed(admin, address)]


def shown(admin, address):
    """{uid: octets} of a mailbox, as RETR gives them."""
    out = {}
    if not listed(admin, address):
        return out
    wire = admin.pop()
    wire.login(address, "secret")
    for line in wire.listing(b"UIDL"):
        number, uid = line.split(b" ", 1)
        out[uid.decode()] = wire.retrieve(int(number))
    wire.ok(b"QUIT")
    wire.close()
    return out


def behind(octets):
    return without_trace(octets)[3]


def bring(admin, address, path, *more, imported, known=0, **how):
    same(admin.text("import", address, path, *more, **how).splitlines()[0],
         "%d imported, %d were there already" % (imported, known))


def clean(admin):
    same(admin.run("check")[1], "")


# --- forms -----------------------------------------------------------------------


def mbox_files(build):
    with Admin(build) as admin:
        admin.add(JOE)
        path = write(admin.site.folder, "mbox",
                     b"From s@x.test " + T_FROM + b"\nSubject: 1\n\n>From me\n.\n\n"
                     b"From - " + T_FROM.replace(b"17 2026", b"18 2026") + b"\r\nSubject: 2\r\n\r\nx\r\n\r\n"
                     b"From MAILER-DAEMON " + T_FROM + b" and more\nSubject: 2a\n"
                     b"\nFrom nobody knows when\nSubject: 2b\n\n"
                     b"From s@x.test Sun Sep  9 01:46:40 2001\n"
                     b"Return-Path: <r@x.test>\nDelivered-To: old@b.test\nReceived: by old; now\n\nlast")
        bring(admin, JOE, path, imported=3)
        rows = listed(admin, JOE)
        same([(r["received"], r["from"], r["delivered_to"]) for r in rows],
             [(OLD, "r@x.test", "old@b.test"), (T_TEXT, "s@x.test", JOE),
              (T_TEXT.replace("17Z", "18Z"), None, JOE)])
        got = shown(admin, JOE)
        same(got[rows[0]["uid"]], b"Return-Path: <r@x.test>\r\nDelivered-To: old@b.test\r\n"
             b"Received: by old; now\r\n\r\nlast\r\n")
        same(behind(got[rows[1]["uid"]]), b"Subject: 1\r\n\r\nFrom me\r\n.\r\n")
        same(without_trace(got[rows[1]["uid"]])[:2], (b"s@x.test", JOE.encode()))
        holds(b"Received: by " + HOSTNAME.encode() + b" (imported);" in got[rows[1]["uid"]], got)
        same(behind(got[rows[2]["uid"]]), b"Subject: 2\r\n\r\nx\r\n\r\nFrom MAILER-DAEMON " + T_FROM +
             b" and more\r\nSubject: 2a\r\n\r\nFrom nobody knows when\r\nSubject: 2b\r\n")
        # Again, with CRLF, and with a message more: what is there is known.
        with open(path, "rb") as f:
            octets = f.read()
        bring(admin, JOE, path, imported=0, known=3)
        write(admin.site.folder, "mbox", re.sub(rb"\r?\n", b"\r\n", octets) + b"\r\n\r\nFrom x@x.test " +
              T_FROM + b"\r\nSubject: new\r\n")
        bring(admin, JOE, path, imported=1, known=3)
        bring(admin, JOE, write(admin.site.folder, "empty", b""), imported=0)
        clean(admin)


def same_octets_twice(build):
    """Two equal messages of a source are two; removed mail does not come again."""
    with Admin(build) as admin:
        admin.add(JOE)
        one = b"From s@x.test " + T_FROM + b"\nSubject: 1\n\nx\n\n"
        path = write(admin.site.folder, "mbox", one * 3)
        bring(admin, JOE, path, imported=3)
        same(len(set(uids(admin, JOE))), 3)
        bring(admin, JOE, path, imported=0, known=3)
        admin.text("mail", "remove", JOE, uids(admin, JOE)[1], "--yes")
        bring(admin, JOE, path, imported=0, known=3)
        same(len(uids(admin, JOE)), 2)


def dates(build):
    """From_ line or file name, else Received:, else Date:, else the file's own; never to come."""
    date = b"Date: Sun, 09 Sep 2001 01:46:40 +0000\r\n"
    received = b"Received: by x;\r\n\tTue, 24 Nov 2026 03:11:17 +0100\r\n"
    with Admin(build) as admin:
        folder = os.path.join(admin.site.folder, "mail")
        write(folder, "1.eml", received.replace(b"2026", b"2016") + date, mtime=86400)
        write(folder, "2.EML", date, mtime=86400)
        write(folder, "3.eml", b"Subject: x\r\n\r\n" + date, mtime=86400)
        write(folder, "4.eml", b"Date: Tue, 24 Nov 2099 03:11:17 +0100\r\n", mtime=86400)
        write(folder, "no.txt", date)
        write(folder, ".5.eml", date)
        os.mkdir(os.path.join(folder, "6.eml"))
        os.symlink("1.eml", os.path.join(folder, "7.eml"))
        admin.add(JOE)
        out = admin.text("import", JOE, folder)
        same(out, "4 imported, 0 were there already\n2 passed over that are no plain files\n")
        rows = [r["received"] for r in listed(admin, JOE)]
        same(rows[:3], ["1970-01-02T00:00:00Z", OLD, "2016-11-24T02:11:17Z"])
        holds("2099" not in rows[3], rows)


def maildirs(build):
    with Admin(build) as admin:
        folder = os.path.join(admin.site.folder, "Maildir")
        write(folder, "cur/%d.M1P1.host,S=9:2,FS" % T, b"Subject: 1\n\n1\n")
        write(folder, "cur/%d.M2P1.host:2," % (T - 1), b"Subject: 2\n\n2\n")
        write(folder, "new/%d.M3P1.host" % (T + 1), b"Subject: 3\n\n3")
        write(folder, "new/broken name", b"Subject: 4\n\n4\n", mtime=86400)
        write(folder, "new/\x1b[31m", b"", mtime=86401)
        write(folder, "tmp/%d.x" % T, b"Subject: never\n\n")
        write(folder, ".Sent/cur/%d.x" % T, b"Subject: never\n\n")
        write(folder, "cur/.hidden", b"Subject: never\n\n")
        write(folder, "dovecot-uidlist", b"3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"
              b"25006 :%d.M1P1.host,S=9:2,S\n25017 Pmy~uid :%d.M2P1.host\n" % (T, T - 1))
        admin.add(JOE)
        bring(admin, JOE, folder, imported=5)
        got = shown(admin, JOE)
        order = uids(admin, JOE)
        same(order[2:4], ["my~uid", "000061ae4c0907b0"])
        same([behind(got[u])[:10] for u in order], [b"Subject: 4", b"", b"Subject: 2", b"Subject: 1",
                                                    b"Subject: 3"])
        # Flags changed, and it moved to cur: it is the same.
        os.rename(os.path.join(folder, "new/%d.M3P1.host" % (T + 1)),
                  os.path.join(folder, "cur/%d.M3P1.host:2,RS" % (T + 1)))
        bring(admin, JOE, folder, imported=0, known=5)
        clean(admin)


def uid_lists(build):
    with Admin(build) as admin:
        admin.add(JOE, ANN)
        path = write(admin.site.folder, "mbox", b"".join(
            b"From s@x.test " + T_FROM + b"\nSubject: %d\n\n\n" % i for i in range(4)))
        wanted = write(admin.site.folder, "list", b"first 1\nthird 3\n" + b"x" * 70 + b" 4\n")
        bring(admin, JOE, path, "--uidl-from", wanted, imported=4)
        order = uids(admin, JOE)
        same([order[0], order[2], order[3]], ["first", "third", "x" * 70])
        bring(admin, JOE, path, "--uidl-from=" + wanted, imported=0, known=4)
        # Other mail of the same size has the UID: it is refused, by name, and the rest comes.
        other = write(admin.site.folder, "other", b"From s@x.test " + T_FROM + b"\nSubject: x\n\n\n"
                      b"From s@x.test " + T_FROM + b"\nSubject: y\n\n\n")
        out, err = admin.run("import", JOE, other, "--uidl-from", wanted, want=DATA)
        same(out, b"1 imported, 0 were there already\n")
        holds(err.startswith("message 1: other mail has its UID, first\n") and
              "1 messages could not be imported" in err, err)
        twice = write(admin.site.folder, "twice", b"a 1\na 2\n")
        out, err = admin.run("import", ANN, path, "--uidl-from", twice, want=DATA)
        holds("message 2: other mail has its UID, a" in err and out.startswith(b"3 imported"), err)
        bad = write(admin.site.folder, "bad", b"a 1\nb\n")
        admin.fails(DATA, "import", ANN, path, "--uidl-from", bad, says="bad:2: does not say which")
        admin.fails(DATA, "import", ANN, path, "--uidl-from", "/nowhere", says="cannot be read")
        clean(admin)


# --- what may go wrong --------------------------------------------------------------


def refusals(build):
    with Admin(build) as admin:
        admin.add(JOE)
        path = write(admin.site.folder, "mbox", b"From s@x.test " + T_FROM + b"\nSubject: 1\n\n\n")
        admin.fails(NO_USER, "import", "nobody@a.test", path)
        admin.fails(DATA, "import", "joe", path, says="not a full address")
        admin.fails(DATA, "import", JOE, path + "x", says="cannot be read")
        admin.fails(DATA, "import", JOE, "/dev/null", says="neither a file nor a folder")
        admin.fails(DATA, "import", JOE, write(admin.site.folder, "eml", b"Subject: x\n\n"),
                    says="is no mbox file")
        admin.fails(USAGE, "import", JOE, says="usage: pop-admin import ADDRESS PATH")
        admin.fails(USAGE, "import", JOE, path, "--uidl-from", says="needs a file")
        admin.fails(USAGE, "export", JOE, path, "--uidl-from", "x", says="takes no --uidl-from")
        # A session has the maildrop, and does not lose its list.
        wire = admin.pop()
        wire.login(JOE, "secret")
        admin.fails(BUSY, "import", JOE, path, says="in use")
        wire.ok(b"QUIT")
        wire.close()
        same(listed(admin, JOE), [])
        # No room on the disk.
        admin.site.settings["spool", "reserve"] = "1000000G"
        admin.site.write_config()
        out, err = admin.run("import", JOE, path, want=IO)
        same(out, b"0 were imported before that; run it again for the others\n")
        holds("nearly full" in err, err)
        admin.site.settings["spool", "reserve"] = "1M"
        admin.site.write_config()
        # A mailbox may be filled before it is opened.
        admin.text("user", "disable", JOE)
        bring(admin, JOE, path, imported=1)


def quota(build):
    with Admin(build) as admin:
        admin.add(JOE)
        path = write(admin.site.folder, "mbox", b"".join(
            b"From s@x.test " + T_FROM + b"\nSubject: %d\n\n" % i + b"x" * 99999 + b"\n\n" for i in range(9)))
        admin.text("user", "quota", JOE, "500K")
        admin.fails(DATA, "import", JOE, path, says="joe@a.test: 9 messages of 880K do not fit into its "
                    "quota, which has 500K left; nothing was imported")
        same(listed(admin, JOE), [])
        same(admin.json("user", "show", JOE)["used"], 0)
        # To the octet.
        admin.text("user", "quota", JOE, "none")
        bring(admin, JOE, path, imported=9)
        used = admin.json("user", "show", JOE)["used"]
        admin.add(ANN)
        admin.text("user", "quota", ANN, str(used - 1))
        admin.fails(DATA, "import", ANN, path, says="nothing was imported")
        admin.text("user", "quota", ANN, str(used))
        bring(admin, ANN, path, imported=9)
        # What is there already needs no room.
        bring(admin, ANN, path, imported=0, known=9)
        admin.text("mail", "remove", JOE, *uids(admin, JOE)[:8], "--yes")
        other = os.path.join(admin.site.folder, "other")
        with open(path, "rb") as f:
            octets = f.read().replace(b"Subject: ", b"Subject: x", 8)
        # The last of it is known, when the mailbox is full to the octet.
        last = admin.json("user", "show", JOE)["used"]
        write(admin.site.folder, "other", octets)
        admin.text("user", "quota", JOE, str(last + 8 * (last + 1)))
        bring(admin, JOE, other, imported=8, known=1)
        same(admin.json("user", "show", JOE)["used"], last + 8 * (last + 1))
        clean(admin)


def ages(build):
    """The age is counted from the import on."""
    with Admin(build) as admin:
        admin.add(JOE)
        admin.text("user", "expire", JOE, "10d")
        path = write(admin.site.folder, "mbox", b"From s@x.test Sun Sep  9 01:46:40 2001\nSubject: 1\n\n")
        bring(admin, JOE, path, imported=1)
        admin.text("expire")
        row = listed(admin, JOE)[0]
        same(row["received"], OLD)
        left = time.mktime(time.strptime(row["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()
        holds(9 * 86400 < left < 12 * 86400, row)


def many(count, size=2000):
    rng = random.Random(count)
    parts = []
    for i in range(count):
        n = 300000 if i % 97 == 0 else rng.randrange(1, size)
        parts.append(b"From s@x.test " + T_FROM + b"\nSubject: %d\n\n" % i + b"y" * n + b"\n\n")
    return b"".join(parts)


def written(pid):
    """Octets that a process of ours has written, to what file ever."""
    try:
        with open("/proc/%d/io" % pid, encoding="ascii") as f:
            return int(re.search(r"^wchar: (\d+)", f.read(), re.M)[1])
    except OSError:
        return 0


def killed(build):
    """kill -9 at any instant, and again, until it is through: each message is there once."""
    with Admin(build) as admin:
        admin.add(JOE)
        path = write(admin.site.folder, "mbox", many(4000))
        words = [admin.program, "-c", admin.site.conf, "import", JOE, path]
        rng = random.Random(1)
        counts = []
        while True:
            process = subprocess.Popen(words, env=sanitizer_environment(), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            # The first ones before there can be anything, the last is let through.
            enough = rng.randrange(1, 300000 * (len(counts) + 1))
            while process.poll() is None and (len(counts) == KILLS or written(process.pid) < enough):
                time.sleep(0.001)
            if process.poll() is not None:
                out, err = process.communicate()
                holds(process.returncode == 0, err)
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            counts.append(len(uids(admin, JOE)))
        found = re.match(rb"([0-9]+) imported, ([0-9]+) were there already", out)
        same(int(found.group(1)) + int(found.group(2)), 4000)
        holds(any(0 < n < 4000 for n in counts), counts)
        subjects = sorted(int(re.search(rb"Subject: ([0-9]+)", octets).group(1))
                          for octets in shown(admin, JOE).values())
        same(subjects, list(range(4000)))
        clean(admin)
        print("# %d kills, mailbox at %s" % (len(counts), counts))


# --- export -------------------------------------------------------------------------


def originals(octets):
    """What may have been imported to be shown like this: its trace fields may be its own."""
    path, to, rest = octets.split(b"\r\n", 2)
    holds(path.startswith(b"Return-Path: <") and to.startswith(b"Delivered-To: "), octets[:200])
    ours = re.match(rb"Received: by %s \(imported\);\r\n\t[^\r\n]*\r\n" % HOSTNAME.encode(), rest)
    holds(ours or rest.lower().startswith(b"received:"), octets[:500])
    rest = rest[ours.end():] if ours else rest
    return {octets, rest, path + b"\r\n" + rest, path + b"\r\n" + to + b"\r\n" + rest}


def round_trip(build, messages):
    """Into a mailbox, out in each form, into others: octets, UIDs and order are the same."""
    with Admin(build) as admin:
        base = admin.site.folder
        admin.add(JOE)
        for i, octets in enumerate(messages.values()):
            write(os.path.join(base, "in"), "%05d.eml" % i, octets, mtime=T - 100000 + i)
        bring(admin, JOE, os.path.join(base, "in"), imported=len(messages))
        before, order = shown(admin, JOE), uids(admin, JOE)
        same(len(before), len(messages))
        found = set().union(*(originals(octets) for octets in before.values()))
        for name, octets in messages.items():
            holds(stored(octets, by="bdat") in found, name)
        os.mkdir(os.path.join(base, "eml"))
        for name, path in (("m", "out"), ("d", "dir/"), ("e", "eml")):
            address, path = name + "@b.test", os.path.join(base, path)
            admin.add(address)
            same(admin.text("export", JOE, path), "%d exported\n" % len(messages))
            bring(admin, address, path, "--uidl-from", path.rstrip("/") + ".uidl", imported=len(messages))
            after = shown(admin, address)
            same(sorted(after), sorted(before))
            for uid, octets in before.items():
                holds(after[uid] == octets, "%s by %s: %r became %r" % (
                    uid, name, octets[:2000], after[uid][:2000]))
            bring(admin, address, path, "--uidl-from", path.rstrip("/") + ".uidl", imported=0,
                  known=len(messages))
        same(sorted(uids(admin, "m@b.test")), sorted(order))
        times = [r["received"] for r in listed(admin, JOE)]
        for name in "mde":
            same([r["received"] for r in listed(admin, name + "@b.test")], times)
        clean(admin)


def forms(build):
    """What other programs find there."""
    with Admin(build) as admin:
        base = admin.site.folder
        admin.add(JOE)
        admin.deliver("s@x.test", JOE, octets=b"Subject: 1\r\n\r\nFrom me\r\n>From you\r\n.\r\n")
        admin.deliver("", JOE, octets=b"Subject: 2\r\n\r\nx\r\n")
        got, order = shown(admin, JOE), uids(admin, JOE)
        path = os.path.join(base, "mbox")
        same(admin.text("export", JOE, path), "2 exported\n")
        box = mailbox.mbox(path)
        same([m["Subject"] for m in box], ["1", "2"])
        same([m.get_from().split()[0] for m in box], ["s@x.test", "MAILER-DAEMON"])
        with open(path, "rb") as f:
            octets = f.read()
        holds(b"\n>From me\n>>From you\n.\n\nFrom " in octets and b"\r" not in octets, octets)
        with open(path + ".uidl", encoding="ascii") as f:
            same(f.read(), "%s 1\n%s 2\n" % tuple(order))
        os.mkdir(os.path.join(base, "eml"))
        admin.text("export", JOE, os.path.join(base, "eml"))
        for uid in order:
            with open(os.path.join(base, "eml", uid + ".eml"), "rb") as f:
                same(f.read(), got[uid])
        admin.text("export", JOE, os.path.join(base, "Maildir/"))
        names = os.listdir(os.path.join(base, "Maildir", "new"))
        same(sorted(n.split(".")[1] for n in names), sorted(order))
        same(sorted(os.listdir(os.path.join(base, "Maildir"))), ["cur", "new", "tmp"])
        for name in names:
            mtime = os.stat(os.path.join(base, "Maildir", "new", name)).st_mtime
            same(str(int(mtime)), name.split(".")[0])
        same(len(mailbox.Maildir(os.path.join(base, "Maildir"))), 2)
        same(os.stat(path).st_mode & 0o777, 0o600)
        same(os.listdir(os.path.join(base, "Maildir", "tmp")), [])


def never_overwrites(build):
    with Admin(build) as admin:
        base = admin.site.folder
        admin.add(JOE)
        admin.deliver("s@x.test", JOE)
        path = write(base, "mbox", b"mine")
        admin.fails(EXISTS, "export", JOE, path, says="exists already")
        write(base, "other.uidl", b"mine")
        admin.fails(EXISTS, "export", JOE, os.path.join(base, "other"), says="exists already")
        holds(not os.path.exists(os.path.join(base, "other")), "other")
        os.mkdir(os.path.join(base, "eml"))
        eml = write(base, "eml/%s.eml" % uids(admin, JOE)[0], b"mine")
        out, err = admin.run("export", JOE, os.path.join(base, "eml"), want=EXISTS)
        same(out, b"0 exported\n")
        holds("for 1 messages a file was there already" in err, err)
        for mine in (path, eml):
            with open(mine, "rb") as f:
                same(f.read(), b"mine")
        admin.fails(IO, "export", JOE, os.path.join(base, "no", "mbox"), says="No such file")
        admin.fails(NO_USER, "export", "nobody@a.test", os.path.join(base, "n"))
        holds(not os.path.exists(os.path.join(base, "n")), "n")
        # No lock is taken, nor needed.
        wire = admin.pop()
        wire.login(JOE, "secret")
        admin.text("export", JOE, os.path.join(base, "n"))
        wire.ok(b"QUIT")
        wire.close()
        same([n for n in os.listdir(base) if n.startswith(".export")], [])


def damaged(build):
    """What is damaged is named and left out; the others are exported."""
    with Admin(build) as admin:
        base = admin.site.folder
        admin.add(JOE)
        for i in range(3):
            admin.deliver("s@x.test", JOE, octets=b"Subject: %d\r\n\r\nmark%d\r\n" % (i, i))
        admin.site.stop("smtpd")
        segments = os.path.join(admin.site.spool, "segments")
        for name in os.listdir(segments):
            with open(os.path.join(segments, name), "r+b") as f:
                octets = f.read()
                if b"mark1" in octets:
                    f.seek(octets.index(b"mark1"))
                    f.write(b"MARK1")
        out, err = admin.run("export", JOE, os.path.join(base, "mbox"), want=DATA)
        same(out, b"2 exported\n")
        holds("%s: damaged" % uids(admin, JOE)[1] in err and "1 messages are damaged" in err, err)
        same([m["Subject"] for m in mailbox.mbox(os.path.join(base, "mbox"))], ["0", "2"])


def removed_meanwhile(build):
    """What goes while it is exported is told, and what is written is whole."""
    with Admin(build) as admin:
        admin.add(JOE)
        path = write(admin.site.folder, "mbox", b"".join(
            b"From s@x.test " + T_FROM + b"\nSubject: %d\n\n" % i + b"x" * 4000000 + b"\n\n" for i in range(40)))
        bring(admin, JOE, path, imported=40)
        out = os.path.join(admin.site.folder, "out")
        goes = uids(admin, JOE)[20:]
        process = subprocess.Popen([admin.program, "-c", admin.site.conf, "export", JOE, out],
                                   env=sanitizer_environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        # What is removed before it has made its list was never to be exported.
        while process.poll() is None and written(process.pid) < 1000000:
            time.sleep(0.001)
        admin.text("mail", "remove", JOE, *goes, "--yes")
        told, err = process.communicate(timeout=120 * SLOW)
        holds(process.returncode == 0, err)
        counts = [int(n) for n in re.findall(rb"^([0-9]+) (?:exported|were removed meanwhile)$", told, re.M)]
        same(sum(counts), 40)
        found = [len(m.get_payload()) for m in mailbox.mbox(out)]
        same(found, [4000001] * counts[0])
        print("# %s of 40 exported, the others removed meanwhile" % counts[0])


def made_by_python(build):
    """What Python's mailbox module made, which quotes as mboxo does."""
    with Admin(build) as admin:
        admin.add(JOE, ANN)
        base = admin.site.folder
        box, folder = mailbox.mbox(os.path.join(base, "box")), mailbox.Maildir(os.path.join(base, "md"))
        for i in range(3):
            octets = plain(i).replace(b"\r\n", b"\n") + b"From me\n.\n"
            box.add(octets)
            folder.add(octets)
        box.close()
        for address, path in ((JOE, "box"), (ANN, "md")):
            bring(admin, address, os.path.join(base, path), imported=3)
            same(sorted(behind(o) for o in shown(admin, address).values()),
                 sorted(plain(i) + b"From me\r\n.\r\n" for i in range(3)))


def made_by_getmail(build):
    """What getmail made, an mbox and a Maildir, is brought in as it was."""
    if not shutil.which("getmail"):
        return
    with Admin(build) as admin:
        base = admin.site.folder
        admin.add(JOE, ANN, "eve@a.test")
        for i in range(5):
            admin.deliver("s@x.test", JOE, octets=plain(i) + b"From me\r\n>From you\r\n.\r\n")
        before = sorted(behind(o) for o in shown(admin, JOE).values())
        os.chmod(base, 0o711)
        for kind, address in (("Mboxrd", ANN), ("Maildir", "eve@a.test")):
            folder = os.path.join(base, kind)
            os.mkdir(folder)
            bring(admin, address, getmail.fetch(admin.site, folder, JOE, "secret", kind), imported=5)
            after = []
            for octets in shown(admin, address).values():
                # getmail writes trace fields of its own before ours, or in place of them.
                after.append(octets[octets.index(b"From: Sender"):])
            same(sorted(after), sorted(b[b.index(b"From: Sender"):] for b in before))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("BUILD", "build"))
    parser.add_argument("only", nargs="*", help="names of tests")
    arguments = parser.parse_args()
    report = Report()
    for test in (mbox_files, same_octets_twice, dates, maildirs, uid_lists, refusals, quota, ages,
                 killed, forms, never_overwrites, damaged, removed_meanwhile, made_by_python,
                 made_by_getmail):
        if not arguments.only or test.__name__ in arguments.only:
            report.run(test.__name__, test, arguments.build)
    if not shutil.which("getmail"):
        report.without("getmail", "it is not installed")
    files = corpus()
    if files is None:
        report.without("round_trip: corpus", "there is no folder of mail here (CORPUS=DIR names one)")
    for name, messages in (("ordinary", ordinary()), ("hostile", hostile()), ("corpus", files)):
        if messages and (not arguments.only or "round_trip" in arguments.only):
            report.run("round_trip: %s" % name, round_trip, arguments.build, messages)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
