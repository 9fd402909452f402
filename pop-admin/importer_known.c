/*
 * importer_known - two tables: UIDs, and how often each message's octets came.
 *
 * Both are by SHA-256, cut to 16 octets: a sender who would make one message pass for another has to
 * find a second one of the same hash.  What a table costs is bounded by how many messages there are.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "importer_internal.h"
#include "spool/history.h"

struct uid_node {
	struct map_node node;
	uint64_t octets;
	/* Of the source: in the reading that only looks, and in the one that brings. */
	bool looked, brought;
	bool there;   /* the mailbox has or had it before */
	size_t place; /* 1 + where in the maildrop; 0: it is not there any more */
};

struct digest_node {
	struct map_node node;
	uint64_t count[2];
};

static struct map_key
key_of(const void *buf, size_t len)
{
	uint8_t digest[SHA256_LEN];
	struct map_key key;
	struct sha256 s;

	sha256_init(&s);
	sha256_add(&s, buf, len);
	sha256_end(&s, digest);
	memcpy(key.octets, digest, sizeof(key.octets));
	return key;
}

static struct uid_node *
find_uid(const struct known *k, struct map_key key)
{
	struct map_node *node = map_find(&k->uids, key);

	return node != NULL ? MAP_OBJECT(node, struct uid_node, node) : NULL;
}

/* NULL: no memory. */
static struct uid_node *
add_uid(struct known *k, struct map_key key, uint64_t octets)
{
	struct uid_node *u = mem_array(1, sizeof(*u));

	if (u == NULL)
		return NULL;
	u->node.key = key;
	u->octets = octets;
	if (map_add(&k->uids, &u->node) != 0)
		mem_free(&u);
	return u;
}

/* What the mailbox itself has comes first, and stays. */
static int
add_there(struct known *k, const char *uid, uint64_t octets, size_t place)
{
	struct map_key key = key_of(uid, strlen(uid));
	struct uid_node *u = find_uid(k, key);

	if (u != NULL)
		return 0;
	u = add_uid(k, key, octets);
	if (u == NULL)
		return -1;
	u->there = true;
	u->place = place;
	return 0;
}

struct adding {
	struct known *k;
	bool failed;
};

static int
add_kept(void *arg, const struct history_kept *kept)
{
	struct adding *a = arg;

	a->failed = add_there(a->k, kept->uid, kept->octets, 0) != 0;
	return a->failed;
}

static int
add_removal(void *arg, const struct history_removal *removal)
{
	struct adding *a = arg;

	a->failed = add_there(a->k, removal->uid, removal->octets, 0) != 0;
	return a->failed;
}

enum spool_status
known_init(struct known *k, struct spool *spool, uint64_t mailbox, const struct maildrop *md)
{
	struct adding adding = { .k = k };
	enum spool_status st = SPOOL_OK;
	char uid[MAILDROP_UID_MAX + 1];

	map_init(&k->uids);
	map_init(&k->digests);
	for (size_t i = 0; i < maildrop_count(md) && st == SPOOL_OK; i++) {
		maildrop_uid(md, i, uid);
		if (add_there(k, uid, maildrop_octets(md, i), i + 1) != 0)
			st = SPOOL_NO_MEMORY;
	}
	if (st == SPOOL_OK)
		st = history_kept(spool, mailbox, add_kept, &adding);
	if (st == SPOOL_OK && !adding.failed)
		st = history_list(spool, mailbox, add_removal, &adding);
	return adding.failed ? SPOOL_NO_MEMORY : st;
}

void
known_release(struct known *k)
{
	struct map_node *node, *next;

	for (node = map_next(&k->uids, NULL); node != NULL; node = next) {
		next = map_next(&k->uids, node);
		free(MAP_OBJECT(node, struct uid_node, node));
	}
	for (node = map_next(&k->digests, NULL); node != NULL; node = next) {
		next = map_next(&k->digests, node);
		free(MAP_OBJECT(node, struct digest_node, node));
	}
	map_release(&k->uids);
	map_release(&k->digests);
}

int64_t
known_count(struct known *k, const uint8_t digest[SHA256_LEN], bool bring)
{
	struct map_key key;
	struct map_node *node;
	struct digest_node *d;

	memcpy(key.octets, digest, sizeof(key.octets));
	node = map_find(&k->digests, key);
	d = node != NULL ? MAP_OBJECT(node, struct digest_node, node) : NULL;
	if (d == NULL) {
		d = mem_array(1, sizeof(*d));
		if (d == NULL)
			return -1;
		d->node.key = key;
		if (map_add(&k->digests, &d->node) != 0) {
			free(d);
			return -1;
		}
	}
	return (int64_t)d->count[bring]++;
}

enum known_verdict
known_judge(
    struct known *k, const char *uid, bool hashed, uint64_t octets, bool bring, size_t *place_r)
{
	struct map_key key = key_of(uid, strlen(uid));
	struct uid_node *u = find_uid(k, key);
	bool *came;

	if (u == NULL)
		u = add_uid(k, key, octets);
	if (u == NULL)
		return KNOWN_NO_MEMORY;
	*place_r = u->place;
	came = bring ? &u->brought : &u->looked;
	/* The first of this source may be the one that is there; a second is another message. */
	if (*came || (!hashed && u->octets != octets))
		return KNOWN_OTHER;
	*came = true;
	return u->there ? KNOWN_THERE : KNOWN_NEW;
}
