/*
 * options - from the command line to a command: options, usage, dispatch.
 *
 * Options may stand before or after operands; "--" ends them.  An option that the
 * command does not take is an error.
 */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "command.h"

/* What some commands take. */
static const struct option {
	const char *name;
	enum command_flags flag;
	const char *value; /* what it needs; NULL: nothing */
	size_t offset;     /* of the value in struct admin */
} some[] = {
	{ "--apop", COMMAND_APOP, NULL, 0 },
	{ "--sort", COMMAND_SORT, "a key", offsetof(struct admin, sort) },
	{ "--quota", COMMAND_QUOTA, "a size", offsetof(struct admin, quota) },
	{ "--expire", COMMAND_EXPIRE, "an age", offsetof(struct admin, expire) },
	{ "--now", COMMAND_NOW, NULL, 0 },
	{ "--deleted", COMMAND_DELETED, NULL, 0 },
	{ "--new-uid", COMMAND_NEW_UID, NULL, 0 },
	{ "--dry-run", COMMAND_DRY_RUN, NULL, 0 },
	{ "--uidl-from", COMMAND_UIDL_FROM, "a file", offsetof(struct admin, uidl_from) },
	{ "--mail", COMMAND_MAIL, "an address", offsetof(struct admin, mail) },
	{ "--repair", COMMAND_REPAIR, NULL, 0 },
	{ "--quick", COMMAND_QUICK, NULL, 0 },
};
#define NSOME (sizeof(some) / sizeof(some[0]))

struct line {
	struct admin admin;
	bool help, version;
	char **words; /* owned: what is no option */
	size_t nwords;
};

/* The value of an option that has one: behind "=", or the next argument, which is then
 * used up.  NULL when there is none. */
static const char *
value_of(const char *option, const char *name, int *i, int argc, char **argv)
{
	size_t len = strlen(name);

	if (strncmp(option, name, len) == 0 && option[len] == '=')
		return option + len + 1;
	return *i + 1 < argc ? argv[++*i] : NULL;
}

/* The option of the table that this is; NULL: none. */
static const struct option *
find_option(const char *text)
{
	for (size_t i = 0; i < NSOME; i++) {
		size_t len = strlen(some[i].name);

		if (strncmp(text, some[i].name, len) == 0 &&
		    (text[len] == '\0' || (text[len] == '=' && some[i].value != NULL)))
			return &some[i];
	}
	return NULL;
}

static int
take_option(struct admin *a, const struct option *o, int *i, int argc, char **argv)
{
	const char **value = (const char **)((char *)a + o->offset);

	a->given |= o->flag;
	if (o->value == NULL)
		return EX_OK;
	*value = value_of(argv[*i], o->name, i, argc, argv);
	return *value != NULL ? EX_OK : admin_fail(EX_USAGE, "%s needs %s", o->name, o->value);
}

/* Reads the option at argv[*i].  0 or the exit code. */
static int
read_option(struct line *l, int *i, int argc, char **argv)
{
	const char *option = argv[*i];
	const struct option *known = find_option(option);

	if (known != NULL) {
		return take_option(&l->admin, known, i, argc, argv);
	} else if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
		l->help = true;
	} else if (strcmp(option, "-V") == 0 || strcmp(option, "--version") == 0) {
		l->version = true;
	} else if (strcmp(option, "--json") == 0) {
		l->admin.json = true;
	} else if (strcmp(option, "--yes") == 0) {
		l->admin.yes = true;
	} else if (strcmp(option, "-c") == 0) {
		l->admin.config_file = value_of(option, "-c", i, argc, argv);
		if (l->admin.config_file == NULL)
			return admin_fail(EX_USAGE, "-c needs a file");
	} else if (strncmp(option, "-c", 2) == 0) {
		l->admin.config_file = option + 2;
	} else {
		return admin_fail(EX_USAGE, "there is no option %s (try pop-admin --help)", option);
	}
	return EX_OK;
}

static int
read_line(struct line *l, int argc, char **argv)
{
	bool options = true;

	l->words = mem_must_array((size_t)argc + 1, sizeof(*l->words));
	for (int i = 1; i < argc; i++) {
		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
			int code = read_option(l, &i, argc, argv);

			if (code != EX_OK)
				return code;
		} else {
			l->words[l->nwords++] = argv[i];
		}
	}
	return EX_OK;
}

static bool
is_noun(const char *word)
{
	for (size_t i = 0; i < ncommands; i++)
		if (commands[i].run != NULL && strcmp(word, commands[i].noun) == 0)
			return true;
	return false;
}

