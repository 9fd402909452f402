"""The servers that the bench compares, each with mailboxes u0 to uN of one domain.

A server tells where it speaks SMTP, LMTP and POP3 (None: not at all), which processes it is, in
which folder its mail lies, and
    own_pop3   whether the POP3 server is its own or one that stands in another row
    queues     whether a 250 means that the message is in a queue, not yet in the mailbox
    opening    how many connections may wait for their greeting without being lost
    most       POP3 connections at once that the bench asks it for: before login, and after it
What cannot be started is an Absent, with the reason.
"""

import os
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from testsite import PASSWORD, Site, SiteError  # noqa: E402

DOMAIN = "example.test"


class Absent(Exception):
    """Why a server takes no part."""


def hash_of_password(method):
    """As crypt(3) reads it, by openssl's `method`: -1 is MD5, the cheapest that all servers take."""
    return subprocess.run(["openssl", "passwd", method, "-stdin"], input=PASSWORD + "\n", text=True,
                          capture_output=True, check=True).stdout.strip()


class Restante:
    """Our own, out of the build, as the example configuration ships it; quotas are lifted."""

    name = "Restante"
    own_pop3, queues, opening = True, False, 200
    most = (10000, 10000)

    def __init__(self, build, mailboxes, everywhere=False):
        """`everywhere`: POP3 at each of our addresses, also for a client elsewhere."""
        config = {("spool", "quota"): "none"}
        if everywhere:
            config.update({("pop3d", "listen"): "0.0.0.0:0", ("pop3d", "plaintext_auth"): "always"})
        self.site = Site(build, users=["u0@" + DOMAIN], config=config)
        self.folder = self.site.spool
        self._multiply(mailboxes)
        self.start()

    @staticmethod
    def index(spool):
        """A connection to the index, for rows that no daemon is to write."""
        return sqlite3.connect(os.path.join(spool, "index/index.db"), timeout=20)

    def _multiply(self, mailboxes):
        """More mailboxes, and a cheaper hash of the password for all: no row measures a hash, and
        each mailbox's first login checks it."""
        folder = self.site.spool
        with self.index(folder) as index, \
                sqlite3.connect(os.path.join(folder, "secrets/secrets.db")) as secrets:
            first, domain = index.execute("SELECT id, domain FROM mailbox").fetchone()
            hashed = hash_of_password("-1")
            secrets.execute("UPDATE secret SET hash = ?", (hashed,))
            index.executemany("INSERT INTO mailbox (id, domain, local, folded, created_s)"
                              " VALUES (?, ?, ?, ?, 0)",
                              ((first + i, domain, "u%d" % i, "u%d" % i)
                               for i in range(1, mailboxes)))
            secrets.executemany("INSERT INTO secret (mailbox, hash) VALUES (?, ?)",
                                ((first + i, hashed) for i in range(1, mailboxes)))
        index.close()
        secrets.close()

    def under(self, _name):
        """The command under which a daemon is run."""
        return ()

    def start(self):
        for name in ("smtpd", "pop3d"):
            self.site.start(name, under=self.under(name))
        self.smtp = self.site.address("smtp")[1]
        self.lmtp = self.site.address("lmtp")[1]
        self.pop3 = self.site.address("pop3")[1]
        self.certificate = self.site.certificate

    def roots(self):
        return [d.process.pid for d in self.site.daemons.values()]

    def restart_after_crash(self):
        """Seconds from kill -9 of both until both are ready again."""
        for daemon in list(self.site.daemons.values()):
            daemon.kill()
        self.site.daemons.clear()
        begun = time.monotonic()
        self.start()
        return time.monotonic() - begun

    def stop_daemons(self):
        for name in list(self.site.daemons):
            self.site.stop(name)

    def restart(self):
        """In good order: nothing is left in memory of what was done before."""
        self.stop_daemons()
        self.start()

    def log(self):
        return self.site.log()

    def stop(self):
        self.site.__exit__(None, None, None)


__all__ = ["Absent", "DOMAIN", "Restante", "Site", "SiteError", "hash_of_password"]
