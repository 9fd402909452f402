#!/usr/bin/env python3
"""Flow of octets out of pop3d: slow readers, large UPDATEs, and delivery that waits for neither."""

import argparse
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from amail import sealed, unsealed  # noqa: E402
from report import Report  # noqa: E402
from testsite import Site, PASSWORD, SLOW  # noqa: E402
from wire import Wire, WireError, submit, unstuffed  # noqa: E402

JOE, ANN = "joe@example.test", "ann@example.test"
SENDER = b"sender@client.example"
LOAD = float(os.environ.get("TEST_LOAD", "1"))
PATIENCE = 60 * SLOW


def narrow(address):
    """A connection whose receive buffer is small, so that the server soon has to wait."""
    wire = Wire.__new__(Wire)
    wire.timeout, wire.buffer, wire.gone = PATIENCE, b"", False
    wire.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.sock.settimeout(PATIENCE)
    wire.sock.connect(address)
    return wire


def slowly(wire, pause):
    """All that comes until the server closes, in small sips."""
    chunks = []
    while True:
        chunk = wire.sock.recv(65536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        time.sleep(pause)


def pipelined(site, tls):
    """RETR, DELE, QUIT in one piece, read slowly: every octet comes, though the mail is deleted
    and its blocks are given back as soon as that is allowed."""
    names = []
    for number in range(12):
        names.append("s%d-%d" % (tls, number))
        submit(site.address("smtp"), SENDER, [JOE.encode()],
               sealed(names[-1], 150000 + number * 40000, names[-1]))
    wire = narrow(site.address("pop3s" if tls else "pop3"))
    if tls:
        wire.tls(site.context())
    wire.ok()
    commands = b"USER %s\r\nPASS %s\r\n" % (JOE.encode(), PASSWORD.encode())
    for number in range(1, len(names) + 1):
        commands += b"RETR %d\r\nDELE %d\r\n" % (number, number)
    wire.send(commands + b"QUIT\r\n")
    wire.sock.settimeout(PATIENCE)
    text = slowly(wire, 0.003)
    wire.close()
    for _ in range(2):
        line, _, text = text.partition(b"\r\n")
        if not line.startswith(b"+OK"):
            raise WireError("login was answered %r" % line)
    for name in names:
        line, _, text = text.partition(b"\r\n")
        end = text.index(b"\r\n.\r\n")
        message, text = text[:end + 2], text[end + 5:]
        if unsealed(unstuffed(message)) != name:
            raise WireError("not the message that was asked for")
        line, _, text = text.partition(b"\r\n")
        if not line.startswith(b"+OK"):
            raise WireError("DELE was answered %r" % line)
    if not text.startswith(b"+OK") or text.count(b"\r\n") != 1:
        raise WireError("QUIT was answered %r" % text[:200])
    wire = Wire(site.address("pop3"), timeout=PATIENCE)
    wire.ok()
    wire.login(JOE, PASSWORD)
    if not wire.ok(b"STAT").startswith(b"0 0"):
        raise WireError("what was deleted is still there")
    wire.ok(b"QUIT")
    wire.close()


def stalled(site):
    """A client that asks for much and reads nothing holds up no delivery, not even to its own
    mailbox, and no other maildrop."""
    for number in range(4):
        submit(site.address("smtp"), SENDER, [JOE.encode(), ANN.encode()],
               sealed("large-%d" % number, 3 << 20, number))
    wire = narrow(site.address("pop3"))
    wire.ok()
    wire.login(JOE, PASSWORD)
    wire.send(b"".join(b"RETR %d\r\n" % n for n in range(1, 5)) * 8)
    time.sleep(0.3)
    begun = time.monotonic()
    for number in range(20):
        submit(site.address("smtp"), SENDER, [JOE.encode()], sealed("n%d" % number, 2000, number))
    other = Wire(site.address("pop3"), timeout=PATIENCE)
    other.ok()
    other.login(ANN, PASSWORD)
    unsealed(other.retrieve(1))
    for number in range(1, 5):
        other.ok(b"DELE %d" % number)
    other.ok(b"QUIT")
    other.close()
    if time.monotonic() - begun > 20 * SLOW:
        raise WireError("delivery took %.0f s behind a stalled client" % (time.monotonic() - begun))
    # The stalled client's session goes on where it stood.
    for number in list(range(1, 5)) * 8:
        wire.ok()
        if unsealed(unstuffed(wire.until_dot())) != "large-%d" % (number - 1):
            raise WireError("not the message that was asked for")
    # RFC 1939 3: mail that came meanwhile is not in this session.
    if int(wire.ok(b"STAT").split()[0]) != 4:
        raise WireError("the listing changed under the session")
    for number in range(1, 5):
        wire.ok(b"DELE %d" % number)
    wire.ok(b"QUIT")
    wire.close()
    again = Wire(site.address("pop3"), timeout=PATIENCE)
    again.ok()
    again.login(JOE, PASSWORD)
    count = int(again.ok(b"STAT").split()[0])
    if count != 20 or {unsealed(again.retrieve(n)) for n in range(1, 21)} != {
            "n%d" % n for n in range(20)}:
        raise WireError("%d messages are there, not the 20 that came" % count)
    for number in range(1, 21):
        again.ok(b"DELE %d" % number)
    again.ok(b"QUIT")
    again.close()


def pour(address, count, recipient=JOE):
    """Many small messages on one connection, pipelined: MAIL, RCPT and BDAT need no turn."""
    wire = Wire(address, timeout=PATIENCE)
    wire.reply()
    wire.want(b"EHLO client.example", 250)
    sent = 0
    while sent < count:
        batch = min(50, count - sent)
        wire.send(b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nBDAT 8 LAST\r\nS: x\r\n\r\n"
                  % (SENDER, recipient.encode()) * batch)
        for _ in range(batch * 3):
            code, lines = wire.reply()
            if code != 250:
                raise WireError("answered %d %r" % (code, lines))
        sent += batch
    wire.want(b"QUIT", 221)
    wire.close()


def many_deletes(site):
    """RFC 1939 6 with 50,000 marks: QUIT is answered within the 3 seconds that mail programs
    wait, everything is gone, and mail comes in meanwhile."""
    count = max(5000, int(50000 * LOAD))
    failures = []

    address = site.address("smtp")

    def pour_safely(share):
        try:
            pour(address, share)
        except (WireError, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=pour_safely, args=(count // 20,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    wire = Wire(site.address("pop3"), timeout=PATIENCE)
    wire.ok()
    wire.login(JOE, PASSWORD)
    if int(wire.ok(b"STAT").split()[0]) != count:
        raise WireError("not %d messages came" % count)
    for first in range(1, count + 1, 1000):
        wire.send(b"".join(b"DELE %d\r\n" % n for n in range(first, first + 1000)))
        for _ in range(1000):
            wire.ok()
    begun = time.monotonic()
    wire.send(b"QUIT\r\n")
    submit(site.address("smtp"), SENDER, [ANN.encode()], sealed("meanwhile", 100, 1))
    wire.ok()
    took = time.monotonic() - begun
    wire.eof()
    wire.close()
    if took > 3 * SLOW:
        raise WireError("QUIT took %.1f s" % took)
    wire = Wire(site.address("pop3"), timeout=PATIENCE)
    wire.ok()
    wire.login(JOE, PASSWORD)
    if not wire.ok(b"STAT").startswith(b"0 0"):
        raise WireError("not all is deleted")
    wire.ok(b"QUIT")
    wire.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    for name, test, arguments in (
            ("RETR, DELE, QUIT pipelined and read slowly", pipelined, (False,)),
            ("the same under TLS", pipelined, (True,)),
            ("a stalled RETR holds up nobody", stalled, ()),
            ("UPDATE with tens of thousands of marks", many_deletes, ())):
        with Site(build) as site:
            report.run(name, test, site, *arguments)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
