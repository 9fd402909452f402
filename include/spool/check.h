/*
 * check - counts the whole store anew, reads every record, and mends what can be mended.
 *
 * In one state of the index: the sums of mailboxes, who holds each message, what lives in each
 * segment, what is kept and what is garbage, all against the entries; and the entries against the
 * segments' files: there, and long enough.  Mail comes and goes meanwhile; only upkeep waits.
 *
 * Then, unless it is to be quick, each record that an entry names is read: header, envelope and
 * checksum, and what the entry says against what the record says.  Nobody waits for that.  What
 * was removed meanwhile is no finding.
 *
 * With `repair` sums, holders, live counts and marks are made to agree with the entries; entries
 * whose record is damaged or gone are set apart, a copy of the record in SPOOL/damaged/; and
 * those that were set apart and are whole again are taken back.  Files that the index does not
 * know, and mail behind the mark of a closed segment, are entered as by recovery.  Nothing is
 * deleted.
 *
 * Thread: any, one that may block for long.
 */
#ifndef SPOOL_CHECK_H
#define SPOOL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/spool.h"
#include "spool/survey.h"

/* Texts are valid during the call. */
struct check_finding {
	const char *address;            /* whose mailbox; NULL where it is nobody's, or no one's */
	const char *uid;                /* of the message; NULL where it is about none */
	const char *what;               /* what is wrong, and what that means */
	bool mended;                    /* it was wrong */
	bool note;                      /* it was dealt with: mail that is set apart */
};

struct check_result {
	uint64_t mailboxes;
	uint64_t messages;              /* in them, counted */
	uint64_t wrong;                 /* findings that are no notes, the mended ones too */
	uint64_t mended;                /* of these */
	uint64_t set_apart;             /* entries that are, afterwards */
	uint64_t records;               /* that were read */
	struct survey_space space;      /* counted */
};

struct check_options {
	bool quick;                     /* no record is read */
	bool repair;
	/* Is told every finding, and must wait for nobody. */
	void (*each)(void *arg, const struct check_finding *);
	/* Now and then: octets of records that were read, and of all; NULL: nobody wants to
	 * know. */
	void (*progress)(void *arg, uint64_t done, uint64_t all);
	void *arg;                      /* for both */
};

/* SPOOL_OK also when there are findings; SPOOL_BUSY when upkeep does not end for so long; else
 * why it could not be found out, or mended. */
enum spool_status check_spool(
    struct spool *, const struct check_options *, struct check_result *r);

/* The quick one, without repair. */
enum spool_status check_run(struct spool *, void (*each)(void *arg, const struct check_finding *),
    void *arg, struct check_result *r);

#endif
