"""A throw-away site: configuration, certificate, spool, users, daemons on loopback.

    with Site(build) as site:
        site.start("smtpd")
        wire = Wire(site.address("smtp"))

Leaving the `with` stops each daemon by SIGTERM and raises SiteError unless it ends with 0 and
its log holds no sanitizer's report.  A site that is left by an exception is torn down too.
"""

import os
import pwd
import re
import shutil
import signal
import sqlite3
import ssl
import subprocess
import tempfile
import threading
import time

HOSTNAME = "mail.example.test"
PASSWORD = "secret"
USERS = ("joe@example.test", "ann@example.test")

REPORT = re.compile(r"(ERROR|SUMMARY): (Address|Thread|Leak|Memory|UndefinedBehavior)Sanitizer|"
                    r"WARNING: ThreadSanitizer|runtime error:|^Assertion |: Assertion `", re.M)

# Slow builds wait longer: the Makefile sets this for each SAN.
SLOW = float(os.environ.get("TEST_SLOW", "1"))


class SiteError(Exception):
    """A daemon did not start, or did not end as it should."""


def certificate(folder):
    """A self-signed certificate and key for HOSTNAME, made once for each folder."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    if not os.path.exists(cert):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert + ".new",
             "-days", "30", "-subj", "/CN=" + HOSTNAME,
             "-addext", "subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1" % HOSTNAME],
            check=True, capture_output=True)
        os.rename(cert + ".new", cert)
    return cert, key


def sanitizer_environment():
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0:exitcode=86"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env["TSAN_OPTIONS"] = "exitcode=66:second_deadlock_stack=1"
    env.pop("NOTIFY_SOCKET", None)
    env.pop("LISTEN_FDS", None)
    return env


class Daemon:
    """A running smtpd or pop3d; its standard error goes to a file that is read along."""

    def __init__(self, program, conf, log, env=None, under=()):
        self.name = os.path.basename(program)
        self.log = log
        with open(log, "ab") as out:
            self.begin = out.tell()
            self.process = subprocess.Popen([*under, program, "-c", conf],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env={**sanitizer_environment(), **(env or {})})

    def text(self):
        """What it logged since it was started."""
        with open(self.log, "rb") as f:
            f.seek(self.begin)
            return f.read().decode("utf-8", "replace")

    def wait_listening(self, wanted, seconds=30.0):
        """Waits for `wanted` listening lines; [(proto, addr)]."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            found = re.findall(r"^(?:<\d>)?event=listening proto=(\S+) addr=\"?([^\s\"]+)",
                               self.text(), re.M)
            if len(found) >= wanted:
                return found
            if self.process.poll() is not None:
                raise SiteError("%s ended with %d:\n%s" % (self.name, self.process.returncode,
                                                          self.text()))
            if time.monotonic() > deadline:
                raise SiteError("%s does not listen:\n%s" % (self.name, self.text()))
            time.sleep(0.01)

    def wait_log(self, pattern, seconds=20.0):
        """Waits for a log line that matches."""
        deadline = time.monotonic() + seconds * SLOW
        while not re.search(pattern, self.text(), re.M):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SiteError("%s never logged %s:\n%s" % (self.name, pattern, self.text()))
            time.sleep(0.01)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """kill -9, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30.0):
        """SIGTERM; exit code 0 and a clean log are wanted."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise SiteError("%s did not end on SIGTERM:\n%s" % (self.name, self.tail())) from None
        if code != 0 or REPORT.search(self.text()):
            raise SiteError("%s ended with %d:\n%s" % (self.name, code, self.tail()))

    def tail(self):
        text = self.text()
        match = REPORT.search(text)
        if match:
            return text[max(0, match.start() - 200):match.start() + 8000]
        return text[-4000:]


