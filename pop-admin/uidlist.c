/*
 * uidlist - lines of a list, sorted by what they are for.
 *
 * A Dovecot list, version 3:
 *
 *     3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1
 *     25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,
 *     25017 W2481 Pmy-uidl :1276533073.M242911P3632.kurkku:2,F
 *
 * and version 1, "1 1173189136 20221" and "20212 NAME".
 */
#include "uidlist.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "maildir.h"
#include "spool/import.h"
#include "spool/maildrop.h"

struct item {
	char *key; /* owned: file, without flags, or number */
	char uid[MAILDROP_UID_MAX + 1];
};

struct uidlist {
	struct item *list; /* owned */
	size_t n, cap;
	enum { LIST_SAVED, LIST_DOVECOT_1, LIST_DOVECOT_3 } form;
	uint64_t validity;
};

static int
compare(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->key, ((const struct item *)b)->key);
}

static const char *
skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

static const char *
word_end(const char *p, const char *end)
{
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	return p;
}

/* A static text says what is wrong; NULL: nothing. */
static const char *
add(struct uidlist *l, const char *uid, size_t uid_len, const char *key, const char *end)
{
	struct item *item;
	const char *colon = memchr(key, ':', (size_t)(end - key));

	if (uid_len > MAILDROP_UID_MAX)
		return "a UID has 70 characters at most";
	if (memchr(key, '\0', (size_t)(end - key)) != NULL || memchr(uid, '\0', uid_len) != NULL)
		return "has a NUL";
	if (colon != NULL)
		end = colon;
	if (key == end)
		return "does not say which message";
	if (mem_grow(&l->list, &l->cap, l->n + 1, sizeof(*l->list)) != 0)
		return "there is not enough memory";
	item = &l->list[l->n];
	memcpy(item->uid, uid, uid_len);
	item->uid[uid_len] = '\0';
	if (!import_uid_valid(item->uid))
		return "a UID has 1 to 70 characters from ! to ~";
	item->key = mem_dup(key, (size_t)(end - key));
	if (item->key == NULL)
		return "there is not enough memory";
	l->n++;
	return NULL;
}

static const char *
read_saved(struct uidlist *l, const char *p, const char *end)
{
	const char *uid = p;

	p = word_end(p, end);
	return add(l, uid, (size_t)(p - uid), skip_blanks(p, end), end);
}

static const char *
read_dovecot(struct uidlist *l, const char *p, const char *end)
{
	const char *word = p, *kept = NULL;
	size_t kept_len = 0;
	uint64_t uid;
	char text[40];

	p = word_end(p, end);
	if (num_parse_u64(word, (size_t)(p - word), 1, UINT32_MAX, &uid) != 0)
		return "does not begin with a UID of Dovecot's";
	p = skip_blanks(p, end);
	/* Extensions: a letter and its value each. */
	while (l->form == LIST_DOVECOT_3 && p < end && *p != ':') {
		word = p;
		p = word_end(p, end);
		if (*word == 'P') {
			kept = word + 1;
			kept_len = (size_t)(p - word) - 1;
		}
		p = skip_blanks(p, end);
	}
	if (l->form == LIST_DOVECOT_3)
		p += p < end;
	if (kept != NULL)
		return add(l, kept, kept_len, p, end);
	snprintf(text, sizeof(text), "%08" PRIx64 "%08" PRIx64, uid, l->validity);
	return add(l, text, strlen(text), p, end);
}

/* The first line: "3 V1275660208 N25022 ...", "1 1173189136 20221". */
static bool
is_dovecot(struct uidlist *l, const char *p, const char *end)
{
	const char *word;
	bool three = *p == '3';
	uint64_t next;

	if (end - p < 4 || (*p != '1' && *p != '3') || p[1] != ' ' || (three && p[2] != 'V'))
		return false;
	word = p + 2 + three;
	p = word_end(word, end);
	if (num_parse_u64(word, (size_t)(p - word), 0, UINT32_MAX, &l->validity) != 0)
		return false;
	word = skip_blanks(p, end);
	if (three && (word == end || *word != 'N'))
		return false;
	word += three;
	p = word_end(word, end);
	if (num_parse_u64(word, (size_t)(p - word), 0, UINT64_MAX, &next) != 0)
		return false;
	if (!three && p != end)
		return false;
	l->form = three ? LIST_DOVECOT_3 : LIST_DOVECOT_1;
	return true;
}

