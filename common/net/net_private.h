/*
 * net_private - what the files of this floor share, and nobody else includes.
 */
#ifndef NET_PRIVATE_H
#define NET_PRIVATE_H

#include <stddef.h>

#include "net/loop.h"
#include "net/session.h"

/* One loop's memory for the turn of one connection: input in front, and room for one TLS
 * record of output behind it. */
#define LOOP_SCRATCH_RECORD (16u * 1024)
#define LOOP_SCRATCH (SESSION_INPUT_MAX + LOOP_SCRATCH_RECORD)

/* The loop's, made when first asked for; what is in it is anybody's once a callback of
 * the loop has returned.  NULL: no memory. */
unsigned char *loop_scratch(struct loop *);

/* The one that the queues of this loop's connections share, made when first asked for; its pages
 * cost nothing until something is read into them.  NULL: no memory. */
struct outq_recent *loop_recent(struct loop *);

#endif
