/*
 * fuzz_pop3_session - a whole session on a real spool.
 *
 * The first octet of the input chooses where the session begins and how it ends.  The
 * rest is what the client sends, in flights that are cut at 0xFE 0xFF: a handshake takes the
 * rest of its flight with it, as what came in the clear does.  0xFD stands for the digest
 * that APOP asks for.  joe has six messages, bad one that is damaged, ann none, and busy is
 * always in use.
 *
 * What must hold: each line has one response, of the shape that its command asks for, and each
 * line of a response is well-formed; STAT, LIST, UIDL and RETR agree on what there is;
 * nothing is removed without QUIT; and a session that is given its input octet by octet, by
 * a client that does not read meanwhile, says the same as one that is given it whole.
 */
#include <crypt.h>
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <strings.h>

#include "common/spool/index.h"
#include "mail/sasl.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/pop3d/drive.h"

enum {
	TLS = 1,
	NO_TLS = 2,
	NO_PLAINTEXT = 4,
	LOGGED_IN = 8,
	END = 0x30,
	END_TIMEOUT = 0x10,
	END_SHUTDOWN = 0x20,
	END_FAILED = 0x30, /* memory runs out for the replies to the last flight */
	LOG = 0x40,
	LOOPBACK = 0x80, /* the peer is near; but for NO_PLAINTEXT, it must be */
};

#define JOE "joe@example.test"
#define MESSAGES 6

static const char *const messages[MESSAGES] = {
	"Subject: one\r\n\r\nfirst\r\n",
	"Subject: two\r\n\r\n.dot\r\n..\r\n.\r\n\r\nlast\r\n",
	"Subject: three\r\n",
	NULL, /* a third of LARGE octets */
	NULL, /* LARGE octets */
	"Subject: six\r\n\r\n",
};
/* More than one window of a message, and a third of it more than the queue may hold. */
#define LARGE 300000
/* So many inputs are logged, so that hostile text meets the log as well. */
#define LOGGED_MAX 300u

/* After so many UPDATEs the spool is made anew, or it would fill the memory. */
#define REFILLS_MAX 200

static struct site site;
static struct drive busy;
static struct spool *filler; /* open all the while: what it costs to open one is paid once */
static unsigned refills, logged;

/* Hashing costs tens of milliseconds by design; here it costs a sum. */
char *
crypt_rn(const char *phrase, const char *setting, void *data, int size)
{
	struct crypt_data *out = data;
	uint64_t sum = 14695981039346656037u;

	(void)setting, (void)size;
	for (; *phrase != '\0'; phrase++)
		sum = (sum ^ (unsigned char)*phrase) * 1099511628211u;
	snprintf(out->output, sizeof(out->output), "$y$fuzz$%016llx", (unsigned long long)sum);
	return out->output;
}

static void
fill(void)
{
	char *large = fuzz_room(LARGE);

	for (size_t i = 0; i < LARGE; i++)
		large[i] = i % 50 == 49 ? '\n' : i % 50 == 48 ? '\r' : i % 50 == 0 ? '.' : 'x';
	memcpy(large, "Subject: long\r\n\r\n", 17);
	for (size_t i = 0; i < MESSAGES; i++)
		if (messages[i] != NULL)
			site_deliver_by(filler, JOE, messages[i], strlen(messages[i]), 1);
		else
			site_deliver_by(filler, JOE, large, i == 3 ? LARGE / 3 : LARGE, 1);
	free(large);
}

/* Spoils the record of the one message that there is. */
static void
damage(void)
{
	char pattern[400];
	char junk[100];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/segments/[0-9]*", site.spool_dir);
	REQUIRE(glob(pattern, 0, NULL, &found) == 0);
	memset(junk, 0xa5, sizeof(junk));
	for (size_t i = 0; i < found.gl_pathc; i++) {
		int fd = open(found.gl_pathv[i], O_WRONLY | O_CLOEXEC);

		REQUIRE(fd >= 0 && pwrite(fd, junk, sizeof(junk), 4096) == (ssize_t)sizeof(junk));
		close(fd);
	}
	globfree(&found);
}

