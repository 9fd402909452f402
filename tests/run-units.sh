#!/bin/sh
# Runs unit test programs one after the other and adds up what Check says.
# Usage: run-units.sh BUILD PROGRAM...   The whole suite, also in parallel, is tests/run.py.
set -u

build=$1
shift
passed=0
failed=0
mkdir -p "$build/tests"
# Areas may run side by side.
log=$(mktemp "$build/tests/unit.XXXXXX") || exit 1
# In memory where there is a gigabyte, as tests/run.py has it.  What a test that failed leaves there
# would take it for ever.
memory=${TEST_MEMORY:-/dev/shm}
free=$(df -k --output=avail "$memory" 2>/dev/null | tail -n 1)
[ -w "$memory" ] && [ "${free:-0}" -gt 1048576 ] || memory=${TMPDIR:-/tmp}
TEST_MEMORY=$(mktemp -d "$memory/units.XXXXXX") || exit 1
export TEST_MEMORY
trap 'rm -rf "$log" "$TEST_MEMORY"' EXIT
for program in "$@"; do
	TMPDIR=${TMPDIR:-/tmp} timeout "${UNIT_TIMEOUT:-300}" "$program" >"$log" 2>&1
	rc=$?
	# "100%: Checks: 5, Failures: 0, Errors: 0"
	counts=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' \
	    "$log" | awk '{ c += $1; f += $2 + $3 } END { if (NR) print c, f }')
	if [ -z "$counts" ]; then
		cat "$log"
		echo "FAIL $program: ended with $rc before its summary"
		failed=$((failed + 1))
		continue
	fi
	checks=${counts% *}
	bad=${counts#* }
	# A sanitizer's report at exit shows in the exit code alone.
	if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
	fi
	if [ "$bad" -ne 0 ]; then
		cat "$log"
		echo "FAIL $program"
	else
		echo "ok   $program ($checks)"
	fi
	passed=$((passed + checks - bad))
	failed=$((failed + bad))
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
