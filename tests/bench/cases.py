"""What is measured.  A case is a name, a unit, whether more is better, which servers can take
part, and a function that measures one server once.

A function gets a Ground and a server and returns one figure, or several by name: {"": main figure,
"CPU": ...}.  Each measurement gets mailboxes that no other has used, so that all servers find the same:
nothing is deleted between rounds, since creating files after mass deletion is slow on some file
systems.
"""

import math
import os
import resource
import statistics
import time

import meters
import store
from ground import KIB, MIB, fill, message
from servers import DOMAIN


class Case:
    """A row of the table, or several: one for each name that `measure` returns.  `who`: "all",
    "pop3" for those that have a POP3 server of their own, "far" for those where there is a client on
    another machine, "smtp" for those that speak SMTP, "ours" for Restante alone."""

    def __init__(self, key, title, unit, measure, more=True, who="all", quick=False, limit=None,
                 **parameters):
        self.key, self.title, self.unit, self.more = key, title, unit, more
        self.measure, self.who, self.quick, self.limit = measure, who, quick, limit
        self.parameters = parameters


# --- 1. delivery -----------------------------------------------------------

def deliver(ground, server, case, turn, octets=4 * KIB, connections=1, recipients=1, each=100,
            tls="none", pipelining=0):
    """Messages a second until POP3 has them, and what they cost."""
    lmtp = server.smtp is None
    first, mailboxes, counted = ground.recipients(case, turn)
    # What is queued is delivered after the time is up: not much is, so that it comes to an end.
    most = (100 if ground.quick else 2000) // recipients if server.queues else 10 ** 6
    meters.empty_page_cache()
    cpu, disk = meters.cpu_seconds(server.roots()), meters.disk(server.folder)
    got = ground.load("deliver", port=server.lmtp if lmtp else server.smtp, lmtp=int(lmtp),
                      pop3=server.pop3 if counted else 0, connections=connections, messages=most,
                      opening=server.opening, seconds=ground.seconds, octets=octets,
                      recipients=recipients, each=each, first=first, mailboxes=mailboxes, tls=tls,
                      pipelining=pipelining)
    os.sync()
    count = got["messages"]
    out = {"": got["stored_per_s" if counted else "accepted_per_s"] * recipients,
           "reply p50, ms": got["reply_p50_ms"], "reply p99, ms": got["reply_p99_ms"],
           "reply worst, ms": got["reply_worst_ms"],
           "CPU ms for each": (meters.cpu_seconds(server.roots()) - cpu) * 1e3 / count / recipients}
    after = meters.disk(server.folder)
    if disk and after:
        out["disk octets for each octet"] = (after[0] - disk[0]) / (count * octets)
        out["flushes for each message"] = (after[1] - disk[1]) / count
    return out


def discarding(ground, connections=1, octets=4 * KIB, each=100):
    """The same dialogue with a server that keeps nothing."""
    server = meters.Background(ground.build, "answer", proto="smtp")
    try:
        return ground.load("deliver", port=int(server.said["port"]), connections=connections,
                           messages=10 ** 7, seconds=ground.seconds, octets=octets,
                           each=each)["accepted_per_s"]
    finally:
        server.close()


def sequential(ground):
    """64 KiB pieces a second, ten to a sync."""
    meters.empty_page_cache()
    return meters.load(ground.build, "sequential", folder=ground.folder,
                       seconds=ground.seconds)["pieces_per_s"]


def lone_client(ground):
    """Messages a second of one client, were there only its six round trips and a sync.
    With 100 messages a connection, greeting, EHLO and QUIT are another three for each hundred."""
    sync = meters.load(ground.build, "sync", folder=ground.folder, seconds=ground.seconds)
    trip = meters.load(ground.build, "roundtrip", seconds=ground.seconds)
    return 1e3 / (4.03 * trip["roundtrip_ms"] + sync["sync_ms"])


# --- 2. retrieval ----------------------------------------------------------

def sessions(ground, server, case, turn, tls="none"):
    """Sessions a second that find no mail."""
    first = ground.mailboxes(case, 0, 100)
    # The passwords become known.
    ground.load("count", port=server.pop3, first=first, mailboxes=100)
    cpu = meters.cpu_seconds(server.roots())
    got = ground.load("fetch", port=server.pop3, connections=20, mailboxes=100, first=first,
                      seconds=ground.seconds, tls=tls)
    return {"": got["sessions_per_s"], "p99, ms": got["session_p99_ms"],
            "CPU ms for each": (meters.cpu_seconds(server.roots()) - cpu) * 1e3 / got["sessions"]}