static void
make_site(void)
{
	struct spool *admin;

	site_open(&site, true);
	admin = site_spool(&site, SPOOL_ADMIN);
	site_user(admin, "bad@example.test", "secret", false);
	site_user(admin, "busy@example.test", "secret", false);
	spool_close(&admin);
	site_deliver(&site, "bad@example.test", messages[0], strlen(messages[0]), 1);
	damage();
	filler = site_spool(&site, SPOOL_SMTPD);
	fill();
	drive_start(&busy, &site);
	drive_say(&busy, "USER busy\r\nPASS secret\r\n");
	REQUIRE(busy.session->state == POP3_TRANSACTION);
}

static void
remove_site(void)
{
	drive_free(&busy, SESSION_END_PEER);
	spool_close(&filler);
	site_close(&site);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	/* What ends at exit ends in the reverse order of its beginning: libcrypto, which a
	 * login begins, must outlive the pools. */
	make_site();
	atexit(remove_site);
	return 0;
}

/* --- what the responses must be -------------------------------------------- */

/* A plain reading of the protocol beside the session's: what came in, line by line. */
struct model {
	const char *said, *end; /* responses that are not taken yet */
	bool logged_in, answering, over;
	size_t total, live;
	bool marked[MESSAGES];
};

static size_t
take_reply_line(struct model *m, const char **line_r)
{
	const char *lf = memchr(m->said, '\n', (size_t)(m->end - m->said));

	REQUIRE(lf != NULL && lf > m->said && lf[-1] == '\r');
	*line_r = m->said;
	m->said = lf + 1;
	return (size_t)(lf - 1 - *line_r);
}

/* Takes the lines up to the terminator; counts them, and their octets without stuffing. */
static size_t
take_lines(struct model *m, uint64_t *octets_r)
{
	const char *line;
	size_t len, n = 0;

	*octets_r = 0;
	for (;;) {
		len = take_reply_line(m, &line);
		if (len == 1 && line[0] == '.')
			return n;
		REQUIRE(len == 0 || line[0] != '.' || line[1] == '.' || line[1] == '\r');
		*octets_r += len + 2 - (len > 0 && line[0] == '.');
		n++;
	}
}

/* The first word of a line is this keyword; *rest_r is what follows, without blanks at its end. */
static bool
is_command(const char *line, size_t len, const char *keyword, struct strbuf *rest_r)
{
	size_t n = strlen(keyword);

	if (len < n || strncasecmp(line, keyword, n) != 0 || (len > n && line[n] != ' '))
		return false;
	strbuf_clear(rest_r);
	if (len > n + 1)
		strbuf_add(rest_r, line + n + 1, len - n - 1);
	while (rest_r->len > 0 && rest_r->buf[rest_r->len - 1] == ' ')
		rest_r->buf[--rest_r->len] = '\0';
	return true;
}

/* What +OK to a command of the TRANSACTION state says. */
static void
check_transaction(
    struct model *m, const char *line, size_t len, const char *reply, struct strbuf *rest)
{
	unsigned long long count, octets;
	uint64_t got;
	size_t n = strtoul(is_command(line, len, "DELE", rest) ? rest->buf : "0", NULL, 10);

	if (n > 0) {
		REQUIRE(n <= m->total && !m->marked[n - 1]);
		m->marked[n - 1] = true;
		m->live--;
	} else if (is_command(line, len, "RSET", rest)) {
		memset(m->marked, 0, sizeof(m->marked));
		m->live = m->total;
	} else if (is_command(line, len, "STAT", rest)) {
		REQUIRE(sscanf(reply, "+OK %llu %llu\r", &count, &octets) == 2);
		REQUIRE(count == m->live);
	} else if ((is_command(line, len, "LIST", rest) || is_command(line, len, "UIDL", rest)) &&
		   rest->len == 0) {
		REQUIRE(take_lines(m, &got) == m->live);
	} else if (is_command(line, len, "TOP", rest)) {
		take_lines(m, &got);
	} else if (is_command(line, len, "RETR", rest)) {
		REQUIRE(sscanf(reply, "+OK %llu octets\r", &octets) == 1);
		take_lines(m, &got);
		REQUIRE(octets == got);
	}
}

