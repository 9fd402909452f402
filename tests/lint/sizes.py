#!/usr/bin/env python3
"""No source file over 600 lines (a test: 900), no function over 80, no line of a header over 100
columns (clang-format sees to the sources), nothing left to do."""

import glob
import re
import sys


def main():
    found = 0

    def say(path, number, text):
        nonlocal found
        found += 1
        print("%s:%d: %s" % (path, number, text))

    for pattern in ("include/*/*.h", "common/*/*.[ch]", "smtpd/*.[ch]", "pop3d/*.[ch]",
                    "pop-admin/*.[ch]", "tests/**/*.[ch]"):
        for path in sorted(glob.glob(pattern, recursive=True)):
            with open(path, encoding="utf-8") as f:
                lines = f.read().split("\n")
            most = 900 if path.startswith("tests/") else 600
            if len(lines) > most + 1:
                say(path, len(lines), "over %d lines: split it by idea" % most)
            start = 0
            for number, line in enumerate(lines, 1):
                if line == "{":
                    start = number
                elif line == "}" and start:
                    if number - start > 80 and not path.startswith("tests/"):
                        say(path, start, "a function of %d lines" % (number - start))
                    start = 0
                if path.endswith(".h") and len(line.expandtabs(8)) > 100:
                    say(path, number, "over 100 columns")
                if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                    say(path, number, "left to do")
                if line.endswith((" ", "\t")):
                    say(path, number, "blanks at the end")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
