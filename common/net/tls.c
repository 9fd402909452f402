/*
 * tls - certificates, and TLS on a socket by steps that never block.
 *
 * OpenSSL keeps its errors in a queue of the thread, not of the connection: it is
 * emptied before each call, or one connection's error would be read as another's.
 * The reason of a failure is copied out of it at once.
 *
 * OpenSSL reads on by itself until there are octets for us or the socket is empty.  What it
 * finds in between costs the peer little and us much where it is a KeyUpdate (RFC 8446 4.6.3),
 * so these are counted: who never stops sending them would never be done with.
 *
 * OpenSSL reads the socket itself, but we write it: it would send each record alone, and a record is a
 * quarter of what TCP hands over at once.
 */
#include "net/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

/* A client renews its keys every so many gigabytes, if ever. */
#define KEY_UPDATES_MAX 100u

struct tls_context {
	SSL_CTX *ctx; /* owned */
	atomic_uint refs;
};

struct tls {
	SSL *ssl;            /* owned */
	int socket;          /* borrowed */
	bool more;           /* follows at once behind what is being written */
	unsigned long error; /* OpenSSL's, of the last call that FAILED; 0: see errnum */
	int errnum;
	unsigned key_updates; /* that came so far */
};

/* --- contexts -------------------------------------------------------------- */

/* What the file's reader is called, for those who must give him leave. */
static const char *
account(char *buf, size_t cap)
{
	struct passwd pw, *found = NULL;

	if (getpwuid_r(geteuid(), &pw, buf, cap, &found) == 0 && found != NULL)
		return pw.pw_name;
	return "this account";
}

/* Looks at the file before OpenSSL does, whose sentences about files say little. */
static int
check_readable(const char *what, const char *file, struct strbuf *err)
{
	char buf[1024];

	if (euidaccess(file, R_OK) == 0)
		return 0;
	switch (errno) {
	case EACCES:
		strbuf_addf(err, "the %s %s cannot be read: let %s read it and enter its folders",
		    what, file, account(buf, sizeof(buf)));
		break;
	case ENOENT:
		strbuf_addf(err,
		    "the %s %s does not exist: put it there, or name the file that it is in", what,
		    file);
		break;
	default:
		strbuf_addf(
		    err, "the %s %s cannot be read: %s", what, file, strerrordesc_np(errno));
		break;
	}
	return -1;
}

static int
fail_load(struct strbuf *err, const char *what, const char *file, const char *advice)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	strbuf_addf(err, "the %s %s cannot be used (%s): %s", what, file,
	    reason != NULL ? reason : "no reason is known", advice);
	ERR_clear_error();
	return -1;
}

/* A daemon has no terminal to ask at. */
static int
no_passphrase(char *buf, int cap, int writing, void *arg)
{
	(void)buf;
	(void)cap;
	(void)writing;
	(void)arg;
	return -1;
}

static int
load_files(SSL_CTX *ctx, const char *certificate, const char *key, struct strbuf *err)
{
	if (check_readable("certificate", certificate, err) == -1 ||
	    check_readable("key", key, err) == -1)
		return -1;
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
		return fail_load(err, "certificate", certificate,
		    "it must hold the certificate, then its chain, as PEM");
	/* Fails as well for a key of the right kind that is not the certificate's; one of
	 * another kind shows only when both are looked at. */
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 &&
	    ERR_GET_LIB(ERR_peek_last_error()) != ERR_LIB_X509)
		return fail_load(
		    err, "key", key, "it must be one private key as PEM, without a passphrase");
	ERR_clear_error();
	if (SSL_CTX_check_private_key(ctx) != 1) {
		ERR_clear_error();
		strbuf_addf(err,
		    "the key %s does not belong to the certificate %s: name the pair that was made "
		    "together",
		    key, certificate);
		return -1;
	}
	return 0;
}

