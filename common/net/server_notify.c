/*
 * server_notify - tells a supervisor how the daemon is, as sd_notify(3) does: one datagram
 * to the socket that NOTIFY_SOCKET names.  Without it, nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "common/net/server_private.h"

static int
send_to(const char *path, const char *state)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const size_t len = strlen(path);
	int fd, errnum = 0;

	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(to.sun_path)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(to.sun_path, path, len);
	/* An abstract name begins with a NUL, which no environment can hold. */
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == -1)
		errnum = errno;
	close(fd);
	errno = errnum;
	return errnum == 0 ? 0 : -1;
}

void
server_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (path == NULL || path[0] == '\0')
		return;
	if (send_to(path, state) == -1)
		log_event(LOG_LEVEL_WARNING, "notify_failed", log_text("path", path),
		    log_errno(errno),
		    log_text("advice", "the supervisor may think that the daemon did not start"));
}

void
server_notify_reloading(void)
{
	char state[64];
	struct timespec now;

	/* It fails for a clock that the machine lacks; every Linux has this one. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
	    (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	server_notify(state);
}
