/*
 * head - what the beginning of a message from elsewhere says of its way here.
 *
 * Pure functions.  Thread: any.
 */
#ifndef POP_ADMIN_HEAD_H
#define POP_ADMIN_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/address.h"

/* So much of a message is looked at: more than any header that says something. */
#define HEAD_MAX (64u * 1024)

struct head {
	bool has_reverse_path;          /* its first line is a Return-Path: */
	char reverse_path[ADDRESS_MAX + 1];
	bool has_written;               /* and its second one a Delivered-To: as ours */
	char written[ADDRESS_MAX + 1];
	size_t skip;                    /* octets of both, as far as they are what we write
					   before a message ourselves, octet for octet; else 0 */
	bool received;                  /* behind them is a Received: */
	uint64_t time_s;                /* of the first Received:, else of Date:; else 0 */
};

/* Lines end in CRLF or LF.  `buf` is the message, or its first HEAD_MAX octets. */
void head_parse(const char *buf, size_t len, struct head *head_r);

#endif
