/*
 * notice - a notice put together.
 *
 * The template is the administrator's and is not believed: whatever it says, what comes
 * out has the fields that we gave it and no others, lines that end in CRLF and are no longer
 * than RFC 5322 2.1.1 allows, and no subject that is not ASCII or encoded.
 */
#include "mail/notice.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "mail/address.h"
#include "mail/date.h"
#include "mail/dot.h"
#include "mail/sasl.h"

/* RFC 5322 2.1.1: how long a line may be, and how long it should be. */
#define LINE_MAX_OCTETS 998u
#define LINE_GOOD 78u
/* RFC 2047 2: a line with encoded words has at most 76 octets, each word 75.  Of UTF-8 these
 * fit into the first line, behind the field's name, and into one of the others. */
#define ENCODED_FIRST 39u
#define ENCODED_NEXT 45u
/* A word of plain text that is longer, with the blanks before it, is encoded: it could not be
 * folded. */
#define WORD_MAX 900u

/* clang-format off */
const char notice_template[] =
    "Subject: Your mailbox is {percent}% full\n"
    "\n"
    "The mailbox {address} holds {messages} messages, which take {used} of\n"
    "the {quota} that it may hold. That is {percent}%.\n"
    "\n"
    "When it is full, mail to you does not come in: those who send it are\n"
    "asked to try again later, and get it back if that goes on for days.\n"
    "Nothing that is in your mailbox is lost.\n"
    "\n"
    "To make room, fetch your mail and let your mail program delete from\n"
    "the server what it has fetched. If you need a larger mailbox, write\n"
    "to {postmaster}.\n"
    "\n"
    "-- \n"
    "This message was written by the mail host {hostname} itself.\n";
/* clang-format on */

/* --- placeholders --------------------------------------------------------- */

static void
add_value(const struct notice *n, const char *name, size_t len, struct strbuf *out)
{
	static const char *const names[] = { "address", "percent", "used", "quota", "messages",
		"hostname", "postmaster" };
	char text[NUM_TEXT_MAX];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			break;
	switch (i) {
	case 0:
		strbuf_addstr(out, n->address);
		break;
	case 1:
		strbuf_addf(out, "%" PRIu64, n->percent);
		break;
	case 2:
		strbuf_addstr(out, num_format_size_short(text, n->used));
		break;
	case 3:
		strbuf_addstr(out, num_format_size_short(text, n->quota));
		break;
	case 4:
		strbuf_addf(out, "%" PRIu64, n->messages);
		break;
	case 5:
		strbuf_addstr(out, n->hostname);
		break;
	case 6:
		strbuf_addstr(out, n->postmaster);
		break;
	default:
		strbuf_addch(out, '{');
		strbuf_add(out, name, len);
		strbuf_addch(out, '}');
		break;
	}
}

/* Adds `len` octets of the template with its placeholders replaced. */
static void
expand(const struct notice *n, const char *text, size_t len, struct strbuf *out)
{
	const char *end = text + len, *brace;

	while (text < end) {
		size_t plain = strcspn(text, "{");

		if (plain > (size_t)(end - text))
			plain = (size_t)(end - text);
		strbuf_add(out, text, plain);
		text += plain;
		if (text == end)
			break;
		/* No name of ours has a brace in it, so "{{used}" is a brace and a value. */
		brace = text + 1 + strcspn(text + 1, "{}\r\n");
		if (brace < end && *brace == '}') {
			add_value(n, text + 1, (size_t)(brace - text - 1), out);
			text = brace + 1;
		} else {
			strbuf_addch(out, *text++);
		}
	}
}

/* --- the subject ---------------------------------------------------------- */

/* Text that can stand as it is, and be folded at its blanks. */
static bool
is_plain(const char *text)
{
	size_t word = 0;

	/* What looks like an encoded word would be read as one. */
	if (strstr(text, "=?") != NULL)
		return false;
	for (char before = ' '; *text != '\0'; before = *text++) {
		if (*text < ' ' || *text > '~')
			return false;
		word = *text == ' ' && before != ' ' ? 1 : word + 1;
		if (word > WORD_MAX)
			return false;
	}
	return true;
}

/* RFC 5322 2.2.3: the line breaks before a blank. */
static void
add_folded(const char *text, size_t column, struct strbuf *out)
{
	while (*text != '\0') {
		size_t blanks = strspn(text, " "), len = blanks + strcspn(text + blanks, " ");

		if (column + len > LINE_GOOD && blanks > 0) {
			strbuf_addstr(out, "\r\n");
			column = 0;
		}
		strbuf_add(out, text, len);
		column += len;
		text += len;
	}
}

/* RFC 2047 4.1 and 5: characters are whole in each word, and a blank between two words is none. */
static void
add_encoded(const char *text, struct strbuf *out)
{
	char word[(ENCODED_NEXT + 2) / 3 * 4 + 1];
	size_t room = ENCODED_FIRST, left = strlen(text);

	while (left > 0) {
		size_t len = 0, character;

		while (len < left) {
			character = utf8_first(text + len, left - len);
			if (character == 0)
				character = 1;
			if (len + character > room)
				break;
			len += character;
		}
		sasl_base64_encode(word, text, len);
		strbuf_addf(out, "%s=?utf-8?B?%s?=", room == ENCODED_FIRST ? "" : "\r\n ", word);
		text += len;
		left -= len;
		room = ENCODED_NEXT;
	}
}

