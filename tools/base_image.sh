#!/usr/bin/env bash
# Makes localhost/misstep-base:1, a Debian with Python 3.11, where no image registry can be reached. Needs root, debootstrap,
# buildah, and a mirror of Debian's packages (MIRROR, else debootstrap's default).
#   make setup && sudo tools/base_image.sh && sudo make images BUILDER=buildah BASE=localhost/misstep-base:1
set -euo pipefail
name=${1:-localhost/misstep-base:1}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" ${MIRROR:+"$MIRROR"} >/dev/null
# Debian's way to say which files of packages nobody wants; what is there already goes by hand.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,info,locale}/*
find "$root" -xdev \( -type s -o -type c -o -type b \) -delete
container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 "$container"
buildah commit --quiet --rm "$container" "$name" >/dev/null
echo "$name"
