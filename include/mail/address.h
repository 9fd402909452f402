/*
 * address - mailboxes and paths of RFC 5321 4.1.2 and 4.1.3.
 *
 * A local-part has many spellings: joe, "joe" and "j\oe" are one (RFC 5321
 * 4.1.2).  `local` holds what is meant, without quotes and backslashes, in the
 * sender's case; comparing is done on the folded form.  `text` holds what was
 * written, because that is what Delivered-To and For: show.
 *
 * Pure functions.  Thread: any.
 */
#ifndef MAIL_ADDRESS_H
#define MAIL_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/* RFC 5321 4.5.3.1.1 to .3 ask for 64, 255 and 256 at least.  Local-parts
 * longer than 64 occur in reverse-paths that lists and forwarders rewrite, so
 * the limit is that of the path alone: what stands between the brackets, the
 * route included.  In octets, without the NUL. */
#define ADDRESS_MAX 510
#define ADDRESS_DOMAIN_MAX 255

struct address {
	char text[ADDRESS_MAX + 1];          /* as written, without route; "" is <> */
	char local[ADDRESS_MAX + 1];         /* unquoted, case kept; "" of <> and of ""@x */
	char domain[ADDRESS_DOMAIN_MAX + 1]; /* as written; "" of <> and <postmaster> */
};

enum address_flags {
	ADDRESS_NULL_OK = 1,       /* <> is taken (MAIL) */
	ADDRESS_POSTMASTER_OK = 2, /* <postmaster> is taken, in any case (RCPT) */
};

/* Reads a path, brackets included, at `text`: `<joe@example.org>`,
 * `<@a,@b:joe@example.org>` (the route is ignored, RFC 5321 4.1.1.3).  Blanks before
 * the bracket are tolerated.  *used_r tells how many octets the path took; what
 * follows the closing bracket is not looked at.  Octets of 0x80 and above, controls and
 * NULs are errors.  0, or -1 with *out_r in no particular state. */
int address_parse_path(
    const char *text, size_t len, unsigned flags, struct address *out_r, size_t *used_r);

/* Reads a bare mailbox, `joe@example.org` or `"joe"@example.org`, as an administrator
 * types it: the whole text, neither <> nor a lone postmaster.  0, or -1. */
int address_parse(const char *text, struct address *out_r);

/* The whole text is a domain name: letters, digits, hyphens, underscores, dots; no
 * literal.  0, or -1. */
int address_parse_domain(const char *text);

/* Lower-cases ASCII letters of `src` into `dst`, which has room for strlen(src)+1
 * and may be `src`. */
void address_fold(char *dst, const char *src);

/* The domain is an address literal, [192.0.2.1] or [IPv6:2001:db8::1]. */
bool address_is_literal(const struct address *);

/* Length of the local-part before the first delimiter, or the whole when there is
 * none or it stands first.  '\0' as delimiter never occurs. */
size_t address_base_len(const char *local, char delimiter);

/* Writes local@domain, the local-part quoted where the grammar asks for it; without a
 * domain the local-part alone.  Both are as an address has them, or `local` is a part of
 * that.  What is written is read back as the same local-part and domain, unless the
 * quotes take it past ADDRESS_MAX.  `dst` has room for 2 * ADDRESS_MAX + 3 octets. */
void address_format(char *dst, const char *local, const char *domain);

#endif
