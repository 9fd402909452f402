/*
 * cmd_reindex - the index anew out of the segments.  The spool is not opened for it: it may not be
 * one that can be.
 */
#include <inttypes.h>
#include <sysexits.h>

#include "command.h"
#include "output.h"
#include "progress.h"
#include "spool/reindex.h"

static int
show_json(const struct reindex_result *r)
{
	static const char *const keys[] = { "accounts_kept", "aliases_kept", "backups_known",
		"mailboxes_not_asked", "mailboxes", "recovered", "segments", "headers_mended",
		"unreadable", "messages", "entries", "nobodys", "unread_blocks", NULL };
	struct output *o = output_new(OUTPUT_SINGLE, true, keys);

	output_row(
	    o, (const struct cell[]){ cell_bool(r->accounts), cell_bool(r->aliases),
		   cell_bool(r->identity),
		   cell_count(r->unasked < r->mailboxes ? r->unasked : r->mailboxes),
		   cell_count(r->mailboxes), cell_count(r->recovered), cell_count(r->segments),
		   cell_count(r->headers), cell_count(r->unreadable), cell_count(r->messages),
		   cell_count(r->entries), cell_count(r->removed), cell_count(r->unread) });
	return admin_show(&o);
}

/* What only the old index knew. */
static void
say_lost(const struct admin *a, const struct reindex_result *r)
{
	if (!r->accounts)
		admin_say(a,
		    "the old index could not be asked for anything.  Lost with it: aliases, "
		    "quotas, and domains and mailboxes without mail; ages, so that no mail goes by "
		    "one until pop-admin user expire ADDRESS AGE --now; what was fetched already; "
		    "UIDs that mail restore --new-uid gave; the history of removals");
	else if (!r->aliases)
		admin_say(a, "the old index could not be asked for aliases: they are lost");
	if (r->accounts && r->unasked > 0)
		admin_say(a,
		    "mailboxes of whose mail the old index could not be asked what was fetched "
		    "already and when it was to go, so that it goes by its mailbox's age of now or "
		    "later: %" PRIu64,
		    r->unasked < r->mailboxes ? r->unasked : r->mailboxes);
	if (!r->identity)
		admin_say(a, "earlier backups no longer know this spool for theirs: the next one "
			     "needs a folder of its own");
}

static void
say_result(const struct admin *a, const struct reindex_result *r)
{
	admin_say(a, "%" PRIu64 " messages in %" PRIu64 " mailboxes, out of %" PRIu64 " segments",
	    r->messages, r->mailboxes, r->segments);
	say_lost(a, r);
	if (r->headers > 0)
		admin_say(a,
		    "segments whose header was damaged and is mended by what their records say: "
		    "%" PRIu64,
		    r->headers);
	if (r->recovered > 0)
		admin_say(a,
		    "mailboxes that came back out of the mail, disabled until pop-admin user "
		    "passwd "
		    "gives them a password: %" PRIu64,
		    r->recovered);
	if (r->removed > 0)
		admin_say(a, "messages of mailboxes that had been removed, not taken: %" PRIu64,
		    r->removed);
	if (r->unread > 0)
		admin_say(a, "blocks of 4 KiB that are of no whole message: %" PRIu64, r->unread);
	admin_say(a,
	    "Mail that was deleted and whose room had not been given back yet is there again: "
	    "nothing in the segments tells it from other mail.\n"
	    "The old index is kept as index/index.db.before-...");
}

int
cmd_reindex(struct admin *a, char **operands, size_t n)
{
	struct progress *progress;
	struct reindex_result r;
	enum spool_status st;
	struct strbuf err;
	int code = admin_become(a);

	(void)operands;
	(void)n;
	if (code != EX_OK)
		return code;
	strbuf_init(&err, 4096);
	progress = progress_begin("reading the segments", PROGRESS_OCTETS);
	st = reindex_spool(a->config->site.spool, progress_tell, progress, &r, &err);
	progress_end(&progress);
	if (st != SPOOL_OK)
		code = admin_fail(admin_exit_code(st), "%s", err.buf);
	strbuf_release(&err);
	if (code != EX_OK)
		return code;
	if (a->json)
		code = show_json(&r);
	else
		say_result(a, &r);
	if (code == EX_OK && r.unreadable > 0)
		code = admin_fail(EX_DATAERR,
		    "segments whose header is damaged and not to be known from their records, of "
		    "which nothing was taken: %" PRIu64 " (pop-admin mail extract reads them)",
		    r.unreadable);
	return code;
}
