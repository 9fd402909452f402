#!/usr/bin/env python3
"""What was sent is what is fetched, octet for octet behind the trace fields.

Every message that tests/lib/messages.py makes, and every file of a corpus where there is one
(CORPUS=DIR), goes in by DATA, by BDAT in one piece and in many, by LMTP, in the clear and under
TLS, and comes out by RETR on a raw socket and by Python's poplib.  What is wanted is computed
here, from the octets alone.
"""

import argparse
import os
import poplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from messages import corpus, hostile, ordinary, received_fields  # noqa: E402
from report import Report  # noqa: E402
from testsite import Site, PASSWORD  # noqa: E402
from wire import Wire, WireError, stored, stuffed, transact, without_trace  # noqa: E402

SENDER = b"sender@client.example"
JOE = "joe@example.test"


def open_smtp(site, tls, proto="smtp"):
    wire = Wire(site.address(proto), timeout=120)
    wire.reply()
    hello = (b"LHLO" if proto.startswith("lmtp") else b"EHLO") + b" client.example"
    wire.want(hello, 250)
    if tls:
        wire.want(b"STARTTLS", 220)
        wire.tls(site.context())
        wire.want(hello, 250)
    return wire


def send_all(site, messages, tls=False, proto="smtp", by="data", chunk=None):
    wire = open_smtp(site, tls, proto)
    for octets in messages.values():
        transact(wire, SENDER, [JOE.encode()], octets, by, chunk)
    wire.want(b"QUIT", 221)
    wire.close()


def open_pop(site, proto="pop3", stls=False):
    wire = Wire(site.address(proto), timeout=120)
    if proto == "pop3s":
        wire.tls(site.context())
    wire.ok()
    if stls:
        wire.ok(b"STLS")
        wire.tls(site.context())
    wire.login(JOE, PASSWORD)
    return wire


class Expected:
    """The messages that must come, each once.  Those of one millisecond may change places."""

    def __init__(self, messages, by):
        self.left = [(name, stored(octets, by)) for name, octets in messages.items()]

    def take(self, got):
        """Finds the message that came among those that are still due."""
        reverse_path, recipient, received, rest = without_trace(got)
        if reverse_path != SENDER or recipient != JOE.encode():
            raise WireError("trace fields name %r and %r" % (reverse_path, recipient))
        if max(map(len, received.split(b"\r\n"))) > 998:
            raise WireError("a line of the Received field is too long: %r" % received)
        for i, (_, want) in enumerate(self.left):
            if want == rest:
                return self.left.pop(i)[0]
        name, want = self.left[0] if self.left else ("nothing", b"")
        at = next((i for i, (a, b) in enumerate(zip(rest, want)) if a != b),
                  min(len(rest), len(want)))
        raise WireError("%d octets came that nobody sent; next was %s with %d; they differ from %d: "
                        "%r, not %r" % (len(rest), name, len(want), at, rest[at:at + 40],
                                        want[at:at + 40]))


