/*
 * value - a key's text as a member of struct config, by the key's type.
 *
 * A member that owns memory is zero until it is set, so that releasing a
 * configuration that is half made is releasing a whole one.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "common/conf/config_internal.h"

/* How much of a wrong value a message repeats. */
#define VALUE_QUOTE 64

#define LIST_SEPARATORS " \t,"

static void *
member(struct config *c, const struct config_key *k)
{
	return (char *)c + k->offset;
}

static const void *
member_const(const struct config *c, const struct config_key *k)
{
	return (const char *)c + k->offset;
}

static int
bad(const struct config_key *k, const char *value, struct strbuf *err, const char *want)
{
	strbuf_addf(err, "%s = %.*s: %s", k->name, VALUE_QUOTE, value, want);
	return -1;
}

static int
no_memory(struct strbuf *err)
{
	strbuf_addstr(err, "there is not enough memory");
	return -1;
}

static int
set_text(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	char **text = member(c, k);

	*text = mem_dup(value, strlen(value));
	return *text != NULL ? 0 : no_memory(err);
}

static int
set_hostname(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	struct strbuf why;
	int rc;

	strbuf_init(&why, 200);
	rc = config_hostname_check(value, &why);
	if (rc == -1)
		(void)bad(k, value, err, why.buf);
	else
		rc = set_text(c, k, value, err);
	strbuf_release(&why);
	return rc;
}

static int
set_account(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	if (value[strcspn(value, " \t,:/")] != '\0')
		return bad(k, value, err, "write the name of one account, such as restante");
	return set_text(c, k, value, err);
}

static int
set_path(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	if (value[0] != '/')
		return bad(k, value, err, "write the whole path, from / on");
	return set_text(c, k, value, err);
}

/* Whether it is an address that there can be is smtpd's to say; here it is enough to
 * notice a name without its domain. */
static int
set_address(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	const char *at = strrchr(value, '@');

	if (at == NULL || at == value || at[1] == '\0' || strpbrk(value, " \t,<>") != NULL)
		return bad(k, value, err, "write a full address, such as joe@example.org");
	return set_text(c, k, value, err);
}

/* The next word of the list at *at, as a copy in `word`; false at its end.  A word that is
 * too long comes cut, and is then no address either. */
static bool
next_word(const char **at, char word[ENDPOINT_TEXT_MAX])
{
	const char *start = *at + strspn(*at, LIST_SEPARATORS);
	size_t len = strcspn(start, LIST_SEPARATORS);

	*at = start + len;
	if (len >= ENDPOINT_TEXT_MAX)
		len = ENDPOINT_TEXT_MAX - 1;
	memcpy(word, start, len);
	word[len] = '\0';
	return len > 0;
}

static int
set_networks(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	char word[ENDPOINT_TEXT_MAX];
	size_t cap = 0;

	while (next_word(&value, word)) {
		if (mem_grow(&c->site.trusted, &cap, c->site.ntrusted + 1,
			sizeof(*c->site.trusted)) == -1)
			return no_memory(err);
		if (network_parse(word, &c->site.trusted[c->site.ntrusted]) == -1)
			return bad(k, word, err,
			    "write an address such as ::1, or a network such as 10.0.0.0/8 with "
			    "nothing behind its mask");
		c->site.ntrusted++;
	}
	return 0;
}

static int
set_endpoints(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	struct config_endpoints *e = member(c, k);
	char word[ENDPOINT_TEXT_MAX];
	size_t cap = 0;

	while (next_word(&value, word)) {
		if (mem_grow(&e->list, &cap, e->n + 1, sizeof(*e->list)) == -1)
			return no_memory(err);
		if (endpoint_parse(word, &e->list[e->n]) == -1)
			return bad(k, word, err,
			    "write HOST:PORT with a numeric address, such as 127.0.0.1:2525 or "
			    "[::1]:2525, or unix:/PATH");
		e->n++;
	}
	return 0;
}

static int
parse_number(const struct config_key *k, const char *value, uint64_t *n_r)
{
	switch (k->type) {
	case CONFIG_SIZE:
		return num_parse_size(value, n_r);
	case CONFIG_AGE:
		return num_parse_age(value, n_r);
	default:
		return num_parse_u64(value, strlen(value), 0, UINT64_MAX, n_r);
	}
}

static void
format_number(const struct config_key *k, uint64_t n, struct strbuf *out)
{
	char text[NUM_TEXT_MAX];

	if (k->type == CONFIG_SIZE)
		strbuf_addstr(out, num_format_size(text, n));
	else if (k->type == CONFIG_AGE)
		strbuf_addstr(out, num_format_age(text, n));
	else
		strbuf_addf(out, "%" PRIu64, n);
}

static int
set_number(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	uint64_t *n = member(c, k), got;

	if (k->unlimited != NULL && strcmp(value, k->unlimited) == 0) {
		*n = NUM_UNLIMITED;
		return 0;
	}
	if (parse_number(k, value, &got) == 0 && got >= k->min && got <= k->max) {
		*n = got;
		return 0;
	}
	(void)bad(k, value, err,
	    k->type == CONFIG_SIZE  ? "write a size such as 512K, 50M or 2G"
	    : k->type == CONFIG_AGE ? "write a time such as 90s, 10m, 2h or 1d"
				    : "write a number");
	strbuf_addstr(err, ", from ");
	format_number(k, k->min, err);
	strbuf_addstr(err, " to ");
	format_number(k, k->max, err);
	if (k->unlimited != NULL)
		strbuf_addf(err, ", or %s", k->unlimited);
	return -1;
}

