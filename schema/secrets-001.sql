-- What proves who somebody is.  smtpd never opens this.

CREATE TABLE secret (
	mailbox INTEGER PRIMARY KEY,            -- the index's id; never given twice
	hash    TEXT NOT NULL,                  -- crypt(5), yescrypt
	recoverable TEXT                        -- for APOP; NULL for most
);
CREATE INDEX secret_recoverable ON secret (mailbox) WHERE recoverable IS NOT NULL;
