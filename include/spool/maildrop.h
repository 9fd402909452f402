/*
 * maildrop - a mailbox as one POP3 session sees it: its lock, and its messages as they
 * were at login (RFC 1939 4).
 *
 * The lock is an OFD lock of the kernel's, so it dies with the process, and is known
 * inside the process, where a description would be granted it twice.  Delivery takes no
 * part in it.
 *
 * The list is copied out of the index: no read transaction stays open.  Messages are
 * numbered from 0 here, in order of (time received, id); POP3's numbers are one more.
 * The list never changes while the maildrop is open; marks are in it alone until
 * maildrop_update().
 *
 * Thread: one at a time; maildrop_lock(), maildrop_close() and the const functions never
 * block, the others belong into a job where they say so.
 */
#ifndef SPOOL_MAILDROP_H
#define SPOOL_MAILDROP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/account.h"
#include "spool/spool.h"

/* RFC 1939 7: 1 to 70 characters of 0x21 to 0x7E. */
#define MAILDROP_UID_MAX 70

struct maildrop;

/* Takes the lock and nothing else.  SPOOL_BUSY when a session, expiry or an administrator
 * has it; SPOOL_NOT_READY.  `who` names the holder for others ("203.0.113.9"); copied. */
enum spool_status maildrop_lock(struct spool *, uint64_t mailbox, const char *who,
    struct maildrop **md_r);
/* Takes no lock: for looking only, never for maildrop_update().  A message may be gone by
 * the time that it is opened, and by the time that it has been read. */
enum spool_status maildrop_view(struct spool *, uint64_t mailbox, struct maildrop **md_r);
/* Reads the list, once.  Blocks.  SPOOL_NO_MAILBOX when it was removed meanwhile,
 * SPOOL_IO also when the index is damaged.  A failure is never to be shown as an
 * empty maildrop. */
enum spool_status maildrop_load(struct maildrop *);
/* Gives the lock back; NULL is harmless. */
void maildrop_close(struct maildrop **);

size_t maildrop_count(const struct maildrop *);
/* Octets as RETR sends them, unstuffed (RFC 1939 11). */
uint64_t maildrop_octets(const struct maildrop *, size_t i);
/* Writes the unique-id; returns its length. */
size_t maildrop_uid(const struct maildrop *, size_t i, char uid[MAILDROP_UID_MAX + 1]);

bool maildrop_marked(const struct maildrop *, size_t i);
void maildrop_mark(struct maildrop *, size_t i);
void maildrop_unmark_all(struct maildrop *);
/* Of the messages that are not marked. */
size_t maildrop_live_count(const struct maildrop *);
uint64_t maildrop_live_octets(const struct maildrop *);

/* RETR has sent message `i` whole.  In memory alone, until maildrop_update() or maildrop_note(). */
void maildrop_note_retrieved(struct maildrop *, size_t i);
/* Some message is marked, or was retrieved and may not stay behind (RFC 2449 6.7, EXPIRE 0). */
bool maildrop_has_leaving(const struct maildrop *);
/* It will never be known whether what was retrieved has arrived: what may not stay behind stays all
 * the same, as if it had not been retrieved.  What is marked goes. */
void maildrop_spare_retrieved(struct maildrop *);
/* Some message was retrieved for the first time, and may stay. */
bool maildrop_has_unnoted(const struct maildrop *);

/* QUIT.  In one transaction, all or none: removes what is marked; removes what was retrieved
 * in this session and may not stay behind; notes first retrievals of the rest, from which
 * their limit follows.  When it removes something, that is on disk when this returns
 * SPOOL_OK, and after any other outcome but SPOOL_UNKNOWN nothing is removed or noted.
 * Without anything to do it writes nothing.  Blocks.  The lock is still held afterwards. */
enum spool_status maildrop_update(struct maildrop *);
/* How many messages it removed. */
size_t maildrop_removed(const struct maildrop *);
/* Any other end: notes first retrievals as above, whatever is marked, and removes nothing.  Not
 * synced; a failure is logged.  Blocks.  The lock is still held afterwards. */
enum spool_status maildrop_note(struct maildrop *);

/* Of a loaded maildrop: for how many whole days from its arrival or its first retrieval each
 * message is sure to stay, those that are there and those that come under the settings as they
 * were; NUM_UNLIMITED: for ever (RFC 2449 6.7). */
