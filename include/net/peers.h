/*
 * peers - how many sessions each address has, and how often it failed to log in.
 *
 * IPv6 addresses count by their /64.  Entries go when nothing is left to remember,
 * and their number is bounded by sessions plus PEERS_REMEMBERED.
 *
 * Thread: any; one mutex inside.
 */
#ifndef NET_PEERS_H
#define NET_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#define PEERS_REMEMBERED 65536u

struct peers;

/* NULL: no memory. */
struct peers *peers_new(void);
void peers_free(struct peers **);

enum peers_verdict { PEERS_OK, PEERS_TOO_MANY, PEERS_TOO_MANY_FROM_ADDRESS, PEERS_NO_MEMORY };

/* Counts a session in, unless one of the limits is reached.  `exempt` is for trusted
 * addresses: they count towards max_total alone. */
enum peers_verdict peers_enter(struct peers *, const uint8_t address[16], bool exempt,
    uint64_t max_total, uint64_t max_per_address);
void peers_leave(struct peers *, const uint8_t address[16]);
uint64_t peers_total(struct peers *);

/* A login failed: how long its answer is to be put off, in ms: nothing at first, then
 * doubling from 500 ms to 8 s; halved for every minute without a failure. */
uint64_t peers_failure_delay(struct peers *, const uint8_t address[16]);

#endif
