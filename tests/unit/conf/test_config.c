/*
 * config: what each key comes to, what each wrong one is answered with, and the
 * example file.
 *
 * Run from the top of the tree.  UPDATE_EXAMPLE=1 in the environment writes
 * init/restante.conf.example anew, instead of comparing it.
 */
#include "config_test.h"

#include <errno.h>
#include <inttypes.h>

#define EXAMPLE "init/restante.conf.example"

/* --- a configuration as text ----------------------------------------------- */

static void
show_text(struct strbuf *out, const char *key, const char *text)
{
	strbuf_addf(out, "%s=%s\n", key, text != NULL ? text : "NULL");
}

static void
show_number(struct strbuf *out, const char *key, uint64_t n)
{
	strbuf_addf(out, "%s=%" PRIu64 "\n", key, n);
}

static void
show_endpoints(struct strbuf *out, const char *key, const struct config_endpoints *e)
{
	char text[ENDPOINT_TEXT_MAX];
	size_t i;

	strbuf_addf(out, "%s=", key);
	for (i = 0; i < e->n; i++)
		strbuf_addf(out, "%s;", endpoint_format(text, &e->list[i]));
	strbuf_addch(out, '\n');
}

static void
show_networks(struct strbuf *out, const char *key, const struct config *c)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e = { .addr.in6.sin6_family = AF_INET6 };
	size_t i;

	strbuf_addf(out, "%s=", key);
	for (i = 0; i < c->site.ntrusted; i++) {
		memcpy(&e.addr.in6.sin6_addr, c->site.trusted[i].octets, 16);
		strbuf_addf(out, "%s/%u;", endpoint_format_host(text, &e), c->site.trusted[i].bits);
	}
	strbuf_addch(out, '\n');
}

static void
show_percents(struct strbuf *out, const char *key, const struct config *c)
{
	size_t i;

	strbuf_addf(out, "%s=", key);
	for (i = 0; i < c->spool.nquota_warn; i++)
		strbuf_addf(out, "%u%%;", c->spool.quota_warn[i]);
	strbuf_addch(out, '\n');
}

static void
show(struct strbuf *out, const struct config *c)
{
	char delimiter[2] = { c->smtpd.recipient_delimiter, '\0' };

	show_text(out, "site.hostname", c->site.hostname);
	show_text(out, "site.spool", c->site.spool);
	show_text(out, "site.user", c->site.user);
	show_text(out, "site.postmaster", c->site.postmaster);
	show_networks(out, "site.trusted", c);
	show_number(out, "site.log_level", c->site.log_level);
	show_number(out, "spool.quota", c->spool.quota);
	show_number(out, "spool.expire", c->spool.expire_s);
	show_number(out, "spool.keep_deleted", c->spool.keep_deleted_s);
	show_number(out, "spool.keep_deleted_max", c->spool.keep_deleted_max);
	show_number(out, "spool.expire_every", c->spool.expire_every_s);
	show_percents(out, "spool.quota_warn", c);
	show_number(out, "spool.reserve", c->spool.reserve);
	show_text(out, "tls.certificate", c->tls.certificate);
	show_text(out, "tls.key", c->tls.key);
	show_endpoints(out, "smtpd.listen", &c->smtpd.listen);
	show_endpoints(out, "smtpd.listen_lmtp", &c->smtpd.listen_lmtp);
	show_number(out, "smtpd.max_message_size", c->smtpd.max_message_size);
	show_number(out, "smtpd.max_recipients", c->smtpd.max_recipients);
	show_number(out, "smtpd.max_connections", c->smtpd.max_connections);
	show_number(out, "smtpd.max_connections_per_ip", c->smtpd.max_connections_per_ip);
	show_number(out, "smtpd.timeout", c->smtpd.timeout_s);
	show_text(out, "smtpd.recipient_delimiter", delimiter);
	show_number(out, "smtpd.bare_newline", c->smtpd.bare_newline_reject);
	show_endpoints(out, "pop3d.listen", &c->pop3d.listen);
	show_endpoints(out, "pop3d.listen_tls", &c->pop3d.listen_tls);
	show_number(out, "pop3d.max_connections", c->pop3d.max_connections);
	show_number(out, "pop3d.max_connections_per_ip", c->pop3d.max_connections_per_ip);
	show_number(out, "pop3d.timeout", c->pop3d.timeout_s);
	show_number(out, "pop3d.plaintext_auth", c->pop3d.plaintext_auth);
	show_number(out, "pop3d.lock_wait", c->pop3d.lock_wait_s);
	show_number(out, "pop3d.login_delay", c->pop3d.login_delay_s);
}