static const char *
read_line(struct uidlist *l, const char *p, const char *end, bool first)
{
	if (end > p && end[-1] == '\r')
		end--;
	if (p == end || (first && is_dovecot(l, p, end)))
		return NULL;
	return l->form == LIST_SAVED ? read_saved(l, p, end) : read_dovecot(l, p, end);
}

int
uidlist_parse(
    const char *name, const char *text, size_t len, struct uidlist **list_r, struct strbuf *err)
{
	struct uidlist *l = mem_array(1, sizeof(*l));
	const char *p = text, *end = text + len, *wrong = NULL;
	size_t line = 0;

	*list_r = NULL;
	if (l == NULL)
		wrong = "there is not enough memory";
	while (wrong == NULL && p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		const char *stop = newline != NULL ? newline : end;

		wrong = read_line(l, p, stop, ++line == 1);
		p = newline != NULL ? newline + 1 : end;
	}
	if (wrong == NULL && l->n > 1) {
		qsort(l->list, l->n, sizeof(*l->list), compare);
		for (size_t i = 1; i < l->n; i++)
			if (strcmp(l->list[i - 1].key, l->list[i].key) == 0) {
				strbuf_addf(
				    err, "%s: has a UID for %s twice", name, l->list[i].key);
				uidlist_free(&l);
				return -1;
			}
	}
	if (wrong == NULL) {
		*list_r = l;
		return 0;
	}
	strbuf_addf(err, "%s:%zu: %s", name, line, wrong);
	uidlist_free(&l);
	return -1;
}

int
uidlist_read(const char *path, struct uidlist **list_r, struct strbuf *err)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), rc = -1;
	char *text = NULL;
	struct stat st;

	*list_r = NULL;
	if (fd < 0 || fstat(fd, &st) != 0) {
		strbuf_addf(err, "%s: cannot be read: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size > UIDLIST_MAX) {
		strbuf_addf(err, "%s: is no list of UIDs", path);
	} else {
		size_t len = (size_t)st.st_size, done = 0;
		ssize_t n = 1;

		text = malloc(len + 1);
		while (text != NULL && done < len && n > 0) {
			n = read(fd, text + done, len - done);
			done += n > 0 ? (size_t)n : 0;
		}
		if (text == NULL || n < 0)
			strbuf_addf(err, "%s: cannot be read: %s", path, strerror(errno));
		else
			rc = uidlist_parse(path, text, done, list_r, err);
	}
	free(text);
	if (fd >= 0)
		close(fd);
	return rc;
}

void
uidlist_free(struct uidlist **lp)
{
	struct uidlist *l = *lp;

	if (l == NULL)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i].key);
	free(l->list);
	mem_free(lp);
}

size_t
uidlist_count(const struct uidlist *l)
{
	return l->n;
}

static int
compare_key(const void *key, const void *member)
{
	return strcmp(key, ((const struct item *)member)->key);
}

static const char *
find(const struct uidlist *l, const char *key)
{
	const struct item *item =
	    l->n == 0 ? NULL : bsearch(key, l->list, l->n, sizeof(*l->list), compare_key);

	return item != NULL ? item->uid : NULL;
}

const char *
uidlist_find(const struct uidlist *l, const char *name, uint64_t number)
{
	char key[NUM_TEXT_MAX], *base;
	const char *uid = NULL;

	if (name != NULL) {
		base = mem_dup(name, maildir_base_len(name));
		if (base == NULL)
			return NULL;
		uid = find(l, base);
		free(base);
	}
	snprintf(key, sizeof(key), "%" PRIu64, number);
	/* Dovecot knows files alone. */
	return uid != NULL || l->form != LIST_SAVED ? uid : find(l, key);
}
