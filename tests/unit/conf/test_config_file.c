/*
 * config: which whole files are taken and refused, whom a loaded one trusts, and which changes
 * need a restart.
 */
#include "config_test.h"

#include <errno.h>
#include <sys/resource.h>

static const struct {
	const char *name, *text, *error;
} files[] = {
	{ "unknown section", HOST "[imapd]\n",
	    ":3: unknown section [imapd]: there are [site] [spool] [tls] [smtpd] [pop3d]" },
	{ "section in capitals", "[Site]\n",
	    ":1: unknown section [Site]: there are [site] [spool] [tls] [smtpd] [pop3d]" },
	{ "unknown key that is near one", "\n[site]\nhostnam = a.b\n",
	    ":3: unknown key \"hostnam\" in [site]: did you mean hostname?" },
	{ "key with a hyphen", "[smtpd]\nmax-recipients = 100\n",
	    ":2: unknown key \"max-recipients\" in [smtpd]: did you mean max_recipients?" },
	{ "key in capitals", "[tls]\nKey = /k\n",
	    ":2: unknown key \"Key\" in [tls]: did you mean key?" },
	{ "short key with a letter too many", "[site]\nusers = x\n",
	    ":2: unknown key \"users\" in [site]: did you mean user?" },
	{ "key of another section", "[site]\nmax_message_size = 1M\n",
	    ":2: unknown key \"max_message_size\" in [site]: max_message_size belongs to [smtpd]" },
	{ "nearly a key of another section", "[site]\nmax_mesage_size = 1M\n",
	    ":2: unknown key \"max_mesage_size\" in [site]: max_message_size belongs to [smtpd]" },
	{ "key of two sections, in one of them", "[pop3d]\nlisten_tsl = x\n",
	    ":2: unknown key \"listen_tsl\" in [pop3d]: did you mean listen_tls?" },
	{ "the section at hand first", "[pop3d]\ntimeouts = x\n",
	    ":2: unknown key \"timeouts\" in [pop3d]: did you mean timeout?" },
	{ "key like none", "[tls]\ncolour = blue\n",
	    ":2: unknown key \"colour\" in [tls]: [tls] has certificate key" },
	{ "key like one of three letters", "[tls]\nfoo = x\n",
	    ":2: unknown key \"foo\" in [tls]: [tls] has certificate key" },
	{ "key like none in a section of many", "[spool]\ncolour = blue\n",
	    ":2: unknown key \"colour\" in [spool]: [spool] has quota expire keep_deleted "
	    "keep_deleted_max expire_every quota_warn reserve" },
	{ "key like none where some are not built", "[pop3d]\ncolour = blue\n",
	    ":2: unknown key \"colour\" in [pop3d]: [pop3d] has listen listen_tls max_connections "
	    "max_connections_per_ip timeout plaintext_auth lock_wait login_delay" },
	{ "key like one that is not built", "[pop3d]\nusers = x\n",
	    ":2: unknown key \"users\" in [pop3d]: user belongs to [site]" },
	{ "long key like one in its first half", "[tls]\ncertificate_path = /c\n",
	    ":2: unknown key \"certificate_path\" in [tls]: [tls] has certificate key" },
	{ "endless key",
	    "[tls]\n"
	    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk = x\n",
	    ":2: unknown key \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\" "
	    "in "
	    "[tls]: [tls] has certificate key" },
	{ "key twice", HOST "user = a\n\nuser = a\n",
	    ":5: user was set in line 3 already: take one of the two out" },
	{ "key twice in a section begun again", HOST "[tls]\n[site]\nhostname = a.b\n",
	    ":5: hostname was set in line 2 already: take one of the two out" },
	{ "key twice, empty at first", HOST "postmaster =\npostmaster = a@b.c\n",
	    ":4: postmaster was set in line 3 already: take one of the two out" },
	{ "key outside a section", "hostname = mail.example.org\n",
	    ":1: \"hostname\" stands before any section: write [NAME] above it" },
	{ "line that is no key", HOST "spool /var/spool/mail\n",
	    ":3: \"spool /var/spool/mail\" has no =: write KEY = VALUE, or # before a comment" },
	{ "the first error counts", "[site]\nuser = \nhostname = x\n",
	    ":2: user has no value: write one, such as restante" },
	{ "certificate without key", HOST "[tls]\n\ncertificate = /c\nkey = none\n[smtpd]\n",
	    ":5: certificate is set and key is not: set both, or neither" },
	{ "key without certificate", HOST "[tls]\nkey = /k\n",
	    ":4: key is set and certificate is not: set both, or neither" },
	{ "TLS without certificate", HOST "[pop3d]\nlisten_tls = 127.0.0.1:0\n",
	    ":4: listen_tls needs a certificate: set certificate and key in [tls]" },
};

