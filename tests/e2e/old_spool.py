#!/usr/bin/env python3
"""A spool whose index is of the first version: whoever opens it brings it up to date, and mail, UIDs
and accounts are as before.  An index of today is put back into the tables of schema/index-001.sql,
which had all that is needed for mail that nobody has put a limit on."""

import argparse
import contextlib
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from testsite import Site, PASSWORD  # noqa: E402
from wire import Wire, submit  # noqa: E402

FIRST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "schema",
                     "index-001.sql")
JOE, ANN = "joe@example.test", "ann@example.test"
BOTH = "both@example.test"


class Failed(Exception):
    """Something is not as it should be."""


def same(got, want):
    if got != want:
        raise Failed("got %r, not %r" % (got, want))


def put_back(site):
    """The index as the first version would have left it."""
    path = os.path.join(site.spool, "index", "index.db")
    new = path + ".old"
    with contextlib.closing(sqlite3.connect(path)) as db, \
            contextlib.closing(sqlite3.connect(new)) as old, open(FIRST, encoding="utf-8") as f:
        # All that is in the log, too.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        old.executescript(f.read())
        tables = [row[0] for row in old.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            " AND (name NOT LIKE 'sqlite_%' OR name = 'sqlite_sequence')")]
        for table in tables:
            columns = [row[1] for row in old.execute("PRAGMA table_info(%s)" % table)]
            rows = db.execute("SELECT %s FROM %s" % (", ".join(columns), table)).fetchall()
            old.execute("DELETE FROM %s" % table)
            old.executemany("INSERT INTO %s (%s) VALUES (%s)" % (
                table, ", ".join(columns), ", ".join("?" * len(columns))), rows)
        # meta knows nothing of what is kept yet; what was not noted is not known.
        old.execute("DELETE FROM meta WHERE key <> 'newest_segment'")
        old.execute("UPDATE entry SET retrieved_s = NULL")
        old.execute("PRAGMA user_version = 1")
        old.commit()
        old.execute("PRAGMA journal_mode = WAL")
    os.chmod(new, 0o600)
    # Nor did it note beside the mail which index belongs to it.
    os.unlink(os.path.join(site.spool, "segments", "epoch"))
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
    os.rename(new, path)


def version(site):
    with contextlib.closing(sqlite3.connect(os.path.join(site.spool, "index", "index.db"))) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def fetch(site, user):
    """(UID, octets) of all mail."""
    wire = Wire(site.address("pop3"), timeout=60)
    wire.ok()
    wire.login(user, PASSWORD)
    uids = [line.split() for line in wire.listing(b"UIDL")]
    mail = [(uid, wire.retrieve(int(number))) for number, uid in uids]
    wire.ok(b"QUIT")
    wire.close()
    return mail


def accounts(site):
    users = json.loads(site.admin("user", "list", "--json"))
    for user in users:
        # The login that looks at the mail moves it.
        del user["last_login"]
    return users, site.admin("alias", "list", "--json"), site.admin("domain", "list", "--json")


def old_spool(build, crash):
    with Site(build, tls=False, lmtp=False) as site:
        site.admin("alias", "add", BOTH, JOE, ANN)
        today = version(site)
        for i in range(8):
            submit(site.address("smtp"), b"s@x.test", [(BOTH if i % 2 else JOE).encode()],
                   b"Subject: %d\r\n\r\n" % i + b"line\r\n" * (10 if i < 7 else 60000))
        wire = Wire(site.address("pop3"), timeout=60)
        wire.ok()
        wire.login(JOE, PASSWORD)
        wire.ok(b"DELE 1")
        wire.ok(b"QUIT")
        wire.close()
        before = {user: fetch(site, user) for user in (JOE, ANN)}
        same([len(mail) for mail in before.values()], [7, 4])
        who = accounts(site)
        for name in ("smtpd", "pop3d"):
            if crash:
                site.daemons.pop(name).kill()
            else:
                site.stop(name)
        put_back(site)
        same(version(site), 1)

        if crash:
            site.start("smtpd")
        else:
            same(accounts(site), who)
        same({user: fetch(site, user) for user in (JOE, ANN)}, before)
        same(version(site), today)
        same(accounts(site), who)
        same(site.admin("check").split(":")[0], "nothing wrong")
        # And it goes on: limits, new mail, what is kept.
        site.admin("user", "expire", ANN, "3d")
        submit(site.address("smtp"), b"s@x.test", [BOTH.encode()], b"Subject: new\r\n\r\nnew\r\n")
        same([mail["expires"] is None for mail in json.loads(
            site.admin("mail", "list", ANN, "--json"))], [True] * 4 + [False])
        site.admin("mail", "remove", JOE, before[JOE][0][0].decode())
        same(len(json.loads(site.admin("mail", "history", JOE, "--json"))), 1)
        same(site.admin("check").split(":")[0], "nothing wrong")


def reindexed(build):
    """All that it knows is taken out of the old index, of whatever version that is."""
    with Site(build, tls=False, lmtp=False) as site:
        site.admin("alias", "add", BOTH, JOE, ANN)
        for i in range(3):
            submit(site.address("smtp"), b"s@x.test", [BOTH.encode()], b"Subject: %d\r\n\r\nx\r\n" % i)
        before = {user: fetch(site, user) for user in (JOE, ANN)}
        who = accounts(site)
        for name in ("smtpd", "pop3d"):
            site.stop(name)
        put_back(site)
        told = json.loads(site.admin("reindex", "--json"))
        same([told[key] for key in ("accounts_kept", "aliases_kept", "backups_known", "mailboxes_not_asked")],
             [True, True, True, 0])
        same(accounts(site), who)
        same({user: fetch(site, user) for user in (JOE, ANN)}, before)
        same(site.admin("check").split(":")[0], "nothing wrong")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("BUILD", "build"))
    arguments = parser.parse_args()
    report = Report()
    report.run("ended in good order", old_spool, arguments.build, False)
    report.run("killed", old_spool, arguments.build, True)
    report.run("made anew", reindexed, arguments.build)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