#define DEFAULTS_BUT_LISTEN_TLS_AND_AFTER                                                          \
	"site.hostname=mail.example.org\nsite.spool=/var/spool/restante\nsite.user=restante\n"     \
	"site.postmaster=NULL\nsite.trusted=127.0.0.0/104;::1/128;\nsite.log_level=2\n"            \
	"spool.quota=1073741824\nspool.expire=18446744073709551615\nspool.keep_deleted=0\n"        \
	"spool.keep_deleted_max=1073741824\nspool.expire_every=3600\n"                            \
	"spool.quota_warn=80%;95%;\nspool.reserve=536870912\n"
#define DEFAULTS_OF_SMTPD                                                                          \
	"smtpd.listen=0.0.0.0:25;[::]:25;\nsmtpd.listen_lmtp=\nsmtpd.max_message_size=52428800\n"  \
	"smtpd.max_recipients=1000\nsmtpd.max_connections=10000\n"                                 \
	"smtpd.max_connections_per_ip=50\nsmtpd.timeout=300\nsmtpd.recipient_delimiter=+\n"        \
	"smtpd.bare_newline=0\npop3d.listen=0.0.0.0:110;[::]:110;\n"
#define DEFAULTS_BEHIND                                                                            \
	"pop3d.max_connections=10000\npop3d.max_connections_per_ip=50\npop3d.timeout=600\n"        \
	"pop3d.plaintext_auth=1\npop3d.lock_wait=5\npop3d.login_delay=0\n"

START_TEST(defaults_are_those_that_are_promised)
{
	struct config *c = load_good(HOST);
	struct strbuf got;

	strbuf_init(&got, 4096);
	show(&got, c);
	ck_assert_str_eq(got.buf, DEFAULTS_BUT_LISTEN_TLS_AND_AFTER
	    "tls.certificate=NULL\ntls.key=NULL\n" DEFAULTS_OF_SMTPD
	    "pop3d.listen_tls=\n" DEFAULTS_BEHIND);
	config_unref(&c);
	ck_assert_ptr_null(c);

	c = load_good(HOST "[tls]\ncertificate = /c\nkey = /k\n");
	strbuf_clear(&got);
	show(&got, c);
	ck_assert_str_eq(got.buf, DEFAULTS_BUT_LISTEN_TLS_AND_AFTER
	    "tls.certificate=/c\ntls.key=/k\n" DEFAULTS_OF_SMTPD
	    "pop3d.listen_tls=0.0.0.0:995;[::]:995;\n" DEFAULTS_BEHIND);
	config_unref(&c);
	strbuf_release(&got);
}
END_TEST

/* --- one key at a time ------------------------------------------------------ */

#define NUMBER_FROM(min, max) "write a number, from " min " to " max
#define SIZE_FROM(min, max) "write a size such as 512K, 50M or 2G, from " min " to " max
#define TIME_FROM(min, max) "write a time such as 90s, 10m, 2h or 1d, from " min " to " max
#define HOST_PORT                                                                                  \
	"write HOST:PORT with a numeric address, such as 127.0.0.1:2525 or [::1]:2525, or "        \
	"unix:/PATH"
#define A_NETWORK                                                                                  \
	"write an address such as ::1, or a network such as 10.0.0.0/8 with nothing behind its "   \
	"mask"
#define SIZE_OR_NONE SIZE_FROM("1K", "9223372036854775807") ", or none"
#define AGE_OR_NEVER TIME_FROM("1d", "36500d") ", or never"
#define PERCENTS "write shares from 1% to 100%, each once, such as 80% 95%"
#define NOT_YET " is not in this version: take the line out"
#define LONG_NAME "/a/path/that/is/longer/than/what/a/message/repeats/of/a/wrong/value"

