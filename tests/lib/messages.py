"""Messages of every kind, made here, and those of a corpus where there is one."""

import csv
import glob
import hashlib
import os
import random
import re

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def plain(number):
    """What people send: CRLF, short lines, the usual fields, ASCII."""
    rng = random.Random(number)
    head = (b"From: Sender %d <sender@client.example>\r\nTo: joe@example.test\r\n"
            b"Subject: message %d\r\nDate: Tue, 24 Nov 2026 03:%02d:00 +0000\r\n"
            b"Message-ID: <%d@client.example>\r\n"
            % (number, number, number % 60, number))
    lines = [b" ".join(b"word%d" % rng.randrange(1000) for _ in range(rng.randrange(1, 9)))
             for _ in range(rng.randrange(1, 40))]
    return head + b"\r\n" + b"".join(line + b"\r\n" for line in lines)


def ordinary():
    """{name: octets} that every mail program can carry."""
    fields = b"From: a@client.example\r\nDate: Tue, 24 Nov 2026 03:00:00 +0000\r\n" \
             b"Message-ID: <%d@client.example>\r\n"
    out = {"plain-%d" % i: plain(i) for i in range(4)}
    out["dots"] = (fields % 1) + b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.a\r\n a.\r\n.\r\n"
    out["eight-bit"] = (fields % 2) + b"Subject: eight\r\n\r\n" + b"".join(
        bytes(range(0xa0, 0x100)) + b"\r\n" for _ in range(20))
    out["long-body"] = (fields % 3) + b"Subject: long\r\n\r\n" + b"".join(
        b"%06d %s\r\n" % (i, b"x" * (i % 70)) for i in range(20000))
    out["from-line"] = (fields % 4) + b"Subject: mbox\r\n\r\nFrom here on\r\n\r\nFrom there\r\n"
    return out


def hostile():
    """{name: octets} of what no mail program composes, and a server must carry all the same."""
    out = {
        "empty": b"",
        "one-octet": b"x",
        "one-dot": b".",
        "one-crlf": b"\r\n",
        "dot-crlf": b".\r\n",
        "dots": b".\r\n..\r\n...\r\n.a\r\n.",
        "dot-run": b"." * 5000 + b"\r\n" + b".\r\n" * 5000,
        "line-1m": b"Subject: long\r\n\r\n" + b"a" * (1 << 20) + b"\r\nend\r\n",
        "header-1m": b"Subject: " + b"b" * (1 << 20) + b"\r\n\r\nbody\r\n",
        "eight-bit": b"Subject: \xc3\xa4\xff\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
        "all-octets": bytes(range(256)) * 7,
        "nul": b"Subject: n\0l\r\n\r\n\0\0\r\n\0.\r\n.\0\r\n\0",
        "bare-cr": b"S: x\r\n\r\na\rb\r\r\n\r\rc\r\r\r\n.\r.\r\nd\r",
        "bare-lf": b"S: x\n\na\n\nb\n.\nc\n..\n.d\n\r\n.\ne",
        "near-ends": b"a\n.\nb\n.\r\nc\r.\rd\r.\r\ne\r\n.\nf\r\n.\rg\r\r\n.\r\r\nh\r\n\0.\r\ni\r\n.\0\r\n",
        "crlf-dot-crlf": b"a\r\n.\r\nMAIL FROM:<x@client.example>\r\nRCPT TO:<joe@example.test>\r\n"
                         b"DATA\r\nsmuggled\r\n.\r\n",
        "no-header": b"\r\nonly a body\r\n",
        "no-blank": b"this is no header at all\r\nand this neither\r\n",
        "headers-only": b"Subject: s\r\nTo: joe@example.test\r\n",
        "leading-blank": b" folded\r\n\tagain\r\nSubject: s\r\n\r\nx\r\n",
        "own-trace": b"Return-Path: <forged@client.example>\r\nDelivered-To: forged@example.test\r\n"
                     b"Received: from a by b; Tue, 24 Nov 2026 03:11:17 +0000\r\n\r\nx\r\n",
        "own-received-first": b"Received: from a by b; Tue, 24 Nov 2026 03:11:17 +0000\r\n\r\nx\r\n",
        "no-last-crlf": b"Subject: s\r\n\r\nlast line",
        "only-cr": b"\r" * 300,
        "only-lf": b"\n" * 300,
        "only-crlf": b"\r\n" * 300,
        "many-lines": b"Subject: s\r\n\r\n" + b"x\r\n" * 200000,
    }
    # Sizes about the places where buffers end.
    for size in (1023, 4095, 4096, 4097, 65535, 65536, 65537, 262143, 262144, 262145):
        out["size-%d" % size] = random.Random(size).randbytes(size)
    out["five-mib"] = b"Subject: large\r\n\r\n" + random.Random(5).randbytes(5 << 20)
    return out


def corpus():
    """{name: octets} of the folder that CORPUS names, or of one called corpus in a folder
    beside this tree; None where there is none."""
    folder = os.environ.get("CORPUS")
    if not folder:
        beside = sorted(glob.glob(os.path.join(os.path.dirname(TOP), "*", "corpus", "INDEX.tsv")))
        if not beside:
            return None
        folder = os.path.dirname(beside[0])
    out = {}
    index = os.path.join(folder, "INDEX.tsv")
    if os.path.exists(index):
        with open(index, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
        for row in rows:
            with open(os.path.join(folder, row["file"]), "rb") as f:
                octets = f.read()
            if row.get("sha256") and hashlib.sha256(octets).hexdigest() != row["sha256"]:
                raise ValueError("%s is not the file that INDEX.tsv means" % row["file"])
            out[row["file"]] = octets
    else:
        for path in sorted(glob.glob(os.path.join(folder, "**", "*.eml"), recursive=True)):
            with open(path, "rb") as f:
                out[os.path.relpath(path, folder)] = f.read()
    if not out:
        raise ValueError("there is no message in %s" % folder)
    return out


def received_fields(octets):
    """How many Received: fields a message's header has."""
    head = re.split(rb"\r?\n\r?\n", octets, maxsplit=1)[0]
    return len(re.findall(rb"(?:\A|\n)received[ \t]*:", head, re.I))
