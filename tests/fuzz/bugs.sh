#!/bin/sh
# Puts each kept bug, tests/fuzz/bugs/NAME.patch, into a copy of the tree and shows that
# fuzz_NAME finds it, without those seeds that show it at once.  Usage: bugs.sh FOLDER SECONDS
set -u

folder=$1
seconds=$2
here=$(dirname "$0")
passed=0
failed=0
rm -rf "$folder"
mkdir -p "$folder"
for patch in "$here"/bugs/*.patch; do
	[ -f "$patch" ] || continue
	name=$(basename "$patch" .patch)
	tree=$folder/$name
	mkdir -p "$tree"
	cp -R Makefile schema include common smtpd pop3d pop-admin tests "$tree"
	if ! patch -d "$tree" -p1 -s <"$patch"; then
		echo "FAIL $name: the patch does not apply any more"
		failed=$((failed + 1))
		continue
	fi
	if ! make -s -C "$tree" BUILD=build "build/fuzz/fuzz_$name" >"$tree/make.log" 2>&1; then
		tail -n 20 "$tree/make.log"
		echo "FAIL $name: does not build with the patch"
		failed=$((failed + 1))
		continue
	fi
	begun=$(date +%s)
	# It is to be found, not remembered.
	for seed in "$tree/tests/fuzz/seeds/$name"/*; do
		"$tree/build/fuzz/fuzz_$name" "$seed" >/dev/null 2>&1 || rm -f "$seed"
	done
	if (cd "$tree" && sh tests/fuzz/run.sh build/fuzz "$seconds" "$name" >run.log 2>&1) ||
	    [ -z "$(ls "$tree/build/fuzz/found/$name")" ]; then
		tail -n 5 "$tree/run.log"
		echo "FAIL $name: not found in $seconds seconds"
		failed=$((failed + 1))
	else
		echo "ok   $name: found after $(($(date +%s) - begun)) s"
		passed=$((passed + 1))
	fi
	rm -rf "$tree/build"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
