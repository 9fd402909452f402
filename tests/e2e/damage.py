#!/usr/bin/env python3
"""Damage of every file of a spool in each way, under daemons that run and ones that are stopped: a
login sees all that was there before, or [SYS/TEMP]; and what an administrator does then."""

import argparse
import concurrent.futures
import contextlib
import fcntl
import glob
import json
import mailbox
import os
import poplib
import shutil
import smtplib
import socket
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from testsite import Site, SiteError, PASSWORD, SLOW  # noqa: E402

LOAD = float(os.environ.get("TEST_LOAD", "1"))
EVERY = False
JOE = "joe@example.test"
ANN = "ann@example.test"
# lock_wait is what a login waits for a spool that is not ready, too.
CONFIG = {("pop3d", "lock_wait"): "1s"}


def message(number, octets=2000):
    text = b"Subject: message %d\r\n\r\nFrom here on\r\n>From there\r\n.dot\r\n" % number
    return text + (b"x" * 70 + b"\r\n") * ((octets - len(text)) // 72)


def deliver(site, to, number, octets=2000):
    with smtplib.SMTP(*site.address("smtp"), timeout=60 * SLOW) as smtp:
        smtp.sendmail("sender@client.example", to, message(number, octets))


@contextlib.contextmanager
def session(site, address):
    pop = poplib.POP3(*site.address("pop3"), timeout=60 * SLOW)
    try:
        pop.user(address)
        pop.pass_(PASSWORD)
        yield pop
        pop.quit()
    finally:
        pop.close()


def uids(site, address):
    """What a login sees: UIDs, or the code with which it is put off."""
    try:
        with session(site, address) as pop:
            return [line.split()[1].decode() for line in pop.uidl()[1]]
    except poplib.error_proto as e:
        text = e.args[0].decode() if isinstance(e.args[0], bytes) else str(e.args[0])
        return text.split("]")[0] + "]"


TEMP = "-ERR [SYS/TEMP]"


def same(got, want):
    assert got == want, "%r is not %r" % (got, want)


def segments(site):
    return sorted(p for p in glob.glob(os.path.join(site.spool, "segments", "*"))
                  if os.path.basename(p).isdigit())


def segment_of(site, uid):
    return os.path.join(site.spool, "segments", str(int(uid, 16) >> 21))


def overwrite(path, at, octets):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(octets)


def find_and_spoil(site, what):
    for path in segments(site):
        with open(path, "rb") as f:
            at = f.read().find(what)
        if at >= 0:
            overwrite(path, at, b"#")
            return
    raise AssertionError("%r is nowhere" % what)


@contextlib.contextmanager
def filled(build):
    """Joe has three small messages and a large one, Ann one of the small ones."""
    with Site(build, CONFIG) as site:
        site.start("smtpd")
        deliver(site, [JOE], 1)
        deliver(site, [JOE, ANN], 2)
        deliver(site, [JOE], 3)
        deliver(site, [JOE], 4, 400000)
        site.start("pop3d")
        yield site, uids(site, JOE), uids(site, ANN)


def put_off(site):
    """Nobody is shown anything, and no mail is taken for good or refused for good."""
    same(uids(site, JOE), TEMP)
    same(uids(site, ANN), TEMP)
    with smtplib.SMTP(*site.address("smtp"), timeout=60 * SLOW) as smtp:
        smtp.ehlo()
        code = smtp.mail("sender@client.example")[0]
        if code == 250:
            code = smtp.rcpt(JOE)[0]
        same(code, 451)


def listed(site, address):
    return json.loads(site.admin("--json", "mail", "list", address))


# --- one record --------------------------------------------------------------------------------

def record(build):
    with filled(build) as (site, joe, ann):
        find_and_spoil(site, b"message 2")
        bad = joe[1]
        same(ann, [bad])
        with session(site, JOE) as pop:
            try:
                pop.retr(2)
                raise AssertionError("a damaged message was sent")
            except poplib.error_proto as e:
                assert b"[SYS/PERM]" in e.args[0], e
            assert b"Subject: message 1" in pop.retr(1)[1], "the others do not flow"
            assert b"Subject: message 4" in pop.retr(4)[1], "the others do not flow"
            same(len(pop.uidl()[1]), 4)
        site.daemons["pop3d"].wait_log(r"event=message_set_apart .*uid=%s" % bad)
        same(uids(site, JOE), [u for u in joe if u != bad])
        status = site.admin("status")
        assert "set_apart: 1\n" in status, status
        # Ann's has not been tried yet; check finds it, and tells of both.
        out = site.admin("check", want=65)
        assert bad in out and ANN in out and JOE in out, out
        same(uids(site, ANN), ann)
        site.admin("check", "--repair")
        same(uids(site, ANN), [])
        assert os.path.exists(os.path.join(site.spool, "damaged", bad))
        out = site.admin("check")
        assert "set apart, damaged and not shown: 2" in out, out
        # It is named where an administrator looks, and goes when he says so.
        same([(m["uid"], m["set_apart"]) for m in listed(site, JOE)], [(u, u == bad) for u in joe])
        damaged = json.loads(site.admin("--json", "status"))["damaged"]
        same(damaged, [{"address": JOE, "uid": bad}, {"address": ANN, "uid": bad}])
        assert bad in site.admin("status")
        site.admin("mail", "show", ANN, bad, want=65)
        used = json.loads(site.admin("--json", "user", "show", JOE))["used"]
        same(used, sum(m["size"] for m in listed(site, JOE) if not m["set_apart"]))
        site.admin("export", JOE, os.path.join(site.folder, "out") + "/", want=65)
        same(site.admin("mail", "remove", JOE, bad, "--yes"), "1 removed\n")
        same([m["uid"] for m in listed(site, JOE)], uids(site, JOE))
        same(json.loads(site.admin("--json", "user", "show", JOE))["used"], used)
        assert bad in site.admin("mail", "history", JOE).splitlines()[1]
        out = site.admin("check")
        assert "set apart, damaged and not shown: 1" in out, out
        # New mail comes in as ever.
        deliver(site, [ANN], 5)
        same(len(uids(site, ANN)), 1)


def large_record(build):
    with filled(build) as (site, joe, _ann):
        path = segment_of(site, joe[3])
        overwrite(path, os.path.getsize(path) - 2000, b"#")
        pop = poplib.POP3(*site.address("pop3"), timeout=60 * SLOW)
        pop.user(JOE)
        pop.pass_(PASSWORD)
        try:
            pop.retr(4)
            raise AssertionError("a damaged message was sent to its end")
        except (poplib.error_proto, EOFError, ConnectionError):
            pass
        pop.close()
        site.daemons["pop3d"].wait_log(r"event=message_set_apart")
        same(uids(site, JOE), joe[:3])


# --- a segment ---------------------------------------------------------------------------------

def delete(path):
    os.unlink(path)


def cut(path):
    os.truncate(path, os.path.getsize(path) // 4096 // 2 * 4096)


def empty(path):
    os.truncate(path, 0)


def overwrite_header(path):
    overwrite(path, 0, b"\xa5" * 4096)


def exchange(path):
    """Another segment's octets under this one's name."""
    other = [p for p in sorted(glob.glob(os.path.join(os.path.dirname(path), "*")))
             if p != path and os.path.basename(p).isdigit()]
    shutil.copyfile(other[0], path + ".new")
    os.rename(path + ".new", path)


WAYS = (delete, cut, empty, overwrite_header, exchange)


def some(rows):
    """Each of what stands first in the rows once, one way and the other."""
    rows = list(rows)
    for i, what in enumerate(dict.fromkeys(row[0] for row in rows)):
        mine = [row for row in rows if row[0] == what]
        # Counts of ways have no factor in common with it.
        yield mine[i * 7 % len(mine)]


def each(case, build, rows):
    """Some at a time: they wait most of theirs.  Where a sanitizer makes all slow a part of them will
    do."""
    rows = list(rows if EVERY else some(rows))[::max(1, round(.5 / LOAD))]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for row, done in [(row, pool.submit(case, build, *row)) for row in rows]:
            try:
                done.result()
            except Exception as e:
                raise AssertionError("%s: %r" % ([getattr(x, "__name__", x) for x in row], e)) from e


def segment_way(build, way, stopped):
    with filled(build) as (site, joe, ann):
        path = segment_of(site, joe[3])
        keep = path + ".keep"
        shutil.copyfile(path, keep)
        if stopped:
            site.stop("pop3d")
            site.stop("smtpd")
        way(path)
        if stopped:
            site.start("smtpd")
            site.start("pop3d")
        # All, or TEMP; and TEMP at the latest when somebody found out.
        first = uids(site, JOE)
        assert first in (joe, TEMP), (way.__name__, stopped, first)
        if first == joe:
            with contextlib.suppress(poplib.error_proto, EOFError, ConnectionError):
                with session(site, JOE) as pop:
                    pop.retr(4)
                    # A file that is open still is as good as it was.
                    if way in (delete, exchange) and not stopped:
                        return
                    raise AssertionError((way.__name__, "was sent"))
            same(uids(site, JOE), TEMP)
        same(uids(site, ANN), ann)
        # Put back, it is shown at once, and read, by who has the other file open when he asks again.
        os.replace(keep, path)
        if first == TEMP:
            same(uids(site, JOE), joe)
        with session(site, JOE) as pop:
            with contextlib.suppress(poplib.error_proto):
                pop.retr(4)
            pop.retr(4)
        same(uids(site, JOE), joe)
        shutil.copyfile(path, keep)
        way(path)
        site.admin("check", want=65)
        out = site.admin("check", "--repair")
        if way is overwrite_header:
            # Its records say what it was.
            assert "the header of segment" in out and joe[3] not in out, out
            same(uids(site, JOE), joe)
        else:
            assert joe[3] in out, out
            same(uids(site, JOE), joe[:3])
        # Known by now, and dealt with.
        site.admin("check")
        # And comes back with its file.
        os.replace(keep, path)
        site.admin("check", "--repair")
        same(uids(site, JOE), joe)
        same(site.admin("check").split(":")[0], "nothing wrong")


# --- the index ---------------------------------------------------------------------------------


def segment(build):
    each(segment_way, build, [(way, stopped) for way in WAYS for stopped in (True, False)])


def last_week(site):
    """Keeps the index as it is, and lets a week pass."""
    folder = os.path.join(site.spool, "index")
    site.stop("pop3d")
    site.stop("smtpd")
    shutil.copytree(folder, os.path.join(site.folder, "last-week"))
    site.start("smtpd")
    deliver(site, [JOE], 6)
    site.start("pop3d")


def way_delete(path, _old):
    os.unlink(path)


def way_cut(path, _old):
    os.truncate(path, 5000)


def way_empty(path, _old):
    os.truncate(path, 0)


def way_overwrite(path, _old):
    overwrite(path, 0, b"\xa5" * os.path.getsize(path))


def way_exchange(path, old):
    shutil.copyfile(os.path.join(old, "index.db"), path + ".new")
    os.rename(path + ".new", path)


def way_in_place(path, old):
    with open(os.path.join(old, "index.db"), "rb") as f:
        octets = f.read()
    overwrite(path, 0, octets)
    os.truncate(path, len(octets))


def index_way(build, way, stopped, log):
    with filled(build) as (site, _joe, _ann):
        last_week(site)
        joe, ann = uids(site, JOE), uids(site, ANN)
        path = os.path.join(site.spool, "index", "index.db")
        if stopped:
            site.stop("pop3d")
            site.stop("smtpd")
        way(path, os.path.join(site.folder, "last-week"))
        if not log:
            for name in glob.glob(path + "-*"):
                os.unlink(name)
        if stopped:
            site.start("smtpd")
            site.start("pop3d")
        for _ in range(3):
            for address, all_of_it in ((JOE, joe), (ANN, ann)):
                seen = uids(site, address)
                assert seen in (all_of_it, TEMP), (way.__name__, stopped, log, seen)
            if not stopped:
                time.sleep(0.6)
        if stopped and not log:
            put_off(site)
        for name in ("pop3d", "smtpd"):
            site.stop(name)
        # Another day's log may give the index back whole: then nothing is to be done.
        out = site.admin("reindex")
        assert "there again" in out, out
        site.start("smtpd")
        site.start("pop3d")
        if "disabled" in out:
            for address in (JOE, ANN):
                assert uids(site, address).startswith("-ERR [AUTH]"), address
                site.admin("user", "passwd", address, stdin=PASSWORD + "\n")
        same(uids(site, JOE), joe)
        same(uids(site, ANN), ann)
        same(site.admin("check").split(":")[0], "nothing wrong")


def index(build):
    ways = (way_delete, way_cut, way_empty, way_overwrite, way_exchange, way_in_place)
    each(index_way, build, [(way, stopped, log) for way in ways for stopped in (True, False)
                            for log in (True, False) if stopped or log == (way is not way_delete)])


# --- its log, under daemons that run ---------------------------------------------------------------

def log_exchange(path, old):
    """As cp does it: cut, then written from the beginning."""
    shutil.copyfile(old, path)


def log_begin(path, old):
    """Only the beginning of last week's: what lies behind it is right."""
    with open(old, "rb") as f:
        overwrite(path, 0, f.read(4096))


def log_overwrite(path, _old):
    overwrite(path, 0, b"\xa5" * os.path.getsize(path))


def log_empty(path, _old):
    os.truncate(path, 0)


def log_way(build, way):
    with filled(build) as (site, _joe, _ann):
        path = os.path.join(site.spool, "index", "index.db-wal")
        old = shutil.copyfile(path, os.path.join(site.folder, "last-week"))
        # A log that is begun anew.
        db = sqlite3.connect(path.removesuffix("-wal"))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        deliver(site, [JOE], 6)
        joe, ann = uids(site, JOE), uids(site, ANN)
        good = shutil.copyfile(path, os.path.join(site.folder, "good"))
        assert os.path.getsize(good) > 4096 and os.path.getsize(old) > 4096
        way(path, old)
        # At once, and by both: nothing of it is read, and nothing added to it or taken out of it.
        same(uids(site, JOE), TEMP)
        same(uids(site, ANN), TEMP)
        assert not submitted(site, JOE, 7)
        put_off(site)
        for name in ("pop3d", "smtpd"):
            site.daemons[name].wait_log("event=index_not_believed .*index.db-wal was ex")
            site.stop(name)
        shutil.copyfile(good, path)
        site.start("smtpd")
        site.start("pop3d")
        same(uids(site, JOE), joe)
        same(uids(site, ANN), ann)
        same(site.admin("check").split(":")[0], "nothing wrong")


def log(build):
    each(log_way, build, [(way,) for way in (log_exchange, log_begin, log_overwrite, log_empty)])


# --- the secrets, under daemons that run -----------------------------------------------------------

def login(site, address, password):
    """None, or the code with which it is refused."""
    pop = poplib.POP3(*site.address("pop3"), timeout=60 * SLOW)
    try:
        pop.user(address)
        pop.pass_(password)
        pop.quit()
        return None
    except poplib.error_proto as e:
        return e.args[0].decode().split("]")[0] + "]"
    finally:
        pop.close()


def secrets(build):
    with filled(build) as (site, joe, _ann):
        pop3d = site.daemons["pop3d"]
        path = os.path.join(site.spool, "secrets", "secrets.db")
        away = os.path.join(site.folder, "secrets.db")
        # More pages than a new one will have.
        db = sqlite3.connect(path, timeout=20)
        db.executemany("INSERT INTO secret (mailbox, hash) VALUES (?, ?)",
                       [(n, "x" * 300) for n in range(1000, 2000)])
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        same(uids(site, JOE), joe)
        os.rename(path, away)
        for _ in range(2):
            same(login(site, JOE, PASSWORD), "-ERR [SYS/TEMP]")
            same(login(site, JOE, "wrong"), "-ERR [SYS/TEMP]")
        pop3d.wait_log(r"event=secrets_not_opened path=\S+/secrets\.db error=.* advice=.*pop-admin init")
        same(pop3d.text().count("event=secrets_not_opened"), 1)
        # Log and shared memory of the old one still lie there.
        site.admin("init")
        for address in (JOE, ANN):
            site.admin("user", "passwd", address, stdin="new " + address + "\n")
        for address in (JOE, ANN):
            same(login(site, address, PASSWORD), "-ERR [AUTH]")
            same(login(site, address, "new " + address), None)
        pop3d.wait_log("event=secrets_opened ")
        # And the old one put back, in one step, as of a backup; and changed.
        os.rename(away, path)
        same(login(site, JOE, "new " + JOE), "-ERR [AUTH]")
        same(uids(site, JOE), joe)
        site.admin("user", "passwd", JOE, stdin="third\n")
        same(login(site, JOE, PASSWORD), "-ERR [AUTH]")
        same(login(site, JOE, "third"), None)
        same(site.admin("check").split(":")[0], "nothing wrong")


# --- everything ----------------------------------------------------------------------------------

FILES = ("index/index.db", "index/index.db-wal", "index/index.db-shm", "secrets/secrets.db",
         "secrets/secrets.db-wal", "secrets/secrets.db-shm", "segments/first", "segments/large",
         "segments/current", "segments/epoch", "locks/roles", "locks/writer", "locks/1", "ballast",
         "run/smtpd-wake")
FOLDERS = ("index", "secrets", "segments", "locks", "run")


def any_delete(path, _old):
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def any_cut(path, _old):
    os.truncate(path, os.path.getsize(path) // 2)


def any_empty(path, _old):
    os.truncate(path, 0)


def any_overwrite(path, _old):
    overwrite(path, 0, b"\xa5" * max(16, os.path.getsize(path)))


def any_exchange(path, old):
    if os.path.isdir(old):
        shutil.rmtree(path)
        shutil.copytree(old, path)
    else:
        shutil.copyfile(old, path + ".new")
        os.rename(path + ".new", path)


ANY = (any_delete, any_cut, any_empty, any_overwrite, any_exchange)


def all_rows():
    """What is damaged, how, and whether the daemons are stopped; a socket has no octets."""
    for what in FILES + FOLDERS:
        for way in ANY:
            if what in FOLDERS and way not in (any_delete, any_exchange):
                continue
            if what == "run/smtpd-wake" and way is not any_delete:
                continue
            if (what, way) == ("segments/current", any_exchange):
                continue
            for stopped in (True, False):
                yield what, way, stopped


def start(site, name):
    """Starts it; one that cannot run says why and ends, but not by a signal."""
    try:
        site.start(name)
    except SiteError:
        daemon = site.daemons.pop(name)
        if daemon.process.poll() is None:
            daemon.kill()
            raise
        same((daemon.process.returncode, "event=start_failed" in daemon.text()), (69, True))


def look(site, address, whole):
    """A login: all of it, or none for now; where the daemon went, no answer."""
    if "pop3d" not in site.daemons:
        return
    try:
        seen = uids(site, address)
    except (OSError, EOFError):
        seen = TEMP
    assert seen in (whole, TEMP, "-ERR EOF]"), seen


def submitted(site, to, number):
    """Whether it was acknowledged; a refusal is for now."""
    if "smtpd" not in site.daemons:
        return False
    try:
        deliver(site, [to], number)
    except smtplib.SMTPRecipientsRefused as e:
        same({code // 100 for code, _ in e.recipients.values()}, {4})
        return False
    except smtplib.SMTPResponseException as e:
        same(e.smtp_code // 100, 4)
        return False
    except (OSError, EOFError):
        return False
    return True


def end(site, what):
    """In good order, or where SQLite's shared memory was cut with a sentence."""
    for name in list(site.daemons):
        daemon = site.daemons.pop(name)
        if what.endswith("-shm") and daemon.process.poll() is not None:
            same(daemon.process.returncode, 74)
            assert "event=mapping_lost" in daemon.text(), daemon.tail()
        else:
            daemon.stop()


def ask(site, *arguments):
    """An administrator's question: answered, with whatever exit code, never by a signal."""
    done = subprocess.run([os.path.join(site.build, "pop-admin"), "-c", site.conf, *arguments],
                          capture_output=True, check=False, timeout=120 * SLOW)
    assert done.returncode in (0, 65, 69, 74), (arguments, done)
    assert done.returncode == 0 or done.stderr, (arguments, done)
    return done.returncode


def prescribed(site, what, folder):
    """What administration.md says, with the daemons stopped."""
    if what.startswith("index"):
        site.admin("reindex")
    elif what in ("secrets", "secrets/secrets.db"):
        shutil.rmtree(os.path.join(site.spool, "secrets"), ignore_errors=True)
        site.admin("init")
        for address in (JOE, ANN):
            site.admin("user", "passwd", address, stdin=PASSWORD + "\n")
    elif what == "segments":
        # What came meanwhile stays.
        shutil.copytree(folder, os.path.join(site.spool, what), dirs_exist_ok=True)
    elif what.startswith("segments"):
        site.admin("check", "--repair")
    elif what.startswith("locks"):
        site.admin("init")
    for name in ("smtpd", "pop3d"):
        site.start(name)
    # Without the old index they are disabled.
    for address in (JOE, ANN):
        if uids(site, address).__class__ is str:
            site.admin("user", "passwd", address, stdin=PASSWORD + "\n")


def any_way(build, what, way, stopped):
    with filled(build) as (site, _joe, _ann):
        week = os.path.join(site.folder, "week")
        for name in ("pop3d", "smtpd"):
            site.stop(name)
        shutil.copytree(site.spool, week, 
                        ignore=lambda *_: ["smtpd-wake"] + ["ballast"] * (what != "ballast"))
        site.start("smtpd")
        deliver(site, [JOE], 6)
        site.start("pop3d")
        joe, ann = uids(site, JOE), uids(site, ANN)
        names = {"first": joe[0], "large": joe[3], "current": joe[4]}
        damaged = what
        if os.path.basename(what) in names:
            damaged = "segments/" + os.path.basename(segment_of(site, names[os.path.basename(what)]))
        lost = [u for u in joe if segment_of(site, u) == os.path.join(site.spool, damaged)]
        folder = shutil.copytree(os.path.join(site.spool, "segments"), os.path.join(site.folder, "now"))
        if stopped:
            for name in ("pop3d", "smtpd"):
                site.stop(name)
        way(os.path.join(site.spool, damaged), os.path.join(week, damaged))
        if stopped:
            for name in ("smtpd", "pop3d"):
                start(site, name)
        taken = {JOE: 0, ANN: 0}
        for i in range(3):
            for address, whole in ((JOE, joe), (ANN, ann)):
                # One that has got mail meanwhile has the more.
                if taken[address] == 0:
                    look(site, address, whole)
            # As much as a daemon needs to look at its files.
            if not stopped:
                time.sleep(0.6)
            if i > 0:
                taken[JOE] += submitted(site, JOE, 10 + i)
        for question in ("check", "doctor", "status"):
            ask(site, question)
        end(site, what)
        prescribed(site, what, folder)
        now = {JOE: uids(site, JOE), ANN: uids(site, ANN)}
        for address, whole in ((JOE, joe), (ANN, ann)):
            left = [u for u in whole if u in now[address]]
            gone = [u for u in whole if u not in now[address]]
            assert not set(gone) - set(lost), (address, gone)
            # Each that was acknowledged is there.
            same(len(now[address]) - len(left), taken[address])
        ask(site, "check")


def everything(build):
    each(any_way, build, all_rows())


def reindex_refused(build):
    with filled(build) as (site, joe, _ann):
        site.admin("reindex", want=75)
        same(uids(site, JOE), joe)
        site.stop("smtpd")
        site.admin("reindex", want=75)
        same(uids(site, JOE), joe)


# --- while another process recovers, or rebuilds the index ------------------------------------------

RECOVERY = 0  # and OPEN behind it, of enum lock_role


def recovering(build):
    with filled(build) as (site, joe, _ann):
        for name in ("pop3d", "smtpd"):
            site.stop(name)
        with open(os.path.join(site.spool, "locks", "roles"), "r+b") as roles, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            path = os.path.join(site.folder, "notify")
            told.bind(path)
            told.settimeout(20 * SLOW)
            # As reindex holds them.
            fcntl.lockf(roles, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, RECOVERY)
            for name in ("smtpd", "pop3d"):
                site.start(name, env={"NOTIFY_SOCKET": path}, wait="event=ready_late")
                same(told.recv(100), b"READY=1")
            put_off(site)
        for name in ("smtpd", "pop3d"):
            site.daemons[name].wait_log(r"event=ready\b")
        same(uids(site, JOE), joe)


# --- past all repair ----------------------------------------------------------------------------

def extract(build):
    with filled(build) as (site, joe, _ann):
        path = segment_of(site, joe[0])
        folder = os.path.join(site.folder, "out")
        site.admin("mail", "extract", path, folder)
        same(sorted(os.listdir(folder)), sorted(u + ".eml" for u in joe[:3]))
        with open(os.path.join(folder, joe[0] + ".eml"), "rb") as f:
            text = f.read()
        assert text.endswith(message(1)) and text.startswith(b"Return-Path: <sender@client.example>\r\n"
                                                             b"Delivered-To: joe@"), text
        site.admin("mail", "extract", path, folder, want=73)
        # As mbox, which a reader takes apart again; header or no header, and with neither that nor the
        # first message.
        for want, first, spoil in ((0, 1, 0), (0, 1, 4096), (65, 2, 0)):
            done = subprocess.run([os.path.join(build, "pop-admin"), "-c", site.conf, "mail", "extract",
                                   path], capture_output=True, check=False, timeout=60 * SLOW)
            same(done.returncode, want)
            box = os.path.join(site.folder, "mbox")
            with open(box, "wb") as f:
                f.write(done.stdout)
            parts = mailbox.mbox(box)
            same(len(parts), 4 - first)
            for i in range(4 - first):
                body = parts.get_bytes(i).replace(b"\n>From", b"\nFrom").replace(b"\n>>From", b"\n>From")
                assert body.endswith(message(i + first).replace(b"\r\n", b"\n")), body
            overwrite(path, spoil, b"\0" * 100)
        site.admin("mail", "extract", site.conf, want=65)
        site.admin("mail", "extract", path + ".not", want=74)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=os.environ.get("BUILD", "build"))
    parser.add_argument("--every", action="store_true", help="each in each way, not one in turn")
    parser.add_argument("only", nargs="*", help="names of tests")
    arguments = parser.parse_args()
    global EVERY
    EVERY = arguments.every
    report = Report()
    tests = (record, large_record, segment, index, log, secrets, everything, reindex_refused, recovering, extract)
    if arguments.only:
        tests = [t for t in tests if t.__name__ in arguments.only]
    for test in tests:
        report.run(test.__name__, test, arguments.build)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
