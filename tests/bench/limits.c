/* limits - what the disk and the wire can do: see limits.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"
#include "measure.h"

#define LOOPBACK "127.0.0.1"

struct disk_options {
	const char *folder;
	uint64_t seconds;
	const char *address;   /* ours, to which the other end connects */
	const char *namespace; /* the other end's, as /proc has it; NULL: ours */
};

static struct disk_options
disk_options(char **args)
{
	struct disk_options o = { "/tmp", 1, LOOPBACK, NULL };
	const struct option_row rows[] = {
		{ "folder", &o.folder, NULL },
		{ "seconds", NULL, &o.seconds },
		{ "address", &o.address, NULL },
		{ "namespace", &o.namespace, NULL },
	};

	options_read(args, rows, sizeof(rows) / sizeof(rows[0]));
	return o;
}

/* A new file that vanishes when it is closed. */
static int
open_file(const char *folder)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s/limit-XXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0 || unlink(name) != 0)
		die(name);
	return fd;
}

/* Appends `pieces` times `octets` for each fdatasync, for some seconds; syncs a second. */
static double
append(const struct disk_options *o, size_t octets, int pieces)
{
	char *block = malloc(octets);
	uint64_t begun, n = 0;
	int fd = open_file(o->folder);
	double seconds;

	if (block == NULL)
		die("memory");
	memset(block, 'x', octets);
	begun = now_ns();
	while (now_ns() - begun < o->seconds * NS) {
		for (int i = 0; i < pieces; i++) {
			if (write(fd, block, octets) != (ssize_t)octets)
				die("write");
		}
		if (fdatasync(fd) != 0)
			die("fdatasync");
		n++;
	}
	seconds = (double)(now_ns() - begun) / 1e9;
	close(fd);
	free(block);
	return (double)n / seconds;
}

int
sync_main(char **args)
{
	const struct disk_options o = disk_options(args);
	double rate = append(&o, 4096, 1);

	printf("syncs_per_s=%.2f sync_ms=%.4f\n", rate, 1e3 / rate);
	return 0;
}

int
sequential_main(char **args)
{
	const struct disk_options o = disk_options(args);
	double rate = append(&o, 65536, 10);

	printf("pieces_per_s=%.2f mb_per_s=%.3f\n", rate * 10, rate * 10 * 65536 / 1e6);
	return 0;
}

/* --- the wire ------------------------------------------------------------- */

struct reader {
	int fd;
	bool tls;
	pthread_t thread;
};

/* A socket belongs to the network namespace in which it was made. */
static int
socket_in(const char *namespace)
{
	int fd, ours, theirs;

	if (namespace == NULL)
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	theirs = open(namespace, O_RDONLY | O_CLOEXEC);
	if (ours < 0 || theirs < 0 || setns(theirs, CLONE_NEWNET) != 0)
		die(namespace);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (setns(ours, CLONE_NEWNET) != 0)
		die("the way back into our network namespace");
	close(ours);
	close(theirs);
	return fd;
}

