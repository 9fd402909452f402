/*
 * list - a doubly linked ring through the objects themselves.
 *
 * A head is a node that stands for nobody.  The list never owns its members.
 * A node that is in no list points to itself, so that list_remove() may be
 * called twice.  Thread: the owner's.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *prev, *next;
};

/* The object in which `node` is the member called `member`. */
#define LIST_OBJECT(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

static inline void
list_init(struct list_node *n)
{
	n->prev = n->next = n;
}

static inline bool
list_empty(const struct list_node *head)
{
	return head->next == head;
}

static inline void
list_append(struct list_node *head, struct list_node *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

static inline void
list_remove(struct list_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* Takes the first node out; NULL when there is none. */
static inline struct list_node *
list_take(struct list_node *head)
{
	struct list_node *n = head->next;

	if (n == head)
		return NULL;
	list_remove(n);
	return n;
}

#endif
