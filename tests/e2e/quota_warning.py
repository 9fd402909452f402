#!/usr/bin/env python3
"""The owner of a mailbox is told how full it is: by a message that mail programs read, once for
each share that is crossed, in the site's own words where there is a template."""

import argparse
import contextlib
import email
import email.policy
import email.utils
import os
import poplib
import signal
import smtplib
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from testsite import Site, PASSWORD, SLOW  # noqa: E402

JOE = "joe@example.test"
ANN = "ann@example.test"
QUOTA = 1000000
TENTH = 99000           # octets of a message of which ten fit and leave some room

GERMAN = ("Subject: Ihr Postfach {address} ist zu {percent} % gefüllt – bitte räumen Sie auf, "
          "ehe es überläuft\r\n"
          "\r\n"
          "Grüße vom Postmeister ({postmaster}) auf {hostname}!\r\n"
          ".\r\n"
          "{messages} Nachrichten, {used} von {quota}; {unbekannt}\r\n")


def write_template(site, text):
    path = os.path.join(site.folder, "quota-warning.txt")
    with open(path + ".new", "wb") as f:
        f.write(text.encode("utf-8") if isinstance(text, str) else text)
    os.rename(path + ".new", path)


def set_quota(site, address, octets):
    local, domain = address.split("@")
    with contextlib.closing(sqlite3.connect(os.path.join(site.spool, "index", "index.db"),
                                            timeout=20)) as db, db:
        changed = db.execute(
            "UPDATE mailbox SET quota = ? WHERE folded = ? AND domain ="
            " (SELECT id FROM domain WHERE folded = ?)", (octets, local, domain)).rowcount
        assert changed == 1, address


