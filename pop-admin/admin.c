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

#include "base/num.h"
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

static const int exit_codes[SPOOL_STATUSES] = {
	[SPOOL_OK] = EX_OK,
	[SPOOL_NOT_READY] = EX_TEMPFAIL,
	[SPOOL_BUSY] = EX_TEMPFAIL,
	[SPOOL_WOULD_BLOCK] = EX_TEMPFAIL,
	[SPOOL_NO_DOMAIN] = EX_DATAERR,
	[SPOOL_NO_MAILBOX] = EX_NOUSER,
	[SPOOL_NO_ALIAS] = EX_NOUSER,
	[SPOOL_NO_POSTMASTER] = EX_NOUSER,
	[SPOOL_NO_MESSAGE] = EX_DATAERR,
	[SPOOL_DISABLED] = EX_NOUSER,
	[SPOOL_EXISTS] = EX_CANTCREAT,
	[SPOOL_IN_USE] = EX_DATAERR,
	[SPOOL_NOT_LOCAL] = EX_DATAERR,
	[SPOOL_BAD_ADDRESS] = EX_DATAERR,
	[SPOOL_BAD_PASSWORD] = EX_DATAERR,
	[SPOOL_DENIED] = EX_NOPERM,
	[SPOOL_TOO_MANY] = EX_DATAERR,
	[SPOOL_OVER_QUOTA] = EX_DATAERR,
	[SPOOL_NEVER_FITS] = EX_DATAERR,
	[SPOOL_NO_SPACE] = EX_IOERR,
	[SPOOL_NO_MEMORY] = EX_TEMPFAIL,
	[SPOOL_IO] = EX_IOERR,
	[SPOOL_DAMAGED] = EX_DATAERR,
	[SPOOL_UNKNOWN] = EX_IOERR,
	[SPOOL_NO_SPOOL] = EX_UNAVAILABLE,
	[SPOOL_VERSION] = EX_CONFIG,
	[SPOOL_NETWORK_FS] = EX_CONFIG,
};

int
admin_exit_code(enum spool_status st)
{
	return exit_codes[st];
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
	if (address_parse(text, address_r) != 0 || address_is_literal(address_r) ||
	    address_r->local[0] == '\0')
		return admin_fail(
		    EX_DATAERR, "\"%s\" is not a full address like joe@example.org", text);
	return EX_OK;
}

int
admin_quota(const char *text, uint64_t *octets_r)
{
	if (strcmp(text, "none") == 0)
		*octets_r = NUM_UNLIMITED;
	else if (num_parse_size(text, octets_r) != 0 || *octets_r == 0)
		return admin_fail(EX_DATAERR, "\"%s\" is not a quota like 500M or none", text);
	return EX_OK;
}

int
admin_age(const char *text, uint64_t min_s, uint64_t *seconds_r)
{
	char least[NUM_TEXT_MAX];

	if (strcmp(text, "never") == 0) {
		*seconds_r = NUM_UNLIMITED;
		return EX_OK;
	}
	if (num_parse_age(text, seconds_r) != 0)
		return admin_fail(EX_DATAERR, "\"%s\" is not an age like 30d or never", text);
	if (*seconds_r < min_s)
		return admin_fail(EX_DATAERR, "\"%s\": an age here is at least %s", text,
		    num_format_age(least, min_s));
	return EX_OK;
}

int
admin_limits(const struct admin *a, bool site, struct account_limits *limits_r)
{
	int code = EX_OK;

	memset(limits_r, 0, sizeof(*limits_r));
	limits_r->has_quota = a->quota != NULL;
	limits_r->has_expire = a->expire != NULL;
	if (site && limits_r->has_quota && strcmp(a->quota, "site") == 0)
		limits_r->quota = ACCOUNT_SITE;
	else if (limits_r->has_quota)
		code = admin_quota(a->quota, &limits_r->quota);
	if (code != EX_OK)
		return code;
	if (site && limits_r->has_expire && strcmp(a->expire, "site") == 0)
		limits_r->expire_s = ACCOUNT_SITE;
	else if (limits_r->has_expire)
		code = admin_age(a->expire, ADMIN_EXPIRE_MIN_S, &limits_r->expire_s);
	return code;
}

struct account_limits
admin_site_limits(const struct admin *a)
{
	return (struct account_limits){ .has_quota = true,
		.quota = a->config->spool.quota,
		.has_expire = true,
		.expire_s = a->config->spool.expire_s };
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
		code = admin_fail(errno == 0       ? EX_CONFIG
				  : errno == EPERM ? EX_NOPERM
						   : EX_TEMPFAIL,
		    "%s", err.buf);
	strbuf_release(&err);
	return code;
}

int
admin_open(struct admin *a)
{
	const struct config *c = a->config;
	struct spool_options options = {
		.dir = c->site.spool,
		.role = SPOOL_ADMIN,
		.policy = {
			.reserve = c->spool.reserve,
			.keep_deleted_s = c->spool.keep_deleted_s,
			.keep_deleted_max = c->spool.keep_deleted_max,
			.expire_every_s = c->spool.expire_every_s,
		},
	};
	struct strbuf err;
	enum spool_status st;
	int code = admin_become(a);

	if (code != EX_OK)
		return code;
	if (access(options.dir, F_OK) == 0 && access(options.dir, R_OK | W_OK | X_OK) != 0)
		return admin_fail(EX_NOPERM, "%s: %s: run this as root or as %s", options.dir,
		    strerror(errno), c->site.user);
	strbuf_init(&err, ERROR_TEXT_MAX);
	st = spool_open(&options, &a->spool, &err);
	if (st != SPOOL_OK)
		code = admin_fail(
		    admin_exit_code(st), "%s", err.len > 0 ? err.buf : spool_status_text(st));
	strbuf_release(&err);
	return code;
}