def bare_sessions(ground):
    server = meters.Background(ground.build, "answer", proto="pop3")
    try:
        return ground.load("fetch", port=int(server.said["port"]), connections=20, mailboxes=100,
                           seconds=ground.seconds)["sessions_per_s"]
    finally:
        server.close()


def retrieve(ground, server, case, turn, octets=10 * KIB, count=100, clients=4, window=1,
             tls="none", cold=False, far=False):
    """MB a second of RETR, again and again; cold: once, with nothing in the page cache; far: by a
    client on another machine."""
    first = ground.mailboxes("retr %d %d" % (octets, clients), 0, clients)
    if (server.name, octets, clients) not in ground.given:
        fill(ground, server, first, clients, count, octets)
        ground.given[server.name, octets, clients] = True
    options = {"sessions": clients} if cold else {"endless": 1, "seconds": ground.seconds,
                                                  "sessions": 0}
    if cold:
        meters.forget_pages(server.folder)
    if far:
        options.update(host=ground.far.host, under=ground.far.under)
    read = meters.disk_read(server.folder)
    out = {"": ground.load("fetch", port=server.pop3, connections=clients, mailboxes=clients,
                           first=first, retr=count, window=window, tls=tls, **options)["mb_per_s"]}
    if cold and read is not None:
        out["MB read from the disk"] = (meters.disk_read(server.folder) - read) / 1e6
    return out


def by_sendfile(ground, **options):
    return meters.load(ground.build, "sendfile", folder=ground.folder, seconds=ground.seconds,
                       **options)["mb_per_s"]


def by_sendfile_far(ground):
    return by_sendfile(ground, address=ground.far.host, namespace=ground.far.namespace)


def by_tls(ground):
    certificate, key = ground.certificate
    return meters.load(ground.build, "tls", certificate=certificate, key=key,
                       seconds=ground.seconds)["mb_per_s"]


def listing(ground, server, case, turn, count=1000):
    """Milliseconds for login, STAT and UIDL: the first session after the mail came, and the median
    of those after it."""
    first = ground.mailboxes(case, turn, 1)
    # The password is known; the mail came after that.
    ground.load("count", port=server.pop3, first=first, mailboxes=1)
    if hasattr(server, "fill"):
        server.fill(first, count, message(KIB))
    else:
        fill(ground, server, first, 1, count, KIB)
    options = {"port": server.pop3, "first": first, "stat": 1}
    begun = ground.load("fetch", uidl=1, sessions=1, **options)
    if begun["listed"] != count:
        raise meters.LoadFailed("UIDL lists %d of %d" % (begun["listed"], count))
    got = ground.load("fetch", uidl=1, list=1, sessions=5, **options)
    return {"": got["login_p50_ms"] + got["stat_p50_ms"] + got["uidl_p50_ms"],
            "first session": begun["login_p50_ms"] + begun["stat_p50_ms"] + begun["uidl_p50_ms"],
            "LIST alone": got["list_p50_ms"]}


def deleting(ground, server, case, turn, count=1000):
    """Milliseconds for DELE of all, pipelined, and QUIT."""
    first = ground.mailboxes(case, turn, 1)
    fill(ground, server, first, 1, count, KIB)
    return delete_all(ground, server, first, count)


def delete_all(ground, server, first, count):
    """The same of a mailbox that has them already."""
    got = ground.load("fetch", port=server.pop3, first=first, sessions=1, dele=count, window=100)
    took = got["dele_p50_ms"] + got["quit_p50_ms"]
    # Some answer QUIT before the mail is gone: what they still do belongs to it.
    begun = time.monotonic()
    later = 0
    while True:
        looked = time.monotonic() - begun
        left = ground.load("count", port=server.pop3, first=first, mailboxes=1)["messages"]
        if left == 0:
            break
        later = looked * 1e3
        if got["deleted"] != count or looked > 60:
            raise meters.LoadFailed("%d of %d deleted, %d left" % (got["deleted"], count, left))
    return {"": took + later, "QUIT alone": got["quit_p50_ms"] + later}


# --- 3. both ---------------------------------------------------------------

