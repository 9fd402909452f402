/*
 * fuzz_maildir - what an import believes of a folder: names of files, lists of UIDs, and how a
 * message begins.
 *
 * The first line is a name, the rest a list and a message at once.
 */
#include <stdint.h>

#include "base/num.h"
#include "base/strbuf.h"
#include "fuzz.h"
#include "pop-admin/head.h"
#include "pop-admin/maildir.h"
#include "pop-admin/uidlist.h"
#include "spool/import.h"

#define NAME_MAX_LEN 255

static void
check_name(const char *name)
{
	size_t len = strlen(name), n = 0;
	char *out = fuzz_room(3 * len + 1);

	REQUIRE(maildir_base_len(name) <= len);
	REQUIRE(maildir_time(name) == 0 || (name[0] >= '0' && name[0] <= '9'));
	maildir_name_of_uid(out, name);
	REQUIRE(strchr(out, '/') == NULL && out[0] != '.');
	/* Each name is one UID's. */
	for (const char *p = out; *p != '\0'; p++, n++) {
		uint8_t c = (uint8_t)*p;

		if (c == '%') {
			REQUIRE(num_parse_hex(p + 1, 2, &c, 1) == 0);
			p += 2;
		}
		REQUIRE(n < len && c == (uint8_t)name[n]);
	}
	REQUIRE(n == len);
	free(out);
}

static void
check_list(const char *name, const char *text, size_t len)
{
	struct uidlist *l;
	struct strbuf err;
	const char *uid;

	strbuf_init(&err, 8192);
	if (uidlist_parse("LIST", text, len, &l, &err) != 0) {
		REQUIRE(l == NULL && strncmp(err.buf, "LIST:", 5) == 0);
		strbuf_release(&err);
		return;
	}
	REQUIRE(err.len == 0);
	for (uint64_t i = 0; i < 12; i++) {
		uid = uidlist_find(l, i % 2 == 0 ? name : NULL, i);
		REQUIRE(uid == NULL || (import_uid_valid(uid) && uidlist_count(l) > 0));
	}
	uidlist_free(&l);
	REQUIRE(l == NULL);
	strbuf_release(&err);
}

/* What is taken off is what we put there again. */
static void
check_head(const char *text, size_t len)
{
	char again[2 * ADDRESS_MAX + 64];
	struct head h;
	size_t n = 0;

	head_parse(text, len, &h);
	REQUIRE(h.skip <= len);
	REQUIRE(h.skip == 0 || h.has_reverse_path);
	REQUIRE(!h.has_written || h.skip > 0);
	if (h.skip == 0)
		return;
	snprintf(again, sizeof(again), "Return-Path: <%s>\n%s%s%s", h.reverse_path,
	    h.has_written ? "Delivered-To: " : "", h.has_written ? h.written : "",
	    h.has_written ? "\n" : "");
	for (size_t i = 0; i < h.skip; i++) {
		if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
			continue;
		/* The last line of all may lack its end, or have a part of it. */
		if (text[i] == '\r' && i + 1 == len)
			continue;
		REQUIRE(text[i] == again[n]);
		n++;
	}
	REQUIRE(again[n] == '\0' || (h.skip == len && again[n] == '\n'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t len = newline != NULL ? (size_t)(newline - data) : size;
	size_t rest = newline != NULL ? size - len - 1 : 0;
	char *name, *text;

	if (len > NAME_MAX_LEN)
		return 0;
	name = fuzz_room(len + 1);
	if (len > 0)
		memcpy(name, data, len);
	name[len] = '\0';
	text = rest > 0 ? fuzz_copy(newline + 1, rest) : fuzz_room(0);
	check_name(name);
	check_list(name, text, rest);
	check_head(text, rest);
	free(name);
	free(text);
	return 0;
}
