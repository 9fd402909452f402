/*
 * config - what restante.conf says, read, checked and complete.
 *
 * First the file's keys in their order, then the defaults of those that it left
 * out, then what must be true of several keys together.  The lines are
 * remembered until then, so that every complaint can name the one to blame.
 */
#include "conf/config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "common/conf/config_internal.h"
#include "conf/ini.h"

#define CONFIG_FILE_MAX ((size_t)1 << 20)
#define CONFIG_HOSTS_FILE "/etc/hosts"

struct loader {
	const char *file;
	struct config *config;
	unsigned *lines; /* owned; by index in the table: where the key was set, or 0 */
	struct strbuf *err;
	int errnum; /* 0, or what failed when nothing was wrong */
};

static int
fail(struct loader *l, const char *what)
{
	strbuf_addf(l->err, "%s: %s", l->file, what);
	return -1;
}

static int
fail_at(struct loader *l, unsigned line, const char *what)
{
	strbuf_addf(l->err, "%s:%u: %s", l->file, line, what);
	return -1;
}

/* Where it is the machine that failed, and not who wrote the path. */
static void
note_failure(struct loader *l)
{
	if (errno == EIO || errno == ENOMEM || errno == EMFILE || errno == ENFILE)
		l->errnum = errno;
}

/* All of `in`, as far as it fits; closes it. */
static int
read_stream(struct loader *l, const char *file, FILE *in, struct strbuf *text)
{
	char block[4096];
	size_t n;
	int rc = 0;

	while ((n = fread(block, 1, sizeof(block), in)) > 0 && !text->failed)
		strbuf_add(text, block, n);
	if (ferror(in) != 0) {
		note_failure(l);
		strbuf_addf(l->err, "%s: cannot be read: %s", file, strerrordesc_np(errno));
		rc = -1;
	}
	(void)fclose(in);
	return rc;
}

static int
read_file(struct loader *l, struct strbuf *text)
{
	FILE *in = fopen(l->file, "re");

	if (in == NULL) {
		note_failure(l);
		strbuf_addf(l->err,
		    "%s: %s: make it from restante.conf.example, or name another with -c", l->file,
		    strerrordesc_np(errno));
		return -1;
	}
	if (read_stream(l, l->file, in, text) == -1)
		return -1;
	return text->failed ? fail(l, "is larger than 1M, which no configuration is") : 0;
}

/* A first line `Subject: TEXT`, then an empty one, then what stands in the message. */
static bool
has_subject(const char *text)
{
	static const char bom[] = "\xef\xbb\xbf", subject[] = "Subject:";

	if (strncmp(text, bom, strlen(bom)) == 0)
		text += strlen(bom);
	if (strncasecmp(text, subject, strlen(subject)) != 0)
		return false;
	text += strlen(subject);
	return text[strspn(text, " \t\r")] != '\n' && text[strspn(text, " \t\r")] != '\0';
}

/* What is behind the first line: nothing, or an empty line. */
static bool
second_is_empty(const char *text)
{
	text += strcspn(text, "\n");
	if (*text == '\n')
		text++;
	text += *text == '\r';
	return *text == '\0' || *text == '\n';
}

static int
check_warning(struct loader *l, const char *path, const struct strbuf *text)
{
	const char *want = NULL;
	size_t good = strnlen(text->buf, utf8_span(text->buf, text->len));
	unsigned line = 1;

	if (good < text->len) {
		for (size_t i = 0; i < good; i++)
			line += text->buf[i] == '\n';
		want = "is not UTF-8: save the text in that form";
	} else if (!has_subject(text->buf)) {
		want = "has no subject: write \"Subject: \" and what the message is about";
	} else if (!second_is_empty(text->buf)) {
		line = 2;
		want = "is not empty: write an empty line below the subject";
	}
	if (want == NULL)
		return 0;
	strbuf_addf(l->err, "%s:%u: %s", path, line, want);
	return -1;
}

/* The text of the warning, where there is one beside the configuration. */
static int
read_warning(struct loader *l)
{
	const char *slash = strrchr(l->file, '/');
	struct strbuf path, text;
	FILE *in = NULL;
	int rc = 0;

	strbuf_init(&path, 2 * PATH_MAX);
	strbuf_init(&text, CONFIG_WARNING_MAX);
	strbuf_add(&path, l->file, slash != NULL ? (size_t)(slash - l->file) + 1 : 0);
	strbuf_addstr(&path, CONFIG_WARNING_FILE);
	if (path.failed)
		errno = ENOMEM;
	else
		in = fopen(path.buf, "re");
	if (in == NULL && errno != ENOENT) {
		note_failure(l);
		strbuf_addf(l->err, "%s: %s", path.buf, strerrordesc_np(errno));
		rc = -1;
	} else if (in != NULL) {
		rc = read_stream(l, path.buf, in, &text);
		if (rc == 0 && text.failed) {
			strbuf_addf(l->err, "%s: is larger than 16K", path.buf);
			rc = -1;
		}
		if (rc == 0)
			rc = check_warning(l, path.buf, &text);
		if (rc == 0) {
			l->config->spool.quota_warning = strbuf_detach(&text);
			if (l->config->spool.quota_warning == NULL)
				rc = fail(l, "there is not enough memory");
		}
	}
	strbuf_release(&text);
	strbuf_release(&path);
	return rc;
}

