#!/usr/bin/env python3
"""Who may include whom.  The tree is the architecture: includes never point up, programs never
include each other, `spool` does not know `net`, and a library is known to one floor."""

import glob
import os
import re
import sys

# What a floor's files may include, besides their own folder's private headers.
MAY = {
    "base": {"base"},
    "mail": {"base", "mail"},
    "conf": {"base", "conf"},
    "net": {"base", "net"},
    "spool": {"base", "mail", "spool"},
    "smtpd": {"base", "mail", "conf", "net", "spool"},
    "pop3d": {"base", "mail", "conf", "net", "spool"},
    "pop-admin": {"base", "mail", "conf", "spool"},
}
# Which files may know a library.
LIBRARIES = (
    ("sqlite3.h", r"common/spool/.*"),
    ("crypt.h", r"common/spool/password\.c"),
    ("openssl/", r"common/net/(tls|conn)\w*\.[ch]|common/mail/sasl\.c|common/spool/password\.c"),
)
GENERATED = {"schema_steps.h": "spool"}


def floor_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] in ("include", "common") else parts[0]


def complaints(path, line, name, quoted):
    floor = floor_of(path)
    if not quoted:
        for library, where in LIBRARIES:
            if name.startswith(library) and not re.fullmatch(where, path):
                yield "%s is not for this file" % name
        return
    if name in GENERATED:
        if GENERATED[name] != floor:
            yield "%s is for %s alone" % (name, GENERATED[name])
    elif name.startswith("common/"):
        if name.split("/")[1] != floor or not os.path.exists(name):
            yield "%s is private to another floor" % name
    elif "/" in name:
        if name.split("/")[0] not in MAY[floor]:
            yield "%s does not know %s" % (floor, name.split("/")[0])
        if not os.path.exists("include/" + name):
            yield "there is no include/%s" % name
    elif path.startswith("include/"):
        yield "a public header includes by floor: %s" % name
    elif not os.path.exists(os.path.join(os.path.dirname(path), name)):
        yield "there is no %s beside it" % name


def main():
    found = 0
    files = [f for top in ("include/*", "common/*", "smtpd", "pop3d", "pop-admin")
             for f in sorted(glob.glob(top + "/*.[ch]"))]
    for path in files:
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
                if match:
                    for text in complaints(path, line, match.group(2), match.group(1) == '"'):
                        print("%s:%d: %s" % (path, number, text))
                        found += 1
    if not files:
        print("no sources here: run it at the top of the tree")
        found = 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
