/*
 * map - a hash table through the objects themselves, by keys of 16 octets.
 *
 * Enough for what daemons look up while they run: addresses of peers, numbers
 * of segments and mailboxes.  The hash is keyed with random octets, so a peer
 * that chooses its keys cannot make the chains long.  The map owns its buckets,
 * never its members.  Thread: the owner's, or under its lock.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_key {
	uint8_t octets[16];
};

struct map_node {
	struct map_node *next;  /* in the same bucket */
	struct map_key key;
};

struct map {
	struct map_node **buckets;      /* owned; NULL until the first member came */
	size_t nbuckets;                /* a power of two, or 0 */
	size_t count;
	uint64_t seed[2];
};

#define MAP_OBJECT(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

void map_init(struct map *);
/* The members must have been taken out, or be freed by the caller as well. */
void map_release(struct map *);

struct map_key map_key_u64(uint64_t);

/* NULL when absent. */
struct map_node *map_find(const struct map *, struct map_key);

/* Adds a node whose `key` is set and not in the map.  0, or -1 when memory is
 * out; then the map is as it was. */
int map_add(struct map *, struct map_node *);
void map_remove(struct map *, struct map_node *);

/* Walks in no order: NULL begins, NULL ends.  Nothing may be added or removed
 * on the way but the node just returned, and that only after the next was asked. */
struct map_node *map_next(const struct map *, const struct map_node *);

#endif
