/*
 * esmtp - parameters of MAIL and RCPT.
 *
 * The text is cut into parameters by the grammar of RFC 5321 4.1.2 first, and
 * only then looked at by name, so that a malformed parameter is 501 whether or
 * not its name is known.  The first fault decides.
 */
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "mail/esmtp.h"

struct param {
	const char *name;
	size_t name_len;
	const char *value; /* NULL: there is none */
	size_t value_len;
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* esmtp-value: 33 to 126 without the equal sign. */
static bool
is_value(char c)
{
	return c > ' ' && c <= '~' && c != '=';
}

/* Takes blanks and a parameter.  ESMTP_SYNTAX, or ESMTP_OK, with a name of no
 * octets at the end of the text. */
static enum esmtp_result
next_param(const char **text, const char *end, struct param *out)
{
	const char *p = *text;

	while (p < end && is_blank(*p))
		p++;
	*out = (struct param){ .name = p };
	if (p == end)
		return ESMTP_OK;
	/* The path and its first parameter must not touch. */
	if (p == *text || !is_alnum(*p))
		return ESMTP_SYNTAX;
	while (p < end && (is_alnum(*p) || *p == '-'))
		p++;
	out->name_len = (size_t)(p - out->name);
	if (p < end && *p == '=') {
		out->value = ++p;
		while (p < end && is_value(*p))
			p++;
		out->value_len = (size_t)(p - out->value);
		if (out->value_len == 0)
			return ESMTP_SYNTAX;
	}
	*text = p;
	return p == end || is_blank(*p) ? ESMTP_OK : ESMTP_SYNTAX;
}

/* `word` in any case (RFC 5321 2.4). */
static bool
is_word(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

/* RFC 1870 3: 1 to 20 digits, which may pass 64 bits; no message is that long. */
static enum esmtp_result
read_size(const struct param *param, struct esmtp_mail *out)
{
	if (out->has_size || param->value == NULL || param->value_len > 20)
		return ESMTP_SYNTAX;
	for (size_t i = 0; i < param->value_len; i++)
		if (param->value[i] < '0' || param->value[i] > '9')
			return ESMTP_SYNTAX;
	out->has_size = true;
	if (num_parse_u64(param->value, param->value_len, 0, UINT64_MAX, &out->size) != 0)
		out->size = UINT64_MAX;
	return ESMTP_OK;
}

/* RFC 6152 2. */
static enum esmtp_result
read_body(const struct param *param, struct esmtp_mail *out)
{
	if (out->has_body || param->value == NULL)
		return ESMTP_SYNTAX;
	out->has_body = true;
	out->eight_bit = is_word(param->value, param->value_len, "8BITMIME");
	if (!out->eight_bit && !is_word(param->value, param->value_len, "7BIT"))
		return ESMTP_BAD_VALUE;
	return ESMTP_OK;
}

enum esmtp_result
esmtp_parse_mail(const char *text, size_t len, struct esmtp_mail *out_r)
{
	const char *end = text + len;
	struct param param;
	enum esmtp_result rc;
	bool auth = false;

	*out_r = (struct esmtp_mail){ .has_size = false };
	while ((rc = next_param(&text, end, &param)) == ESMTP_OK && param.name_len > 0) {
		if (is_word(param.name, param.name_len, "SIZE")) {
			rc = read_size(&param, out_r);
		} else if (is_word(param.name, param.name_len, "BODY")) {
			rc = read_body(&param, out_r);
		} else if (is_word(param.name, param.name_len, "AUTH")) {
			/* RFC 4954 5: whom the sender believes is nothing to us, so
			 * neither is how well it is encoded. */
			rc = auth || param.value == NULL ? ESMTP_SYNTAX : ESMTP_OK;
			auth = true;
		} else {
			rc = ESMTP_UNKNOWN;
		}
		if (rc != ESMTP_OK)
			break;
	}
	return rc;
}

enum esmtp_result
esmtp_parse_rcpt(const char *text, size_t len)
{
	struct param param;
	enum esmtp_result rc = next_param(&text, text + len, &param);

	return rc == ESMTP_OK && param.name_len > 0 ? ESMTP_UNKNOWN : rc;
}
