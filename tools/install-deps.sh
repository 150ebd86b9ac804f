#!/bin/sh
# Installs the Debian packages the build and the tests need, if any is missing, and says which. `--peers` adds the programs the
# benchmark compares with; those may be missing, the benchmark says so.
set -eu

build="clang-19 lld-19 clang-format-19 libclang-rt-19-dev cmake ninja-build ccache pkg-config
  libboost1.81-dev libboost-json1.81-dev libssl-dev libsqlite3-dev libtomlplusplus-dev libre2-dev libseccomp-dev libcap-dev
  libarchive-dev nettle-dev liblzma-dev libzstd-dev libbz2-dev zlib1g-dev
  libgtest-dev libgmock-dev libbenchmark-dev python3 btrfs-progs mmdebstrap"
peers="runc podman"

case "${1:-}" in
  "") wanted=$build ;;
  --peers) wanted=$peers ;;
  --list) echo $build; exit 0 ;;
  *) echo "usage: tools/install-deps.sh [--peers|--list]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  if [ "$wanted" = "$build" ] && ! command -v clang++-19 >/dev/null; then
    echo "This is not Debian or a relative. Install what these packages hold, then run make again:" $build >&2
    exit 1
  fi
  exit 0
fi

missing=""
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null || true)
for package in $wanted; do
  case "
$installed
" in
    *"
$package installed
"*) ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing packages, and neither root nor sudo to install them. As root:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  as_root=sudo
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Two checkouts may get here at the same time: apt takes turns on its own locks for installing, not for updating.
apt() {
  $as_root flock /var/cache/apt env DEBIAN_FRONTEND=noninteractive \
    apt-get -y -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1
}

update() {
  echo "apt-get update"
  apt update || { cat "$log" >&2; return 1; }
}

known=yes
apt-cache show $missing >/dev/null 2>&1 || known=no
[ $known = yes ] || update || true

if [ "$wanted" = "$peers" ]; then
  for package in $missing; do
    apt-cache show "$package" >/dev/null 2>&1 || { echo "no package $package here: not compared"; continue; }
    echo "apt-get install $package"
    apt install --no-install-recommends "$package" || echo "could not install $package: not compared"
  done
  exit 0
fi

echo "apt-get install$missing"
if ! apt install --no-install-recommends $missing; then
  # Lists that are too old name files that are gone.
  [ $known = no ] || update
  apt install --no-install-recommends $missing || { cat "$log" >&2; exit 1; }
fi
