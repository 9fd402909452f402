/*
 * peers - how many sessions each address has, and how often it failed to log in.
 *
 * An entry lives while it has sessions or failures.  Those with failures and no
 * session are in a queue, the one that waits longest in front, where they are
 * forgotten: when their failures have faded, or when there are too many of them.
 */
#include "net/peers.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#define DELAY_FIRST_MS 500u
#define DELAY_MAX_MS 8000u
/* The failure from which on the delay stays at its maximum: 0, 500, 1000 ... 8000. */
#define FAILURES_MAX 6u
#define FADE_MS 60000u

struct peer {
	struct map_node node;
	uint64_t sessions;
	unsigned failures;
	uint64_t failed_ms;          /* when the last was, or the last one faded */
	struct list_node remembered; /* queued while there is no session */
};

struct peers {
	pthread_mutex_t mutex; /* guards all */
	struct map map;
	struct list_node queue; /* of peers without a session */
	size_t queued;
	uint64_t total;
};

struct peers *
peers_new(void)
{
	struct peers *p = mem_array(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	if (pthread_mutex_init(&p->mutex, NULL) != 0) {
		free(p);
		return NULL;
	}
	map_init(&p->map);
	list_init(&p->queue);
	return p;
}

void
peers_free(struct peers **peers)
{
	struct peers *p = *peers;
	struct map_node *node, *next;

	if (p == NULL)
		return;
	for (node = map_next(&p->map, NULL); node != NULL; node = next) {
		next = map_next(&p->map, node);
		free(MAP_OBJECT(node, struct peer, node));
	}
	map_release(&p->map);
	pthread_mutex_destroy(&p->mutex);
	mem_free(peers);
}

/* A customer with IPv6 has a /64 at least: it counts as one address. */
static struct map_key
key_of(const uint8_t address[16])
{
	static const uint8_t mapped_v4[12] = { [10] = 0xff, [11] = 0xff };
	struct map_key key;

	memcpy(key.octets, address, 16);
	if (memcmp(address, mapped_v4, sizeof(mapped_v4)) != 0)
		memset(key.octets + 8, 0, 8);
	return key;
}

static struct peer *
find(const struct peers *p, struct map_key key)
{
	struct map_node *node = map_find(&p->map, key);

	return node != NULL ? MAP_OBJECT(node, struct peer, node) : NULL;
}

static void
unqueue(struct peers *p, struct peer *peer)
{
	if (list_empty(&peer->remembered))
		return;
	list_remove(&peer->remembered);
	p->queued--;
}

static void
forget(struct peers *p, struct peer *peer)
{
	unqueue(p, peer);
	map_remove(&p->map, &peer->node);
	free(peer);
}

/* One failure is forgotten for each minute that passed without one. */
static void
fade(struct peer *peer, uint64_t now)
{
	const uint64_t minutes = (now - peer->failed_ms) / FADE_MS;

	peer->failures = minutes < peer->failures ? peer->failures - (unsigned)minutes : 0;
	peer->failed_ms += minutes * FADE_MS;
}

/* Puts a peer where it belongs after its sessions or failures changed. */
static void
settle(struct peers *p, struct peer *peer)
{
	const uint64_t now = clock_mono_ms();

	unqueue(p, peer);
	if (peer->sessions == 0) {
		fade(peer, now);
		if (peer->failures == 0) {
			forget(p, peer);
		} else {
			list_append(&p->queue, &peer->remembered);
			p->queued++;
		}
	}
	while (!list_empty(&p->queue)) {
		struct peer *oldest = LIST_OBJECT(p->queue.next, struct peer, remembered);

		fade(oldest, now);
		if (oldest->failures > 0 && p->queued <= PEERS_REMEMBERED)
			break;
		forget(p, oldest);
	}
}

/* NULL: no memory. */
static struct peer *
find_or_add(struct peers *p, struct map_key key)
{
	struct peer *peer = find(p, key);

	if (peer != NULL)
		return peer;
	peer = mem_array(1, sizeof(*peer));
	if (peer == NULL)
		return NULL;
	peer->node.key = key;
	peer->failed_ms = clock_mono_ms();
	list_init(&peer->remembered);
	if (map_add(&p->map, &peer->node) == -1)
		mem_free(&peer);
	return peer;
}

static enum peers_verdict
enter(
    struct peers *p, struct map_key key, bool exempt, uint64_t max_total, uint64_t max_per_address)
{
	struct peer *peer;

	if (p->total >= max_total)
		return PEERS_TOO_MANY;
	peer = find_or_add(p, key);
	if (peer == NULL)
		return PEERS_NO_MEMORY;
	if (!exempt && peer->sessions >= max_per_address) {
		settle(p, peer);
		return PEERS_TOO_MANY_FROM_ADDRESS;
	}
	p->total++;
	peer->sessions++;
	settle(p, peer);
	return PEERS_OK;
}

enum peers_verdict
peers_enter(struct peers *p, const uint8_t address[16], bool exempt, uint64_t max_total,
    uint64_t max_per_address)
{
	enum peers_verdict verdict;

	pthread_mutex_lock(&p->mutex);
	verdict = enter(p, key_of(address), exempt, max_total, max_per_address);
	pthread_mutex_unlock(&p->mutex);
	return verdict;
}

void
peers_leave(struct peers *p, const uint8_t address[16])
{
	struct peer *peer;

	pthread_mutex_lock(&p->mutex);
	peer = find(p, key_of(address));
	assert(peer != NULL && peer->sessions > 0);
	p->total--;
	peer->sessions--;
	settle(p, peer);
	pthread_mutex_unlock(&p->mutex);
}

uint64_t
peers_total(struct peers *p)
{
	uint64_t total;

	pthread_mutex_lock(&p->mutex);
	total = p->total;
	pthread_mutex_unlock(&p->mutex);
	return total;
}

/* The delay for the n-th failure: nothing for the first, so that a mistyped password
 * costs no time. */
static uint64_t
delay_ms(unsigned failures)
{
	uint64_t delay = DELAY_FIRST_MS;

	if (failures < 2)
		return 0;
	while (failures-- > 2 && delay < DELAY_MAX_MS)
		delay *= 2;
	return delay;
}

uint64_t
peers_failure_delay(struct peers *p, const uint8_t address[16])
{
	struct peer *peer;
	uint64_t delay = DELAY_FIRST_MS;

	pthread_mutex_lock(&p->mutex);
	peer = find_or_add(p, key_of(address));
	if (peer != NULL) {
		const uint64_t now = clock_mono_ms();

		fade(peer, now);
		if (peer->failures < FAILURES_MAX)
			peer->failures++;
		peer->failed_ms = now;
		delay = delay_ms(peer->failures);
		settle(p, peer);
	}
	pthread_mutex_unlock(&p->mutex);
	return delay;
}
