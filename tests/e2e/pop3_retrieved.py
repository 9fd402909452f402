#!/usr/bin/env python3
"""Mail that was read and left: that its first retrieval is noted however a session ends, that
nothing stays behind QUIT which may not, and what CAPA promises of it."""

import argparse
import contextlib
import os
import poplib
import signal
import socket
import sqlite3
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from testsite import Site, PASSWORD, SLOW  # noqa: E402
from wire import submit  # noqa: E402

JOE, ANN = "joe@example.test", "ann@example.test"
DAY = 86400
TEXT = b"Subject: x\r\n\r\ntext\r\n"


class Failed(Exception):
    """Something is not as it should be."""


def same(got, want):
    if got != want:
        raise Failed("got %r, not %r" % (got, want))


def holds(condition, text):
    if not condition:
        raise Failed(text)


@contextlib.contextmanager
def index(site):
    db = sqlite3.connect(os.path.join(site.spool, "index", "index.db"), timeout=20)
    try:
        with db:
            yield db
    finally:
        db.close()


def limit(site, name, settings):
    """Mail that comes from now on has this limit."""
    with index(site) as db:
        db.execute("UPDATE mailbox SET %s WHERE folded = ?" % settings, (name,))


def entries(site, name):
    """(retrieved_s, retrieved_expires_day) of each message, the oldest first."""
    with index(site) as db:
        return db.execute(
            "SELECT retrieved_s, retrieved_expires_day FROM entry JOIN mailbox"
            " ON mailbox.id = entry.mailbox WHERE folded = ? AND state = 0"
            " ORDER BY received_ms, message", (name,)).fetchall()


def noted(site, name):
    return [retrieved is not None for retrieved, _ in entries(site, name)]


def wait_noted(site, name, want):
    """A session that was cut off is noted a moment later."""
    deadline = time.monotonic() + 10 * SLOW
    while noted(site, name) != want:
        if time.monotonic() > deadline:
            raise Failed("noted are %r, not %r" % (noted(site, name), want))
        time.sleep(0.02)


def deliver(site, to, count=1, text=TEXT):
    for _ in range(count):
        submit(site.address("smtp"), b"sender@client.example", [to.encode()], text)


def login(site, user=JOE):
    host, port = site.address("pop3")
    client = poplib.POP3(host, port, timeout=60 * SLOW)
    client.user(user)
    client.pass_(PASSWORD)
    return client


