/*
 * fetch - POP3 sessions: see fetch.h.
 *
 * A session is a row of steps, one after the other; steps that are not asked for are passed
 * over.  RETR and DELE go out `window` at a time.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "fetch.h"
#include "measure.h"

enum step { GREETING, STLS, USER, PASS, STAT, LIST, UIDL, RETR, DELE, QUIT };

static const char *const step_names[] = { "greeting", "stls", "user", "login", "stat", "list",
	"uidl", "retr", "dele", "quit" };
#define STEPS (sizeof(step_names) / sizeof(step_names[0]))

struct fetcher {
	struct client c; /* first */
	enum step step;
	uint64_t begun_ns, step_ns;
	uint64_t turn;            /* sessions of this client so far; in turn: of all */
	uint64_t messages;        /* in the maildrop, as STAT said */
	uint64_t asked, answered; /* RETR or DELE of this step */
};

struct run {
	const struct fetch_options *o;
	struct fetch_sums sums;
	struct load load;
	struct client *idle; /* with a rate: wait for their next session */
	uint64_t begun, late;
	uint64_t end_ns; /* 0: never */
	uint64_t started;
	bool keep;  /* stop before QUIT and leave the connections open */
	bool login; /* with keep: after PASS, otherwise after the greeting (and TLS) */
	unsigned kept;
	struct times steps[STEPS], whole;
};

enum tls_use
tls_use_of(const char *text)
{
	static const char *const names[] = { "none", "start", "implicit" };

	for (int i = 0; i < 3; i++) {
		if (strcmp(text, names[i]) == 0)
			return (enum tls_use)i;
	}
	die_saying("tls=%s: it is none, start or implicit", text);
}

static struct run *
run_of(struct client *c)
{
	return c->load->arg;
}

static bool
over(const struct run *r)
{
	return (r->end_ns != 0 && r->load.now >= r->end_ns) ||
	       (r->o->sessions != 0 && r->started >= r->o->sessions);
}

/* The mailboxes are taken in turn, whichever client is free: at a rate, and where each comes once at
 * the most.  Else each client has its own, since some are faster than others and no two may meet. */
static bool
in_turn(const struct fetch_options *o)
{
	return o->rate != 0 || (o->sessions != 0 && o->sessions <= o->mailboxes);
}

static void
begin_session(struct run *r, struct fetcher *f)
{
	if (in_turn(r->o))
		f->turn = r->started;
	r->started++;
	f->step = GREETING;
	f->begun_ns = f->step_ns = now_ns();
	f->messages = 0;
	client_open(&f->c);
}

static void
end_session(struct run *r, struct fetcher *f)
{
	times_add(&r->whole, now_ns() - f->begun_ns);
	r->sums.sessions++;
	f->turn++;
	client_close(&f->c);
	if (r->o->rate != 0) {
		f->c.next = r->idle;
		r->idle = &f->c;
	} else if (!over(r))
		begin_session(r, f);
}

/* --- steps ---------------------------------------------------------------- */

static bool
wanted(const struct run *r, const struct fetcher *f, enum step step)
{
	switch (step) {
	case STLS:
		return r->o->tls == TLS_START;
	case STAT:
		return r->o->stat != 0 || r->o->retr != 0 || r->o->dele != 0;
	case LIST:
		return r->o->list != 0;
	case UIDL:
		return r->o->uidl != 0;
	case RETR:
		return r->o->retr != 0 && f->messages > 0;
	case DELE:
		return r->o->dele != 0 && f->messages > 0;
	default:
		return true;
	}
}

/* How many of RETR or DELE the session asks for in all. */
static uint64_t
to_ask(const struct run *r, const struct fetcher *f)
{
	uint64_t n = f->step == RETR ? r->o->retr : r->o->dele;

	return n < f->messages ? n : f->messages;
}

static void
ask_some(struct run *r, struct fetcher *f)
{
	uint64_t n = to_ask(r, f);
	bool endless = f->step == RETR && r->o->endless != 0;

	while (f->asked - f->answered < r->o->window && (endless ? !over(r) : f->asked < n)) {
		client_printf(&f->c, "%s %llu\r\n", f->step == RETR ? "RETR" : "DELE",
		    (unsigned long long)(f->asked % n + 1));
		f->asked++;
	}
}

static uint64_t
mailbox_of(const struct run *r, const struct fetcher *f)
{
	const struct fetch_options *o = r->o;
	uint64_t client = (uint64_t)((const char *)f - r->load.clients) / sizeof(*f);

	return (in_turn(o) ? f->turn : client + f->turn * o->connections) % o->mailboxes;
}

