"""Postfix, Dovecot, OpenSMTPD and Courier, as Debian ships them but for what is said here.

Everything listens on loopback alone.  Limits of processes and connections are lifted where a case
would hit them, and Dovecot's logins share processes, which its manual calls the mode for
performance; durability, and all that decides how a message is stored, stays as it is.  Mail is
in Maildirs below /peer/mail, which is what each of them can store.
"""

import os
import shutil
import subprocess

from jail import ACCOUNTS, Jail, free_port
from servers import DOMAIN, hash_of_password

DOVECOT = """
base_dir = /run/dovecot
log_path = /peer/dovecot.log
protocols = {protocols}
listen = {listen}
ssl = yes
ssl_cert = </peer/cert.pem
ssl_key = </peer/key.pem
disable_plaintext_auth = no
mail_location = maildir:/peer/mail/%n
mail_max_userip_connections = 0
auth_cache_size = 16M
auth_username_format = %Lu
passdb {{
  driver = passwd-file
  args = scheme=CRYPT username_format=%u /peer/users
}}
userdb {{
  driver = static
  args = uid=vmail gid=vmail home=/peer/home/%n
}}
default_process_limit = 1100
default_client_limit = 10000
service pop3-login {{
  service_count = 0
  vsz_limit = 2G
  process_min_avail = {cores}
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
"""

DOVECOT_LMTP = """
service lmtp {{
  process_limit = 1100
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""

POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = /peer/queue
data_directory = /peer/postfix-data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /peer/postfix.log
maillog_file_prefixes = /peer
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.test
mydestination =
alias_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:/peer/virtual
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
smtpd_tls_security_level = may
smtpd_tls_chain_files = /peer/key.pem, /peer/cert.pem
smtpd_peername_lookup = no
default_process_limit = 1100
message_size_limit = 52428800
"""

POSTFIX_MASTER = """
127.0.0.1:{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

OPENSMTPD = """
pki mail.example.test cert "/peer/cert.pem"
pki mail.example.test key "/peer/key.pem"
smtp max-message-size "50M"
listen on 127.0.0.1 port {smtp} tls pki mail.example.test hostname mail.example.test
action "store" maildir "/peer/mail/%{{rcpt.user}}" virtual {{ "@" = "vmail" }}
match from any for domain "{domain}" action "store"
"""


class Peer:
    """What the peers have in common: a jail, users, a certificate, Maildirs."""

    smtp = lmtp = pop3 = None
    own_pop3, queues, opening = True, False, 100
    most = (10000, 300)

    def __init__(self, build, state, site, mailboxes, root, everywhere=False):
        self.listen = "0.0.0.0" if everywhere else "127.0.0.1"
        self.jail = Jail(os.path.join(build, "peers"), root, state)
        self.folder = self.jail.data
        try:
            cert = site.certificate
            for source, name in ((cert, "cert.pem"),
                                 (os.path.join(os.path.dirname(cert), "key.pem"), "key.pem")):
                with open(source, encoding="ascii") as f:
                    self.jail.write(name, f.read(), mode=0o600)
            self.jail.folder("mail", "vmail")
            self.jail.folder("home", "vmail")
            self.configure(mailboxes)
        except BaseException:
            self.jail.stop()
            raise

    def configure(self, mailboxes):
        raise NotImplementedError

    def roots(self):
        return [self.jail.process.pid]

    def restart(self):
        self.jail.restart()

    def log(self):
        return self.jail.tail(3000)

    def stop(self):
        self.jail.stop()

    def maildir(self, mailbox):
        return os.path.join(self.folder, "mail", "u%d" % mailbox)

    def make_maildir(self, mailbox):
        """Makes the mailbox's folders where they are not there; the path."""
        base = self.maildir(mailbox)
        for path in (os.path.dirname(base), base,
                     *(os.path.join(base, n) for n in ("new", "cur", "tmp"))):
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
                os.chown(path, ACCOUNTS["vmail"], ACCOUNTS["vmail"])
        return base

    def fill(self, mailbox, count, message):
        """Puts messages into a Maildir as the server's own delivery names them, without it."""
        base, owner = self.make_maildir(mailbox), ACCOUNTS["vmail"]
        text = message.replace(b"\r\n", b"\n")
        for i in range(count):
            name = "%d.M%dP1.mail,S=%d,W=%d" % (1700000000 + i // 1000, i % 1000, len(text),
                                               len(message))
            path = os.path.join(base, "new", name)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, text)
            os.close(fd)
            os.chown(path, owner, owner)

    def _dovecot(self, mailboxes, lmtp):
        """Writes Dovecot's part; the ports that must answer."""
        self.pop3, self.pop3s = free_port(), free_port()
        text = DOVECOT.format(protocols="pop3 lmtp" if lmtp else "pop3", pop3=self.pop3,
                              pop3s=self.pop3s, listen=self.listen, cores=os.cpu_count())
        ports = [self.pop3]
        if lmtp:
            self.lmtp = free_port()
            text += DOVECOT_LMTP.format(lmtp=self.lmtp)
            ports.append(self.lmtp)
        self.jail.write("dovecot.conf", text)
        hashed = hash_of_password("-1")
        self.jail.write("users", "".join("u%d@%s:%s::::::\n" % (i, DOMAIN, hashed)
                                         for i in range(mailboxes)))
        return ports


