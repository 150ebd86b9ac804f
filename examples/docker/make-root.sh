#!/bin/bash
# Fills a new directory with what a session's container needs: the worker and its hand, bash, the programs named, the libraries of all
# of them, and the certificates of this machine. Nothing is downloaded.
#
#     ./make-root.sh root ../../build/bin ls cat sed git
set -eu
[ $# -ge 2 ] || { sed -n '2,6s/^# \?//p' "$0" >&2; exit 2; }
root=$1 built=$2
shift 2
mkdir "$root"
mkdir -p "$root"/usr/{bin,lib,lib64} "$root"/{etc/ssl/certs,proc,dev,sys,run,root,tmp,workspace}
ln -s usr/bin usr/lib usr/lib64 "$root"
chmod 1777 "$root/tmp" "$root/workspace"

add() {  # ADD PROGRAM NAME
  cp -L "$1" "$root/usr/bin/$2"
  # A static program has none.
  { ldd "$1" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
    place=$root/usr/${library#/usr/}
    [ "${library#/usr/}" != "$library" ] || place=$root/usr$library
    [ -e "$place" ] || { mkdir -p "${place%/*}" && cp -L "$library" "$place"; }
  done
}
for name in glovebox glovebox-hand glovebox-unpack; do add "$built/$name" "$name"; done
for name in bash "$@"; do add "$(type -P "$name")" "$name"; done
ln -s bash "$root/usr/bin/sh"
printf 'root:x:0:0:root:/root:/bin/bash\n' > "$root/etc/passwd"
printf 'root:x:0:\n' > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
