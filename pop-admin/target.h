/*
 * target - where an export goes to: a new mbox file, a Maildir, or a folder of .eml files.
 *
 * Nothing that is there is overwritten, and nothing gets a name before it is whole and synced.
 * An mbox (mboxrd) and a Maildir have lines that end in LF, .eml files CRLF as messages travel.
 * Beside each stands a list of UIDs, PATH.uidl, as `import --uidl-from` reads it.
 *
 * Whoever fails says why on standard error and returns an exit code of sysexits.h.
 *
 * Thread: main's.
 */
#ifndef POP_ADMIN_TARGET_H
#define POP_ADMIN_TARGET_H

#include <stddef.h>
#include <stdint.h>

struct target;

struct target_message {
	const char *uid;
	const char *sender;             /* "" is the null reverse-path */
	uint64_t received_s;            /* Unix time */
};

/* 73 when a file of the name is there, or a list of UIDs beside it. */
int target_open(const char *path, const char *hostname, struct target **t_r);
/* What was not finished is gone; NULL is harmless. */
void target_close(struct target **);

/* One message: its octets in any runs, lines ended by CRLF; then kept or dropped.  target_write()
 * returns 0 or -1, and then target_keep() fails. */
int target_begin(struct target *, const struct target_message *);
int target_write(void *t, const void *buf, size_t len);
/* A file of its name that is there stays as it is; target_skipped() counts those. */
int target_keep(struct target *);
int target_drop(struct target *);

/* All is on disk, under its names. */
int target_finish(struct target *);
uint64_t target_skipped(const struct target *);

#endif