class Dovecot(Peer):
    """Dovecot's LMTP and POP3, with Postfix before it on a port of its own."""

    name = "Dovecot"

    def __init__(self, build, state, site, mailboxes, everywhere):
        self.postfix = None
        super().__init__(build, state, site, mailboxes, "postfix", everywhere)

    def configure(self, mailboxes):
        ports = self._dovecot(mailboxes, True)
        self.postfix = free_port()
        jail = self.jail
        jail.folder("queue", None)
        jail.folder("postfix-data", "postfix", 0o700)
        values = {"domain": DOMAIN, "lmtp": self.lmtp, "smtp": self.postfix}
        jail.write("postfix/main.cf", POSTFIX_MAIN.format(**values))
        jail.write("postfix/master.cf", POSTFIX_MASTER.format(**values))
        jail.write("virtual", "".join("u%d@%s u%d\n" % (i, DOMAIN, i) for i in range(mailboxes)))
        for name in ("postfix-files", "dynamicmaps.cf"):
            shipped = os.path.join(jail.root, "usr/share/postfix", name)
            if not os.path.exists(shipped):
                shipped = os.path.join(jail.root, "etc/postfix", name)
            if os.path.exists(shipped):
                shutil.copy(shipped, os.path.join(jail.data, "postfix", name))
        jail.start("dovecot -c /peer/dovecot.conf || exit 1\n"
                   "exec postfix -c /peer/postfix start-fg\n", ports + [self.postfix])


class Postfix:
    """Postfix, which hands over to Dovecot by LMTP; it shares Dovecot's jail and mailboxes."""

    name = "Postfix"
    lmtp = None
    own_pop3, queues, opening = False, True, 100

    def __init__(self, dovecot):
        self.dovecot = dovecot
        self.smtp, self.pop3 = dovecot.postfix, dovecot.pop3
        self.folder = dovecot.folder

    def roots(self):
        return self.dovecot.roots()

    def log(self):
        return self.dovecot.log()

    def stop(self):
        pass


class OpenSMTPD(Peer):
    """OpenSMTPD, which stores in Maildirs by itself; Dovecot serves them."""

    name = "OpenSMTPD"
    own_pop3, queues = False, True
    opening = 4  # it listens with a backlog of five

    def __init__(self, build, state, site, mailboxes, _everywhere):
        super().__init__(build, state, site, mailboxes, "opensmtpd")

    def configure(self, mailboxes):
        ports = self._dovecot(mailboxes, False)
        self.smtp = free_port()
        # It cannot sign with the elliptic curve key that the others have.
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                        "-subj", "/CN=mail.example.test", "-keyout",
                        os.path.join(self.folder, "key.pem"), "-out",
                        os.path.join(self.folder, "cert.pem")], check=True, capture_output=True)
        self.jail.write("smtpd.conf", OPENSMTPD.format(smtp=self.smtp, domain=DOMAIN))
        self.jail.folder("smtpd", None, 0o711)
        self.jail.start("mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty\n"
                        "mount --bind /peer/smtpd /var/spool/smtpd\n"
                        "dovecot -c /peer/dovecot.conf || exit 1\n"
                        "exec smtpd -d -f /peer/smtpd.conf > /peer/smtpd.log 2>&1\n",
                        ports + [self.smtp])