/* `line` is the template's first, whatever stands in it. */
static void
add_subject(const struct notice *n, const char *line, size_t len, struct strbuf *out)
{
	static const char field[] = "Subject: ";
	const size_t name = strlen("Subject:");
	struct strbuf text;

	if (len >= name && strncasecmp(line, "Subject:", name) == 0) {
		line += name;
		len -= name;
	}
	for (; len > 0 && strchr(" \t", *line) != NULL; len--)
		line++;
	while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL)
		len--;
	strbuf_init(&text, NOTICE_MAX);
	expand(n, line, len, &text);
	strbuf_addstr(out, field);
	if (is_plain(text.buf))
		add_folded(text.buf, strlen(field), out);
	else
		add_encoded(text.buf, out);
	strbuf_addstr(out, "\r\n");
	out->failed = out->failed || text.failed;
	strbuf_release(&text);
}

/* --- the fields ----------------------------------------------------------- */

static void
add_fields(const struct notice *n, const char *subject, size_t len, struct strbuf *out)
{
	char date[DATE_MAX];

	date_format(date, n->unix_seconds);
	/* RFC 5321 4.4, but for `from`: nobody sent it. */
	strbuf_addf(out, "Received: by %s\r\n\tid %s;\r\n\t%s\r\n", n->hostname, n->id, date);
	strbuf_addf(out, "Date: %s\r\n", date);
	strbuf_addf(out, "From: \"Postmaster of %s\"\r\n <%s>\r\n", n->hostname, n->postmaster);
	/* A local-part that quotes take past what a line holds. */
	if (strlen(n->address) < WORD_MAX)
		strbuf_addf(out, "To: <%s>\r\n", n->address);
	else
		strbuf_addstr(out, "To: undisclosed-recipients:;\r\n");
	add_subject(n, subject, len, out);
	strbuf_addf(out, "Message-ID: <%s@%s>\r\n", n->id, n->hostname);
	/* RFC 3834 5: nobody is to answer by machine. */
	strbuf_addstr(out, "Auto-Submitted: auto-generated\r\n"
			   "MIME-Version: 1.0\r\n"
			   "Content-Type: text/plain; charset=utf-8\r\n"
			   "Content-Transfer-Encoding: 8bit\r\n"
			   "\r\n");
}

/* --- the text ------------------------------------------------------------- */

/* How much of a line that is too long comes first: up to a blank, or else to a whole character. */
static size_t
cut_at(const char *line)
{
	size_t len = LINE_MAX_OCTETS;

	while (len > LINE_MAX_OCTETS / 2 && line[len] != ' ')
		len--;
	if (line[len] == ' ')
		return len;
	len = LINE_MAX_OCTETS;
	while (len > LINE_MAX_OCTETS - 3 && ((unsigned char)line[len] & 0xc0) == 0x80)
		len--;
	return len;
}

static void
add_line(const char *line, size_t len, struct strbuf *out)
{
	while (len > LINE_MAX_OCTETS) {
		size_t part = cut_at(line);

		strbuf_add(out, line, part);
		strbuf_addstr(out, "\r\n");
		if (line[part] == ' ')
			part++;
		line += part;
		len -= part;
	}
	strbuf_add(out, line, len);
	strbuf_addstr(out, "\r\n");
}

static void
add_text(const struct notice *n, const char *template, struct strbuf *out)
{
	struct strbuf text;
	char *line, *cr;

	strbuf_init(&text, NOTICE_MAX);
	expand(n, template, strlen(template), &text);
	for (line = text.buf; *line != '\0';) {
		size_t len = strcspn(line, "\n"), next = len + (line[len] == '\n');

		if (len > 0 && line[len] == '\n' && line[len - 1] == '\r')
			len--;
		/* RFC 5322 2.3: none that ends no line. */
		while ((cr = memchr(line, '\r', len)) != NULL)
			*cr = ' ';
		add_line(line, len, out);
		line += next;
	}
	out->failed = out->failed || text.failed;
	strbuf_release(&text);
}

/* --- the whole ------------------------------------------------------------ */

static int
emit(void *arg, const void *buf, size_t len)
{
	strbuf_add(arg, buf, len);
	return 0;
}

int
notice_compose(const struct notice *notice, struct strbuf *out, uint64_t *octets_r)
{
	struct notice n = *notice;
	struct address postmaster;
	struct strbuf plain, host;
	const char *template = n.template != NULL ? n.template : notice_template;
	struct dot dot;
	size_t len;
	int rc;

	if (strncmp(template, "\xef\xbb\xbf", 3) == 0)
		template += 3;
	strbuf_init(&host, ADDRESS_DOMAIN_MAX + 16);
	strbuf_addf(&host, "postmaster@%s", n.hostname);
	if (n.postmaster == NULL || address_parse(n.postmaster, &postmaster) != 0)
		n.postmaster = host.buf;
	strbuf_init(&plain, NOTICE_MAX);
	len = strcspn(template, "\n");
	add_fields(&n, template, len, &plain);
	template += len;
	/* The empty line below the subject. */
	if (*template == '\n')
		template ++;
	len = strspn(template, "\r");
	if (template[len] == '\n')
		template += len + 1;
	add_text(&n, template, &plain);
	plain.failed = plain.failed || host.failed;
	dot_init(&dot);
	if (!plain.failed)
		dot_stuff(&dot, plain.buf, plain.len, emit, out);
	*octets_r = dot.octets;
	rc = plain.failed || out->failed ? -1 : 0;
	strbuf_release(&plain);
	strbuf_release(&host);
	return rc;
}
