/*
 * config - what restante.conf says, read, checked and complete.
 *
 * One table, in keys.c, names every key: its section, type, default as text, bounds,
 * and a sentence.  The parser, `-t` and the example file are made from that table.
 * A configuration never changes once it is loaded: a reload makes another, and a
 * session keeps the one that it began with (reference counted).
 *
 * Thread: any; the count is atomic.
 */
#ifndef CONF_CONFIG_H
#define CONF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/endpoint.h"
#include "base/log.h"
#include "base/strbuf.h"

#define CONFIG_DEFAULT_FILE "/etc/restante/restante.conf"

/* Crossings of a quota that may have a warning. */
#define CONFIG_WARN_MAX 8
/* The template of that warning stands beside the configuration under this name. */
#define CONFIG_WARNING_FILE "quota-warning.txt"
#define CONFIG_WARNING_MAX (16u * 1024)

struct config_endpoints {
	struct endpoint *list;          /* owned by the configuration */
	size_t n;
};

enum config_plaintext {
	CONFIG_PLAINTEXT_NEVER,
	CONFIG_PLAINTEXT_LOOPBACK,
	CONFIG_PLAINTEXT_ALWAYS,
};

struct config {
	struct {
		char *hostname;         /* never NULL, has a dot */
		char *spool;
		char *user;
		char *postmaster;       /* address, or NULL: the first mailbox made */
		struct network *trusted;
		size_t ntrusted;
		enum log_level log_level;
	} site;
	struct {
		uint64_t quota;         /* octets; NUM_UNLIMITED */
		uint64_t expire_s;      /* NUM_UNLIMITED */
		uint64_t keep_deleted_s;
		uint64_t keep_deleted_max;      /* octets */
		uint64_t expire_every_s;
		uint8_t quota_warn[CONFIG_WARN_MAX];    /* percent, each once, rising */
		size_t nquota_warn;
		char *quota_warning;    /* the template beside the file, or NULL: there is none;
					   UTF-8, a line `Subject: TEXT`, an empty one, a text */
		uint64_t reserve;       /* octets */
	} spool;
	struct {
		char *certificate;      /* both NULL, or neither */
		char *key;
	} tls;
	struct {
		struct config_endpoints listen;
		struct config_endpoints listen_lmtp;
		uint64_t max_message_size;      /* octets */
		uint64_t max_recipients;
		uint64_t max_connections;
		uint64_t max_connections_per_ip;
		uint64_t timeout_s;
		char recipient_delimiter;       /* '\0' where the key is empty */
		bool bare_newline_reject;
	} smtpd;
	struct {
		struct config_endpoints listen;
		struct config_endpoints listen_tls;     /* empty without a certificate */
		uint64_t max_connections;
		uint64_t max_connections_per_ip;
		uint64_t timeout_s;
		enum config_plaintext plaintext_auth;
		uint64_t lock_wait_s;
		uint64_t login_delay_s;         /* 0: none */
	} pop3d;
	unsigned refs;                  /* atomic */
};

/* Reads `file`.  0 with *config_r holding one reference, or -1 with one sentence in
 * err, `FILE:LINE: what is wrong and what would be right` (without :LINE where no line
 * is to blame), and errno 0 where the configuration is wrong, else what kept it from
 * being read (where that is ENOMEM, err may be empty).  A key that is planned but not
 * built yet is refused with "not in this version".  Whether a path leads anywhere is
 * not looked at. */
int config_load(const char *file, struct config **config_r, struct strbuf *err);

struct config *config_ref(struct config *);
/* Drops the reference at *config, which may hold NULL, and sets it to NULL. */
void config_unref(struct config **config);

/* True when the address (endpoint_octets) is one of `trusted`. */
bool config_trusts(const struct config *, const uint8_t octets[16]);

/* Adds the keys that differ and need a restart, as `SECTION.KEY` with blanks between; the
 * daemon logs them and goes on with the old values.  0 or -1 (keys_r is
 * full, or no memory). */
int config_restart_needed(
    const struct config *old, const struct config *new, struct strbuf *keys_r);

/* Writes the example file: every key with its default, commented out, and its sentence.
 * 0, or -1 when it could not be written. */
int config_write_example(FILE *);

#endif
