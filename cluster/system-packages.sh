#!/usr/bin/env bash
# Installs what the node needs of the system, on Debian and Ubuntu; does nothing where it is there. `make cluster` runs it.
#   --images: what `make e2e-images` needs too
# Ends with 3 where something is missing that it may not install.
set -euo pipefail
missing=()
need() { [ -e "$1" ] || command -v "$1" >/dev/null || missing+=("$2"); }
need containerd containerd
need runc runc
need /usr/lib/cni/bridge containernetworking-plugins
need iptables iptables
{ command -v busybox && ! ldd "$(command -v busybox)"; } &>/dev/null || missing+=(busybox-static) # a dynamic one cannot be an image
need ip iproute2
need unshare util-linux
need openssl openssl
if [ "${1:-}" = --images ]; then
  need buildah buildah
  need debootstrap debootstrap
fi
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "Missing programs (names of Debian packages): ${missing[*]}" >&2
  exit 3
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
