#!/bin/sh
# Makes the device's SSH host key if it has no usable one, then prints the public half on the console, where somebody
# who sees the console (or the lab) learns it without trusting the network. The private half is never printed.
#
# usage: hatfleet-hostkey.sh [KEY_FILE [CONSOLE]]
set -eu
umask 077

key=${1:-/etc/ssh/ssh_host_ed25519_key}
console=${2:-/dev/console}
# On a read-only image the key is a link into the device's state, where there may be no key yet.
key=$(readlink -m "$key")
folder=$(dirname "$key")

public_half() {
	# Nothing but the private key decides; a passphrase prompt counts as unusable, because sshd could not answer it.
	ssh-keygen -y -P '' -f "$key" 2>/dev/null </dev/null | cut -d ' ' -f 1,2
}

# ssh-keygen refuses a key that others can read: mend that first, so that it is not taken for a broken one.
if [ -f "$key" ]; then
	chmod 600 "$key"
fi

public=$(public_half)
if [ -z "$public" ]; then
	# Made beside its place, flushed, then renamed: after a power cut there is a whole key or none.
	work=$(mktemp -d "$folder/.hatfleet-hostkey.XXXXXXXX")
	trap 'rm -rf "$work"' EXIT
	ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/key"
	sync "$work/key"
	mv -fT "$work/key" "$key"
	sync "$folder"
	public=$(public_half)
fi

# The .pub file is only derived; it is written anew whenever it does not say what the private key says.
if [ "$(cat "$key.pub" 2>/dev/null || true)" != "$public" ]; then
	work=${work:-$(mktemp -d "$folder/.hatfleet-hostkey.XXXXXXXX")}
	trap 'rm -rf "$work"' EXIT
	printf '%s\n' "$public" >"$work/pub"
	chmod 644 "$work/pub"
	sync "$work/pub"
	mv -fT "$work/pub" "$key.pub"
	sync "$folder"
fi

line="hatfleet-hostkey: $public"
printf '%s\n' "$line"
# Three times, because the kernel may print a message into the middle of a line, which nobody can then read: it does
# when it finds a network, which is at about this time. A machine without a console must still come up.
{
	for pause in 0 0.3 0.3; do
		sleep "$pause"
		printf '%s\n' "$line"
	done
} 2>/dev/null >"$console" || echo "hatfleet-hostkey: cannot write to $console" >&2
