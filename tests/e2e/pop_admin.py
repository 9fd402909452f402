#!/usr/bin/env python3
"""pop-admin, every verb of it: as text and as JSON, every exit code, and at a terminal.

Also what it changes while pop3d and smtpd run: true for them at once.
"""

import argparse
import fcntl
import json
import os
import pwd
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from testsite import Site, REPORT, SLOW, sanitizer_environment  # noqa: E402
from wire import Wire, WireError, submit  # noqa: E402

USAGE, DATA, NO_USER, UNAVAILABLE = 64, 65, 67, 69
EXISTS, IO, BUSY, NO_PERMISSION, CONFIG = 73, 74, 75, 77, 78

TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
USER_KEYS = ["address", "enabled", "quota", "used", "share", "messages", "oldest", "expire_s",
             "expire_retrieved_s", "created", "last_login", "last_delivery"]
GIB, DAY = 1 << 30, 86400
MAIL_KEYS = ["uid", "size", "received", "retrieved", "expires", "from", "delivered_to", "set_apart"]
KEPT_KEYS = ["uid", "size", "received", "removed", "from", "delivered_to"]
HISTORY_KEYS = ["removed", "cause", "uid", "size", "received", "from"]


class Failed(Exception):
    """Something is not as it should be."""


def same(got, want):
    if got != want:
        raise Failed("got %r, not %r" % (got, want))


def holds(condition, text):
    if not condition:
        raise Failed(text)


class Admin:
    """Runs pop-admin on a site of its own that has no users yet."""

    def __init__(self, build, config=None):
        self.site = Site(build, config=config, users=(), tls=False, lmtp=False)
        self.program = os.path.join(self.site.build, "pop-admin")

    def __enter__(self):
        self.site.__enter__()
        return self

    def __exit__(self, *what):
        return self.site.__exit__(*what)

    def run(self, *arguments, stdin=b"", want=0, stdout=subprocess.PIPE, before=None):
        """(standard output, standard error) as octets and text."""
        done = subprocess.run([self.program, "-c", self.site.conf, *arguments], input=stdin,
                              stdout=stdout, stderr=subprocess.PIPE, check=False,
                              env=sanitizer_environment(), timeout=120 * SLOW, preexec_fn=before)
        err = done.stderr.decode("utf-8", "replace")
        if done.returncode != want or REPORT.search(err):
            raise Failed("%s ended with %d, not %d: %s" % (
                " ".join(arguments), done.returncode, want, err))
        return done.stdout, err

    def fails(self, code, *arguments, says="", **how):
        """Fails with this code and one sentence, and prints nothing else."""
        out, err = self.run(*arguments, want=code, **how)
        same(out or b"", b"")
        # The log may have had its say before.
        sentences = [line for line in err.splitlines() if not line.startswith("event=")]
        holds(len(sentences) == 1 and sentences[0].startswith("pop-admin: ") and
              says in sentences[0], "%s said %r" % (" ".join(arguments), err))

    def text(self, *arguments, **how):
        out, err = self.run(*arguments, **how)
        same(err, "")
        return out.decode()

    def json(self, *arguments):
        return json.loads(self.text(*arguments, "--json"))

    def add(self, *addresses, password="secret"):
        for address in addresses:
            self.text("user", "add", address, stdin=password.encode() + b"\n")

    def deliver(self, sender, *recipients, octets=b"Subject: x\r\n\r\nbody\r\n"):
        submit(self.site.address("smtp"), sender.encode(), [r.encode() for r in recipients], octets)

    def pop(self):
        wire = Wire(self.site.address("pop3"), timeout=60)
        wire.ok()
        return wire

    def let_in(self, user, password):
        """Whether pop3d takes this password."""
        wire = self.pop()
        wire.ok(b"USER " + user.encode())
        wire.send(b"PASS " + password.encode() + b"\r\n")
        answer = wire.line()
        if answer.startswith(b"+OK"):
            wire.ok(b"QUIT")
        elif not answer.startswith(b"-ERR [AUTH]"):
            raise Failed("PASS was answered %r" % answer)
        wire.close()
        return answer.startswith(b"+OK")


class Terminal:
    """pop-admin at a terminal of its own."""

    def __init__(self, admin, *arguments):
        self.master, slave = os.openpty()
        self.seen = b""

        def take_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            # Tests that run in the background are born deaf to these.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            [admin.program, "-c", admin.site.conf, *arguments], stdin=slave, stdout=slave,
            stderr=slave, env=sanitizer_environment(), preexec_fn=take_terminal)
        self.slave = slave

    def wait_for(self, text):
        deadline = time.monotonic() + 20 * SLOW
        while text not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise Failed("the terminal shows %r and never %r" % (self.seen, text))
            self.seen += os.read(self.master, 4096)

    def type(self, text):
        os.write(self.master, text)

    def echoes(self):
        return termios.tcgetattr(self.slave)[3] & termios.ECHO != 0

    def end(self, want):
        try:
            code = self.process.wait(60 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed("still waits, after %r" % self.seen) from None
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 4096)
        os.close(self.slave)
        os.close(self.master)
        if code != want or REPORT.search(self.seen.decode("utf-8", "replace")):
            raise Failed("ended with %d, not %d: %r" % (code, want, self.seen))
        return self.seen


# --- init -------------------------------------------------------------------------------------

def init(build):
    with Admin(build) as admin:
        shutil.rmtree(admin.site.spool)
        for command in (("user", "list"), ("domain", "add", "a.test"), ("mail", "list", "a@a.test")):
            admin.fails(UNAVAILABLE, *command, says="run pop-admin init")
        holds(not os.path.exists(admin.site.spool), "a command but init made a spool")
        text = admin.text("init")
        holds("created" in text and admin.site.spool in text, text)
        for name in ("index", "secrets", "segments", "locks", "run"):
            path = os.path.join(admin.site.spool, name)
            same(os.stat(path).st_mode & 0o777, 0o700)
        admin.add("joe@a.test")
        holds("already" in admin.text("init"), "init says nothing of the spool that is there")
        same(len(admin.json("user", "list")), 1)
        same(admin.text("init", "--json"), "")
        # A folder that is no spool yet.
        shutil.rmtree(admin.site.spool)
        os.mkdir(admin.site.spool, 0o700)
        admin.fails(UNAVAILABLE, "user", "list", says="run pop-admin init")
        admin.text("init")
        same(admin.json("user", "list"), [])


def init_fails(build):
    with Admin(build) as admin:
        admin.site.settings["site", "spool"] = os.path.join(admin.site.folder, "no", "such")
        admin.site.write_config()
        admin.fails(IO, "init", says="No such file")


# --- domains ----------------------------------------------------------------------------------

