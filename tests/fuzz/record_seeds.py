#!/usr/bin/env python3
"""Writes tests/fuzz/seeds/record/: what fuzz_record begins with, from docs/spool.md alone.

An input is an octet of flags (see fuzz_record.c), a segment's header, and a record's.  With
AS_IT_CAME the fuzzer reads it as it stands here, so this is a writer that shares no code with ours.
"""

import os
import struct

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds", "record")
AS_IT_CAME, MADE_RIGHT = 0x7f, 0
NUMBER, RANDOM = 1764000000123, bytes(range(0xf0, 0x100))
NEVER = 2**32 - 1


def crc32c(octets):
    crc = 2**32 - 1
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 2**32 - 1


def segment(version=1, number=NUMBER, random=RANDOM):
    head = struct.pack("<8sIQ16s", b"RSTNTSEG", version, number, random)
    return head + struct.pack("<I", crc32c(head))


def recipient(mailbox, address, written, day=NEVER, uid=b""):
    return struct.pack("<QIHHB", mailbox, day, len(address), len(written),
                       len(uid)) + address + written + uid


ONE = recipient(1, b"a@x", b"A@X")


def record(path, *recipients, padding=b"", block=1, wire=1003, octets=1000, body=200,
           random=RANDOM, number=NUMBER, n=None, version=1, flags=0, header_len=None):
    envelope = struct.pack("<H", len(path)) + path + b"".join(recipients)
    header_len = header_len or 100 + len(envelope) + len(padding)
    fixed = struct.pack("<8sHHI16sQQQQQQIII", b"RSTNTREC", version, flags, header_len, random,
                        number, block, 1764000000999, wire, octets, body, 0x12345678,
                        len(recipients) if n is None else n, len(envelope))
    fixed += struct.pack("<I", crc32c(envelope + padding))
    return fixed + struct.pack("<I", crc32c(fixed)) + envelope + padding


SEEDS = {
    "one": (AS_IT_CAME, segment(), record(b"s@example.org", ONE)),
    "several": (AS_IT_CAME, segment(), record(
        b"s@example.org", ONE, recipient(2**40, b"", b"", 20500, b"u"),
        recipient(7, b"b@example.test", b'"b"+tag@example.test', 0), block=5)),
    "null_path": (AS_IT_CAME, segment(), record(b"", ONE, padding=bytes(9))),
    "padding": (AS_IT_CAME, segment(), record(b"s@x", ONE, padding=b"\0\0x")),
    "long_uid": (MADE_RIGHT, segment(), record(b"", recipient(1, b"a@x", b"a@x", uid=b"u" * 70))),
    "over_uid": (MADE_RIGHT, segment(), record(b"", recipient(1, b"a@x", b"a@x", uid=b"u" * 71))),
    "nul": (MADE_RIGHT, segment(), record(b"", recipient(1, b"a@x", b"a\0x"))),
    "long_text": (MADE_RIGHT, segment(), record(b"p" * 64, recipient(1, b"a" * 300, b"b" * 257))),
    "beyond_end": (MADE_RIGHT, segment(), record(b"s@x", ONE[:-1])),
    "nobody": (AS_IT_CAME, segment(), record(b"s@x", padding=b"x")),
    "too_many": (AS_IT_CAME, segment(), record(b"s@x", ONE, n=2)),
    "last_block": (AS_IT_CAME, segment(), record(b"s@x", ONE, block=2**21 - 1)),
    "over_block": (AS_IT_CAME, segment(), record(b"s@x", ONE, block=2**21 - 1, wire=4096)),
    "block_0": (AS_IT_CAME, segment(), record(b"s@x", ONE, block=0)),
    "short_wire": (AS_IT_CAME, segment(), record(b"s@x", ONE, wire=3, octets=0, body=0)),
    "long_wire": (AS_IT_CAME, segment(), record(b"s@x", ONE, wire=2**40 + 1)),
    "body": (AS_IT_CAME, segment(), record(b"s@x", ONE, body=1001)),
    "other_random": (AS_IT_CAME, segment(), record(b"s@x", ONE, random=bytes(16))),
    "other_number": (AS_IT_CAME, segment(), record(b"s@x", ONE, number=NUMBER + 1)),
    "version": (AS_IT_CAME, segment(version=2), record(b"s@x", ONE)),
    "record_version": (AS_IT_CAME, segment(), record(b"s@x", ONE, version=2)),
    "record_flags": (AS_IT_CAME, segment(), record(b"s@x", ONE, flags=1)),
    "short_header": (AS_IT_CAME, segment(), record(b"s@x", ONE, header_len=99)),
    "long_header": (AS_IT_CAME, segment(), record(b"s@x", ONE, header_len=2**26 + 1)),
    "most_header": (AS_IT_CAME, segment(), record(b"s@x", ONE, header_len=2**26)),
    "long_envelope": (AS_IT_CAME, segment(), record(b"s@x", ONE, header_len=120)),
    "far_block": (AS_IT_CAME, segment(), record(b"s@x", ONE, block=2**64 - 1)),
    "no_wire": (AS_IT_CAME, segment(), record(b"s@x", ONE, wire=2, octets=0, body=0)),
    "octets": (AS_IT_CAME, segment(), record(b"s@x", ONE, octets=1001)),
    "wrong_sums": (AS_IT_CAME, segment()[:-1] + b"?", record(b"s@x", ONE).replace(b"s@x", b"S@x")),
    "zeros": (AS_IT_CAME, bytes(40), bytes(200)),
    "torn": (AS_IT_CAME, segment(), record(b"s@example.org", ONE)[:110]),
    "no_record": (MADE_RIGHT, segment(), b""),
}

os.makedirs(FOLDER, exist_ok=True)
for name, (flags, head, body) in SEEDS.items():
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(bytes([flags]) + head + body)
