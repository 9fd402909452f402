/*
 * load - what is done to a spool while its disk is followed, and with what octets.
 *
 * Thread: the one that owns the spools.
 */
#ifndef TESTS_CRASH_LOAD_H
#define TESTS_CRASH_LOAD_H

#include "facts.h"
#include "spool/maildrop.h"
#include "spool/spool.h"

/* When it begins; nothing of it is before. */
#define LOAD_WALL_MS UINT64_C(1780000000000)
/* The one domain. */
#define LOAD_DOMAIN "example.test"
#define LOAD_SENDER "sender@example.org"
#define LOAD_SEGMENT_MAX (1u << 20)
/* Mailboxes 1 to this are made at the beginning, one more later, and that goes again. */
#define LOAD_BOXES 7

/* Message `number` of so many octets of wire form, without the final dot; kept for as long as the
 * program runs.  It names its number and its length. */
const char *load_message(unsigned number, size_t len);
/* What is in front of a message's octets. */
#define LOAD_MESSAGE_FORMAT "Received: by test\r\nNumber: %u %zu\r\n\r\n"

/* The spools of three processes. */
struct site {
	struct spool *smtpd, *pop3d, *admin;
};

/* On the recorder; keeps deleted mail for so many seconds. */
struct spool *load_open(const char *dir, enum spool_role, uint64_t keep_deleted_s);
/* The same; NULL where it cannot be opened, with why in `err`. */
struct spool *load_try_open(const char *dir, enum spool_role, uint64_t keep_deleted_s,
    struct strbuf *err);

/* The whole of it, on a spool that was just made.  `rounds` says how long. */
void load_run(const char *dir, unsigned rounds);
/* The number of the next message to be sent. */
extern unsigned load_next;

/* What happens in a spool that was opened after a power cut: logins, a message, a deletion. */
void load_afterwards(const char *dir, bool pop3d_first);

/* Sends message load_next to these mailboxes (a bit for each id) and waits for the outcome; true
 * when all of them have it. */
bool load_send(struct spool *, size_t len, uint32_t boxes);
void load_address(char text[64], unsigned box);
/* Warns at 80 % from now on. */
void load_set_warning(struct spool *);

/* The number of a message of the load, and *len_r; EVENT_WARNING for a warning, 0 and a length of
 * 0 for what is neither.  It reads the message. */
uint32_t load_number(struct maildrop *, size_t i, size_t *len_r);

/* A UID as a number, ours or one that the load made up for an import; false when it is neither. */
bool load_uid(const char *text, uint64_t *uid_r);
void load_uid_text(char text[MAILDROP_UID_MAX + 1], uint64_t uid);

/* pop-admin reindex, of a spool that nobody has open. */
void load_reindex(const char *dir);
/* One was begun, and did not come to its end: everybody is put off. */
bool load_is_rebuilt(const char *dir);

/* check --repair: all that it finds is mended. */
void load_mend(struct spool *);

/* The folder of the backups, in the spool's, so that both lose their power at once. */
#define LOAD_BACKUP "backup"

#endif