def beside_sessions(ground, server, first, mailboxes, seconds, rate):
    """Delivery's reply times alone, with POP3 on the same mailboxes, and with the same processor
    time burnt beside it, right after one another; and what the sessions did."""
    lmtp = server.smtp is None
    probe = {"port": server.lmtp if lmtp else server.smtp, "lmtp": int(lmtp), "connections": 10,
             "each": 0, "messages": 10 ** 6, "seconds": seconds, "rate": 100, "first": first,
             "mailboxes": mailboxes, "opening": server.opening}
    alone = ground.load("deliver", **probe)
    cpu, begun = meters.cpu_seconds(server.roots()), time.monotonic()
    fetching = meters.Beside(ground.build, "fetch", port=server.pop3, connections=50, rate=rate,
                             seconds=seconds, first=first, mailboxes=mailboxes, domain=DOMAIN,
                             retr=10, dele=10)
    busy = ground.load("deliver", **probe)
    fetched = fetching.result()
    burnt = meters.cpu_seconds(server.roots()) - cpu + fetching.cpu
    share = burnt / (time.monotonic() - begun) / os.cpu_count() * 100
    burning = meters.Beside(ground.build, "burn", threads=os.cpu_count(),
                            percent=max(1, min(100, round(share))), seconds=seconds)
    control = ground.load("deliver", **probe)
    burning.result()
    return alone, busy, control, fetched


