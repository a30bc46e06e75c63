#!/usr/bin/env bash
# Brings everything that make's targets need: `tools/setup.sh` makes .venv; `tools/setup.sh engines` the container engines too,
# `tools/setup.sh services` also clusters, browser and npm's services that tests drive, `tools/setup.sh rivals` what benchmarks compare with.
# Run again at will: what is there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
# Two makes at once: the second waits, and finds what the first made.
exec 9<"$0" && flock 9

engines=(podman runc conmon netavark aardvark-dns buildah skopeo docker.io docker-registry containerd umoci bubblewrap proot qemu-user-static iptables busybox-static mosquitto git podman-compose mmdebstrap zsh fish squashfs-tools squashfs-tools-ng)
services=(slurm-wlm munge chromium)
rivals=(casync xdelta3 zstd parallel)


find_python() {
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      command -v "$name"
      return
    fi
  done
  echo "setup: Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)" >&2
  exit 1
}

make_venv() {
  local stamp=.venv/.wherry-setup wanted
  wanted=$(cat tools/setup.sh pyproject.toml requirements/*.txt | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    return
  fi
  echo "setup: making .venv" >&2
  rm -rf .venv
  "$(find_python)" -m venv .venv 2>/dev/null || { echo "setup: venv is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
  .venv/bin/pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
  .venv/bin/pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --editable .
  # Commands start three times faster with bytecode, and some machines set PYTHONDONTWRITEBYTECODE.
  .venv/bin/python -m compileall -q .venv/lib src || true
  echo "$wanted" >"$stamp"
}

install_packages() {
  local missing=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" != 0 ]; then
    echo "setup: these packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    [ "${CI:-}" = true ] && exit 1
    return
  fi
  echo "setup: installing ${missing[*]}" >&2
  apt-get update -qq
  # Daemons are started by the tests that need them, in folders of their own; the packages must not start any.
  local policy=/usr/sbin/policy-rc.d made=no
  if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=yes; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  [ "$made" = yes ] && rm -f "$policy"
}

# Services that tests are held against, from npm's registry: tools/npm pins them.
install_node() {
  local stamp=.node/.wherry-setup wanted
  wanted=$(cat tools/npm/*.json | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  command -v npm >/dev/null || install_packages nodejs npm
  if ! command -v npm >/dev/null; then
    [ "${CI:-}" = true ] && exit 1
    return
  fi
  echo "setup: making .node" >&2
  rm -rf .node && mkdir .node
  cp tools/npm/*.json .node
  npm ci --prefix .node --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  echo "$wanted" >"$stamp"
}

make_venv
case "${1:-}" in
  engines) install_packages "${engines[@]}" ;;
  services) install_packages "${engines[@]}" "${services[@]}"; install_node ;;
  rivals) install_packages "${engines[@]}" "${services[@]}" "${rivals[@]}"; install_node ;;
esac
true
