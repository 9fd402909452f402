"""What an administrator waits for: Restante alone, in a spool of its own."""

import os
import time

import meters
from ground import KIB, fill
from servers import Restante

MAILBOXES = 20


def timed(server, *arguments):
    """Seconds that pop-admin takes."""
    begun = time.monotonic()
    server.site.admin(*arguments, seconds=3600.0)
    return time.monotonic() - begun


def crash(ground, server, mailboxes=MAILBOXES):
    """Seconds from kill -9 of both daemons, while mail comes in, until they are ready again."""
    coming = meters.Beside(ground.build, "deliver", port=server.smtp, connections=50,
                           messages=10 ** 6, mailboxes=mailboxes)
    time.sleep(0.5)
    took = server.restart_after_crash()
    try:
        coming.result()
    except meters.LoadFailed:
        return took
    raise meters.LoadFailed("the load ended before the crash")


def whole_store(server):
    """Seconds of each thing that looks at all messages and leaves them there, by name."""
    backup = os.path.join(server.site.folder, "backup")
    out = {"check": timed(server, "check"),
           "check --quick": timed(server, "check", "--quick"),
           "backup, the first": timed(server, "backup", backup),
           "backup, of what is new": timed(server, "backup", backup)}
    server.stop_daemons()
    out["reindex"] = timed(server, "reindex")
    server.start()
    return out


def expire(server):
    """Seconds until all that lies there is gone, being past its age."""
    server.stop_daemons()
    with Restante.index(server.site.spool) as index:
        index.execute("UPDATE entry SET expires_day = 1")
    index.close()
    took = timed(server, "expire")
    server.start()
    return took


def bad_day(ground, _server, _case, _turn, count):
    """Seconds of a start after a crash; of each thing that looks at all messages, seconds for a
    million of them."""
    server = Restante(ground.build, MAILBOXES)
    try:
        fill(ground, server, 0, MAILBOXES, count // MAILBOXES, 4 * KIB)
        took = crash(ground, server)
        count = ground.load("count", port=server.pop3, mailboxes=MAILBOXES)["messages"]
        out = whole_store(server)
        out["expire, all at once"] = expire(server)
        left = ground.load("count", port=server.pop3, mailboxes=MAILBOXES)["messages"]
        if left:
            raise meters.LoadFailed("%d of %d messages did not expire" % (left, count))
    finally:
        server.stop()
    return {"": took, **{part + ", for a million": seconds * 1e6 / count
                         for part, seconds in out.items()}}
