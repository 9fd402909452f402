-- Mail that is set apart, and mailboxes that came back from the segments alone.

-- entry.state: 2 is set apart.  Its record is damaged or gone; POP3 does not show it and the quota
-- does not count it.  removed_s stays as it was: not NULL where it had been deleted and kept.
CREATE INDEX entry_apart ON entry (mailbox, message) WHERE state = 2;

-- 1: was made anew from the segments, and is disabled until it gets a password.
ALTER TABLE mailbox ADD COLUMN recovered INTEGER NOT NULL DEFAULT 0;
