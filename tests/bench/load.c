/*
 * load - the bench's generator and its limits: one program, a part for each word.
 *
 *   load deliver port=N [NAME=VALUE...]   messages by SMTP or LMTP; deliver.c has the options
 *   load fetch   port=N [NAME=VALUE...]   POP3 sessions; fetch.h has them
 *   load count   port=N [NAME=VALUE...]   messages that POP3 has
 *   load idle    port=N [NAME=VALUE...]   connections (stat=1: logged in) until standard input ends
 *   load answer  proto=smtp|pop3          a server that keeps nothing; prints its port
 *   load sync | sequential | sendfile | roundtrip   folder=DIR seconds=N
 *   load sendfile address=OURS namespace=PATH ...   to a reader in another network namespace
 *   load tls     certificate=FILE key=FILE seconds=N
 *   load burn    percent=N threads=N seconds=N
 *
 * Each prints one line of NAME=VALUE.  Exit codes: 0; 1 when anything was not as it should be,
 * with a sentence on standard error; 64 for a line that is not understood.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "deliver.h"
#include "fetch.h"
#include "limits.h"

static const struct {
	const char *name;
	int (*run)(char **args);
} parts[] = {
	{ "deliver", deliver_main },
	{ "fetch", fetch_main },
	{ "count", count_main },
	{ "idle", idle_main },
	{ "answer", answer_main },
	{ "sync", sync_main },
	{ "sequential", sequential_main },
	{ "sendfile", sendfile_main },
	{ "tls", tls_main },
	{ "roundtrip", roundtrip_main },
	{ "burn", burn_main },
};

/* As many connections as the hard limit allows. */
static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
main(int argc, char **argv)
{
	raise_descriptors();
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; argc > 1 && i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strcmp(argv[1], parts[i].name) == 0)
			return parts[i].run(argv + 2);
	}
	fprintf(stderr, "usage: load PART [NAME=VALUE...]; the parts are");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		fprintf(stderr, " %s", parts[i].name);
	fprintf(stderr, "\n");
	return 64;
}