def delivery_beside_sessions(ground, server, case, turn, rate=200, mailboxes=200):
    """The medians of several turns: a disk that stands still for a moment, as those of virtual
    machines do, meets one of the three in one of them."""
    seconds, turns = (2, 1) if ground.quick else (3, 5)
    first = ground.mailboxes(case, turn, mailboxes)
    # Before the mail comes, not behind it: what has just come is still in memory when it is fetched, and
    # thousands of reads a second from the disk would be all that the deliveries wait for.
    meters.empty_page_cache()
    fill(ground, server, first, mailboxes, 10 * seconds * turns * rate // mailboxes, 4 * KIB)
    os.sync()
    alone, busy, control, fetched = zip(*(
        beside_sessions(ground, server, first, mailboxes, seconds, rate) for _ in range(turns)))
    p99, p99_alone, p99_burnt = (statistics.median(run["reply_p99_ms"] for run in runs)
                                 for runs in (busy, alone, control))
    return {"": p99, "p50, ms": statistics.median(run["reply_p50_ms"] for run in busy),
            "worst, ms": max(run["reply_worst_ms"] for run in busy),
            "p99 alone, ms": p99_alone, "p99 with the time burnt, ms": p99_burnt,
            "against alone": p99 / p99_alone, "against the time burnt": p99 / p99_burnt,
            "sessions a second": statistics.median(run["sessions_per_s"] for run in fetched),
            "messages fetched and deleted a second": statistics.median(
                run["deleted"] / run["seconds"] for run in fetched)}


# --- 4. idle ---------------------------------------------------------------

def idle(ground, server, case, turn, count=10000, login=False, tls="none", messages=100):
    """KiB of memory for each open connection, of as many as the server and the descriptors allow."""
    count = min(count, server.most[login], resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200)
    first = 0
    if login:
        first = ground.mailboxes("idle %d" % count, 0, count)
        if (server.name, "idle", count) not in ground.given:
            fill(ground, server, first, count, messages, KIB, shared=math.gcd(count, messages))
            ground.given[server.name, "idle", count] = True
    return {"": held_octets(ground, server, count, first, login, tls) / count / 1024,
            "connections": count}


def held_octets(ground, server, count, first, login, tls="none", warm=None):
    """What so many open connections take, each of a mailbox of its own; `warm` is the one of the
    session before."""
    # Memory that earlier connections had would be taken for nothing; what the first of all needs is
    # no connection's.
    server.restart()
    ground.load("count", port=server.pop3, first=first if warm is None else warm, mailboxes=1)
    before = meters.pss_octets(server.roots())
    held = meters.Background(ground.build, "idle", port=server.pop3, connections=count,
                             mailboxes=count, first=first, stat=int(login), tls=tls, domain=DOMAIN)
    try:
        time.sleep(0.5)
        return meters.pss_octets(server.roots()) - before
    finally:
        held.close()


def table(quick):
    """The cases of a run, in order."""
    yield from delivery_cases(quick)
    yield from retrieval_cases(quick)
    yield Case("both", "delivery's p99 with 200 POP3 sessions a second, each 10 RETR and 10 DELE",
               "ms", delivery_beside_sessions, more=False, quick=True, who="pop3")
    count = 2000 if quick else 100000
    yield Case("store", "start after kill -9 under load, %s messages of 4 KiB" % format(count, ","),
               "s", store.bad_day, more=False, who="ours", quick=True, count=count)
    for tls, words in (("none", "plain"), ("start", "TLS")):
        yield Case("idle before " + words, "an idle POP3 connection before login, " + words, "KiB",
                   idle, more=False, quick=tls == "none", who="pop3", tls=tls,
                   count=500 if quick else 10000)
        # With a hundred sessions, which are as many as a quick run could fill mailboxes for, it is what
        # threads and their first use of libraries take.
        yield Case("idle after " + words, "the same after login, 100 messages, " + words, "KiB",
                   idle, more=False, who="pop3", tls=tls, login=True)


def delivery_cases(quick):
    for octets, words in ((4 * KIB, "4 KiB"), (64 * KIB, "64 KiB"), (5 * MIB, "5 MiB")):
        for connections in (1, 10, 100, 1000):
            limit = None
            if octets == 5 * MIB and connections > 10:
                continue
            if (octets, connections) == (4 * KIB, 1):
                limit = ("4 round trips + an fdatasync", lone_client)
            elif octets == 4 * KIB:
                limit = ("discarding server", lambda g, c=connections: discarding(g, c))
            elif (octets, connections) == (64 * KIB, 10):
                limit = ("sequential writing", sequential)
            yield Case("deliver %s %d" % (words, connections),
                       "delivery, %s, %d connection%s" % (words, connections,
                                                          "s" if connections > 1 else ""),
                       "a second", deliver, limit=limit, octets=octets, connections=connections,
                       quick=(octets, connections) in ((4 * KIB, 1), (4 * KIB, 100),
                                                       (64 * KIB, 10)))
    yield Case("deliver short", "delivery, 4 KiB, 100 connections, 1 message a connection",
               "a second", deliver, connections=100, each=1,
               limit=("discarding server", lambda g: discarding(g, 100, each=1)))
    yield Case("deliver pipelined", "delivery, 4 KiB, 100 connections, pipelined", "a second",
               deliver, connections=100, pipelining=1)
    for octets, connections, words in ((4 * KIB, 100, "4 KiB"), (64 * KIB, 10, "64 KiB"),
                                       (5 * MIB, 1, "5 MiB")):
        yield Case("deliver TLS " + words, "delivery, %s, %d connection%s, STARTTLS" % (
            words, connections, "s" if connections > 1 else ""), "a second", deliver,
                   octets=octets, connections=connections, tls="start", who="smtp")
    for connections in (10, 100):
        yield Case("deliver to 10, %d" % connections,
                   "deliveries, 4 KiB, 10 recipients, %d connections" % connections, "a second",
                   deliver, connections=connections, recipients=10, quick=connections == 10)


def retrieval_cases(quick):
    own = "pop3"
    yield Case("sessions", "sessions without mail, password known", "a second", sessions, who=own,
               quick=True, limit=("bare connects, same dialogue", bare_sessions))
    yield Case("sessions TLS", "the same with STLS", "a second", sessions, who=own, tls="start")
    yield Case("retr small", "RETR, 10 KiB, 4 clients", "MB/s", retrieve, who=own, quick=True)
    yield Case("retr small pipelined", "RETR, 10 KiB, 4 clients, pipelined", "MB/s", retrieve,
               who=own, quick=True, window=32)
    yield Case("retr small TLS", "RETR, 10 KiB, 4 clients, TLS", "MB/s", retrieve, who=own,
               tls="start")
    yield Case("retr small cold", "RETR, 10 KiB, 4 clients, nothing in the page cache", "MB/s",
               retrieve, who=own, cold=True)
    large = {"octets": 10 * MIB, "count": 4, "clients": 1}
    yield Case("retr large", "RETR, 10 MiB, 1 client", "MB/s", retrieve, who=own, quick=True,
               limit=("sendfile over loopback", by_sendfile), **large)
    yield Case("retr large far", "RETR, 10 MiB, 1 client in another network namespace", "MB/s",
               retrieve, who="far", far=True, limit=("sendfile to there", by_sendfile_far), **large)
    yield Case("retr large TLS", "RETR, 10 MiB, 1 client, TLS", "MB/s", retrieve, who=own,
               quick=True, tls="start", limit=("bare SSL_write over loopback", by_tls), **large)
    yield Case("retr large cold", "RETR, 10 MiB, 1 client, nothing in the page cache", "MB/s",
               retrieve, who=own, cold=True, **large)
    for count in (1000, 10000, 100000):
        yield Case("uidl %d" % count, "login, STAT and UIDL of %s" % format(count, ","), "ms",
                   listing, more=False, who=own, quick=count == 1000, count=count)
    for count in (1000, 10000, 50000):
        yield Case("dele %d" % count, "DELE of %s, pipelined, and QUIT" % format(count, ","), "ms",
                   deleting, more=False, who=own if count <= 10000 else "ours",
                   quick=count == 1000, count=count)