def deliver(site, address, count, octets=TENTH):
    with smtplib.SMTP(*site.address("smtp"), timeout=60) as smtp:
        for i in range(count):
            text = b"Subject: filler %d\r\n\r\n" % i
            text += (b"x" * 70 + b"\r\n") * ((octets - len(text)) // 72)
            smtp.sendmail("sender@client.example", [address], text)


def fetch(site, address, delete=0):
    """All messages that are there; the first `delete` of them go."""
    pop = poplib.POP3(*site.address("pop3"), timeout=60)
    pop.user(address)
    pop.pass_(PASSWORD)
    out = []
    for i in range(pop.stat()[0]):
        out.append(b"\r\n".join(pop.retr(i + 1)[1]) + b"\r\n")
        if i < delete:
            pop.dele(i + 1)
    total = pop.stat()[1]
    pop.quit()
    assert delete or total == sum(map(len, out)), "STAT is not what RETR sent"
    return out


def warnings(site, address):
    return [m for m in fetch(site, address) if m.startswith(b"Return-Path: <>\r\n")]


def wait_warning(site, crossed, address=JOE):
    return site.daemons["smtpd"].wait_log(
        r"event=warning_sent user=%s crossed=%d " % (address, crossed), 70)


def parse(octets, address=JOE):
    """The message as a mail program sees it; what must be true of every warning is checked."""
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    fields, _, rest = octets.partition(b"Received: ")
    assert fields == b"Return-Path: <>\r\nDelivered-To: %s\r\n" % address.encode(), fields
    header = rest.partition(b"\r\n\r\n")[0]
    assert all(octet < 0x7f for octet in header), header
    m = email.message_from_bytes(octets, policy=email.policy.default)
    assert not m.defects and not any(m[name].defects for name in m), (m.defects, header)
    for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"):
        assert len(m.get_all(name, [])) == 1, name
    assert m["To"].addresses[0].addr_spec == address, m["To"]
    assert m["Auto-Submitted"] == "auto-generated"
    assert m.get_content_type() == "text/plain" and m.get_content_charset() == "utf-8"
    assert abs(email.utils.parsedate_to_datetime(m["Date"]).timestamp() - time.time()) < 300 * SLOW
    return m


def words(m):
    return m.get_content().replace("\r\n", "\n")


def told_at_80(site):
    deliver(site, JOE, 8)
    assert warnings(site, JOE) == []
    deliver(site, JOE, 1)
    wait_warning(site, 80)
    deliver(site, JOE, 1, 2000)
    got = warnings(site, JOE)
    assert len(got) == 1, len(got)
    m = parse(got[0])
    assert m["Subject"] == "Your mailbox is 89% full", m["Subject"]
    assert m["From"].addresses[0].addr_spec == "postmaster@mail.example.test", m["From"]
    text = m.get_content()
    assert "holds 9 messages" in text and JOE in text and "977K" in text, text


def told_again_after_a_fall(site):
    fetch(site, JOE, delete=3)
    assert len(warnings(site, JOE)) == 1
    time.sleep(2 * SLOW)
    deliver(site, JOE, 3)
    deadline = time.monotonic() + 70 * SLOW
    while len(warnings(site, JOE)) < 2:
        assert time.monotonic() < deadline, site.log()
        time.sleep(0.2)
    assert len({parse(w)["Message-ID"] for w in warnings(site, JOE)}) == 2


def own_words(site):
    write_template(site, GERMAN)
    set_quota(site, ANN, QUOTA)
    site.settings["site", "postmaster"] = JOE
    site.write_config()
    site.start("smtpd")
    deliver(site, ANN, 9)
    wait_warning(site, 80, ANN)
    m = parse(warnings(site, ANN)[0], ANN)
    assert m["Subject"] == ("Ihr Postfach ann@example.test ist zu 89 % gefüllt – bitte räumen "
                            "Sie auf, ehe es überläuft"), m["Subject"]
    assert m["From"].addresses[0].addr_spec == JOE, m["From"]
    assert words(m) == ("Grüße vom Postmeister (joe@example.test) auf mail.example.test!\n"
                               ".\n9 Nachrichten, 872K von 977K; {unbekannt}\n"), words(m)


def other_words_by_sighup(site):
    smtpd = site.daemons["smtpd"]
    # One that is not good changes nothing, and says where.
    write_template(site, b"Subject: x\n\nGr\xfc\xdfe\n")
    check = subprocess.run([os.path.join(site.build, "smtpd"), "-c", site.conf, "-t"],
                           capture_output=True, check=False, text=True)
    assert check.returncode == 78 and "quota-warning.txt:3: is not UTF-8" in check.stderr, check
    smtpd.signal(signal.SIGHUP)
    smtpd.wait_log(r"event=reload_failed .*quota-warning\.txt:3: is not UTF-8")
    write_template(site, "Subject: New words\n\nFor {percent} %\n")
    smtpd.signal(signal.SIGHUP)
    smtpd.wait_log(r"event=reloaded\b")
    deliver(site, ANN, 1, 70000)
    wait_warning(site, 95, ANN)
    got = [parse(w, ANN) for w in warnings(site, ANN)]
    assert [m["Subject"] for m in got][1:] == ["New words"], [m["Subject"] for m in got]
    assert words(got[1]) == "For 96 %\n", words(got[1])


def other_shares_by_sighup(site):
    smtpd = site.daemons["smtpd"]
    site.settings["spool", "quota_warn"] = "99%, 50% 96%"
    site.write_config()
    smtpd.signal(signal.SIGHUP)
    wait_warning(site, 96, ANN)
    assert len(warnings(site, ANN)) == 3


def limit_lowered_beyond_what_is_there(site):
    """Not even the warning fits: the log has it."""
    site.stop("smtpd")
    set_quota(site, ANN, QUOTA // 2)
    smtpd = site.start("smtpd")
    smtpd.wait_log(r"event=warning_not_sent user=ann@example\.test crossed=99 percent=19\d "
                   r"error=.*full.* advice=\".*raise the quota", 70)
    assert len(warnings(site, ANN)) == 3


def limit_lowered(site):
    """Without any mail."""
    deliver(site, ANN, 3)
    site.stop("smtpd")
    set_quota(site, ANN, sum(map(len, fetch(site, ANN))) * 100 // 85)
    site.start("smtpd")
    wait_warning(site, 80, ANN)
    parse(warnings(site, ANN)[0], ANN)


def none(site):
    site.settings["spool", "quota_warn"] = "none"
    site.write_config()
    set_quota(site, JOE, QUOTA)
    site.start("smtpd")
    deliver(site, JOE, 9)
    time.sleep(2.5 * SLOW)
    assert warnings(site, JOE) == []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    report = Report()
    with Site(build, tls=False, config={("spool", "quota"): "none"}) as site:
        set_quota(site, JOE, QUOTA)
        for test in (told_at_80, told_again_after_a_fall):
            report.run(test.__name__, test, site)
        site.stop("smtpd")
        for test in (own_words, other_words_by_sighup, other_shares_by_sighup,
                     limit_lowered_beyond_what_is_there):
            if not report.run(test.__name__, test, site):
                break
    with Site(build, tls=False, config={("spool", "quota"): "none"}) as site:
        report.run("limit_lowered", limit_lowered, site)
        site.stop("smtpd")
        report.run("none", none, site)
    Site.forget()
    report.done()


if __name__ == "__main__":
    main()
