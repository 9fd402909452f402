"""Makes the n-th call of a kind fail in a program that runs: the test's side of
tests/faults/fault.c, which has the same kinds in the same order.

    faults = Faults(build, folder)
    site.start("smtpd", faults.environment())
    faults.arm("sync", 3, errno.EIO)
    ...
    faults.disarm()
"""

import errno
import mmap
import os
import re
import struct
import subprocess
import tempfile

SQLITE = {"SQLITE_BUSY": 5, "SQLITE_NOMEM": 7, "SQLITE_IOERR": 10, "SQLITE_CORRUPT": 11,
          "SQLITE_FULL": 13}
# Each kind of call, and with what it may fail.
KINDS = {
    "alloc": ["ENOMEM"],
    "map": ["ENOMEM"],
    "open": ["EMFILE", "ENOMEM", "EIO"],
    "read": ["EIO"],
    "write": ["EIO", "ENOSPC"],
    "sync": ["EIO", "ENOSPC"],
    "size": ["EIO", "ENOSPC"],
    "name": ["EIO", "ENOSPC"],
    "lock": ["ENOLCK"],
    "accept": ["EMFILE", "ENOMEM"],
    "epoll": ["ENOMEM"],
    "thread": ["EAGAIN"],
    "step": list(SQLITE),
    "stmt": list(SQLITE),
}
NAMES = list(KINDS)
WHERE_MAX = 2048
HEAD = struct.Struct("=IIIiI%dI" % (len(NAMES) + 1))


class Faults:
    """One program's faults."""

    def __init__(self, build, folder):
        self.library = os.path.join(build, "tests", "faults", "fault.so")
        # The linker would go on without it, and nothing would ever fail.
        os.stat(self.library)
        handle, self.path = tempfile.mkstemp(prefix="fault-", dir=folder)
        os.truncate(handle, HEAD.size + WHERE_MAX)
        self.map = mmap.mmap(handle, HEAD.size + WHERE_MAX)
        os.close(handle)

    def environment(self):
        """For the program.  The address sanitizer would be first, but need not be."""
        return {"LD_PRELOAD": self.library, "FAULT_FILE": self.path,
                "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=86:"
                                "verify_asan_link_order=0"}

    def _fields(self):
        return HEAD.unpack_from(self.map)

    def _put(self, index, value):
        struct.pack_into("=I", self.map, 4 * index, value)

    def arm(self, kind, nth, code, stuck=False):
        """The nth call from now on, counted from 1, fails with the errno or SQLite's code of this
        name; `stuck`: and all that follow."""
        self.disarm()
        for i in range(len(NAMES) + 1):
            self._put(5 + i, 0)
        self._put(1, nth - 1)
        self._put(2, 1 if stuck else 0)
        self._put(3, SQLITE[code] if code in SQLITE else getattr(errno, code))
        self._put(4, 0)
        self.map[HEAD.size:] = b"\0" * WHERE_MAX
        self._put(0, 1 + NAMES.index(kind))

    def count(self):
        """Nothing fails; counts begin anew."""
        self.arm("alloc", 0xffffffff, "ENOMEM")
        self.disarm()

    def disarm(self):
        self._put(0, 0)

    def fired(self):
        return self._fields()[4]

    def counts(self):
        """{kind: calls since it was armed, or since count()}"""
        return dict(zip(NAMES, self._fields()[6:]))

    def where(self):
        """Who made the first call that failed: functions, from the innermost outwards."""
        text = self.map[HEAD.size:].split(b"\0")[0].decode()
        names = []
        for line in text.splitlines():
            module, _, offset = line.rpartition("+")
            found = subprocess.run(["addr2line", "-f", "-i", "-e", module, offset],
                                   capture_output=True, check=False, text=True).stdout.splitlines()
            functions = [name for name in found[::2] if name != "??"]
            names += functions or [re.sub(r"\.so.*", "", os.path.basename(module))]
        return " < ".join(n for i, n in enumerate(names) if i == 0 or n != names[i - 1])
