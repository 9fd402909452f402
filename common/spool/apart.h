/*
 * apart - mail that is set apart.  Private to common/spool.
 *
 * An entry whose record is damaged or gone gets state 2: POP3 does not list it, neither STAT nor
 * the quota counts it, it does not age, and its blocks stay.  It leaves with its mailbox.  Where
 * its record is whole again, because somebody put its file back, check --repair takes it back.
 *
 * Thread: inside a write transaction of the index.  After a failure only index_write_abandon() is
 * left.
 */
#ifndef SPOOL_APART_H
#define SPOOL_APART_H

#include <stdbool.h>
#include <stdint.h>

#include "index.h"

/* Sets the entry apart: from its mailbox, or from what is kept.  *done_r is false when it is
 * neither there: gone, or apart already. */
enum spool_status apart_set(struct index_conn *, uint64_t mailbox, uint64_t message, bool *done_r);
/* Takes it back to where it was, whatever the quota is.  As above. */
enum spool_status apart_take_back(
    struct index_conn *, uint64_t mailbox, uint64_t message, bool *done_r);

#endif
