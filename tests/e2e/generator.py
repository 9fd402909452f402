#!/usr/bin/env python3
"""The bench's generator sends what it says, finds what is there, and fails where it should.

What it prints is compared with what a client of another make sees: so that a bench never
counts a message that nobody can fetch.
"""

import argparse
import os
import socket
import sys
import threading
import time

for folder in ("lib", "bench"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", folder))
import meters  # noqa: E402
from far import Far  # noqa: E402
from report import Report  # noqa: E402
from servers import Absent  # noqa: E402
from testsite import Site, PASSWORD, SLOW  # noqa: E402
from wire import Wire  # noqa: E402

MAILBOXES = ["u%d@example.test" % i for i in range(4)]


class Unexpected(Exception):
    """The generator did something else than it should."""


def load(build, part, **options):
    return meters.load(build, part, patience=60 * SLOW, **options)


def failure(build, part, **options):
    """The sentence with which a run fails."""
    try:
        load(build, part, **options)
    except meters.LoadFailed as error:
        return str(error)
    raise Unexpected("%s %s did not fail" % (part, options))


def equal(what, found, wanted):
    if found != wanted:
        raise Unexpected("%s: %r, not %r" % (what, found, wanted))


def wire_sums(site):
    """Messages, and octets of all bodies as they come over the wire, with no generator."""
    messages = octets = 0
    for mailbox in MAILBOXES:
        wire = Wire(site.address("pop3"))
        wire.line()
        for command in ("USER " + mailbox, "PASS " + PASSWORD, "STAT"):
            wire.send(command.encode() + b"\r\n")
            line = wire.line()
        count = int(line.split()[1])
        messages += count
        for number in range(1, count + 1):
            wire.send(b"RETR %d\r\n" % number)
            wire.line()
            octets += len(wire.until_dot())
        wire.send(b"QUIT\r\n")
        wire.line()
    return messages, octets


def deliver_and_fetch(build):
    with Site(build, users=MAILBOXES) as site:
        smtp, pop3 = site.address("smtp")[1], site.address("pop3")[1]
        sent = load(build, "deliver", port=smtp, pop3=pop3, connections=3, messages=20, each=3,
                    mailboxes=4, octets=5000)
        equal("messages sent", sent["messages"], 20)
        load(build, "deliver", port=smtp, pop3=pop3, connections=2, messages=4, mailboxes=4,
             recipients=3, pipelining=1, tls="start", octets=100000)
        load(build, "deliver", port=site.address("lmtp")[1], pop3=pop3, lmtp=1, messages=4,
             mailboxes=4, recipients=2, rate=1000, connections=2)
        messages, octets = wire_sums(site)
        equal("messages stored", messages, 20 + 4 * 3 + 4 * 2)
        for tls, port, window in (("none", pop3, 1), ("start", pop3, 8),
                                  ("implicit", site.address("pop3s")[1], 8)):
            found = load(build, "fetch", port=port, connections=2, mailboxes=4, sessions=4, stat=1,
                         uidl=1, list=1, retr=100, window=window, tls=tls)
            equal("messages by STAT", found["messages"], messages)
            equal("lines listed", found["listed"], 2 * messages)
            equal("messages retrieved", found["retrieved"], messages)
            equal("octets retrieved", found["octets"], octets)
        equal("deleted", load(build, "fetch", port=pop3, mailboxes=4, sessions=4, dele=3,
                              window=2)["deleted"], 12)
        equal("messages left", load(build, "count", port=pop3, mailboxes=4)["messages"],
              wire_sums(site)[0])
        equal("messages left", wire_sums(site)[0], messages - 12)
        # Four sessions at a rate, by few clients: each finds its own mailbox.
        equal("all deleted", load(build, "fetch", port=pop3, mailboxes=4, sessions=4, rate=100,
                                  connections=2, dele=100)["deleted"], messages - 12)


def refusals(build):
    with Site(build, users=MAILBOXES[:2]) as site:
        smtp, pop3 = site.address("smtp")[1], site.address("pop3")[1]
        said = failure(build, "deliver", port=smtp, mailboxes=4, messages=10)
        if "RCPT was answered: 550" not in said:
            raise Unexpected("a refused recipient: %s" % said)
        said = failure(build, "fetch", port=pop3, password="wrong")
        if not said.startswith("fetch: login was answered: -ERR"):
            raise Unexpected("a refused login: %s" % said)


# Bodies as they travel, with all that may be taken for their end.
BODIES = (b"", b"..\r\n", b"x.\r\n", b"a\r\n..\r\n\r\n...\r\n", b"\r\n", b"x\r\n.\r.\r\n", b".x\r\n" * 3,
          b"x.\r\nabcdef\r\n", b"a\r\n.x\ny\r\n")


def scripted(listener, step):
    """Serves one session that has BODIES, `step` octets to a packet."""
    sock = listener.accept()[0]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"+OK\r\n")
    lines = sock.makefile("rb")
    for line in lines:
        out = b"+OK\r\n"
        if line.startswith(b"STAT"):
            out = b"+OK %d 1000\r\n" % len(BODIES)
        elif line.startswith(b"RETR"):
            out += BODIES[int(line.split()[1]) - 1] + b".\r\n"
        for at in range(0, len(out), step):
            sock.sendall(out[at:at + step])
    sock.close()


