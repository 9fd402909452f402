/*
 * pop3_transaction - the commands of the TRANSACTION state, and UPDATE (RFC 1939 5, 6, 7).
 *
 * A command that names a message gets one that exists and is not marked: the
 * dispatcher has checked it.  Listings of any length go out as the queue takes them.
 */
#include <stdlib.h>

#include "base/num.h"
#include "pop3_send.h"
#include "pop3_session.h"

/* RFC 1939 5: "+OK", the count, the octets, and nothing else. */
static enum pop3_reply
cmd_stat(struct pop3_session *s, const struct pop3_arguments *args)
{
	(void)args;
	outq_addf(s->link->out, "+OK %zu %llu\r\n", maildrop_live_count(s->maildrop),
	    (unsigned long long)maildrop_live_octets(s->maildrop));
	return POP3_REPLIED;
}

/* RFC 1939 5, 7: a scan listing, or a unique-id listing with nothing behind the id. */
static void
add_listing(struct pop3_session *s, size_t i)
{
	char line[NUM_TEXT_MAX + 1 + MAILDROP_UID_MAX + 2];
	size_t len = num_format_u64(line, i + 1);

	line[len++] = ' ';
	if (s->uidl)
		len += maildrop_uid(s->maildrop, i, line + len);
	else
		len += num_format_u64(line + len, maildrop_octets(s->maildrop, i));
	line[len++] = '\r';
	line[len++] = '\n';
	outq_add(s->link->out, line, len);
}

static enum pop3_reply
go_on_listing(struct pop3_session *s)
{
	struct outq *out = s->link->out;

	for (; s->next < maildrop_count(s->maildrop); s->next++) {
		if (out->pending >= OUTQ_HIGH_WATER) {
			s->go_on = go_on_listing;
			return POP3_DRAIN;
		}
		if (s->looks >= POP3_LOOKS_MAX)
			return pop3_session_yield(s, go_on_listing);
		s->looks++;
		if (!maildrop_marked(s->maildrop, s->next))
			add_listing(s, s->next);
	}
	outq_addstr(out, ".\r\n");
	return POP3_REPLIED;
}

static enum pop3_reply
list(struct pop3_session *s, const struct pop3_arguments *args, bool uidl)
{
	s->uidl = uidl;
	if (args->has_message) {
		outq_addstr(s->link->out, "+OK ");
		add_listing(s, args->message);
		return POP3_REPLIED;
	}
	outq_addf(s->link->out, "+OK %zu messages\r\n", maildrop_live_count(s->maildrop));
	s->next = 0;
	return go_on_listing(s);
}

static enum pop3_reply
cmd_list(struct pop3_session *s, const struct pop3_arguments *args)
{
	return list(s, args, false);
}

static enum pop3_reply
cmd_uidl(struct pop3_session *s, const struct pop3_arguments *args)
{
	return list(s, args, true);
}

static enum pop3_reply
cmd_retr(struct pop3_session *s, const struct pop3_arguments *args)
{
	return pop3_send(s, args->message, false, 0);
}

static enum pop3_reply
cmd_top(struct pop3_session *s, const struct pop3_arguments *args)
{
	return pop3_send(s, args->message, true, args->count);
}

static enum pop3_reply
cmd_dele(struct pop3_session *s, const struct pop3_arguments *args)
{
	maildrop_mark(s->maildrop, args->message);
	return POP3_OK_MARKED;
}

static enum pop3_reply
cmd_noop(struct pop3_session *s, const struct pop3_arguments *args)
{
	(void)s;
	(void)args;
	return POP3_OK_NOOP;
}

static enum pop3_reply
cmd_rset(struct pop3_session *s, const struct pop3_arguments *args)
{
	(void)args;
	maildrop_unmark_all(s->maildrop);
	s->looks += maildrop_count(s->maildrop);
	return POP3_OK_RESET;
}

/* --- UPDATE --- */

static enum pop3_reply
goodbye(struct pop3_session *s)
{
	maildrop_close(&s->maildrop);
	s->end = "quit";
	return s->removed > 0 ? POP3_OK_REMOVED : POP3_OK_GOODBYE;
}

static enum spool_status
work_update(struct pop3_session *s)
{
	return maildrop_update(s->maildrop);
}

/* RFC 1939 6: the lock is given back whether or not the removal succeeded, and before the client
 * could learn of it and log in again. */
static enum pop3_reply
updated(struct pop3_session *s)
{
	/* A client need not know of retrievals that could not be noted: that is logged. */
	if (s->status == SPOOL_OK || !maildrop_has_leaving(s->maildrop)) {
		s->removed = maildrop_removed(s->maildrop);
		return goodbye(s);
	}
	maildrop_close(&s->maildrop);
	s->end = "not removed";
	return s->status == SPOOL_UNKNOWN ? POP3_DROP : POP3_ERR_NOT_REMOVED;
}

static bool
update_is_due(const struct pop3_session *s)
{
	return maildrop_has_leaving(s->maildrop) || maildrop_has_unnoted(s->maildrop);
}

static enum pop3_reply
begin_update(struct pop3_session *s)
{
	pop3_note_sent(s);
	if (s->link->peer_gone && s->blind && maildrop_has_leaving(s->maildrop)) {
		s->end = "not removed";
		return POP3_DROP;
	}
	/* What left for the socket may not have arrived. */
	if (s->link->peer_gone)
		maildrop_spare_retrieved(s->maildrop);
	if (!update_is_due(s))
		return goodbye(s);
	return pop3_session_work(s, s->pop3d->disk_jobs, work_update, updated);
}

/*
 * RFC 1939 6.  The pages of a message that the kernel still has to send must not change, and
 * removing gives its blocks back: so every octet is acknowledged first.  A client that goes away
 * meanwhile has said QUIT, and what it marked is removed; but not when it said so
 * before a message had left for it, since then it cannot know that it has it.  Nor is it known
 * before which messages it has had whole, and may therefore not leave behind.
 */
static enum pop3_reply
cmd_quit(struct pop3_session *s, const struct pop3_arguments *args)
{
	(void)args;
	pop3_note_sent(s);
	if (s->nsent == 0 && !update_is_due(s))
		return goodbye(s);
	pop3_session_enter(s, POP3_UPDATE);
	s->blind = s->link->out_octets < s->mail_end;
	/* What may not stay behind goes because it has arrived, and for no other reason. */
	s->link->until_acked = s->retention_days == 0;
	s->go_on = begin_update;
	return POP3_ACKED;
}

const struct pop3_command pop3_transaction_commands[] = {
	{ "STAT", cmd_stat, POP3_ARG_NONE }, /* RFC 1939 5 */
	{ "LIST", cmd_list, POP3_ARG_MAY_MESSAGE },
	{ "RETR", cmd_retr, POP3_ARG_MESSAGE },
	{ "DELE", cmd_dele, POP3_ARG_MESSAGE },
	{ "NOOP", cmd_noop, POP3_ARG_NONE },
	{ "RSET", cmd_rset, POP3_ARG_NONE },
	{ "QUIT", cmd_quit, POP3_ARG_NONE },        /* RFC 1939 6 */
	{ "TOP", cmd_top, POP3_ARG_MESSAGE_COUNT }, /* RFC 1939 7 */
	{ "UIDL", cmd_uidl, POP3_ARG_MAY_MESSAGE },
	{ "CAPA", pop3_capa, POP3_ARG_NONE }, /* RFC 2449 5 */
	{ NULL, NULL, POP3_ARG_NONE },
};
