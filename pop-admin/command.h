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
	bool apop;                      /* user add --apop */
	const char *sort;               /* user list --sort KEY; NULL without */
	struct config *config;          /* owned */
	struct spool *spool;            /* owned; NULL for `init` */
};

enum command_flags {
	COMMAND_APOP = 1,       /* takes --apop */
	COMMAND_SORT = 2,       /* takes --sort KEY */
	COMMAND_MAKES_SPOOL = 4, /* runs without one */
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

int cmd_domain_add(struct admin *, char **operands, size_t n);
int cmd_domain_remove(struct admin *, char **operands, size_t n);
int cmd_domain_list(struct admin *, char **operands, size_t n);

int cmd_user_add(struct admin *, char **operands, size_t n);
int cmd_user_list(struct admin *, char **operands, size_t n);
int cmd_user_show(struct admin *, char **operands, size_t n);
int cmd_user_passwd(struct admin *, char **operands, size_t n);
int cmd_user_enable(struct admin *, char **operands, size_t n);
int cmd_user_disable(struct admin *, char **operands, size_t n);
int cmd_user_remove(struct admin *, char **operands, size_t n);
int cmd_user_rename(struct admin *, char **operands, size_t n);

int cmd_alias_add(struct admin *, char **operands, size_t n);
int cmd_alias_remove(struct admin *, char **operands, size_t n);
int cmd_alias_list(struct admin *, char **operands, size_t n);
int cmd_alias_resolve(struct admin *, char **operands, size_t n);

int cmd_mail_list(struct admin *, char **operands, size_t n);
int cmd_mail_show(struct admin *, char **operands, size_t n);
int cmd_mail_remove(struct admin *, char **operands, size_t n);

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

struct output;
/* output_end(), with a sentence and 74 when standard output cannot be written. */
int admin_show(struct output **);

/* Opens the spool, becoming its owner first where we are root.  0, or the exit code. */
int admin_open(struct admin *);
/* Takes on the account that owns the spool.  0, or the exit code. */
int admin_become(struct admin *);

#endif
