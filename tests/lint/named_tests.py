#!/usr/bin/env python3
"""Every test that docs/protocols.md names exists.

The document has tables whose last column is headed `test`:

    | section | rule | what we do | test |
    | --- | --- | --- | --- |
    | 5321 4.5.2 | a doubled dot is taken out | ... | `tests/unit/mail/test_dot.c::stuffed lines` |
    | 1939 7 | TOP needs two numbers | ... | `tests/e2e/pop3_top.chat`, `tests/fuzz/fuzz_pop3.c` |
    | 5321 4.5.5 | ... | not done: no automatic replies | - |

The column names one or more tests in backticks, `PATH` or `PATH::NAME`.  NAME is a test function
(START_TEST, tcase, def) or the name of a row, as it stands between quotes in the file.  `-` is for
what the column before says is `not` done.  A row without a test is an error, and so is a rule that
has two rows, which may say two things, and a document without rows.
"""

import os
import re
import sys

DOCUMENT = "docs/protocols.md"


def cells(line):
    """The cells of a table's row; a \\| is part of a cell."""
    return [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def exists(reference):
    """None, or what is wrong with `PATH` or `PATH::NAME`."""
    path, _, name = reference.partition("::")
    if not path.startswith("tests/") or not os.path.isfile(path):
        return "there is no %s" % path
    if not name:
        return None
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if '"%s"' % name in text or re.search(
            r"START_TEST\(\s*%s\s*\)|\bdef %s\(" % (re.escape(name), re.escape(name)), text):
        return None
    return "%s has no test and no row %s" % (path, name)


def main():
    if not os.path.exists(DOCUMENT):
        print("%s is not there" % DOCUMENT)
        return 1
    found = rows = 0
    in_table = False
    before = []
    seen = {}
    with open(DOCUMENT, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.startswith("|"):
                in_table, before = False, []
                continue
            row = cells(line)
            if not in_table:
                if row and re.fullmatch(r":?-+:?", row[0]):
                    in_table = bool(before) and before[-1].lower() == "test"
                before = row
                continue
            rows += 1
            problems = []
            named = re.findall(r"`([^`]+)`", row[-1])
            if row[-1] in ("-", "–", "—"):
                if not re.match(r"not\b", row[-2], re.I):
                    problems.append("a rule without a test")
            elif not named:
                problems.append("no test is named: %s" % row[-1])
            problems += [p for p in map(exists, named) if p]
            first = seen.setdefault(tuple(row[:2]), number)
            if first != number:
                problems.append("the rule of line %d again" % first)
            for text in problems:
                print("%s:%d: %s" % (DOCUMENT, number, text))
                found += 1
    if rows == 0:
        print("%s: no table whose last column is headed test" % DOCUMENT)
        found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
