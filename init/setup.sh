#!/bin/sh
# Installs what Restante needs on this machine, and nothing that is there already.
#
#   sh init/setup.sh         to build it and to run `make demo`
#   sh init/setup.sh test    to run `make check`, `make lint`, `make fuzz` and .ci/run as well
#   sh init/setup.sh peers   fetches, installing nothing, the servers that `make bench` compares
#                            with, each into a root of its own below build/peers (Debian alone)
#
# Debian and Ubuntu are tried.  Fedora (dnf), Alpine (apk) and Arch (pacman) are written with care
# and untried; the sources want glibc, so that Alpine needs more than packages.
# Uses sudo when it is not root.
set -eu

purpose=${1:-build}
case $purpose in
build | test | peers) ;;
*)
	echo "usage: sh init/setup.sh [test | peers]" >&2
	exit 64
	;;
esac

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "this needs root: $*" >&2
		exit 77
	fi
}

# openssl (the command) makes the demo's certificate and is its mail client.
apt_build="gcc libc6-dev make pkg-config libsqlite3-dev libssl-dev libcrypt-dev openssl"
apt_test="check clang curl swaks libnet-ssleay-perl msmtp mpop fetchmail getmail6 python3 patch
    cppcheck clang-format shellcheck"

setup_apt() {
	wanted=$apt_build
	if [ "$purpose" = test ]; then
		wanted="$wanted $apt_test"
	fi
	missing=
	for package in $wanted; do
		case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true) in
		*' installed') ;;
		*) missing="$missing $package" ;;
		esac
	done
	# clang's fuzzer and sanitizers are a package of their own in some releases.
	runtimes=
	if [ "$purpose" = test ] && ! clang_has_runtimes; then
		runtimes=libclang-rt-dev
	fi
	if [ -z "$missing$runtimes" ]; then
		echo "setup: everything is installed"
		return
	fi
	echo "setup: installing$missing $runtimes"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update
	# shellcheck disable=SC2086  # the lists are lists of words
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
	    ${missing:-make}
	if [ -n "$runtimes" ] && ! clang_has_runtimes; then
		as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
		    --no-install-recommends "$runtimes"
	fi
}

# MTAs exclude one another, so each is unpacked, with what this machine lacks of its libraries, where
# the bench lays it over the machine's own files.  A peer that cannot be had is left out.
setup_peers() {
	peers=$(cd "$(dirname "$0")/.." && pwd)/build/peers
	as_root apt-get -q update
	fetch_peer postfix postfix dovecot-lmtpd dovecot-pop3d
	fetch_peer opensmtpd opensmtpd dovecot-pop3d
	fetch_peer courier courier-mta courier-pop
}

fetch_peer() {
	folder=$peers/$1
	shift
	if [ -e "$folder/packages" ]; then
		echo "setup: $folder is there"
		return
	fi
	rm -rf "$folder"
	mkdir -p "$folder/deb" "$folder/root/usr/bin" "$folder/root/usr/sbin" "$folder/root/usr/lib"
	for link in bin sbin lib; do
		ln -s "usr/$link" "$folder/root/$link"
	done
	wanted=$(apt-get -qq -s --no-install-recommends install "$@" | awk '/^Inst/ { print $2 }') ||
	    wanted=
	for package in "$@"; do
		case " $(echo "$wanted" | tr '\n' ' ') " in
		*" $package "*) ;;
		*)
			echo "setup: $package cannot be fetched (or is installed here): no peer $folder" >&2
			rm -rf "$folder"
			return
			;;
		esac
	done
	# shellcheck disable=SC2086  # a list of words
	if ! (cd "$folder/deb" && apt-get -q download $wanted); then
		rm -rf "$folder"
		return
	fi
	for file in "$folder"/deb/*.deb; do
		dpkg-deb --fsys-tarfile "$file" | tar -x -C "$folder/root" --keep-directory-symlink
		dpkg-deb -W "$file" >> "$folder/packages.new"
	done
	# What update-alternatives would do for Courier.
	for file in "$folder"/root/usr/bin/*.courier; do
		if [ -e "$file" ]; then
			ln -s "$(basename "$file")" "${file%.courier}"
		fi
	done
	rm -rf "$folder/deb"
	mv "$folder/packages.new" "$folder/packages"
}

clang_has_runtimes() {
	command -v clang >/dev/null 2>&1 &&
	    echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
	    clang -x c -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null
}

setup_dnf() {
	packages="gcc make pkgconf-pkg-config sqlite-devel openssl-devel libxcrypt-devel openssl"
	if [ "$purpose" = test ]; then
		packages="$packages check-devel subunit-devel libasan libubsan libtsan clang compiler-rt
		    curl swaks perl-Net-SSLeay msmtp mpop fetchmail getmail6 python3 patch cppcheck
		    clang-tools-extra ShellCheck"
	fi
	# shellcheck disable=SC2086
	as_root dnf install -y $packages
}

setup_apk() {
	packages="gcc musl-dev make pkgconf sqlite-dev openssl-dev libxcrypt-dev openssl"
	if [ "$purpose" = test ]; then
		packages="$packages check-dev clang compiler-rt curl swaks perl-net-ssleay msmtp mpop
		    fetchmail getmail6 python3 patch cppcheck clang-extra-tools shellcheck"
	fi
	# shellcheck disable=SC2086
	as_root apk add $packages
}

setup_pacman() {
	packages="gcc make pkgconf sqlite openssl libxcrypt"
	if [ "$purpose" = test ]; then
		packages="$packages check clang compiler-rt curl swaks perl-net-ssleay msmtp mpop
		    fetchmail getmail6 python patch cppcheck shellcheck"
	fi
	# shellcheck disable=SC2086
	as_root pacman -S --needed --noconfirm $packages
}

if [ "$purpose" = peers ]; then
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "setup: peers are fetched by apt-get alone" >&2
		exit 69
	fi
	setup_peers
elif command -v apt-get >/dev/null 2>&1; then
	setup_apt
elif command -v dnf >/dev/null 2>&1; then
	setup_dnf
elif command -v apk >/dev/null 2>&1; then
	setup_apk
elif command -v pacman >/dev/null 2>&1; then
	setup_pacman
else
	echo "no package manager that this script knows; Restante needs: gcc or clang, make," \
	    "pkg-config, SQLite, OpenSSL 3, libcrypt (yescrypt)" >&2
	exit 69
fi
