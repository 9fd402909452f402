/*
 * map - a hash table through the objects themselves, by keys of 16 octets.
 *
 * Chains hang from an array that doubles when there are more members than
 * buckets, and never shrinks.  A map that cannot double goes on with longer
 * chains.  The hash is SipHash-2-4, unrolled for exactly two words.
 */
#include "base/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

#define MAP_BUCKETS_MIN 16

void
map_init(struct map *m)
{
	memset(m, 0, sizeof(*m));
	while (getrandom(m->seed, sizeof(m->seed), 0) != sizeof(m->seed)) {
		if (errno == EINTR)
			continue;
		/* A kernel without getrandom(2): what an outsider cannot see must do. */
		m->seed[0] = (uint64_t)(uintptr_t)m ^ clock_mono_ms() << 32;
		m->seed[1] = (uint64_t)(uintptr_t)&m ^ clock_wall_ms() << 20;
		break;
	}
}

void
map_release(struct map *m)
{
	free(m->buckets);
	memset(m, 0, sizeof(*m));
}

struct map_key
map_key_u64(uint64_t n)
{
	struct map_key key = { { 0 } };

	memcpy(key.octets, &n, sizeof(n));
	return key;
}

static uint64_t
rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

/* Inline, so that the words stay in registers. */
static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static size_t
bucket_of(const struct map *m, const struct map_key *key)
{
	uint64_t v[4] = {
		m->seed[0] ^ UINT64_C(0x736f6d6570736575),
		m->seed[1] ^ UINT64_C(0x646f72616e646f6d),
		m->seed[0] ^ UINT64_C(0x6c7967656e657261),
		m->seed[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t words[3] = { 0, 0, (uint64_t)sizeof(key->octets) << 56 };

	memcpy(words, key->octets, sizeof(key->octets));
	for (size_t i = 0; i < 3; i++) {
		v[3] ^= words[i];
		sip_round(v);
		sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (size_t i = 0; i < 4; i++)
		sip_round(v);
	return (size_t)(v[0] ^ v[1] ^ v[2] ^ v[3]) & (m->nbuckets - 1);
}

struct map_node *
map_find(const struct map *m, struct map_key key)
{
	struct map_node *n;

	if (m->nbuckets == 0)
		return NULL;
	for (n = m->buckets[bucket_of(m, &key)]; n != NULL; n = n->next) {
		if (memcmp(&n->key, &key, sizeof(key)) == 0)
			return n;
	}
	return NULL;
}

static void
link_node(struct map *m, struct map_node *n)
{
	struct map_node **bucket = &m->buckets[bucket_of(m, &n->key)];

	n->next = *bucket;
	*bucket = n;
}

static int
double_buckets(struct map *m)
{
	const size_t n = m->nbuckets == 0 ? MAP_BUCKETS_MIN : m->nbuckets * 2;
	struct map_node **new = mem_array(n, sizeof(*new));
	struct map old = *m;
	size_t i;

	if (new == NULL)
		return -1;
	m->buckets = new;
	m->nbuckets = n;
	for (i = 0; i < old.nbuckets; i++) {
		struct map_node *node, *next;

		for (node = old.buckets[i]; node != NULL; node = next) {
			next = node->next;
			link_node(m, node);
		}
	}
	free(old.buckets);
	return 0;
}

int
map_add(struct map *m, struct map_node *n)
{
	if (m->count >= m->nbuckets && double_buckets(m) == -1 && m->nbuckets == 0)
		return -1;
	link_node(m, n);
	m->count++;
	return 0;
}

void
map_remove(struct map *m, struct map_node *n)
{
	struct map_node **at;

	assert(m->count > 0);
	for (at = &m->buckets[bucket_of(m, &n->key)]; *at != n; at = &(*at)->next)
		assert(*at != NULL);
	*at = n->next;
	n->next = NULL;
	m->count--;
}

struct map_node *
map_next(const struct map *m, const struct map_node *n)
{
	size_t i = 0;

	if (n != NULL) {
		if (n->next != NULL)
			return n->next;
		i = bucket_of(m, &n->key) + 1;
	}
	for (; i < m->nbuckets; i++) {
		if (m->buckets[i] != NULL)
			return m->buckets[i];
	}
	return NULL;
}
