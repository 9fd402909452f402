"""Many clients in one process: SMTP and POP3 over asyncio, and messages that prove themselves.

A message of `sealed()` carries its own name, and the hash of what follows: whoever finds it can say
whether it is whole, and which one it is.
"""

import asyncio
import hashlib
import random
import re
import ssl

from wire import WireError, stuffed, unstuffed

SEAL = re.compile(rb"X-Name: ([!-~]+)\r\nX-Hash: ([0-9a-f]{64})\r\n\r\n")


def sealed(name, size, seed):
    """A message called `name` with a body of `size` octets, all values among them but in CRLF
    lines."""
    body = random.Random(seed).randbytes(size).replace(b"\r", b"\n").replace(b"\n", b"\r\n.")
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    return b"X-Name: %s\r\nX-Hash: %s\r\n\r\n%s" % (
        name.encode(), hashlib.sha256(body).hexdigest().encode(), body)


def unsealed(message):
    """The name in a fetched message, when it is whole; trace fields stand before it."""
    match = SEAL.search(message)
    if not match:
        raise WireError("no seal in a message: %r" % message[:300])
    if hashlib.sha256(message[match.end():]).hexdigest().encode() != match.group(2):
        raise WireError("message %r is not whole" % match.group(1))
    return match.group(1).decode()


class Gone(WireError):
    """The peer closed where something was due."""


class PutOff(WireError):
    """-ERR [SYS/TEMP]."""


# How a connection looks whose peer died, closed or cut it.  A peer that hangs is none of these.
GONE = (ConnectionError, ssl.SSLError, Gone)


class Async:
    """A connection."""

    # Whether the peer has spoken and nothing but its last word may follow.
    greeted = False

    def __init__(self, reader, writer, patience):
        self.reader, self.writer, self.patience = reader, writer, patience

    @classmethod
    async def open(cls, address, patience, tls=None, source=None):
        """`source` is the address of our own to connect from."""
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(*address, ssl=tls, limit=1 << 22,
                                    local_addr=(source, 0) if source else None,
                                    server_hostname="mail.example.test" if tls else None),
            patience)
        return cls(reader, writer, patience)

    async def starttls(self, context):
        await asyncio.wait_for(self.writer.start_tls(context, server_hostname="mail.example.test"),
                               self.patience)

    async def send(self, octets):
        """A peer that is gone is found by who reads: its last words may be there."""
        self.writer.write(octets)
        try:
            await asyncio.wait_for(self.writer.drain(), self.patience)
        except ConnectionError:
            pass

    async def line(self):
        line = await asyncio.wait_for(self.reader.readline(), self.patience)
        if not line.endswith(b"\r\n"):
            raise Gone("closed in the middle of a line: %r" % line[:100])
        return line[:-2]

    async def reply(self):
        while True:
            line = await self.line()
            if line[3:4] != b"-":
                return int(line[:3]), line[4:]

    async def want(self, command, code):
        await self.send(command + b"\r\n")
        got, text = await self.reply()
        if got != code:
            raise WireError("%r was answered %d %r" % (command[:60], got, text))

    async def ok(self, command=None):
        if command is not None:
            await self.send(command + b"\r\n")
        line = await self.line()
        if line.startswith(b"-ERR [SYS/TEMP]"):
            raise PutOff("%r was answered %r" % (command, line))
        if not line.startswith(b"+OK"):
            raise WireError("%r was answered %r" % (command, line))
        return line[4:]

    async def multi(self, command):
        """A multi-line response, unstuffed."""
        await self.send(command + b"\r\n")
        try:
            if await asyncio.wait_for(self.reader.readexactly(3), self.patience) != b"+OK":
                line = await self.line()
                raise (PutOff if line.startswith(b"R [SYS/TEMP]") else WireError)(
                    "%r was answered -ER%s" % (command, line.decode("ascii", "replace")))
            whole = await asyncio.wait_for(self.reader.readuntil(b"\r\n.\r\n"), self.patience)
        except asyncio.IncompleteReadError as error:
            raise Gone("closed before the final dot: %r" % error.partial[-100:]) from None
        return unstuffed(whole[whole.index(b"\r\n") + 2:-3])

    async def submit(self, sender, recipients, octets):
        """One transaction, its size declared: without it each recipient's quota must have room for
        the largest message."""
        await self.want(b"MAIL FROM:<%s> SIZE=%d" % (sender, len(octets)), 250)
        for recipient in recipients:
            await self.want(b"RCPT TO:<%s>" % recipient.encode(), 250)
        await self.want(b"DATA", 354)
        await self.send(stuffed(octets))
        code, text = await self.reply()
        if code != 250:
            raise WireError("the message was answered %d %r" % (code, text))

    async def login(self, user, password):
        await self.ok(b"USER " + user.encode())
        await self.ok(b"PASS " + password.encode())

    def close(self):
        self.writer.close()

    def vanish(self):
        """Closes with RST, as a client that lost its network is seen in the end."""
        self.writer.transport.abort()
