/*
 * warning - telling a mailbox's owner how full it is, before it is full.
 *
 * Each share of a quota that is named here is told once when the mailbox crosses it, however
 * that comes about, and again only after use has fallen ten points below it.  The message is
 * mail like any other: it counts, and where it does not fit a log line stands for it.
 *
 * Thread: any.
 */
#ifndef SPOOL_WARNING_H
#define SPOOL_WARNING_H

#include <stddef.h>
#include <stdint.h>

#include "spool/spool.h"

#define SPOOL_WARNINGS 8

struct spool_warning {
	uint8_t percent[SPOOL_WARNINGS];        /* 1 to 100, rising, each once */
	size_t n;                               /* 0: nobody is warned */
	const char *hostname;
	const char *postmaster;                 /* address, or NULL: postmaster@hostname */
	const char *template;                   /* as mail/notice.h has it, or NULL */
};

/* From now on; until then nobody is warned.  All of it is copied.  In a spool that delivers
 * nothing nothing comes of it.  SPOOL_OK, or SPOOL_NO_MEMORY with everything as it was. */
enum spool_status spool_set_warning(struct spool *, const struct spool_warning *);

#endif
