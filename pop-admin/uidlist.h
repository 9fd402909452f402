/*
 * uidlist - which UID a message had where it lay before.
 *
 * Two forms are read.  A saved list has a line "UID FILE" or "UID NUMBER" for each message, FILE
 * with or without a Maildir's flags, NUMBER its place in the source from 1 on.  Dovecot's own list,
 * `dovecot-uidlist`, is known by its first line; UIDs are then those that its pop3d shows by
 * default, "%08Xu%08Xv", or those that the list keeps for single messages.
 *
 * Thread: one at a time.
 */
#ifndef POP_ADMIN_UIDLIST_H
#define POP_ADMIN_UIDLIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct uidlist;

/* Reads a list out of memory; `name` is for messages.  0, or -1 with "NAME:LINE: what is wrong" in
 * err. */
int uidlist_parse(const char *name, const char *text, size_t len, struct uidlist **list_r,
    struct strbuf *err);
/* The same from a file of at most UIDLIST_MAX octets. */
int uidlist_read(const char *path, struct uidlist **list_r, struct strbuf *err);
#define UIDLIST_MAX (256u * 1024 * 1024)
void uidlist_free(struct uidlist **);

size_t uidlist_count(const struct uidlist *);
/* The UID of a file, or else of a number; NULL: the list does not know it.  `name` may be NULL. */
const char *uidlist_find(const struct uidlist *, const char *name, uint64_t number);

#endif
