/*
 * smtp_trace - the Received: field, put together and folded.
 *
 * Everything in it is ours, or a path that the address parser let through (no controls),
 * or a name that is checked here: a client cannot write a header of its own with it.
 */
#include "smtp_trace.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "mail/address.h"
#include "mail/date.h"

/* RFC 5322 2.1.1 asks for lines of 78 octets where that can be. */
#define FOLD 78u

struct folding {
	struct strbuf *out;
	size_t column;
};

/* Adds a word of three parts behind a blank, or on a line of its own where it would not fit or
 * `fresh` wants one. */
static void
add_parts(struct folding *f, const char *before, const char *word, const char *behind, bool fresh)
{
	size_t len = strlen(before) + strlen(word) + strlen(behind);

	if (fresh || f->column + 1 + len > FOLD) {
		strbuf_addstr(f->out, "\r\n\t");
		f->column = 1;
	} else {
		strbuf_addch(f->out, ' ');
		f->column++;
	}
	strbuf_addstr(f->out, before);
	strbuf_addstr(f->out, word);
	strbuf_addstr(f->out, behind);
	f->column += len;
}

static void
add_word(struct folding *f, const char *word, bool fresh)
{
	add_parts(f, "", word, "", fresh);
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
	char literal[ENDPOINT_TEXT_MAX + 8], date[DATE_MAX];
	bool local = strcmp(t->peer, ENDPOINT_HOST_UNIX) == 0;

	stpcpy(
	    stpcpy(stpcpy(literal, strchr(t->peer, ':') != NULL ? "[IPv6:" : "["), t->peer), "]");
	strbuf_addstr(out, "Received:");
	add_word(&f, "from", false);
	if (name_like(t->client))
		add_word(&f, t->client, false);
	else
		add_word(&f, local ? "localhost" : literal, false);
	/* RFC 5321 4.4: the address goes beside the name. */
	add_parts(&f, "(", local ? "unix socket" : literal, ")", false);
	add_word(&f, "by", true);
	add_word(&f, t->hostname, false);
	add_parts(&f, "with ", t->with, "", false);
	add_parts(&f, "id ", t->id, t->recipient == NULL ? ";" : "", false);
	if (t->recipient != NULL)
		add_parts(&f, "for <", t->recipient, ">;", true);
	add_word(&f, date_format(date, t->unix_seconds), t->recipient == NULL);
	strbuf_addstr(out, "\r\n");
}