def domains(build):
    with Admin(build) as admin:
        same(admin.json("domain", "list"), [])
        same(admin.text("domain", "list"), "")
        admin.text("domain", "add", "B.test")
        admin.text("domain", "add", "a.test")
        admin.add("joe@c.test", "ann@c.test")
        same(admin.json("domain", "list"), [
            {"domain": "a.test", "users": 0, "quota": GIB, "expire_s": None},
            {"domain": "B.test", "users": 0, "quota": GIB, "expire_s": None},
            {"domain": "c.test", "users": 2, "quota": GIB, "expire_s": None}])
        lines = admin.text("domain", "list").splitlines()
        same(lines[0].split(), ["domain", "users", "quota", "expire_s"])
        same(lines[3].split(), ["c.test", "2", "1.00G", "never"])
        admin.fails(EXISTS, "domain", "add", "b.TEST", says="exists already")
        admin.fails(DATA, "domain", "add", "[127.0.0.1]", says="not a domain name")
        admin.fails(DATA, "domain", "add", "a b", says="not a domain name")
        admin.fails(DATA, "domain", "remove", "c.test", says="still has users")
        admin.fails(DATA, "domain", "remove", "d.test", says="no such domain")
        admin.text("domain", "remove", "b.test")
        same(admin.text("domain", "add", "b.test", "--json"), "")
        same([d["domain"] for d in admin.json("domain", "list")], ["a.test", "b.test", "c.test"])


# --- users ------------------------------------------------------------------------------------

def users(build):
    with Admin(build) as admin:
        admin.add("Joe@Example.test")
        admin.add("\"odd joe\"@example.test")
        same(admin.text("user", "add", "--json", "--apop", "ann@example.test", stdin=b"x\n"), "")
        shown = admin.json("user", "show", "JOE@example.test")
        same(list(shown), USER_KEYS)
        holds(TIME.fullmatch(shown.pop("created")), "no time of creation")
        same(shown, {"address": "Joe@Example.test", "enabled": True, "quota": GIB, "used": 0,
                     "share": 0, "messages": 0, "oldest": None, "expire_s": None,
                     "expire_retrieved_s": None, "last_login": None, "last_delivery": None})
        text = admin.text("user", "show", "joe@example.test")
        holds("address: Joe@Example.test\nenabled: yes\nquota: 1.00G\n" in text and
              "messages: 0\noldest: -\n" in text and
              "last_login: never\n" in text, text)
        listed = admin.json("user", "list")
        same(listed[1], admin.json("user", "show", "joe@example.test"))
        same([u["address"] for u in listed],
             ["\"odd joe\"@Example.test", "Joe@Example.test", "ann@Example.test"])
        lines = admin.text("user", "list").splitlines()
        same(lines[0].split(), USER_KEYS)
        same(len(lines), 4)

        admin.fails(EXISTS, "user", "add", "JOE@EXAMPLE.TEST", stdin=b"x\n", says="exists already")
        for address in ("joe", "joe@", "@example.test", "joe@[127.0.0.1]", "\"\"@example.test",
                        "joe@example.test@example.test", "", "jo\u00eb@example.test"):
            admin.fails(DATA, "user", "add", address, stdin=b"x\n", says="not a full address")
        for verb in ("show", "passwd", "enable", "disable", "remove"):
            admin.fails(NO_USER, "user", verb, "nobody@example.test", stdin=b"x\n",
                        says="no such mailbox")
            admin.fails(NO_USER, "user", verb, "joe@elsewhere.test", stdin=b"x\n",
                        says="no such mailbox")
        admin.text("user", "disable", "joe@example.test")
        same(admin.json("user", "show", "joe@example.test")["enabled"], False)
        admin.text("user", "enable", "joe@example.test")
        same(admin.json("user", "show", "joe@example.test")["enabled"], True)
        admin.text("user", "rename", "joe@example.test", "jim@example.test")
        admin.fails(NO_USER, "user", "rename", "joe@example.test", "x@example.test",
                    says="joe@example.test: no such mailbox")
        admin.fails(EXISTS, "user", "rename", "jim@example.test", "ANN@example.test",
                    says="ANN@example.test: exists already")
        admin.fails(DATA, "user", "rename", "jim@example.test", "jim@elsewhere.test",
                    says="jim@elsewhere.test: no such domain")
        admin.text("user", "remove", "jim@example.test")
        admin.fails(NO_USER, "user", "show", "jim@example.test", says="no such mailbox")
        same(len(admin.json("user", "list")), 2)


def passwords(build):
    """Every octet of the first line, and no other, is the password."""
    with Admin(build) as admin:
        given = (
            (b"", DATA), (b"\n", DATA), (b"\r\n", DATA), (b"a\0b\n", DATA), (b"p" * 512 + b"\n", DATA),
            (b"p" * 5000 + b"\n", DATA), (b"p" * 511 + b"\n", 0), (b"no end of line", 0),
            (b"first\nsecond\n", 0), (b" blanks \n", 0), (b"carriage return\r\n", 0),
            ("\u00fcmlaut\n".encode(), 0),
        )
        for i, (stdin, code) in enumerate(given):
            address = "user%d@a.test" % i
            if code == 0:
                admin.text("user", "add", address, stdin=stdin)
                password = stdin.split(b"\n")[0].rstrip(b"\r").decode()
                holds(admin.let_in(address, password), "%r is refused" % stdin)
                holds(not admin.let_in(address, password + "x"), "%r and more is taken" % stdin)
            else:
                admin.fails(code, "user", "add", address, stdin=stdin, says="password")
                admin.fails(NO_USER, "user", "show", address)
        admin.fails(DATA, "user", "passwd", "user8@a.test", stdin=b"\n", says="password")
        holds(admin.let_in("user8@a.test", "first"), "a password that was refused was set")


def sorted_users(build):
    with Admin(build) as admin:
        admin.add("a@a.test", "b@a.test", "c@a.test")
        admin.deliver("s@x.test", "b@a.test", octets=b"x" * 60 + b"\r\n")
        admin.deliver("s@x.test", "b@a.test", octets=b"x" * 60 + b"\r\n")
        time.sleep(1.1)
        admin.deliver("s@x.test", "c@a.test", octets=b"x" * 900 + b"\r\n")
        holds(admin.let_in("a", "secret"), "no login")
        admin.text("user", "quota", "c@a.test", "2K")
        orders = {"address": "abc", "used": "cba", "messages": "bca", "last_login": "abc",
                  "last_delivery": "cba", "share": "cab", "oldest": "bca"}
        for key, want in orders.items():
            got = [u["address"][0] for u in admin.json("user", "list", "--sort", key)]
            same((key, "".join(got)), (key, want))
        same(len(admin.json("user", "list", "--sort=created")), 3)
        admin.fails(USAGE, "user", "list", "--sort", "colour", says="--sort colour")
        used = admin.json("user", "show", "b@a.test")
        same(used["messages"], 2)
        same(used["used"], sum(m["size"] for m in admin.json("mail", "list", "b@a.test")))
        holds(TIME.fullmatch(used["last_delivery"]), "no time of delivery")
        holds(TIME.fullmatch(admin.json("user", "show", "a@a.test")["last_login"]), "no login")


