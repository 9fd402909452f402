/*
 * conn_private - a connection from inside: shared by conn.c, conn_drive.c, conn_io.c.
 */
#ifndef CONN_PRIVATE_H
#define CONN_PRIVATE_H

#include "net/conn.h"
#include "net/tls.h"

enum conn_phase {
	CONN_NEW,               /* no session yet */
	CONN_HANDSHAKE,         /* TLS begins; the session is not asked anything */
	CONN_OPEN,              /* the session's `want` says what happens */
	CONN_CLOSING,           /* what is written goes out, then the end of our side */
	CONN_LINGERING,         /* the session is freed; what the peer still sends is read and
				   dropped, or the last reply might be lost to a reset */
	CONN_GONE,              /* to be destroyed as soon as nothing is on the stack */
};

/* Which time limit the `limit` timer stands for. */
enum conn_limit { LIMIT_NONE, LIMIT_IDLE, LIMIT_SEND, LIMIT_TLS, LIMIT_LINGER };

struct conn {
	struct session_link link;
	struct endpoint peer, local;
	struct outq out;
	struct watch watch;             /* its fd is owned */
	struct tls *tls;                /* owned; NULL in the clear */
	struct tls_context *context;    /* a reference; NULL: no TLS */
	const struct session_ops *ops;
	void *session;                  /* owned; NULL before conn_start() and after its end */
	void (*gone)(void *arg);
	void *gone_arg;
	uint64_t timeout_ms;

	unsigned char *rest;            /* owned: input that the session left over */
	size_t rest_len, rest_cap;

	enum conn_phase phase;
	enum session_want want;         /* in CONN_OPEN */
	enum session_end end;           /* what the session will be told */

	uint32_t needed;                /* events that the last turn ended waiting for */
	uint32_t read_event;            /* what makes reading worth a try: EPOLLIN, or
					   EPOLLOUT where TLS must write first */
	uint32_t write_event;           /* likewise: EPOLLOUT */

	enum conn_limit limit_kind;
	struct timer limit;
	struct timer again;             /* another turn: at once, or to look for ACKs */
	unsigned ack_wait_ms;
	unsigned lingered;              /* octets dropped in CONN_LINGERING */
	int unacked;                    /* octets, when last looked at in ACKED */

	bool driving : 1;               /* on the stack: nobody else may drive or destroy it */
	bool asking : 1;                /* on the stack is the session */
	bool tls_first : 1;
	bool rest_seen : 1;             /* the session wants more than `rest` */
	bool readable : 1;              /* reading is worth a try */
	bool writable : 1;
	bool eof : 1;                   /* the peer has closed its side */
	bool broken : 1;                /* nothing is read or sent any more */
	bool woken : 1;
	bool yields : 1;                /* wants DRAIN and has room: not before others' turns */
	bool ending : 1;                /* conn_shutdown() was called ... */
	bool told : 1;                  /* ... and the session knows */
	bool moved_in : 1;              /* this turn: octets came, or were taken by the peer */
	bool moved_out : 1;
};

/* --- conn_io.c: the socket ------------------------------------------------- */

enum conn_io {
	CONN_IO_OK,
	CONN_IO_BLOCKED,
	CONN_IO_EOF,            /* reading alone */
	CONN_IO_BROKEN,         /* the peer is gone */
	CONN_IO_FAILED,         /* TLS or a file failed; it is logged */
};

/* Reads at least one octet into buf when CONN_IO_OK; all that was there when it was less
 * than cap. */
enum conn_io conn_read(struct conn *, void *buf, size_t cap, size_t *len_r);
/* Sends `budget` octets at most.  OK: some, or there was nothing. */
enum conn_io conn_send(struct conn *, size_t budget, size_t *len_r);
/* A step of the handshake; OK: it is done, and the link says so. */
enum conn_io conn_handshake(struct conn *);
/* Reads and drops. */
enum conn_io conn_discard(struct conn *, size_t *len_r);
/* Ends our side of TLS and TCP, once all is sent. */
enum conn_io conn_end_sending(struct conn *);
/* True when the peer's TCP has every octet, or nobody wants to know, or it will never have it: then
 * conn_break() was called. */
bool conn_acked(struct conn *);

/* --- conn_drive.c: the session --------------------------------------------- */

/* Does what can be done now.  The connection may be gone when it returns. */
void conn_drive(struct conn *);
/* Nothing can be read or sent any more.  Ends the connection, at once or, where the
 * session must finish an operation, after that. */
void conn_break(struct conn *, enum session_end why);
/* Calls the session; its answer is its new want.  When it wants to end, `why` is what
 * the end will be called. */
void conn_ask(struct conn *, enum session_want (*question)(void *session),
    enum session_end why);

/* --- conn.c: life ---------------------------------------------------------- */

/* Releases what the session left over. */
void conn_drop_rest(struct conn *);
void conn_free_session(struct conn *);
void conn_destroy(struct conn *);

#endif