class Site:
    """Configuration, spool and daemons in a folder of its own under TMPDIR."""

    _certificates = None
    _templates = {}
    _lock = threading.Lock()

    def __init__(self, build, config=None, users=USERS, tls=True, lmtp=True):
        """`config` maps (section, key) to text and wins over what stands here.  `users` are
        addresses, or (address, password, further arguments of `user add`)."""
        self.build = os.path.abspath(build)
        self.folder = tempfile.mkdtemp(prefix="restante-")
        self.spool = os.path.join(self.folder, "spool")
        self.conf = os.path.join(self.folder, "restante.conf")
        self.daemons = {}
        self.addresses = {}
        self.users = [(u, PASSWORD) if isinstance(u, str) else tuple(u) for u in users]
        self.settings = {
            ("site", "hostname"): HOSTNAME,
            ("site", "spool"): self.spool,
            ("site", "user"): pwd.getpwuid(os.getuid()).pw_name,
            ("spool", "reserve"): "1M",
            ("smtpd", "listen"): "127.0.0.1:0",
            ("pop3d", "listen"): "127.0.0.1:0",
        }
        if lmtp:
            self.settings["smtpd", "listen_lmtp"] = (
                "unix:%s 127.0.0.1:0" % os.path.join(self.folder, "lmtp"))
        self.certificate = None
        if tls:
            with Site._lock:
                if Site._certificates is None:
                    Site._certificates = os.environ.get("TEST_CERTIFICATES") or \
                        tempfile.mkdtemp(prefix="restante-cert-")
                self.certificate, key = certificate(Site._certificates)
            self.settings["tls", "certificate"] = self.certificate
            self.settings["tls", "key"] = key
            self.settings["pop3d", "listen_tls"] = "127.0.0.1:0"
        self.settings.update(config or {})
        try:
            self.write_config()
            self._fill_spool()
        except BaseException:
            self.remove()
            raise

    def write_config(self):
        sections = {}
        for (section, key), value in self.settings.items():
            if value is not None:
                sections.setdefault(section, []).append("%s = %s\n" % (key, value))
        with open(self.conf + ".new", "w", encoding="utf-8") as f:
            for section, lines in sections.items():
                f.write("[%s]\n%s\n" % (section, "".join(lines)))
        os.rename(self.conf + ".new", self.conf)

    def _fill_spool(self):
        # A password costs tens of milliseconds; the same users need it once in a run.
        same = tuple(self.users)
        with Site._lock:
            template = Site._templates.get(same)
            if template and os.path.isdir(template):
                shutil.copytree(template, self.spool)
                return
            self.admin("init")
            for user in self.users:
                self.admin("user", "add", user[0], *user[2:], stdin=user[1] + "\n")
            if len(same) <= 4:
                keep = tempfile.mkdtemp(prefix="restante-template-")
                shutil.rmtree(keep)
                shutil.copytree(self.spool, keep)
                Site._templates[same] = keep

    @classmethod
    def forget(cls):
        """Removes what sites share."""
        for template in cls._templates.values():
            shutil.rmtree(template, ignore_errors=True)
        cls._templates = {}
        if cls._certificates and cls._certificates != os.environ.get("TEST_CERTIFICATES"):
            shutil.rmtree(cls._certificates, ignore_errors=True)
        cls._certificates = None

    def admin(self, *arguments, stdin="", want=0, seconds=120.0):
        """Runs pop-admin; its standard output.  `want` is the exit code that is due, `seconds` how
        long it may take."""
        done = subprocess.run([os.path.join(self.build, "pop-admin"), "-c", self.conf, *arguments],
                              input=stdin.encode(), capture_output=True, check=False,
                              env=sanitizer_environment(), timeout=seconds * SLOW)
        err = done.stderr.decode("utf-8", "replace")
        if done.returncode != want or REPORT.search(err):
            raise SiteError("pop-admin %s ended with %d, not %d:\n%s%s" % (
                " ".join(arguments), done.returncode, want,
                done.stdout.decode("utf-8", "replace"), err))
        return done.stdout.decode("utf-8", "replace")

    def sql(self, statement, address, *values):
        """Changes the index behind everybody's back, while daemons run or not.  `statement` finds
        the mailbox as `:id`, and further values as ?1, ?2; how many rows it changed."""
        local, _, domain = address.partition("@")
        db = sqlite3.connect(os.path.join(self.spool, "index", "index.db"), timeout=20 * SLOW)
        try:
            # Checkpoints are the keepers', under a lock that is not held here.
            db.execute("PRAGMA wal_autocheckpoint = 0")
            with db:
                found = db.execute("SELECT m.id FROM mailbox AS m JOIN domain AS d ON d.id = domain"
                                   " WHERE m.folded = ? AND d.folded = ?",
                                   (local, domain)).fetchone()
                if found is None:
                    raise SiteError("there is no mailbox %s" % address)
                return db.execute(statement.replace(":id", str(found[0])), values).rowcount
        finally:
            db.close()

    def quota(self, address, octets):
        """Sets a mailbox's quota in the index; None: none."""
        self.sql("UPDATE mailbox SET quota = ? WHERE id = :id", address, octets)

    def age(self, address):
        """All that lies in a mailbox is past its age."""
        self.sql("UPDATE entry SET expires_day = 1 WHERE state = 0 AND mailbox = :id", address)

    def _listeners(self, name):
        lists = {"smtpd": [("smtpd", "listen"), ("smtpd", "listen_lmtp")],
                 "pop3d": [("pop3d", "listen"), ("pop3d", "listen_tls")]}[name]
        return sum(len((self.settings.get(k) or "").replace(",", " ").split()) for k in lists)

    def start(self, name, env=None, under=(), wait=r"event=ready\b"):
        """Starts a daemon, with more in its environment than we have, and waits until all its
        sockets accept and the spool is recovered.  `under`: a command that runs it."""
        daemon = Daemon(os.path.join(self.build, name), self.conf,
                        os.path.join(self.folder, name + ".log"), env, under)
        self.daemons[name] = daemon
        for proto in ("smtp", "lmtp") if name == "smtpd" else ("pop3", "pop3s"):
            self.addresses.pop(proto, None)
            self.addresses.pop(proto + "-unix", None)
        for proto, addr in daemon.wait_listening(self._listeners(name)):
            if addr.startswith("unix:"):
                self.addresses[proto + "-unix"] = addr[len("unix:"):]
            else:
                host, _, port = addr.rpartition(":")
                self.addresses.setdefault(proto, (host.strip("[]"), int(port)))
        daemon.wait_log(wait)
        return daemon

    def address(self, proto):
        """Where smtp, lmtp, lmtp-unix, pop3 or pop3s answers; starts the daemon if need be."""
        name = "smtpd" if proto.startswith(("smtp", "lmtp")) else "pop3d"
        if name not in self.daemons:
            self.start(name)
        if proto not in self.addresses:
            raise SiteError("%s does not listen for %s" % (name, proto))
        return self.addresses[proto]

    def stop(self, name):
        self.daemons.pop(name).stop()

    def context(self):
        """A TLS client that trusts this site alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        return context

    def log(self):
        return "".join("--- %s\n%s" % (d.name, d.tail()) for d in self.daemons.values())

    def remove(self):
        for daemon in self.daemons.values():
            if daemon.process.poll() is None:
                daemon.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                for name in list(self.daemons):
                    self.stop(name)
            else:
                # A test that fails because a daemon crashed should show the crash.
                for daemon in self.daemons.values():
                    if REPORT.search(daemon.text()) or daemon.process.poll() is not None:
                        raise SiteError("%s\n%s: %s\n%s" % (
                            daemon.name, kind.__name__, error, daemon.tail())) from error
        finally:
            self.remove()
        return False