COURIER_START = """
mount --bind /peer/etc-courier /etc/courier
mkdir -p /var/lib/courier /run/courier/authdaemon
mount --bind /peer/courier /var/lib/courier
chown root:courier /run/courier
chmod 775 /run/courier
chown courier:courier /run/courier/authdaemon
cd /etc/courier
chmod 600 userdb
makeuserdb && makesmtpaccess && makehosteddomains && makeacceptmailfor && makealiases || exit 1
authdaemond start && courier start && esmtpd start && pop3d start || exit 1
while :; do sleep 1000; done
"""


class Courier(Peer):
    """Courier's MTA and POP3.  It remembers no passwords."""

    name = "Courier"
    queues = True
    opening = 20
    most = (300, 300)

    def __init__(self, build, state, site, mailboxes, everywhere):
        super().__init__(build, state, site, mailboxes, "courier", everywhere)

    def maildir(self, mailbox):
        return os.path.join(self.folder, "mail", "u%d" % mailbox, "Maildir")

    def configure(self, mailboxes):
        jail = self.jail
        self.smtp, self.pop3 = free_port(), free_port()
        etc = os.path.join(jail.data, "etc-courier")
        shutil.copytree(os.path.join(jail.root, "etc/courier"), etc)
        shutil.copytree(os.path.join(jail.root, "var/lib/courier"),
                        os.path.join(jail.data, "courier"))
        for path, folders, _ in os.walk(os.path.join(jail.data, "courier")):
            for folder in (path, *(os.path.join(path, f) for f in folders)):
                os.chown(folder, ACCOUNTS["courier"], ACCOUNTS["courier"])
                os.chmod(folder, 0o770)
        limits = "MAXDAEMONS=1100\nMAXPERC=1100\nMAXPERIP=1100\n"
        self._append("esmtpd", limits + "ADDRESS=127.0.0.1\nPORT=%d\nBOFHCHECKDNS=0\n"
                     "TLS_CERTFILE=/peer/both.pem\n"
                     'TCPDOPTS="-stderrlogger=/usr/sbin/courierlogger -noidentlookup'
                     ' -nodnslookup"\n' % self.smtp)
        self._append("pop3d", limits + "ADDRESS=%s\nPORT=%d\n" % (self.listen, self.pop3))
        self._append("pop3d-ssl", "TLS_CERTFILE=/peer/both.pem\n")
        self._append("authdaemonrc", 'authmodulelist="authuserdb"\n')
        for name, text in (("me", "mail.example.test"), ("defaultdomain", DOMAIN),
                           ("dsnfrom", "postmaster@" + DOMAIN), ("locals", "localhost"),
                           ("hosteddomains/bench", DOMAIN), ("sizelimit", "0"),
                           ("esmtpacceptmailfor.dir/bench", DOMAIN),
                           ("smtpaccess/bench", "127\tallow"), ("aliases/bench", "nobody: u0")):
            jail.write(os.path.join("etc-courier", name), text + "\n")
        with open(os.path.join(jail.data, "cert.pem"), encoding="ascii") as cert, \
                open(os.path.join(jail.data, "key.pem"), encoding="ascii") as key:
            jail.write("both.pem", key.read() + cert.read(), "courier", 0o600)
        hashed = hash_of_password("-1")
        owner = ACCOUNTS["vmail"]
        jail.write("etc-courier/userdb", "".join(
            "u%d@%s\tuid=%d|gid=%d|home=/peer/mail/u%d|mail=/peer/mail/u%d/Maildir|systempw=%s\n"
            % (i, DOMAIN, owner, owner, i, i, hashed) for i in range(mailboxes)), mode=0o600)
        for i in range(mailboxes):
            self.make_maildir(i)
        jail.start(COURIER_START, [self.smtp, self.pop3])

    def _append(self, name, text):
        """A later line wins in a file that is read by the shell."""
        with open(os.path.join(self.jail.data, "etc-courier", name), "a", encoding="utf-8") as f:
            f.write("\n" + text)
