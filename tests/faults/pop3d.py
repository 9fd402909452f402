#!/usr/bin/env python3
"""The n-th call of pop3d fails, for each n that a session comes to: memory, descriptors, files, syncs,
SQLite.

    python3 tests/faults/pop3d.py [--build DIR] [--every K] [--kind KIND]... [--only TEXT]

A client hears -ERR [SYS/TEMP], or is cut off and a log line says why; what it is shown is true and whole;
what was removed with +OK is gone, after -ERR all is there, and in between it is all or nothing; and who
comes when the fault is over is served by the same process.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from testsite import PASSWORD, SLOW, USERS, Site  # noqa: E402
from trial import Lie, Trial, run  # noqa: E402
from wire import Wire, WireError, submit, unstuffed, without_trace  # noqa: E402

USER = USERS[0]
LARGE = 300000


class Cut(Exception):
    """pop3d closed the connection, or put the client off."""


class Client:
    """Takes -ERR [SYS/TEMP] for an answer, and nothing worse."""

    def __init__(self, address):
        self.put_off = False
        try:
            self.wire = Wire(address, timeout=30 * SLOW)
        except ConnectionError:
            self.put_off = True
            raise Cut from None

    def patiently(self, function, *arguments):
        try:
            return function(*arguments)
        except (OSError, WireError) as error:
            if isinstance(error, WireError) and "nothing more came" in str(error):
                raise
            self.put_off = True
            raise Cut from error

    def answer(self, command=None):
        """The text of +OK; None when it was -ERR [SYS/TEMP]."""
        if command is not None:
            self.patiently(self.wire.send, command + b"\r\n")
        text = self.patiently(self.wire.line)
        if text.startswith(b"+OK"):
            return text[4:]
        if not text.startswith(b"-ERR [SYS/TEMP]"):
            raise Lie("%r was answered %r" % (command, text))
        self.put_off = True
        return None

    def need(self, command=None):
        text = self.answer(command)
        if text is None:
            raise Cut
        return text

    def lines(self, command):
        """What follows +OK, without the dot; None when it was -ERR."""
        if self.answer(command) is None:
            return None
        return unstuffed(self.patiently(self.wire.until_dot))

    def starttls(self, context):
        if self.answer(b"STLS") is not None:
            self.patiently(self.wire.tls, context)


class Session(Trial):
    """One large message that stays and four small ones, of which two are removed."""

    def __init__(self, name, site, proto="pop3", stls=False, cold=False):
        self.proto, self.stls = proto, stls
        self.context = site.context()
        self.number = 0
        self.messages = {}  # {uid: octets as RETR gives them}, in order
        site.start("smtpd")
        site.admin("user", "expire-retrieved", USER, "30d")
        super().__init__(name, site, "pop3d", cold)
        self.deliver(b"x" * 70 * 60 + b"\r\n" * (LARGE // 2))

    def deliver(self, octets):
        self.number += 1
        submit(self.site.address("smtp"), b"s@client.example", [USER.encode()],
               b"Subject: %d\r\n\r\n%s\r\n" % (self.number, octets))

    def quietly(self, remove=None):
        """Everything that lies there, by an ordinary session, which may remove one message."""
        wire = Wire(self.site.address("pop3"), timeout=30 * SLOW)
        wire.ok()
        wire.login(USER, PASSWORD)
        count = int(wire.ok(b"STAT").split()[0])
        uids = [line.split()[1] for line in wire.listing(b"UIDL")]
        found = {uid: wire.retrieve(i + 1) for i, uid in enumerate(uids)}
        if remove in uids:
            wire.ok(b"DELE %d" % (uids.index(remove) + 1))
        wire.ok(b"QUIT")
        wire.close()
        if len(found) != count:
            raise Lie("STAT says %d, UIDL %d" % (count, len(found)))
        return found

    def prepare(self):
        while len(self.messages) < 5:
            self.deliver(b"small")
            self.messages = self.quietly()
        self.gone = "none"

    def play(self):
        client = None
        try:
            client = Client(self.site.address(self.proto))
            if self.proto == "pop3s":
                client.patiently(client.wire.tls, self.context)
            self.converse(client)
        except Cut:
            return False
        finally:
            if client:
                client.wire.close()
        return not client.put_off

    def converse(self, client):
        client.need()
        if self.stls:
            client.starttls(self.context)
        client.need(b"USER " + USER.encode())
        client.need(b"PASS " + PASSWORD.encode())
        self.look(client)
        marked = [client.answer(b"DELE %d" % n) is not None for n in (2, 3)]
        self.gone = "maybe"
        if client.answer(b"QUIT") is None:
            self.gone = "none"
        elif all(marked):
            self.gone = "all"

    def look(self, client):
        """All that is said of the list and of the messages is true."""
        sizes = [len(octets) for octets in self.messages.values()]
        stat = client.answer(b"STAT")
        if stat is not None and stat.split()[:2] != [b"%d" % len(sizes), b"%d" % sum(sizes)]:
            raise Lie("STAT says %r of %s" % (stat, sizes))
        for command, said in (b"UIDL", list(self.messages)), (b"LIST", [b"%d" % n for n in sizes]):
            lines = client.lines(command)
            if lines is not None and [x.split()[1] for x in lines.splitlines()] != said:
                raise Lie("%r says %r, not %r" % (command, lines, said))
        for number, octets in enumerate(self.messages.values(), 1):
            text = client.lines(b"RETR %d" % number)
            if text is not None and text != octets:
                raise Lie("message %d is not what was sent" % number)
        text = client.lines(b"TOP 1 3")
        if text is not None and not next(iter(self.messages.values())).startswith(text):
            raise Lie("TOP shows %r" % text[:300])

    def well(self):
        """The same process shows what there is, and removes the last of it."""
        try:
            self.found = self.quietly(list(self.messages)[-1])
        except (WireError, OSError):
            return False
        return True

    def judge(self):
        uids = list(self.messages)
        left = [uid for i, uid in enumerate(uids) if i not in (1, 2)]
        allowed = {"none": [uids], "all": [left], "maybe": [uids, left]}[self.gone]
        if list(self.found) not in allowed:
            raise Lie("%s of %s were removed, %s are there" % (self.gone, uids, list(self.found)))
        for uid, octets in self.found.items():
            if octets != self.messages[uid]:
                raise Lie("message %s changed" % uid)
            without_trace(octets)
        self.found.pop(uids[-1])
        self.messages = self.found

    def whole(self):
        self.site.admin("check")


SCENARIOS = {"pop3": {}, "pop3 with STLS": {"stls": True}, "pop3s": {"proto": "pop3s"},
             "pop3, just started": {"cold": True}}
EVERY = 97


def play(report, build, name, kinds, choose):
    with Site(build, lmtp=False) as site:
        trial = Session(name, site, **SCENARIOS[name])
        trial.run(report, kinds, choose)
        report.run("%s: check finds nothing" % name, trial.whole)


if __name__ == "__main__":
    run(__doc__, SCENARIOS, play, EVERY)