START_TEST(a_file_is_refused)
{
	struct strbuf err;

	strbuf_init(&err, 4096);
	ck_assert_msg(load(files[_i].text, &err) == NULL, "%s", files[_i].name);
	ck_assert_str_eq(err.buf, files[_i].error);
	strbuf_release(&err);
}
END_TEST

START_TEST(a_whole_site)
{
	static const char text[] = "\xef\xbb\xbf# our site\r\n"
				   "[pop3d]\r\n"
				   "listen_tls = 127.0.0.1:1995\r\n"
				   "[site]\r\n"
				   "hostname=mx.example.net\r\n"
				   "[tls]\r\n"
				   "  key = /etc/ssl/k.pem\r\n"
				   "  certificate = /etc/ssl/c.pem\r\n"
				   "[pop3d]\r\n"
				   "plaintext_auth = never";
	struct config *c = load_good(text);

	ck_assert_str_eq(c->site.hostname, "mx.example.net");
	ck_assert_uint_eq(c->pop3d.listen_tls.n, 1);
	ck_assert_str_eq(c->tls.key, "/etc/ssl/k.pem");
	ck_assert_int_eq(c->pop3d.plaintext_auth, CONFIG_PLAINTEXT_NEVER);
	ck_assert_uint_eq(c->pop3d.listen.n, 2);
	config_unref(&c);
}
END_TEST

/* What the machine's name is worth decides; the words are always the same. */
START_TEST(hostname_comes_from_the_machine)
{
	char *name = config_hostname_default("/etc/hosts");
	struct strbuf err, why, want;
	struct config *c;

	strbuf_init(&err, 4096);
	strbuf_init(&why, 4096);
	strbuf_init(&want, 4096);
	c = load("[site]\n", &err);
	if (config_hostname_check(name, &why) == 0) {
		ck_assert_ptr_nonnull(c);
		ck_assert_str_eq(c->site.hostname, name);
	} else {
		ck_assert_ptr_null(c);
		strbuf_addf(&want,
		    ": hostname is not set in [site], and this machine's own, \"%s\", %s", name,
		    why.buf);
		ck_assert_str_eq(err.buf, want.buf);
	}
	config_unref(&c);
	free(name);
	strbuf_release(&err);
	strbuf_release(&why);
	strbuf_release(&want);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
	struct config *c = NULL;
	struct strbuf err;
	char *much;

	strbuf_init(&err, 4096);
	ck_assert_int_eq(config_load("/nowhere/restante.conf", &c, &err), -1);
	ck_assert_str_eq(err.buf, "/nowhere/restante.conf: No such file or directory: make it from "
				  "restante.conf.example, or name another with -c");
	strbuf_clear(&err);
	ck_assert_int_eq(config_load("/", &c, &err), -1);
	ck_assert_str_eq(err.buf, "/: cannot be read: Is a directory");

	much = malloc((1 << 20) + 1);
	ck_assert_ptr_nonnull(much);
	memset(much, '\n', (1 << 20) + 1);
	memcpy(much, HOST, strlen(HOST));
	write_text(much, 1 << 20);
	strbuf_clear(&err);
	ck_assert_int_eq(config_load(path, &c, &err), 0);
	config_unref(&c);
	write_text(much, (1 << 20) + 1);
	ck_assert_int_eq(config_load(path, &c, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.buf, ": is larger than 1M, which no configuration is"));
	ck_assert_ptr_null(c);
	free(much);
	strbuf_release(&err);
}
END_TEST

