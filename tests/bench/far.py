"""A client on another machine, as far as TCP can tell.

The bench moves into a network namespace of its own, so that the machine's network stays as it is; the
client is in another one, behind a pair of veth devices.  Both end with the bench.
"""

import ctypes
import os
import subprocess

from servers import Absent

CLONE_NEWNET = 0x40000000
OURS, THEIRS = "10.255.255.1", "10.255.255.2"


def _call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), "%s: %s" % (name, os.strerror(ctypes.get_errno())))


def _run(*command):
    subprocess.run(command, check=True, capture_output=True)


class Far:
    """To be made before any server is started: they are to be in the same namespace.
    `namespace` is the path of the other one, `under` the command that runs another in it."""

    host = OURS

    def __init__(self):
        if os.geteuid() != 0:
            raise Absent("a network namespace needs root")
        self.client = None
        before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._join()
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            _call("setns", before, CLONE_NEWNET)
            raise Absent("no network namespace (%s)" % error) from None
        finally:
            os.close(before)

    def _join(self):
        _call("unshare", CLONE_NEWNET)
        _run("ip", "link", "set", "lo", "up")
        # It ends with our end of the pipe, however we end.
        self.client = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        self.client.stdin.write(b"\n")
        self.client.stdin.flush()
        if not self.client.stdout.readline():
            raise OSError("unshare --net ended")
        pid = str(self.client.pid)
        self.namespace = "/proc/%s/ns/net" % pid
        self.under = ("nsenter", "--net=" + self.namespace)
        _run("ip", "link", "add", "ours", "type", "veth", "peer", "name", "theirs", "netns", pid)
        for under, device, address in (((), "ours", OURS), (self.under, "theirs", THEIRS)):
            _run(*under, "ip", "address", "add", address + "/30", "dev", device)
            _run(*under, "ip", "link", "set", device, "up")

    def close(self):
        if self.client:
            self.client.stdin.close()
            self.client.stdout.close()
            self.client.wait()
