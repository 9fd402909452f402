/*
 * What the files of the configuration share: the table of keys, and a key's
 * value in a struct config by the key's type.
 */
#ifndef CONF_CONFIG_INTERNAL_H
#define CONF_CONFIG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "conf/config.h"

enum config_type {
	CONFIG_LATER,           /* not in this version: setting it is an error */
	CONFIG_HOSTNAME,        /* char *, a domain name with a dot */
	CONFIG_ACCOUNT,         /* char * */
	CONFIG_PATH,            /* char *, absolute */
	CONFIG_ADDRESS,         /* char *, of a mailbox */
	CONFIG_NETWORKS,        /* site.trusted and site.ntrusted */
	CONFIG_ENDPOINTS,       /* struct config_endpoints */
	CONFIG_SIZE,            /* uint64_t, octets */
	CONFIG_AGE,             /* uint64_t, seconds */
	CONFIG_COUNT,           /* uint64_t */
	CONFIG_PERCENTS,        /* spool.quota_warn and spool.nquota_warn */
	CONFIG_CHOICE,          /* an enum: which of `words` */
	CONFIG_SWITCH,          /* bool: which of two `words` */
	CONFIG_CHARACTER,       /* char */
};

struct config_key {
	const char *section, *name;
	enum config_type type;
	bool restart;           /* a change needs a restart */
	bool optional;          /* may be empty, or `none`: the member stays zero */
	size_t offset;          /* of the member in struct config */
	const char *value;      /* the default, or NULL: config.c finds it */
	const char *example;    /* stands in the example file where there is no `value` */
	const char *words;      /* of CHOICE and SWITCH, with single blanks between */
	const char *unlimited;  /* of SIZE and AGE: the word for NUM_UNLIMITED, or NULL */
	uint64_t min, max;      /* of SIZE, AGE and COUNT */
	const char *sentence;   /* for the example file */
};

extern const struct config_key config_keys[];
extern const size_t config_nkeys;

/* NULL when there is no such key. */
const struct config_key *config_key_get(const char *section, const char *name);
/* Likewise, with a sentence in err that leads to a key that there is. */
const struct config_key *config_key_find(
    const char *section, const char *name, struct strbuf *err);
/* 0, or -1 with such a sentence when there is no such section. */
int config_section_check(const char *section, struct strbuf *err);

/* Sets the key's member, which is zero.  0, or -1 with `KEY = VALUE: reason` in err
 * and the member zero or to be released. */
int config_value_set(
    struct config *, const struct config_key *, const char *value, struct strbuf *err);
/* Frees what the member owns; the member is zero then. */
void config_value_release(struct config *, const struct config_key *);
/* For keys that need a restart: accounts, paths and lists of endpoints. */
bool config_value_equal(
    const struct config_key *, const struct config *, const struct config *);

/* 0 when it is a domain name with a dot in it (RFC 5321 2.3.5), or -1 with what is
 * wrong and what would be right. */
int config_hostname_check(const char *name, struct strbuf *err);
/* This machine's full name: its node name if that has a dot, else the name with a dot
 * that the hosts(5) file at `hosts` has for it, else the node name as it is.  No
 * resolver is asked, so nothing here waits.  NULL when memory is out.  The caller
 * frees it. */
char *config_hostname_default(const char *hosts);

#endif
