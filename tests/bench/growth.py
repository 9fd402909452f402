#!/usr/bin/env python3
"""How Restante's figures change as mailboxes and spool grow: `make bench-growth`.

For each number of mailboxes a spool of its own is filled, with ten messages in each; in it run the cases
of the bench, their deliveries spread over all of the mailboxes.  Then mailboxes of more and more
messages are read and emptied.  Prints two tables, with the last size against the first, and draws a
picture of what matters most in each.
"""

import argparse
import os
import sys

import cases
import figures
import meters
import picture
import store
from bench import raise_descriptors, takes_part
from ground import KIB, Ground, fill
from servers import Restante, SiteError

# Mailboxes, of ten messages each: what grows is the site, not the mailbox.
SIZES = (10, 1_000, 100_000)
QUICK_SIZES = (10, 100, 1_000)
EACH = 10
# Further ones, without mail, for the cases that want some of their own.
SPARE = 2_000
# Messages of one mailbox.
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
QUICK_LENGTHS = (100, 1_000, 10_000)

# What has a spool of its own, or grows in the second table.
ELSEWHERE = ("store", "uidl 10000", "uidl 100000", "dele 10000", "dele 50000")
# Of a case with many parts.
PARTS = ("", "reply p99, ms", "CPU ms for each", "disk octets for each octet", "first session",
         "QUIT alone")

SITE_PICTURE = {"delivery, 4 KiB, 100 connections (a second)": "deliveries a second, 100 connections",
                "delivery, 4 KiB, 1 connection (a second)": "deliveries a second, 1 connection",
                "sessions without mail, password known (a second)": "sessions a second",
                "login, STAT and UIDL of 1,000 (ms)": "login and UIDL of 1,000, ms",
                "start after kill -9 under load (s)": "start after kill -9, s",
                "check (s)": "check, s"}
MAILBOX_PICTURE = {"DELE of all and QUIT (ms)": "DELE of all and QUIT, ms",
                   "login, STAT and UIDL (ms)": "login, STAT and UIDL, ms",
                   "LIST alone (ms)": "LIST, ms",
                   "memory of a session (KiB)": "memory of a session, KiB"}


class Spread(Ground):
    """Deliveries go to all mailboxes that have mail; a 250 is believed, since POP3 would be asked for
    each of them.  Cases that want mailboxes of their own get those behind."""

    def __init__(self, build, quick, size):
        super().__init__(build, quick, None, None, size + SPARE)
        self.size = self.next_mailbox = size
        self.seconds = 1 if quick else 3

    def recipients(self, case, turn):
        return 0, self.size, False


def sessions_with_mail(ground, server):
    """In ten of the mailboxes that have EACH messages."""
    options = {"port": server.pop3, "mailboxes": 10}
    ground.load("count", **options)
    got = ground.load("fetch", connections=10, seconds=ground.seconds, retr=EACH, **options)
    yield "sessions with STAT and 10 RETR (MB/s)", got["mb_per_s"]
    got = ground.load("fetch", sessions=10, dele=EACH, **options)
    yield "QUIT after 10 DELE (ms)", got["quit_p50_ms"]


def of_case(ground, server, case):
    if case.measure is cases.idle:
        case.parameters.update(count=1000)
    got = case.measure(ground, server, case.key, 0, **case.parameters)
    for part, figure in (got if isinstance(got, dict) else {"": got}).items():
        if part in PARTS:
            yield ("%s (%s)" % (case.title, case.unit) if not part
                   else "%s: %s" % (case.title, part)), figure


def after_all(ground, server):
    """What ends the spool's peace, and then the spool."""
    yield "start after kill -9 under load (s)", store.crash(ground, server, ground.size)
    with Restante.index(server.site.spool) as index:
        count, = index.execute("SELECT count(*) FROM entry").fetchone()
    index.close()
    yield "expire, all at once, for a million (s)", store.expire(server) * 1e6 / count


