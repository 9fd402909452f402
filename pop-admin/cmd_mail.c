/*
 * cmd_mail - what lies in a mailbox.
 *
 * Removing takes the maildrop's lock, as a POP3 session does.  Listing and showing
 * take none: a pager may hold them up for hours, and meanwhile the owner must get at
 * his mail.  So a message may be removed while it is shown; its checksum, before and
 * after, tells.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "command.h"
#include "output.h"
#include "prompt.h"
#include "spool/maildrop.h"
#include "wire.h"

int
admin_mailbox(struct admin *a, const char *operand, uint64_t *mailbox_r)
{
	struct address address;
	struct account_user user;
	enum spool_status st;
	int code = admin_address(operand, false, &address);

	if (code != EX_OK)
		return code;
	st = account_user_find(a->spool, &address, &user);
	if (st == SPOOL_OK)
		*mailbox_r = user.mailbox;
	return admin_result(st, operand);
}

/* The loaded maildrop of an address, with its lock or without. */
static int
open_maildrop(struct admin *a, const char *operand, bool lock, struct maildrop **md_r)
{
	uint64_t mailbox;
	enum spool_status st;
	int code = admin_mailbox(a, operand, &mailbox);

	if (code != EX_OK)
		return code;
	if (lock)
		st = maildrop_lock(a->spool, mailbox, "pop-admin", md_r);
	else
		st = maildrop_view(a->spool, mailbox, md_r);
	if (st != SPOOL_OK)
		return admin_result(st, operand);
	st = maildrop_load(*md_r);
	if (st != SPOOL_OK)
		maildrop_close(md_r);
	return admin_result(st, operand);
}

static int
add_row(void *arg, const struct maildrop_entry *e)
{
	/* The null reverse-path (RFC 5321 4.5.5) is nobody. */
	const char *from = e->from[0] != '\0' ? e->from : NULL;
	const struct cell cells[] = { cell_text(e->uid), cell_size(e->octets),
		cell_time(e->received_ms / 1000), cell_time(e->retrieved_s),
		cell_time(e->expires_s), cell_text(from), cell_text(e->delivered_to),
		cell_bool(e->set_apart) };

	output_row(arg, cells);
	return 0;
}

int
cmd_mail_list(struct admin *a, char **operands, size_t n)
{
	static const char *const keys[] = { "uid", "size", "received", "retrieved", "expires",
		"from", "delivered_to", "set_apart", NULL };
	struct output *o;
	uint64_t mailbox;
	enum spool_status st;
	int code;

	if ((a->given & COMMAND_DELETED) != 0)
		return cmd_mail_list_deleted(a, operands, n);
	code = admin_mailbox(a, operands[0], &mailbox);
	if (code != EX_OK)
		return code;
	o = output_new(OUTPUT_LISTING, a->json, keys);
	st = maildrop_list(a->spool, mailbox, add_row, o);
	if (st != SPOOL_OK) {
		output_discard(&o);
		return admin_result(st, operands[0]);
	}
	return admin_show(&o);
}

static int
write_octets(void *arg, const void *buf, size_t len)
{
	(void)arg;
	return fwrite(buf, 1, len, stdout) == len ? 0 : -1;
}

static int
write_message(const struct maildrop_message *m, const char *uid)
{
	const struct wire wire = { m->prefix, m->prefix_len, m->fd, m->wire_offset, m->wire_len };
	enum wire_result result = wire_copy(&wire, write_octets, NULL);

	if (result == WIRE_UNREADABLE)
		return admin_fail(EX_IOERR, "%s: the message could not be read: %s", uid,
		    errno != 0 ? strerror(errno) : "its file ends too soon");
	if (result != WIRE_COPIED || fflush(stdout) != 0)
		return admin_fail(
		    EX_IOERR, "standard output could not be written: %s", strerror(errno));
	return EX_OK;
}

static int
show_message(const struct maildrop_message *m, const char *uid)
{
	int code = admin_result(maildrop_verify(m), uid);

	if (code == EX_OK)
		code = write_message(m, uid);
	if (code == EX_OK && maildrop_verify(m) != SPOOL_OK)
		code = admin_fail(EX_DATAERR, "%s: was removed while it was shown", uid);
	return code;
}

int
cmd_mail_show(struct admin *a, char **operands, size_t n)
{
	struct maildrop_message *m = NULL;
	struct maildrop *md;
	enum spool_status st;
	size_t i;
	int code = open_maildrop(a, operands[0], false, &md);

	(void)n;
	if (code != EX_OK)
		return code;
	st = maildrop_find(md, operands[1], &i);
	if (st == SPOOL_OK)
		st = maildrop_open_message(md, i, true, &m);
	if (st == SPOOL_OK)
		code = show_message(m, operands[1]);
	else if (st == SPOOL_NO_MESSAGE && maildrop_mark_apart(md, operands[1]) == SPOOL_OK)
		code = admin_fail(EX_DATAERR,
		    "%s: is set apart, damaged: what was left of it is in damaged/ of the spool",
		    operands[1]);
	else
		code = admin_result(st, operands[1]);
	maildrop_close_message(&m);
	maildrop_close(&md);
	return code;
}

/* One that POP3 shows, or one that is set apart. */
static int
mark(struct maildrop *md, const char *uid)
{
	enum spool_status st;
	size_t i;

	st = maildrop_find(md, uid, &i);
	if (st == SPOOL_OK)
		maildrop_mark(md, i);
	else if (st == SPOOL_NO_MESSAGE)
		st = maildrop_mark_apart(md, uid);
	return admin_result(st, uid);
}

int
cmd_mail_remove(struct admin *a, char **operands, size_t n)
{
	struct maildrop *md;
	uint64_t mailbox;
	int code = admin_mailbox(a, operands[0], &mailbox);

	/* Nobody is asked about what cannot be done anyway. */
	if (code != EX_OK)
		return code;
	if (!prompt_confirm(a->yes, "Remove %zu messages of %s?", n - 1, operands[0]))
		return EX_TEMPFAIL;
	code = open_maildrop(a, operands[0], true, &md);
	if (code != EX_OK)
		return code;
	for (size_t k = 1; code == EX_OK && k < n; k++)
		code = mark(md, operands[k]);
	if (code == EX_OK)
		code = admin_result(maildrop_update(md), operands[0]);
	if (code == EX_OK)
		admin_say(a, "%zu removed", maildrop_removed(md));
	maildrop_close(&md);
	return code;
}
