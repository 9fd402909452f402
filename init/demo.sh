#!/bin/sh
# A throw-away site that takes one message and serves it; `make demo` calls it.
#
#   demo.sh BUILD        runs until it is interrupted
#   ONCE=1 demo.sh BUILD ends after the round trip; exit code 0 when the message that was
#                        fetched is the one that was sent
#
# Everything is in BUILD/demo, listens on loopback only, and needs the openssl command: it
# makes the certificate, and as `openssl s_client` it is the mail client.
set -eu

build=$1
site=$build/demo
rm -rf "$site"
mkdir -p "$site"
site=$(cd "$site" && pwd)
build=$(cd "$build" && pwd)
conf=$site/restante.conf
cr=$(printf '\r')
smtpd_pid=
pop3d_pid=

# Daemons end in good order, whatever ended the demo.
# shellcheck disable=SC2317  # the trap calls it
cleanup() {
	code=$?
	trap - EXIT INT TERM
	for pid in $smtpd_pid $pop3d_pid; do
		kill -TERM "$pid" 2>/dev/null || true
	done
	for pid in $smtpd_pid $pop3d_pid; do
		wait "$pid" || {
			echo "demo: a daemon ended with $?; its log is in $site" >&2
			[ "$code" -ne 0 ] || code=1
		}
	done
	exit "$code"
}
trap cleanup EXIT
trap 'exit 0' INT TERM

fail() {
	echo "demo: $*" >&2
	exit 1
}

# --- the site ---------------------------------------------------------------

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -subj /CN=mail.example.test -addext subjectAltName=DNS:mail.example.test,IP:127.0.0.1 \
    -keyout "$site/key.pem" -out "$site/cert.pem" 2>"$site/openssl.log" ||
	fail "no certificate: $(cat "$site/openssl.log")"

cat >"$conf" <<END
[site]
hostname = mail.example.test
spool = $site/spool
user = $(id -un)

[spool]
reserve = 1M

[tls]
certificate = $site/cert.pem
key = $site/key.pem

[smtpd]
listen = 127.0.0.1:0

[pop3d]
listen = 127.0.0.1:0
listen_tls = 127.0.0.1:0
END

"$build/pop-admin" -c "$conf" init
echo secret | "$build/pop-admin" -c "$conf" user add joe@example.test
echo secret | "$build/pop-admin" -c "$conf" user add ann@example.test

# The port of the daemon's listener: port_of PROTO LOG PID
port_of() {
	tries=0
	until grep -q "event=listening proto=$1 " "$2"; do
		kill -0 "$3" 2>/dev/null || fail "$(cat "$2")"
		tries=$((tries + 1))
		[ "$tries" -lt 200 ] || fail "nobody listens for $1: $(cat "$2")"
		sleep 0.05
	done
	sed -n "s/.*event=listening proto=$1 addr=\"*[0-9.]*:\([0-9]*\).*/\1/p" "$2"
}

"$build/smtpd" -c "$conf" 2>"$site/smtpd.log" &
smtpd_pid=$!
"$build/pop3d" -c "$conf" 2>"$site/pop3d.log" &
pop3d_pid=$!
smtp=$(port_of smtp "$site/smtpd.log" "$smtpd_pid")
pop3=$(port_of pop3 "$site/pop3d.log" "$pop3d_pid")
pop3s=$(port_of pop3s "$site/pop3d.log" "$pop3d_pid")

# --- the dialogues ------------------------------------------------------------

# Opens a TLS connection: fd 3 is to the server, fd 4 from it.
open_tls() {
	rm -f "$site/to" "$site/from"
	mkfifo "$site/to" "$site/from"
	timeout 60 openssl s_client -quiet -CAfile "$site/cert.pem" -verify_return_error \
	    -verify_hostname mail.example.test "$@" \
	    <"$site/to" >"$site/from" 2>"$site/s_client.log" &
	exec 3>"$site/to" 4<"$site/from"
}

close_tls() {
	exec 3>&- 4<&-
}

client() {
	echo "  C: $1"
	printf '%s\r\n' "$1" >&3
}

# Reads one line into $line.
server() {
	IFS= read -r line <&4 || fail "the server hung up: $(cat "$site/s_client.log")"
	line=${line%"$cr"}
	echo "  S: $line"
}

# Reads a whole reply that must begin with $1.
expect() {
	while :; do
		server
		case $line in
		"$1-"*) ;;
		"$1"*) return ;;
		*) fail "that is not the reply that was due" ;;
		esac
	done
}

message() {
	cat <<END
From: Ann <ann@example.test>
To: Joe <joe@example.test>
Subject: It works
Date: $date
Message-ID: <demo.$$@example.test>

This message went by SMTP into the spool, was on disk when it was
acknowledged, and came out by POP3.
.. and this line begins with two dots.
END
}
date=$(LC_ALL=C date '+%a, %d %b %Y %H:%M:%S %z')

echo
echo "A message goes in by SMTP with STARTTLS (127.0.0.1:$smtp):"
open_tls -starttls smtp -name client.example.test -connect "127.0.0.1:$smtp"
client "EHLO client.example.test"
expect 250
client "MAIL FROM:<ann@example.test>"
expect 250
client "RCPT TO:<joe@example.test>"
expect 250
client DATA
expect 354
# RFC 5321 4.5.2: the sender doubles a dot at the start of a line.
message | sed 's/^\./../' >"$site/stuffed"
while IFS= read -r text; do
	client "$text"
done <"$site/stuffed"
client .
expect 250
client QUIT
expect 221
close_tls

echo
echo "It comes out by POP3 with TLS (127.0.0.1:$pop3s):"
open_tls -connect "127.0.0.1:$pop3s"
expect +OK
client "USER joe@example.test"
expect +OK
client "PASS secret"
expect +OK
client STAT
expect "+OK 1 "
client "UIDL 1"
expect "+OK 1 "
client "RETR 1"
expect +OK
: >"$site/fetched"
while server && [ "$line" != . ]; do
	printf '%s\n' "${line#.}" >>"$site/fetched"
done
client QUIT
expect +OK
close_tls

# What was sent stands behind the three trace fields.
message >"$site/sent"
tail -n "$(wc -l <"$site/sent")" "$site/fetched" | cmp -s - "$site/sent" ||
	fail "what was fetched is not what was sent: compare $site/fetched and $site/sent"
head -n 1 "$site/fetched" | grep -q '^Return-Path: <ann@example.test>$' ||
	fail "there is no Return-Path on top: $site/fetched"
echo
echo "The message that was fetched is the one that was sent."

if [ -n "${ONCE:-}" ]; then
	exit 0
fi

cat <<END

The site runs until you press Ctrl-C. Point a mail program at it:

    incoming   POP3 at 127.0.0.1, port $pop3s with TLS, or port $pop3 with STARTTLS (or in the
               clear: only from this machine); user joe@example.test or ann@example.test,
               password "secret"; the certificate is $site/cert.pem
    outgoing   none: Restante receives and serves. What you hand to 127.0.0.1, port $smtp for
               these two users, it takes in

or use it by hand:

    curl --ssl-reqd --cacert $site/cert.pem smtp://127.0.0.1:$smtp --mail-from ann@example.test \\
        --mail-rcpt joe@example.test -T FILE
    curl --ssl-reqd --cacert $site/cert.pem -u joe@example.test:secret pop3://127.0.0.1:$pop3/1
    $build/pop-admin -c $conf user list

Logs are in $site.
END
while kill -0 "$smtpd_pid" 2>/dev/null && kill -0 "$pop3d_pid" 2>/dev/null; do
	sleep 1
done
fail "a daemon ended by itself; its log is in $site"
