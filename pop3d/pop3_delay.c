/*
 * pop3_delay - a map by mailbox, and the same logins in a queue, the longest ago in front.
 */
#include "pop3_delay.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

struct login {
	struct map_node node;
	struct list_node queued;
	uint64_t at_ms; /* of the monotonic clock */
};

struct pop3_delay {
	pthread_mutex_t mutex; /* guards all */
	struct map map;
	struct list_node queue;
};

struct pop3_delay *
pop3_delay_new(void)
{
	struct pop3_delay *d = mem_array(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	if (pthread_mutex_init(&d->mutex, NULL) != 0) {
		free(d);
		return NULL;
	}
	map_init(&d->map);
	list_init(&d->queue);
	return d;
}

static void
forget(struct pop3_delay *d, struct login *login)
{
	list_remove(&login->queued);
	map_remove(&d->map, &login->node);
	free(login);
}

static struct login *
oldest(const struct pop3_delay *d)
{
	return list_empty(&d->queue) ? NULL : LIST_OBJECT(d->queue.next, struct login, queued);
}

void
pop3_delay_free(struct pop3_delay **delay)
{
	struct pop3_delay *d = *delay;
	struct login *login;

	if (d == NULL)
		return;
	while ((login = oldest(d)) != NULL)
		forget(d, login);
	map_release(&d->map);
	pthread_mutex_destroy(&d->mutex);
	mem_free(delay);
}

static struct login *
find(const struct pop3_delay *d, uint64_t mailbox)
{
	struct map_node *node = map_find(&d->map, map_key_u64(mailbox));

	return node != NULL ? MAP_OBJECT(node, struct login, node) : NULL;
}

static bool
is_over(const struct login *login, uint64_t delay_s)
{
	return clock_mono_ms() - login->at_ms >= delay_s * 1000;
}

bool
pop3_delay_too_early(struct pop3_delay *d, uint64_t mailbox, uint64_t delay_s)
{
	const struct login *login;
	bool early;

	pthread_mutex_lock(&d->mutex);
	login = find(d, mailbox);
	early = login != NULL && !is_over(login, delay_s);
	pthread_mutex_unlock(&d->mutex);
	return early;
}

/* NULL: no memory. */
static struct login *
add(struct pop3_delay *d, uint64_t mailbox)
{
	struct login *login = mem_array(1, sizeof(*login));

	if (login == NULL)
		return NULL;
	list_init(&login->queued);
	login->node.key = map_key_u64(mailbox);
	if (map_add(&d->map, &login->node) == -1)
		mem_free(&login);
	return login;
}

void
pop3_delay_note(struct pop3_delay *d, uint64_t mailbox, uint64_t delay_s)
{
	struct login *login;

	pthread_mutex_lock(&d->mutex);
	login = find(d, mailbox);
	if (login == NULL)
		login = add(d, mailbox);
	if (login != NULL) {
		login->at_ms = clock_mono_ms();
		list_remove(&login->queued);
		list_append(&d->queue, &login->queued);
	}
	while ((login = oldest(d)) != NULL &&
	       (is_over(login, delay_s) || d->map.count > POP3_DELAY_MAX))
		forget(d, login);
	pthread_mutex_unlock(&d->mutex);
}
