/*
 * deliver - messages by SMTP or LMTP, and how long until all of them can be fetched.
 *
 *   load deliver port=N [NAME=VALUE...]
 *
 *   connections=1  at once       each=100      messages of a connection; 0: all
 *   messages=1000  in all        seconds=0     after which no message begins; 0: none
 *   rate=0         messages begun a second; 0: each when the one before is answered
 *   octets=4096    on the wire   recipients=1  of each message, neighbours
 *   first=0 mailboxes=10 domain=example.test    message i begins with u<first + i mod mailboxes>
 *   pipelining=0   1: MAIL, RCPT and DATA in one write
 *   tls=none       start: STARTTLS    lmtp=0    1: LMTP
 *   opening=200    connections at most that wait for their greeting
 *   pop3=0         port of the POP3 server that must have all of them in the end
 *
 * Prints messages a second until the last was answered, and until POP3 had all; how long
 * the reply to the last octet took.  What was fetchable is looked at again and again; the time
 * is that at which the look began that found all.  When fewer come for 60 seconds, or more
 * than were sent, the run has failed.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "deliver.h"
#include "fetch.h"
#include "measure.h"

enum step { GREETING, EHLO, STARTTLS, READY, MAIL, RCPT, DATA, DOT, QUIT };

static const char *const step_names[] = { "greeting", "EHLO", "STARTTLS", "nothing", "MAIL", "RCPT",
	"DATA", "the final dot", "QUIT" };
static const char wanted[] = { '2', '2', '2', '2', '2', '2', '3', '2', '2' };

struct sender {
	struct client c; /* first */
	enum step step;
	uint64_t number; /* of the message in hand */
	uint64_t left;   /* replies of this step that are still to come */
	uint64_t in_session;
	bool secured;
};

struct run {
	uint64_t port, connections, each, messages, seconds, rate, octets, recipients;
	uint64_t first, mailboxes, pipelining, lmtp, pop3, opening;
	const char *domain, *tls_text, *password;
	enum tls_use tls;
	struct load load;
	struct client *ready; /* with a rate: wait for their next message */
	char *message;
	size_t message_len;
	uint64_t begun, end_ns, started, answered, late;
	struct times dot;
};

static bool
over(const struct run *r)
{
	return r->started >= r->messages || (r->end_ns != 0 && r->load.now >= r->end_ns);
}

/* --- the message ---------------------------------------------------------- */

/* `octets` on the wire, all that a server might otherwise add among them, and the final dot. */
static void
make_message(struct run *r)
{
	static const char head[] = "From: <load@client.test>\r\nTo: <u@example.test>\r\n"
				   "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
				   "Message-ID: <load@client.test>\r\nSubject: load\r\n\r\n";
	size_t at = sizeof(head) - 1, octets = r->octets;

	if (octets < at + 2)
		octets = at + 2;
	r->message_len = octets + 3;
	r->message = malloc(r->message_len);
	if (r->message == NULL)
		die("memory for the message");
	memcpy(r->message, head, at);
	for (size_t i = at; i < octets; i++)
		r->message[i] = (i - at) % 78 == 76 ? '\r' : (i - at) % 78 == 77 ? '\n' : 'x';
	if (r->message[octets - 3] == '\r')
		r->message[octets - 3] = 'x';
	memcpy(r->message + octets - 2, "\r\n.\r\n", 5);
}

/* --- one message ---------------------------------------------------------- */

static void
put_recipient(struct run *r, struct sender *s, uint64_t i)
{
	client_printf(&s->c, "RCPT TO:<u%llu@%s>\r\n",
	    (unsigned long long)(r->first + (s->number + i) % r->mailboxes), r->domain);
}

static void
begin_message(struct run *r, struct sender *s)
{
	s->number = r->started++;
	s->in_session++;
	s->step = MAIL;
	s->left = 1;
	client_printf(&s->c, "MAIL FROM:<load@client.test>\r\n");
	if (r->pipelining != 0) {
		for (uint64_t i = 0; i < r->recipients; i++)
			put_recipient(r, s, i);
		client_printf(&s->c, "DATA\r\n");
	}
}

