#!/usr/bin/env python3
"""Runs a dialogue with smtpd or pop3d: tests/e2e/*.chat.

    python3 tests/lib/chat.py [--build DIR] [--trickle] [-v] FILE.chat ...

The format is described in tests/e2e/README.md.  Each dialogue has a site of its own.  With
--trickle the same dialogue is sent octet by octet.
"""

import argparse
import os
import re
import shlex
import signal
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testsite import Site, SiteError, USERS, SLOW  # noqa: E402
from wire import Wire, WireError, submit  # noqa: E402


class ChatError(Exception):
    """The dialogue did not go as written; the text names file and line."""


VERBS = {
    "site", "config", "user", "no-users", "admin", "alias", "deliver", "connect", "on", "starttls",
    "C", "C-raw", "S", "S-raw", "S-until", "has", "has-not", "eof", "close", "reset", "shutdown",
    "quiet", "wait", "signal", "restart", "kill", "stop", "no-trickle", "timeout", "log", "quota",
}
# These make the site and stand before all others.
BEFORE = {"site", "config", "user", "no-users", "no-trickle"}

ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", "s": b" ", "*": b"*",
           "/": b"/", "$": b"$"}


def unescape(text):
    """Octets of a C: line: \\r \\n \\t \\0 \\s \\\\ \\xNN."""
    out = b""
    i = 0
    raw = text
    while i < len(raw):
        c = raw[i]
        if c != "\\":
            out += c.encode("utf-8")
            i += 1
        elif raw[i + 1:i + 2] == "x":
            out += bytes([int(raw[i + 2:i + 4], 16)])
            i += 4
        elif raw[i + 1:i + 2] in ESCAPES:
            out += ESCAPES[raw[i + 1]]
            i += 2
        else:
            raise ValueError("unknown escape \\%s" % raw[i + 1:i + 2])
    return out


def pattern(text):
    """An S: line as a regular expression over octets."""
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return re.compile(text[1:-1].encode("utf-8"), re.S)
    out = b""
    piece = ""
    i = 0
    while i < len(text):
        if text[i] == "*":
            out += re.escape(unescape(piece)) + b".*"
            piece = ""
        elif text[i] == "\\":
            width = 4 if text[i + 1:i + 2] == "x" else 2
            piece += text[i:i + width]
            i += width
            continue
        else:
            piece += text[i]
        i += 1
    return re.compile(out + re.escape(unescape(piece)), re.S)


class Step:
    """One line of a dialogue."""

    def __init__(self, number, verb, count, text):
        self.number, self.verb, self.count, self.text = number, verb, count, text
        self.body = None


def parse(path):
    steps = []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("|"):
                if not steps or steps[-1].verb != "deliver":
                    raise ChatError("%s:%d: a | line belongs behind deliver:" % (path, number))
                steps[-1].body = (steps[-1].body or b"") + unescape(line[1:].removeprefix(" ")) \
                    + b"\r\n"
                continue
            match = re.match(r"([A-Za-z-]+)(?:\*([0-9]+))?:(?: (.*))?$", line)
            if not match or match.group(1) not in VERBS:
                raise ChatError("%s:%d: not a line of a dialogue: %s" % (path, number, line))
            steps.append(Step(number, match.group(1), int(match.group(2) or 1),
                              match.group(3) or ""))
    return steps