def ends_of_bodies(build):
    for step in (1, 2, 3, 5, 1000):
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=scripted, args=(listener, step), daemon=True)
        thread.start()
        found = load(build, "fetch", port=listener.getsockname()[1], sessions=1, retr=len(BODIES),
                     window=len(BODIES))
        equal("bodies", found["retrieved"], len(BODIES))
        equal("their octets", found["octets"], sum(map(len, BODIES)))
        thread.join(20 * SLOW)
        listener.close()


def one_of_many(sock, seen, others_done):
    """Serves one session of `slow_server`: whose it is; the first one's greeting waits."""
    if not seen:
        seen.append(None)
        others_done.wait(20 * SLOW)
        seen.remove(None)
    sock.sendall(b"+OK\r\n")
    for line in sock.makefile("rb"):
        if line.startswith(b"USER"):
            seen.append(line.split()[1])
        sock.sendall(b"+OK 1 100\r\n" if line.startswith(b"STAT") else b"+OK\r\n")
    sock.close()


def each_mailbox_once(build):
    """However slow one of its sessions is, a count asks each mailbox once."""
    mailboxes, seen, others_done = 32, [], threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        def serve():
            threads = []
            for i in range(mailboxes):
                threads.append(threading.Thread(
                    target=one_of_many, args=(listener.accept()[0], seen, others_done)))
                threads[-1].start()
                if i == 0:
                    wait_until("the first begins", lambda: seen)
            for thread in threads[1:]:
                thread.join()
            others_done.set()
            threads[0].join()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        load(build, "count", port=listener.getsockname()[1], mailboxes=mailboxes)
        server.join(20 * SLOW)
    equal("mailboxes asked", sorted(seen), sorted(b"u%d@example.test" % i
                                                  for i in range(mailboxes)))


def established(port):
    """Connections that a listener of this network namespace has."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(1 for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "01")


def login(site, mailbox):
    """What a login of another client is answered."""
    wire = Wire(site.address("pop3"))
    wire.line()
    for command in ("USER " + mailbox, "PASS " + PASSWORD):
        wire.send(command.encode() + b"\r\n")
        line = wire.line()
    wire.send(b"QUIT\r\n")
    wire.line()
    return line


def idle_connections(build):
    with Site(build, users=MAILBOXES, config={("pop3d", "lock_wait"): "0s"}) as site:
        for port, tls in ((site.address("pop3")[1], "none"), (site.address("pop3")[1], "start"),
                          (site.address("pop3s")[1], "implicit")):
            for logged_in in (0, 1):
                held = meters.Background(build, "idle", port=port, connections=4, mailboxes=4,
                                         stat=logged_in, tls=tls)
                equal("connections", (held.said["open"], established(port)), (4, 4))
                for mailbox in MAILBOXES:
                    said = login(site, mailbox)
                    if said.startswith(b"-ERR [IN-USE]") != bool(logged_in):
                        raise Unexpected("%s, tls=%s, logged in %d: %r" % (mailbox, tls, logged_in,
                                                                          said))
                held.close()
                wait_until("the connections end", lambda port=port: established(port) == 0)


def wait_until(what, true):
    deadline = time.monotonic() + 20 * SLOW
    while not true():
        if time.monotonic() > deadline:
            raise Unexpected("%s: never" % what)
        time.sleep(0.02)


def octets_sent(device):
    """By a network device of ours, so far."""
    with open("/proc/self/net/dev", encoding="ascii") as f:
        return next(int(line.split()[9]) for line in f if line.split()[0] == device + ":")


def client_elsewhere(build, there):
    """From the other namespace the same is fetched, and it goes over the wire."""
    config = {("pop3d", "listen"): "0.0.0.0:0", ("pop3d", "plaintext_auth"): "always"}
    with Site(build, users=MAILBOXES, config=config) as site:
        pop3 = site.address("pop3")[1]
        load(build, "deliver", port=site.address("smtp")[1], pop3=pop3, messages=4, mailboxes=4,
             octets=100000)
        before = octets_sent("ours")
        found = load(build, "fetch", under=there.under, host=there.host, port=pop3, mailboxes=4,
                     sessions=4, retr=100)
        equal("octets retrieved", found["octets"], wire_sums(site)[1])
        if octets_sent("ours") - before < found["octets"]:
            raise Unexpected("they did not go by the device")
    before = octets_sent("ours")
    rate = load(build, "sendfile", seconds=1, address=there.host, namespace=there.namespace)
    if octets_sent("ours") - before < rate["mb_per_s"] * 1e6 / 2:
        raise Unexpected("sendfile did not go by the device")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    report.run("what the generator counts is there", deliver_and_fetch, build)
    report.run("the generator fails at the first refusal", refusals, build)
    report.run("a body ends at its end alone", ends_of_bodies, build)
    report.run("a count asks each mailbox once", each_mailbox_once, build)
    report.run("connections that idle are open, and logged in where they should be",
               idle_connections, build)
    # The last: from here on this program is in a namespace of its own.
    name = "a client in another network namespace"
    try:
        there = Far()
    except Absent as error:
        report.without(name, error)
    else:
        report.run(name, client_elsewhere, build, there)
        there.close()
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
