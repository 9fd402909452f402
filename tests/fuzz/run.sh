#!/bin/sh
# Runs each fuzzer for a while and fails when one of them finds something.
# Usage: run.sh FOLDER SECONDS NAME...   FOLDER holds fuzz_NAME, and gets what grows and
# what crashed; the tree's own seeds are only read.
set -u

folder=$1
seconds=$2
shift 2
here=$(dirname "$0")
passed=0
failed=0
for name in "$@"; do
	corpus=$folder/corpus/$name
	found=$folder/found/$name
	log=$folder/$name.log
	mkdir -p "$corpus" "$found"
	dict=
	if [ -f "$here/$name.dict" ]; then
		dict=-dict=$here/$name.dict
	fi
	seeds=
	if [ -d "$here/seeds/$name" ]; then
		seeds=$here/seeds/$name
	fi
	# shellcheck disable=SC2086  # no dictionary and no seeds are no words
	"$folder/fuzz_$name" $dict -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
	    -print_final_stats=1 -artifact_prefix="$found/" "$corpus" $seeds >"$log" 2>&1
	rc=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ "$rc" -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
		echo "ok   fuzz_$name ($runs inputs)"
		passed=$((passed + 1))
	else
		tail -n 60 "$log"
		echo "FAIL fuzz_$name: what it found is in $found"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
