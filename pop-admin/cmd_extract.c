/*
 * cmd_extract - messages out of one segment file: as mbox to standard output, or each into a file of
 * its own.
 *
 * The mbox is what an export writes (mboxrd, lines that end in LF).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "command.h"
#include "mail/date.h"
#include "mbox.h"
#include "spool/extract.h"
#include "wire.h"

/* Where a message goes. */
struct sink {
	FILE *file;
	bool mbox;
	struct mbox_quote quote;
};

static int
write_octets(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	return fwrite(buf, 1, len, s->file) == len ? 0 : -1;
}

static int
write_quoted(void *arg, const void *buf, size_t len)
{
	struct sink *s = arg;

	return mbox_write(&s->quote, true, buf, len, write_octets, s);
}

/* RFC 4155's separator: who sent it, and when it came, UTC. */
static void
write_separator(struct sink *s, const struct extract_message *m)
{
	char date[DATE_MAX];

	fprintf(s->file, "From %s %s\n", m->from[0] != '\0' ? m->from : "MAILER-DAEMON",
	    date_format_from(date, m->received_ms / 1000));
}

/* 0, or the exit code after saying what failed. */
static int
write_message(struct sink *s, const struct extract_message *m)
{
	const struct wire wire = { m->prefix, m->prefix_len, m->fd, m->wire_offset, m->wire_len };
	enum wire_result result;

	s->quote = (struct mbox_quote){ .marks = 0 };
	if (s->mbox)
		write_separator(s, m);
	result = wire_copy(&wire, s->mbox ? write_quoted : write_octets, s);
	if (result == WIRE_UNREADABLE)
		return admin_fail(EX_IOERR, "%s: the message could not be read: %s", m->uid,
		    errno != 0 ? strerror(errno) : "its file ends too soon");
	/* The empty line that ends a message there. */
	if (result == WIRE_COPIED && s->mbox && write_octets(s, "\n", 1) != 0)
		result = WIRE_UNWRITTEN;
	if (result != WIRE_COPIED || fflush(s->file) != 0)
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
		return admin_fail(EX_TEMPFAIL, "%s: %s", path, strerror(errno));
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
			    "%s: its header is damaged, and its first message too; a mail may "
			    "contain what looks like another one here",
			    operands[0]);
	}
	extract_close(&x);
	return code;
}