/* The session is open and has no message: the next one, its end, or a wait. */
static void
be_ready(struct run *r, struct sender *s)
{
	s->step = READY;
	if (over(r) || (r->each != 0 && s->in_session == r->each)) {
		s->step = QUIT;
		s->left = 1;
		client_printf(&s->c, "QUIT\r\n");
	} else if (r->rate != 0) {
		s->c.next = r->ready;
		r->ready = &s->c;
	} else
		begin_message(r, s);
}

static void
open_session(struct sender *s)
{
	s->step = GREETING;
	s->left = 1;
	s->in_session = 0;
	s->secured = false;
	client_open(&s->c);
}

static void
put_hello(struct run *r, struct sender *s)
{
	s->step = EHLO;
	s->left = 1;
	client_printf(&s->c, "%s client.test\r\n", r->lmtp != 0 ? "LHLO" : "EHLO");
}

/* All replies of the step are there. */
static void
step_done(struct run *r, struct sender *s)
{
	switch (s->step) {
	case GREETING:
		put_hello(r, s);
		break;
	case EHLO:
		if (r->tls != TLS_START || s->secured) {
			be_ready(r, s);
			break;
		}
		s->step = STARTTLS;
		s->left = 1;
		client_printf(&s->c, "STARTTLS\r\n");
		break;
	case STARTTLS:
		client_start_tls(&s->c);
		break;
	case MAIL:
		s->step = RCPT;
		s->left = r->recipients;
		if (r->pipelining == 0)
			put_recipient(r, s, 0);
		break;
	case RCPT:
		s->step = DATA;
		s->left = 1;
		if (r->pipelining == 0)
			client_printf(&s->c, "DATA\r\n");
		break;
	case DATA:
		s->step = DOT;
		s->left = r->lmtp != 0 ? r->recipients : 1;
		client_put_shared(&s->c, r->message, r->message_len);
		break;
	case DOT:
		times_add(&r->dot, now_ns() - s->c.sent_ns);
		r->answered++;
		be_ready(r, s);
		break;
	default:
		client_close(&s->c);
		if (!over(r))
			open_session(s);
		break;
	}
}

static void
on_line(struct client *c, const char *line, size_t len)
{
	struct run *r = c->load->arg;
	struct sender *s = (struct sender *)c;

	if (len < 3 || line[0] != wanted[s->step] || s->step == READY)
		die_saying("deliver: %s was answered: %s", step_names[s->step], line);
	if (len > 3 && line[3] == '-')
		return;
	if (--s->left == 0)
		step_done(r, s);
	else if (s->step == RCPT && r->pipelining == 0)
		put_recipient(r, s, r->recipients - s->left);
}

static void
on_secured(struct client *c)
{
	struct sender *s = (struct sender *)c;

	s->secured = true;
	put_hello(c->load->arg, s);
}

static void
end_ready(struct run *r)
{
	while (r->ready != NULL) {
		struct client *c = r->ready;

		r->ready = c->next;
		be_ready(r, (struct sender *)c);
		client_flush(c);
	}
}

/* Begins the messages that a rate makes due; one for which no session is ready is late. */
static void
on_due(struct load *l)
{
	struct run *r = l->arg;

	while (l->due_ns <= l->now && !over(r)) {
		struct client *c = r->ready;

		if (c == NULL) {
			r->late++;
			break;
		}
		r->ready = c->next;
		begin_message(r, (struct sender *)c);
		client_flush(c);
		l->due_ns = r->begun + r->started * NS / r->rate;
	}
	if (over(r)) {
		l->due_ns = 0;
		end_ready(r);
	} else if (l->due_ns <= l->now)
		l->due_ns = l->now + 1000000;
}

static const struct script script = {
	.client_size = sizeof(struct sender), .line = on_line, .secured = on_secured, .due = on_due
};

/* --- the run -------------------------------------------------------------- */

