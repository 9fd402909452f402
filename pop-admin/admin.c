/*
 * admin - what all commands share: how they fail, read an address, open the spool.
 */
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/privilege.h"
#include "output.h"

#define ERROR_TEXT_MAX 4096

int
admin_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "pop-admin: ");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return code;
}

void
admin_say(const struct admin *a, const char *fmt, ...)
{
	va_list ap;

	if (a->json)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

int
admin_exit_code(enum spool_status st)
{
	switch (st) {
	case SPOOL_OK:
		return EX_OK;
	case SPOOL_NOT_READY:
	case SPOOL_BUSY:
	case SPOOL_WOULD_BLOCK:
		return EX_TEMPFAIL;
	case SPOOL_NO_DOMAIN:
	case SPOOL_NO_POSTMASTER:
	case SPOOL_NO_MESSAGE:
	case SPOOL_IN_USE:
	case SPOOL_NOT_LOCAL:
	case SPOOL_BAD_ADDRESS:
	case SPOOL_BAD_PASSWORD:
	case SPOOL_TOO_MANY:
	case SPOOL_DAMAGED:
		return EX_DATAERR;
	case SPOOL_NO_MAILBOX:
	case SPOOL_NO_ALIAS:
	case SPOOL_DISABLED:
		return EX_NOUSER;
	case SPOOL_EXISTS:
		return EX_CANTCREAT;
	case SPOOL_DENIED:
		return EX_NOPERM;
	case SPOOL_NO_MEMORY:
		return EX_OSERR;
	case SPOOL_NO_SPOOL:
	case SPOOL_VERSION:
	case SPOOL_NETWORK_FS:
		return EX_UNAVAILABLE;
	case SPOOL_OVER_QUOTA:
	case SPOOL_NO_SPACE:
	case SPOOL_IO:
	case SPOOL_UNKNOWN:
	case SPOOL_STATUSES:
		break;
	}
	return EX_IOERR;
}

int
admin_result(enum spool_status st, const char *what)
{
	if (st == SPOOL_OK)
		return EX_OK;
	return admin_fail(admin_exit_code(st), "%s: %s", what, spool_status_text(st));
}

int
admin_address(const char *text, bool catch_all, struct address *address_r)
{
	if (catch_all && text[0] == '@' && address_parse_domain(text + 1) == 0) {
		memset(address_r, 0, sizeof(*address_r));
		snprintf(address_r->text, sizeof(address_r->text), "%s", text);
		snprintf(address_r->domain, sizeof(address_r->domain), "%s", text + 1);
		return EX_OK;
	}
	if (address_parse(text, address_r) != 0 || address_is_literal(address_r))
		return admin_fail(
		    EX_DATAERR, "\"%s\" is not a full address like joe@example.org", text);
	return EX_OK;
}

int
admin_show(struct output **o)
{
	if (output_end(o) == 0)
		return EX_OK;
	return admin_fail(EX_IOERR, "standard output could not be written: %s", strerror(errno));
}

int
admin_become(struct admin *a)
{
	struct strbuf err;
	int code = EX_OK;

	strbuf_init(&err, ERROR_TEXT_MAX);
	if (privilege_become(a->config->site.user, &err) != 0)
		code = admin_fail(EX_NOPERM, "%s", err.buf);
	strbuf_release(&err);
	return code;
}

int
admin_open(struct admin *a)
{
	struct spool_options options = { .dir = a->config->site.spool,
		.role = SPOOL_ADMIN,
		.reserve = a->config->spool.reserve };
	struct strbuf err;
	enum spool_status st;
	int code = admin_become(a);

	if (code != EX_OK)
		return code;
	if (access(options.dir, F_OK) == 0 && access(options.dir, R_OK | W_OK | X_OK) != 0)
		return admin_fail(EX_NOPERM, "%s: %s: run this as root or as %s", options.dir,
		    strerror(errno), a->config->site.user);
	strbuf_init(&err, ERROR_TEXT_MAX);
	st = spool_open(&options, &a->spool, &err);
	if (st != SPOOL_OK)
		code = admin_fail(
		    admin_exit_code(st), "%s", err.len > 0 ? err.buf : spool_status_text(st));
	strbuf_release(&err);
	return code;
}
