/*
 * trace - everything that a spool does to its disk, in order, with its octets; and between that
 * what its users were told.
 *
 * The recorder stands in the place of disk_real and, for the databases, as a VFS before SQLite's
 * own.  A call is done and noted under one mutex, so the order of the notes is that in which
 * the file system saw them.  locks/ and run/ are not followed: nothing in them has to survive.
 *
 * Thread: any, but for trace_begin() and trace_end().
 */
#ifndef TESTS_CRASH_TRACE_H
#define TESTS_CRASH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/spool/disk.h"

enum folder {
	FOLDER_ROOT, FOLDER_INDEX, FOLDER_SECRETS, FOLDER_SEGMENTS,
	FOLDER_BACKUP, FOLDER_BACKUP_SEGMENTS,
	FOLDERS
};
extern const char *const folder_names[FOLDERS];

/* What a file is. */
enum class {
	CLASS_SEGMENT,
	CLASS_BODY,             /* a large message, with its own segment from when it is linked */
	CLASS_DB, CLASS_LOG, CLASS_SECRETS, CLASS_BALLAST,
	CLASS_BACKUP,           /* whatever lies in a backup */
	CLASSES
};

#define TRACE_NAME_MAX 48

enum op_kind {
	OP_NONE,                /* not done after all */
	OP_CREATE,              /* a new file gets its name */
	OP_UNNAMED,             /* a new file without one */
	OP_LINK, OP_RENAME, OP_UNLINK,
	OP_WRITE, OP_TRUNCATE, OP_EXTEND, OP_PUNCH,
	OP_SYNC,
	OP_SYNC_FAILED,         /* what it was for is clean for the kernel, and perhaps lost */
	OP_SYNC_FOLDER,
	OP_EVENT,
	OP_KINDS
};

enum event_kind {
	EVENT_SENT,             /* a message was given to the committer */
	EVENT_OUTCOME,          /* what became of it in one mailbox */
	EVENT_SEEN,             /* a login listed it */
	EVENT_ASKED,            /* it is to leave its mailbox, or to come back */
	EVENT_DONE,             /* and did, or did not */
	EVENT_BOX_ASKED,        /* a mailbox is to be there with some password, or to go */
	EVENT_BOX_DONE,
	EVENT_QUOTA,            /* its quota is to be `uid` octets; with `in`, it is */
	EVENT_REPAIR,           /* sums may be wrong; with `in`, all of that was mended */
	EVENT_BACKUP,           /* one begins; with `in`, it is done; TOLD_NO: it lacks something */
	EVENT_REINDEX,          /* what was deleted may be back; with `in`, all was looked at */
	EVENT_PHASE,            /* a name for reports */
};

enum told { TOLD_YES, TOLD_NO, TOLD_UNSURE };

#define EVENT_TEXT_MAX 128
/* Instead of a message's number: what is not one of the load's, a warning. */
#define EVENT_WARNING UINT32_MAX

struct event {
	enum event_kind kind;
	unsigned box;           /* a mailbox's id */
	uint32_t message;       /* the load's number */
	bool in;                /* where it is to be, or the mailbox */
	enum told told;
	uint64_t uid;           /* 0: not known */
	char text[EVENT_TEXT_MAX];
};

/* Who called: threads by their name, the load's own by what it is at. */
enum context {
	CONTEXT_OTHER, CONTEXT_COMMITTER, CONTEXT_STAGER, CONTEXT_KEEPER,
	CONTEXT_UPDATE, CONTEXT_ACCOUNT, CONTEXT_UPKEEP, CONTEXT_WARN, CONTEXT_REPAIR
};
extern _Thread_local enum context trace_context;

struct op {
	enum op_kind kind;
	enum context context;
	unsigned long thread;
	uint32_t file;
	enum class class;
	enum folder folder;
	uint64_t offset, len;
	uint8_t *data;
	struct event *event;
	char name[TRACE_NAME_MAX], to[TRACE_NAME_MAX];
};

struct trace {
	struct op *ops;
	size_t n, cap;
	uint32_t files;         /* the next file's number */
};
extern struct trace trace;

/* Follows the spool in `dir` from now on.  `find` says which number the file has that lies there
 * under this name now, and which class; `files` is the first that is free. */
void trace_begin(const char *dir, uint32_t files,
    bool (*find)(void *arg, enum folder, const char *name, uint32_t *file_r), void *arg);
/* What follows is done and not noted. */
void trace_end(void);

void trace_event(const struct event *);

/* The next call of this kind on such a file fails with EIO: a sync is not done and its octets
 * are in doubt, a write or a link is not done. */
void trace_fail(enum op_kind, enum class);
/* Whether it did. */
bool trace_failed(void);

extern const struct disk_ops trace_disk;
/* All databases that are opened from now on. */
void trace_sqlite(void);

enum class trace_class(enum folder, const char *name);

/* --- mutations: ways in which the spool could be wrong --- */

/* False when there is none of this name; NULL is none. */
bool mutation_set(const char *name);
const char *mutation_name(size_t i, const char **what_r);
/* Spoils what was just noted, ops[n - 1]. */
void mutation_apply(struct trace *);
/* Before an event is noted. */
void mutation_before_event(struct trace *);
struct op *trace_append(struct trace *, enum op_kind);

/* Ends the program: what the test itself needs did not work. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
