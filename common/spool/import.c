/*
 * import - what sets an imported message apart from one that comes by SMTP.
 *
 * A large message's room for its header is reckoned when its octets go to a file, before its UID is
 * known: until then it has one of the greatest length.
 */
#include "spool/import.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "delivery_internal.h"
#include "spool_internal.h"

bool
import_uid_valid(const char *uid)
{
	size_t len = strlen(uid);

	for (size_t i = 0; i < len; i++)
		if (uid[i] < 0x21 || uid[i] > 0x7e)
			return false;
	return len > 0 && len <= RECORD_FOREIGN_UID_MAX;
}

enum spool_status
import_lock(struct spool *sp, uint64_t mailbox, const char *who, struct maildrop **md_r)
{
	enum spool_status st = maildrop_lock(sp, mailbox, who, md_r);

	/* With the lock: recovery passes over what a living writer has, and he may be killed behind
	 * that; whoever holds the lock now is the only one that lives.  Nobody who recovers waits
	 * for a maildrop. */
	if (st == SPOOL_OK)
		st = spool_recover(sp);
	if (st != SPOOL_OK)
		maildrop_close(md_r);
	return st;
}

enum spool_status
import_begin(struct spool *sp, const struct account_target *mailbox, const char *reverse_path,
    const char *written, struct delivery **d_r)
{
	/* Claims are for those who would send in vain; what is settled is exact.  Of several at
	 * once one has a claim, of one octet. */
	static const struct delivery_options options = { .need = 1 };
	struct account_target to = *mailbox;
	const struct account_targets targets = { .list = &to, .n = 1 };
	struct envelope *env = envelope_new(reverse_path);
	enum spool_status st = SPOOL_NO_MEMORY;
	char uid[RECORD_FOREIGN_UID_MAX + 1];

	*d_r = NULL;
	if (env != NULL)
		st = envelope_add(env, written, &targets);
	if (st == SPOOL_OK)
		st = delivery_begin(sp, &env, &options, d_r);
	envelope_free(&env);
	if (st != SPOOL_OK)
		return st;
	memset(uid, 'x', sizeof(uid) - 1);
	(*d_r)->uid = mem_dup(uid, sizeof(uid) - 1);
	if ((*d_r)->uid == NULL) {
		delivery_abandon(d_r);
		return SPOOL_NO_MEMORY;
	}
	(*d_r)->env->recipients[0].uid = (*d_r)->uid;
	return SPOOL_OK;
}

void
import_set(struct delivery *d, uint64_t received_ms, const char *uid)
{
	assert(received_ms != 0 && (uid == NULL || import_uid_valid(uid)));
	/* It is shorter than what stands there, or as long. */
	if (uid != NULL)
		memcpy(d->uid, uid, strlen(uid) + 1);
	d->env->recipients[0].uid = uid != NULL ? d->uid : NULL;
	d->received_ms = received_ms;
}

uint64_t
import_own_octets(const char *reverse_path, const char *written)
{
	return record_prefix_len(reverse_path, written);
}
