/*
 * maildir - folders with a message in each file: a Maildir, or .eml files.
 *
 * Of a Maildir `cur` and `new` are read, never `tmp`, and none of the folders beside them.  Names
 * say when a message came and with which flags; a name that says neither is as good as another.
 * Of other folders the files whose names end in ".eml" are read.  What is no plain file is passed
 * over, and names that begin with a dot.
 *
 * Names are held in memory, messages are not.  Thread: one at a time.
 */
#ifndef POP_ADMIN_MAILDIR_H
#define POP_ADMIN_MAILDIR_H

#include <stdbool.h>

#include "source.h"

/* --- names; pure ---------------------------------------------------------- */

/* The time that a name begins with, "1795486277.M1P2.host:2,S", or 0. */
uint64_t maildir_time(const char *name);
/* The length of what stays when flags change. */
size_t maildir_base_len(const char *name);
/* Writes a UID as the name of a file, or a part of one, and a NUL: what is no letter, digit, '_',
 * '-' or '.' within it becomes %XX.  `name` has room for 3 octets for each of the UID's, and for
 * a NUL. */
void maildir_name_of_uid(char *name, const char *uid);

/* --- folders -------------------------------------------------------------- */

struct maildir;

/* `path` is a folder with `cur` or `new`. */
bool maildir_is_one(const char *path);

/* Lists it: a Maildir by time, then name; other folders by name.  0, or -1 with errno. */
int maildir_open(const char *path, struct maildir **md_r);
void maildir_close(struct maildir **);

/* Reads all messages.  0; what the sink returned; SOURCE_READ_FAILED with errno, and then
 * maildir_bad() is the name of the file; SOURCE_NO_MEMORY. */
int maildir_read(struct maildir *, const struct source_sink *);
const char *maildir_bad(const struct maildir *);
/* Things that were passed over in the last reading: no plain files. */
size_t maildir_passed(const struct maildir *);

#endif
