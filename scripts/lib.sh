# Shared by the scripts beside it: `. "$(dirname "$0")/lib.sh"`. Leaves the caller in the root of the repository.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

die() {
  printf '\033[1;31merror:\033[0m %s\n' "$1" >&2
  shift
  if [ $# -gt 0 ]; then printf '  %s\n' "$@" >&2; fi
  exit 1
}

# Only there may a script install packages.
root_on_debian() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

# Install packages of the distribution on the controller; refreshes the package lists once when they lack something.
apt_install() {
  say "installing $* with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends "$@" && return
  apt-get update -q
  apt-get install -y -q --no-install-recommends "$@"
}