static void
enter(struct run *r, struct fetcher *f, enum step step)
{
	const struct fetch_options *o = r->o;

	while (!wanted(r, f, step))
		step++;
	f->step = step;
	f->step_ns = now_ns();
	switch (step) {
	case STLS:
		client_printf(&f->c, "STLS\r\n");
		break;
	case USER:
		client_printf(&f->c, "USER u%llu@%s\r\n",
		    (unsigned long long)(o->first + mailbox_of(r, f)), o->domain);
		break;
	case PASS:
		client_printf(&f->c, "PASS %s\r\n", o->password);
		break;
	case RETR:
	case DELE:
		f->asked = f->answered = 0;
		ask_some(r, f);
		break;
	case QUIT:
	default:
		client_printf(&f->c, "%s\r\n",
		    step == STAT   ? "STAT"
		    : step == LIST ? "LIST"
		    : step == UIDL ? "UIDL"
				   : "QUIT");
		break;
	}
}

static void
step_done(struct run *r, struct fetcher *f)
{
	times_add(&r->steps[f->step], now_ns() - f->step_ns);
	if (f->step == QUIT)
		end_session(r, f);
	else if (r->keep &&
		 (f->step == PASS || (!r->login && f->step < USER && !wanted(r, f, STLS))))
		r->kept++;
	else if (r->keep && !r->login && f->step == STLS)
		r->kept++;
	else
		enter(r, f, f->step + 1);
}

static void
one_answered(struct run *r, struct fetcher *f)
{
	f->answered++;
	if (f->step == RETR)
		r->sums.retrieved++;
	else
		r->sums.deleted++;
	ask_some(r, f);
	if (f->answered == f->asked)
		step_done(r, f);
}

/* --- what the server says ------------------------------------------------- */

static void
on_line(struct client *c, const char *line, size_t len)
{
	struct run *r = run_of(c);
	struct fetcher *f = (struct fetcher *)c;
	unsigned long long messages;

	(void)len;
	if (strncmp(line, "+OK", 3) != 0)
		die_saying("%s: %s was answered: %s", c->load->name, step_names[f->step], line);
	switch (f->step) {
	case STLS:
		client_start_tls(c);
		return;
	case STAT:
		if (sscanf(line, "+OK %llu", &messages) != 1)
			die_saying("fetch: this is no answer to STAT: %s", line);
		f->messages = messages;
		r->sums.messages += messages;
		break;
	case LIST:
	case UIDL:
		client_expect_body(c, true);
		return;
	case RETR:
		client_expect_body(c, false);
		return;
	case DELE:
		one_answered(r, f);
		return;
	default:
		break;
	}
	step_done(r, f);
}

static void
on_body(struct client *c, uint64_t octets, uint64_t lines)
{
	struct run *r = run_of(c);
	struct fetcher *f = (struct fetcher *)c;

	if (f->step == RETR) {
		r->sums.octets += octets;
		one_answered(r, f);
		return;
	}
	r->sums.listed += lines;
	step_done(r, f);
}

static void
on_secured(struct client *c)
{
	struct fetcher *f = (struct fetcher *)c;

	step_done(run_of(c), f);
}

/* Begins the sessions that a rate makes due; one for which no client is free is late. */
static void
on_due(struct load *l)
{
	struct run *r = l->arg;

	while (l->due_ns <= l->now && !over(r)) {
		struct client *c = r->idle;

		if (c == NULL) {
			r->late++;
			break;
		}
		r->idle = c->next;
		begin_session(r, (struct fetcher *)c);
		l->due_ns = r->begun + r->started * NS / r->o->rate;
	}
	if (over(r))
		l->due_ns = 0;
	else if (l->due_ns <= l->now)
		l->due_ns = l->now + 1000000;
}

static const struct script script = { .client_size = sizeof(struct fetcher),
	.line = on_line,
	.body = on_body,
	.secured = on_secured,
	.due = on_due };

/* --- runs ----------------------------------------------------------------- */

static void
run_begin(struct run *r, const struct fetch_options *o, const char *name)
{
	struct in_addr at;

	if (o->port == 0 || o->port > 65535 || o->connections == 0 || o->mailboxes == 0 ||
	    o->mailboxes % o->connections != 0 || o->window == 0)
		die_saying(
		    "%s: a port, connections and mailboxes are needed, the latter a multiple",
		    name);
	r->o = o;
	load_init(&r->load, &script, name, (uint16_t)o->port, (unsigned)o->connections);
	r->load.arg = r;
	if (o->host != NULL) {
		if (inet_pton(AF_INET, o->host, &at) != 1)
			die_saying("%s: host=%s: it is a dotted quad", name, o->host);
		r->load.host = ntohl(at.s_addr);
	}
	r->load.implicit_tls = o->tls == TLS_IMPLICIT;
	r->begun = r->load.now;
	r->end_ns = o->seconds == 0 ? 0 : r->begun + o->seconds * NS;
	if (o->rate != 0)
		r->load.due_ns = r->begun;
	for (unsigned i = 0; i < o->connections; i++) {
		struct client *c = load_client(&r->load, i);

		if (o->rate != 0) {
			c->next = r->idle;
			r->idle = c;
		} else if (r->keep || !over(r))
			begin_session(r, (struct fetcher *)c);
	}
}

