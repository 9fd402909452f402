/*
 * cmd_extract - messages out of one segment file: as mbox to standard output, or each into a file of
 * its own.
 *
 * mbox is written as most read it: lines end in LF, a line that begins with "From ", behind any number
 * of ">", has one more ">" before it, so that it can be taken off again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "mail/dot.h"
#include "spool/extract.h"

#define COPY_BLOCK (64u * 1024)

static const char from_line[] = "From ";
#define FROM_LEN (sizeof(from_line) - 1)

/* Where a message goes. */
struct sink {
	FILE *file;
	bool mbox;
	/* mbox: of the line that has just begun. */
	bool begun;      /* it is decided whether it is quoted */
	uint64_t arrows; /* ">" so far */
	size_t matched;  /* octets of "From " behind them */
	bool cr;         /* and one CR is held back */
};

static void
put_octet(struct sink *s, char c)
{
	putc_unlocked(c, s->file);
}

/* What was held back of a line's beginning. */
static void
decide(struct sink *s, bool quote)
{
	if (quote)
		put_octet(s, '>');
	for (; s->arrows > 0; s->arrows--)
		put_octet(s, '>');
	fwrite(from_line, 1, s->matched, s->file);
	s->matched = 0;
	s->begun = true;
}

static void
put_line_octet(struct sink *s, char c)
{
	if (!s->begun) {
		if (s->matched == 0 && c == '>') {
			s->arrows++;
			return;
		}
		if (c == from_line[s->matched]) {
			if (++s->matched == FROM_LEN)
				decide(s, true);
			return;
		}
		decide(s, false);
	}
	put_octet(s, c);
	if (c == '\n')
		s->begun = false;
}

static int
write_octets(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;
	const char *p = buf;

	if (!s->mbox)
		return fwrite(buf, 1, len, s->file) == len ? 0 : -1;
	for (size_t i = 0; i < len; i++) {
		if (s->cr && p[i] != '\n')
			put_line_octet(s, '\r');
		s->cr = p[i] == '\r';
		if (!s->cr)
			put_line_octet(s, p[i]);
	}
	return ferror(s->file) ? -1 : 0;
}

/* RFC 4155's separator: who sent it, and when it came, UTC. */
static void
write_separator(struct sink *s, const struct extract_message *m)
{
	time_t when = (time_t)(m->received_ms / 1000);
	char date[64] = "";
	struct tm tm;

	if (gmtime_r(&when, &tm) != NULL)
		strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &tm);
	fprintf(s->file, "From %s %s\n", m->from[0] != '\0' ? m->from : "MAILER-DAEMON", date);
}

/* 0, or the exit code after saying what failed. */
static int
write_message(struct sink *s, const struct extract_message *m)
{
	uint64_t left = m->wire_len - 3, at = m->wire_offset; /* without the final ".CRLF" */
	char block[COPY_BLOCK];
	struct dot dot;
	int rc;

	if (s->mbox)
		write_separator(s, m);
	dot_init(&dot);
	rc = write_octets(s, m->prefix, m->prefix_len);
	while (rc == 0 && left > 0) {
		ssize_t got =
		    pread(m->fd, block, left < sizeof(block) ? left : sizeof(block), (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return admin_fail(EX_IOERR, "%s: the message could not be read: %s", m->uid,
			    got < 0 ? strerror(errno) : "its file ends too soon");
		rc = dot_unstuff(&dot, block, (size_t)got, write_octets, s);
		at += (uint64_t)got;
		left -= (uint64_t)got;
	}
	/* The empty line that ends a message there. */
	if (rc == 0 && s->mbox)
		rc = write_octets(s, "\n", 1);
	if (rc != 0 || fflush(s->file) != 0)
		return admin_fail(
		    EX_IOERR, "%s: could not be written: %s", m->uid, strerror(errno));
	return EX_OK;
}

static int
write_file(const char *folder, const struct extract_message *m)
{
	struct sink s = { .mbox = false };
	char path[PATH_MAX];
	int fd, code;

	snprintf(path, sizeof(path), "%s/%s.eml", folder, m->uid);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return admin_fail(
		    errno == EEXIST ? EX_CANTCREAT : EX_IOERR, "%s: %s", path, strerror(errno));
	s.file = fdopen(fd, "w");
	if (s.file == NULL) {
		close(fd);
		return admin_fail(EX_OSERR, "%s: %s", path, strerror(errno));
	}
	code = write_message(&s, m);
	if (fclose(s.file) != 0 && code == EX_OK)
		code = admin_fail(EX_IOERR, "%s: %s", path, strerror(errno));
	return code;
}

static int
write_all(struct extract *x, const char *folder, uint64_t *messages_r)
{
	struct sink s = { .file = stdout, .mbox = true };
	struct extract_message m;
	enum spool_status st;
	int code = EX_OK;

	while ((st = extract_next(x, &m)) == SPOOL_OK) {
		code = folder != NULL ? write_file(folder, &m) : write_message(&s, &m);
		if (code != EX_OK)
			return code;
		++*messages_r;
	}
	return st == SPOOL_NO_MESSAGE ? EX_OK : admin_result(st, "extract");
}

int
cmd_mail_extract(struct admin *a, char **operands, size_t n)
{
	const char *folder = n > 1 ? operands[1] : NULL;
	struct extract *x = NULL;
	uint64_t messages = 0;
	enum spool_status st;
	struct strbuf err;
	int code = EX_OK;

	(void)a;
	if (folder != NULL && mkdir(folder, 0700) != 0 && errno != EEXIST)
		return admin_fail(EX_CANTCREAT, "%s: %s", folder, strerror(errno));
	strbuf_init(&err, 4096);
	st = extract_open(operands[0], &x, &err);
	if (st != SPOOL_OK)
		code = admin_fail(
		    admin_exit_code(st), "%s", err.len > 0 ? err.buf : spool_status_text(st));
	strbuf_release(&err);
	if (code == EX_OK)
		code = write_all(x, folder, &messages);
	if (code == EX_OK) {
		/* Not on standard output, which may be the mbox. */
		fprintf(stderr, "pop-admin: messages that were whole: %" PRIu64 "\n", messages);
		if (extract_unread(x) > 0)
			code = admin_fail(EX_DATAERR,
			    "blocks of 4 KiB that are of no whole message: %" PRIu64,
			    extract_unread(x));
		if (extract_without_header(x))
			code = admin_fail(EX_DATAERR,
			    "%s: its header is damaged; a mail may contain what looks like another "
			    "one "
			    "here",
			    operands[0]);
	}
	extract_close(&x);
	return code;
}
