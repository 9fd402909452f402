/*
 * pop3_send - a message is already what RETR sends: stuffed, and ended by CRLF.CRLF.  So
 * ranges of its file go into the queue, which copies them out of the page cache.
 *
 * It goes in windows.  RETR reads each into the message's checksum first, out of the page cache, and
 * on a miss a job does, so that no loop waits for a disk, and a client that reads slowly costs one
 * window at a time.  What was read so is also what is sent, where copies are (net/outq.h).  A message
 * of one window whose checksum is wrong is refused; a longer one is cut off before its last window.
 * Either way it is set apart (docs/spool.md).
 *
 * What RETR has put there is noted as retrieved once its last octet has left the queue.
 *
 * A slice holds a reference to the message, which therefore outlives the session when it must.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pop3_send.h"

#define WINDOW OUTQ_RECENT_MAX

/* RFC 1939 3: the line that ends a response of several lines. */
#define TERMINATOR ".\r\n"
#define TERMINATOR_LEN 3

/*
 * A message that is being sent.  References to it are the session's and one for each slice in the
 * queue; the loop's thread alone counts them.
 */
struct pop3_message {
	unsigned refs;
	struct maildrop_message *m; /* owned; NULL until it is opened */
	size_t index;               /* in the maildrop */
	bool top;
	bool terminator; /* is not among the octets below */
	bool ready;      /* the window at `at` was just read */
	uint64_t place;  /* and where it is among the recent octets */
	uint64_t lines;  /* of the body, for TOP */
	uint64_t at;     /* wire octets queued so far */
	uint64_t end;    /* and to be queued */
};

/* A message that RETR has put into the queue. */
struct pop3_sent {
	uint64_t end; /* which of the octets sent is its last */
	size_t message;
};

static enum pop3_reply send_windows(struct pop3_session *);

void
pop3_message_unref(struct pop3_message **message)
{
	struct pop3_message *msg = *message;

	*message = NULL;
	if (msg == NULL || --msg->refs > 0)
		return;
	maildrop_close_message(&msg->m);
	free(msg);
}

static void
release_slice(void *arg)
{
	struct pop3_message *msg = arg;

	pop3_message_unref(&msg);
}

/* Where the window ends that is to be sent next. */
static uint64_t
window_end(const struct pop3_message *msg)
{
	uint64_t left = msg->end - msg->at;

	return msg->at + (left < WINDOW ? left : WINDOW);
}

/* TOP is a look at a message, in parts: there is nothing to check it against. */
static enum spool_status
work_read_ahead(struct pop3_session *s)
{
	const struct pop3_message *msg = s->message;
	uint64_t end = window_end(msg);

	if (!msg->top)
		return maildrop_check_to(msg->m, end, true, NULL);
	maildrop_read_ahead(msg->m, msg->at, end - msg->at);
	return SPOOL_OK;
}

static enum spool_status
work_set_apart(struct pop3_session *s)
{
	return maildrop_set_apart(s->maildrop, s->message->index);
}

/* RFC 3206 4: what is damaged needs somebody who looks at it. */
static enum pop3_reply
say_damaged(struct pop3_session *s)
{
	pop3_message_unref(&s->message);
	return POP3_ERR_PERM;
}

/* The announced octets are on their way and cannot be called back: without the terminator the client
 * does not take them for the message (RFC 1939 3). */
static enum pop3_reply
cut_off(struct pop3_session *s)
{
	pop3_message_unref(&s->message);
	s->end = "message damaged";
	return POP3_DROP;
}

static enum pop3_reply
stop_sending(struct pop3_session *s, enum spool_status status)
{
	if (status == SPOOL_DAMAGED)
		return pop3_session_work(s, s->pop3d->disk_jobs, work_set_apart, cut_off);
	return cut_off(s);
}

static enum pop3_reply
warmed(struct pop3_session *s)
{
	if (s->status != SPOOL_OK)
		return stop_sending(s, s->status);
	s->message->ready = true;
	return send_windows(s);
}

/* Reads the next window into its checksum and, since it is sent at once then, its octets into the
 * queue's recent ones. */
static enum spool_status
check_window(struct pop3_message *msg, struct outq_recent *recent)
{
	uint64_t end = window_end(msg), place = OUTQ_NOWHERE;
	unsigned char *octets = NULL;
	enum spool_status status;

	if (recent != NULL)
		octets = outq_recent_room(recent, (size_t)(end - msg->at), &place);
	status = maildrop_check_to(msg->m, end, false, octets);
	msg->place = status == SPOOL_OK ? place : OUTQ_NOWHERE;
	return status;
}

/* SPOOL_OK: the next window may go.  SPOOL_WOULD_BLOCK: it is to be read first.  Else the message is
 * not to be sent to its end. */
static enum spool_status
look_at_window(struct pop3_message *msg, struct outq_recent *recent)
{
	enum spool_status status = SPOOL_WOULD_BLOCK;

	if (msg->ready)
		return SPOOL_OK;
	if (!msg->top)
		status = check_window(msg, recent);
	else if (maildrop_resident(msg->m, msg->at, window_end(msg) - msg->at))
		status = SPOOL_OK;
	msg->ready = status == SPOOL_OK;
	return status;
}

/* Remembers where a message ends.  When memory is out it is not noted, and stays the longer. */
static void
add_sent(struct pop3_session *s, size_t message)
{
	/* What did not all get into the queue, or into one that is thrown away, ends nowhere. */
	if (s->link->out->failed || s->link->peer_gone)
		return;
	if (mem_grow(&s->sent, &s->sent_cap, s->nsent + 1, sizeof(*s->sent)) == 0)
		s->sent[s->nsent++] = (struct pop3_sent){ s->mail_end, message };
}