static const struct {
	const char *key, *value;
	const char *want, *error; /* one of them; want as show() has it */
} values[] = {
	{ "site.hostname", "mx1.example.org", "mx1.example.org", NULL },
	{ "site.hostname", "mx1", NULL,
	    "hostname = mx1: has no dot in it: write a full name such as mail.example.org" },
	{ "site.hostname", "", NULL, "hostname has no value: write one, such as mail.example.org" },
	{ "site.hostname", "none", NULL,
	    "hostname = none: has no dot in it: write a full name such as mail.example.org" },
	{ "site.spool", "/srv/mail spool", "/srv/mail spool", NULL },
	{ "site.spool", "spool", NULL, "spool = spool: write the whole path, from / on" },
	{ "site.spool", "", NULL, "spool has no value: write one, such as /var/spool/restante" },
	{ "site.user", "root", "root", NULL },
	{ "site.user", "mail,root", NULL,
	    "user = mail,root: write the name of one account, such as restante" },
	{ "site.user", "", NULL, "user has no value: write one, such as restante" },
	{ "site.postmaster", "joe@example.org", "joe@example.org", NULL },
	{ "site.postmaster", "", "NULL", NULL },
	{ "site.postmaster", "none", "NULL", NULL },
	{ "site.postmaster", "joe", NULL,
	    "postmaster = joe: write a full address, such as joe@example.org" },
	{ "site.postmaster", "@example.org", NULL,
	    "postmaster = @example.org: write a full address, such as joe@example.org" },
	{ "site.postmaster", "joe@", NULL,
	    "postmaster = joe@: write a full address, such as joe@example.org" },
	{ "site.postmaster", "<joe@example.org>", NULL,
	    "postmaster = <joe@example.org>: write a full address, such as joe@example.org" },
	{ "site.trusted", "10.0.0.0/8", "10.0.0.0/104;", NULL },
	{ "site.trusted", "192.0.2.1, 2001:db8::/32,\t::1", "192.0.2.1/128;2001:db8::/32;::1/128;",
	    NULL },
	{ "site.trusted", "", "", NULL },
	{ "site.trusted", "none", "", NULL },
	{ "site.trusted", "127.0.0.1 10.0.0.1/8", NULL, "trusted = 10.0.0.1/8: " A_NETWORK },
	{ "site.trusted", "localhost", NULL, "trusted = localhost: " A_NETWORK },
	{ "site.log_level", "error", "0", NULL },
	{ "site.log_level", "warning", "1", NULL },
	{ "site.log_level", "info", "2", NULL },
	{ "site.log_level", "debug", "3", NULL },
	{ "site.log_level", "Info", NULL,
	    "log_level = Info: write one of: error warning info debug" },
	{ "site.log_level", "inf", NULL,
	    "log_level = inf: write one of: error warning info debug" },
	{ "site.log_level", "info debug", NULL,
	    "log_level = info debug: write one of: error warning info debug" },
	{ "spool.reserve", "0", "0", NULL },
	{ "spool.reserve", "2G", "2147483648", NULL },
	{ "spool.reserve", "9223372036854775807", "9223372036854775807", NULL },
	{ "spool.reserve", "9223372036854775808", NULL,
	    "reserve = 9223372036854775808: " SIZE_FROM("0", "9223372036854775807") },
	{ "spool.reserve", "10%", NULL, "reserve = 10%: " SIZE_FROM("0", "9223372036854775807") },
	{ "tls.certificate", "/c", NULL,
	    "certificate is set and key is not: set both, or neither" },
	{ "tls.certificate", "cert.pem", NULL,
	    "certificate = cert.pem: write the whole path, from / on" },
	{ "tls.certificate", "none", "NULL", NULL },
	{ "tls.certificate", "", "NULL", NULL },
	{ "tls.key", "/k", NULL, "key is set and certificate is not: set both, or neither" },
	{ "tls.key", "none", "NULL", NULL },
	{ "tls.key", "-" LONG_NAME, NULL,
	    "key = -/a/path/that/is/longer/than/what/a/message/repeats/of/a/wrong/v: write the "
	    "whole "
	    "path, from / on" },
	{ "smtpd.listen", "127.0.0.1:0", "127.0.0.1:0;", NULL },
	{ "smtpd.listen", "127.0.0.1:25,[::1]:25 , unix:/run/x",
	    "127.0.0.1:25;[::1]:25;unix:/run/x;", NULL },
	{ "smtpd.listen", "none", "", NULL },
	{ "smtpd.listen", "", "", NULL },
	{ "smtpd.listen", "127.0.0.1:25 localhost:25", NULL, "listen = localhost:25: " HOST_PORT },
	{ "smtpd.listen", "0.0.0.0", NULL, "listen = 0.0.0.0: " HOST_PORT },
	{ "smtpd.listen", "unix:" LONG_NAME LONG_NAME, NULL,
	    "listen = "
	    "unix:/a/path/that/is/longer/than/what/a/message/repeats/of/a/wro: " HOST_PORT },
	{ "smtpd.listen_lmtp", "unix:/run/lmtp 127.0.0.1:24", "unix:/run/lmtp;127.0.0.1:24;",
	    NULL },
	{ "smtpd.listen_lmtp", "none", "", NULL },
	{ "smtpd.listen_lmtp", "/run/lmtp", NULL, "listen_lmtp = /run/lmtp: " HOST_PORT },
	{ "smtpd.max_message_size", "64K", "65536", NULL },
	{ "smtpd.max_message_size", "2g", "2147483648", NULL },
	{ "smtpd.max_message_size", "65535", NULL,
	    "max_message_size = 65535: " SIZE_FROM("64K", "2G") },
	{ "smtpd.max_message_size", "2147483649", NULL,
	    "max_message_size = 2147483649: " SIZE_FROM("64K", "2G") },
	{ "smtpd.max_message_size", "none", NULL,
	    "max_message_size = none: " SIZE_FROM("64K", "2G") },
	{ "smtpd.max_message_size", "50 M", NULL,
	    "max_message_size = 50 M: " SIZE_FROM("64K", "2G") },
	{ "smtpd.max_recipients", "100", "100", NULL },
	{ "smtpd.max_recipients", "99", NULL,
	    "max_recipients = 99: " NUMBER_FROM("100", "100000") },
	{ "smtpd.max_recipients", "100001", NULL,
	    "max_recipients = 100001: " NUMBER_FROM("100", "100000") },
	{ "smtpd.max_recipients", "1K", NULL,
	    "max_recipients = 1K: " NUMBER_FROM("100", "100000") },
	{ "smtpd.max_connections", "1", "1", NULL },
	{ "smtpd.max_connections", "0", NULL, "max_connections = 0: " NUMBER_FROM("1", "1000000") },
	{ "smtpd.max_connections_per_ip", "3", "3", NULL },
	{ "smtpd.max_connections_per_ip", "-1", NULL,
	    "max_connections_per_ip = -1: " NUMBER_FROM("1", "1000000") },
	{ "smtpd.timeout", "1s", "1", NULL },
	{ "smtpd.timeout", "1d", "86400", NULL },
	{ "smtpd.timeout", "0", NULL, "timeout = 0: " TIME_FROM("1s", "1d") },
	{ "smtpd.timeout", "300", NULL, "timeout = 300: " TIME_FROM("1s", "1d") },
	{ "smtpd.timeout", "25h", NULL, "timeout = 25h: " TIME_FROM("1s", "1d") },
	{ "smtpd.recipient_delimiter", "-", "-", NULL },
	{ "smtpd.recipient_delimiter", "#", "#", NULL },
	{ "smtpd.recipient_delimiter", "", "", NULL },
	{ "smtpd.recipient_delimiter", "none", "", NULL },
	{ "smtpd.recipient_delimiter", "++", NULL,
	    "recipient_delimiter = ++: write one character of ! # $ % & ' * + - / = ? ^ _ ` { | } "
	    "~ "
	    "or nothing" },
	{ "smtpd.recipient_delimiter", "@", NULL,
	    "recipient_delimiter = @: write one character of ! # $ % & ' * + - / = ? ^ _ ` { | } ~ "
	    "or nothing" },
	{ "smtpd.recipient_delimiter", "a", NULL,
	    "recipient_delimiter = a: write one character of ! # $ % & ' * + - / = ? ^ _ ` { | } ~ "
	    "or nothing" },
	{ "smtpd.bare_newline", "normalize", "0", NULL },
	{ "smtpd.bare_newline", "reject", "1", NULL },
	{ "smtpd.bare_newline", "yes", NULL, "bare_newline = yes: write one of: normalize reject" },
	{ "pop3d.listen", "[::1]:1110", "[::1]:1110;", NULL },
	{ "pop3d.listen", "[::1]", NULL, "listen = [::1]: " HOST_PORT },
	{ "pop3d.listen_tls", "127.0.0.1:995", NULL,
	    "listen_tls needs a certificate: set certificate and key in [tls]" },
	{ "pop3d.listen_tls", "none", "", NULL },
	{ "pop3d.listen_tls", "995", NULL, "listen_tls = 995: " HOST_PORT },
	{ "pop3d.max_connections", "1000000", "1000000", NULL },
	{ "pop3d.max_connections", "1000001", NULL,
	    "max_connections = 1000001: " NUMBER_FROM("1", "1000000") },
	{ "pop3d.max_connections_per_ip", "1", "1", NULL },
	{ "pop3d.max_connections_per_ip", "", NULL,
	    "max_connections_per_ip has no value: write one, such as 50" },
	{ "pop3d.timeout", "10m", "600", NULL },
	{ "pop3d.timeout", "600s", "600", NULL },
	{ "pop3d.timeout", "599s", NULL, "timeout = 599s: " TIME_FROM("10m", "1d") },
	{ "pop3d.timeout", "5m", NULL, "timeout = 5m: " TIME_FROM("10m", "1d") },
	{ "pop3d.plaintext_auth", "never", "0", NULL },
	{ "pop3d.plaintext_auth", "loopback", "1", NULL },
	{ "pop3d.plaintext_auth", "always", "2", NULL },
	{ "pop3d.plaintext_auth", "no", NULL,
	    "plaintext_auth = no: write one of: never loopback always" },
	{ "pop3d.lock_wait", "0s", "0", NULL },
	{ "pop3d.lock_wait", "10m", "600", NULL },
	{ "pop3d.lock_wait", "11m", NULL, "lock_wait = 11m: " TIME_FROM("0s", "10m") },
	{ "spool.quota", "1K", "1024", NULL },
	{ "spool.quota", "9223372036854775807", "9223372036854775807", NULL },
	{ "spool.quota", "none", "18446744073709551615", NULL },
	{ "spool.quota", "1023", NULL, "quota = 1023: " SIZE_OR_NONE },
	{ "spool.quota", "0", NULL, "quota = 0: " SIZE_OR_NONE },
	{ "spool.quota", "8E", NULL, "quota = 8E: " SIZE_OR_NONE },
	{ "spool.quota", "never", NULL, "quota = never: " SIZE_OR_NONE },
	{ "spool.quota", "None", NULL, "quota = None: " SIZE_OR_NONE },
	{ "spool.quota", "", NULL, "quota has no value: write one, such as 1G" },
	{ "spool.expire", "1d", "86400", NULL },
	{ "spool.expire", "36500d", "3153600000", NULL },
	{ "spool.expire", "never", "18446744073709551615", NULL },
	{ "spool.expire", "23h", NULL, "expire = 23h: " AGE_OR_NEVER },
	{ "spool.expire", "36501d", NULL, "expire = 36501d: " AGE_OR_NEVER },
	{ "spool.expire", "none", NULL, "expire = none: " AGE_OR_NEVER },
	{ "spool.expire", "30", NULL, "expire = 30: " AGE_OR_NEVER },
	{ "spool.keep_deleted", "0s", "0", NULL },
	{ "spool.keep_deleted", "2w", "1209600", NULL },
	{ "spool.keep_deleted", "3650d", "315360000", NULL },
	{ "spool.keep_deleted", "3651d", NULL,
	    "keep_deleted = 3651d: " TIME_FROM("0s", "3650d") },
	{ "spool.keep_deleted", "never", NULL,
	    "keep_deleted = never: " TIME_FROM("0s", "3650d") },
	{ "spool.keep_deleted_max", "0", "0", NULL },
	{ "spool.keep_deleted_max", "10G", "10737418240", NULL },
	{ "spool.keep_deleted_max", "none", NULL,
	    "keep_deleted_max = none: " SIZE_FROM("0", "9223372036854775807") },
	{ "spool.expire_every", "1s", "1", NULL },
	{ "spool.expire_every", "1d", "86400", NULL },
	{ "spool.expire_every", "0s", NULL, "expire_every = 0s: " TIME_FROM("1s", "1d") },
	{ "spool.expire_every", "25h", NULL, "expire_every = 25h: " TIME_FROM("1s", "1d") },
	{ "spool.quota_warn", "none", "", NULL },
	{ "spool.quota_warn", "", "", NULL },
	{ "spool.quota_warn", "1% 100%", "1%;100%;", NULL },
	{ "spool.quota_warn", "95%,80%", "80%;95%;", NULL },
	{ "spool.quota_warn", "99% 50%, 90%\t60%", "50%;60%;90%;99%;", NULL },
	{ "spool.quota_warn", "8% 7% 6% 5% 4% 3% 2% 1%", "1%;2%;3%;4%;5%;6%;7%;8%;", NULL },
	{ "spool.quota_warn", "8% 7% 6% 5% 4% 3% 2% 1% 9%", NULL,
	    "quota_warn = 9%: that is one too many: write up to 8" },
	{ "spool.quota_warn", "80% 95% 80%", NULL, "quota_warn = 80%: " PERCENTS },
	{ "spool.quota_warn", "0%", NULL, "quota_warn = 0%: " PERCENTS },
	{ "spool.quota_warn", "101%", NULL, "quota_warn = 101%: " PERCENTS },
	{ "spool.quota_warn", "256%", NULL, "quota_warn = 256%: " PERCENTS },
	{ "spool.quota_warn", "80% 95", NULL, "quota_warn = 95: " PERCENTS },
	{ "spool.quota_warn", "80 %", NULL, "quota_warn = 80: " PERCENTS },
	{ "spool.quota_warn", "%", NULL, "quota_warn = %: " PERCENTS },
	{ "spool.quota_warn", "80%%", NULL, "quota_warn = 80%%: " PERCENTS },
	{ "spool.quota_warn", "80.5%", NULL, "quota_warn = 80.5%: " PERCENTS },
	{ "spool.quota_warn", "-1%", NULL, "quota_warn = -1%: " PERCENTS },
	{ "spool.quota_warn", "80% none", NULL, "quota_warn = none: " PERCENTS },
	{ "pop3d.login_delay", "1d", "86400", NULL },
	{ "pop3d.login_delay", "25h", NULL, "login_delay = 25h: " TIME_FROM("0s", "1d") },
	{ "pop3d.user", "", NULL, "user" NOT_YET },
};

