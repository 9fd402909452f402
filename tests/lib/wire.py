"""One connection to a mail server, and what a message looks like when it comes back.

Nothing here uses a mail library: what the tests compare with is computed apart from any
client and apart from our C.
"""

import re
import socket
import ssl
import time


class WireError(Exception):
    """The peer did something else than it should."""


class Wire:
    """A connection that hands out lines and octets; plain, or TLS from any point on."""

    def __init__(self, address, timeout=20.0, source=None):
        """`address` is (host, port) or the path of a Unix socket."""
        self.timeout = timeout
        self.buffer = b""
        self.gone = False
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            self.sock.connect(address)
        else:
            origin = (source, 0) if source else None
            self.sock = socket.create_connection(address, timeout, source_address=origin)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def tls(self, context):
        """Hands the connection over to TLS.  What came in the clear after the reply is an
        error: a server must say nothing before the handshake."""
        if self.buffer:
            raise WireError("octets before the handshake: %r" % self.buffer[:80])
        self.sock = context.wrap_socket(self.sock, server_hostname="mail.example.test",
                                        suppress_ragged_eofs=False)

    def send(self, octets):
        self.sock.sendall(octets)

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise WireError("nothing more came in %.1f s" % self.timeout)
        self.sock.settimeout(left)
        try:
            more = self.sock.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            raise WireError("nothing more came in %.1f s" % self.timeout) from None
        finally:
            self.sock.settimeout(self.timeout)
        if not more:
            self.gone = True
        self.buffer += more
        return bool(more)

    def line(self):
        """The next line without its CRLF.  A bare LF does not end it."""
        deadline = time.monotonic() + self.timeout
        seen = 0
        while True:
            end = self.buffer.find(b"\r\n", seen)
            if end >= 0:
                text, self.buffer = self.buffer[:end], self.buffer[end + 2:]
                return text
            seen = max(0, len(self.buffer) - 1)
            if not self._fill(deadline):
                raise WireError("closed in the middle of a line: %r" % self.buffer[:200])

    def octets(self, count):
        """The next `count` octets."""
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < count:
            if not self._fill(deadline):
                raise WireError("closed after %d of %d octets" % (len(self.buffer), count))
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        return out

    def until_dot(self):
        """A multi-line response up to CRLF.CRLF, which is not returned, as it came: stuffed.
        The status line must have been read."""
        deadline = time.monotonic() + self.timeout
        chunks = [b"\r\n" + self.buffer]
        self.buffer = b""
        tail = chunks[0]
        while True:
            end = tail.find(b"\r\n.\r\n")
            if end >= 0:
                break
            if not self._fill(deadline):
                raise WireError("closed before the final dot")
            deadline = time.monotonic() + self.timeout
            keep = tail[-4:]
            fresh, self.buffer = self.buffer, b""
            chunks.append(fresh)
            tail = keep + fresh
        whole = b"".join(chunks)
        end = len(whole) - len(tail) + end
        self.buffer = whole[end + 5:]
        return whole[2:end + 2]

    def eof(self):
        """True when the peer has closed and nothing more came."""
        deadline = time.monotonic() + self.timeout
        try:
            while not self.gone and self._fill(deadline):
                pass
        except ConnectionResetError:
            self.gone = True
        if self.buffer:
            raise WireError("octets before the end: %r" % self.buffer[:200])
        return True

    def quiet(self, seconds):
        """True when nothing comes for so long."""
        if self.buffer:
            raise WireError("octets where silence was due: %r" % self.buffer[:200])
        self.sock.settimeout(seconds)
        try:
            more = self.sock.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        finally:
            self.sock.settimeout(self.timeout)
        raise WireError("octets where silence was due: %r" % more[:200])

    def close(self):
        self.sock.close()

    # --- the two protocols, as far as every test needs them ---

    def reply(self):
        """An SMTP reply: its code and its lines."""
        lines = []
        while True:
            text = self.line()
            if not re.match(rb"[2-5][0-9][0-9][ -]", text):
                raise WireError("not a reply: %r" % text[:200])
            lines.append(text[4:])
            if text[3:4] == b" ":
                return int(text[:3]), lines

    def ask(self, command):
        self.send(command + b"\r\n")
        return self.reply()

    def want(self, command, code):
        got, lines = self.ask(command)
        if got != code:
            raise WireError("%r was answered %d %r" % (command[:80], got, lines))
        return lines

    def ok(self, command=None):
        """Sends a POP3 command and wants +OK; the text behind it."""
        if command is not None:
            self.send(command + b"\r\n")
        text = self.line()
        if text != b"+OK" and not text.startswith(b"+OK "):
            raise WireError("%r was answered %r" % (command, text[:200]))
        return text[4:]

    def listing(self, command):
        """The lines of a multi-line POP3 response."""
        self.ok(command)
        lines = []
        while True:
            text = self.line()
            if text == b".":
                return lines
            lines.append(text)

    def login(self, user, password):
        self.ok(b"USER " + user.encode())
        return self.ok(b"PASS " + password.encode())

    def retrieve(self, number):
        """A message as RETR gives it, unstuffed."""
        self.ok(b"RETR %d" % number)
        return unstuffed(self.until_dot())


