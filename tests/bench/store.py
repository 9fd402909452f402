"""What an administrator waits for: Restante alone, in a spool of its own."""

import os
import time

import meters
from ground import KIB, fill
from servers import Restante

MAILBOXES = 20


def timed(function, *arguments):
    begun = time.monotonic()
    function(*arguments)
    return time.monotonic() - begun


def crash(ground, server):
    """Seconds from kill -9 of both daemons, while mail comes in, until they are ready again."""
    coming = meters.Beside(ground.build, "deliver", port=server.smtp, connections=50,
                           messages=10 ** 6, mailboxes=MAILBOXES)
    time.sleep(0.5)
    took = server.restart_after_crash()
    try:
        coming.result()
    except meters.LoadFailed:
        return took
    raise meters.LoadFailed("the load ended before the crash")


def make_due(spool):
    """Everything is past its age."""
    with Restante.index(spool) as index:
        index.execute("UPDATE entry SET expires_day = 1")
    index.close()


def bad_day(ground, _server, _case, _turn, count):
    """Seconds of a start after a crash; of each thing that looks at all messages, seconds for a
    million of them."""
    server = Restante(ground.build, MAILBOXES)
    site = server.site
    backup = os.path.join(site.folder, "backup")
    out = {}
    try:
        fill(ground, server, 0, MAILBOXES, count // MAILBOXES, 4 * KIB)
        out[""] = crash(ground, server)
        count = ground.load("count", port=server.pop3, mailboxes=MAILBOXES)["messages"]
        out["check"] = timed(site.admin, "check")
        out["check --quick"] = timed(site.admin, "check", "--quick")
        out["backup, the first"] = timed(site.admin, "backup", backup)
        out["backup, of what is new"] = timed(site.admin, "backup", backup)
        for name in list(site.daemons):
            site.stop(name)
        out["reindex"] = timed(site.admin, "reindex")
        make_due(site.spool)
        out["expire, all at once"] = timed(site.admin, "expire")
        server.start()
        left = ground.load("count", port=server.pop3, mailboxes=MAILBOXES)["messages"]
        if left:
            raise meters.LoadFailed("%d of %d messages did not expire" % (left, count))
    finally:
        server.stop()
    return {part + ", for a million" if part else part: seconds * 1e6 / count if part else seconds
            for part, seconds in out.items()}
