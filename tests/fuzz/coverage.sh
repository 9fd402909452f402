#!/bin/sh
# How much of the code that it is for each fuzzer reaches: runs its seeds, and what `make fuzz`
# has grown, through a build that counts branches.  Usage: coverage.sh FOLDER CORPUS NAME...
# FOLDER holds replay_NAME built with clang's coverage; CORPUS what the fuzzers grew.
# Needs llvm-profdata and llvm-cov (package llvm).
set -u

folder=$1
corpus=$2
shift 2
here=$(dirname "$0")
goal=90

# The file that a fuzzer is for.
file_of() {
	case $1 in
	alias) echo common/spool/resolve.c ;;
	bdat) echo common/mail/dot.c ;;
	address | dot | esmtp | header | sasl) echo "common/mail/$1.c" ;;
	ini) echo common/conf/ini.c ;;
	mbox | maildir) echo "pop-admin/$1.c" ;;
	record) echo common/spool/record.c ;;
	segment) echo common/spool/recover.c ;;
	smtp_session) echo smtpd/smtp_session.c ;;
	pop3_session) echo pop3d/pop3_session.c ;;
	esac
}

passed=0
failed=0
for name in "$@"; do
	file=$(file_of "$name")
	if [ ! -f "$file" ]; then
		echo "FAIL $name: coverage.sh does not know which file it is for"
		failed=$((failed + 1))
		continue
	fi
	inputs=$here/seeds/$name
	if [ -d "$corpus/$name" ]; then
		inputs="$inputs $corpus/$name"
	fi
	profile=$folder/$name.profraw
	# shellcheck disable=SC2086  # one or two folders
	LLVM_PROFILE_FILE=$profile "$folder/replay_$name" $inputs >/dev/null 2>&1
	llvm-profdata merge -o "$folder/$name.profdata" "$profile" &&
	    llvm-cov report "$folder/replay_$name" -instr-profile="$folder/$name.profdata" \
		"$file" >"$folder/$name.txt" 2>/dev/null
	# The last column of the file's own row is the share of its branches.
	share=$(awk '/^TOTAL/ { print $NF }' "$folder/$name.txt" | tr -d %)
	if awk "BEGIN { exit !(${share:-0} >= $goal) }"; then
		echo "ok   $name: $share % of the branches of $file"
		passed=$((passed + 1))
	else
		echo "FAIL $name: ${share:-no} % of the branches of $file"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