/* Waits until POP3 has `wanted_n` messages; when the look began that found them. */
static uint64_t
wait_stored(const struct fetch_options *mail, uint64_t wanted_n)
{
	const struct timespec pause = { 0, 20000000 };
	uint64_t most = 0, moved = now_ns();

	for (;;) {
		uint64_t began = now_ns(), n = fetch_count(mail);

		if (n == wanted_n)
			return began;
		if (n > wanted_n)
			die_saying("deliver: POP3 has %llu messages, and only %llu were sent",
			    (unsigned long long)n, (unsigned long long)wanted_n);
		if (n > most) {
			most = n;
			moved = began;
		} else if (began - moved > 60ull * NS)
			die_saying("deliver: POP3 has %llu of %llu messages, and no more come",
			    (unsigned long long)n, (unsigned long long)wanted_n);
		nanosleep(&pause, NULL);
	}
}

static void
read_options(char **args, struct run *r)
{
	const struct option_row rows[] = {
		{ "port", NULL, &r->port },
		{ "connections", NULL, &r->connections },
		{ "each", NULL, &r->each },
		{ "messages", NULL, &r->messages },
		{ "seconds", NULL, &r->seconds },
		{ "rate", NULL, &r->rate },
		{ "octets", NULL, &r->octets },
		{ "recipients", NULL, &r->recipients },
		{ "first", NULL, &r->first },
		{ "mailboxes", NULL, &r->mailboxes },
		{ "domain", &r->domain, NULL },
		{ "password", &r->password, NULL },
		{ "pipelining", NULL, &r->pipelining },
		{ "tls", &r->tls_text, NULL },
		{ "lmtp", NULL, &r->lmtp },
		{ "pop3", NULL, &r->pop3 },
		{ "opening", NULL, &r->opening },
	};

	*r = (struct run){ .connections = 1,
		.each = 100,
		.messages = 1000,
		.octets = 4096,
		.recipients = 1,
		.mailboxes = 10,
		.domain = "example.test",
		.password = "secret",
		.tls_text = "none",
		.opening = OPENING };
	options_read(args, rows, sizeof(rows) / sizeof(rows[0]));
	r->tls = tls_use_of(r->tls_text);
	if (r->port == 0 || r->port > 65535 || r->connections == 0 || r->messages == 0 ||
	    r->mailboxes == 0 || r->recipients == 0 || r->recipients > r->mailboxes)
		die_saying(
		    "deliver: a port is needed, and at least one of everything; a message has no"
		    " more recipients than there are mailboxes");
}

int
deliver_main(char **args)
{
	struct run r;
	struct fetch_options mail;
	uint64_t before = 0, accepted, stored;

	read_options(args, &r);
	make_message(&r);
	mail = (struct fetch_options){ .port = r.pop3,
		.first = r.first,
		.mailboxes = r.mailboxes,
		.domain = r.domain,
		.password = r.password };
	if (r.pop3 != 0)
		before = fetch_count(&mail);
	load_init(&r.load, &script, "deliver", (uint16_t)r.port, (unsigned)r.connections);
	r.load.arg = &r;
	r.load.opening = (unsigned)r.opening;
	r.load.implicit_tls = r.tls == TLS_IMPLICIT;
	r.begun = now_ns();
	r.end_ns = r.seconds == 0 ? 0 : r.begun + r.seconds * NS;
	r.load.due_ns = r.rate == 0 ? 0 : r.begun;
	for (unsigned i = 0; i < r.connections; i++)
		open_session((struct sender *)load_client(&r.load, i));
	load_run(&r.load);
	accepted = stored = now_ns();
	if (r.answered != r.started || r.answered == 0)
		die_saying("deliver: %llu messages were begun, %llu answered",
		    (unsigned long long)r.started, (unsigned long long)r.answered);
	if (r.pop3 != 0)
		stored = wait_stored(&mail, before + r.answered * r.recipients);
	printf("messages=%llu seconds=%.4f accepted_per_s=%.2f", (unsigned long long)r.answered,
	    (double)(accepted - r.begun) / 1e9,
	    (double)r.answered * 1e9 / (double)(accepted - r.begun));
	if (r.pop3 != 0)
		printf(" stored_seconds=%.4f stored_per_s=%.2f", (double)(stored - r.begun) / 1e9,
		    (double)r.answered * 1e9 / (double)(stored - r.begun));
	printf(" late=%llu", (unsigned long long)r.late);
	times_print(&r.dot, "reply");
	printf("\n");
	load_release(&r.load);
	free(r.message);
	return 0;
}