/* A file that sets nothing but the hostname and, in the line that it tells, the key. */
static unsigned
write_key(struct strbuf *text, const char *key, const char *value)
{
	const char *dot = strchr(key, '.');

	if (strcmp(key, "site.hostname") == 0) {
		strbuf_addf(text, "[site]\nhostname = %s\n", value);
		return 2;
	}
	strbuf_addf(text, HOST "\n[%.*s]\n%s = %s\n", (int)(dot - key), key, dot + 1, value);
	return 5;
}

START_TEST(a_key_is_taken_or_refused)
{
	struct strbuf text, err, want, got;
	struct config *c;
	unsigned line;

	strbuf_init(&text, 4096);
	strbuf_init(&err, 4096);
	strbuf_init(&want, 4096);
	strbuf_init(&got, 4096);
	line = write_key(&text, values[_i].key, values[_i].value);
	c = load(text.buf, &err);
	if (values[_i].error != NULL) {
		ck_assert_ptr_null(c);
		strbuf_addf(&want, ":%u: %s", line, values[_i].error);
		ck_assert_str_eq(err.buf, want.buf);
	} else {
		ck_assert_msg(c != NULL, "%s", err.buf);
		strbuf_addf(&want, "%s=%s\n", values[_i].key, values[_i].want);
		show(&got, c);
		ck_assert_msg(strstr(got.buf, want.buf) != NULL, "not %s", want.buf);
		config_unref(&c);
	}
	strbuf_release(&text);
	strbuf_release(&err);
	strbuf_release(&want);
	strbuf_release(&got);
}
END_TEST

