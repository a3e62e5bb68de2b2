# Sourced by .ci/run: installs what a bare Debian or Ubuntu lacks; does nothing where it is there.
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  missing=()
  for package in python3-venv git make; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v faketime >/dev/null || missing+=(faketime)
  if [ ${#missing[@]} -gt 0 ]; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; } \
      || echo "could not install ${missing[*]}: what needs them fails or is skipped, and says so"
  fi
fi
