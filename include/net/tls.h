/*
 * tls - certificates, and TLS on a socket by steps that never block.
 *
 * TLS 1.2 and later (RFC 8314 4).  No client certificate is asked for.  A
 * context is reference counted: connections that began with an older
 * certificate keep it.
 *
 * Thread: contexts any; a tls belongs to its connection's loop.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/strbuf.h"

struct tls_context;
struct tls;

/* Loads a PEM chain and its key and checks that they belong together.  NULL with a
 * sentence in err that names the file; errno is ENOMEM when memory was out, else 0. */
struct tls_context *tls_context_load(const char *certificate, const char *key,
    struct strbuf *err);
struct tls_context *tls_context_ref(struct tls_context *);
/* *context may hold NULL. */
void tls_context_unref(struct tls_context **context);

enum tls_result {
	TLS_OK,
	TLS_WANT_READ,          /* the socket has nothing for it now */
	TLS_WANT_WRITE,         /* the socket takes nothing now */
	TLS_CLOSED,             /* the peer ended TLS, or TCP, or reset it */
	TLS_FAILED,
};

/* The server's side on a non-blocking socket, which stays the caller's.  NULL: no memory. */
struct tls *tls_new(struct tls_context *, int socket);
void tls_free(struct tls **);

enum tls_result tls_handshake(struct tls *);
/* At least one octet when TLS_OK.  `cap` and `len` are not 0. */
enum tls_result tls_read(struct tls *, void *buf, size_t cap, size_t *len_r);
/* After a WANT the next call must begin with the same octets; it may have more of them.  With
 * `more`, which says that other octets follow at once, TCP may wait for these. */
enum tls_result tls_write(struct tls *, const void *buf, size_t len, bool more, size_t *len_r);
/* Sends close_notify (RFC 8314 3.4); does not wait for the peer's.  Not after FAILED. */
enum tls_result tls_shutdown(struct tls *);

const char *tls_version(const struct tls *);
const char *tls_cipher(const struct tls *);
/* Why the last call FAILED, for the log. */
const char *tls_error(struct tls *, char *text, size_t cap);

#endif