/* Takes the response to one line. */
static void
check_line(struct model *m, const char *line, size_t len, struct strbuf *rest)
{
	bool answering = m->answering, ok;
	const char *reply;
	uint64_t octets;
	size_t n = take_reply_line(m, &reply);

	m->answering = false;
	REQUIRE(n + 2 <= 512);
	for (size_t i = 0; i < n; i++)
		REQUIRE(reply[i] >= ' ' && reply[i] <= '~');
	if (reply[0] == '+' && reply[1] == ' ') {
		REQUIRE(!m->logged_in && (answering || is_command(line, len, "AUTH", rest)));
		m->answering = true;
		return;
	}
	ok = strncmp(reply, "+OK", 3) == 0;
	REQUIRE(ok || strncmp(reply, "-ERR ", 5) == 0);
	REQUIRE(!ok || n == 3 || reply[3] == ' ');
	if (strncmp(reply, "-ERR [AUTH] wrong once too often", 32) == 0 ||
	    strncmp(reply, "-ERR [SYS/TEMP] nothing was removed", 35) == 0 ||
	    (ok && !answering && is_command(line, len, "QUIT", rest)))
		m->over = true;
	if (!ok)
		return;
	if (!answering && is_command(line, len, "CAPA", rest)) {
		REQUIRE(take_lines(m, &octets) >= 7);
	} else if (m->logged_in) {
		check_transaction(m, line, len, reply, rest);
	} else if (!answering && is_command(line, len, "AUTH", rest) && rest->len == 0) {
		take_lines(m, &octets);
	} else if (answering || is_command(line, len, "AUTH", rest) ||
		   is_command(line, len, "PASS", rest) || is_command(line, len, "APOP", rest)) {
		m->logged_in = true;
		REQUIRE(sscanf(reply, "+OK %zu messages", &m->total) == 1 && m->total <= MESSAGES);
		m->live = m->total;
	}
}

static size_t
limit(const struct model *m, const char *line, size_t len)
{
	if (m->answering)
		return POP3_LINE_MAX_CREDENTIALS;
	if (!m->logged_in && len >= 5 &&
	    (strncasecmp(line, "AUTH ", 5) == 0 || strncasecmp(line, "PASS ", 5) == 0))
		return POP3_LINE_MAX_CREDENTIALS;
	return POP3_LINE_MAX;
}

/* Everything that was said must answer what was asked, in order. */
static void
check_dialogue(struct model *m, const struct strbuf *asked)
{
	const char *p = asked->buf, *end = p + asked->len;
	struct strbuf rest;

	strbuf_init(&rest, SIZE_MAX);
	while (p < end && !m->over) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t used = lf != NULL ? (size_t)(lf - p) + 1 : (size_t)(end - p);
		size_t len = used - 1;
		const char *reply;

		if (used > limit(m, p, used)) {
			m->answering = false;
			len = take_reply_line(m, &reply);
			REQUIRE(len == 18 && memcmp(reply, "-ERR line too long", len) == 0);
		} else if (lf != NULL) {
			if (len > 0 && p[len - 1] == '\r')
				len--;
			check_line(m, p, len, &rest);
		}
		p += used;
	}
	REQUIRE(m->said == m->end);
	strbuf_release(&rest);
}

/* --- running --------------------------------------------------------------- */

struct result {
	char *said; /* owned */
	size_t len;
	enum session_want want;
	uint64_t removed;
};

