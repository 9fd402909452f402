-- The index: who there is, and where each message lies.

CREATE TABLE meta (
	key     TEXT PRIMARY KEY,
	value   INTEGER NOT NULL
) WITHOUT ROWID;
-- No segment gets a number that is not above this one.
INSERT INTO meta VALUES ('newest_segment', 0);

CREATE TABLE domain (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	name    TEXT NOT NULL,                  -- as written
	folded  TEXT NOT NULL UNIQUE,
	quota   INTEGER,                        -- octets for new mailboxes; NULL: the site's
	expire_s INTEGER
);

CREATE TABLE mailbox (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,      -- never given twice
	domain  INTEGER NOT NULL REFERENCES domain (id),
	local   TEXT NOT NULL,                  -- unquoted, as written
	folded  TEXT NOT NULL,
	enabled INTEGER NOT NULL DEFAULT 1,
	quota   INTEGER,                        -- octets; NULL: none
	expire_s INTEGER,                       -- NULL: never
	expire_retrieved_s INTEGER,
	used    INTEGER NOT NULL DEFAULT 0,     -- sum of entry.octets
	messages INTEGER NOT NULL DEFAULT 0,    -- count of entries
	warned  INTEGER NOT NULL DEFAULT 0,
	created_s INTEGER NOT NULL,
	last_login_s INTEGER,
	last_delivery_s INTEGER,
	UNIQUE (domain, folded)
);

CREATE TABLE alias (
	id      INTEGER PRIMARY KEY,
	domain  INTEGER NOT NULL REFERENCES domain (id),
	local   TEXT NOT NULL,
	folded  TEXT NOT NULL,                  -- '' is the domain's catch-all
	UNIQUE (domain, folded)
);

CREATE TABLE alias_target (
	alias   INTEGER NOT NULL REFERENCES alias (id),
	mailbox INTEGER REFERENCES mailbox (id),        -- one of the two
	next    INTEGER REFERENCES alias (id),
	UNIQUE (alias, mailbox),
	UNIQUE (alias, next)
);
CREATE INDEX alias_target_mailbox ON alias_target (mailbox) WHERE mailbox IS NOT NULL;
CREATE INDEX alias_target_next ON alias_target (next) WHERE next IS NOT NULL;

-- A message in a mailbox.  `message` is its id: segment << 21 | block.
CREATE TABLE entry (
	mailbox INTEGER NOT NULL,
	message INTEGER NOT NULL,
	received_ms INTEGER NOT NULL,
	octets  INTEGER NOT NULL,               -- as this mailbox counts them
	blocks  INTEGER NOT NULL,               -- of 4 KiB, of the whole record
	expires_day INTEGER,                    -- days since 1970; NULL: never
	retrieved_s INTEGER,                    -- first sent whole by RETR
	state   INTEGER NOT NULL DEFAULT 0,
	uid     TEXT,                           -- that it had elsewhere; NULL: the id
	reverse_path TEXT NOT NULL,
	recipient TEXT NOT NULL,                -- as written
	PRIMARY KEY (mailbox, message)
) WITHOUT ROWID;

-- How many mailboxes hold a message, where that is more than one.
CREATE TABLE holders (
	message INTEGER PRIMARY KEY,
	n       INTEGER NOT NULL
);

CREATE TABLE segment (
	number  INTEGER PRIMARY KEY,
	state   INTEGER NOT NULL,               -- 0 being written, 1 closed, 2 dead
	mark    INTEGER NOT NULL,               -- blocks before this one are indexed
	live    INTEGER NOT NULL                -- messages that somebody holds
);
CREATE INDEX segment_unfinished ON segment (number) WHERE state <> 1;
CREATE INDEX segment_empty ON segment (number) WHERE live = 0;

-- Records that nobody holds any more and whose blocks are still allocated.
CREATE TABLE garbage (
	message INTEGER PRIMARY KEY,
	blocks  INTEGER NOT NULL
);
