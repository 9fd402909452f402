"""Postfix, Dovecot, OpenSMTPD and Courier, as Debian ships them but for what is said here.

Everything listens on loopback alone.  Limits of processes and connections are lifted where a case
would hit them; durability, and all that decides how a message is stored, stays as it is.  Mail is
in Maildirs below /peer/mail, which is what each of them can store.
"""

import os
import shutil
import subprocess

from jail import ACCOUNTS, Jail, free_port
from servers import DOMAIN, PASSWORD

DOVECOT = """
base_dir = /run/dovecot
log_path = /peer/dovecot.log
protocols = {protocols}
listen = 127.0.0.1
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

    def __init__(self, build, state, site, mailboxes, root):
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

    def log(self):
        return self.jail.tail(3000)

    def stop(self):
        self.jail.stop()

    def fill(self, mailbox, count, message):
        """Puts messages into a Maildir as the server's own delivery names them, without it."""
        base = os.path.join(self.folder, "mail", "u%d" % mailbox)
        owner = ACCOUNTS["vmail"]
        for path in (base, *(os.path.join(base, n) for n in ("new", "cur", "tmp"))):
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
                os.chown(path, owner, owner)
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
                              pop3s=self.pop3s)
        ports = [self.pop3]
        if lmtp:
            self.lmtp = free_port()
            text += DOVECOT_LMTP.format(lmtp=self.lmtp)
            ports.append(self.lmtp)
        self.jail.write("dovecot.conf", text)
        hashed = hash_of_password()
        self.jail.write("users", "".join("u%d@%s:%s::::::\n" % (i, DOMAIN, hashed)
                                         for i in range(mailboxes)))
        return ports


def hash_of_password():
    """SHA-512 by openssl, as crypt(3) reads it."""
    return subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=PASSWORD + "\n", text=True,
                          capture_output=True, check=True).stdout.strip()


class Dovecot(Peer):
    """Dovecot's LMTP and POP3, with Postfix before it on a port of its own."""

    name = "Dovecot"

    def __init__(self, build, state, site, mailboxes):
        self.postfix = None
        super().__init__(build, state, site, mailboxes, "postfix")

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

    def __init__(self, build, state, site, mailboxes):
        super().__init__(build, state, site, mailboxes, "opensmtpd")

    def configure(self, mailboxes):
        ports = self._dovecot(mailboxes, False)
        self.smtp = free_port()
        self.jail.write("smtpd.conf", OPENSMTPD.format(smtp=self.smtp, domain=DOMAIN))
        self.jail.folder("smtpd", None, 0o711)
        self.jail.start("mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty\n"
                        "mount --bind /peer/smtpd /var/spool/smtpd\n"
                        "dovecot -c /peer/dovecot.conf || exit 1\n"
                        "exec smtpd -d -f /peer/smtpd.conf > /peer/smtpd.log 2>&1\n",
                        ports + [self.smtp])
