/*
 * fuzz_smtp_session - a whole session, SMTP or LMTP, on a real spool.
 *
 * The first octet of the input chooses the protocol, what is configured and how the
 * session ends.  The rest is what the client sends, in flights that are cut at 0xFE 0xFF: a
 * handshake takes the rest of its flight with it, as what came in the clear does.
 *
 * The disk may fail.  What must hold: each reply is well-formed and has a true enhanced code
 * (drive_take()); each command has one reply and each message one more; nothing is done
 * behind a reply that is lost; and a session that is given its input octet by octet says
 * and keeps the same as one that is given it whole.
 */
#include <errno.h>
#include <stdint.h>

#include "base/clock.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/smtpd/drive.h"

enum {
	LMTP = 1,
	NO_TLS = 2,
	REJECT_BARE_LF = 4,
	LOG = 8,
	END = 0x30,
	END_TIMEOUT = 0x10,
	END_SHUTDOWN = 0x20,
	END_FAILED = 0x30, /* memory runs out for the replies to the last flight */
	BAD_DISK = 0x40,   /* nothing can be written */
	WORSE_DISK = 0x80, /* nor can what was begun be taken back */
};

/* So small that inputs reach it. */
#define MESSAGE_MAX 2000u
/* So many inputs are logged, so that hostile text meets the log as well. */
#define LOGGED_MAX 300u

/* After so many messages the spool is made anew, or it would fill the memory. */
#define MESSAGES_MAX 4000u

struct result {
	char *said; /* owned */
	size_t len;
	enum session_want want;
	enum smtp_state state;
	uint64_t messages, commands, refused;
};

static struct site site;
static struct disk_ops disk;
static _Atomic unsigned disk_mode;
static uint64_t messages, logged;

static ssize_t
bad_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	if (disk_mode & BAD_DISK) {
		errno = EIO;
		return -1;
	}
	return disk_real.pwritev(fd, iov, n, offset);
}

static int
bad_ftruncate(int fd, off_t len)
{
	if (disk_mode & WORSE_DISK) {
		errno = EIO;
		return -1;
	}
	return disk_real.ftruncate(fd, len);
}

static void
make_site(void)
{
	disk = disk_real;
	disk.pwritev = bad_pwritev;
	disk.ftruncate = bad_ftruncate;
	site = (struct site){ .disk = &disk };
	site_open(&site, "max_recipients = 100", 1);
	site.config->smtpd.max_message_size = MESSAGE_MAX;
}

static void
remove_site(void)
{
	site_close(&site);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	make_site();
	atexit(remove_site);
	return 0;
}

static size_t
flight_len(const uint8_t *data, size_t size)
{
	const uint8_t *end = memmem(data, size, "\xfe\xff", 2);

	return end != NULL ? (size_t)(end - data) : size;
}

/* RFC 3207 4.2 and 6: TLS has begun, and neither what was said before nor what came along with
 * STARTTLS in the clear is part of the session. */
static void
check_forgotten(const struct drive *d)
{
	const struct smtp_session *s = d->session;

	REQUIRE(d->want == SESSION_READ && d->npending == 0);
	REQUIRE(s->state == SMTP_START && s->client == NULL && s->tx == NULL && !s->esmtp);
	REQUIRE(
	    s->failure == REPLY_NONE && s->chunk_left == 0 && !s->skip_line && !s->chunks_refused);
}

static void
send_flight(struct drive *d, const uint8_t *data, size_t len, size_t step)
{
	bool tls = d->link.tls;

	for (size_t at = 0; at < len && d->link.tls == tls; at += step)
		drive_send(d, data + at, len - at < step ? len - at : step);
	if (d->link.tls != tls)
		check_forgotten(d);
}