def fetch_all(site, messages, by, **how):
    """Fetches, compares, checks STAT, LIST and UIDL against what came, and deletes."""
    wire = open_pop(site, **how)
    count, total = (int(n) for n in wire.ok(b"STAT").split()[:2])
    sizes = [tuple(map(int, line.split())) for line in wire.listing(b"LIST")]
    uids = [line.split()[1] for line in wire.listing(b"UIDL")]
    if count != len(messages) or [n for n, _ in sizes] != list(range(1, count + 1)):
        raise WireError("%d messages are there, %d were sent" % (count, len(messages)))
    if len(set(uids)) != count or total != sum(size for _, size in sizes):
        raise WireError("UIDL repeats itself, or STAT is not the sum of LIST")
    expected = Expected(messages, by)
    for number in range(1, count + 1):
        got = wire.retrieve(number)
        name = expected.take(got)
        if sizes[number - 1][1] != len(got):
            raise WireError("%s: LIST says %d, RETR %d" % (name, sizes[number - 1][1], len(got)))
    # TOP of everything is RETR of everything, and TOP 0 is its header.
    for number in list(range(1, count + 1))[:40]:
        whole = wire.retrieve(number)
        wire.ok(b"TOP %d 1000000000" % number)
        if stuffed(whole) != wire.until_dot() + b".\r\n":
            raise WireError("TOP of message %d is not the whole" % number)
        head = whole[:whole.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in whole else whole
        wire.ok(b"TOP %d 0" % number)
        if stuffed(head) != wire.until_dot() + b".\r\n":
            raise WireError("TOP 0 of message %d is not its header" % number)
    wire.send(b"".join(b"DELE %d\r\n" % n for n in range(1, count + 1)))
    for _ in range(count):
        wire.ok()
    wire.ok(b"QUIT")
    wire.eof()
    wire.close()


def fetch_by_poplib(site, messages, by):
    poplib._MAXLINE = 1 << 30
    client = poplib.POP3(*site.address("pop3"), timeout=120)
    client.stls(context=site.context())
    client.user(JOE)
    client.pass_(PASSWORD)
    if client.stat()[0] != len(messages):
        raise WireError("%d messages, %d were sent" % (client.stat()[0], len(messages)))
    expected = Expected(messages, by)
    for number in range(1, len(messages) + 1):
        expected.take(b"".join(line + b"\r\n" for line in client.retr(number)[1]))
        client.dele(number)
    client.quit()


def there_and_back(site, messages, send, fetch):
    send_all(site, messages, **send)
    by = send.get("by", "data")
    if fetch is None:
        fetch_by_poplib(site, messages, by)
    else:
        fetch_all(site, messages, by, **fetch)


def too_many_received(site, octets):
    """RFC 5321 6.3: a message that has gone round too often is refused."""
    wire = open_smtp(site, False)
    wire.want(b"MAIL FROM:<%s>" % SENDER, 250)
    wire.want(b"RCPT TO:<%s>" % JOE.encode(), 250)
    wire.want(b"DATA", 354)
    wire.send(stuffed(octets))
    code, lines = wire.reply()
    wire.close()
    if code != 554:
        raise WireError("answered %d %r" % (code, lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    own = {**hostile(), **{"ordinary-" + k: v for k, v in ordinary().items()}}
    ways = (
        ("DATA in, RETR out", {}, {}),
        ("BDAT in, RETR out by STLS", {"by": "bdat"}, {"stls": True}),
        ("BDAT in pieces under TLS, pop3s out", {"by": "bdat", "chunk": 7919, "tls": True},
         {"proto": "pop3s"}),
        ("DATA under TLS in, poplib out by STLS", {"tls": True}, None),
        ("LMTP in, RETR out", {"proto": "lmtp"}, {}),
        ("LMTP by a Unix socket in, pop3s out", {"proto": "lmtp-unix"}, {"proto": "pop3s"}),
    )
    with Site(build) as site:
        for name, send, fetch in ways:
            if not report.run("own messages: " + name, there_and_back, site, own, send, fetch):
                break
    with Site(build) as site:
        # Octet by octet chunks are for the small ones.
        small = {k: v for k, v in own.items() if len(v) < 3000}
        report.run("own messages: BDAT 1 by 1", there_and_back, site, small,
                   {"by": "bdat", "chunk": 1}, {})
    files = corpus()
    if files is None:
        report.without("corpus", "there is no folder of mail here (CORPUS=DIR names one)")
    else:
        loops = {k: v for k, v in files.items() if received_fields(v) > 100}
        files = {k: v for k, v in files.items() if k not in loops}
        with Site(build) as site:
            for name, send, fetch in ways[:4]:
                name = "corpus of %d files: %s" % (len(files), name)
                if not report.run(name, there_and_back, site, files, send, fetch):
                    break
            for name, octets in loops.items():
                report.run("corpus: %s has gone round too often" % name, too_many_received, site,
                           octets)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
