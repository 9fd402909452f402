#!/usr/bin/env python3
"""Which branches a run of the tests took: `make coverage` calls it after `make check`.

    python3 tests/coverage.py --build DIR [--show TEXT]

DIR was built by gcc with --coverage, and its programs have been run: each wrote its counters beside
its object files when it ended in good order, daemons on SIGTERM too; what was killed by SIGKILL is not
counted.  A branch of a line that begins with `assert(` is left out: its other side is never to be
taken.  So are tests.  DIR/uncovered.txt lists every line of which a branch was not taken; --show
prints those of files in whose name TEXT occurs.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Of these, the first three count as one.
AREAS = ("common", "smtpd", "pop3d", "pop-admin")
LOWEST = 15


def read(folder, note):
    """What gcov says of one object file, as a list of (file, line, taken counts)."""
    name = os.path.join(folder, note)
    out = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", name],
                         cwd=ROOT, check=True, capture_output=True).stdout
    lines = []
    for file in json.loads(out)["files"] if out else []:
        path = os.path.relpath(os.path.join(ROOT, file["file"]), ROOT)
        for line in file["lines"]:
            lines.append((path, line["line_number"], line["count"],
                          [branch["count"] for branch in line["branches"]]))
    return lines


def collect(build):
    """{file: {line: (how often, [how often each branch])}}; an inline function may be in many objects."""
    notes = []
    for folder, _, names in os.walk(os.path.join(build, "obj")):
        area = os.path.relpath(folder, os.path.join(build, "obj")).split(os.sep)[0]
        notes += [(folder, name) for name in names if name.endswith(".gcno") and area in AREAS]
    files = collections.defaultdict(dict)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for lines in pool.map(lambda note: read(*note), notes):
            for path, number, count, branches in lines:
                if path.split(os.sep)[0] not in AREAS:
                    continue
                old = files[path].setdefault(number, [0, [0] * len(branches)])
                old[0] += count
                if len(old[1]) == len(branches):
                    old[1] = [a + b for a, b in zip(old[1], branches)]
    return files


def without_asserts(files):
    sources = {}
    for path, lines in files.items():
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            sources[path] = f.read().split("\n")
        for number in list(lines):
            if sources[path][number - 1].strip().startswith("assert("):
                del lines[number]
    return sources


def branches(lines):
    """(taken, all) of a file."""
    counts = [count for line in lines.values() for count in line[1]]
    return sum(count > 0 for count in counts), len(counts)


def share(taken, of):
    return "%6.1f %%  %6d of %6d" % (100.0 * taken / of if of else 100.0, taken, of)


def write_uncovered(out, files, sources, wanted=""):
    for path in sorted(files):
        for number in sorted(files[path]):
            count, taken = files[path][number]
            if wanted in path and 0 in taken:
                what = "never run" if count == 0 else "%d of %d" % (taken.count(0), len(taken))
                out.write("%s:%d: %s: %s\n" % (path, number, what,
                                               sources[path][number - 1].strip()))


def main():
    parser = argparse.ArgumentParser(description="branches that the tests took")
    parser.add_argument("--build", required=True)
    parser.add_argument("--show", help="list what was not taken in files with this in their name")
    arguments = parser.parse_args()
    files = collect(arguments.build)
    sources = without_asserts(files)
    if arguments.show is not None:
        write_uncovered(sys.stdout, files, sources, arguments.show)
        return 0
    totals = collections.defaultdict(lambda: (0, 0))
    figures = []
    for path, lines in files.items():
        taken, of = branches(lines)
        folder = os.path.dirname(path)
        whole = "pop-admin" if folder == "pop-admin" else "common, smtpd, pop3d"
        for key in {folder, "= " + whole}:
            totals[key] = totals[key][0] + taken, totals[key][1] + of
        if of:
            figures.append((taken / of, taken, of, path))
    if not figures or not any(taken for _, taken, _, _ in figures):
        print("nothing was counted in %s" % arguments.build)
        return 1
    print("branches taken")
    for key in sorted(totals):
        print("  %-34s %s" % (key, share(*totals[key])))
    print("the files with the lowest share")
    for _, taken, of, path in sorted(figures)[:LOWEST]:
        print("  %-34s %s" % (path, share(taken, of)))
    name = os.path.join(arguments.build, "uncovered.txt")
    with open(name, "w", encoding="utf-8") as out:
        write_uncovered(out, files, sources)
    print("every line with a branch that was not taken: %s" % name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
