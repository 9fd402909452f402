#!/usr/bin/env python3
"""The n-th call of smtpd fails, for each n that mail on its way in comes to: memory, descriptors,
files, syncs, SQLite.

    python3 tests/faults/smtpd.py [--build DIR] [--every K] [--kind KIND]... [--only TEXT]

A sender hears 4xx, or is cut off and a log line says why; what was said with 250 is in each mailbox
once, what was refused in none, now and after smtpd was killed and started anew; and who comes when the
fault is over is served by the same process.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from messages import plain  # noqa: E402
from testsite import PASSWORD, SLOW, USERS, Site  # noqa: E402
from trial import Lie, Trial, run  # noqa: E402
from wire import Wire, WireError, stored, stuffed, without_trace  # noqa: E402

# Above what is held in memory.
LARGE = 300000


class Cut(Exception):
    """smtpd closed the connection, or said 421."""


class Letter:
    """What became of it for each recipient: kept, refused or unknown."""

    def __init__(self, number, octets):
        self.name = b"%d" % number
        self.octets = b"X-Letter: %d\r\n" % number + octets
        self.fate = dict.fromkeys(USERS, "refused")
        self.accepted = []


class Sender:
    """A client that takes 4xx for an answer, and nothing worse."""

    def __init__(self, address, lmtp):
        self.lmtp, self.put_off = lmtp, False
        try:
            self.wire = Wire(address, timeout=30 * SLOW)
        except ConnectionError:
            self.put_off = True
            raise Cut from None

    def reply(self):
        try:
            code, lines = self.wire.reply()
        except (OSError, WireError) as error:
            if isinstance(error, WireError) and "nothing more came" in str(error):
                raise
            self.put_off = True
            raise Cut from error
        if code >= 400:
            self.put_off = True
        if code >= 500:
            raise Lie("%d %r" % (code, lines))
        if code == 421:
            raise Cut
        return code

    def send(self, octets):
        try:
            self.wire.send(octets)
        except OSError as error:
            self.put_off = True
            raise Cut from error

    def ask(self, command):
        self.send(command + b"\r\n")
        return self.reply()

    def hello(self):
        if self.ask(b"LHLO c.example" if self.lmtp else b"EHLO c.example") != 250:
            raise Cut

    def starttls(self, context):
        if self.ask(b"STARTTLS") != 220:
            return
        try:
            self.wire.tls(context)
        except (OSError, WireError) as error:
            self.put_off = True
            raise Cut from error
        self.hello()

    def deliver(self, letter, bdat):
        """One transaction; the fate is in the letter."""
        if self.ask(b"MAIL FROM:<s@client.example>") != 250:
            return
        accepted = [u for u in USERS if self.ask(b"RCPT TO:<%s>" % u.encode()) == 250]
        if not accepted:
            self.ask(b"RSET")
        elif bdat:
            self.chunks(letter, accepted)
        elif self.ask(b"DATA") == 354:
            self.end(letter, accepted, stuffed(letter.octets))
        else:
            self.ask(b"RSET")

    def chunks(self, letter, accepted):
        half = len(letter.octets) // 2
        self.send(b"BDAT %d\r\n" % half + letter.octets[:half])
        if self.reply() != 250:
            self.ask(b"RSET")
            return
        rest = letter.octets[half:]
        self.end(letter, accepted, b"BDAT %d LAST\r\n" % len(rest) + rest)

    def end(self, letter, accepted, octets):
        letter.accepted = accepted
        for user in accepted:
            letter.fate[user] = "unknown"
        self.send(octets)
        for user in accepted if self.lmtp else [None]:
            fate = "kept" if self.reply() == 250 else "refused"
            for one in [user] if user else accepted:
                letter.fate[one] = fate


class Mail(Trial):
    """Two letters to two mailboxes on one connection, small by DATA and large by BDAT."""

    def __init__(self, name, site, tls=False, lmtp=False, cold=False):
        self.number = 0
        self.tls, self.lmtp = tls, lmtp
        self.context = site.context()
        self.letters = []
        self.refused = set()
        site.start("pop3d")
        super().__init__(name, site, "smtpd", cold)

    def letter(self, octets):
        self.number += 1
        self.letters.append(Letter(self.number, octets))
        return self.letters[-1]

    def prepare(self):
        self.letters = []

    def session(self, letters):
        sender = None
        try:
            sender = Sender(self.site.address("lmtp" if self.lmtp else "smtp"), self.lmtp)
            sender.reply()
            sender.hello()
            if self.tls:
                sender.starttls(self.context)
            for letter, bdat in letters:
                sender.deliver(letter, bdat)
            sender.ask(b"QUIT")
        except Cut:
            return False
        finally:
            if sender:
                sender.wire.close()
        return not sender.put_off

    def play(self):
        return self.session([(self.letter(plain(self.number)), False),
                             (self.letter(b"\r\n" + b"x" * 70 * 60 + b"\r\n" * (LARGE // 2)), True)])

    def well(self):
        return self.session([(self.letter(b"\r\nafterwards\r\n"), False)])

    def judge(self):
        there = {user: self.fetch(user) for user in USERS}
        # Of what nobody was told smtpd decides meanwhile; who was looked at first may have it now.
        if any("unknown" in letter.fate.values() for letter in self.letters):
            for user in USERS:
                there[user] += self.fetch(user)
        for letter in self.letters:
            for user in USERS:
                times, fate = there[user].count(letter.name), letter.fate[user]
                if times > 1 or (fate == "kept" and times == 0) or (fate == "refused" and times):
                    raise Lie("%s was told %s of letter %s, which is there %d times" % (
                        user, fate, letter.name, times))
            fates = {(letter.fate[u], letter.name in there[u]) for u in letter.accepted}
            if not self.lmtp and len(fates) > 1:
                raise Lie("letter %s: %s" % (letter.name, fates))
            if set(letter.fate.values()) == {"refused"}:
                self.refused.add(letter.name)
        self.letters = []

    def fetch(self, user):
        """Takes all mail out of a mailbox; the names of the letters."""
        octets = {letter.name: letter.octets for letter in self.letters}
        names = []
        pop = Wire(self.site.address("pop3"), timeout=30 * SLOW)
        pop.ok()
        pop.login(user, PASSWORD)
        count = int(pop.ok(b"STAT").split()[0])
        for i in range(1, count + 1):
            text = without_trace(pop.retrieve(i))[3]
            name = text[len(b"X-Letter: "):text.index(b"\r\n")]
            if name in octets and text not in (stored(octets[name]), stored(octets[name], "bdat")):
                raise Lie("letter %s is not what was sent" % name)
            names.append(name)
            pop.ok(b"DELE %d" % i)
        pop.ok(b"QUIT")
        pop.close()
        return names

    def killed(self):
        """What was refused does not come back when recovery looks at what a killed smtpd left."""
        if SLOW > 1:
            # A sanitizer tells of leaks only when the end is in good order.
            self.site.stop("smtpd")
        else:
            self.daemon.kill()
            self.site.daemons.pop("smtpd")
        self.site.start("smtpd")
        for user in USERS:
            back = self.refused.intersection(self.fetch(user))
            if back:
                raise Lie("%s has what was refused: %s" % (user, back))
        self.site.admin("check")


SCENARIOS = {"smtp": {}, "smtp with TLS": {"tls": True}, "lmtp": {"lmtp": True},
             "smtp, just started": {"cold": True}}
# Each K-th case in `make check`.
EVERY = 97


def play(report, build, name, kinds, choose):
    with Site(build, {("smtpd", "listen_lmtp"): "127.0.0.1:0"}) as site:
        trial = Mail(name, site, **SCENARIOS[name])
        trial.run(report, kinds, choose)
        report.run("%s: nothing that was refused comes back" % name, trial.killed)


if __name__ == "__main__":
    run(__doc__, SCENARIOS, play, EVERY)
