#!/usr/bin/env python3
"""Everything that can be said of the tree without running it: `make lint`.

The last line counts the checks as the tests' last line does; with REQUIRE=all a tool that is
missing is a failure.

Switched off in cppcheck, and why:
  missingIncludeSystem     the C library's headers are not for it
  unusedFunction           it would need every test to be told
  variableScope            KNF declares at the top of a block
  constParameterCallback, constParameterPointer
                           hooks share one signature, also where one of them only reads
  unmatchedSuppression     releases differ in what they find
  unusedStructMember       the kernel's structures are written out in full
  unreadVariable           a result begins with a value that every path then replaces
  normalCheckLevelMaxBranches, checkersReport, missingInclude
                           are not about the code
  memleak in mem.c         it hands memory out through a pointer to void
  uninitStructMember       results are set by functions that it does not follow
  unassignedVariable       what is static and never assigned is meant to be zeros
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys

SOURCES = ["common", "smtpd", "pop3d", "pop-admin"]
OFF = ["missingIncludeSystem", "missingInclude", "unusedFunction", "variableScope",
       "constParameterCallback", "constParameterPointer", "unmatchedSuppression",
       "normalCheckLevelMaxBranches", "checkersReport", "unusedStructMember", "unreadVariable",
       "uninitStructMember", "unassignedVariable",
       "memleak:common/base/mem.c"]


def c_files():
    return sorted(f for p in ("common/*/*.c", "smtpd/*.c", "pop3d/*.c", "pop-admin/*.c")
                  for f in glob.glob(p))


def checks(build, jobs):
    """(name, program that must be there, command)"""
    python = sys.executable
    yield "who includes whom", None, [python, "tests/lint/includes.py"]
    yield "sizes", None, [python, "tests/lint/sizes.py"]
    yield "documents name tests that exist", None, [python, "tests/lint/named_tests.py"]
    yield "Python compiles", None, [python, "-W", "error", "-c",
                                    "import ast,sys\nfor p in sys.argv[1:]: ast.parse(open(p).read(), p)",
                                    *sorted(glob.glob("tests/**/*.py", recursive=True)),
                                    *sorted(glob.glob("init/*.py"))]
    yield "shellcheck", "shellcheck", ["shellcheck", "-s", "sh", *sorted(
        glob.glob("tests/**/*.sh", recursive=True) + glob.glob("init/*.sh") + glob.glob("schema/*.sh"))]
    yield "shellcheck of .ci/run", "shellcheck", ["shellcheck", ".ci/run"]
    yield "layout of the sources", "clang-format", ["clang-format", "--dry-run", "-Werror", *c_files()]
    # With WERROR what is built has no warning: .ci/run builds but once.
    gcc_build = build if os.environ.get("WERROR") else build + "/lint-gcc"
    for compiler, folder, flags in (("gcc", gcc_build, []),
                                    ("clang", build + "/lint-clang", ["CFLAGS=-O1 -fsyntax-only"])):
        yield "no warning by " + compiler, compiler, [
            "make", "-s", "-j%d" % jobs, "BUILD=" + folder, "CC=" + compiler, "WERROR=1", *flags,
            "lint-objects"]
    yield "cppcheck", "cppcheck", [
        "cppcheck", "--quiet", "--std=c11", "--enable=warning,style,performance,portability",
        "--inline-suppr", "--error-exitcode=1", "-j%d" % jobs, "-Iinclude", "-I.", "-I%s/gen" % build,
        "-D__linux__", "-D_GNU_SOURCE", *["--suppress=" + name for name in OFF], *SOURCES]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = parser.parse_args().build
    strict = os.environ.get("REQUIRE") == "all"
    passed = failed = skipped = 0
    for name, program, command in checks(build, len(os.sched_getaffinity(0))):
        if program and not shutil.which(program):
            print("skip %s: %s is not installed" % (name, program))
            failed, skipped = (failed + 1, skipped) if strict else (failed, skipped + 1)
            continue
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        done = subprocess.run(command, capture_output=True, check=False, env=env)
        if done.returncode == 0:
            passed += 1
            print("ok   %s" % name, flush=True)
        else:
            failed += 1
            text = (done.stdout + done.stderr).decode("utf-8", "replace")
            print("\n".join(line for line in text.splitlines() if not line.startswith("  "))[-9000:])
            print("FAIL %s" % name, flush=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