def of_site(build, quick, only, size):
    """(row, figure) of a site with so many mailboxes."""
    ground = Spread(build, quick, size)
    server = Restante(build, ground.count)
    ground.folder = server.folder
    ground.certificate = server.certificate, os.path.join(os.path.dirname(server.certificate), "key.pem")
    try:
        fill(ground, server, 0, size, EACH, KIB)
        for name, seconds in store.whole_store(server).items():
            yield name + " (s)", seconds
        yield from sessions_with_mail(ground, server)
        for case in cases.table(quick):
            if case.key in ELSEWHERE or not takes_part(case, server, None) or (
                    only and only not in case.key):
                continue
            try:
                yield from of_case(ground, server, case)
            except (meters.LoadFailed, SiteError) as error:
                print("    %s: %s" % (case.title, error), flush=True)
        yield from after_all(ground, server)
    finally:
        server.stop()


def of_mailbox(build, quick, length):
    """(row, figure) of a mailbox with so many messages."""
    ground = Ground(build, quick, None, None, 1)
    server = Restante(build, 2)
    try:
        got = cases.listing(ground, server, "one", 0, count=length)
        yield "login, STAT and UIDL (ms)", got[""]
        yield "the first session's (ms)", got["first session"]
        yield "LIST alone (ms)", got["LIST alone"]
        first = ground.mailboxes("one", 0, 1)
        yield "memory of a session (KiB)", cases.held_octets(
            ground, server, 1, first, True, warm=1) / 1024
        got = cases.delete_all(ground, server, first, length)
        yield "DELE of all and QUIT (ms)", got[""]
        yield "QUIT alone (ms)", got["QUIT alone"]
    finally:
        server.stop()


def grow(sizes, word, measure):
    """{row: [figure at each size]}; a row that failed somewhere is left out."""
    rows = {}
    for size in sizes:
        print("%s %s" % (format(size, ","), word), flush=True)
        for name, figure in measure(size):
            rows.setdefault(name, []).append(figure)
            print("    %s: %s" % (name, figures.number(figure)), flush=True)
    return {name: row for name, row in rows.items() if len(row) == len(sizes)}


def table(rows, sizes, word):
    lines = ["| | " + " | ".join("%s %s" % (format(n, ","), word) for n in sizes) +
             " | last against first |", "| --- |" + " ---: |" * (len(sizes) + 1)]
    for name, row in rows.items():
        lines.append("| %s | %s | × %s |" % (name, " | ".join(map(figures.number, row)),
                                            figures.number(row[-1] / row[0]) if row[0] > 0 else "–"))
    return "\n".join(lines)


def show(rows, sizes, word, folder, overview, labels):
    """The table, and the picture `overview` of the rows that `labels` names."""
    print("\n%s\n" % table(rows, sizes, word))
    curves = {label: rows[name] for name, label in labels.items()
              if name in rows and min(rows[name]) > 0}
    if curves:
        path = os.path.join(folder, overview.replace(" ", "-") + ".svg")
        with open(path, "w", encoding="utf-8") as f:
            f.write(picture.draw(overview, sizes, word, curves))
        print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="cases in whose name this is")
    parser.add_argument("--pictures", help="their folder; BUILD/bench")
    arguments = parser.parse_args()
    build, quick = os.path.abspath(arguments.build), arguments.quick
    folder = arguments.pictures or os.path.join(build, "bench")
    os.makedirs(folder, exist_ok=True)
    raise_descriptors()
    sizes, lengths = (QUICK_SIZES, QUICK_LENGTHS) if quick else (SIZES, LENGTHS)
    sites = grow(sizes, "mailboxes", lambda n: of_site(build, quick, arguments.only, n))
    mailboxes = grow(lengths, "messages", lambda n: of_mailbox(build, quick, n))
    show(sites, sizes, "mailboxes of %d messages" % EACH, folder, "growth of a site", SITE_PICTURE)
    show(mailboxes, lengths, "messages in a mailbox", folder, "growth of a mailbox", MAILBOX_PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