static size_t
flight_len(const uint8_t *data, size_t size)
{
	const uint8_t *end = memmem(data, size, "\xfe\xff", 2);

	return end != NULL ? (size_t)(end - data) : size;
}

/* RFC 2595 4: TLS has begun, and neither what was said before nor what came along with STLS in
 * the clear is part of the session. */
static void
check_forgotten(const struct drive *d)
{
	const struct pop3_session *s = d->session;

	REQUIRE(d->want == SESSION_READ && d->npending == 0);
	REQUIRE(s->state == POP3_AUTHORIZATION && s->user == NULL && s->login == NULL);
	REQUIRE(s->answer == NULL && s->go_on == NULL && !s->skipping && s->maildrop == NULL);
}

/* Says one flight and lets the client read what comes.  When it goes octet by octet the
 * client reads nothing before its end. */
static void
send_flight(struct drive *d, const char *data, size_t len, size_t step)
{
	bool tls = d->link.tls;

	d->holding = step == 1;
	for (size_t at = 0; at < len && d->link.tls == tls; at += step)
		drive_send(d, data + at, len - at < step ? len - at : step);
	if (d->link.tls != tls)
		check_forgotten(d);
	d->holding = false;
	drive_read(d);
	if (d->want == SESSION_DRAIN || d->want == SESSION_ACKED)
		drive_run(d);
}

static void
add_digest(struct strbuf *out, const struct pop3_session *s)
{
	char stamp[POP3_STAMP_MAX], digest[33];

	REQUIRE(pop3_stamp(s, stamp) && sasl_apop_digest(stamp, "tanstaaf", digest) == 0);
	strbuf_addstr(out, digest);
}

static void
end_session(struct drive *d, unsigned mode, const char *last, size_t last_len, size_t step,
    struct result *r)
{
	size_t len = d->said.len;

	if (d->want == SESSION_READ && (mode & END) == END_TIMEOUT)
		d->want = pop3_session_ops.timed_out(d->session);
	else if (d->want == SESSION_READ && (mode & END) == END_SHUTDOWN)
		d->want = pop3_session_ops.shutdown(d->session);
	if (d->want == SESSION_READ && (mode & END) == END_FAILED) {
		d->out.failed = true;
		send_flight(d, last, last_len, step);
		drive_say(d, "\r\nNOOP\r\n");
		REQUIRE(d->want == SESSION_DROP && d->session->work == NULL);
		strbuf_clear(&d->said);
		len = 0;
	}
	drive_read(d);
	REQUIRE(d->said.len == len);
	*r = (struct result){
		.said = fuzz_copy(d->said.buf, len),
		.len = len,
		.want = d->want,
		.removed = d->session->removed,
	};
	drive_free(d, drive_closed(d) ? SESSION_END_SELF : SESSION_END_PEER);
}

