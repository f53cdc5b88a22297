#!/usr/bin/env bash
# Installs the clients and servers that the real-client tests drive: Debian's packages, needs root or sudo.
set -euo pipefail

packages=(docker-registry skopeo podman runc docker.io busybox-static qemu-user-static strace)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "all installed: ${packages[*]}"
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "skipped: no apt-get to install ${missing[*]}"
  exit 0
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# The package starts a registry of its own with authentication; a policy that says no keeps services from starting.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod +x "$policy"
  trap '$sudo rm -f "$policy"' EXIT
fi
$sudo apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
echo "installed: ${missing[*]}"