static void
show_run(struct run *r)
{
	double seconds = (double)(now_ns() - r->begun) / 1e9;

	printf("seconds=%.4f sessions=%llu sessions_per_s=%.2f messages=%llu listed=%llu"
	       " retrieved=%llu deleted=%llu octets=%llu mb_per_s=%.3f late=%llu",
	    seconds, (unsigned long long)r->sums.sessions, (double)r->sums.sessions / seconds,
	    (unsigned long long)r->sums.messages, (unsigned long long)r->sums.listed,
	    (unsigned long long)r->sums.retrieved, (unsigned long long)r->sums.deleted,
	    (unsigned long long)r->sums.octets, (double)r->sums.octets / seconds / 1e6,
	    (unsigned long long)r->late);
	for (size_t i = 0; i < STEPS; i++)
		times_print(&r->steps[i], step_names[i]);
	times_print(&r->whole, "session");
	printf("\n");
}

struct fetch_sums
fetch_run(const struct fetch_options *o, bool show)
{
	struct run r = { 0 };

	run_begin(&r, o, "fetch");
	load_run(&r.load);
	if (show)
		show_run(&r);
	for (size_t i = 0; i < STEPS; i++)
		free(r.steps[i].ns);
	free(r.whole.ns);
	load_release(&r.load);
	return r.sums;
}

uint64_t
fetch_count(const struct fetch_options *o)
{
	struct fetch_options asked = { .host = o->host,
		.port = o->port,
		.sessions = o->mailboxes,
		.first = o->first,
		.mailboxes = o->mailboxes,
		.domain = o->domain,
		.password = o->password,
		.stat = 1,
		.window = 1,
		.connections = 16 };

	while (o->mailboxes % asked.connections != 0)
		asked.connections--;
	return fetch_run(&asked, false).messages;
}

static void
read_options(char **args, struct fetch_options *o)
{
	const char *tls = "none";
	const struct option_row rows[] = {
		{ "host", &o->host, NULL },
		{ "port", NULL, &o->port },
		{ "connections", NULL, &o->connections },
		{ "sessions", NULL, &o->sessions },
		{ "seconds", NULL, &o->seconds },
		{ "rate", NULL, &o->rate },
		{ "first", NULL, &o->first },
		{ "mailboxes", NULL, &o->mailboxes },
		{ "domain", &o->domain, NULL },
		{ "password", &o->password, NULL },
		{ "tls", &tls, NULL },
		{ "stat", NULL, &o->stat },
		{ "list", NULL, &o->list },
		{ "uidl", NULL, &o->uidl },
		{ "retr", NULL, &o->retr },
		{ "endless", NULL, &o->endless },
		{ "dele", NULL, &o->dele },
		{ "window", NULL, &o->window },
	};

	*o = (struct fetch_options){ .connections = 1,
		.mailboxes = 1,
		.window = 1,
		.domain = "example.test",
		.password = "secret" };
	options_read(args, rows, sizeof(rows) / sizeof(rows[0]));
	o->tls = tls_use_of(tls);
}

int
fetch_main(char **args)
{
	struct fetch_options o;

	read_options(args, &o);
	if (o.sessions == 0 && o.seconds == 0)
		o.sessions = 1;
	fetch_run(&o, true);
	return 0;
}

int
count_main(char **args)
{
	struct fetch_options o;

	read_options(args, &o);
	printf("messages=%llu\n", (unsigned long long)fetch_count(&o));
	return 0;
}

/* Opens connections, logs in where stat=1 says so, prints a line, and keeps them until standard
 * input ends. */
int
idle_main(char **args)
{
	struct fetch_options o;
	struct run r = { .keep = true };

	read_options(args, &o);
	r.login = o.stat != 0;
	o.stat = 0;
	run_begin(&r, &o, "idle");
	while (r.kept < o.connections)
		load_turn(&r.load, 120000);
	printf("open=%u\n", r.kept);
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	for (size_t i = 0; i < STEPS; i++)
		free(r.steps[i].ns);
	load_release(&r.load);
	return 0;
}