/* A connected pair of TCP sockets: the other end, and ours at `address`. */
static void
connect_pair(int fds_r[2], const char *address, const char *namespace)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fds_r[0] = socket_in(namespace);
	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		die_saying("address=%s: it is a dotted quad", address);
	if (listener < 0 || fds_r[0] < 0 || bind(listener, (struct sockaddr *)&at, len) != 0 ||
	    listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&at, &len) != 0 ||
	    connect(fds_r[0], (struct sockaddr *)&at, len) != 0 ||
	    (fds_r[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
		die("a connection");
	setsockopt(fds_r[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fds_r[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

/* Reads as the generator does, until the other end closes. */
static void *
read_all(void *arg)
{
	static char buffer[256 * 1024];
	struct reader *r = arg;
	SSL_CTX *ctx = NULL;
	SSL *ssl = NULL;
	ssize_t n;

	if (r->tls) {
		ctx = SSL_CTX_new(TLS_client_method());
		ssl = ctx == NULL ? NULL : SSL_new(ctx);
		if (ssl == NULL || SSL_set_fd(ssl, r->fd) != 1 || SSL_connect(ssl) != 1)
			die_saying("tls: the handshake failed");
	}
	do
		n = ssl != NULL ? SSL_read(ssl, buffer, sizeof(buffer))
		                : recv(r->fd, buffer, sizeof(buffer), 0);
	while (n > 0);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(r->fd);
	return NULL;
}

static void
start_reader(struct reader *r, int *fd_r, bool tls, const char *address, const char *namespace)
{
	int fds[2];

	connect_pair(fds, address, namespace);
	*fd_r = fds[1];
	r->fd = fds[0];
	r->tls = tls;
	if (pthread_create(&r->thread, NULL, read_all, r) != 0)
		die("a thread");
}

int
sendfile_main(char **args)
{
	static char block[65536];
	const struct disk_options o = disk_options(args);
	struct reader r;
	uint64_t begun, octets = 0;
	double seconds;
	int fd, file = open_file(o.folder);
	const off_t size = 64 << 20;

	memset(block, 'x', sizeof(block));
	for (off_t at = 0; at < size; at += (off_t)sizeof(block)) {
		if (write(file, block, sizeof(block)) != (ssize_t)sizeof(block))
			die("write");
	}
	start_reader(&r, &fd, false, o.address, o.namespace);
	begun = now_ns();
	while (now_ns() - begun < o.seconds * NS) {
		off_t from = 0;

		while (from < size) {
			ssize_t n = sendfile(fd, file, &from, (size_t)(size - from));

			if (n <= 0)
				die("sendfile");
			octets += (uint64_t)n;
		}
	}
	close(fd);
	pthread_join(r.thread, NULL);
	seconds = (double)(now_ns() - begun) / 1e9;
	close(file);
	printf("mb_per_s=%.3f\n", (double)octets / seconds / 1e6);
	return 0;
}

int
tls_main(char **args)
{
	static char block[256 * 1024];
	const char *certificate = NULL, *key = NULL;
	uint64_t limit = 1, begun, octets = 0;
	const struct option_row rows[] = {
		{ "certificate", &certificate, NULL },
		{ "key", &key, NULL },
		{ "seconds", NULL, &limit },
	};
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct reader r;
	double seconds;
	SSL *ssl;
	int fd;

	options_read(args, rows, 3);
	if (ctx == NULL || certificate == NULL || key == NULL ||
	    SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		die_saying("tls: certificate= and key= are needed, as PEM");
	memset(block, 'x', sizeof(block));
	start_reader(&r, &fd, true, LOOPBACK, NULL);
	ssl = SSL_new(ctx);
	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_accept(ssl) != 1)
		die_saying("tls: the handshake failed");
	begun = now_ns();
	while (now_ns() - begun < limit * NS) {
		if (SSL_write(ssl, block, sizeof(block)) != (int)sizeof(block))
			die_saying("tls: SSL_write failed");
		octets += sizeof(block);
	}
	SSL_shutdown(ssl);
	close(fd);
	pthread_join(r.thread, NULL);
	seconds = (double)(now_ns() - begun) / 1e9;
	printf("mb_per_s=%.3f\n", (double)octets / seconds / 1e6);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return 0;
}

static void *
echo(void *arg)
{
	int fd = *(int *)arg;
	char line[256];
	ssize_t n;

	while ((n = read(fd, line, sizeof(line))) > 0) {
		if (write(fd, line, (size_t)n) != n)
			break;
	}
	close(fd);
	return NULL;
}

int
roundtrip_main(char **args)
{
	const struct disk_options o = disk_options(args);
	const char line[] = "RCPT TO:<u12345@example.test>\r\n";
	char back[256];
	uint64_t begun, n = 0;
	pthread_t thread;
	double seconds;
	int fds[2];

	connect_pair(fds, o.address, o.namespace);
	if (pthread_create(&thread, NULL, echo, &fds[1]) != 0)
		die("a thread");
	begun = now_ns();
	while (now_ns() - begun < o.seconds * NS) {
		if (write(fds[0], line, sizeof(line) - 1) != (ssize_t)sizeof(line) - 1 ||
		    read(fds[0], back, sizeof(back)) != (ssize_t)sizeof(line) - 1)
			die("a round trip");
		n++;
	}
	seconds = (double)(now_ns() - begun) / 1e9;
	close(fds[0]);
	pthread_join(thread, NULL);
	printf("roundtrips_per_s=%.2f roundtrip_ms=%.4f\n", (double)n / seconds,
	    seconds * 1e3 / (double)n);
	return 0;
}

/* --- the processor -------------------------------------------------------- */

struct burner {
	pthread_t thread;
	uint64_t end_ns, on_ns; /* of each millisecond */
};

static void *
burn(void *arg)
{
	const struct burner *b = arg;
	uint64_t at = now_ns();

	while (at < b->end_ns) {
		const struct timespec rest = { 0, (long)(1000000 - b->on_ns) };

		while (now_ns() - at < b->on_ns)
			continue;
		if (rest.tv_nsec > 0)
			nanosleep(&rest, NULL);
		at = now_ns();
	}
	return NULL;
}

int
burn_main(char **args)
{
	uint64_t percent = 100, threads = 1, seconds = 1;
	const struct option_row rows[] = {
		{ "percent", NULL, &percent }, /* of each thread's time, at most 100 */
		{ "threads", NULL, &threads },
		{ "seconds", NULL, &seconds },
	};
	struct burner *all;

	options_read(args, rows, 3);
	all = calloc(threads, sizeof(*all));
	if (all == NULL || threads == 0 || percent > 100)
		die_saying("burn: threads=1 and on, percent=100 at most");
	for (uint64_t i = 0; i < threads; i++) {
		all[i].end_ns = now_ns() + seconds * NS;
		all[i].on_ns = percent * 10000;
		if (pthread_create(&all[i].thread, NULL, burn, &all[i]) != 0)
			die("a thread");
	}
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(all[i].thread, NULL);
	free(all);
	return 0;
}