/* No key without a row that takes it and one that refuses it; those that are
 * not built yet are refused only. */
START_TEST(every_key_has_its_rows)
{
	char name[64];
	size_t i;
	int row, taken, refused;

	for (i = 0; i < config_nkeys; i++) {
		(void)snprintf(
		    name, sizeof(name), "%s.%s", config_keys[i].section, config_keys[i].name);
		for (row = 0, taken = 0, refused = 0; row < COUNT(values); row++) {
			if (strcmp(values[row].key, name) != 0)
				continue;
			taken += values[row].want != NULL;
			refused += values[row].error != NULL;
		}
		ck_assert_msg(refused > 0, "%s is never refused", name);
		ck_assert_msg(
		    taken > 0 || config_keys[i].type == CONFIG_LATER, "%s is never taken", name);
		ck_assert_msg(
		    config_keys[i].sentence != NULL || config_keys[i].type == CONFIG_LATER,
		    "%s has no sentence", name);
	}
}
END_TEST

/* --- the example ------------------------------------------------------------ */

static char *
example(size_t *len_r)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len_r);

	ck_assert_ptr_nonnull(out);
	ck_assert_int_eq(config_write_example(out), 0);
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

START_TEST(example_is_as_kept)
{
	const char *update = getenv("UPDATE_EXAMPLE");
	char *want, got[16384];
	size_t len, n;
	FILE *file;

	want = example(&len);
	if (update != NULL && *update != '\0') {
		file = fopen(EXAMPLE, "w");
		ck_assert_ptr_nonnull(file);
		ck_assert_uint_eq(fwrite(want, 1, len, file), len);
		ck_assert_int_eq(fclose(file), 0);
	}
	file = fopen(EXAMPLE, "r");
	ck_assert_msg(file != NULL, EXAMPLE ": %s", strerror(errno));
	n = fread(got, 1, sizeof(got) - 1, file);
	got[n] = '\0';
	(void)fclose(file);
	ck_assert_msg(strcmp(got, want) == 0,
	    EXAMPLE " is not what the table of keys says: run this test with UPDATE_EXAMPLE=1");
	free(want);
}
END_TEST

