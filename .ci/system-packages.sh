# Sourced by .ci/run: installs what a bare Debian or Ubuntu lacks; does nothing where it is there.
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  install() {
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null; } \
      || echo "could not install $*: what needs them fails or is skipped, and says so"
  }
  missing=()
  for package in python3-venv git make; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v faketime >/dev/null || missing+=(faketime)
  command -v docker-registry >/dev/null || missing+=(docker-registry)
  [ ${#missing[@]} = 0 ] || install "${missing[@]}"
  # Apart from the others, because Ubuntu has no such package: there, Google's browser serves too.
  command -v chromium >/dev/null || command -v google-chrome >/dev/null || install chromium fonts-dejavu-core
fi