uint64_t maildrop_retention_days(const struct maildrop *);

/*
 * A message opened for reading.  What is sent is `prefix`, then `wire_len` octets of
 * `fd` from `wire_offset`, which end in CRLF.CRLF.  It may outlive the maildrop, not the
 * spool.
 */
struct maildrop_message {
	int fd;                         /* borrowed from the spool's cache */
	uint64_t wire_offset;           /* in the file */
	uint64_t wire_len;              /* with the final ".CRLF" */
	uint64_t header_len;            /* wire octets up to and with the empty line, or all of
					   them but the final ".CRLF" when there is no body */
	char *prefix;                   /* owned: Return-Path: and Delivered-To: */
	size_t prefix_len;
};

/* Verifies the record's header and takes the envelope out of it.  With `may_block`
 * false it returns SPOOL_WOULD_BLOCK rather than wait for the disk.  SPOOL_DAMAGED
 * when the record is not what the list says. */
enum spool_status maildrop_open_message(struct maildrop *, size_t i, bool may_block,
    struct maildrop_message **m_r);
/* How many wire octets TOP with `lines` lines of the body sends (RFC 1939 7), without
 * the final ".CRLF"; the whole message when it has fewer lines.  Blocks.  SPOOL_IO,
 * SPOOL_DAMAGED. */
enum spool_status maildrop_top(const struct maildrop_message *, uint64_t lines,
    uint64_t *wire_len_r);
/* Reads wire octets into the message's checksum, from where the last call ended up to `end`; what
 * was read is in the page cache and, unless that is NULL, in `octets`, which has room for it.
 * SPOOL_WOULD_BLOCK rather than wait for the disk, with `may_block`
 * false: what was read counts.  SPOOL_DAMAGED once `end` is the end of the message and the checksum
 * is wrong: whoever has not sent it all by then never does. */
enum spool_status maildrop_check_to(
    struct maildrop_message *, uint64_t end, bool may_block, unsigned char *octets);
/* Sets message `i` apart, whose record is damaged: from the next login on it is neither listed nor
 * counted.  Not synced.  Nothing is done where its whole segment is missing.  Blocks. */
enum spool_status maildrop_set_apart(struct maildrop *, size_t i);
/* Reads the whole message against its checksum.  Blocks.  SPOOL_IO, SPOOL_DAMAGED. */
enum spool_status maildrop_verify(const struct maildrop_message *);
/* True when sending wire octets [from, from + len) will not wait for the disk, as far
 * as that can be known without reading them.  Never blocks. */
bool maildrop_resident(const struct maildrop_message *, uint64_t from, uint64_t len);
/* Brings wire octets into the page cache.  Blocks.  What cannot be read is passed
 * over: sending it will tell. */
void maildrop_read_ahead(const struct maildrop_message *, uint64_t from, uint64_t len);
void maildrop_close_message(struct maildrop_message **);

/* --- pop-admin's view: no lock, the index as it is --- */

struct maildrop_entry {
	char uid[MAILDROP_UID_MAX + 1];
	uint64_t octets;
	uint64_t received_ms;
	uint64_t retrieved_s;           /* first sent whole by RETR; Unix time; 0: never */
	uint64_t expires_s;             /* Unix time, by either age; NUM_UNLIMITED: never */
	const char *from;               /* reverse-path; valid during the call */
	const char *delivered_to;
	bool set_apart;                 /* damaged: POP3 does not show it, no quota counts it */
};

/* In the order of the messages' numbers, and among them what is set apart; none when there is no
 * such mailbox. */
enum spool_status maildrop_list(struct spool *, uint64_t mailbox,
    int (*each)(void *arg, const struct maildrop_entry *), void *arg);
/* The index of the message with this UID in a loaded maildrop; SPOOL_NO_MESSAGE. */
enum spool_status maildrop_find(const struct maildrop *, const char *uid, size_t *i_r);
/* Of a message with this UID that is set apart, and so not in the list: marks it, for
 * maildrop_update() to end.  Blocks.  SPOOL_NO_MESSAGE when there is none; SPOOL_IO,
 * SPOOL_NO_MEMORY. */
enum spool_status maildrop_mark_apart(struct maildrop *, const char *uid);

#endif