def limits_of_new_users(build):
    """The mailbox's own, else its domain's, else the site's, as they are when it is made."""
    with Admin(build, {("spool", "quota"): "3M", ("spool", "expire"): "40d"}) as admin:

        def limits(address):
            user = admin.json("user", "show", address)
            return user["quota"], user["expire_s"]

        admin.add("site@a.test")
        same(limits("site@a.test"), (3 << 20, 40 * DAY))
        admin.text("domain", "set", "a.test", "--quota", "2M")
        admin.text("domain", "add", "b.test", "--quota=none", "--expire", "never")
        same(admin.json("domain", "list"), [
            {"domain": "a.test", "users": 1, "quota": 2 << 20, "expire_s": 40 * DAY},
            {"domain": "b.test", "users": 0, "quota": None, "expire_s": None}])
        admin.add("domain@a.test", "none@b.test")
        same(limits("domain@a.test"), (2 << 20, 40 * DAY))
        same(limits("none@b.test"), (None, None))
        admin.text("user", "add", "own@b.test", "--quota", "1M", "--expire", "1d", stdin=b"x\n")
        same(limits("own@b.test"), (1 << 20, DAY))
        admin.text("domain", "set", "a.test", "--expire", "never", "--quota", "site")
        admin.add("back@a.test")
        same(limits("back@a.test"), (3 << 20, None))
        # What is there keeps what it has.
        same(limits("site@a.test"), (3 << 20, 40 * DAY))

        admin.fails(USAGE, "domain", "set", "a.test", says="--quota, --expire")
        admin.fails(DATA, "domain", "set", "c.test", "--quota", "1M", says="no such domain")
        admin.fails(DATA, "domain", "set", "a.test", "--quota", "1X", says="not a quota")
        admin.fails(DATA, "domain", "add", "c.test", "--expire", "1h", says="at least 1d")
        for words in (("--quota", "0"), ("--quota", "site"), ("--expire", "1h"), ("--expire", "x")):
            admin.fails(DATA, "user", "add", "x@a.test", *words, stdin=b"x\n")
        same(len(admin.json("user", "list")), 5)


