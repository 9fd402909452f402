/*
 * extract - messages out of one segment file, whatever became of its spool.
 *
 * A record is given where all its checksums hold.  Where the file's own header is damaged its
 * first record says what that was; and where that is gone too each record vouches for itself, so
 * that a mail may bring forth another one that was put within it: what comes out goes to somebody
 * who looks at it, never into a mailbox.
 *
 * Thread: one at a time; every function blocks.
 */
#ifndef SPOOL_EXTRACT_H
#define SPOOL_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/spool.h"

struct extract;

struct extract_message {
	char uid[SPOOL_UID_LEN + 1];
	uint64_t received_ms;
	const char *from;               /* reverse-path; valid until the next call, as the prefix */
	const char *prefix;             /* Return-Path:, and Delivered-To: for each recipient */
	size_t prefix_len;
	int fd;                         /* borrowed */
	uint64_t wire_offset;           /* in the file */
	uint64_t wire_len;              /* with the final ".CRLF" */
};

/* SPOOL_OK, SPOOL_DAMAGED when the file is no segment's (not even a block long), SPOOL_IO,
 * SPOOL_NO_MEMORY; in err a sentence. */
enum spool_status extract_open(const char *path, struct extract **x_r, struct strbuf *err);
/* NULL is harmless. */
void extract_close(struct extract **);

/* The next message; SPOOL_NO_MESSAGE when there is none any more. */
enum spool_status extract_next(struct extract *, struct extract_message *m_r);
/* Its header is damaged, and nothing says what it was. */
bool extract_without_header(const struct extract *);
/* Blocks so far that are neither empty nor of a whole message. */
uint64_t extract_unread(const struct extract *);

#endif
