/*
 * wake - an eventfd, and a datagram socket with a name.
 *
 * Whoever starts last has the name: a predecessor that still ends its sessions falls back on
 * its own timer.  Nobody takes the name away again, for by then it may be another's.
 */
#include "wake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "spool_internal.h"

#define RUN_DIR "run"
#define WAKE_SOCKET "smtpd-wake"
/* Octets that are taken off the socket at once: more wake it again. */
#define DRAIN_MAX 256

struct wake {
	struct spool *spool;     /* borrowed */
	int event;               /* owned */
	int caller;              /* owned; sends; -1: there is none */
	int listener;            /* owned; -1 but in smtpd */
	struct sockaddr_un name; /* of smtpd's */
	socklen_t name_len;
};

static enum spool_status
wake_failed(int errnum)
{
	log_event(LOG_LEVEL_WARNING, "wake_failed", log_text("path", RUN_DIR "/" WAKE_SOCKET),
	    log_errno(errnum),
	    log_text("advice",
		"deleted mail's room comes back within a minute instead of at once: look at the "
		"rights on the spool's run/"));
	return SPOOL_OK;
}

/* A path that does not fit is gone through our descriptor of the spool's folder. */
static void
set_name(struct wake *w)
{
	char *path = w->name.sun_path;
	size_t size = sizeof(w->name.sun_path);

	w->name.sun_family = AF_UNIX;
	if ((size_t)snprintf(path, size, "%s/" RUN_DIR "/" WAKE_SOCKET, w->spool->dir) >= size)
		snprintf(path, size, "/proc/self/fd/%d/" RUN_DIR "/" WAKE_SOCKET, w->spool->dir_fd);
	w->name_len = (socklen_t)sizeof(w->name);
}

enum spool_status
wake_new(struct spool *sp, struct wake **w_r)
{
	struct wake *w = mem_array(1, sizeof(*w));

	*w_r = w;
	if (w == NULL)
		return SPOOL_NO_MEMORY;
	w->spool = sp;
	w->caller = -1;
	w->listener = -1;
	set_name(w);
	w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Without it nobody could end the keeper's sleep, neither to mend something nor to end. */
	if (w->event < 0)
		return spool_failed("wake_failed", "eventfd", errno);
	w->caller = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (w->caller < 0)
		wake_failed(errno);
	return SPOOL_OK;
}

void
wake_free(struct wake **wp)
{
	struct wake *w = *wp;

	if (w == NULL)
		return;
	if (w->listener >= 0)
		close(w->listener);
	if (w->caller >= 0)
		close(w->caller);
	if (w->event >= 0)
		close(w->event);
	mem_free(wp);
}

static int
unlink_stale(struct wake *w)
{
	int dir = openat(w->spool->dir_fd, RUN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc, saved;

	if (dir < 0)
		return -1;
	rc = disk_unlink(w->spool->disk, dir, WAKE_SOCKET);
	saved = errno;
	close(dir);
	errno = saved;
	return rc;
}

void
wake_listen(struct wake *w)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* The mode that the name will have: for us and root alone. */
	if (fd >= 0 && fchmod(fd, 0600) == 0 && unlink_stale(w) == 0 &&
	    bind(fd, (const struct sockaddr *)&w->name, w->name_len) == 0) {
		w->listener = fd;
		return;
	}
	wake_failed(errno);
	if (fd >= 0)
		close(fd);
}

static void
drain(struct wake *w)
{
	uint64_t count;
	char octet;

	/* What fails here is tried again when somebody wakes us again. */
	if (read(w->event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		wake_failed(errno);
	for (unsigned i = 0; w->listener >= 0 && i < DRAIN_MAX; i++)
		if (recv(w->listener, &octet, sizeof(octet), 0) < 0)
			break;
}

bool
wake_wait(struct wake *w, unsigned ms)
{
	/* A listener of -1 is passed over. */
	struct pollfd fds[] = {
		{ .fd = w->event, .events = POLLIN },
		{ .fd = w->listener, .events = POLLIN },
	};
	int n = poll(fds, sizeof(fds) / sizeof(fds[0]), (int)ms);

	if (n <= 0)
		return false;
	drain(w);
	return true;
}

void
wake_ring(struct wake *w)
{
	const uint64_t one = 1;

	/* It fails with EAGAIN alone, where it was rung before. */
	if (write(w->event, &one, sizeof(one)) < 0 && errno != EAGAIN)
		wake_failed(errno);
}

bool
wake_call(struct wake *w)
{
	if (sendto(w->caller, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL,
		(const struct sockaddr *)&w->name, w->name_len) == 1)
		return true;
	/* Full: it is woken often enough. */
	return errno == EAGAIN || errno == ENOBUFS;
}