/* With every # taken away it is a good file that sets every key; as it is, an empty one. */
START_TEST(example_is_true)
{
	struct strbuf bare, kept, defaults;
	struct config *c;
	char *text, *line, *save = NULL;
	size_t len, keys = 0, i, later = 0;

	text = example(&len);
	strbuf_init(&bare, 16384);
	strbuf_init(&kept, 16384);
	strbuf_init(&defaults, 16384);
	for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		ck_assert_uint_le(strlen(line), 80);
		ck_assert_msg(line[0] == '[' || line[0] == '#', "%s", line);
		if (line[0] == '#' && line[1] != ' ') {
			line++;
			keys++;
		}
		strbuf_addf(&bare, "%s\n", line);
	}
	for (i = 0; i < config_nkeys; i++)
		later += config_keys[i].type == CONFIG_LATER;
	ck_assert_uint_eq(keys, config_nkeys - later);

	c = load_good(bare.buf);
	show(&kept, c);
	config_unref(&c);
	c = load_good(HOST "[tls]\ncertificate = /etc/restante/certificate.pem\n"
			   "key = /etc/restante/key.pem\n");
	show(&defaults, c);
	ck_assert_str_eq(kept.buf, defaults.buf);
	config_unref(&c);
	free(text);
	strbuf_release(&bare);
	strbuf_release(&kept);
	strbuf_release(&defaults);
}
END_TEST

START_TEST(example_that_cannot_be_written)
{
	FILE *full = fopen("/dev/full", "w");

	ck_assert_ptr_nonnull(full);
	ck_assert_int_eq(config_write_example(full), -1);
	(void)fclose(full);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("config");

	tcase_add_test(tc, defaults_are_those_that_are_promised);
	tcase_add_loop_test(tc, a_key_is_taken_or_refused, 0, COUNT(values));
	tcase_add_test(tc, every_key_has_its_rows);
	tcase_add_test(tc, example_is_as_kept);
	tcase_add_test(tc, example_is_true);
	tcase_add_test(tc, example_that_cannot_be_written);
	suite_add_tcase(suite, tc);
	return run_with_file(suite);
}