def stuffed(octets):
    """What follows DATA's 354 for these octets, the final dot included.  Only CRLF ends a
    line, so only a dot behind CRLF (or at the very start) is doubled."""
    out = octets.replace(b"\r\n.", b"\r\n..")
    if out.startswith(b"."):
        out = b"." + out
    if out and not out.endswith(b"\r\n"):
        out += b"\r\n"
    return out + b".\r\n"


def unstuffed(wire):
    """Takes the doubled dots out of what until_dot() returned."""
    out = wire.replace(b"\r\n.", b"\r\n")
    return out[1:] if out.startswith(b".") else out


def stored(octets, by="data"):
    """What a message must be when it is fetched: each bare LF is CRLF now, and it ends in
    CRLF.  No message at all stays none.  By DATA it is the sender who ends it in CRLF, also
    behind a bare LF, since the final dot needs one in front; by BDAT nobody does."""
    if by == "data" and octets and not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    out = re.sub(rb"(?<!\r)\n", b"\r\n", octets)
    if out and not out.endswith(b"\r\n"):
        out += b"\r\n"
    return out


RECEIVED = re.compile(
    rb"\AReturn-Path: <([^\r\n]*)>\r\nDelivered-To: ([^\r\n]*)\r\n"
    rb"(Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)")


def without_trace(message):
    """Parts a fetched message: (reverse-path, delivered-to, Received field, the rest)."""
    match = RECEIVED.match(message)
    if not match:
        raise WireError("no trace fields at the top: %r" % message[:300])
    # The message's own first line may begin with a blank and would look like a
    # continuation: the date ends the field that smtpd wrote.
    field = match.group(3)
    end = re.search(rb"; [A-Z][a-z][a-z], +[0-9]+ [A-Z][a-z][a-z] [0-9]{4} "
                    rb"[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}\r\n", field)
    if not end:
        # The date stands on a continuation line of its own.
        end = re.search(rb";\r\n[ \t]+[A-Z][a-z][a-z], +[0-9]+ [A-Z][a-z][a-z] [0-9]{4} "
                        rb"[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}\r\n", field)
    if not end:
        raise WireError("no date ends the Received field: %r" % field)
    start = match.start(3) + end.end()
    return match.group(1), match.group(2), message[match.start(3):start], message[start:]


def submit(address, sender, recipients, octets, by="data", hello=b"client.example", chunk=None):
    """Sends one message on a connection of its own; the text of the 250."""
    wire = Wire(address, timeout=120)
    try:
        wire.reply()
        wire.want(b"EHLO " + hello, 250)
        text = transact(wire, sender, recipients, octets, by, chunk)
        wire.want(b"QUIT", 221)
        return text
    finally:
        wire.close()


def transact(wire, sender, recipients, octets, by="data", chunk=None):
    """One transaction on an open connection, by DATA or BDAT."""
    wire.want(b"MAIL FROM:<%s>" % sender, 250)
    for recipient in recipients:
        wire.want(b"RCPT TO:<%s>" % recipient, 250)
    if by == "data":
        wire.want(b"DATA", 354)
        wire.send(stuffed(octets))
        code, lines = wire.reply()
    else:
        size = chunk or max(1, len(octets))
        parts = [octets[i:i + size] for i in range(0, len(octets), size)] or [b""]
        for part in parts[:-1]:
            wire.send(b"BDAT %d\r\n" % len(part) + part)
            code, lines = wire.reply()
            if code != 250:
                raise WireError("BDAT was answered %d %r" % (code, lines))
        wire.send(b"BDAT %d LAST\r\n" % len(parts[-1]) + parts[-1])
        code, lines = wire.reply()
    if code != 250:
        raise WireError("the message was answered %d %r" % (code, lines))
    return lines[-1]
