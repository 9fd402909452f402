-- Quotas and ages by domain and site; ages from the first retrieval on; deleted mail that an
-- administrator can bring back; what was removed, and why.

-- In domain, NULL is the site's and -1 is none and never; in mailbox NULL is none and never.
-- entry.state: 0 in the mailbox, 1 deleted and kept.

-- In whole days, how long the mailbox's settings keep mail at the least; more than any number
-- of days where they keep it for ever.
ALTER TABLE mailbox ADD COLUMN retention_days INTEGER AS (
	min(coalesce(expire_s, 9223372036854775807),
	    coalesce(expire_retrieved_s, 9223372036854775807)) / 86400) VIRTUAL;
CREATE INDEX mailbox_retention ON mailbox (retention_days);
ALTER TABLE mailbox ADD COLUMN removals INTEGER NOT NULL DEFAULT 0;     -- of entries, so far

-- The limit from the first retrieval on, fixed at delivery; the day that follows from it once
-- there was one.  Both NULL: never.
ALTER TABLE entry ADD COLUMN keep_retrieved_s INTEGER;
ALTER TABLE entry ADD COLUMN retrieved_expires_day INTEGER;
ALTER TABLE entry ADD COLUMN removed_s INTEGER;                         -- with state 1

CREATE INDEX entry_expires ON entry (mailbox, expires_day)
	WHERE state = 0 AND expires_day IS NOT NULL;
CREATE INDEX entry_retrieved_expires ON entry (mailbox, retrieved_expires_day)
	WHERE state = 0 AND retrieved_expires_day IS NOT NULL;
CREATE INDEX entry_kept ON entry (removed_s) WHERE state = 1;
-- UIDs that are no ids: whether other mail has one, asked for each message that is brought back.
CREATE INDEX entry_uid ON entry (uid) WHERE uid IS NOT NULL;
-- Blocks of all entries with state 1.
INSERT INTO meta VALUES ('kept_blocks', 0);

-- The last removals of each mailbox: number n of it is in slot n mod 256.
CREATE TABLE removal (
	mailbox INTEGER NOT NULL,
	slot    INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	removed_s INTEGER NOT NULL,
	cause   INTEGER NOT NULL,               -- 0 pop3, 1 expire, 2 admin
	message INTEGER NOT NULL,
	uid     TEXT,                           -- as in entry
	octets  INTEGER NOT NULL,
	received_ms INTEGER NOT NULL,
	reverse_path TEXT NOT NULL,
	PRIMARY KEY (mailbox, slot)
) WITHOUT ROWID;