void
pop3_note_sent(struct pop3_session *s)
{
	size_t n = 0;

	while (n < s->nsent && s->sent[n].end <= s->link->out_octets)
		maildrop_note_retrieved(s->maildrop, s->sent[n++].message);
	if (n == 0)
		return;
	s->nsent -= n;
	if (s->nsent > 0) {
		memmove(s->sent, s->sent + n, s->nsent * sizeof(*s->sent));
	} else {
		mem_free(&s->sent);
		s->sent_cap = 0;
	}
}

/* A window that was read ahead is sent even if it has left the page cache again: the disk is
 * slower than the memory is large, and asking once more could go on for ever. */
static enum pop3_reply
send_windows(struct pop3_session *s)
{
	struct pop3_message *msg = s->message;
	struct outq *out = s->link->out;

	while (msg->at < msg->end) {
		uint64_t len = window_end(msg) - msg->at;
		enum spool_status status;

		/* A queue that takes nothing any more never fills: the session ends here. */
		if (out->pending >= OUTQ_HIGH_WATER || out->failed) {
			s->go_on = send_windows;
			return POP3_DRAIN;
		}
		status = look_at_window(msg, out->recent);
		if (status == SPOOL_WOULD_BLOCK)
			return pop3_session_work(s, s->pop3d->disk_jobs, work_read_ahead, warmed);
		if (status != SPOOL_OK)
			return stop_sending(s, status);
		msg->ready = false;
		msg->refs++;
		outq_add_file(out, msg->m->fd, msg->m->wire_offset + msg->at, len, msg->place,
		    release_slice, msg);
		msg->at += len;
	}
	if (msg->terminator)
		outq_addstr(out, TERMINATOR);
	s->mail_end = s->link->out_octets + out->pending;
	/* TOP is a look at a message, however much of it. */
	if (!msg->top)
		add_sent(s, msg->index);
	pop3_message_unref(&s->message);
	return POP3_REPLIED;
}

static enum pop3_reply
refuse(struct pop3_session *s)
{
	enum spool_status status = s->status;

	if (status == SPOOL_DAMAGED)
		return pop3_session_work(s, s->pop3d->disk_jobs, work_set_apart, say_damaged);
	pop3_message_unref(&s->message);
	return pop3_reply_to(status);
}

/* RFC 1939 11: the octets announced are those of the message without stuffing and terminator.  A
 * message of one window was checked as a whole by now. */
static enum pop3_reply
reply(struct pop3_session *s)
{
	struct pop3_message *msg = s->message;
	struct outq *out = s->link->out;
	uint64_t octets = maildrop_octets(s->maildrop, msg->index);

	if (s->status != SPOOL_OK)
		return refuse(s);
	if (msg->top) {
		s->top++;
		s->top_octets += msg->m->prefix_len + msg->end;
		outq_addstr(out, "+OK\r\n");
	} else {
		s->retr++;
		s->retr_octets += octets;
		outq_addf(out, "+OK %llu octets\r\n", (unsigned long long)octets);
	}
	outq_add(out, msg->m->prefix, msg->m->prefix_len);
	return send_windows(s);
}

static enum pop3_reply
first_window_read(struct pop3_session *s)
{
	s->message->ready = s->status == SPOOL_OK;
	return reply(s);
}

/* What is to be sent, and its first window, as far as that is here. */
static enum pop3_reply
begin(struct pop3_session *s)
{
	struct pop3_message *msg = s->message;

	if (s->status != SPOOL_OK)
		return refuse(s);
	if (msg->top && msg->lines == 0)
		msg->end = msg->m->header_len;
	msg->terminator = msg->top && msg->end < msg->m->wire_len - TERMINATOR_LEN;
	if (!msg->terminator)
		msg->end = msg->m->wire_len;
	/* Nor is anything read for a client that can be sent nothing. */
	if (msg->top || s->link->out->failed)
		return reply(s);
	s->status = look_at_window(msg, s->link->out->recent);
	if (s->status == SPOOL_WOULD_BLOCK)
		return pop3_session_work(
		    s, s->pop3d->disk_jobs, work_read_ahead, first_window_read);
	return reply(s);
}

static enum spool_status
work_open(struct pop3_session *s)
{
	struct pop3_message *msg = s->message;
	enum spool_status status = SPOOL_OK;

	if (msg->m == NULL)
		status = maildrop_open_message(s->maildrop, msg->index, true, &msg->m);
	if (status == SPOOL_OK && msg->top && msg->lines > 0)
		status = maildrop_top(msg->m, msg->lines, &msg->end);
	return status;
}

enum pop3_reply
pop3_send(struct pop3_session *s, size_t i, bool top, uint64_t lines)
{
	struct pop3_message *msg = mem_array(1, sizeof(*msg));

	if (msg == NULL)
		return POP3_ERR_TEMP;
	msg->refs = 1;
	msg->place = OUTQ_NOWHERE;
	msg->index = i;
	msg->top = top;
	msg->lines = lines;
	s->message = msg;
	s->looks += POP3_LOOKS_OPEN;
	s->status = maildrop_open_message(s->maildrop, i, false, &msg->m);
	/* Where so many lines of the body end is found by reading them. */
	if (s->status == SPOOL_WOULD_BLOCK || (s->status == SPOOL_OK && lines > 0))
		return pop3_session_work(s, s->pop3d->disk_jobs, work_open, begin);
	return begin(s);
}
