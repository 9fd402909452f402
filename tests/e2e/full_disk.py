#!/usr/bin/env python3
"""The disk under a running site fills up to the last octet, and mail is removed from it.

    python3 tests/e2e/full_disk.py [--build DIR]

On a tmpfs, and on ext4 in a file, each in a mount namespace of its own (where none can be had
the test says `skip`): mail comes in until 452; somebody else fills what is left; then POP3 logs
in, fetches every acknowledged message octet for octet, removes and gets +OK for QUIT; and mail
comes in again with nobody's help.  With a reserve and without one, and with a pop3d that starts
on the full disk.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from testsite import PASSWORD, SLOW, Site, SiteError  # noqa: E402
from wire import Wire, stuffed, without_trace  # noqa: E402

USER = "joe@example.test"
OCTETS = 200000
MOUNTS = {
    "tmpfs": "mount -t tmpfs -o size=%dm none '%s'",
    "ext4": "truncate -s %dm '%s.img' && mkfs.ext4 -q -F -m 0 '%s.img' && "
            "mount -o loop '%s.img' '%s'",
}
MIB = {"tmpfs": 48, "ext4": 64}


def mount_command(kind, folder):
    command = MOUNTS[kind]
    return command % ((MIB[kind],) + (folder,) * (command.count("%") - 1))


def message(number):
    line = b"%06d " % number + b"x" * 62 + b"\r\n"
    return b"Subject: %d\r\n\r\n" % number + line * (OCTETS // len(line))


def deliver(site, number):
    """The code of the reply that ended it."""
    smtp = Wire(site.address("smtp"))
    try:
        smtp.reply()
        smtp.want(b"EHLO client.example", 250)
        code = smtp.ask(b"MAIL FROM:<ann@example.test>")[0]
        if code == 250:
            code = smtp.ask(b"RCPT TO:<%s>" % USER.encode())[0]
        if code == 250:
            code = smtp.ask(b"DATA")[0]
        if code == 354:
            smtp.send(stuffed(message(number)))
            code = smtp.reply()[0]
        return code
    finally:
        smtp.close()


def fill_the_rest(folder):
    """Somebody else's file takes what is free, to the last octet."""
    with open(os.path.join(folder, "foreign"), "wb", buffering=0) as f:
        size = 1 << 20
        while size > 0:
            try:
                f.write(b"\0" * size)
            except OSError:
                size //= 2


def pop_session(site, kept):
    """Fetches everything and removes all but the last `kept`; the messages' numbers."""
    pop = Wire(site.address("pop3"))
    pop.ok()
    pop.login(USER, PASSWORD)
    count = int(pop.ok(b"STAT").split()[0])
    seen = []
    for i in range(1, count + 1):
        text = without_trace(pop.retrieve(i))[3]
        number = int(text[len(b"Subject: "):text.index(b"\r\n")])
        if text != message(number):
            raise SiteError("message %d is not what was sent" % number)
        seen.append(number)
    for i in range(1, count + 1 - kept):
        pop.ok(b"DELE %d" % i)
    pop.ok(b"QUIT")
    pop.close()
    return seen


def until(what, seconds=30.0):
    deadline = time.monotonic() + seconds * SLOW
    while not what():
        if time.monotonic() > deadline:
            raise SiteError("mail is put off still")
        time.sleep(0.1)


def fill_by_mail(site):
    sent = []
    while True:
        code = deliver(site, len(sent))
        if code != 250:
            break
        sent.append(len(sent))
    if code != 452 or len(sent) < 20:
        raise SiteError("%d after %d messages" % (code, len(sent)))
    return sent


def scenario(build, folder, reserve, fresh):
    """`fresh`: pop3d starts on the full disk."""
    # What sites share lies outside, or the disk would have it.
    with Site(build, {("spool", "reserve"): reserve}, lmtp=False, tls=False) as site:
        shutil.move(site.spool, os.path.join(folder, "spool"))
        site.spool = site.settings["site", "spool"] = os.path.join(folder, "spool")
        site.write_config()
        smtpd = site.start("smtpd")
        if not fresh:
            site.start("pop3d")
        smtpd.wait_log(r"event=ballast_taken")
        sent = fill_by_mail(site)
        fill_the_rest(folder)
        if os.statvfs(folder).f_bavail != 0:
            raise SiteError("the disk is not full")
        if deliver(site, 999) not in (451, 452):
            raise SiteError("mail is taken on a full disk")
        smtpd.wait_log(r"event=space_low .*advice=.*make some")
        seen = pop_session(site, 2)
        if seen != sent:
            raise SiteError("acknowledged %s, there %s" % (sent, seen))
        until(lambda: deliver(site, 777) == 250)
        seen = pop_session(site, 0)
        if seen != sent[-2:] + [777]:
            raise SiteError("afterwards there was %s" % seen)


def inside(report, build, kind, folder):
    """In the namespace: the file system anew for each scenario."""
    for name, reserve, fresh in (("a reserve", "4M", False), ("no reserve", "0", False),
                                 ("pop3d starts on it", "0", True)):
        subprocess.run(["sh", "-c", mount_command(kind, folder)], check=True)
        try:
            report.run("%s: %s" % (kind, name), scenario, build, folder, reserve, fresh)
        finally:
            subprocess.run(["umount", folder], check=True)
    Site.forget()


def way_in(kind, folder):
    """A command that enters a namespace in which this kind can be mounted, or None."""
    for enter in (["unshare", "-m"], ["unshare", "-U", "-r", "-m"]):
        try:
            done = subprocess.run(enter + ["sh", "-c", mount_command(kind, folder)],
                                  check=False, capture_output=True)
        except OSError:
            return None
        if done.returncode == 0:
            return enter
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--inside", nargs=2, metavar=("KIND", "FOLDER"))
    arguments = parser.parse_args()
    build = os.path.abspath(arguments.build)
    report = Report()
    if arguments.inside:
        inside(report, build, *arguments.inside)
        report.done()
    outer = tempfile.mkdtemp(prefix="full-disk-")
    failed = False
    try:
        for kind in MOUNTS:
            folder = os.path.join(outer, kind)
            os.mkdir(folder)
            enter = way_in(kind, folder)
            if enter is None:
                report.skip("full disk: " + kind, "it cannot be mounted here")
                continue
            done = subprocess.run(enter + [sys.executable, os.path.abspath(__file__), "--build",
                                           build, "--inside", kind, folder], check=False)
            failed = failed or done.returncode != 0
    finally:
        shutil.rmtree(outer, ignore_errors=True)
    if failed:
        sys.exit(1)
    report.done()


if __name__ == "__main__":
    main()
