/*
 * command - the table of commands: dispatch, usage, and what is not built yet.
 */
#include "command.h"

#define SOME SIZE_MAX /* any number of operands */
#define LIMITS (COMMAND_QUOTA | COMMAND_EXPIRE)

const struct command commands[] = {
	{ "init", NULL, cmd_init, COMMAND_MAKES_SPOOL, 0, 0, "",
	    "creates the spool and its databases; harmless when they exist" },

	{ "domain", "add", cmd_domain_add, LIMITS, 1, 1,
	    "DOMAIN [--quota SIZE|none|site] [--expire AGE|never|site]",
	    "takes mail for a domain; the limits are for new mailboxes there, else the site's" },
	{ "domain", "remove", cmd_domain_remove, 0, 1, 1, "DOMAIN",
	    "takes no more mail for a domain that has no users" },
	{ "domain", "list", cmd_domain_list, 0, 0, 0, "", "lists the domains" },
	{ "domain", "set", cmd_domain_set, LIMITS, 1, 1,
	    "DOMAIN [--quota SIZE|none|site] [--expire AGE|never|site]",
	    "changes the limits of new mailboxes there; site is the configuration's again" },

	{ "user", "add", cmd_user_add, COMMAND_APOP | LIMITS, 1, 1,
	    "ADDRESS [--quota SIZE|none] [--expire AGE|never] [--apop]",
	    "creates a mailbox, and its domain when new; limits that are not given are the "
	    "domain's or the site's; --apop keeps the secret that APOP needs" },
	{ "user", "list", cmd_user_list, COMMAND_SORT, 0, 0, "[--sort KEY]",
	    "lists the mailboxes by address, used, share, messages, oldest, created, last_login "
	    "or last_delivery" },
	{ "user", "show", cmd_user_show, 0, 1, 1, "ADDRESS", "shows a mailbox" },
	{ "user", "passwd", cmd_user_passwd, 0, 1, 1, "ADDRESS", "sets a new password" },
	{ "user", "enable", cmd_user_enable, 0, 1, 1, "ADDRESS",
	    "takes its mail and its logins again" },
	{ "user", "disable", cmd_user_disable, 0, 1, 1, "ADDRESS",
	    "refuses its mail and its logins; what is there stays" },
	{ "user", "remove", cmd_user_remove, 0, 1, 1, "ADDRESS",
	    "removes a mailbox with all its mail" },
	{ "user", "rename", cmd_user_rename, 0, 2, 2, "ADDRESS NEW",
	    "gives a mailbox another address; mail, password and UIDs stay" },
	{ "user", "quota", cmd_user_quota, 0, 2, 2, "ADDRESS SIZE|none",
	    "sets how much a mailbox may hold" },
	{ "user", "expire", cmd_user_expire, COMMAND_NOW, 2, 2, "ADDRESS AGE|never [--now]",
	    "sets the age, 1d at least, at which its mail goes: a longer one for what lies there "
	    "too, a shorter one for later mail; --now sets it for all, whatever was announced" },
	{ "user", "expire-retrieved", cmd_user_expire_retrieved, 0, 2, 2, "ADDRESS AGE|never",
	    "the same from the first retrieval on; 0s is at the end of the session that "
	    "retrieved it" },

	{ "alias", "add", cmd_alias_add, 0, 2, SOME, "ADDRESS TARGET...",
	    "sends mail for ADDRESS to each TARGET; @DOMAIN as ADDRESS is a catch-all" },
	{ "alias", "remove", cmd_alias_remove, 0, 1, SOME, "ADDRESS [TARGET...]",
	    "removes an alias, or some of its targets" },
	{ "alias", "list", cmd_alias_list, 0, 0, 0, "", "lists the aliases" },
	{ "alias", "resolve", cmd_alias_resolve, 0, 1, 1, "ADDRESS",
	    "tells which mailboxes mail to ADDRESS reaches" },

	{ "mail", "list", cmd_mail_list, COMMAND_DELETED, 1, 1, "ADDRESS [--deleted]",
	    "lists the mail in a mailbox, what is set apart marked; --deleted lists what can be "
	    "restored instead" },
	{ "mail", "show", cmd_mail_show, 0, 2, 2, "ADDRESS UID", "writes a message out" },
	{ "mail", "remove", cmd_mail_remove, 0, 2, SOME, "ADDRESS UID...",
	    "removes messages, those too that are set apart" },
	{ "mail", "restore", cmd_mail_restore, COMMAND_NEW_UID, 1, SOME,
	    "ADDRESS [UID...] [--new-uid]",
	    "brings deleted mail back, all of it where no UID is named, as far as keep_deleted "
	    "still holds it; --new-uid shows it to clients as new" },
	{ "mail", "extract", cmd_mail_extract, COMMAND_MAKES_SPOOL, 1, 2, "FILE [FOLDER]",
	    "writes the messages of one segment file out, as mbox or each into a file of FOLDER, "
	    "whatever became of the rest of the spool; 65 when not all of it could be read" },
	{ "mail", "history", cmd_mail_history, 0, 1, 1, "ADDRESS",
	    "lists what was removed last, when, and why: pop3, expire or admin" },

	{ "expire", NULL, cmd_expire, COMMAND_DRY_RUN, 0, 1, "[--dry-run] [ADDRESS]",
	    "removes mail past its age now, in one mailbox or in all, and lists it with the "
	    "reason; "
	    "--dry-run only lists it" },
	{ "check", NULL, cmd_check, COMMAND_REPAIR | COMMAND_QUICK, 0, 0, "[--repair] [--quick]",
	    "counts the store anew, sums, holders, what is kept, dead and given back, and reads "
	    "each "
	    "message against its checksum; 65 when something is wrong; --repair mends what can be "
	    "mended, a segment's header too, and sets damaged mail apart, a copy of it in "
	    "damaged/; --quick reads no message" },
	{ "reindex", NULL, cmd_reindex, COMMAND_MAKES_SPOOL, 0, 0, "",
	    "rebuilds the index from the segments alone, with the daemons stopped; accounts are "
	    "kept "
	    "as far as the old index can be read, else mailboxes come back disabled until they get "
	    "a password, and without an age; it says what is lost; mail deleted lately can come "
	    "back" },
	{ "backup", NULL, cmd_backup, COMMAND_MAKES_SPOOL, 1, 1, "DIR",
	    "copies the spool into a folder while the daemons run, reads the copy back, and says "
	    "so; "
	    "again into the same folder it copies only what is new" },
	{ "restore", NULL, cmd_restore, COMMAND_MAKES_SPOOL | COMMAND_MAIL, 1, SOME,
	    "DIR [--mail ADDRESS [UID...]]",
	    "makes the spool, which must not be there, out of a backup; UIDs stay; --mail brings "
	    "mail "
	    "of one mailbox back into a live spool, the messages named or all that it has not" },
	{ "import", NULL, cmd_import, COMMAND_UIDL_FROM, 2, 2, "ADDRESS PATH [--uidl-from FILE]",
	    "brings mail in from an mbox file, a Maildir or a folder of .eml, with its dates; what "
	    "is "
	    "there already is passed over, so it may be run again; --uidl-from keeps the UIDs of a "
	    "list: Dovecot's, or lines \"UID FILE-OR-NUMBER\"" },
	{ "export", NULL, cmd_export, 0, 2, 2, "ADDRESS PATH",
	    "writes a mailbox out and changes nothing: into a Maildir where PATH is one or ends in "
	    "/, "
	    "as .eml files into any other folder, else into a new mbox file; the UIDs go to "
	    "PATH.uidl" },
	{ "status", NULL, cmd_status, 0, 0, 0, "",
	    "tells what the spool holds, what takes its room, and what the disk has left" },
	{ .noun = "who", .max = SOME },
	{ .noun = "kick", .max = SOME },
	{ "doctor", NULL, cmd_doctor, 0, 0, 0, "",
	    "looks for what would trouble a live site and says what to do; 65 when it finds some" },
};

const size_t ncommands = sizeof(commands) / sizeof(commands[0]);
