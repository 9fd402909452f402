/*
 * source - what the readers of mbox files and folders give, message by message.
 *
 * A reader holds a few blocks and never a whole message.  It calls begin(), octets() for runs
 * of any length, at least one, and end(), one message after the other; what these return, if it is
 * not 0, stops it and is returned.  Octets are the message as it lay there, without what belongs to
 * the form: no From_ line, no quoting of it.
 */
#ifndef POP_ADMIN_SOURCE_H
#define POP_ADMIN_SOURCE_H

#include <stddef.h>
#include <stdint.h>

struct source_message {
	uint64_t number;                /* of the message, from 1 on */
	const char *name;               /* of its file, without folders; NULL in an mbox */
	const char *sender;             /* as the From_ line has him; NULL where there is none */
	uint64_t time_s;                /* as From_ line or file name tell it; 0: they do not */
	uint64_t file_s;                /* Unix time of the file's last change */
};

struct source_sink {
	int (*begin)(void *arg, const struct source_message *);
	int (*octets)(void *arg, const void *buf, size_t len);
	int (*end)(void *arg);
	void *arg;
};

/* Beside 0 and what the sink returned, which is positive. */
enum { SOURCE_READ_FAILED = -1, SOURCE_NO_MBOX = -2, SOURCE_NO_MEMORY = -3 };

#endif