/* One reply for each command, one more for each message that was ended behind 354. */
static void
check_count(const struct drive *d, const char *said)
{
	const struct smtp_session *s = d->session;
	size_t replies = 0, begun = 0, expected;

	for (const char *p = said; *p != '\0'; p = strchr(p, '\n') + 1) {
		replies += p[3] == ' ';
		begun += strncmp(p, "354", 3) == 0;
	}
	expected = 1 + s->commands + begun - (s->state == SMTP_DATA || s->state == SMTP_CHUNK);
	REQUIRE(replies == expected);
}

/* A failure closes the segment, and what it costs to make one anew may fail otherwise:
 * both runs begin with one that is there. */
static void
fresh_segment(void)
{
	struct drive d;

	disk_mode = 0;
	drive_open(&d, &site, false);
	drive_say(&d, "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.test>\r\nDATA\r\n.\r\n");
	REQUIRE(d.session->messages == 1);
	drive_close(&d, SESSION_END_PEER);
}

static void
lose_replies(struct drive *d, const uint8_t *data, size_t size, size_t step)
{
	const struct smtp_session *s = d->session;
	enum smtp_state state = s->state;
	size_t commands = s->commands;

	d->out.failed = true;
	send_flight(d, data, size, step);
	drive_say(d, "NOOP\r\n");
	REQUIRE(d->want == SESSION_DROP);
	REQUIRE(s->state == state && s->commands == commands);
}

static void
run(const uint8_t *data, size_t size, unsigned mode, size_t step, struct result *r)
{
	bool lossy = (mode & END) == END_FAILED;
	struct drive d;

	if (mode & (BAD_DISK | WORSE_DISK))
		fresh_segment();
	disk_mode = mode;
	drive_open(&d, &site, mode & LMTP);
	d.link.tls_available = !(mode & NO_TLS);
	while (size > 0) {
		size_t len = flight_len(data, size);

		if (lossy && len == size)
			break;
		send_flight(&d, data, len, step);
		len += size - len >= 2 ? 2 : size - len;
		data += len;
		size -= len;
	}
	if (!(mode & LMTP) && d.want != SESSION_DROP)
		check_count(&d, d.said.buf);
	if (d.want == SESSION_READ && (mode & END) == END_TIMEOUT)
		d.want = smtp_session_ops.timed_out(d.session);
	else if (d.want == SESSION_READ && (mode & END) == END_SHUTDOWN)
		d.want = smtp_session_ops.shutdown(d.session);
	else if (d.want == SESSION_READ && lossy)
		lose_replies(&d, data, size, step);
	drive_harvest(&d);
	*r = (struct result){
		.said = fuzz_copy(d.said.buf, d.said.len),
		.len = d.said.len,
		.want = d.want,
		.state = d.session->state,
		.messages = d.session->messages,
		.commands = d.session->commands,
		.refused = d.session->refused,
	};
	messages += r->messages;
	drive_take(&d);
	drive_close(&d, d.want == SESSION_CLOSE ? SESSION_END_SELF : SESSION_END_PEER);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, trickled;
	unsigned mode;

	if (size == 0)
		return 0;
	mode = data[0];
	site.config->smtpd.bare_newline_reject = mode & REJECT_BARE_LF;
	/* So that Received: fields, and with them sizes, are the same in both runs. */
	clock_set(1795489877000, 1795489877000);
	log_set_level(mode & LOG && logged++ < LOGGED_MAX ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	run(data + 1, size - 1, mode, SIZE_MAX / 2, &whole);
	run(data + 1, size - 1, mode, 1, &trickled);
	REQUIRE(whole.len == trickled.len && memcmp(whole.said, trickled.said, whole.len) == 0);
	REQUIRE(whole.want == trickled.want);
	REQUIRE(whole.state == trickled.state);
	REQUIRE(whole.messages == trickled.messages);
	REQUIRE(whole.commands == trickled.commands);
	REQUIRE(whole.refused == trickled.refused);
	free(whole.said);
	free(trickled.said);
	disk_mode = 0;
	if (messages > MESSAGES_MAX) {
		site_close(&site);
		make_site();
		messages = 0;
	}
	return 0;
}