static int
take_key(void *arg, const char *section, const char *name, const char *value, unsigned line,
    struct strbuf *err)
{
	struct loader *l = arg;
	const struct config_key *k;
	unsigned *set;

	if (name == NULL)
		return config_section_check(section, err);
	k = config_key_find(section, name, err);
	if (k == NULL)
		return -1;
	set = &l->lines[k - config_keys];
	if (*set != 0) {
		strbuf_addf(
		    err, "%s was set in line %u already: take one of the two out", name, *set);
		return -1;
	}
	*set = line;
	return config_value_set(l->config, k, value, err);
}

/* The line in which the key was set, or 0. */
static unsigned
line_of(const struct loader *l, const char *section, const char *name)
{
	const struct config_key *k = config_key_get(section, name);

	assert(k != NULL);
	return l->lines[k - config_keys];
}

static int
default_hostname(struct loader *l)
{
	char *name = config_hostname_default(CONFIG_HOSTS_FILE);
	struct strbuf why;
	int rc = 0;

	if (name == NULL)
		return fail(l, "there is not enough memory");
	strbuf_init(&why, 200);
	if (config_hostname_check(name, &why) == -1) {
		strbuf_addf(l->err,
		    "%s: hostname is not set in [site], and this machine's own, \"%.64s\", %s",
		    l->file, name, why.buf);
		mem_free(&name);
		rc = -1;
	}
	strbuf_release(&why);
	l->config->site.hostname = name;
	return rc;
}

static int
set_defaults(struct loader *l)
{
	struct config *c = l->config;
	size_t i;

	for (i = 0; i < config_nkeys; i++) {
		const struct config_key *k = &config_keys[i];
		const char *value = k->value;
		struct strbuf why;
		int rc = 0;

		if (l->lines[i] != 0 || k->type == CONFIG_LATER)
			continue;
		if (k->type == CONFIG_HOSTNAME) {
			if (default_hostname(l) == -1)
				return -1;
			continue;
		}
		if (k->offset == offsetof(struct config, pop3d.listen_tls) &&
		    c->tls.certificate != NULL)
			value = k->example;
		if (value == NULL)
			continue;
		strbuf_init(&why, 200);
		if (config_value_set(c, k, value, &why) == -1)
			rc = fail(l, why.buf);
		strbuf_release(&why);
		if (rc == -1)
			return -1;
	}
	return 0;
}

/* What must be true of several keys together. */
static int
check_together(struct loader *l)
{
	const struct config *c = l->config;

	if (c->tls.certificate != NULL && c->tls.key == NULL)
		return fail_at(l, line_of(l, "tls", "certificate"),
		    "certificate is set and key is not: set both, or neither");
	if (c->tls.certificate == NULL && c->tls.key != NULL)
		return fail_at(l, line_of(l, "tls", "key"),
		    "key is set and certificate is not: set both, or neither");
	if (c->tls.certificate == NULL && c->pop3d.listen_tls.n > 0)
		return fail_at(l, line_of(l, "pop3d", "listen_tls"),
		    "listen_tls needs a certificate: set certificate and key in [tls]");
	return 0;
}

int
config_load(const char *file, struct config **config_r, struct strbuf *err)
{
	struct loader l = { .file = file, .err = err };
	const unsigned failures = mem_failures();
	struct strbuf text;
	int rc = -1;

	strbuf_init(&text, CONFIG_FILE_MAX);
	l.config = mem_array(1, sizeof(*l.config));
	l.lines = mem_array(config_nkeys, sizeof(*l.lines));
	if (l.config == NULL || l.lines == NULL) {
		(void)fail(&l, "there is not enough memory");
		goto out;
	}
	l.config->refs = 1;
	if (read_file(&l, &text) == -1 ||
	    ini_read(file, text.buf, text.len, take_key, &l, err) == -1 || set_defaults(&l) == -1 ||
	    check_together(&l) == -1 || read_warning(&l) == -1)
		goto out;
	*config_r = l.config;
	l.config = NULL;
	rc = 0;
out:
	config_unref(&l.config);
	mem_free(&l.lines);
	strbuf_release(&text);
	/* Whatever it was taken for, a text that is too long or none at all. */
	if (rc == -1 && mem_failures() != failures) {
		strbuf_clear(err);
		strbuf_addf(err, "%s: there is not enough memory", file);
		l.errnum = ENOMEM;
	}
	errno = l.errnum;
	return rc;
}

struct config *
config_ref(struct config *c)
{
	__atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void
config_unref(struct config **config)
{
	struct config *c = *config;
	size_t i;

	*config = NULL;
	if (c == NULL || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (i = 0; i < config_nkeys; i++)
		config_value_release(c, &config_keys[i]);
	mem_free(&c->spool.quota_warning);
	mem_free(&c);
}

bool
config_trusts(const struct config *c, const uint8_t octets[16])
{
	size_t i;

	for (i = 0; i < c->site.ntrusted; i++) {
		if (network_contains(&c->site.trusted[i], octets))
			return true;
	}
	return false;
}

int
config_restart_needed(const struct config *old, const struct config *new, struct strbuf *keys_r)
{
	size_t i;

	for (i = 0; i < config_nkeys; i++) {
		const struct config_key *k = &config_keys[i];

		if (k->restart && !config_value_equal(k, old, new))
			strbuf_addf(
			    keys_r, "%s%s.%s", keys_r->len > 0 ? " " : "", k->section, k->name);
	}
	return keys_r->failed ? -1 : 0;
}
