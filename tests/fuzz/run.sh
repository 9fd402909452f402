#!/bin/sh
# Runs each fuzzer for a while, one to a processor (or FUZZ_JOBS at once), and fails when one of
# them finds something.
# Usage: run.sh FOLDER SECONDS NAME...   FOLDER holds fuzz_NAME, and gets what grows and
# what crashed; the tree's own seeds are only read.
set -u

folder=$1
seconds=$2
shift 2
here=$(dirname "$0")

# --- one of them: run.sh FOLDER SECONDS -- NAME ---
if [ "${1:-}" = -- ]; then
	name=$2
	corpus=$folder/corpus/$name
	found=$folder/found/$name
	log=$folder/$name.log
	rm -rf "$found"
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
	else
		tail -n 60 "$log"
		echo "FAIL fuzz_$name: what it found is in $found"
	fi
	exit 0
fi

if [ $# -eq 0 ]; then
	echo "there is no fuzzer"
	exit 1
fi
printf '%s\n' "$@" | xargs -P "${FUZZ_JOBS:-$(nproc)}" -I '{}' sh "$0" "$folder" "$seconds" -- '{}' |
    tee "$folder/verdicts"
passed=$(grep -c '^ok ' "$folder/verdicts")
failed=$(($# - passed))
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
