/*
 * keys - the one table of what restante.conf may say.
 *
 * From it come the parser, the bounds, the defaults, what a wrong name is
 * answered with, and the example file.  The order is that of the example.
 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "common/conf/config_internal.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define MINUTE UINT64_C(60)
#define DAY (1440 * MINUTE)

/* clang-format off */
const struct config_key config_keys[] = {
	{
		.section = "site", .name = "hostname",
		.type = CONFIG_HOSTNAME, .offset = offsetof(struct config, site.hostname),
		.example = "mail.example.org",
		.sentence = "The full name of this host, for greetings, Received: fields and "
		    "APOP stamps. Without it, the machine's own name is taken if it "
		    "has a dot.",
	},
	{
		.section = "site", .name = "spool",
		.type = CONFIG_PATH, .offset = offsetof(struct config, site.spool),
		.restart = true,
		.value = "/var/spool/restante",
		.sentence = "The directory of the store, on a local file system.",
	},
	{
		.section = "site", .name = "user",
		.type = CONFIG_ACCOUNT, .offset = offsetof(struct config, site.user),
		.restart = true,
		.value = "restante",
		.sentence = "The account to become when started as root; it owns the spool.",
	},
	{
		.section = "site", .name = "postmaster",
		.type = CONFIG_ADDRESS, .offset = offsetof(struct config, site.postmaster),
		.optional = true,
		.value = "none",
		.sentence = "Where mail to postmaster and abuse goes, for every domain that "
		    "has none of its own. With none, that is the first mailbox made.",
	},
	{
		.section = "site", .name = "trusted",
		.type = CONFIG_NETWORKS,
		.optional = true,
		.value = "127.0.0.0/8 ::1",
		.sentence = "Addresses and networks that are exempt from limits by address.",
	},
	{
		.section = "site", .name = "log_level",
		.type = CONFIG_CHOICE, .offset = offsetof(struct config, site.log_level),
		.value = "info",
		.words = "error warning info debug",
		.sentence = "How much is logged: error, warning, info or debug.",
	},

	{
		.section = "spool", .name = "quota",
		.type = CONFIG_SIZE, .offset = offsetof(struct config, spool.quota),
		.value = "1G",
		.unlimited = "none",
		.min = KIB, .max = NUM_MAX,
		.sentence = "A new mailbox's quota, or none, where its domain has no other.",
	},
	{
		.section = "spool", .name = "expire",
		.type = CONFIG_AGE, .offset = offsetof(struct config, spool.expire_s),
		.value = "never",
		.unlimited = "never",
		.min = DAY, .max = 36500 * DAY,
		.sentence = "A new mailbox's age limit: how long mail stays at the least, from "
		    "1d, or never to keep all, where its domain has no other.",
	},
	{
		.section = "spool", .name = "keep_deleted",
		.type = CONFIG_AGE, .offset = offsetof(struct config, spool.keep_deleted_s),
		.value = "0s",
		.max = 3650 * DAY,
		.sentence = "How long pop-admin mail restore can bring deleted mail back.",
	},
	{
		.section = "spool", .name = "keep_deleted_max",
		.type = CONFIG_SIZE, .offset = offsetof(struct config, spool.keep_deleted_max),
		.value = "1G",
		.max = NUM_MAX,
		.sentence = "How much disk such mail may take; the oldest goes first.",
	},
	{
		.section = "spool", .name = "expire_every",
		.type = CONFIG_AGE, .offset = offsetof(struct config, spool.expire_every_s),
		.value = "1h",
		.min = 1, .max = DAY,
		.sentence = "How often mail past its age is removed.",
	},
	{
		.section = "spool", .name = "quota_warn",
		.type = CONFIG_PERCENTS,
		.optional = true,
		.value = "80% 95%",
		.sentence = "Shares of a quota at whose crossing the mailbox's owner gets a "
		    "message, or none. Its text is " CONFIG_WARNING_FILE " beside this file "
		    "where there is one.",
	},
	{
		.section = "spool", .name = "reserve",
		.type = CONFIG_SIZE, .offset = offsetof(struct config, spool.reserve),
		.value = "512M",
		.max = NUM_MAX,
		.sentence = "Free disk below which delivery is put off with 452.",
	},

	{
		.section = "tls", .name = "certificate",
		.type = CONFIG_PATH, .offset = offsetof(struct config, tls.certificate),
		.optional = true,
		.example = "/etc/restante/certificate.pem",
		.sentence = "The certificate and the chain above it, as PEM, readable by "
		    "the account of [site]. Without one, no TLS is offered.",
	},
	{
		.section = "tls", .name = "key",
		.type = CONFIG_PATH, .offset = offsetof(struct config, tls.key),
		.optional = true,
		.example = "/etc/restante/key.pem",
		.sentence = "The certificate's private key, likewise.",
	},

	{
		.section = "smtpd", .name = "listen",
		.type = CONFIG_ENDPOINTS, .offset = offsetof(struct config, smtpd.listen),
		.restart = true, .optional = true,
		.value = "0.0.0.0:25 [::]:25",
		.sentence = "Where SMTP is spoken.",
	},
	{
		.section = "smtpd", .name = "listen_lmtp",
		.type = CONFIG_ENDPOINTS, .offset = offsetof(struct config, smtpd.listen_lmtp),
		.restart = true, .optional = true,
		.value = "none",
		.sentence = "Where LMTP is spoken: unix:/PATH or HOST:PORT.",
	},
	{
		.section = "smtpd", .name = "max_message_size",
		.type = CONFIG_SIZE, .offset = offsetof(struct config, smtpd.max_message_size),
		.value = "50M",
		.min = 64 * KIB, .max = 2 * GIB, /* RFC 5321 4.5.3.1.7 */
		.sentence = "The largest message that is taken, at most 2G.",
	},
	{
		.section = "smtpd", .name = "max_recipients",
		.type = CONFIG_COUNT, .offset = offsetof(struct config, smtpd.max_recipients),
		.value = "1000",
		.min = 100, .max = 100000, /* RFC 5321 4.5.3.1.8 */
		.sentence = "Recipients of one message, at least 100.",
	},
	{
		.section = "smtpd", .name = "max_connections",
		.type = CONFIG_COUNT, .offset = offsetof(struct config, smtpd.max_connections),
		.value = "10000",
		.min = 1, .max = 1000000,
		.sentence = "Connections at once; lowered to what the limit of descriptors "
		    "allows.",
	},
	{
		.section = "smtpd", .name = "max_connections_per_ip",
		.type = CONFIG_COUNT, .offset = offsetof(struct config, smtpd.max_connections_per_ip),
		.value = "50",
		.min = 1, .max = 1000000,
		.sentence = "Connections at once from one address that is not trusted.",
	},
	{
		.section = "smtpd", .name = "timeout",
		.type = CONFIG_AGE, .offset = offsetof(struct config, smtpd.timeout_s),
		.value = "5m",
		.min = 1, .max = DAY,
		.sentence = "How long a silent client is waited for.",
	},
	{
		.section = "smtpd", .name = "recipient_delimiter",
		.type = CONFIG_CHARACTER, .offset = offsetof(struct config, smtpd.recipient_delimiter),
		.optional = true,
		.value = "+",
		.sentence = "What parts a tag from a name: with +, user+tag@ reaches user@.",
	},
	{
		.section = "smtpd", .name = "bare_newline",
		.type = CONFIG_SWITCH, .offset = offsetof(struct config, smtpd.bare_newline_reject),
		.value = "normalize",
		.words = "normalize reject",
		.sentence = "A bare LF in a message: normalize makes it CRLF, reject refuses "
		    "the message.",
	},

	{
		.section = "pop3d", .name = "listen",
		.type = CONFIG_ENDPOINTS, .offset = offsetof(struct config, pop3d.listen),
		.restart = true, .optional = true,
		.value = "0.0.0.0:110 [::]:110",
		.sentence = "Where POP3 is spoken, with STLS once there is a certificate.",
	},
	{
		.section = "pop3d", .name = "listen_tls",
		.type = CONFIG_ENDPOINTS, .offset = offsetof(struct config, pop3d.listen_tls),
		.restart = true, .optional = true,
		.example = "0.0.0.0:995 [::]:995",
		.sentence = "Where POP3 is spoken in TLS from the first octet. Without a "
		    "certificate, nowhere.",
	},
	{ .section = "pop3d", .name = "user", .type = CONFIG_LATER },
	{
		.section = "pop3d", .name = "max_connections",
		.type = CONFIG_COUNT, .offset = offsetof(struct config, pop3d.max_connections),
		.value = "10000",
		.min = 1, .max = 1000000,
		.sentence = "Connections at once; lowered to what the limit of descriptors "
		    "allows.",
	},
	{
		.section = "pop3d", .name = "max_connections_per_ip",
		.type = CONFIG_COUNT, .offset = offsetof(struct config, pop3d.max_connections_per_ip),
		.value = "50",
		.min = 1, .max = 1000000,
		.sentence = "Connections at once from one address that is not trusted.",
	},
	{
		.section = "pop3d", .name = "timeout",
		.type = CONFIG_AGE, .offset = offsetof(struct config, pop3d.timeout_s),
		.value = "10m",
		.min = 10 * MINUTE, .max = DAY, /* RFC 1939 3 */
		.sentence = "Inactivity autologout, at least 10m.",
	},
	{
		.section = "pop3d", .name = "plaintext_auth",
		.type = CONFIG_CHOICE, .offset = offsetof(struct config, pop3d.plaintext_auth),
		.value = "loopback",
		.words = "never loopback always",
		.sentence = "Where a password is taken in the clear, without TLS: never, "
		    "loopback or always.",
	},
	{
		.section = "pop3d", .name = "lock_wait",
		.type = CONFIG_AGE, .offset = offsetof(struct config, pop3d.lock_wait_s),
		.value = "5s",
		.max = 10 * MINUTE,
		.sentence = "How long a login waits for a maildrop that is in use.",
	},
	{
		.section = "pop3d", .name = "login_delay",
		.type = CONFIG_AGE, .offset = offsetof(struct config, pop3d.login_delay_s),
		.value = "0s",
		.max = DAY,
		.sentence = "How long after a login the next one to the same mailbox is refused.",
	},
};
/* clang-format on */

