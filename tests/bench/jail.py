"""Runs an unpacked peer as if it were installed, in a root of its own.

    /etc     STATE/etc (what is said here), on what `init/setup.sh peers` unpacked, on the machine's
    /usr     what was unpacked, on the machine's
    /peer    STATE/data, on the disk: all that the peer writes

The machine's own files are not written to.
"""

import os
import shutil
import signal
import socket
import subprocess
import time

from servers import Absent

# Accounts that the peers want; nobody outside sees them.
ACCOUNTS = {"dovecot": 2001, "dovenull": 2002, "postfix": 2003, "postdrop": 2004, "vmail": 2005,
            "opensmtpd": 2006, "opensmtpq": 2007, "courier": 2008}

ENTER = """set -e
for link in bin sbin lib lib64; do
	if [ -e "/$link" ]; then ln -s "usr/$link" "$MOUNT/$link"; fi
done
mkdir -p "$MOUNT/usr" "$MOUNT/etc" "$MOUNT/var/spool" "$MOUNT/proc" "$MOUNT/dev" "$MOUNT/run" \
    "$MOUNT/tmp" "$MOUNT/peer"
ln -s ../run "$MOUNT/var/run"
if [ -d "$ROOT/var" ]; then cp -a "$ROOT/var/." "$MOUNT/var"; fi
mount -t overlay overlay -o "lowerdir=$ROOT/usr:/usr" "$MOUNT/usr"
mount -t overlay overlay -o "lowerdir=$ETC:$ROOT/etc:/etc" "$MOUNT/etc"
mount -t proc proc "$MOUNT/proc"
mount --rbind /dev "$MOUNT/dev"
mount -t tmpfs tmpfs "$MOUNT/run"
mount -t tmpfs tmpfs "$MOUNT/tmp"
mount --bind "$DATA" "$MOUNT/peer"
exec chroot "$MOUNT" /bin/sh /peer/start
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Jail:
    """A mount and process namespace in which `start`, a shell script, runs."""

    def __init__(self, peers, name, state):
        self.root = os.path.join(os.path.abspath(peers), name, "root")
        if not os.path.exists(os.path.join(os.path.dirname(self.root), "packages")):
            raise Absent("not unpacked (sh init/setup.sh peers)")
        if os.geteuid() != 0:
            raise Absent("its files are laid over the machine's in a namespace, which needs root")
        self.state = state
        self.data = os.path.join(state, "data")
        self.layer = os.path.join(state, "etc")
        self.mount = os.path.join(state, "mount")
        self.process = self.started = None
        for folder in (self.data, self.mount, self.layer):
            os.makedirs(folder)
        # The whole way down to it must be open to the peers' accounts.
        os.chmod(state, 0o711)
        for kind in ("passwd", "group"):
            self._accounts(kind)
        # No name is asked for outside; `lookup` is for OpenSMTPD's own resolver.
        self.etc("resolv.conf", "nameserver 127.0.0.1\nlookup file\noptions timeout:1 attempts:1\n")
        self.etc("hosts", "127.0.0.1 localhost mail.example.test\n")

    def _accounts(self, kind):
        with open("/etc/" + kind, encoding="utf-8") as f:
            lines = f.read().splitlines()
        for name, number in ACCOUNTS.items():
            lines.append("%s:x:%d:%s" % (name, number, "%d::/nonexistent:/bin/sh" % number
                                         if kind == "passwd" else ""))
        self.etc(kind, "\n".join(lines) + "\n")

    def etc(self, name, text):
        """A file of /etc as the peer sees it."""
        path = os.path.join(self.layer, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def write(self, name, text, owner=None, mode=0o644):
        """A file of /peer."""
        path = os.path.join(self.data, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        if owner:
            os.chown(path, ACCOUNTS[owner], ACCOUNTS[owner])
        return path

    def folder(self, name, owner=None, mode=0o755):
        path = os.path.join(self.data, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if owner:
            os.chown(path, ACCOUNTS[owner], ACCOUNTS[owner])
        return path

    def start(self, script, ports, seconds=20.0):
        """Runs `script` until all `ports` answer; Absent, with the end of its output, if not."""
        self.started = script, ports
        self.write("start", script)
        env = dict(os.environ, ETC=self.layer, ROOT=self.root, MOUNT=self.mount, DATA=self.data,
                   PATH="/usr/sbin:/usr/bin:/sbin:/bin")
        with open(os.path.join(self.state, "output"), "wb") as out:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True)
        deadline = time.monotonic() + seconds
        waiting = list(ports)
        while waiting:
            try:
                with socket.create_connection(("127.0.0.1", waiting[0]), 5) as s:
                    s.recv(100)
                waiting.pop(0)
                continue
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Absent("it does not start: " + self.tail())
            time.sleep(0.05)

    def tail(self, octets=600):
        """The end of what it said, and of its logs."""
        text = ""
        for path in [os.path.join(self.state, "output")] + [
                os.path.join(self.data, n) for n in sorted(os.listdir(self.data)) if n.endswith("log")]:
            with open(path, encoding="utf-8", errors="replace") as f:
                text += f.read()[-octets:]
        return text.strip() or "it said nothing"

    def kill(self):
        """All that runs in the namespace is gone when this returns."""
        if self.process and self.process.poll() is None:
            # Its first process takes the others along.  The death of unshare would not do for all: who has
            # changed its accounts hears nothing of its parent's.
            pid = self.process.pid
            with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
                for child in f.read().split():
                    os.kill(int(child), signal.SIGKILL)
            self.process.wait()

    def restart(self):
        """The same on what it has stored, in a namespace of its own again."""
        self.kill()
        shutil.rmtree(self.mount)
        os.mkdir(self.mount)
        self.start(*self.started)

    def stop(self):
        self.kill()
        shutil.rmtree(self.state, ignore_errors=True)