static void
run(const uint8_t *data, size_t size, unsigned mode, size_t step, struct result *r)
{
	struct model m = { .live = 0 };
	struct strbuf asked, flight;
	struct drive d;

	site.pop3d.config->pop3d.plaintext_auth = mode & LOOPBACK       ? CONFIG_PLAINTEXT_LOOPBACK
	                                          : mode & NO_PLAINTEXT ? CONFIG_PLAINTEXT_NEVER
	                                                                : CONFIG_PLAINTEXT_ALWAYS;
	drive_open(&d, &site,
	    (mode & LOOPBACK) && !(mode & NO_PLAINTEXT) ? "127.0.0.1:4711" : "203.0.113.9:4711");
	d.link.tls_available = !(mode & NO_TLS);
	d.link.tls = mode & TLS;
	/* There is no flight: the greeting itself is lost. */
	d.out.failed = size == 0 && (mode & END) == END_FAILED;
	drive_greet(&d);
	REQUIRE(d.want == (d.out.failed ? SESSION_DROP : SESSION_READ));
	if (mode & LOGGED_IN) {
		drive_say(&d, "USER joe\r\nPASS secret\r\n");
		m.logged_in = d.session->state == POP3_TRANSACTION;
		m.live = m.total = m.logged_in ? MESSAGES : 0;
	}
	drive_forget(&d);
	d.link.in_octets = 0;
	strbuf_init(&asked, SIZE_MAX);
	strbuf_init(&flight, SIZE_MAX);
	while (size > 0 && !drive_closed(&d)) {
		size_t len = flight_len(data, size);
		bool tls = d.link.tls;

		if ((mode & END) == END_FAILED && len == size)
			break;
		strbuf_clear(&flight);
		for (size_t i = 0; i < len; i++)
			if (data[i] == 0xfd)
				add_digest(&flight, d.session);
			else
				strbuf_addch(&flight, (char)data[i]);
		strbuf_add(&asked, flight.buf, flight.len);
		send_flight(&d, flight.buf, flight.len, step);
		if (d.link.tls != tls) {
			REQUIRE(d.link.in_octets <= asked.len);
			asked.len = d.link.in_octets;
		}
		len += size - len >= 2 ? 2 : size - len;
		data += len;
		size -= len;
	}
	if (d.want != SESSION_DROP) {
		m.said = d.said.buf;
		m.end = d.said.buf + d.said.len;
		check_dialogue(&m, &asked);
	}
	strbuf_release(&asked);
	strbuf_release(&flight);
	end_session(&d, mode, (const char *)data, size, step, r);
}

/* Shows the damaged message again, which RETR has set apart. */
static void
show_damaged(void)
{
	struct index_conn *c;

	if (site_count(&site, "bad@example.test") == 1)
		return;
	REQUIRE(index_write_begin(filler, INDEX_MAIN, "fuzz", &c) == SPOOL_OK);
	REQUIRE(sqlite3_exec(index_db(c),
		    "UPDATE entry SET state = 0 WHERE state = 2;"
		    "UPDATE mailbox SET (messages, used) = (SELECT count(*), sum(octets) FROM entry"
		    " WHERE mailbox = id) WHERE local = 'bad'",
		    NULL, NULL, NULL) == SQLITE_OK);
	REQUIRE(index_write_commit(filler, &c, false) == SPOOL_OK);
	REQUIRE(site_count(&site, "bad@example.test") == 1);
}

/* Makes the maildrop what it was at first. */
static void
refill(void)
{
	struct drive d;

	if (++refills % REFILLS_MAX == 0) {
		remove_site();
		make_site();
		return;
	}
	site.pop3d.config->pop3d.plaintext_auth = CONFIG_PLAINTEXT_ALWAYS;
	drive_login(&d, &site);
	for (size_t i = maildrop_count(d.session->maildrop); i > 0; i--) {
		char command[32];

		snprintf(command, sizeof(command), "DELE %zu\r\n", i);
		drive_say(&d, command);
	}
	drive_say(&d, "QUIT\r\n");
	drive_free(&d, SESSION_END_SELF);
	fill();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, trickled;
	unsigned mode;

	if (size == 0)
		return 0;
	mode = data[0];
	log_set_level(mode & LOG && logged++ < LOGGED_MAX ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	run(data + 1, size - 1, mode, SIZE_MAX / 2, &whole);
	show_damaged();
	REQUIRE(site_count(&site, JOE) == MESSAGES - whole.removed);
	if (whole.removed > 0) {
		free(whole.said);
		refill();
		return 0;
	}
	run(data + 1, size - 1, mode, 1, &trickled);
	show_damaged();
	REQUIRE(site_count(&site, JOE) == MESSAGES);
	REQUIRE(trickled.removed == 0);
	REQUIRE(whole.len == trickled.len && memcmp(whole.said, trickled.said, whole.len) == 0);
	REQUIRE(whole.want == trickled.want);
	free(whole.said);
	free(trickled.said);
	return 0;
}
