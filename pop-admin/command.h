/*
 * command - what every command of pop-admin is given, and the table of them.
 *
 * The table is dispatch, usage and the list of what is not in this version at once.
 * A command has its operands counted and its options checked before it runs;
 * it returns an exit code of sysexits.h.  Whoever fails says why, on standard error.
 */
#ifndef POP_ADMIN_COMMAND_H
#define POP_ADMIN_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/config.h"
#include "mail/address.h"
#include "spool/account.h"
#include "spool/spool.h"

struct admin {
	const char *config_file;
	bool json, yes;
	unsigned given;                 /* of enum command_flags, what the command line has */
	const char *sort, *quota, *expire, *uidl_from, *mail; /* their values; NULL without */
	struct config *config;          /* owned */
	struct spool *spool;            /* owned; NULL for `init` */
};

/* Options that only some commands take, and one thing beside. */
enum command_flags {
	COMMAND_APOP = 1,
	COMMAND_SORT = 2,
	COMMAND_QUOTA = 4,
	COMMAND_EXPIRE = 8,
	COMMAND_NOW = 16,
	COMMAND_DELETED = 32,
	COMMAND_NEW_UID = 64,
	COMMAND_DRY_RUN = 128,
	COMMAND_UIDL_FROM = 256,
	COMMAND_MAIL = 512,
	COMMAND_REPAIR = 2048,
	COMMAND_QUICK = 4096,
	COMMAND_MAKES_SPOOL = 1024, /* runs without one */
};

struct command {
	const char *noun;
	const char *verb;               /* NULL: the noun alone */
	int (*run)(struct admin *, char **operands, size_t n);  /* NULL: not in this version */
	unsigned flags;
	size_t min, max;                /* operands */
	const char *operands;           /* as usage shows them */
	const char *does;
};

extern const struct command commands[];
extern const size_t ncommands;

int cmd_init(struct admin *, char **operands, size_t n);

int cmd_backup(struct admin *, char **operands, size_t n);
int cmd_restore(struct admin *, char **operands, size_t n);

int cmd_expire(struct admin *, char **operands, size_t n);
int cmd_check(struct admin *, char **operands, size_t n);
int cmd_reindex(struct admin *, char **operands, size_t n);
int cmd_status(struct admin *, char **operands, size_t n);
int cmd_doctor(struct admin *, char **operands, size_t n);

int cmd_import(struct admin *, char **operands, size_t n);
int cmd_export(struct admin *, char **operands, size_t n);

int cmd_domain_add(struct admin *, char **operands, size_t n);
int cmd_domain_remove(struct admin *, char **operands, size_t n);
int cmd_domain_list(struct admin *, char **operands, size_t n);
int cmd_domain_set(struct admin *, char **operands, size_t n);

int cmd_user_add(struct admin *, char **operands, size_t n);
int cmd_user_list(struct admin *, char **operands, size_t n);
int cmd_user_show(struct admin *, char **operands, size_t n);
int cmd_user_passwd(struct admin *, char **operands, size_t n);
int cmd_user_enable(struct admin *, char **operands, size_t n);
int cmd_user_disable(struct admin *, char **operands, size_t n);
int cmd_user_remove(struct admin *, char **operands, size_t n);
int cmd_user_rename(struct admin *, char **operands, size_t n);
int cmd_user_quota(struct admin *, char **operands, size_t n);
int cmd_user_expire(struct admin *, char **operands, size_t n);
int cmd_user_expire_retrieved(struct admin *, char **operands, size_t n);

int cmd_alias_add(struct admin *, char **operands, size_t n);
int cmd_alias_remove(struct admin *, char **operands, size_t n);
int cmd_alias_list(struct admin *, char **operands, size_t n);
int cmd_alias_resolve(struct admin *, char **operands, size_t n);

int cmd_mail_list(struct admin *, char **operands, size_t n);
int cmd_mail_show(struct admin *, char **operands, size_t n);
int cmd_mail_list_deleted(struct admin *, char **operands, size_t n);   /* mail list --deleted */
int cmd_mail_remove(struct admin *, char **operands, size_t n);
int cmd_mail_extract(struct admin *, char **operands, size_t n);
int cmd_mail_history(struct admin *, char **operands, size_t n);
int cmd_mail_restore(struct admin *, char **operands, size_t n);

/* --- what commands share --- */

/* Prints `pop-admin: ` and a sentence on standard error; returns `code`. */
int admin_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The exit code for a status of the spool. */
int admin_exit_code(enum spool_status);

/* 0 for SPOOL_OK; else says what failed on `what`, and returns the exit code. */
int admin_result(enum spool_status, const char *what);

/* Says what was done, unless --json asked for silence. */
void admin_say(const struct admin *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A full address; with `catch_all` "@domain" too.  0, or the exit code after saying
 * what is wrong. */
int admin_address(const char *text, bool catch_all, struct address *address_r);

/* The id of the mailbox that an operand names.  0, or the exit code after saying what is wrong. */
int admin_mailbox(struct admin *, const char *operand, uint64_t *mailbox_r);

/* A quota: a size, or `none`.  An age: at least `min_s`, or `never`.  0, or the exit code after
 * saying what is wrong. */
int admin_quota(const char *text, uint64_t *octets_r);
int admin_age(const char *text, uint64_t min_s, uint64_t *seconds_r);
/* What --quota and --expire say; with `site` they may also say `site`. */
int admin_limits(const struct admin *, bool site, struct account_limits *limits_r);
/* What the configuration says of new mailboxes. */
struct account_limits admin_site_limits(const struct admin *);
/* The least age by which mail may go. */
#define ADMIN_EXPIRE_MIN_S 86400

/* Root makes a folder, which belongs to the site's account, where that could not; one that is there
 * already stays as it is.  0, or the exit code. */
int admin_make_folder(const struct admin *, const char *dir);

struct output;
/* output_end(), with a sentence and 74 when standard output cannot be written. */
int admin_show(struct output **);

/* How full a mailbox is, in percent; a part of one is left out, so that 100 is full.
 * NUM_UNLIMITED without a quota. */
uint64_t admin_share(const struct account_user *);

/* Opens the spool, becoming its owner first where we are root.  0, or the exit code. */
int admin_open(struct admin *);
/* Takes on the account that owns the spool.  0, or the exit code. */
int admin_become(struct admin *);

#endif