struct tls_context *
tls_context_load(const char *certificate, const char *key, struct strbuf *err)
{
	/* Many clients end TCP without close_notify.  The protocols above know where their
	 * commands and messages end, so nothing can be cut off unseen. */
	const uint64_t options =
	    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF;
	struct tls_context *context = mem_array(1, sizeof(*context));

	if (context == NULL)
		goto err_memory;
	context->ctx = SSL_CTX_new(TLS_server_method());
	if (context->ctx == NULL)
		goto err_memory;
	atomic_init(&context->refs, 1);
	SSL_CTX_set_options(context->ctx, options);
	SSL_CTX_set_mode(context->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* A record is read with one read(2), not with one for its header and one more. */
	SSL_CTX_set_read_ahead(context->ctx, 1);
	/* Sessions are resumed by tickets alone, which cost us no memory. */
	SSL_CTX_set_session_cache_mode(context->ctx, SSL_SESS_CACHE_OFF);
	/* RFC 8314 4: 1.2 is the least that is taken, whatever the machine's own default. */
	if (SSL_CTX_set_min_proto_version(context->ctx, TLS1_2_VERSION) != 1)
		goto err_memory;
	if (load_files(context->ctx, certificate, key, err) == -1) {
		tls_context_unref(&context);
		errno = 0;
		return NULL;
	}
	return context;

err_memory:
	ERR_clear_error();
	tls_context_unref(&context);
	strbuf_addstr(err, "no memory for TLS");
	errno = ENOMEM;
	return NULL;
}

struct tls_context *
tls_context_ref(struct tls_context *context)
{
	atomic_fetch_add(&context->refs, 1);
	return context;
}

void
tls_context_unref(struct tls_context **context)
{
	struct tls_context *c = *context;

	*context = NULL;
	if (c == NULL)
		return;
	/* 0: it was never completed. */
	if (atomic_load(&c->refs) != 0 && atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	SSL_CTX_free(c->ctx);
	free(c);
}

/* --- one connection -------------------------------------------------------- */

static int
write_socket(BIO *bio, const char *buf, size_t len, size_t *len_r)
{
	const struct tls *tls = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	do
		n = send(tls->socket, buf, len,
		    MSG_DONTWAIT | MSG_NOSIGNAL | (tls->more ? MSG_MORE : 0));
	while (n == -1 && errno == EINTR);
	*len_r = n > 0 ? (size_t)n : 0;
	if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_write(bio);
	return n > 0 ? 1 : -1;
}

/* There is nothing to flush, which OpenSSL wants to hear. */
static long
control_socket(BIO *bio, int command, long number, void *arg)
{
	(void)bio;
	(void)number;
	(void)arg;
	return command == BIO_CTRL_FLUSH;
}

/* One for all, kept for as long as the process lives.  NULL: no memory; the next one tries again. */
static BIO_METHOD *
socket_method(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static BIO_METHOD *kept;
	BIO_METHOD *method;

	pthread_mutex_lock(&mutex);
	method = kept;
	if (method == NULL)
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (method != NULL && kept == NULL) {
		BIO_meth_set_write_ex(method, write_socket);
		BIO_meth_set_ctrl(method, control_socket);
		kept = method;
	}
	pthread_mutex_unlock(&mutex);
	return method;
}

/* What tls->ssl writes to.  0, or -1: no memory. */
static int
set_socket(struct tls *tls, int socket)
{
	BIO_METHOD *method = socket_method();
	BIO *bio = method != NULL ? BIO_new(method) : NULL;

	if (bio == NULL)
		return -1;
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set0_wbio(tls->ssl, bio);
	tls->socket = socket;
	return SSL_set_rfd(tls->ssl, socket) == 1 ? 0 : -1;
}

/* OpenSSL looks at nothing more of a peer that has ended his side. */
static void
note_message(int sent, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg)
{
	const unsigned char *message = buf;
	struct tls *tls = arg;

	(void)version;
	if (sent || type != SSL3_RT_HANDSHAKE || len == 0 || message[0] != SSL3_MT_KEY_UPDATE)
		return;
	if (++tls->key_updates > KEY_UPDATES_MAX)
		SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN);
}

struct tls *
tls_new(struct tls_context *context, int socket)
{
	struct tls *tls = mem_array(1, sizeof(*tls));

	if (tls == NULL)
		return NULL;
	ERR_clear_error();
	tls->ssl = SSL_new(context->ctx);
	if (tls->ssl == NULL || set_socket(tls, socket) == -1) {
		ERR_clear_error();
		tls_free(&tls);
		return NULL;
	}
	SSL_set_msg_callback(tls->ssl, note_message);
	SSL_set_msg_callback_arg(tls->ssl, tls);
	SSL_set_accept_state(tls->ssl);
	return tls;
}

void
tls_free(struct tls **tls)
{
	if (*tls == NULL)
		return;
	SSL_free((*tls)->ssl);
	mem_free(tls);
}

/* Turns what a call returned into our result; errno is still the call's. */
static enum tls_result
result(struct tls *tls, int rc)
{
	const int errnum = errno;

	if (tls->key_updates > KEY_UPDATES_MAX) {
		tls->error = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_TOO_MANY_KEY_UPDATES);
		tls->errnum = 0;
		return TLS_FAILED;
	}
	switch (SSL_get_error(tls->ssl, rc)) {
	case SSL_ERROR_NONE:
		return TLS_OK;
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	case SSL_ERROR_SYSCALL:
		tls->error = 0;
		tls->errnum = errnum;
		return errnum == 0 || errnum == EPIPE || errnum == ECONNRESET ? TLS_CLOSED
		                                                              : TLS_FAILED;
	default:
		tls->error = ERR_peek_last_error();
		tls->errnum = 0;
		return TLS_FAILED;
	}
}

static void
begin_call(void)
{
	ERR_clear_error();
	errno = 0;
}

enum tls_result
tls_handshake(struct tls *tls)
{
	begin_call();
	return result(tls, SSL_do_handshake(tls->ssl));
}

enum tls_result
tls_read(struct tls *tls, void *buf, size_t cap, size_t *len_r)
{
	*len_r = 0;
	begin_call();
	return result(tls, SSL_read_ex(tls->ssl, buf, cap, len_r));
}

enum tls_result
tls_write(struct tls *tls, const void *buf, size_t len, bool more, size_t *len_r)
{
	enum tls_result got;

	*len_r = 0;
	begin_call();
	tls->more = more;
	got = result(tls, SSL_write_ex(tls->ssl, buf, len, len_r));
	tls->more = false;
	return got;
}

enum tls_result
tls_shutdown(struct tls *tls)
{
	int rc;

	begin_call();
	rc = SSL_shutdown(tls->ssl);
	/* 0: ours is sent, the peer's has not come. */
	return rc >= 0 ? TLS_OK : result(tls, rc);
}

const char *
tls_version(const struct tls *tls)
{
	return SSL_get_version(tls->ssl);
}

const char *
tls_cipher(const struct tls *tls)
{
	return SSL_get_cipher_name(tls->ssl);
}

const char *
tls_error(struct tls *tls, char *text, size_t cap)
{
	const char *reason;

	if (tls->error == 0)
		reason = tls->errnum != 0 ? strerrordesc_np(tls->errnum) : NULL;
	else if (ERR_SYSTEM_ERROR(tls->error))
		reason = strerrordesc_np(ERR_GET_REASON(tls->error));
	else
		reason = ERR_reason_error_string(tls->error);
	(void)snprintf(text, cap, "%s", reason != NULL ? reason : "no reason is known");
	return text;
}
