/*
 * smtpd - receives mail by SMTP and LMTP into the spool.
 */
#include "conf/config.h"
#include "smtpd.h"

int
main(int argc, char **argv)
{
	static struct smtpd smtpd = { .lock = PTHREAD_MUTEX_INITIALIZER };
	const struct server_program program = {
		.name = "smtpd",
		.config_file = CONFIG_DEFAULT_FILE,
		.arg = &smtpd,
		.configure = smtpd_configure,
		.open = smtpd_open,
		.ready = smtpd_ready,
		.session_new = smtpd_session_new,
		.refusal = smtpd_refusal,
		.close = smtpd_close,
	};

	return server_run(&program, argc, argv);
}
