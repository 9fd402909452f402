#!/usr/bin/env python3
"""The programs that people use: each sends and fetches, in the clear and with TLS.

Senders: curl, swaks, msmtp, smtplib.  Fetchers: curl, fetchmail, mpop, getmail, poplib.  Each one
gets the messages that it can carry without a change of its own; what each cannot is said
beside it.  A program that is not installed is skipped with a word.
"""

import argparse
import collections
import email
import os
import poplib
import re
import shutil
import smtplib
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import getmail  # noqa: E402
from messages import corpus, hostile, ordinary, received_fields  # noqa: E402
from report import Report  # noqa: E402
from testsite import Site, HOSTNAME, PASSWORD, SLOW  # noqa: E402
from wire import Wire, WireError, stored, stuffed, transact, without_trace  # noqa: E402

LOAD = float(os.environ.get("TEST_LOAD", "1"))
SENDER = "sender@client.example"
# A mailbox for the senders, and one that the fetchers find filled.
JOE, ANN = "joe@example.test", "ann@example.test"


def command(words, stdin=b"", folder=None, patience=120):
    env = dict(os.environ, LC_ALL="C")
    if folder:
        env["HOME"] = folder
    done = subprocess.run(words, input=stdin, capture_output=True, check=False, env=env,
                          timeout=patience * SLOW)
    if done.returncode != 0:
        raise WireError("%s ended with %d: %s" % (
            words[0], done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")[-1500:]))
    return done.stdout


# --- senders ---------------------------------------------------------------

def send_curl(site, files, tls):
    host, port = site.address("smtp")
    secure = ["--ssl-reqd", "--cacert", site.certificate] if tls else []
    for path, _ in files:
        command(["curl", "-sS", *secure, "smtp://%s:%d/client.example" % (host, port), "--mail-from",
                 SENDER, "--mail-rcpt", JOE, "-T", path])


def send_swaks(site, files, tls):
    # --data would add a CRLF; -ndf takes what is already stuffed and ended.
    host, port = site.address("smtp")
    secure = ["-tls", "--tls-ca-path", site.certificate] if tls else []
    for path, octets in files:
        with open(path + ".stuffed", "wb") as f:
            f.write(stuffed(octets))
        command(["swaks", "-s", "%s:%d" % (host, port), "-f", SENDER, "-t", JOE, *secure, "-ndf",
                 "--hide-all", "--data", "@" + path + ".stuffed"])


def send_msmtp(site, files, tls):
    host, port = site.address("smtp")
    secure = ["--tls=on", "--tls-starttls=on", "--tls-trust-file=" + site.certificate] if tls \
        else ["--tls=off"]
    for _, octets in files:
        command(["msmtp", "-C", "/dev/null", "--host=" + host, "--port=%d" % port, "--auth=off",
                 "--from=" + SENDER, *secure, JOE], octets)


def send_smtplib(site, files, tls):
    host, port = site.address("smtp")
    with smtplib.SMTP(host, port, "client.example", timeout=120) as client:
        if tls:
            client.starttls(context=site.context())
        for _, octets in files:
            client.sendmail(SENDER, [JOE], octets)


def carried_by_curl(octets):
    # It sends nothing at all for an empty file.
    return octets != b""


def carried_by_msmtp(octets):
    # It reads lines as C strings, makes LF CRLF and adds the fields that must be there.
    head = octets.split(b"\r\n\r\n")[0].lower()
    return (b"\0" not in octets and not re.search(rb"(?<!\r)\n|\r(?!\n)", octets)
            and octets.endswith(b"\r\n") and re.search(rb"(?m)^from:", head)
            and re.search(rb"(?m)^date:", head) and re.search(rb"(?m)^message-id:", head)
            and not re.search(rb"(?m)^bcc:", head)
            and b"\r\n\r\n" in octets)


def carried_by_smtplib(octets):
    # It doubles a dot behind a bare LF too, and makes an empty line of nothing.
    return octets != b"" and not re.search(rb"(?<!\r)\n\.", octets)


def carries_all(_octets):
    return True


SENDERS = (
    ("curl", send_curl, carried_by_curl),
    ("swaks", send_swaks, carries_all),
    ("msmtp", send_msmtp, carried_by_msmtp),
    ("smtplib", send_smtplib, carried_by_smtplib),
)


def send_and_compare(site, send, messages, tls):
    folder = tempfile.mkdtemp(prefix="send-")
    files = []
    for number, octets in enumerate(messages.values()):
        files.append((os.path.join(folder, "%d.eml" % number), octets))
        with open(files[-1][0], "wb") as f:
            f.write(octets)
    try:
        send(site, files, tls)
    finally:
        shutil.rmtree(folder)
    wire = Wire(site.address("pop3"), timeout=120)
    wire.ok()
    wire.login(JOE, PASSWORD)
    count = int(wire.ok(b"STAT").split()[0])
    if count != len(messages):
        raise WireError("%d messages came, not %d" % (count, len(messages)))
    due = collections.Counter(map(stored, messages.values()))
    for number in range(1, count + 1):
        _, _, received, rest = without_trace(wire.retrieve(number))
        if (b"with ESMTPS" in received) != tls:
            raise WireError("a message came with %r" % received)
        if due[rest] == 0:
            raise WireError("nobody sent these %d octets: %r" % (len(rest), rest[:300]))
        due[rest] -= 1
        wire.ok(b"DELE %d" % number)
    wire.ok(b"QUIT")
    wire.close()


# --- fetchers: each returns the messages as a list of octets -----------------

def read_folder(folder):
    out = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            out.append(f.read())
    return out


def fetch_curl(site, folder, tls):
    base = "pop3s" if tls == "pop3s" else "pop3"
    url = "%s://%s:%d/" % (base, *site.address(base))
    secure = ["--ssl-reqd", "--cacert", site.certificate] if tls else []
    login = ["-u", "%s:%s" % (ANN, PASSWORD)]
    count = len(command(["curl", "-sS", *secure, *login, url]).splitlines())
    command(["curl", "-sS", *secure, *login, "%s[1-%d]" % (url, count), "-o", folder + "/m#1.eml"])
    return read_folder(folder)


def fetch_mpop(site, folder, tls):
    host, port = site.address("pop3")
    secure = ["--tls=on", "--tls-starttls=on", "--tls-trust-file=" + site.certificate] if tls \
        else ["--tls=off"]
    os.mkdir(folder + "/in")
    command(["mpop", "-C", "/dev/null", "--host=" + host, "--port=%d" % port, "--user=" + ANN,
             "--passwordeval=echo " + PASSWORD, "--auth=user", *secure, "--keep=on",
             "--received-header=off", "--uidls-file=" + folder + "/uidls",
             "--delivery=exchange," + folder + "/in"])
    return read_folder(folder + "/in")


def fetch_fetchmail(site, folder, tls):
    host, port = site.address("pop3")
    secure = 'sslproto ""'
    if tls:
        secure = "sslproto TLS1.2+ sslcertck sslcommonname %s sslcertfile %s" % (
            HOSTNAME, site.certificate)
    os.mkdir(folder + "/in")
    with open(folder + "/rc", "w", encoding="ascii") as f:
        f.write('poll %s with port %d proto POP3 no dns auth password user "%s" password "%s" keep '
                "fetchall no rewrite no forcecr no stripcr %s mda \"/bin/sh -c 'cat > %s/in/m.$$.eml'\"\n"
                % (host, port, ANN, PASSWORD, secure, folder))
    os.chmod(folder + "/rc", 0o600)
    command(["fetchmail", "-N", "-f", folder + "/rc", "--invisible", "-i", folder + "/ids",
             "--pidfile", folder + "/pid"], folder=folder)
    return read_folder(folder + "/in")


def fetch_getmail(site, folder, tls):
    return read_folder(getmail.fetch(site, folder, ANN, PASSWORD, tls=tls,
                                     options="delivered_to = false\nreceived = false") + "new")


def fetch_poplib(site, _folder, tls):
    poplib._MAXLINE = 1 << 30
    if tls == "pop3s":
        client = poplib.POP3_SSL(*site.address("pop3s"), context=site.context(), timeout=120)
    else:
        client = poplib.POP3(*site.address("pop3"), timeout=120)
        if tls:
            client.stls(context=site.context())
    client.user(ANN)
    client.pass_(PASSWORD)
    out = [b"".join(line + b"\r\n" for line in client.retr(n)[1])
           for n in range(1, client.stat()[0] + 1)]
    client.quit()
    return out


def with_lf(octets):
    return octets.replace(b"\r\n", b"\n")


def as_it_is(octets):
    return octets


def carried_by_fetchmail(octets):
    # It takes the header apart, in which it unstuffs nothing, drops NULs and cuts long lines.
    head, blank, _ = octets.partition(b"\r\n\r\n")
    return (blank != b"" and b"\0" not in octets and octets.endswith(b"\r\n")
            and not re.search(rb"(?<!\r)\n|\r(?!\n)", octets)
            and max(map(len, octets.split(b"\r\n"))) < 1000
            and all(re.match(rb"[!-\-/-9;-~][!-9;-~]*:|[ \t]", line) for line in head.split(b"\r\n")))


def carried_by_getmail(octets):
    # It parses the message with Python's email package and writes it anew: what that package
    # folds or mends comes out otherwise, and a second Return-Path is dropped.
    if not carried_by_fetchmail(octets) or re.search(rb"(?im)^return-path:", octets):
        return False
    octets = with_lf(octets)
    try:
        return email.message_from_bytes(octets).as_bytes() == octets
    except Exception:  # whatever the package stumbles over, getmail does too
        return False


FETCHERS = (
    # program, function, what it carries, kinds of TLS, what it makes of the octets
    ("curl", fetch_curl, carries_all, (None, "stls", "pop3s"), as_it_is),
    ("mpop", fetch_mpop, carries_all, (None, "stls"), as_it_is),
    ("poplib", fetch_poplib, carries_all, (None, "stls", "pop3s"), as_it_is),
    ("fetchmail", fetch_fetchmail, carried_by_fetchmail, (None, "stls"), as_it_is),
    ("getmail", fetch_getmail, carried_by_getmail, (None, "pop3s"), with_lf),
)


def fetch_and_compare(site, fetch, tls, change, wanted):
    """`wanted` is the whole mailbox; order and names of files are the program's affair."""
    folder = tempfile.mkdtemp(prefix="fetch-")
    os.chmod(folder, 0o755)
    try:
        got = collections.Counter(map(change, fetch(site, folder, tls)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    want = collections.Counter(change(octets) for octets in wanted)
    if got != want:
        missing, more = list((want - got).elements()), list((got - want).elements())
        raise WireError("%d messages are not as they were sent; one is %r; one that came is %r" % (
            len(missing), missing[0][-400:] if missing else None, more[0][-400:] if more else None))


def fill(site, messages):
    """Fills the fetchers' mailbox; what it holds then, whole, as a raw RETR gives it."""
    wire = Wire(site.address("smtp"), timeout=120)
    wire.reply()
    wire.want(b"EHLO client.example", 250)
    for octets in messages.values():
        transact(wire, SENDER.encode(), [ANN.encode()], octets)
    wire.want(b"QUIT", 221)
    wire.close()
    wire = Wire(site.address("pop3"), timeout=120)
    wire.ok()
    wire.login(ANN, PASSWORD)
    out = [wire.retrieve(number) for number in range(1, len(messages) + 1)]
    if collections.Counter(without_trace(octets)[3] for octets in out) != collections.Counter(
            map(stored, messages.values())):
        raise WireError("the mailbox does not hold what was sent")
    wire.ok(b"QUIT")
    wire.close()
    return out


def installed(program):
    return program in ("smtplib", "poplib") or shutil.which(program) is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    own = {**hostile(), **{"ordinary-" + k: v for k, v in ordinary().items()}}
    files = {k: v for k, v in (corpus() or {}).items() if received_fields(v) <= 100}
    for program, send, carries in SENDERS:
        # A process for each message: of the corpus every tenth file is enough, and where our own part is
        # what is looked at every fourth of all.
        sample = files if program == "smtplib" else dict(list(files.items())[::10])
        messages = {k: v for k, v in {**own, **sample}.items() if carries(v)}
        if program != "smtplib":
            messages = dict(list(messages.items())[::max(1, round(.8 / LOAD))])
        for tls in (False, True):
            name = "%s sends %d messages %s" % (program, len(messages),
                                                "with STARTTLS" if tls else "in the clear")
            if not installed(program):
                report.skip(name, "%s is not installed" % program)
                continue
            with Site(build) as site:
                report.run(name, send_and_compare, site, send, messages, tls)
    for program, fetch, carries, kinds, change in FETCHERS:
        messages = {k: v for k, v in {**own, **files}.items() if carries(v)}
        with Site(build) as site:
            wanted = None
            for tls in kinds:
                name = "%s fetches %d messages %s" % (
                    program, len(messages), "with " + tls.upper() if tls else "in the clear")
                if not installed(program):
                    report.skip(name, "%s is not installed" % program)
                    continue
                wanted = wanted or fill(site, messages)
                report.run(name, fetch_and_compare, site, fetch, tls, change, wanted)
    Site.forget()
    return report.done()


if __name__ == "__main__":
    main()
