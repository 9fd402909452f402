/*
 * pop3d - serves the spool by POP3.
 */
#include "conf/config.h"
#include "pop3d.h"

int
main(int argc, char **argv)
{
	static struct pop3d pop3d = { .lock = PTHREAD_MUTEX_INITIALIZER };
	const struct server_program program = {
		.name = "pop3d",
		.config_file = CONFIG_DEFAULT_FILE,
		.arg = &pop3d,
		.configure = pop3d_configure,
		.open = pop3d_open,
		.ready = pop3d_ready,
		.session_new = pop3d_session_new,
		.refusal = pop3d_refusal,
		.close = pop3d_close,
	};

	return server_run(&program, argc, argv);
}
