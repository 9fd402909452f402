#!/usr/bin/env python3
"""How many messages a second are delivered, beside what the disk can do in the same run.

Rounds of: syncs a second of a 4 KiB append; messages of 4 KiB by 1 connection and by 100.
Prints each round, then the medians.  Compare within one run only.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from testsite import Site  # noqa: E402  (the path above makes it importable)

MAILBOXES = 10


def figure(command):
    """The number with which the output of a run begins, and the rest of its line."""
    line = subprocess.run(command, capture_output=True, check=True, text=True,
                          timeout=300).stdout.strip()
    return float(re.match(r"[0-9.]+", line).group()), line


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    load = os.path.join(arguments.build, "tests/bench/load")
    users = ["u%d@example.test" % i for i in range(MAILBOXES)]
    figures = {}
    with Site(arguments.build, users=users, tls=False, lmtp=False) as site:
        port = str(site.address("smtp")[1])
        cases = [("disk alone", [load, "sync", site.folder, "2"])]
        for connections, messages in ((1, 2000), (100, 20000)):
            cases.append(("%d connections" % connections,
                          [load, "smtp", port, str(connections), str(messages), "4096",
                           "example.test", str(MAILBOXES)]))
        for number in range(1, arguments.rounds + 1):
            for name, command in cases:
                value, line = figure(command)
                figures.setdefault(name, []).append(value)
                print("round %d, %s: %s" % (number, name, line), flush=True)
    print()
    for name, values in figures.items():
        print("%-16s %8.0f a second (%.0f to %.0f)" % (
            name, statistics.median(values), min(values), max(values)))
    Site.forget()


if __name__ == "__main__":
    main()
