#!/bin/sh
# Shows that each fault that is put into the spool is found by the power cuts: those that crash.c
# puts into its notes (crash --list), and tests/crash/mutations/NAME.patch, each a change of one
# file of common/spool, which is compiled and linked in the place of the archive's own.
#
# Usage: mutations.sh BUILD CUTS [NAME]...   with CC, CFLAGS and LIBS in the environment as make
# has them.  Without a name: all.
set -u

build=$1
cuts=$2
shift 2
crash=$build/tests/crash/crash
folder=$build/tests/crash
patches=$(dirname "$0")/mutations
passed=0
failed=0

# Prints the program's name.
patched() {
	patch=$patches/$1.patch
	source=$(sed -n 's,^+++ b/,,p' "$patch")
	cp -p "$source" "$folder/$1.c" && patch -s "$folder/$1.c" <"$patch" >&2 || return 1
	# shellcheck disable=SC2086 # options
	$CC -I"$(dirname "$source")" $CFLAGS -c -o "$folder/$1.o" "$folder/$1.c" || return 1
	# shellcheck disable=SC2086
	$CC $LDFLAGS -o "$folder/crash-$1" "$build"/obj/tests/crash/*.o "$folder/$1.o" \
	    "$build/lib/libspool.a" "$build/lib/libmail.a" "$build/lib/libbase.a" $LIBS || return 1
	echo "$folder/crash-$1"
}

run() {
	name=$1
	if [ -f "$patches/$name.patch" ]; then
		if ! program=$(patched "$name"); then
			echo "FAIL $name: the patch does not apply or does not compile"
			failed=$((failed + 1))
			return
		fi
		set --
	else
		program=$crash
		set -- --mutate "$name"
	fi
	log=$folder/$name.log
	"$program" --cuts "$cuts" --ends 6 --rounds 16 --second 12 --first "$@" >"$log" 2>&1
	if grep -q '^FAIL cut' "$log"; then
		echo "ok   $name: $(grep -a 'notes, ' "$log" | sed 's/^.*messages; //')"
		# What it looked like.
		grep -a -A1 '^FAIL cut' "$log" | sed -n '2s/^ */       /p'
		passed=$((passed + 1))
	else
		tail -n 5 "$log"
		echo "FAIL $name: not found"
		failed=$((failed + 1))
	fi
}

if [ $# -eq 0 ]; then
	# shellcheck disable=SC2046 # words
	set -- $("$crash" --list | cut -d' ' -f1)
	for patch in "$patches"/*.patch; do
		set -- "$@" "$(basename "$patch" .patch)"
	done
fi
for each in "$@"; do
	run "$each"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