const size_t config_nkeys = sizeof(config_keys) / sizeof(config_keys[0]);

/* A name is near another when a third of its letters is wrong, and at most two. */
#define NEAR_MAX 2
#define NAME_MAX_LENGTH 32

/* How many letters must be changed, put in or taken out to make one of the other. */
static size_t
distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LENGTH + 1], la = strlen(a), lb = strlen(b), i, j;

	if (la > NAME_MAX_LENGTH || lb > NAME_MAX_LENGTH)
		return SIZE_MAX;
	for (j = 0; j <= lb; j++)
		row[j] = j;
	for (i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= lb; j++) {
			size_t same = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j - 1] < row[j])
				row[j] = row[j - 1];
			row[j] = row[j] + 1 < same ? row[j] + 1 : same;
		}
	}
	return row[lb];
}

static bool
begins_section(size_t i)
{
	return i == 0 || strcmp(config_keys[i].section, config_keys[i - 1].section) != 0;
}

int
config_section_check(const char *section, struct strbuf *err)
{
	size_t i;

	for (i = 0; i < config_nkeys; i++) {
		if (strcmp(config_keys[i].section, section) == 0)
			return 0;
	}
	strbuf_addf(err, "unknown section [%.64s]: there are", section);
	for (i = 0; i < config_nkeys; i++) {
		if (begins_section(i))
			strbuf_addf(err, " [%s]", config_keys[i].section);
	}
	return -1;
}