def quotas_and_ages(build):
    with Admin(build) as admin:
        admin.add("joe@a.test")
        admin.deliver("s@x.test", "joe@a.test", octets=b"x" * 60 + b"\r\n")

        def user():
            return admin.json("user", "show", "joe@a.test")

        def expires():
            return [m["expires"] for m in admin.json("mail", "list", "joe@a.test")]

        holds(TIME.fullmatch(user()["oldest"]), "no oldest mail")
        holds("1K" in admin.text("user", "quota", "joe@a.test", "1K"), "not told")
        same((user()["quota"], user()["share"]), (1024, user()["used"] * 100 // 1024))
        holds("share: %d%%\n" % user()["share"] in admin.text("user", "show", "joe@a.test"), "share")
        same(admin.text("user", "quota", "joe@a.test", "1"), "joe@a.test has the quota 1\nit holds %d: "
             "nothing goes because of that, but no more comes in\n" % user()["used"])
        same(admin.text("user", "quota", "joe@a.test", "1K").count("\n"), 1)
        admin.text("user", "quota", "joe@a.test", "none")
        same((user()["quota"], user()["share"]), (None, None))
        holds("share: -\n" in admin.text("user", "show", "joe@a.test"), "share of nothing")

        # A shorter age is for later mail, a longer one for all.
        admin.text("user", "expire", "joe@a.test", "2d")
        same((user()["expire_s"], expires()), (2 * DAY, [None]))
        admin.deliver("s@x.test", "joe@a.test", octets=b"x" * 60 + b"\r\n")
        first = expires()
        holds(first[0] is None and TIME.fullmatch(first[1]), first)
        same(admin.text("user", "expire", "joe@a.test", "1d"), "mail of joe@a.test goes 1d after it came; "
             "what lies there, on no earlier day than before\n")
        same(expires(), first)
        holds("another day: 1\n" in admin.text("user", "expire", "joe@a.test", "30d"), "not told")
        holds(expires()[0] is None and expires()[1] > first[1], "not longer")
        same(admin.text("user", "expire", "joe@a.test", "2d", "--now", "--yes"),
             "mail of joe@a.test goes 2d after it came\n"
             "messages there that were given another day: 2\n")
        same(expires(), [first[1]] * 2)
        admin.text("user", "expire", "joe@a.test", "never")
        same((user()["expire_s"], expires()), (None, [None] * 2))
        admin.text("user", "expire-retrieved", "joe@a.test", "0s")
        same(user()["expire_retrieved_s"], 0)
        holds("expire_retrieved_s: 0s\n" in admin.text("user", "show", "joe@a.test"), "0s")
        same(admin.text("--json", "user", "expire-retrieved", "joe@a.test", "never"), "")
        same(user()["expire_retrieved_s"], None)

        for verb, bad, says in (("quota", "1X", "not a quota"), ("quota", "never", "not a quota"),
                                ("expire", "23h", "at least 1d"), ("expire", "none", "not an age"),
                                ("expire-retrieved", "soon", "not an age")):
            admin.fails(DATA, "user", verb, "joe@a.test", bad, says=says)
        for verb, good in (("quota", "1M"), ("expire", "1d"), ("expire-retrieved", "1s")):
            admin.fails(NO_USER, "user", verb, "nobody@a.test", good, says="no such mailbox")
            admin.fails(USAGE, "user", verb, "joe@a.test", says="usage: ")
        admin.fails(NO_USER, "user", "expire", "nobody@a.test", "1d", "--now", says="no such mailbox")


def at_once(build):
    """What is changed is true for the daemons at once, cached logins included."""
    with Admin(build) as admin:
        admin.add("joe@a.test")
        holds(admin.let_in("joe@a.test", "secret"), "not let in")
        holds(admin.let_in("joe", "secret"), "not let in")
        admin.text("user", "passwd", "joe@a.test", stdin=b"other\n")
        holds(not admin.let_in("joe@a.test", "secret"), "the old password is taken")
        holds(admin.let_in("joe@a.test", "other"), "the new password is not taken")
        admin.text("user", "disable", "joe@a.test")
        holds(not admin.let_in("joe@a.test", "other"), "a disabled user is let in")
        wire = Wire(admin.site.address("smtp"))
        wire.reply()
        wire.want(b"EHLO x.test", 250)
        wire.want(b"MAIL FROM:<s@x.test>", 250)
        same(wire.want(b"RCPT TO:<joe@a.test>", 550)[0][:5], b"5.2.1")
        admin.text("user", "enable", "joe@a.test")
        wire.want(b"RCPT TO:<joe@a.test>", 250)
        wire.want(b"RCPT TO:<sales@a.test>", 550)
        admin.text("alias", "add", "sales@a.test", "joe@a.test")
        wire.want(b"RCPT TO:<sales@a.test>", 250)
        admin.text("alias", "remove", "sales@a.test")
        wire.want(b"RCPT TO:<sales@a.test>", 550)
        admin.text("user", "rename", "joe@a.test", "jim@a.test")
        wire.want(b"RCPT TO:<joe@a.test>", 550)
        wire.want(b"RCPT TO:<jim@a.test>", 250)
        wire.close()
        holds(admin.let_in("jim@a.test", "other"), "a renamed user is not let in")
        holds(not admin.let_in("joe@a.test", "other"), "his old name is taken")
        # The first user with a recoverable secret brings the stamp into the greeting.
        greeting = Wire(admin.site.address("pop3"))
        holds(b"<" not in greeting.ok(), "a stamp without a secret")
        greeting.close()
        admin.text("user", "add", "--apop", "ann@a.test", stdin=b"tanstaaf\n")
        greeting = Wire(admin.site.address("pop3"))
        holds(re.search(rb"<[^<>@]+@[^<>@]+>", greeting.ok()), "no stamp")
        greeting.close()


# --- aliases ----------------------------------------------------------------------------------

def aliases(build):
    with Admin(build) as admin:
        admin.add("joe@a.test", "ann@a.test", "root@b.test")
        same(admin.json("alias", "list"), [])
        admin.text("alias", "add", "Sales@a.test", "joe@a.test", "ANN@a.test")
        admin.text("alias", "add", "all@b.test", "sales@a.test", "root@b.test")
        admin.text("alias", "add", "@b.test", "all@b.test")
        want = [{"address": "Sales@a.test", "targets": ["ann@a.test", "joe@a.test"]},
                {"address": "@b.test", "targets": ["all@b.test"]},
                {"address": "all@b.test", "targets": ["Sales@a.test", "root@b.test"]}]
        same(admin.json("alias", "list"), want)
        lines = admin.text("alias", "list").splitlines()
        same(lines[0].split(), ["address", "targets"])
        same(lines[1].split(), ["Sales@a.test", "ann@a.test", "joe@a.test"])
        for address in ("all@b.test", "whoever+tag@b.test", "ALL+x@B.TEST"):
            got = admin.json("alias", "resolve", address)
            same(sorted(got["targets"]), ["ann@a.test", "joe@a.test", "root@b.test"])
            same(got["address"], address)
        same(admin.json("alias", "resolve", "joe+x@a.test")["targets"], ["joe@a.test"])
        same(admin.json("alias", "resolve", "postmaster@a.test")["targets"], ["joe@a.test"])
        same(admin.text("alias", "resolve", "ann@a.test"),
             "address: ann@a.test\ntargets: ann@a.test\n")
        admin.fails(NO_USER, "alias", "resolve", "nobody@a.test", says="no such mailbox")
        admin.fails(DATA, "alias", "resolve", "joe@elsewhere.test", says="no such domain")

        # All targets or none.
        admin.fails(DATA, "alias", "add", "x@a.test", "joe@a.test", "joe@elsewhere.test",
                    says="joe@elsewhere.test is neither a mailbox nor an alias here, and Restante "
                         "does not forward")
        admin.fails(DATA, "alias", "add", "x@elsewhere.test", "joe@a.test", says="no such domain")
        admin.fails(EXISTS, "alias", "add", "joe@a.test", "ann@a.test", says="exists already")
        admin.fails(EXISTS, "user", "add", "sales@a.test", stdin=b"x\n", says="exists already")
        admin.fails(DATA, "alias", "add", "x@a.test", "@b.test", says="not a full address")
        admin.fails(DATA, "alias", "add", "x", "joe@a.test", says="not a full address")
        admin.fails(NO_USER, "alias", "remove", "x@a.test", says="no such alias")
        admin.fails(NO_USER, "alias", "remove", "joe@a.test", says="no such alias")
        admin.fails(NO_USER, "alias", "remove", "sales@a.test", "root@b.test",
                    says="sales@a.test does not lead to root@b.test")
        same(admin.json("alias", "list"), want)

        # A loop does no harm.
        admin.text("alias", "add", "sales@a.test", "all@b.test")
        same(len(admin.json("alias", "resolve", "sales@a.test")["targets"]), 3)
        admin.text("alias", "remove", "sales@a.test", "all@b.test", "joe@a.test")
        same(admin.json("alias", "resolve", "sales@a.test")["targets"], ["ann@a.test"])
        # A disabled mailbox's share is passed over.
        admin.text("user", "disable", "root@b.test")
        same(admin.json("alias", "resolve", "all@b.test")["targets"], ["ann@a.test"])
        admin.fails(NO_USER, "alias", "resolve", "root@b.test", says="disabled")
        # Who goes takes along what led to him alone.
        out, err = admin.run("user", "remove", "ann@a.test")
        holds(b"ann@a.test removed" in out and "Sales@a.test" in err, err)
        same(admin.json("alias", "list"), want[1:2] + [
            {"address": "all@b.test", "targets": ["root@b.test"]}])
        admin.text("alias", "remove", "@B.TEST")
        same(admin.json("alias", "list"), [{"address": "all@b.test", "targets": ["root@b.test"]}])


def postmaster(build):
    with Admin(build, {("site", "postmaster"): "boss@a.test"}) as admin:
        admin.add("joe@a.test")
        admin.fails(NO_USER, "alias", "resolve", "postmaster@a.test", says="postmaster")
        admin.add("boss@a.test")
        for name in ("postmaster", "Abuse", "postmaster+x"):
            same(admin.json("alias", "resolve", name + "@a.test")["targets"], ["boss@a.test"])


# --- mail -------------------------------------------------------------------------------------

def mail(build):
    with Admin(build) as admin:
        admin.add("joe@a.test", "ann@a.test")
        admin.text("alias", "add", "Both@a.test", "joe@a.test", "ann@a.test")
        same(admin.json("mail", "list", "joe@a.test"), [])
        admin.deliver("s@x.test", "joe+Tag@A.test", octets=b"Subject: one\r\n\r\n.dot\r\n..\r\n")
        admin.deliver("", "BOTH@a.test", octets=b"Subject: two\r\n\r\n" + b"line\r\n" * 30000)
        listed = admin.json("mail", "list", "joe@a.test")
        same([list(m) for m in listed], [MAIL_KEYS] * 2)
        listed.sort(key=lambda m: m["size"])
        same([(m["from"], m["delivered_to"], m["expires"]) for m in listed],
             [("s@x.test", "joe+Tag@A.test", None), (None, "BOTH@a.test", None)])
        holds(all(TIME.fullmatch(m["received"]) for m in listed), "no times")
        lines = admin.text("mail", "list", "joe@a.test").splitlines()
        same(lines[0].split(), MAIL_KEYS)
        same(len(lines), 3)

        # The same UIDs, sizes and octets as POP3 has them.
        wire = admin.pop()
        wire.login("joe@a.test", "secret")
        uidl = dict(reversed(line.decode().split()) for line in wire.listing(b"UIDL"))
        sizes = dict(line.decode().split() for line in wire.listing(b"LIST"))
        for m in listed:
            octets = wire.retrieve(int(uidl[m["uid"]]))
            same(m["size"], int(sizes[uidl[m["uid"]]]))
            same(len(octets), m["size"])
            # Showing and listing wait for no session.
            shown, err = admin.run("mail", "show", "joe@a.test", m["uid"])
            holds(shown == octets and err == "", "show differs from RETR")
        same(len(admin.json("mail", "list", "joe@a.test")), 2)
        one, two = (m["uid"] for m in listed)
        admin.fails(BUSY, "mail", "remove", "joe@a.test", one, says="in use")
        admin.fails(BUSY, "user", "remove", "joe@a.test", says="in use")
        wire.ok(b"QUIT")
        wire.close()

        admin.fails(DATA, "mail", "show", "joe@a.test", "12345", says="12345: no such message")
        admin.fails(DATA, "mail", "remove", "joe@a.test", one, "12345", two,
                    says="12345: no such message")
        same(len(admin.json("mail", "list", "joe@a.test")), 2)
        admin.fails(NO_USER, "mail", "list", "nobody@a.test", says="no such mailbox")
        admin.fails(NO_USER, "mail", "list", "both@a.test", says="no such mailbox")
        admin.fails(DATA, "mail", "list", "nobody", says="not a full address")
        same(admin.text("mail", "remove", "joe@a.test", one, one), "1 removed\n")
        same([m["uid"] for m in admin.json("mail", "list", "joe@a.test")], [two])
        admin.text("mail", "remove", "joe@a.test", two)
        same(admin.json("mail", "list", "joe@a.test"), [])
        same(admin.json("user", "show", "joe@a.test")["used"], 0)
        # Ann has hers still.
        left = admin.json("mail", "list", "ann@a.test")
        same([m["uid"] for m in left], [two])
        holds(admin.run("mail", "show", "ann@a.test", two)[0].endswith(b"line\r\n"), "cut short")
        # What was removed with its user is nobody's.
        admin.text("user", "remove", "ann@a.test")
        admin.add("ann@a.test")
        same(admin.json("mail", "list", "ann@a.test"), [])


def history(build):
    """What was removed, by whom; what is kept of it comes back."""
    # Nor a warning of the quota that is small for a moment.
    with Admin(build, {("spool", "keep_deleted"): "7d", ("spool", "quota_warn"): "none"}) as admin:
        admin.add("joe@a.test")
        same(admin.json("mail", "history", "joe@a.test"), [])
        same(admin.text("mail", "history", "joe@a.test"), "")
        for sender in ("one@x.test", "two@x.test", ""):
            admin.deliver(sender, "joe@a.test", octets=b"Subject: x\r\n\r\nfrom %s\r\n" % sender.encode())
        before = admin.json("mail", "list", "joe@a.test")
        uids = {m["from"]: m["uid"] for m in before}
        same([m["retrieved"] for m in before], [None] * 3)
        octets = {u: admin.run("mail", "show", "joe@a.test", u)[0] for u in uids.values()}

        # An administrator, then the owner.
        admin.text("mail", "remove", "joe@a.test", uids["one@x.test"])
        wire = admin.pop()
        wire.login("joe@a.test", "secret")
        for line in wire.listing(b"UIDL"):
            number, uid = line.decode().split()
            if uid == uids["two@x.test"]:
                wire.ok(b"DELE " + number.encode())
        admin.fails(BUSY, "mail", "restore", "joe@a.test", says="in use")
        wire.ok(b"QUIT")
        wire.close()
        listed = admin.json("mail", "history", "joe@a.test")
        same([list(m) for m in listed], [HISTORY_KEYS] * 2)
        same([(m["cause"], m["uid"], m["from"]) for m in listed],
             [("pop3", uids["two@x.test"], "two@x.test"), ("admin", uids["one@x.test"], "one@x.test")])
        holds(all(TIME.fullmatch(m["removed"]) and TIME.fullmatch(m["received"]) for m in listed), "times")
        same(listed[0]["size"], len(octets[uids["two@x.test"]]))
        lines = admin.text("mail", "history", "joe@a.test").splitlines()
        same((lines[0].split(), len(lines)), (HISTORY_KEYS, 3))

        kept = admin.json("mail", "list", "joe@a.test", "--deleted")
        same([list(m) for m in kept], [KEPT_KEYS] * 2)
        same({m["uid"] for m in kept}, {uids["one@x.test"], uids["two@x.test"]})
        same(len(admin.text("mail", "list", "--deleted", "joe@a.test").splitlines()), 3)
        same(len(admin.json("mail", "list", "joe@a.test")), 1)

        # None or all of those that are named.
        admin.fails(DATA, "mail", "restore", "joe@a.test", uids["one@x.test"], "x",
                    says="x: is not among the deleted mail")
        admin.fails(DATA, "mail", "restore", "joe@a.test", uids[None], says="not among")
        admin.text("user", "quota", "joe@a.test", "1")
        admin.fails(DATA, "mail", "restore", "joe@a.test", says="quota")
        same(len(admin.json("mail", "list", "joe@a.test")), 1)
        admin.text("user", "quota", "joe@a.test", "1M")
        same(admin.text("mail", "restore", "joe@a.test", uids["one@x.test"]), "1 restored\n")
        same(admin.text("mail", "restore", "joe@a.test", "--new-uid"), "1 restored\n")
        same(admin.text("mail", "restore", "joe@a.test"), "0 restored\n")
        same(admin.json("mail", "list", "joe@a.test", "--deleted"), [])
        after = {m["from"]: m["uid"] for m in admin.json("mail", "list", "joe@a.test")}
        same({s: u for s, u in after.items() if s != "two@x.test"},
             {s: u for s, u in uids.items() if s != "two@x.test"})
        holds(after["two@x.test"] not in uids.values() and len(after["two@x.test"]) <= 70, after)
        for sender, uid in after.items():
            same(admin.run("mail", "show", "joe@a.test", uid)[0], octets[uids[sender]])
        # POP3 shows the same, and what was removed is told as before.
        wire = admin.pop()
        wire.login("joe@a.test", "secret")
        same({line.decode().split()[1] for line in wire.listing(b"UIDL")}, set(after.values()))
        wire.ok(b"QUIT")
        wire.close()
        same(admin.json("mail", "history", "joe@a.test"), listed)
        same(admin.json("user", "show", "joe@a.test")["used"], sum(len(o) for o in octets.values()))
        for verb in ("history", "restore"):
            admin.fails(NO_USER, "mail", verb, "nobody@a.test", says="no such mailbox")
            admin.fails(USAGE, "mail", verb, "joe@a.test", "--deleted", says="takes no --deleted")


def damaged_mail(build):
    with Admin(build) as admin:
        admin.add("joe@a.test")
        admin.deliver("s@x.test", "joe@a.test", octets=b"Subject: x\r\n\r\nfind me here\r\n")
        admin.site.stop("smtpd")
        folder = os.path.join(admin.site.spool, "segments")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "r+b") as f:
                at = f.read().find(b"find me here")
                if at >= 0:
                    f.seek(at)
                    f.write(b"F")
        uid = admin.json("mail", "list", "joe@a.test")[0]["uid"]
        # Nothing of it is shown.
        admin.fails(DATA, "mail", "show", "joe@a.test", uid, says="damaged")


# --- the store as a whole ---------------------------------------------------------------------

def sql(admin, *statements):
    """What nobody should do to an index, behind everybody's back."""
    db = sqlite3.connect(os.path.join(admin.site.spool, "index", "index.db"), isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def check(build):
    with Admin(build, {("spool", "keep_deleted"): "7d"}) as admin:
        same(admin.text("check"), "nothing wrong: 0 messages in 0 mailboxes; 0 live, 0 kept, 0 dead, "
                                  "0 given back\n")
        admin.add("joe@a.test", "ann@a.test")
        for _ in range(3):
            admin.deliver("s@x.test", "joe@a.test", "ann@a.test")
        admin.deliver("s@x.test", "ann@a.test", octets=b"line\r\n" * 60000)
        uid = admin.json("mail", "list", "joe@a.test")[0]["uid"]
        admin.text("mail", "remove", "joe@a.test", uid)
        admin.text("mail", "remove", "ann@a.test", uid)
        # While the daemons run.
        text = admin.text("check")
        holds(text.startswith("nothing wrong: 5 messages in 2 mailboxes; ") and
              text.count("\n") == 1 and " 4.00K kept, " in text, text)
        right = admin.json("check")
        same((right["mailboxes"], right["messages"], right["findings"], right["kept"], right["dead"]),
             (2, 5, [], 4096, 0))
        same(list(right), ["mailboxes", "messages", "live", "kept", "dead", "given_back", "set_apart", "records", "findings"])
        status = admin.json("status")
        same({k: right[k] for k in right if k in status}, {k: status[k] for k in right if k in status})

        left = admin.json("mail", "list", "joe@a.test")[0]["uid"]
        sql(admin, "UPDATE mailbox SET used = used + 1 WHERE folded = 'joe'",
            "UPDATE entry SET blocks = 200 WHERE octets = (SELECT min(octets) FROM entry WHERE state = 0)"
            " AND message = %d" % int(left, 16))
        out, err = admin.run("check", want=DATA)
        lines = out.decode().splitlines()
        same(lines[0].split(), ["address", "uid", "state", "what"])
        holds(any(re.match(r"joe@a.test +- +wrong +counts [0-9]+ octets and holds", l) for l in lines), lines)
        holds(any(re.match(r"...@a.test +%s +wrong +takes 1 blocks" % left, l) for l in lines), lines)
        holds(lines[-1].startswith("5 messages in 2 mailboxes; "), lines)
        same(err, "pop-admin: things that are wrong: %d\n" % (len(lines) - 2))
        out, err = admin.run("check", "--json", want=DATA)
        found = json.loads(out)["findings"]
        same(len(found), len(lines) - 2)
        same(list(found[0]), ["address", "uid", "state", "what"])
        same((found[0]["address"], found[0]["uid"]), ("joe@a.test", None))
        admin.fails(USAGE, "check", "joe@a.test", says="usage: ")


EXPIRE_KEYS = ["address", "uid", "size", "received", "due", "why"]


def expire(build):
    """Nothing else removes what is due: the daemons do it when they start, and then not for a day."""
    with Admin(build, {("spool", "expire_every"): "1d"}) as admin:
        admin.site.start("smtpd")
        admin.site.start("pop3d")
        admin.add("joe@a.test", "ann@a.test")
        same(admin.text("expire"), "0 removed\n")
        same(admin.json("expire", "--dry-run"), [])
        for _ in range(3):
            admin.deliver("s@x.test", "joe@a.test", "ann@a.test")
        joe, ann = (admin.json("mail", "list", a) for a in ("joe@a.test", "ann@a.test"))
        # Joe's first is past its age, his second was retrieved too long ago, so was Ann's first.
        sql(admin, "UPDATE entry SET expires_day = 100 WHERE mailbox = 1 AND message = %d"
            % int(joe[0]["uid"], 16),
            "UPDATE entry SET retrieved_s = 1, retrieved_expires_day = 200, expires_day = 99999"
            " WHERE mailbox = 1 AND message = %d" % int(joe[1]["uid"], 16),
            "UPDATE entry SET retrieved_expires_day = 300 WHERE mailbox = 2 AND message = %d"
            % int(ann[0]["uid"], 16))
        dry = admin.json("expire", "--dry-run")
        same([list(m) for m in dry], [EXPIRE_KEYS] * 3)
        want = [("ann@a.test", ann[0]["uid"], "1970-10-28T00:00:00Z", "retrieved"),
                ("joe@a.test", joe[0]["uid"], "1970-04-11T00:00:00Z", "age"),
                ("joe@a.test", joe[1]["uid"], "1970-07-20T00:00:00Z", "retrieved")]
        same(sorted((m["address"], m["uid"], m["due"], m["why"]) for m in dry), sorted(want))
        same({m["uid"]: (m["size"], m["received"]) for m in dry if m["address"] == "joe@a.test"},
             {m["uid"]: (m["size"], m["received"]) for m in joe[:2]})
        same(len(admin.json("mail", "list", "joe@a.test")), 3)
        lines = admin.text("expire", "ann@a.test", "--dry-run").splitlines()
        same((lines[0].split(), len(lines), lines[2]), (EXPIRE_KEYS, 3, "1 would be removed"))

        # An open maildrop is left, the others are not.
        wire = admin.pop()
        wire.login("joe@a.test", "secret")
        out, err = admin.run("expire", "--json", want=BUSY)
        same([m["uid"] for m in json.loads(out)], [ann[0]["uid"]])
        same(err, "pop-admin: mailboxes in use, left for later: 1\n")
        same(len(admin.json("expire", "--dry-run")), 2)
        wire.ok(b"QUIT")
        wire.close()
        # At a terminal it asks, and says how much.
        term = Terminal(admin, "expire", "joe@a.test")
        term.wait_for(b"past its age: 2 messages")
        term.type(b"n\n")
        holds(b"nothing was changed" in term.end(BUSY), "not told")
        same(len(admin.json("mail", "list", "joe@a.test")), 3)
        lines = admin.text("expire", "joe@a.test", "--yes").splitlines()
        same((len(lines), lines[-1]), (4, "2 removed"))
        holds(b"[y/N]" not in Terminal(admin, "expire").end(0), "asks where nothing is due")
        same([m["uid"] for m in admin.json("mail", "list", "joe@a.test")], [joe[2]["uid"]])
        same([m["cause"] for m in admin.json("mail", "history", "joe@a.test")], ["expire"] * 2)
        same(admin.text("check").split(":")[0], "nothing wrong")
        admin.fails(NO_USER, "expire", "nobody@a.test", says="no such mailbox")
        admin.fails(DATA, "expire", "nobody", says="not a full address")
        admin.fails(USAGE, "expire", "joe@a.test", "ann@a.test", says="usage: ")


def status(build):
    with Admin(build, {("spool", "reserve"): "3M"}) as admin:
        keys = ["domains", "mailboxes", "messages", "used", "oldest", "set_apart", "live", "kept", "dead",
                "given_back", "free", "reserve", "open_elsewhere", "backup_running", "damaged"]
        empty = admin.json("status")
        same(list(empty), keys)
        holds(empty.pop("free") > 0, "no room at all")
        holds("oldest: -\n" in admin.text("status"), "something is oldest where nothing is")
        same(empty, {"domains": 0, "mailboxes": 0, "messages": 0, "used": 0, "oldest": None, "set_apart": 0,
                     "live": 0, "kept": 0, "dead": 0, "given_back": 0, "reserve": 3 << 20, "open_elsewhere": False,
                     "backup_running": False, "damaged": []})
        admin.add("joe@a.test", "ann@a.test")
        admin.deliver("s@x.test", "joe@a.test", "ann@a.test")
        now = admin.json("status")
        same((now["domains"], now["mailboxes"], now["messages"], now["live"], now["open_elsewhere"]),
             (1, 2, 2, 4096, True))
        same(now["used"], sum(u["used"] for u in admin.json("user", "list")))
        same(now["oldest"], admin.json("user", "show", "joe@a.test")["oldest"])
        lines = admin.text("status").splitlines()
        same([line.split(":")[0] for line in lines], keys[:-1])
        holds("reserve: 3.00M" in lines and "open_elsewhere: yes" in lines, lines)


def doctor(build):
    with Admin(build, {("pop3d", "plaintext_auth"): "always"}) as admin:

        def finds(what, text, advice, number=1):
            out, err = admin.run("doctor", "--json", want=DATA)
            found = json.loads(out)
            same([list(f) for f in found], [["what", "found", "advice"]] * number)
            holds(any(f["what"] == what and text in f["found"] and advice in f["advice"]
                      for f in found), found)
            same(err, "pop-admin: things to see to: %d\n" % number)

        def nothing():
            same(admin.text("doctor"), "nothing to do\n")
            same(admin.json("doctor"), [])

        nothing()
        admin.text("domain", "add", "a.test")
        finds("postmaster", "postmaster@a.test reaches nobody", "user add")
        admin.add("joe@a.test")
        nothing()
        admin.deliver("s@x.test", "joe@a.test")
        used = admin.json("user", "show", "joe@a.test")["used"]
        admin.text("user", "quota", "joe@a.test", str(used))
        finds("quota", "joe@a.test is 100% full", "user quota")
        out, err = admin.run("doctor", want=DATA)
        lines = out.decode().splitlines()
        same((lines[0].split(), len(lines)), (["what", "found", "advice"], 2))
        same(err, "pop-admin: things to see to: 1\n")
        admin.text("user", "quota", "joe@a.test", str(used * 2))
        nothing()

        def with_setting(section, key, value, what, text, advice, number=1):
            before = admin.site.settings.get((section, key))
            admin.site.settings[section, key] = value
            admin.site.write_config()
            finds(what, text, advice, number)
            admin.site.settings[section, key] = before
            admin.site.write_config()

        with_setting("spool", "reserve", "900000G", "disk", "452", "make room")
        with_setting("pop3d", "plaintext_auth", "loopback", "certificate", "there is none", "[tls]")
        admin.site.settings["tls", "key"] = admin.site.conf
        with_setting("tls", "certificate", "/nonexistent/cert.pem", "certificate",
                     "/nonexistent/cert.pem: No such file", "readable")
        admin.site.settings["tls", "key"] = None
        admin.site.write_config()
        nothing()
        sql(admin, "UPDATE meta SET value = 4000000000000 WHERE key = 'newest_segment'")
        finds("clock", "2096-10-02", "set the clock")


# --- the command line -------------------------------------------------------------------------

def options(build):
    with Admin(build) as admin:
        admin.add("joe@a.test")
        want = admin.text("--json", "user", "list")
        for line in (("user", "--json", "list"), ("user", "list", "--json"),
                     ("--yes", "user", "list", "--json")):
            same(admin.text(*line), want)
        conf = admin.site.conf
        for line in (["user", "list", "--json", "-c", conf], ["user", "-c" + conf, "list", "--json"]):
            done = subprocess.run([admin.program, *line], capture_output=True, check=True,
                                  env=sanitizer_environment())
            same(done.stdout.decode(), want)
        holds("user add ADDRESS [--quota SIZE|none] [--expire AGE|never] [--apop]" in admin.text("user", "--help"), "help")
        holds(re.fullmatch(r"pop-admin \(Restante\) [0-9.]+\n", admin.text("-V")), "version")
        # Behind "--" a word is no option.
        admin.fails(DATA, "user", "show", "--", "--json", says="not a full address")
        admin.fails(USAGE, "user", "show", says="usage: pop-admin user show ADDRESS")
        admin.fails(USAGE, "user", "show", "joe@a.test", "--quota", "1G", says="takes no --quota")
        for words in (("who",), ("kick", "joe@a.test")):
            admin.fails(USAGE, *words, says="not in this version")
        same(len(admin.json("user", "list")), 1)


def exit_codes(build):
    with Admin(build) as admin:
        admin.add("joe@a.test")
        with open("/dev/full", "wb") as full:
            for words in (("user", "list", "--json"), ("user", "list"), ("domain", "list"),
                          ("user", "disable", "joe@a.test")):
                admin.fails(IO, *words, stdout=full, says="standard output")
        admin.text("user", "enable", "joe@a.test")
        with open(admin.site.conf, "a", encoding="utf-8") as f:
            f.write("[site]\nfrobnicate = yes\n")
        admin.fails(CONFIG, "user", "list", says=admin.site.conf + ":")
        admin.site.write_config()
        admin.text("user", "list")
        # A spool of a later version: pop-admin and daemons end alike.
        index = sqlite3.connect(os.path.join(admin.site.spool, "index", "index.db"))
        index.execute("PRAGMA user_version = 1000")
        index.close()
        admin.fails(CONFIG, "user", "list", says="made by a newer Restante")
        for program in ("smtpd", "pop3d"):
            path = os.path.join(admin.site.build, program)
            same(subprocess.run([path, "-c", admin.site.conf], stderr=subprocess.PIPE,
                                timeout=60, check=False).returncode, CONFIG)


def permission(build):
    """Somebody else's spool: 77, and what to do about it."""
    nobody = pwd.getpwnam("nobody")
    with Admin(build) as admin:
        os.chmod(admin.site.folder, 0o711)
        os.chmod(admin.site.conf, 0o644)
        # The tree may stand where nobody else may look.
        admin.program = shutil.copy(admin.program, admin.site.folder)

        def become_nobody():
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)

        admin.fails(NO_PERMISSION, "user", "list", before=become_nobody, says="run this as root")


def becomes_owner(build):
    """Started as root it is the spool's owner before it touches the spool."""
    nobody = pwd.getpwnam("nobody")
    with Admin(build) as admin:
        shutil.rmtree(admin.site.spool)
        os.chmod(admin.site.folder, 0o711)
        os.chmod(admin.site.conf, 0o600)
        admin.site.settings["site", "user"] = "nobody"
        admin.site.write_config()
        admin.text("init")
        admin.add("joe@a.test")
        for folder, _, files in os.walk(admin.site.spool):
            for name in [folder] + [os.path.join(folder, f) for f in files]:
                same((name, os.stat(name).st_uid), (name, nobody.pw_uid))
                same((name, os.stat(name).st_mode & 0o077), (name, 0))
        admin.site.settings["site", "user"] = "no-such-account"
        admin.site.write_config()
        admin.fails(CONFIG, "user", "list", says="no account \"no-such-account\"")


# --- at a terminal ----------------------------------------------------------------------------

def prompts(build):
    with Admin(build) as admin:
        term = Terminal(admin, "user", "add", "joe@a.test")
        term.wait_for(b"New password: ")
        holds(not term.echoes(), "the terminal echoes")
        term.type(b"secret\n")
        term.wait_for(b"Once more: ")
        holds(not term.echoes(), "the terminal echoes")
        term.type(b"secret\n")
        term.wait_for(b"added")
        holds(term.echoes(), "the terminal does not echo any more")
        holds(b"secret" not in term.end(0), "the password is shown")
        holds(admin.let_in("joe@a.test", "secret"), "not let in")

        term = Terminal(admin, "user", "passwd", "joe@a.test")
        term.wait_for(b"New password: ")
        term.type(b"other\n")
        term.wait_for(b"Once more: ")
        term.type(b"othes\n")
        holds(b"not the same" in term.end(DATA), "two that differ")
        term = Terminal(admin, "user", "passwd", "joe@a.test")
        term.wait_for(b"New password: ")
        term.type(b"\n")
        holds(b"a password has" in term.end(DATA), "an empty password")
        holds(admin.let_in("joe@a.test", "secret"), "the password was changed")
        # Nobody is asked for a password that would be of no use.
        holds(b"assword" not in Terminal(admin, "user", "add", "joe@a.test").end(EXISTS), "asked")
        holds(b"assword" not in Terminal(admin, "user", "passwd", "x@a.test").end(NO_USER), "asked")


def interrupted(build):
    with Admin(build) as admin:
        for stop, number in ((b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)):
            term = Terminal(admin, "user", "add", "joe@a.test")
            term.wait_for(b"New password: ")
            term.type(b"sec" + stop)
            deadline = time.monotonic() + 20 * SLOW
            while not term.echoes() and time.monotonic() < deadline:
                time.sleep(0.01)
            holds(term.echoes(), "the terminal does not echo any more")
            term.end(-number)
        term = Terminal(admin, "user", "add", "joe@a.test")
        term.wait_for(b"New password: ")
        term.type(b"\x04")
        term.end(DATA)
        same(admin.json("user", "list"), [])


def confirmations(build):
    with Admin(build) as admin:
        admin.add("joe@a.test")
        admin.deliver("s@x.test", "joe@a.test")
        uid = admin.json("mail", "list", "joe@a.test")[0]["uid"]
        asked = (("mail", "remove", "joe@a.test", uid), ("user", "remove", "joe@a.test"),
                 ("domain", "remove", "a.test"))
        for words in asked + (("user", "expire", "joe@a.test", "1d", "--now"),):
            for answer in (b"n\n", b"\n", b"yess\n", b"no\n", b"y" * 100 + b"\n", b"\x04"):
                term = Terminal(admin, *words)
                term.wait_for(b"[y/N] ")
                term.type(answer)
                holds(b"nothing was changed" in term.end(BUSY), words)
        same(len(admin.json("mail", "list", "joe@a.test")), 1)
        for words in (("mail", "remove", "nobody@a.test", uid), ("user", "remove", "nobody@a.test")):
            holds(b"[y/N]" not in Terminal(admin, *words).end(NO_USER), words)
        same(admin.json("user", "show", "joe@a.test")["expire_s"], None)
        for words, answer in zip(asked, (b"y\n", b"yes\n", None)):
            term = Terminal(admin, *words, *([] if answer else ["--yes"]))
            if answer:
                term.wait_for(b"[y/N] ")
                term.type(answer)
            shown = term.end(0)
            holds(b"removed" in shown and (answer or b"[y/N]" not in shown), shown)
        same(admin.json("domain", "list"), [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("BUILD", "build"))
    parser.add_argument("only", nargs="*", help="names of tests")
    arguments = parser.parse_args()
    report = Report()
    tests = (init, init_fails, domains, users, passwords, sorted_users,
             limits_of_new_users, quotas_and_ages, at_once, aliases,
             postmaster, mail, history, damaged_mail, check, expire, status, doctor, options, exit_codes, prompts, interrupted,
             confirmations)
    for test in tests:
        if not arguments.only or test.__name__ in arguments.only:
            report.run(test.__name__, test, arguments.build)
    for test in (permission, becomes_owner):
        if arguments.only and test.__name__ not in arguments.only:
            continue
        if os.getuid() == 0:
            report.run(test.__name__, test, arguments.build)
        else:
            report.without(test.__name__, "only root can become somebody else")
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
