"""What must be in each mailbox and what may be, written down beside a load, and compared with what a
login shows.

A name is one message.  In a mailbox it is `there` (acknowledged, or seen by a login), `perhaps` (its
sender or its remover has no answer), `due` (past its age: it may go at any time), or `gone` (removed
and told so, refused, or known to be absent).  Between two awaits nothing moves.
"""

import collections

from wire import WireError


class Box:
    """One mailbox."""

    def __init__(self, address):
        self.address = address
        self.there, self.perhaps, self.due, self.gone = set(), set(), set(), set()
        self.seen = set()        # by any login, ever
        self.aged = set()        # was due at any time, and so may have gone unseen
        self.uids = {}           # UID: name; stays when the message has gone
        self.unanswered = None   # marks of a QUIT that nobody answered

    def before(self):
        """Taken before a login begins."""
        return frozenset(self.there), frozenset(self.gone)

    def look(self, before, listed):
        """`listed` is all of a login, [(uid, name)], each message read whole when it was new."""
        must, never = before
        names = [name for _, name in listed]
        now = set(names)
        doubled = [name for name, n in collections.Counter(names).items() if n > 1]
        lost = [name for name in must & self.there if name not in now]
        back = now & (never | self.gone)
        strange = now - self.there - self.perhaps - self.due - self.gone
        if doubled or lost or back or strange:
            raise WireError("%s: doubled %r, lost %r, came back %r, strange %r" % (
                self.address, doubled[:5], lost[:5], sorted(back)[:5], sorted(strange)[:5]))
        self._same_uids(listed)
        self.seen |= now
        if self.unanswered is not None:
            kept = self.unanswered & now
            if kept and kept != self.unanswered:
                raise WireError("%s: a QUIT removed %d of %d" % (
                    self.address, len(self.unanswered) - len(kept), len(self.unanswered)))
            if not kept:
                self._absent(self.unanswered)
            self.unanswered = None
        self.there |= self.perhaps & now
        self.perhaps -= now
        self._absent(self.due - now)

    def _same_uids(self, listed):
        names = {name: uid for uid, name in self.uids.items()}
        for uid, name in listed:
            if self.uids.setdefault(uid, name) != name:
                raise WireError("%s: UID %s was that of %s, and is that of %s" % (
                    self.address, uid, self.uids[uid], name))
            if names.get(name, uid) != uid:
                raise WireError("%s: %s had UID %s, and has %s" % (
                    self.address, name, names[name], uid))

    def _absent(self, names):
        self.there -= names
        self.perhaps -= names
        self.due -= names
        self.gone |= names

    def may_come(self, names):
        """Somebody is bringing these in; also what was gone, out of a backup."""
        self.gone -= set(names)
        self.perhaps |= set(names)

    def came(self, name):
        """Its bringer was told that it is there.  Others may have removed it since."""
        if name in self.perhaps:
            self.perhaps.discard(name)
            self.there.add(name)

    def refused(self, name):
        if name in self.seen:
            raise WireError("%s: %s was refused, and is there" % (self.address, name))
        self._absent({name})

    def removed(self, names):
        """Whoever removed them was told so."""
        self._absent(set(names))

    def quit_unanswered(self, names):
        if names:
            self.unanswered = frozenset(names)
            self.there -= self.unanswered
            self.perhaps |= self.unanswered

    def age(self):
        """All that is there is past its age now, and what is on its way may be; those that are for
        sure."""
        sure = frozenset(self.there)
        self.due |= self.there | self.perhaps
        self.aged |= self.due
        self.there, self.perhaps = set(), set()
        return sure


class Ledger:
    """All mailboxes, and the deliveries that have no answer."""

    def __init__(self, mailboxes):
        self.boxes = {m: Box(m) for m in mailboxes}
        self.open = []           # (name, recipients)
        self.count = collections.Counter()

    def sending(self, name, recipients):
        for recipient in recipients:
            self.boxes[recipient].may_come([name])

    def acknowledged(self, name, recipients):
        self.count["acknowledged"] += 1
        for recipient in recipients:
            self.boxes[recipient].came(name)

    def refused(self, name, recipients):
        self.count["refused"] += 1
        for recipient in recipients:
            self.boxes[recipient].refused(name)

    def unanswered(self, name, recipients):
        self.count["unanswered"] += 1
        self.open.append((name, frozenset(recipients)))

    def add(self, mailbox):
        self.boxes[mailbox] = Box(mailbox)

    def forget(self, mailbox):
        """It was removed with all its mail."""
        self.boxes.pop(mailbox, None)
        self.open = [(name, to - {mailbox}) for name, to in self.open]

    def settle(self):
        """When the spool is recovered, nothing is under way and each mailbox was looked at: what has
        no answer is in all its mailboxes, or in none and never will be."""
        for name, recipients in self.open:
            seen = [r for r in recipients if name in self.boxes[r].seen]
            unseen = [r for r in recipients if r not in seen and name not in self.boxes[r].aged]
            if seen and unseen:
                raise WireError("%s is in %r, and not in %r" % (name, seen, unseen))
            self.count["unanswered and kept"] += bool(seen)
            if not seen:
                for recipient in recipients:
                    self.boxes[recipient].removed([name])
        self.open = []
