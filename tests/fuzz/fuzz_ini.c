/*
 * fuzz_ini - the INI reader, and behind it every key of the configuration.
 *
 * What the reader hands out is written down in its plainest form and read a
 * second time: both times must tell the same, or one of them was wrong.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "common/conf/config_internal.h"
#include "conf/ini.h"

struct reading {
	struct config *config; /* NULL the second time */
	struct strbuf told;
	unsigned last_line;
};

static void
must(bool true_always)
{
	if (!true_always)
		abort();
}

/* Not empty but where it may be, without blanks at its ends, and text all through. */
static void
check_text(const char *text, bool may_be_empty)
{
	size_t len = strlen(text), i;

	must(len > 0 || may_be_empty);
	must(len <= INI_LINE_MAX);
	if (len > 0)
		must(strchr(" \t", text[0]) == NULL && strchr(" \t", text[len - 1]) == NULL);
	for (i = 0; i < len; i++)
		must(((unsigned char)text[i] >= ' ' && text[i] != 0x7f) || text[i] == '\t');
}

static int
take(void *arg, const char *section, const char *name, const char *value, unsigned line,
    struct strbuf *err)
{
	struct reading *r = arg;
	const struct config_key *k;
	int rc;

	must(line > r->last_line);
	r->last_line = line;
	check_text(section, false);
	if (name == NULL) {
		strbuf_addf(&r->told, "[%s]\n", section);
		return 0;
	}
	check_text(name, false);
	check_text(value, true);
	must(strchr(name, '=') == NULL);
	strbuf_addf(&r->told, "%s=%s\n", name, value);

	if (r->config == NULL || config_section_check(section, err) == -1)
		return 0;
	k = config_key_find(section, name, err);
	if (k == NULL)
		return strcmp(name, "refuse") == 0 ? -1 : 0;
	rc = config_value_set(r->config, k, value, err);
	must(rc == 0 || err->len > 0);
	config_value_release(r->config, k);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading first = { .config = mem_must_array(1, sizeof(*first.config)) };
	struct reading second = { .config = NULL };
	struct strbuf err;
	int rc;

	strbuf_init(&first.told, SIZE_MAX);
	strbuf_init(&second.told, SIZE_MAX);
	strbuf_init(&err, 4096);
	rc = ini_read("FILE", (const char *)data, size, take, &first, &err);
	must((rc == 0) == (err.len == 0));
	must(rc == 0 || strncmp(err.buf, "FILE:", 5) == 0);

	strbuf_clear(&err);
	must(ini_read("FILE", first.told.buf, first.told.len, take, &second, &err) == 0);
	must(strcmp(first.told.buf, second.told.buf) == 0);
	strbuf_release(&first.told);
	strbuf_release(&second.told);
	strbuf_release(&err);
	free(first.config);
	return 0;
}