/* Adds to err what somebody who wrote `name` may have meant. */
static void
suggest(const char *section, const char *name, struct strbuf *err)
{
	const struct config_key *nearest = NULL, *k;
	size_t least = strlen(name) / 3 < NEAR_MAX ? strlen(name) / 3 : NEAR_MAX;

	for (k = config_keys; k < config_keys + config_nkeys; k++) {
		size_t d = distance(name, k->name);

		if (k->type == CONFIG_LATER || d > least)
			continue;
		/* Of two that are as near, the one in the section at hand. */
		if (d < least || nearest == NULL || strcmp(k->section, section) == 0) {
			least = d;
			nearest = k;
		}
	}
	if (nearest == NULL) {
		strbuf_addf(err, ": [%s] has", section);
		for (k = config_keys; k < config_keys + config_nkeys; k++) {
			if (strcmp(k->section, section) == 0 && k->type != CONFIG_LATER)
				strbuf_addf(err, " %s", k->name);
		}
	} else if (strcmp(nearest->section, section) == 0) {
		strbuf_addf(err, ": did you mean %s?", nearest->name);
	} else {
		strbuf_addf(err, ": %s belongs to [%s]", nearest->name, nearest->section);
	}
}

const struct config_key *
config_key_get(const char *section, const char *name)
{
	const struct config_key *k;

	for (k = config_keys; k < config_keys + config_nkeys; k++) {
		if (strcmp(k->section, section) == 0 && strcmp(k->name, name) == 0)
			return k;
	}
	return NULL;
}

const struct config_key *
config_key_find(const char *section, const char *name, struct strbuf *err)
{
	const struct config_key *k = config_key_get(section, name);

	if (k != NULL)
		return k;
	strbuf_addf(err, "unknown key \"%.64s\" in [%s]", name, section);
	suggest(section, name, err);
	return NULL;
}

/* --- the example file ------------------------------------------------------ */

#define EXAMPLE_COLUMNS 78

/* A sentence as comment lines, broken between words. */
static void
write_sentence(FILE *out, const char *text)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t len = strcspn(text, " ");

		if (column > 0 && column + 1 + len > EXAMPLE_COLUMNS) {
			(void)fputc('\n', out);
			column = 0;
		}
		if (column == 0)
			column = (size_t)fprintf(out, "#");
		(void)fprintf(out, " %.*s", (int)len, text);
		column += 1 + len;
		text += len;
		text += strspn(text, " ");
	}
	(void)fputc('\n', out);
}

int
config_write_example(FILE *out)
{
	size_t i;

	write_sentence(out,
	    "The configuration of Restante. Each key stands here with its default, or with an "
	    "example where it has none; take away the # to change it. Sizes take K, M or G, "
	    "times s, m, h, d or w; lists are separated by blanks or commas. Comments need a "
	    "line of their own. Check it with smtpd -t, and send SIGHUP to make it so.");
	for (i = 0; i < config_nkeys; i++) {
		const struct config_key *k = &config_keys[i];

		if (begins_section(i))
			(void)fprintf(out, "\n[%s]\n", k->section);
		if (k->type == CONFIG_LATER)
			continue;
		(void)fputc('\n', out);
		write_sentence(out, k->sentence);
		if (k->restart)
			write_sentence(out, "A change needs a restart.");
		(void)fprintf(out, "#%s = %s\n", k->name, k->value != NULL ? k->value : k->example);
	}
	return fflush(out) == EOF || ferror(out) != 0 ? -1 : 0;
}
