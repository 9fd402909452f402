"""What the cases share in one run: the build, how long to measure, mailboxes and mail."""

import meters
from servers import DOMAIN

KIB, MIB = 1024, 1024 * 1024


class Ground:
    """One for a run."""

    def __init__(self, build, quick, certificate, folder, mailboxes, far=None):
        """`mailboxes` is how many each server has; `folder` is on the disk that they use; `far` is
        another machine for clients, None: there is none."""
        self.build, self.quick, self.folder, self.count = build, quick, folder, mailboxes
        self.far = far
        self.seconds = 1 if quick else 3
        self.certificate = certificate
        self.next_mailbox = 0
        self.given = {}

    def mailboxes(self, case, turn, count):
        """The first of `count` mailboxes: the same for each server, others for each round."""
        if (case, turn) not in self.given:
            self.given[case, turn] = self.next_mailbox
            self.next_mailbox += count
            if self.next_mailbox > self.count:
                raise meters.LoadFailed("the servers have only %d mailboxes" % self.count)
        return self.given[case, turn]

    def recipients(self, case, turn):
        """Mailboxes that take deliveries: the first, how many, and whether POP3 is to count them."""
        return self.mailboxes(case, turn, 10), 10, True

    def load(self, part, **options):
        options.setdefault("patience", 20 if self.quick else 600)
        return meters.load(self.build, part, domain=DOMAIN, **options)


def message(octets):
    """One as the generator sends it, without the final dot."""
    head = (b"From: <load@client.test>\r\nTo: <u@example.test>\r\n"
            b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <load@client.test>\r\n"
            b"Subject: load\r\n\r\n")
    line = b"x" * 76 + b"\r\n"
    body = line * ((octets - len(head)) // len(line) + 1)
    return (head + body)[:octets - 2] + b"\r\n"


def fill(ground, server, first, mailboxes, each, octets, shared=1):
    """`each` messages into each mailbox, by the fastest way that the server has, and seen by
    POP3 in the end.  By SMTP a message goes to `shared` mailboxes, a divisor of the other two."""
    if hasattr(server, "fill"):
        for mailbox in range(first, first + mailboxes):
            server.fill(mailbox, each, message(octets))
    else:
        ground.load("deliver", port=server.smtp, connections=min(50, max(1, each * mailboxes // 4)),
                    each=0, messages=mailboxes * each // shared, recipients=shared, first=first,
                    mailboxes=mailboxes, octets=octets)
    got = ground.load("count", port=server.pop3, first=first, mailboxes=mailboxes)["messages"]
    if got != mailboxes * each:
        raise meters.LoadFailed("POP3 has %d of %d messages put there" % (got, mailboxes * each))