/* 1 to 100, each once, kept in rising order whatever the order that they were written in. */
static int
set_percents(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	uint8_t *list = c->spool.quota_warn;
	char word[ENDPOINT_TEXT_MAX];
	uint64_t percent;

	while (next_word(&value, word)) {
		size_t len = strlen(word), i = c->spool.nquota_warn;

		if (word[len - 1] != '%' || num_parse_u64(word, len - 1, 1, 100, &percent) != 0 ||
		    memchr(list, (int)percent, i) != NULL)
			return bad(k, word, err,
			    "write shares from 1% to 100%, each once, such as 80% 95%");
		if (i == CONFIG_WARN_MAX)
			return bad(k, word, err, "that is one too many: write up to 8");
		for (; i > 0 && list[i - 1] > percent; i--)
			list[i] = list[i - 1];
		list[i] = (uint8_t)percent;
		c->spool.nquota_warn++;
	}
	return 0;
}

static int
set_choice(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	const char *word = k->words;
	unsigned i;

	for (i = 0; *word != '\0'; i++) {
		size_t len = strcspn(word, " ");

		if (len == strlen(value) && memcmp(word, value, len) == 0) {
			if (k->type == CONFIG_SWITCH)
				*(bool *)member(c, k) = i == 1;
			else
				memcpy(member(c, k), &i, sizeof(i));
			return 0;
		}
		word += len;
		word += strspn(word, " ");
	}
	(void)bad(k, value, err, "write one of: ");
	strbuf_addstr(err, k->words);
	return -1;
}

/* RFC 5321 4.1.2: what may part a tag from a name is an atext of its own. */
static int
set_character(struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	if (strlen(value) != 1 || strchr("!#$%&'*+-/=?^_`{|}~", value[0]) == NULL)
		return bad(k, value, err,
		    "write one character of ! # $ % & ' * + - / = ? ^ _ ` { | } ~ or nothing");
	*(char *)member(c, k) = value[0];
	return 0;
}

int
config_value_set(
    struct config *c, const struct config_key *k, const char *value, struct strbuf *err)
{
	if (k->type == CONFIG_LATER) {
		strbuf_addf(err, "%s is not in this version: take the line out", k->name);
		return -1;
	}
	if (k->optional && (value[0] == '\0' || strcmp(value, "none") == 0))
		return 0;
	if (value[0] == '\0') {
		strbuf_addf(err, "%s has no value: write one, such as %s", k->name,
		    k->example != NULL ? k->example : k->value);
		return -1;
	}
	switch (k->type) {
	case CONFIG_LATER:
		break;
	case CONFIG_HOSTNAME:
		return set_hostname(c, k, value, err);
	case CONFIG_ACCOUNT:
		return set_account(c, k, value, err);
	case CONFIG_PATH:
		return set_path(c, k, value, err);
	case CONFIG_ADDRESS:
		return set_address(c, k, value, err);
	case CONFIG_NETWORKS:
		return set_networks(c, k, value, err);
	case CONFIG_ENDPOINTS:
		return set_endpoints(c, k, value, err);
	case CONFIG_SIZE:
	case CONFIG_AGE:
	case CONFIG_COUNT:
		return set_number(c, k, value, err);
	case CONFIG_CHOICE:
	case CONFIG_SWITCH:
		return set_choice(c, k, value, err);
	case CONFIG_CHARACTER:
		return set_character(c, k, value, err);
	case CONFIG_PERCENTS:
		return set_percents(c, k, value, err);
	}
	abort();
}

void
config_value_release(struct config *c, const struct config_key *k)
{
	struct config_endpoints *e;

	switch (k->type) {
	case CONFIG_HOSTNAME:
	case CONFIG_ACCOUNT:
	case CONFIG_PATH:
	case CONFIG_ADDRESS:
		mem_free(member(c, k));
		break;
	case CONFIG_NETWORKS:
		mem_free(&c->site.trusted);
		c->site.ntrusted = 0;
		break;
	case CONFIG_ENDPOINTS:
		e = member(c, k);
		mem_free(&e->list);
		e->n = 0;
		break;
	default:
		break;
	}
}

static bool
equal_endpoints(const struct config_endpoints *a, const struct config_endpoints *b)
{
	size_t i;

	if (a->n != b->n)
		return false;
	for (i = 0; i < a->n; i++) {
		if (a->list[i].len != b->list[i].len ||
		    memcmp(&a->list[i].addr, &b->list[i].addr, a->list[i].len) != 0)
			return false;
	}
	return true;
}

bool
config_value_equal(const struct config_key *k, const struct config *a, const struct config *b)
{
	const void *x = member_const(a, k), *y = member_const(b, k);

	switch (k->type) {
	case CONFIG_ACCOUNT:
	case CONFIG_PATH:
		return strcmp(*(char *const *)x, *(char *const *)y) == 0;
	case CONFIG_ENDPOINTS:
		return equal_endpoints(x, y);
	default:
		abort();
	}
}
