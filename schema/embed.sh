#!/bin/sh
# Prints SQL files as C strings: for each NAME-NNN.sql an element of NAME_steps[],
# in the order of the numbers.  Usage: embed.sh FILE...
set -eu
echo '/* Made from schema/ by the Makefile. */'
for name in $(for f in "$@"; do basename "$f" | sed 's/-[0-9]*\.sql$//'; done | sort -u); do
	echo "static const char *const ${name}_steps[] = {"
	for f in "$@"; do
		case $(basename "$f") in
		"$name"-*) ;;
		*) continue ;;
		esac
		sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/	"/' -e 's/$/\\n"/' "$f"
		printf '\t,\n'
	done
	echo '};'
done