/* Who is to be blamed: nobody, where the machine could not. */
START_TEST(errno_of_a_failure)
{
	struct rlimit limit, none;
	struct config *c = NULL;
	struct strbuf err;

	write_text(HOST, strlen(HOST));
	strbuf_init(&err, 4096);
	errno = EIO;
	ck_assert_int_eq(config_load("/nowhere/restante.conf", &c, &err), -1);
	ck_assert_int_eq(errno, 0);
	strbuf_clear(&err);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 0, limit.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(config_load(path, &c, &err), -1);
	ck_assert_int_eq(errno, EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	strbuf_release(&err);
}
END_TEST

START_TEST(references_are_counted)
{
	struct config *c = load_good(HOST), *other;

	other = config_ref(c);
	ck_assert_ptr_eq(other, c);
	config_unref(&c);
	ck_assert_ptr_null(c);
	ck_assert_str_eq(other->site.hostname, "mail.example.org");
	config_unref(&other);
	config_unref(&other);
	ck_assert_ptr_null(other);
}
END_TEST

static const struct {
	const char *trusted, *peer;
	bool want;
} peers[] = {
	{ "127.0.0.0/8 ::1", "127.9.9.9:1", true },
	{ "127.0.0.0/8 ::1", "[::1]:1", true },
	{ "127.0.0.0/8 ::1", "[::ffff:127.0.0.1]:1", true },
	{ "127.0.0.0/8 ::1", "128.0.0.1:1", false },
	{ "127.0.0.0/8 ::1", "[::2]:1", false },
	{ "127.0.0.0/8 ::1", "unix:/x", true },
	{ "", "127.0.0.1:1", false },
};

START_TEST(trusted_peers)
{
	struct endpoint e;
	struct strbuf text;
	struct config *c;
	uint8_t octets[16];

	strbuf_init(&text, 4096);
	strbuf_addf(&text, HOST "trusted = %s\n", peers[_i].trusted);
	c = load_good(text.buf);
	ck_assert_int_eq(endpoint_parse(peers[_i].peer, &e), 0);
	endpoint_octets(&e, octets);
	ck_assert(config_trusts(c, octets) == peers[_i].want);
	config_unref(&c);
	strbuf_release(&text);
}
END_TEST

#define TLS "[tls]\ncertificate = /c\nkey = /k\n"

static const struct {
	const char *old, *new, *want;
} changes[] = {
	{ HOST, HOST, "" },
	{ HOST, "[site]\nhostname = other.example.org\nlog_level = debug\ntrusted =\n", "" },
	{ HOST "spool = /a\n", HOST "spool = /b\n", "site.spool" },
	{ HOST "user = a\n", HOST, "site.user" },
	{ HOST, HOST "[smtpd]\nlisten = 0.0.0.0:25\n", "smtpd.listen" },
	{ HOST, HOST "[smtpd]\nlisten = 0.0.0.0:25, [0::0]:25\n", "" },
	{ HOST, HOST "[smtpd]\nlisten = 0.0.0.0:26 [::]:25\n", "smtpd.listen" },
	{ HOST, HOST "[smtpd]\nlisten = [::]:25 0.0.0.0:25\n", "smtpd.listen" },
	{ HOST, HOST "[smtpd]\nlisten_lmtp = unix:/x\ntimeout = 1m\n", "smtpd.listen_lmtp" },
	{ HOST, HOST "[pop3d]\nlisten = none\n", "pop3d.listen" },
	{ HOST TLS, HOST TLS "[pop3d]\nlisten_tls = none\n", "pop3d.listen_tls" },
	{ HOST, HOST TLS, "pop3d.listen_tls" },
	{ HOST, HOST "spool = /b\nuser = x\n[pop3d]\nlisten = none\n",
	    "site.spool site.user pop3d.listen" },
};

START_TEST(some_changes_need_a_restart)
{
	struct config *old = load_good(changes[_i].old), *new = load_good(changes[_i].new);
	struct strbuf keys;

	strbuf_init(&keys, 500);
	ck_assert_int_eq(config_restart_needed(old, new, &keys), 0);
	ck_assert_str_eq(keys.buf, changes[_i].want);
	strbuf_release(&keys);

	strbuf_init(&keys, 5);
	ck_assert_int_eq(
	    config_restart_needed(old, new, &keys), changes[_i].want[0] == '\0' ? 0 : -1);
	strbuf_release(&keys);
	config_unref(&old);
	config_unref(&new);
}
END_TEST

/* Everything else is re-read by SIGHUP. */
START_TEST(keys_that_need_a_restart)
{
	static const char restart[] = "site.spool site.user smtpd.listen smtpd.listen_lmtp "
				      "pop3d.listen pop3d.listen_tls ";
	struct strbuf marked;
	size_t i;

	strbuf_init(&marked, 500);
	for (i = 0; i < config_nkeys; i++) {
		if (config_keys[i].restart)
			strbuf_addf(&marked, "%s.%s ", config_keys[i].section, config_keys[i].name);
	}
	ck_assert_str_eq(marked.buf, restart);
	strbuf_release(&marked);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("config_file");
	TCase *tc = tcase_create("config_file");

	tcase_add_loop_test(tc, a_file_is_refused, 0, COUNT(files));
	tcase_add_test(tc, a_whole_site);
	tcase_add_test(tc, hostname_comes_from_the_machine);
	tcase_add_test(tc, files_that_cannot_be_read);
	tcase_add_test(tc, errno_of_a_failure);
	tcase_add_test(tc, references_are_counted);
	tcase_add_loop_test(tc, trusted_peers, 0, COUNT(peers));
	tcase_add_loop_test(tc, some_changes_need_a_restart, 0, COUNT(changes));
	tcase_add_test(tc, keys_that_need_a_restart);
	suite_add_tcase(suite, tc);
	return run_with_file(suite);
}
