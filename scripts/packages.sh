# Debian packages that the project needs, and how to get them. Sourced by quickstart and check.

build_packages=(build-essential cmake ninja-build nlohmann-json3-dev libcli11-dev libfmt-dev libboost1.81-dev liburing-dev libzstd-dev libxxhash-dev libpcre2-dev)
model_packages=(python3 python3-pip ca-certificates)
test_packages=(doctest-dev ccache clang-19 libclang-rt-19-dev clang-format-14 clang-tidy-14 python3 python3-pip ca-certificates git)

# Installs those of its arguments that are not there, and says which.
install_missing() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing: ${missing[*]}" >&2
  local root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "these Debian packages are missing, and there is no sudo to install them: ${missing[*]}" >&2; return 1; }
    root=(sudo)
  fi
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}