class Chat:
    """A dialogue on its way."""

    def __init__(self, path, build, trickle=False, verbose=False):
        self.path, self.build, self.trickle, self.verbose = path, build, trickle, verbose
        self.steps = parse(path)
        self.site = None
        self.wires = {}
        self.current = "default"
        self.outgoing = []
        self.transcript = []
        self.seen = []
        self.names = {}
        self.patience = 20.0
        self.step = None

    def note(self, who, octets):
        text = octets if len(octets) < 300 else octets[:200] + b"... (%d octets)" % len(octets)
        line = "%s %s %s" % (self.current, who, repr(text)[2:-1])
        self.transcript.append(line)
        if self.verbose:
            print(line)

    def fail(self, text):
        raise ChatError("%s:%d: %s\n%s\n%s" % (
            self.path, self.step.number if self.step else 0, text,
            "\n".join("    " + t for t in self.transcript[-30:]),
            self.site.log() if self.site else ""))

    @property
    def wire(self):
        if self.current not in self.wires:
            self.fail("there is no connection called %s" % self.current)
        return self.wires[self.current]

    def fill(self, text):
        """Puts what was captured in the place of ${name}."""
        def value(match):
            if match.group(1) not in self.names:
                self.fail("nothing was captured as %s" % match.group(1))
            return "".join("\\x%02x" % c for c in self.names[match.group(1)])
        return re.sub(r"\$\{(\w+)\}", value, text)

    def flush(self):
        """Client lines that follow one another leave in one piece: that is pipelining."""
        octets = b"".join(self.outgoing)
        self.outgoing = []
        if not octets:
            return
        try:
            if not self.trickle:
                self.wire.send(octets)
                return
            for i in range(min(len(octets), 3000)):
                self.wire.send(octets[i:i + 1])
            rest = octets[3000:]
            for i in range(0, len(rest), 8191):
                self.wire.send(rest[i:i + 8191])
        except (BrokenPipeError, ConnectionResetError):
            # The server may hang up on what it will not hear; its last words count.
            pass

    def matches(self, regex, octets):
        match = regex.fullmatch(octets)
        if match:
            self.names.update({k: v for k, v in match.groupdict().items() if v is not None})
        return match is not None

    def read_line(self):
        line = self.wire.line()
        self.note("S", line)
        return line

    # --- one method for each verb ---

    def do_site(self):
        pass

    do_config = do_user = do_no_users = do_no_trickle = do_site

    def do_C(self):
        octets = unescape(self.fill(self.step.text)) + b"\r\n"
        self.note("C", octets[:-2])
        self.outgoing.append(octets * self.step.count)

    def do_C_raw(self):
        octets = unescape(self.fill(self.step.text)) * self.step.count
        self.note("C-raw", octets)
        self.outgoing.append(octets)

    def do_S(self):
        regex = pattern(self.fill(self.step.text))
        for _ in range(self.step.count):
            line = self.read_line()
            if not self.matches(regex, line):
                self.fail("got %r" % line[:400])

    def do_S_raw(self):
        want = unescape(self.fill(self.step.text)) * self.step.count
        got = self.wire.octets(len(want))
        self.note("S-raw", got)
        if got != want:
            self.fail("got %r" % got[:400])

    def do_S_until(self):
        regex = pattern(self.fill(self.step.text))
        self.seen = []
        while True:
            line = self.read_line()
            self.seen.append(line)
            if self.matches(regex, line):
                return

    def do_has(self):
        regex = pattern(self.fill(self.step.text))
        if not any(self.matches(regex, line) for line in self.seen):
            self.fail("not among the lines before")

    def do_has_not(self):
        regex = pattern(self.fill(self.step.text))
        for line in self.seen:
            if regex.fullmatch(line):
                self.fail("there is %r" % line)

    def do_connect(self):
        words = self.step.text.split()
        proto, name, source = words[0], "default", None
        rest = words[1:]
        while rest:
            if len(rest) < 2 or rest[0] not in ("as", "from"):
                self.fail("connect: PROTO [as NAME] [from ADDRESS]")
            if rest[0] == "as":
                name = rest[1]
            else:
                source = rest[1]
            rest = rest[2:]
        if name in self.wires:
            self.wires.pop(name).close()
        self.current = name
        wire = Wire(self.site.address(proto), self.patience * SLOW, source)
        self.wires[name] = wire
        if proto == "pop3s":
            wire.tls(self.site.context())

    def do_on(self):
        self.current = self.step.text

    def do_starttls(self):
        self.wire.tls(self.site.context())

    def do_eof(self):
        strict = self.step.text == "close_notify"
        try:
            self.wire.eof()
        except (ssl.SSLEOFError, ssl.SSLError) as error:
            if strict:
                self.fail("no close_notify: %s" % error)
        self.wires.pop(self.current).close()

    def do_close(self):
        self.wires.pop(self.current).close()

    def do_reset(self):
        wire = self.wires.pop(self.current)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()

    def do_shutdown(self):
        self.wire.sock.shutdown(socket.SHUT_WR)

    def do_quiet(self):
        self.wire.quiet(float(self.step.text))

    def do_wait(self):
        time.sleep(float(self.step.text))

    def do_timeout(self):
        self.patience = float(self.step.text)

    def do_admin(self):
        words = shlex.split(self.fill(self.step.text))
        want, stdin = 0, ""
        while words and words[0].startswith(("want=", "stdin=")):
            key, _, value = words.pop(0).partition("=")
            if key == "want":
                want = int(value)
            else:
                stdin = value + "\n"
        out = self.site.admin(*words, stdin=stdin, want=want)
        self.seen = out.encode().splitlines()
        for line in self.seen:
            self.note("A", line)

    def do_quota(self):
        address, octets = self.step.text.split()
        self.site.quota(address, None if octets == "none" else int(octets))

    def do_alias(self):
        self.site.admin("alias", "add", *shlex.split(self.step.text))

    def do_deliver(self):
        words = self.step.text.split()
        sender = words[0].strip("<>").encode()
        submit(self.site.address("smtp"), sender, [w.strip("<>").encode() for w in words[1:]],
               (self.step.body or b"") * self.step.count)

    def do_signal(self):
        name, what = self.step.text.split()
        self.site.daemons[name].signal(getattr(signal, "SIG" + what))

    def do_stop(self):
        self.site.stop(self.step.text)

    def do_restart(self):
        if self.step.text in self.site.daemons:
            self.site.stop(self.step.text)
        self.site.start(self.step.text)

    def do_kill(self):
        self.site.daemons.pop(self.step.text).kill()

    def do_log(self):
        name, _, regex = self.step.text.partition(" ")
        self.site.daemons[name].wait_log(regex)

    # --- the whole ---

    def make_site(self):
        config, users, tls = {}, list(USERS), True
        for step in self.steps:
            self.step = step
            if step.verb == "config":
                self.set_config(config, step.text)
            elif step.verb == "user":
                words = shlex.split(step.text)
                users.append((words[0], words[1], *words[2:]))
            elif step.verb == "no-users":
                users = []
            elif step.verb == "site":
                if step.text != "no-certificate":
                    self.fail("unknown kind of site")
                tls = False
            elif step.verb not in BEFORE:
                break
        self.step = None
        self.site = Site(self.build, config=config, users=users, tls=tls)

    def set_config(self, config, text):
        match = re.match(r"(\w+)\.(\w+) *= *(.*)$", text)
        if not match:
            self.fail("config: SECTION.KEY = VALUE")
        config[match.group(1), match.group(2)] = match.group(3)

    def run(self):
        """Raises ChatError, SiteError; "skip" where the dialogue cannot be trickled."""
        if self.trickle and any(s.verb == "no-trickle" for s in self.steps):
            return "skip"
        self.make_site()
        made = True
        with self.site:
            try:
                for step in self.steps:
                    self.step = step
                    if made and step.verb not in BEFORE:
                        made = False
                    elif not made and step.verb == "config":
                        # Behind the first line of the dialogue: for signal: smtpd HUP.
                        self.set_config(self.site.settings, step.text)
                        self.site.write_config()
                        continue
                    if step.verb not in ("C", "C-raw"):
                        self.flush()
                    getattr(self, "do_" + step.verb.replace("-", "_"))()
                self.flush()
                for name, wire in self.wires.items():
                    if wire.buffer:
                        self.current = name
                        self.fail("the server said more: %r" % wire.buffer[:400])
                    wire.close()
            except (WireError, OSError, ValueError) as error:
                self.fail("%s: %s" % (type(error).__name__, error))
        return "ok"


def main():
    parser = argparse.ArgumentParser(description="runs dialogues with smtpd and pop3d")
    parser.add_argument("--build", default="build")
    parser.add_argument("--trickle", action="store_true", help="send octet by octet")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the dialogue")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    failed = 0
    for path in arguments.files:
        try:
            chat = Chat(path, arguments.build, arguments.trickle, arguments.verbose)
            print("%-4s %s" % (chat.run(), path), flush=True)
        except (ChatError, SiteError) as error:
            failed += 1
            print("FAIL %s\n%s" % (path, error), flush=True)
    Site.forget()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