/* All commands, or those of one noun; a word that is none gets all of them. */
static void
print_usage(const char *word)
{
	const char *noun = word != NULL && is_noun(word) ? word : NULL;

	printf("usage: pop-admin [-c FILE] [--json] [--yes] COMMAND ...\n\n");
	for (size_t i = 0; i < ncommands; i++) {
		const struct command *c = &commands[i];

		if (c->run == NULL || (noun != NULL && strcmp(noun, c->noun) != 0))
			continue;
		printf("  %s%s%s%s%s\n      %s\n", c->noun, c->verb != NULL ? " " : "",
		    c->verb != NULL ? c->verb : "", c->operands[0] != '\0' ? " " : "", c->operands,
		    c->does);
	}
	printf("\n  -c FILE     the configuration (default %s)\n"
	       "  --json      output for programs\n"
	       "  --yes       the answer to every question\n"
	       "  -h, -V      this help, the version\n",
	    CONFIG_DEFAULT_FILE);
}

/* The command that the words name, and how many of them name it.  NULL after saying why. */
static const struct command *
find_command(const struct line *l, size_t *used_r)
{
	bool noun_known = false;

	for (size_t i = 0; i < ncommands; i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->noun, l->words[0]) != 0)
			continue;
		noun_known = true;
		*used_r = c->verb == NULL ? 1 : 2;
		if (c->verb == NULL || (l->nwords > 1 && strcmp(c->verb, l->words[1]) == 0))
			return c;
	}
	if (!noun_known)
		admin_fail(
		    EX_USAGE, "there is no command \"%s\" (try pop-admin --help)", l->words[0]);
	else if (l->nwords == 1)
		admin_fail(EX_USAGE, "%s: what is to be done? (try pop-admin %s --help)",
		    l->words[0], l->words[0]);
	else
		admin_fail(EX_USAGE, "there is no command \"%s %s\" (try pop-admin %s --help)",
		    l->words[0], l->words[1], l->words[0]);
	return NULL;
}

static int
check_line(const struct command *c, const struct admin *a, size_t noperands)
{
	const char *verb = c->verb != NULL ? c->verb : "", *blank = c->verb != NULL ? " " : "";

	if (c->run == NULL)
		return admin_fail(EX_USAGE, "%s%s%s is not in this version", c->noun, blank, verb);
	if (noperands < c->min || noperands > c->max)
		return admin_fail(
		    EX_USAGE, "usage: pop-admin %s%s%s %s", c->noun, blank, verb, c->operands);
	for (size_t i = 0; i < NSOME; i++)
		if ((a->given & some[i].flag) != 0 && (c->flags & some[i].flag) == 0)
			return admin_fail(
			    EX_USAGE, "%s%s%s takes no %s", c->noun, blank, verb, some[i].name);
	return EX_OK;
}

static int
run_command(const struct command *c, struct admin *a, char **operands, size_t n)
{
	struct strbuf err;
	int code = EX_OK;

	strbuf_init(&err, 4096);
	if (config_load(a->config_file, &a->config, &err) != 0)
		code = admin_fail(errno == 0     ? EX_CONFIG
				  : errno == EIO ? EX_IOERR
						 : EX_TEMPFAIL,
		    "%s", err.len > 0 ? err.buf : "there is not enough memory");
	strbuf_release(&err);
	if (code != EX_OK)
		return code;
	log_of_command("pop-admin");
	if ((c->flags & COMMAND_MAKES_SPOOL) == 0)
		code = admin_open(a);
	if (code == EX_OK)
		code = c->run(a, operands, n);
	spool_close(&a->spool);
	config_unref(&a->config);
	if (fflush(stdout) != 0 && code == EX_OK)
		code = admin_fail(EX_IOERR, "standard output could not be written");
	return code;
}

int
options_run(int argc, char **argv)
{
	struct line l = { .admin = { .config_file = CONFIG_DEFAULT_FILE } };
	const struct command *c;
	size_t used;
	int code;

	log_init();
	code = read_line(&l, argc, argv);
	if (code != EX_OK)
		goto done;
	if (l.version) {
		printf("pop-admin (Restante) %s\n", RESTANTE_VERSION);
	} else if (l.help) {
		print_usage(l.nwords > 0 ? l.words[0] : NULL);
	} else if (l.nwords == 0) {
		code = admin_fail(EX_USAGE, "no command (try pop-admin --help)");
	} else if ((c = find_command(&l, &used)) == NULL) {
		code = EX_USAGE;
	} else {
		code = check_line(c, &l.admin, l.nwords - used);
		if (code == EX_OK)
			code = run_command(c, &l.admin, l.words + used, l.nwords - used);
	}
done:
	mem_free(&l.words);
	return code;
}
