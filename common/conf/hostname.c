/*
 * hostname - what names may stand in greetings, and what this machine is called.
 *
 * A resolver could tell the machine's full name as well, but a daemon that
 * starts while the network is still coming up would wait for it.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#include "base/mem.h"
#include "common/conf/config_internal.h"

/* RFC 5321 4.5.3.1.2, RFC 1035 2.3.4 */
#define DOMAIN_MAX 255
#define LABEL_MAX 63

/* RFC 5321 4.1.2: Let-dig [Ldh-str]. */
static bool
is_label(const char *text, size_t len)
{
	size_t i;

	if (len == 0 || len > LABEL_MAX || text[0] == '-' || text[len - 1] == '-')
		return false;
	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x80 || (!isalnum(c) && c != '-'))
			return false;
	}
	return true;
}

static int
fail(struct strbuf *err, const char *why)
{
	strbuf_addf(err, "%s: write a full name such as mail.example.org", why);
	return -1;
}

int
config_hostname_check(const char *name, struct strbuf *err)
{
	const char *label = name, *last = strrchr(name, '.');

	if (last == NULL)
		return fail(err, "has no dot in it");
	if (strlen(name) > DOMAIN_MAX)
		return fail(err, "is longer than 255 octets");
	for (;;) {
		size_t len = strcspn(label, ".");

		if (!is_label(label, len))
			return fail(err, "is no domain name");
		if (label[len] == '\0')
			break;
		label += len + 1;
	}
	if (strspn(last + 1, "0123456789") == strlen(last + 1))
		return fail(err, "is an address, not a name");
	return 0;
}

/* The name with a dot of the line if the line is `node`'s, else NULL.  Cuts the line up. */
static const char *
full_name_in(char *line, const char *node)
{
	const char *full = NULL;
	bool ours = false;
	char *save, *word;

	line[strcspn(line, "#\n")] = '\0';
	if (strtok_r(line, " \t\r", &save) == NULL)
		return NULL;
	while ((word = strtok_r(NULL, " \t\r", &save)) != NULL) {
		if (strcasecmp(word, node) == 0)
			ours = true;
		if (full == NULL && strchr(word, '.') != NULL)
			full = word;
	}
	return ours ? full : NULL;
}

char *
config_hostname_default(const char *hosts)
{
	struct utsname machine;
	const char *full = NULL;
	char *line = NULL, *name;
	size_t cap = 0;
	FILE *in;

	if (uname(&machine) == -1)
		return mem_dup("", 0);
	if (strchr(machine.nodename, '.') != NULL ||
	    (in = fopen(hosts, "re")) == NULL) /* nor need there be one */
		return mem_dup(machine.nodename, strlen(machine.nodename));
	while (full == NULL && getline(&line, &cap, in) != -1)
		full = full_name_in(line, machine.nodename);
	if (full == NULL)
		full = machine.nodename;
	name = mem_dup(full, strlen(full));
	free(line);
	(void)fclose(in);
	return name;
}