def cut(client):
    """As a client whose machine is switched off, and on again."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.file.close()
    client.sock.close()


def expire(client):
    return client.capa().get("EXPIRE")


# --- tests -----------------------------------------------------------------

def read_and_left(site):
    """QUIT without DELE: all stays, what was read is noted, and its day follows."""
    limit(site, "joe", "expire_retrieved_s = 2 * 86400")
    deliver(site, JOE, 3)
    before = int(time.time())
    client = login(site)
    same(expire(client), ["2"])
    client.retr(1)
    client.top(2, 1000)
    same(noted(site, "joe"), [False] * 3)
    client.quit()
    after = int(time.time())
    same(noted(site, "joe"), [True, False, False])
    retrieved, day = entries(site, "joe")[0]
    holds(before <= retrieved <= after, "retrieved at %d, not in %d to %d" %
          (retrieved, before, after))
    same(day, -((-retrieved - 2 * DAY) // DAY))
    # The first time counts.
    client = login(site)
    client.retr(1)
    client.quit()
    same(entries(site, "joe")[0], (retrieved, day))


def read_and_cut(site):
    """A connection that is cut: noted, nothing removed, and the next login need not wait long."""
    client = login(site)
    client.retr(2)
    client.dele(2)
    client.dele(3)
    cut(client)
    begun = time.monotonic()
    client = login(site)
    holds(time.monotonic() - begun < 2 * SLOW, "the lock was held for too long")
    same(client.stat()[0], 3)
    wait_noted(site, "joe", [True, True, False])
    client.quit()


def half_of_it(site):
    """What was not sent to its end was not read."""
    deliver(site, ANN, 1, b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 78 + b"\r\n") *
            (30 * 1024 * 1024 // 80))
    deliver(site, ANN)
    client = login(site, ANN)
    client.retr(2)
    client.sock.sendall(b"RETR 1\r\n")
    same(client.sock.recv(4), b"+OK ")
    cut(client)
    wait_noted(site, "ann", [False, True])
    # ... and then it is.
    client = login(site, ANN)
    client.retr(1)
    client.quit()
    same(noted(site, "ann"), [True, True])


def nothing_stays(site):
    """EXPIRE 0: what was read goes at QUIT, and at QUIT alone."""
    limit(site, "ann", "expire_retrieved_s = 0")
    deliver(site, ANN, 2)
    client = login(site, ANN)
    same(expire(client), ["0"])
    client.retr(3)
    cut(client)
    client = login(site, ANN)
    same(client.stat()[0], 4)
    same(noted(site, "ann"), [True, True, False, False])
    same(client.retr(3)[1][-1], b"text")
    same(client.quit(), b"+OK removed, goodbye")
    same(noted(site, "ann"), [True, True, False])
    site.daemons["pop3d"].wait_log(r"event=removed cause=expire user=ann@example\.test messages=1 ")
    with index(site) as db:
        same(db.execute("SELECT cause, count(*) FROM removal").fetchall(), [(1, 1)])


def the_daemon_ends(site):
    """SIGTERM while a session is open that has read: it is noted before the daemon is gone."""
    wait_noted(site, "joe", [True, True, False])
    client = login(site)
    client.retr(3)
    site.stop("pop3d")
    same(noted(site, "joe"), [True, True, True])
    cut(client)


def promises(site):
    """CAPA before and after login (RFC 2449 6.7)."""
    limit(site, "joe", "expire_s = 30 * 86400, expire_retrieved_s = NULL")
    limit(site, "ann", "expire_s = NULL, expire_retrieved_s = NULL")
    host, port = site.address("pop3")
    client = poplib.POP3(host, port, timeout=60 * SLOW)
    same(expire(client), ["30", "USER"])
    client.user(JOE)
    client.pass_(PASSWORD)
    # What lies there came with a limit of two days from its first retrieval.
    same(expire(client), ["2"])
    client.quit()
    with index(site) as db:
        db.execute("DELETE FROM entry")
        db.execute("UPDATE mailbox SET used = 0, messages = 0")
    for name, want in ((JOE, ["30"]), (ANN, ["NEVER"])):
        client = login(site, name)
        same(expire(client), want)
        client.quit()


def delay(site):
    """LOGIN-DELAY (RFC 2449 6.5), with a reload for new sessions."""
    site.settings["pop3d", "login_delay"] = "1h"
    site.write_config()
    site.daemons["pop3d"].signal(signal.SIGHUP)
    site.daemons["pop3d"].wait_log(r"event=reloaded")
    client = login(site)
    same(client.capa().get("LOGIN-DELAY"), ["3600"])
    client.quit()
    try:
        login(site)
    except poplib.error_proto as error:
        holds(error.args[0].startswith(b"-ERR [LOGIN-DELAY] "), repr(error))
    else:
        raise Failed("a login was let in at once")
    login(site, ANN).quit()
    site.settings["pop3d", "login_delay"] = "0s"
    site.write_config()
    site.daemons["pop3d"].signal(signal.SIGHUP)
    deadline = time.monotonic() + 10 * SLOW
    while True:
        try:
            client = login(site)
            break
        except poplib.error_proto:
            holds(time.monotonic() < deadline, "the reload has no effect")
            time.sleep(0.05)
    same(client.capa().get("LOGIN-DELAY"), None)
    client.quit()


def main():
    parser = argparse.ArgumentParser(description="first retrievals, EXPIRE, LOGIN-DELAY")
    parser.add_argument("--build", default="build")
    arguments = parser.parse_args()
    report = Report()
    with Site(arguments.build) as site:
        for test in (read_and_left, read_and_cut, half_of_it, nothing_stays, the_daemon_ends,
                     promises, delay):
            report.run(test.__name__, test, site)
    report.done()


if __name__ == "__main__":
    main()
