#!/usr/bin/env python3
"""How Restante's figures change as mailboxes and spool grow: `make bench-growth`.

At each size a spool of its own is filled; then the same things are measured as by bench.py.  Prints
a table, with the last size against the first, and draws a picture of each figure.
"""

import argparse
import os
import sys

import figures
import meters
import picture
from ground import KIB, Ground, fill
from servers import Restante

# Mailboxes, of ten messages each: what grows is the site, not the mailbox.
SIZES = (10, 1_000, 100_000)
QUICK_SIZES = (10, 100, 1_000)
EACH = 10


def spread(ground, server, mailboxes, connections):
    """Deliveries a second to all mailboxes in turn, and what one costs."""
    cpu, disk = meters.cpu_seconds(server.roots()), meters.disk(server.folder)
    got = ground.load("deliver", port=server.smtp, connections=connections, messages=10 ** 6,
                      seconds=ground.seconds, mailboxes=mailboxes)
    os.sync()
    after = meters.disk(server.folder)
    return {"a second": got["accepted_per_s"], "reply p99, ms": got["reply_p99_ms"],
            "CPU ms for each": (meters.cpu_seconds(server.roots()) - cpu) * 1e3 / got["messages"],
            "disk octets for each octet": (after[0] - disk[0]) / got["messages"] / (4 * KIB)
            if disk and after else 0}


def measure(ground, server, mailboxes):
    """{row: figure}.  POP3 comes first, while each mailbox has as many messages as any other."""
    out = {}
    options = {"port": server.pop3, "mailboxes": 10}
    ground.load("count", **options)
    got = ground.load("fetch", connections=10, seconds=ground.seconds, **options)
    out["sessions that ask nothing: a second"] = got["sessions_per_s"]
    got = ground.load("fetch", connections=10, seconds=ground.seconds, retr=EACH, **options)
    out["sessions with STAT and 10 RETR: MB/s"] = got["mb_per_s"]
    got = ground.load("fetch", sessions=10, dele=EACH, **options)
    out["QUIT after 10 DELE: ms"] = got["quit_p50_ms"]
    for connections, words in ((1, "1 connection"), (100, "100 connections")):
        for part, figure in spread(ground, server, mailboxes, connections).items():
            out["delivery, 4 KiB, %s: %s" % (words, part)] = figure
    out["start after kill -9: s"] = server.restart_after_crash()
    return out


def at_size(ground, mailboxes):
    server = Restante(ground.build, mailboxes)
    try:
        fill(ground, server, 0, mailboxes, EACH, KIB)
        return measure(ground, server, mailboxes)
    finally:
        server.stop()


def table(rows, sizes):
    lines = ["| | " + " | ".join("%s mailboxes, %s messages" % (
        format(n, ","), format(n * EACH, ",")) for n in sizes) + " | last against first |",
             "| --- |" + " ---: |" * (len(sizes) + 1)]
    for name, row in rows.items():
        lines.append("| %s | %s | × %s |" % (name, " | ".join(map(figures.number, row)),
                                            figures.number(row[-1] / row[0]) if row[0] else "–"))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pictures", help="folder of the pictures; BUILD/bench")
    arguments = parser.parse_args()
    sizes = QUICK_SIZES if arguments.quick else SIZES
    ground = Ground(os.path.abspath(arguments.build), False, None, None, 0)
    ground.seconds = 1 if arguments.quick else 5
    rows = {}
    for mailboxes in sizes:
        print("%s mailboxes" % format(mailboxes, ","), flush=True)
        for name, figure in at_size(ground, mailboxes).items():
            rows.setdefault(name, []).append(figure)
            print("    %s: %s" % (name, figures.number(figure)), flush=True)
    print()
    print(table(rows, sizes))
    folder = arguments.pictures or os.path.join(arguments.build, "bench")
    os.makedirs(folder, exist_ok=True)
    print()
    for path in picture.draw_all(folder, sizes, "mailboxes, of %d messages each" % EACH, rows):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
