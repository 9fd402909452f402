/*
 * smtp_trace - the Received: field, put together and folded.
 *
 * Everything in it is ours, or a path that the address parser let through (no controls),
 * or a name that is checked here: a client cannot write a header of its own with it.
 */
#include "smtp_trace.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "mail/address.h"
#include "mail/date.h"

/* RFC 5322 2.1.1 asks for lines of 78 octets where that can be. */
#define FOLD 78u

struct folding {
	struct strbuf *out;
	size_t column;
};

/* Adds a word behind a blank, or on a line of its own where it would not fit or `fresh` wants
 * one. */
static void
add_word(struct folding *f, const char *word, bool fresh)
{
	size_t len = strlen(word);

	if (fresh || f->column + 1 + len > FOLD) {
		strbuf_addstr(f->out, "\r\n\t");
		f->column = 1;
	} else {
		strbuf_addch(f->out, ' ');
		f->column++;
	}
	strbuf_add(f->out, word, len);
	f->column += len;
}

/* RFC 5321 4.1.3, or what looks like it. */
static bool
literal_like(const char *text)
{
	size_t len = strlen(text);

	if (len < 3 || text[0] != '[' || text[len - 1] != ']')
		return false;
	for (size_t i = 1; i < len - 1; i++)
		if (!isalnum((unsigned char)text[i]) && strchr(".:-", text[i]) == NULL)
			return false;
	return true;
}

static bool
name_like(const char *text)
{
	return strlen(text) <= ADDRESS_DOMAIN_MAX &&
	       (address_parse_domain(text) == 0 || literal_like(text));
}

void
smtp_trace_received(const struct smtp_trace *t, struct strbuf *out)
{
	struct folding f = { .out = out, .column = strlen("Received:") };
	char host[ENDPOINT_TEXT_MAX], literal[ENDPOINT_TEXT_MAX + 8];
	char word[ADDRESS_MAX + 16], date[DATE_MAX];
	bool local = t->peer->addr.sa.sa_family == AF_UNIX;

	endpoint_format_host(host, t->peer);
	snprintf(
	    literal, sizeof(literal), "[%s%s]", strchr(host, ':') != NULL ? "IPv6:" : "", host);
	strbuf_addstr(out, "Received:");
	add_word(&f, "from", false);
	if (name_like(t->client))
		add_word(&f, t->client, false);
	else
		add_word(&f, local ? "localhost" : literal, false);
	/* RFC 5321 4.4: the address goes beside the name. */
	snprintf(word, sizeof(word), "(%s)", local ? "unix socket" : literal);
	add_word(&f, word, false);
	add_word(&f, "by", true);
	add_word(&f, t->hostname, false);
	snprintf(word, sizeof(word), "with %s", t->with);
	add_word(&f, word, false);
	snprintf(word, sizeof(word), "id %s%s", t->id, t->recipient == NULL ? ";" : "");
	add_word(&f, word, false);
	if (t->recipient != NULL) {
		snprintf(word, sizeof(word), "for <%s>;", t->recipient);
		add_word(&f, word, true);
	}
	add_word(&f, date_format(date, t->unix_seconds), t->recipient == NULL);
	strbuf_addstr(out, "\r\n");
}
